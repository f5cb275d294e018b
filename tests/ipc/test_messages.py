"""Commands, events and the rest of the vocabulary: no secret shows, and the rules of the contract hold."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from tests.ipc.samples import COMMAND_SAMPLES, EVENT_SAMPLES
from voicepool.ipc.commands import Command, OpenCall
from voicepool.ipc.errors import ErrorCode, ForeignPeerError, WrongVersionError
from voicepool.ipc.events import Event, Hello
from voicepool.ipc.ids import WorkerId, new_call_id, new_playback_id, new_stream_id
from voicepool.ipc.secret import REDACTED
from voicepool.ipc.sources import ResolverSource, UrlSource
from voicepool.ipc.version import WIRE_VERSION, check_hello

ALL = [*typing.get_args(Command), *typing.get_args(Event)]


def test_credentials_do_not_show() -> None:
    opened = COMMAND_SAMPLES["OpenCall"]
    assert isinstance(opened, OpenCall)
    for text in (repr(opened), str(opened), f"{opened.credentials}"):
        assert "hidden session" not in text
        assert "hidden token" not in text
        assert "voice.example:443" in text
        assert REDACTED in text


def test_a_start_token_does_not_show() -> None:
    assert "hidden start" not in repr(EVENT_SAMPLES["Hello"])


def test_the_query_and_the_headers_of_a_url_do_not_show() -> None:
    source = UrlSource(url="https://example.com/a?key=hidden", headers={"Authorization": "hidden"})
    assert repr(source) == "UrlSource('https://example.com/a')"
    for url in ("https://user:hidden@example.com/a", "https://example.com/a#hidden"):
        assert "hidden" not in repr(UrlSource(url))
        assert "hidden" not in repr(ResolverSource("bot.library:find", url))


@pytest.mark.parametrize("kind", ALL)
def test_each_message_is_frozen_and_tagged_by_its_name(kind: Any) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert config.tag == kind.__name__.lower()
    assert config.tag_field == "m"


def structs_in(value: Any) -> list[msgspec.Struct]:
    if isinstance(value, msgspec.Struct):
        inner = [getattr(value, name) for name in value.__struct_fields__]
        return [value, *(struct for field in inner for struct in structs_in(field))]
    return (
        [struct for item in value for struct in structs_in(item)] if isinstance(value, list | tuple) else []
    )


def test_the_samples_pin_every_optional_field() -> None:
    told: dict[type, set[str]] = {}
    for sample in (*COMMAND_SAMPLES.values(), *EVENT_SAMPLES.values()):
        for struct in structs_in(sample):
            seen = told.setdefault(type(struct), set())
            for field in msgspec.structs.fields(struct):
                default = field.default_factory() if callable(field.default_factory) else field.default
                if field.required or getattr(struct, field.name) != default:
                    seen.add(field.name)
    for kind, seen in told.items():
        assert seen == {field.name for field in msgspec.structs.fields(kind)}, kind


def test_no_two_messages_share_a_tag() -> None:
    tags = [kind.__struct_config__.tag for kind in ALL]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("kind", ALL)
def test_a_message_with_a_request_cannot_go_without_its_number(kind: Any) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    if "request" in fields and kind.__name__ != "Stats":
        assert fields["request"].required


def test_error_codes_are_words_that_stay() -> None:
    assert {code.value for code in ErrorCode} >= {"source_not_found", "authentication", "internal"}
    assert all(code.value == code.name.lower() for code in ErrorCode)


def test_names_are_fresh() -> None:
    makers = (new_call_id, new_playback_id, new_stream_id)
    assert len({make() for make in makers for _ in range(100)}) == 300


def hello(token: str = "right", version: int = WIRE_VERSION) -> Hello:
    return Hello(wire_version=version, worker=WorkerId("w0.1"), start_token=token, pid=1)


def test_the_right_hello_is_let_in() -> None:
    check_hello(hello(), start_token="right")


@pytest.mark.parametrize("token", ["", "wrong", "righ", "right ", "é"])
def test_a_wrong_token_is_foreign_and_not_repeated(token: str) -> None:
    with pytest.raises(ForeignPeerError, match="without the right start token") as caught:
        check_hello(hello(token), start_token="right")
    assert type(caught.value) is ForeignPeerError
    assert "right." not in str(caught.value)


def test_another_version_is_told_with_both_and_the_way_out() -> None:
    with pytest.raises(WrongVersionError, match=f"version 99, this bot {WIRE_VERSION}: .*reinstall"):
        check_hello(hello(version=99), start_token="right")


def test_the_token_comes_before_the_version() -> None:
    with pytest.raises(ForeignPeerError) as caught:
        check_hello(hello("wrong", version=99), start_token="right")
    assert not isinstance(caught.value, WrongVersionError)
