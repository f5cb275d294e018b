"""Events of a running call, from the worker's words to the bot's listeners."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.fakes.pool import credentials, pool_of
from tests.fakes.running import asyncio_test
from voicepool import EncryptionChanged, Interrupted, Restored, ServerWanted
from voicepool.connection import BaseVoiceConnection
from voicepool.ipc import events as wire
from voicepool.ipc.errors import ErrorCode, ErrorInfo

LOST = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="the connection was lost", data={"close_code": 1006})


def told(voice: BaseVoiceConnection, generation: int = 1) -> list[Any]:
    call = voice.call_id
    heard: list[Any] = []
    voice.listen(heard.append)
    for event in (
        wire.CallInterrupted(call=call, generation=generation, error=LOST),
        wire.ServerWanted(call=call, generation=generation, rejoin=True),
        wire.CallRestored(
            call=call, generation=generation, gap_ms=40.0, resumed=False, mode="aead_new", ssrc=99
        ),
    ):
        voice.on_call_event(event)
    return heard


@asyncio_test
async def test_each_event_reaches_the_listeners_in_order() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials())
        interrupted, wanted, restored = told(voice)
        assert isinstance(interrupted, Interrupted)
        assert interrupted.reason.data["close_code"] == 1006
        assert wanted == ServerWanted(rejoin=True)
        assert restored == Restored(gap_ms=40.0, resumed=False)
        assert (voice.interrupted, voice.connected) == (False, True)
        assert (voice.mode, voice.ssrc) == ("aead_new", 99)


@asyncio_test
async def test_it_is_interrupted_until_it_is_restored() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials())
        voice.on_call_event(wire.CallInterrupted(call=voice.call_id, generation=1, error=LOST))
        assert (voice.interrupted, voice.connected) == (True, True)


@asyncio_test
async def test_news_of_an_older_attempt_is_void() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials())
        assert told(voice, generation=0) == []
        assert not voice.interrupted


@asyncio_test
async def test_the_privacy_code_is_offered_and_its_changes_told() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials())
        assert voice.encryption is None
        heard: list[Any] = []
        stop = voice.listen(heard.append)
        state = wire.EncryptionState(
            call=voice.call_id, protocol_version=1, sending=True, epoch=2, privacy_code="42", members=[3, 4]
        )
        voice.on_call_event(state)
        expected = EncryptionChanged(1, sending=True, privacy_code="42", members=frozenset({3, 4}))
        assert heard == [expected]
        assert voice.encryption == expected
        stop()
        stop()
        voice.on_call_event(state)
        assert len(heard) == 1


@asyncio_test
async def test_a_listener_that_fails_is_logged_and_the_others_hear(caplog: pytest.LogCaptureFixture) -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials())

        def fail(_: object) -> None:
            raise RuntimeError("a bug in the bot")

        voice.listen(fail)
        assert len(told(voice)) == 3
        assert caplog.text.count("a bug in the bot") >= 3


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Restored(1.0, resumed=True).gap_ms = 2.0  # type: ignore[misc]
