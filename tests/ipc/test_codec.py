"""Every message to bytes and back: the same bytes as ever, and nothing else is read."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ipc.samples import COMMAND_SAMPLES, EVENT_SAMPLES, read_golden, twins
from voicepool.ipc.codec import COMMANDS, EVENTS, MAX_ATTACHMENTS, MAX_MESSAGE_BYTES, Codec, excess
from voicepool.ipc.commands import Command
from voicepool.ipc.errors import UnreadableMessageError
from voicepool.ipc.events import Event

DIRECTIONS: list[tuple[str, Codec[Any], dict[str, Any], Any]] = [
    ("commands", COMMANDS, COMMAND_SAMPLES, Command),
    ("events", EVENTS, EVENT_SAMPLES, Event),
]
SAMPLES = [
    pytest.param(direction, codec, name, sample, id=f"{direction}: {name}")
    for direction, codec, samples, _ in DIRECTIONS
    for name, sample in samples.items()
]
TWINS = [
    pytest.param(codec, bytes.fromhex(twin), id=f"{direction}: {name}, {kind}")
    for direction, codec, _, _ in DIRECTIONS
    for name, entry in read_golden(direction).items()
    for kind, twin in entry.items()
    if kind != "golden"
]


@pytest.mark.parametrize(("direction", "codec", "samples", "union"), DIRECTIONS, ids=["commands", "events"])
def test_all_messages_are_pinned(
    direction: str, codec: Codec[Any], samples: dict[str, Any], union: Any
) -> None:
    assert {type(sample) for sample in samples.values()} == set(typing.get_args(union))
    assert set(read_golden(direction)) == set(samples)


@pytest.mark.parametrize(("direction", "codec", "name", "sample"), SAMPLES)
def test_the_bytes_are_the_same_as_ever(direction: str, codec: Codec[Any], name: str, sample: Any) -> None:
    [frame] = codec.encode(sample)
    assert twins(frame) == read_golden(direction)[name]


@pytest.mark.parametrize(("direction", "codec", "name", "sample"), SAMPLES)
def test_what_is_written_is_read(direction: str, codec: Codec[Any], name: str, sample: Any) -> None:
    golden = bytes.fromhex(read_golden(direction)[name]["golden"])
    assert codec.decode([golden]) == (sample, [])


@pytest.mark.parametrize(("codec", "frame"), TWINS)
def test_a_bad_twin_is_not_read(codec: Codec[Any], frame: bytes) -> None:
    with pytest.raises(UnreadableMessageError):
        codec.decode([frame])


@pytest.mark.parametrize(("direction", "codec", "name", "sample"), SAMPLES)
def test_no_beginning_of_a_message_is_one(direction: str, codec: Codec[Any], name: str, sample: Any) -> None:
    [frame] = codec.encode(sample)
    for size in range(len(frame)):
        with pytest.raises(UnreadableMessageError):
            codec.decode([frame[:size]])


@pytest.mark.parametrize(("direction", "codec", "name", "sample"), SAMPLES)
def test_fields_of_a_later_version_are_passed_over(
    direction: str, codec: Codec[Any], name: str, sample: Any
) -> None:
    fields = msgspec.msgpack.decode(codec.encode(sample)[0])
    frame = msgspec.msgpack.encode(fields | {"from_the_future": [1, {"a": None}]})
    assert codec.decode([frame])[0] == sample


def test_a_message_of_the_other_direction_is_not_read() -> None:
    for sample in COMMAND_SAMPLES.values():
        with pytest.raises(UnreadableMessageError):
            EVENTS.decode(COMMANDS.encode(sample))


def test_attachments_pass_through_untouched() -> None:
    attachment = b"\xff" * 1_000
    frames = COMMANDS.encode(COMMAND_SAMPLES["Play, bytes"], [attachment, b""])
    assert frames[1] is attachment
    message, attachments = COMMANDS.decode(frames)
    assert message == COMMAND_SAMPLES["Play, bytes"]
    assert attachments == [attachment, b""]


def test_nothing_and_too_much_are_not_read() -> None:
    with pytest.raises(UnreadableMessageError, match="without a frame"):
        EVENTS.decode([])
    with pytest.raises(UnreadableMessageError, match=f"at most {MAX_MESSAGE_BYTES} are read"):
        EVENTS.decode([b"\x00" * (MAX_MESSAGE_BYTES + 1)])


def test_deep_nesting_is_not_read() -> None:
    with pytest.raises(UnreadableMessageError):
        EVENTS.decode([b"\x91" * 100_000 + b"\xc0"])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_by_the_one_error(frame: bytes) -> None:
    for _, codec, _, _ in DIRECTIONS:
        try:
            message, _ = codec.decode([frame])
        except UnreadableMessageError:
            continue
        assert codec.decode(codec.encode(message))[0] == message


@given(st.data())
def test_a_damaged_message_is_read_as_a_message_or_refused(data: st.DataObject) -> None:
    _, codec, samples, _ = data.draw(st.sampled_from(DIRECTIONS))
    frame = bytearray(codec.encode(data.draw(st.sampled_from(sorted(samples.items())))[1])[0])
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        codec.decode([bytes(frame)])
    except UnreadableMessageError as error:
        assert "hidden" not in str(error)  # noqa: PT017 - whether it is raised depends on the damage


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], ""),
        ([b"x" * MAX_MESSAGE_BYTES], ""),
        ([b"x" * (MAX_MESSAGE_BYTES + 1)], f"a message of {MAX_MESSAGE_BYTES + 1} bytes"),
        ([b"x"] * (MAX_ATTACHMENTS + 1), ""),
        ([b"x"] * (MAX_ATTACHMENTS + 2), f"a message with {MAX_ATTACHMENTS + 1} attachments"),
        ([b"x" * 5_000, b"y" * 600, b"z" * 400], ""),
        ([b"x" * 5_000, b"y" * 600, b"z" * 401], "a message with 1001 bytes attached; at most 1000 are read"),
    ],
)
def test_what_is_too_much_is_said(frames: list[bytes], words: str) -> None:
    found = excess(frames, 1_000)
    assert found.startswith(words) if words else found == ""


def test_attachments_beyond_the_bound_are_not_read() -> None:
    frames = COMMANDS.encode(next(iter(COMMAND_SAMPLES.values())), [b"12345", b"678901"])
    assert len(COMMANDS.decode(frames, max_attachment_bytes=11)[1]) == 2
    with pytest.raises(UnreadableMessageError, match="11 bytes attached; at most 10 are read"):
        COMMANDS.decode(frames, max_attachment_bytes=10)
