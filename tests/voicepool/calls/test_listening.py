"""What a connection tells: from a worker's words to those who listen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, settled, until
from tests.fakes.running import asyncio_test
from voicepool import (
    Closed,
    Connected,
    EncryptionChanged,
    Interrupted,
    MemberJoined,
    MemberLeft,
    MemberSpeaking,
    Restored,
    ServerWanted,
)
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import ClosedByServerError, ConnectRefusedError, WorkerLostError
from voicepool.ipc import events as wire
from voicepool.ipc.commands import OpenCall, Stop
from voicepool.ipc.errors import ErrorCode, ErrorInfo

LOST = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="the connection was lost", data={"close_code": 1006})
VOID = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="the session is void", data={"close_code": 4006})


@asyncio_test
async def test_the_first_event_is_the_connection_and_the_last_its_end() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = BaseVoiceConnection(pool.host, credentials())
        heard: list[Any] = []
        voice.listen(heard.append)
        await voice.connect()
        assert heard == [Connected(10, "aead_aes256_gcm_rtpsize")]
        await voice.disconnect()
        await voice.disconnect()
    assert heard[1:] == [Closed(None)]


@asyncio_test
async def test_a_first_connect_that_fails_is_one_event() -> None:
    pool, fakes = pool_of()
    async with pool:
        fakes.workers[0].refusals[OpenCall] = ErrorInfo(code=ErrorCode.CONNECT_REFUSED, text="nobody there")
        voice = BaseVoiceConnection(pool.host, credentials())
        heard: list[Any] = []
        voice.listen(heard.append)
        with pytest.raises(ConnectRefusedError):
            await voice.connect()
        [closed] = heard
        assert isinstance(closed.reason, ConnectRefusedError)


@asyncio_test
async def test_a_loss_and_its_mending() -> None:
    async with connected() as (voice, worker, _):
        heard: list[Any] = []
        voice.listen(heard.append)
        worker.say(wire.CallInterrupted(call=voice.call_id, generation=1, error=LOST))
        await settled(voice)
        assert (voice.interrupted, voice.connected) == (True, True)
        worker.say(
            wire.CallRestored(
                call=voice.call_id, generation=1, gap_ms=40.0, resumed=False, mode="aead_new", ssrc=99
            )
        )
        await settled(voice)
        assert (voice.interrupted, voice.connected) == (False, True)
        assert (voice.mode, voice.ssrc) == ("aead_new", 99)
        lost, restored = heard
        assert lost.reason.close_code == 1006
        assert restored == Restored(40.0, resumed=False)


@asyncio_test
async def test_a_session_that_is_void_goes_on_with_new_credentials() -> None:
    wishes: list[bool] = []

    class Hooked(BaseVoiceConnection):
        def on_server_wanted(self, *, rejoin: bool) -> None:
            wishes.append(rejoin)

    pool, fakes = pool_of()
    async with pool:
        voice = Hooked(pool.host, credentials())
        await voice.connect()
        [worker] = fakes.workers
        heard: list[Any] = []
        voice.listen(heard.append)
        worker.say(wire.CallInterrupted(call=voice.call_id, generation=1, error=VOID))
        worker.say(wire.ServerWanted(call=voice.call_id, generation=1, rejoin=True, error=VOID))
        await settled(voice)
        assert (voice.interrupted, voice.connected, voice.mode) == (True, False, None)
        assert wishes == [True]
        await voice.connect(credentials(session_id="new"))
        worker.say(
            wire.CallRestored(call=voice.call_id, generation=2, gap_ms=900.0, resumed=False, mode="m", ssrc=9)
        )
        await settled(voice)
        assert (voice.interrupted, voice.connected) == (False, True)
        assert [type(event) for event in heard] == [Interrupted, ServerWanted, Connected, Restored]
        assert heard[1].rejoin
        assert isinstance(heard[1].reason, ClosedByServerError)
        await voice.disconnect()
        worker.say(wire.ServerWanted(call=voice.call_id, generation=2, rejoin=True))
        assert wishes == [True]


@asyncio_test
async def test_who_is_there_and_who_speaks() -> None:
    async with connected() as (voice, worker, _):
        heard: list[Any] = []
        voice.listen(heard.append, MemberJoined, MemberLeft, MemberSpeaking)
        assert voice.members == frozenset()
        worker.say(wire.MembersChanged(call=voice.call_id, joined=[3, 4]))
        worker.say(wire.Speaking(call=voice.call_id, user=3, ssrc=77, flags=1))
        worker.say(wire.MembersChanged(call=voice.call_id, left=[4]))
        await settled(voice)
        assert heard == [MemberJoined(3), MemberJoined(4), MemberSpeaking(3, 77, 1), MemberLeft(4)]
        assert voice.members == {3}
        await voice.disconnect()
        assert voice.members == frozenset()


@asyncio_test
async def test_the_privacy_code_is_offered_and_its_changes_told() -> None:
    async with connected() as (voice, worker, _):
        assert voice.encryption is None
        heard: list[Any] = []
        stop = voice.listen(heard.append)
        worker.say(
            wire.EncryptionState(
                call=voice.call_id,
                protocol_version=1,
                sending=True,
                epoch=2,
                privacy_code="42",
                members=[3, 4],
            )
        )
        await settled(voice)
        expected = EncryptionChanged(1, sending=True, privacy_code="42", members=frozenset({3, 4}))
        assert heard == [expected]
        assert voice.encryption == expected
        stop()
        worker.say(wire.EncryptionState(call=voice.call_id, protocol_version=0, sending=True))
        await settled(voice)
        assert len(heard) == 1
        assert voice.encryption == EncryptionChanged(0, sending=True)


@asyncio_test
async def test_the_loss_of_the_worker_is_an_interruption() -> None:
    async with connected() as (voice, _, fakes):
        events = voice.events()
        fakes.processes[0].kill()
        interrupted, restored = await anext(events), await anext(events)
        assert isinstance(interrupted, Interrupted)
        assert isinstance(interrupted.reason, WorkerLostError)
        assert isinstance(restored, Restored)
        assert not restored.resumed
        await voice.disconnect()
        assert [event async for event in events] == [Closed(None)]


@asyncio_test
async def test_a_connection_taken_over_says_so_at_its_end() -> None:
    pool, _ = pool_of()
    async with pool:
        older = await pool.connect(credentials())
        events = older.events(Closed)
        await pool.connect(credentials())
        [closed] = [event async for event in events]
        assert closed.reason is older.error
        assert "taken over" in str(closed.reason)


@asyncio_test
async def test_a_coroutine_function_may_use_the_connection() -> None:
    async with connected() as (voice, worker, _):
        left = asyncio.Event()

        async def leave(event: MemberLeft) -> None:
            assert event.user_id == 3
            await voice.disconnect()
            left.set()

        voice.listen(leave, MemberLeft)
        voice.listen(leave, MemberLeft)
        worker.say(wire.MembersChanged(call=voice.call_id, joined=[3]))
        worker.say(wire.MembersChanged(call=voice.call_id, left=[3]))
        await left.wait()
        await voice.wait_closed()
        assert voice.closed


@asyncio_test
async def test_the_pool_ends_a_coroutine_function_that_does_not() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def hang(_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with connected(stop_timeout_s=0.05) as (voice, worker, _):
        voice.listen(hang)
        worker.say(wire.MembersChanged(call=voice.call_id, joined=[3]))
        await begun.wait()
        # It is not waited for here.
        await voice.disconnect()
        assert ended == []
    assert ended == ["cancelled"]


@asyncio_test
async def test_what_is_no_listener_is_refused_at_once() -> None:
    async with connected() as (voice, _, _):
        with pytest.raises(TypeError, match="must be callable"):
            voice.listen(None)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="is no class of event; allowed are"):
            voice.listen(print, Stop)  # type: ignore[type-var]
        with pytest.raises(TypeError, match="is no class of event"):
            voice.events(Stop)  # type: ignore[type-var]


@asyncio_test
async def test_a_listener_that_leaves_the_call_is_not_told_of_more() -> None:
    async with connected() as (voice, worker, _):
        heard: list[Any] = []
        voice.listen(lambda _: voice.leave(), MemberJoined)
        voice.listen(heard.append)
        worker.say(wire.MembersChanged(call=voice.call_id, joined=[3, 4]))
        await until(lambda: voice.closed)
        assert heard == [MemberJoined(3), MemberJoined(4), Closed(None)]
