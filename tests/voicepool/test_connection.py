"""A connection: the ways it ends, and what it tells.

Joining anew is in ``test_connection_joining.py``, playing in ``test_playing.py``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, settled
from tests.fakes.running import asyncio_test
from voicepool._playing.line import ANSWER_MARGIN_S
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import (
    CallGoneError,
    ClosedByServerError,
    SupersededError,
    UnverifiableError,
    VoicePoolError,
    WorkerTimeoutError,
)
from voicepool.events import Connected, Interrupted, Restored, ServerWanted
from voicepool.ipc.commands import CloseCall, OpenCall, Play, ServerGone, Verify
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed, MembersChanged

# The end.


@asyncio_test
async def test_disconnect_ends_all_and_tells_the_worker() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        await voice.disconnect()
        await playing
        assert (voice.connected, voice.closed, voice.error) == (False, True, None)
        assert (voice.mode, voice.ssrc) == (None, None)
        [close] = worker.heard(CloseCall)
        assert close.call == voice.call_id
        await voice.disconnect()
        await voice.wait_closed()
        assert len(worker.heard(CloseCall)) == 1


@asyncio_test
async def test_a_closed_connection_refuses_to_play() -> None:
    async with connected() as (voice, worker, _):
        await voice.disconnect()
        with pytest.raises(CallGoneError, match="connect again"):
            await voice.play("song.flac")
        with pytest.raises(CallGoneError):
            voice.play_no_wait("song.flac")
        with pytest.raises(CallGoneError):
            await voice.connect()
        voice.pause()
        voice.resume()
        voice.volume = 0.3
        await voice.stop()
        await voice.wait_for_stopped()
        assert voice.volume == 0.3
        assert worker.heard(Play) == []


@asyncio_test
async def test_disconnect_survives_a_worker_that_does_not_answer() -> None:
    async with connected(command_timeout_s=0.02) as (voice, worker, _):
        worker.silent_about.add(CloseCall)
        await voice.disconnect()
        assert voice.closed


@asyncio_test
async def test_disconnect_survives_the_loss_of_the_worker() -> None:
    async with connected() as (voice, worker, fakes):
        worker.silent_about.add(CloseCall)
        leaving = asyncio.create_task(voice.disconnect())
        await worker.hear(CloseCall)
        fakes.processes[0].kill()
        await leaving


@asyncio_test
async def test_a_call_that_is_closed_by_the_server_ends_what_plays() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        with pytest.raises(ClosedByServerError, match="kicked"):
            await playing
        await voice.wait_closed()
        assert isinstance(voice.error, ClosedByServerError)
        assert not voice.connected
        with pytest.raises(CallGoneError):
            await voice.play("song.flac")


@asyncio_test
async def test_the_end_of_an_older_attempt_is_ignored() -> None:
    async with connected() as (voice, worker, _):
        await voice.connect(credentials(token="new"))
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="old", data={"close_code": 4014})
        worker.say(MembersChanged(call=voice.call_id, joined=[3]))
        worker.say(CallClosed(call=voice.call_id, generation=1, error=error))
        await settled(voice)
        assert voice.connected
        assert voice.members == frozenset(), "of the call that ended"


@asyncio_test
async def test_the_hook_is_called_once_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[VoicePoolError | None] = []

    class Hooked(BaseVoiceConnection):
        def on_closed(self, error: VoicePoolError | None) -> None:
            calls.append(error)
            raise RuntimeError("a mistake of the adapter")

    pool, fakes = pool_of()
    async with pool:
        voice = Hooked(pool.host, credentials())
        await voice.connect()
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        fakes.workers[0].say(CallClosed(call=voice.call_id, generation=1, error=error))
        await voice.wait_closed()
        await voice.disconnect()
    assert [type(error) for error in calls] == [ClosedByServerError]
    assert "on_closed of Hooked failed" in caplog.text


# What it says of itself.


@asyncio_test
async def test_its_repr_tells_where_it_stands_and_no_secret() -> None:
    async with connected() as (voice, _, _):
        assert repr(voice) == "<BaseVoiceConnection guild=1 channel=10 connected>"
        voice.server_gone()
        assert repr(voice) == "<BaseVoiceConnection guild=1 channel=10 interrupted>"
        await voice.disconnect()
        assert repr(voice) == "<BaseVoiceConnection guild=1 channel=10 closed>"


# The server goes away.


@asyncio_test
async def test_a_server_that_is_gone_is_told_to_the_worker_and_what_plays_is_kept() -> None:
    async with connected() as (voice, worker, _):
        heard: list[Any] = []
        voice.listen(heard.append, Interrupted, ServerWanted, Connected, Restored)
        task = voice.play_no_wait("song.flac")
        await worker.hear(Play)
        voice.server_gone()
        voice.server_gone()
        gone = await worker.hear(ServerGone, 2)
        assert {(command.call, command.generation) for command in gone} == {(voice.call_id, 1)}
        assert (voice.connected, voice.interrupted, voice.playing) == (False, True, True)
        await settled(voice)
        await voice.connect(credentials(endpoint="other.example:443"))
        await settled(voice)
        assert (voice.connected, voice.interrupted, voice.playing) == (True, False, True)
        assert [type(event) for event in heard] == [Interrupted, ServerWanted, Connected, Restored]
        assert "will name another" in str(heard[0].reason)
        assert heard[1] == ServerWanted(rejoin=False, reason=None)
        await voice.stop()
        await task


@asyncio_test
async def test_a_server_that_goes_while_joining_makes_the_wait_longer() -> None:
    pool, fakes = pool_of(connect_timeout_s=1.0, server_wait_s=40.0)
    async with pool:
        [worker] = fakes.workers
        worker.silent_about.add(OpenCall)
        voice = BaseVoiceConnection(pool.host, credentials())
        voice.server_gone()
        joining = asyncio.create_task(voice.connect())
        await worker.hear(OpenCall)
        voice.server_gone()
        assert not voice.interrupted, "it never was connected"
        assert voice._opening is not None
        assert voice._opening._timeout_s == 40.0 + ANSWER_MARGIN_S
        [gone] = await worker.hear(ServerGone)
        assert gone.generation == 1
        worker.silent_about.clear()
        await voice.connect(credentials(endpoint="other.example:443"))
        with pytest.raises(SupersededError):
            await joining
        assert voice.connected


@asyncio_test
async def test_a_closed_connection_has_no_server_to_lose() -> None:
    async with connected() as (voice, worker, _):
        await voice.disconnect()
        voice.server_gone()
        await settled(voice)
        assert worker.heard(ServerGone) == []
        assert not voice.interrupted


@asyncio_test
async def test_a_worker_that_cannot_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (voice, _, _):
        assert voice._link is not None
        with pytest.MonkeyPatch.context() as patch:

            def full(*_: object) -> None:
                raise WorkerTimeoutError("worker w0.1 is stuck")

            patch.setattr(voice._link, "post", full)
            voice.server_gone()
        assert voice.interrupted
    assert "cannot be told that its server is gone: worker w0.1 is stuck" in caplog.text


# Verification.


class Snowflake(int):
    """An id as bot libraries have it."""


@asyncio_test
async def test_a_verification_code_is_the_workers() -> None:
    async with connected() as (voice, worker, _):
        code = await voice.verification_code(Snowflake(42))
        assert (len(code), int(code)) == (45, 42)
        [command] = worker.heard(Verify)
        assert (command.call, command.user) == (voice.call_id, 42)
        refusal = ErrorInfo(code=ErrorCode.UNVERIFIABLE, text="no such member", data={"user": 43})
        worker.refusals[Verify] = refusal
        with pytest.raises(UnverifiableError, match="no such member"):
            await voice.verification_code(43)
        await voice.disconnect()
        with pytest.raises(CallGoneError, match="has ended"):
            await voice.verification_code(42)
        with pytest.raises(CallGoneError, match="was never made"):
            await BaseVoiceConnection(voice._host, credentials()).verification_code(42)


@asyncio_test
async def test_a_verification_code_that_does_not_come_is_a_timeout() -> None:
    async with connected(command_timeout_s=0.02) as (voice, worker, _):
        worker.silent_about.add(Verify)
        with pytest.raises(WorkerTimeoutError, match="Verify"):
            await voice.verification_code(42)
        assert voice.connected
