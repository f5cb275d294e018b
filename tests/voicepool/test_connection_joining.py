"""A connection that joins, or joins anew: attempts that overtake each other, fail, or wait for a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, until
from tests.fakes.running import asyncio_test
from voicepool._playing.line import ANSWER_MARGIN_S
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import (
    ClosedByServerError,
    ConnectTimeoutError,
    SupersededError,
)
from voicepool.ipc.commands import OpenCall, Play
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallClosed, CallInterrupted, CallOpened
from voicepool.ipc.ids import WorkerId

LOST = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="the connection was lost", data={"close_code": 1006})


@asyncio_test
async def test_joining_anew_keeps_the_call_and_what_plays() -> None:
    async with connected() as (voice, worker, _):
        task = voice.play_no_wait("song.flac")
        await worker.hear(Play)
        await voice.connect(credentials(endpoint="other.example:443", token="new"))
        first, second = worker.heard(OpenCall)
        assert first.call == second.call
        assert (first.generation, second.generation) == (1, 2)
        assert second.credentials.endpoint == "other.example:443"
        assert (voice.connected, voice.playing, voice.ssrc) == (True, True, 1002)
        await voice.stop()
        await task


@asyncio_test
async def test_a_newer_attempt_overtakes_an_older_one() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        older = asyncio.create_task(voice.connect(credentials(token="second")))
        await worker.hear(OpenCall, 2)
        assert not voice.connected
        worker.silent_about.clear()
        await voice.connect(credentials(token="third"))
        with pytest.raises(SupersededError):
            await older
        assert (voice.connected, voice.ssrc) == (True, 1003)


@asyncio_test
async def test_the_late_answer_to_an_older_attempt_is_ignored() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        attempts = [asyncio.create_task(voice.connect(credentials(token=token))) for token in ("b", "c")]
        commands = await worker.hear(OpenCall, 3)
        for command in commands[1:]:
            worker.say(
                CallOpened(
                    request=command.request,
                    call=command.call,
                    generation=command.generation,
                    mode="m",
                    ssrc=command.generation,
                )
            )
        await attempts[1]
        with pytest.raises(SupersededError):
            await attempts[0]
        assert voice.ssrc == 3


@asyncio_test
async def test_an_answer_that_was_not_looked_at_yet_is_overtaken_too() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        older = asyncio.create_task(voice.connect(credentials(token="b")))
        [_, command] = await worker.hear(OpenCall, 2)
        await until(lambda: voice._opening)
        newer = asyncio.create_task(voice.connect(credentials(token="c")))
        assert voice._opening is not None
        voice._opening.settle(
            CallOpened(request=command.request, call=voice.call_id, generation=2, mode="m", ssrc=2)
        )
        with pytest.raises(SupersededError):
            await older
        assert not voice.connected
        [_, _, command] = await worker.hear(OpenCall, 3)
        worker.say(CallOpened(request=command.request, call=voice.call_id, generation=3, mode="m", ssrc=3))
        await newer
        assert voice.ssrc == 3


@asyncio_test
async def test_failing_to_join_anew_ends_the_connection() -> None:
    async with connected() as (voice, worker, _):
        playing = asyncio.create_task(voice.play("song.flac"))
        await worker.hear(Play)
        worker.refusals[OpenCall] = ErrorInfo(code=ErrorCode.CONNECT_TIMEOUT, text="no hello")
        with pytest.raises(ConnectTimeoutError):
            await voice.connect(credentials(token="new"))
        with pytest.raises(ConnectTimeoutError):
            await playing
        assert voice.closed


@asyncio_test
async def test_disconnecting_overtakes_joining_anew() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect())
        await worker.hear(OpenCall, 2)
        await voice.disconnect()
        with pytest.raises(SupersededError):
            await joining


@asyncio_test
async def test_credentials_of_another_guild_are_refused() -> None:
    async with connected() as (voice, _, _):
        with pytest.raises(ValueError, match="make a new connection"):
            await voice.connect(credentials(guild=2))
        assert voice.connected


@asyncio_test
async def test_an_attempt_that_the_call_ends_raises_why() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect(credentials(token="new")))
        await worker.hear(OpenCall, 2)
        error = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="kicked", data={"close_code": 4014})
        worker.say(CallClosed(call=voice.call_id, generation=2, error=error))
        with pytest.raises(ClosedByServerError, match="kicked"):
            await joining
        assert voice.closed


@asyncio_test
async def test_what_follows_the_answer_at_once_is_not_forgotten() -> None:
    async with connected() as (voice, worker, _):
        worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect(credentials(token="new")))
        [_, command] = await worker.hear(OpenCall, 2)
        # Both are read before `connect` gets to run.
        for event in (
            CallOpened(request=command.request, call=voice.call_id, generation=2, mode="m", ssrc=2),
            CallInterrupted(call=voice.call_id, generation=2, error=LOST),
        ):
            assert voice._link is not None
            voice._link._take(event)
        await joining
        assert (voice.connected, voice.interrupted) == (True, True)


@asyncio_test
async def test_a_first_attempt_is_short_and_mending_takes_as_long_as_the_worker_may() -> None:
    config: dict[str, Any] = {
        "connect_timeout_s": 10.0,
        "reconnect_attempts": 3,
        "reconnect_longest_pause_s": 2.0,
        "server_wait_s": 20.0,
    }
    async with connected(**config) as (voice, worker, _):
        assert voice._opening is not None
        assert voice._opening._timeout_s == 10.0 + ANSWER_MARGIN_S
        worker.silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect(credentials(token="new")))
        await worker.hear(OpenCall, 2)
        assert voice._opening._timeout_s == 3 * (10.0 + 2.0) + 20.0 + ANSWER_MARGIN_S
        await voice.disconnect()
        with pytest.raises(SupersededError):
            await joining


# Places at workers.


@asyncio_test
async def test_who_leaves_while_no_worker_is_there_keeps_no_place() -> None:
    pool, fakes = pool_of()
    async with pool:
        fleet = pool.host.fleet  # type: ignore[attr-defined]  # the switchboard
        gate = asyncio.Event()
        placed = asyncio.Event()
        wait = fleet._wait_for_a_worker

        async def held(avoid: Collection[WorkerId]) -> None:
            placed.set()
            await gate.wait()
            await wait(avoid)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fleet, "_wait_for_a_worker", held)
            voice = BaseVoiceConnection(pool.host, credentials())
            joining = asyncio.create_task(voice.connect())
            await placed.wait()
            voice.leave()
            gate.set()
            with pytest.raises(SupersededError):
                await joining
        assert [info.calls for info in pool.workers] == [0]
        assert fakes.workers[0].heard(OpenCall) == []


@asyncio_test
async def test_two_attempts_that_wait_for_a_worker_get_the_same() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        fleet = pool.host.fleet  # type: ignore[attr-defined]  # the switchboard
        gate = asyncio.Event()

        async def held(_avoid: Collection[WorkerId]) -> None:
            await gate.wait()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fleet, "_wait_for_a_worker", held)
            voice = BaseVoiceConnection(pool.host, credentials())
            older, newer = (asyncio.create_task(voice.connect()) for _ in range(2))
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(SupersededError):
                await older
            await newer
        assert sum(info.calls for info in pool.workers) == 1
        [holder] = [worker for worker in fakes.workers if worker.heard(OpenCall)]
        other = fakes.workers.index(next(worker for worker in fakes.workers if worker is not holder))
        fakes.processes[other].kill()
        await until(lambda: len(fleet.links) == 1)
        assert voice.connected, "the loss of the other worker is nothing to it"
