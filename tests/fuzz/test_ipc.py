"""The wire between bot and worker: frames and the line of standard input."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import FUZZ, attempt, hostile_bodies, mutants
from tests.ipc.samples import COMMAND_SAMPLES, EVENT_SAMPLES
from voicepool.ipc.codec import COMMANDS, EVENTS, MAX_MESSAGE_BYTES, Codec
from voicepool.ipc.endpoint import Bootstrap, CurveKeys
from voicepool.ipc.errors import UnreadableMessageError
from voicepool.ipc.ids import WorkerId

DIRECTIONS = [
    pytest.param(COMMANDS, COMMAND_SAMPLES, id="commands"),
    pytest.param(EVENTS, EVENT_SAMPLES, id="events"),
]
LINE = Bootstrap(
    address="ipc:///x",
    worker=WorkerId("w0.1"),
    start_token="token",
    curve=CurveKeys("server", "client", "key"),
).to_line()
NESTED_MSGPACK = b"\x82\xa4type\xa4Play\xa1x" + b"\x91" * 100_000
NESTED_JSON = b'{"later":' + b"[" * 100_000


@pytest.mark.parametrize(("codec", "samples"), DIRECTIONS)
@FUZZ
@given(data=st.data())
def test_frames_are_a_message_or_refused(
    codec: Codec[Any], samples: dict[str, Any], data: st.DataObject
) -> None:
    seeds = [codec.encode(sample)[0] for sample in samples.values()]
    frame = data.draw(mutants(seeds))
    try:
        message, attachments = codec.decode([frame, b"attachment"])
    except UnreadableMessageError:
        return
    assert attachments == [b"attachment"]
    assert codec.decode(codec.encode(message))[0] == message


@pytest.mark.parametrize(("codec", "samples"), DIRECTIONS)
@FUZZ
@given(data=st.data())
def test_fields_of_another_kind_are_refused(
    codec: Codec[Any], samples: dict[str, Any], data: st.DataObject
) -> None:
    sample = data.draw(st.sampled_from(list(samples.values())))
    body = data.draw(hostile_bodies(msgspec.to_builtins(sample)))
    try:
        frame = msgspec.msgpack.encode(body)
    except (OverflowError, UnicodeEncodeError):
        return  # JSON says more than msgpack can
    found = attempt(UnreadableMessageError, codec.decode, [frame])
    assert isinstance(found, UnreadableMessageError) or codec.decode(codec.encode(found[0]))[0] == found[0]


@pytest.mark.parametrize("codec", [COMMANDS, EVENTS])
@pytest.mark.parametrize("frame", [NESTED_MSGPACK, b"\x91" * 100_000, bytes(MAX_MESSAGE_BYTES + 1), b""])
def test_monsters_are_refused(codec: Codec[Any], frame: bytes) -> None:
    with pytest.raises(UnreadableMessageError):
        codec.decode([frame])


@FUZZ
@given(line=mutants([LINE]))
@example(line=NESTED_JSON)
@example(line=b"[" * 100_000)
def test_a_line_is_a_bootstrap_or_refused(line: bytes) -> None:
    try:
        bootstrap = Bootstrap.from_line(line)
    except msgspec.DecodeError:
        return
    assert Bootstrap.from_line(bootstrap.to_line()) == bootstrap
