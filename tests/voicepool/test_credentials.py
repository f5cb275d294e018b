"""What the main gateway hands out is checked, and kept secret."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from voicepool.credentials import VoiceCredentials

GOOD: dict[str, Any] = {
    "guild_id": 1,
    "channel_id": 2,
    "user_id": 3,
    "session_id": "secret-session",
    "endpoint": "wss://voice.example:8443",
    "token": "secret-token",
}


class Snowflake(int):
    """As bot libraries have it."""


class Indexable:
    def __index__(self) -> int:
        return 77


def test_good_ones_are_taken() -> None:
    credentials = VoiceCredentials(**GOOD)
    assert (credentials.guild_id, credentials.endpoint) == (1, "wss://voice.example:8443")
    wire = credentials.to_wire()
    assert (wire.guild_id, wire.channel_id, wire.user_id) == (1, 2, 3)
    assert (wire.session_id, wire.token) == ("secret-session", "secret-token")


def test_a_librarys_own_integers_become_plain_ones() -> None:
    credentials = VoiceCredentials(**GOOD | {"guild_id": Snowflake(9), "user_id": Indexable()})
    assert type(credentials.guild_id) is int
    assert credentials.user_id == 77


def test_no_text_of_them_holds_a_secret() -> None:
    credentials = VoiceCredentials(**GOOD)
    for text in (repr(credentials), str(credentials), f"{credentials}", repr(credentials.to_wire())):
        assert "secret" not in text
        assert "voice.example" in text


def test_they_are_frozen_equal_and_picklable() -> None:
    credentials = VoiceCredentials(**GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        credentials.token = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(credentials)) == credentials


@pytest.mark.parametrize("field", ["guild_id", "channel_id", "user_id"])
@pytest.mark.parametrize("value", ["1", 1.0, None, True, b"1", [1]])
def test_an_id_must_be_an_integer(field: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{field} must be an integer, not {type(value).__name__}"):
        VoiceCredentials(**GOOD | {field: value})


@pytest.mark.parametrize("value", [0, -1, 1 << 64])
def test_an_id_must_be_a_snowflake(value: int) -> None:
    with pytest.raises(ValueError, match=r"guild_id = .* is no snowflake"):
        VoiceCredentials(**GOOD | {"guild_id": value})


@pytest.mark.parametrize("field", ["session_id", "endpoint", "token"])
@pytest.mark.parametrize("value", [None, 5, b"bytes"])
def test_a_text_must_be_one(field: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{field} must be a str"):
        VoiceCredentials(**GOOD | {field: value})


def test_a_null_endpoint_is_explained() -> None:
    with pytest.raises(TypeError, match="wait for the next voice server update"):
        VoiceCredentials(**GOOD | {"endpoint": None})


@pytest.mark.parametrize("field", ["session_id", "endpoint", "token"])
@pytest.mark.parametrize("value", ["", "  ", "secret\nsecret", "secret" * 1_000])
def test_a_text_must_make_sense_and_is_not_repeated(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        VoiceCredentials(**GOOD | {field: value})
    assert "secret" not in str(caught.value)
