"""A connection whose worker is lost: another one goes on, whatever crosses on the way."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.fakes.pool import connected, credentials, pool_of, settled, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool.connection import BaseVoiceConnection
from voicepool.credentials import VoiceCredentials
from voicepool.encoding import Encoding
from voicepool.errors import (
    AuthenticationError,
    ConnectTimeoutError,
    PoolFullError,
    SupersededError,
    UnverifiableError,
    VoicePoolError,
    WorkerLostError,
)
from voicepool.events import Closed, Connected, Interrupted, MemberJoined, MemberLeft, Restored, ServerWanted
from voicepool.ipc import events as wire
from voicepool.ipc.commands import CloseCall, OpenCall, Play, ServerGone, SetEncoding, SetVolume
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.pool_events import CallMoved, MoveReason

FULL = ErrorInfo(code=ErrorCode.WORKER_FULL, text="this worker holds 500 calls")
AUTH = ErrorInfo(code=ErrorCode.AUTHENTICATION, text="authentication failed", data={"close_code": 4004})
QUICK: dict[str, Any] = {"reconnect_first_pause_s": 0.01, "reconnect_longest_pause_s": 0.02}


def holder_of(fakes: InProcess, voice: BaseVoiceConnection) -> ScriptedWorker:
    """The newest worker that was asked to open the call."""
    [*_, found] = [worker for worker in fakes.workers if voice.call_id in worker.open_calls]
    return found


@asyncio_test
async def test_another_worker_takes_over_and_says_so_once() -> None:
    pool, fakes = pool_of(2)
    moved: list[CallMoved] = []
    async with pool:
        voice = await pool.connect(credentials())
        heard: list[Any] = []
        voice.listen(heard.append, Connected, Interrupted, Restored, Closed, ServerWanted)
        pool.listen(moved.append, CallMoved)
        task = voice.play_no_wait("song.flac")
        await fakes.workers[0].hear(Play)
        fakes.processes[0].kill()
        [opened] = await fakes.workers[1].hear(OpenCall)
        [again] = await fakes.workers[1].hear(Play)
        await until(lambda: not voice.interrupted)
        assert (opened.takes_over, opened.generation, opened.call) == (True, 2, voice.call_id)
        assert fakes.workers[1].commands.index(opened) < fakes.workers[1].commands.index(again)
        assert [type(event) for event in heard] == [Interrupted, Restored]
        assert isinstance(heard[0].reason, WorkerLostError)
        assert (heard[1].resumed, heard[1].gap_ms >= 0) == (False, True)
        assert (voice.connected, voice.playing, voice.ssrc) == (True, True, 1002)
        [event] = moved
        assert (event.guild_id, event.old, event.new) == (1, "w0.1", "w1.1")
        assert event.reason is MoveReason.LOST
        assert event.gap_ms == pytest.approx(heard[1].gap_ms, abs=50)
        assert not task.done()
        await voice.disconnect()
        await task


@asyncio_test
async def test_between_two_workers_it_is_interrupted_and_keeps_what_it_is() -> None:
    async with connected() as (voice, _, fakes):
        task = voice.play_no_wait("song.flac")
        await until(lambda: voice.track is not None and voice.track.info.codec)
        fakes.processes[0].kill()
        await until(lambda: voice.interrupted)
        assert voice.seeks_worker
        assert voice.link is None
        assert (voice.connected, voice.ssrc, voice.playing, voice.stopped) == (True, 1001, True, False)
        assert repr(voice).endswith("interrupted>")
        with pytest.raises(UnverifiableError, match="on its way to another worker"):
            await voice.verification_code(42)
        voice.volume = 0.5
        voice.encoding = Encoding(bitrate_bps=32_000)
        voice.pause()
        assert (voice.paused, voice.current_audio is not None) == (True, True)
        await until(lambda: not voice.interrupted)
        await settled(voice)
        worker = fakes.workers[-1]
        assert worker.heard(Play)[0].paused
        assert worker.heard(Play)[0].volume == 0.5
        assert {command.volume for command in worker.heard(SetVolume)} == {0.5}
        assert {command.encoding.bitrate_bps for command in worker.heard(SetEncoding)} == {32_000}
        assert (await voice.verification_code(42)).endswith("42")
        await voice.disconnect()
        await task


@asyncio_test
async def test_a_call_that_never_was_connected_ends_with_its_worker() -> None:
    pool, fakes = pool_of()
    async with pool:
        fakes.workers[0].silent_about.add(OpenCall)
        joining = asyncio.create_task(pool.connect(credentials()))
        await fakes.workers[0].hear(OpenCall)
        fakes.processes[0].kill()
        with pytest.raises(WorkerLostError):
            await joining
        assert pool.connections == ()


@asyncio_test
async def test_who_leaves_meanwhile_is_not_taken_over() -> None:
    async with connected() as (voice, _, fakes):
        fakes.processes[0].kill()
        await until(lambda: voice.interrupted)
        await voice.disconnect()
        await until(lambda: len(fakes.workers) == 2 and fakes.workers[1].setup)
        assert voice.closed
        assert voice.error is None
        assert fakes.workers[1].heard(OpenCall) == []


@asyncio_test
async def test_a_worker_that_dies_while_it_takes_over_is_followed_by_another() -> None:
    async with connected(**QUICK) as (voice, _, fakes):
        heard: list[Any] = []
        voice.listen(heard.append, Interrupted, Restored)
        task = voice.play_no_wait("song.flac")

        async def mute(worker: ScriptedWorker) -> None:
            worker.silent_about.add(OpenCall)
            await worker.greet()
            await worker.serve()

        usual, fakes.script = fakes.script, mute
        fakes.processes[0].kill()
        await until(lambda: len(fakes.workers) == 2 and fakes.workers[1].heard(OpenCall))
        fakes.script = usual
        fakes.processes[1].kill()
        await until(lambda: not voice.interrupted)
        assert [type(event) for event in heard] == [Interrupted, Restored]
        assert voice.connected
        [opened] = fakes.workers[2].heard(OpenCall)
        assert opened.generation == 3
        assert not task.done()
        await voice.disconnect()
        await task


@asyncio_test
async def test_a_full_worker_is_avoided() -> None:
    pool, fakes = pool_of(3, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        fakes.workers[1].refusals[OpenCall] = FULL
        fakes.processes[0].kill()
        await until(lambda: any(worker.open_calls for worker in fakes.workers[1:]))
        await until(lambda: not voice.interrupted)
        assert len(fakes.workers[1].heard(OpenCall)) == 1
        assert holder_of(fakes, voice) is not fakes.workers[1]


@asyncio_test
async def test_a_pool_that_stays_full_ends_it_with_the_figures() -> None:
    pool, fakes = pool_of(2, max_calls_per_worker=1, server_wait_s=0.05, **QUICK)
    async with pool:
        voice = await pool.connect(credentials(1))
        await pool.connect(credentials(2))
        worker = next(each for each in fakes.workers if voice.call_id in each.open_calls)

        async def never(_worker: ScriptedWorker) -> None:
            await asyncio.Event().wait()

        fakes.script = never
        fakes.processes[fakes.workers.index(worker)].kill()
        await voice.wait_closed()
        assert isinstance(voice.error, PoolFullError)
        assert "1" in str(voice.error)


@asyncio_test
async def test_credentials_that_are_refused_for_good_end_it() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        fakes.workers[1].refusals[OpenCall] = AUTH
        fakes.processes[0].kill()
        await voice.wait_closed()
        assert isinstance(voice.error, AuthenticationError)
        with pytest.raises(AuthenticationError):
            await task


@asyncio_test
async def test_a_closed_pool_begins_nothing_again() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        fakes.processes[0].kill()
        await until(lambda: voice.interrupted)
    assert voice.closed
    assert voice.error is None
    assert len([command for worker in fakes.workers for command in worker.heard(OpenCall)]) <= 2


# `connect` during all this.


@asyncio_test
async def test_credentials_that_come_meanwhile_are_those_that_are_used() -> None:
    async with connected() as (voice, _, fakes):
        heard: list[Any] = []
        voice.listen(heard.append, Connected, Interrupted, Restored)
        fakes.processes[0].kill()
        await until(lambda: voice.seeks_worker)
        older = asyncio.create_task(voice.connect(credentials(token="second")))
        await asyncio.sleep(0)
        newer = asyncio.create_task(voice.connect(credentials(token="third")))
        await newer
        with pytest.raises(SupersededError):
            await older
        [opened] = fakes.workers[1].heard(OpenCall)
        assert opened.credentials.token == "third"
        assert [type(event) for event in heard] == [Interrupted, Connected, Restored]


@asyncio_test
async def test_credentials_that_come_while_another_worker_connects_overtake() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        fakes.workers[1].silent_about.add(OpenCall)
        fakes.processes[0].kill()
        await fakes.workers[1].hear(OpenCall)
        fakes.workers[1].silent_about.clear()
        await voice.connect(credentials(token="new"))
        first, second = fakes.workers[1].heard(OpenCall)
        assert (first.generation, second.generation) == (2, 3)
        assert (first.takes_over, second.takes_over) == (True, False)
        assert second.credentials.token == "new"
        assert (voice.connected, voice.interrupted, voice.ssrc) == (True, False, 1003)
        assert pool._switchboard.recovery._efforts == {}


@asyncio_test
async def test_a_worker_that_dies_while_new_credentials_are_tried_does_not_end_it() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        fakes.workers[0].silent_about.add(OpenCall)
        joining = asyncio.create_task(voice.connect(credentials(token="new")))
        await fakes.workers[0].hear(OpenCall, 2)
        fakes.processes[0].kill()
        await joining
        [opened] = fakes.workers[1].heard(OpenCall)
        assert (opened.credentials.token, opened.takes_over) == ("new", True)
        assert (voice.connected, voice.closed, task.done()) == (True, False, False)
        await voice.disconnect()
        await task


@asyncio_test
async def test_a_worker_that_dies_while_its_server_is_gone_is_followed_by_one_that_waits_too() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        heard: list[Any] = []
        voice.listen(heard.append, Interrupted, Restored)
        voice.server_gone()
        await fakes.workers[0].hear(ServerGone)
        fakes.workers[1].silent_about.add(OpenCall)
        fakes.processes[0].kill()
        [gone] = await fakes.workers[1].hear(ServerGone)
        assert gone.generation == 2
        fakes.workers[1].silent_about.clear()
        await voice.connect(credentials(endpoint="other.example:443"))
        assert [type(event) for event in heard] == [Interrupted, Restored]
        assert voice.connected


@asyncio_test
async def test_void_credentials_ask_for_new_ones_as_ever() -> None:
    pool, fakes = pool_of(2)

    class Adapter(BaseVoiceConnection):
        def on_server_wanted(self, *, rejoin: bool) -> None:
            assert rejoin
            self.spawn(self.connect(credentials(token="new")), name="reconnect")

    async with pool:
        voice = Adapter(pool.host, credentials())
        await voice.connect()
        fakes.workers[1].silent_about.add(OpenCall)
        fakes.processes[0].kill()
        [opened] = await fakes.workers[1].hear(OpenCall)
        fakes.workers[1].silent_about.clear()
        void = ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="session is void", data={"close_code": 4006})
        fakes.workers[1].say(
            wire.ServerWanted(call=voice.call_id, generation=opened.generation, rejoin=True, error=void)
        )
        [_, second] = await fakes.workers[1].hear(OpenCall, 2)
        await until(lambda: not voice.interrupted)
        assert (second.generation, second.credentials.token) == (3, "new")


@asyncio_test
async def test_a_cancelled_connect_leaves_as_ever() -> None:
    async with connected() as (voice, _, fakes):
        fakes.processes[0].kill()
        await until(lambda: voice.seeks_worker)
        joining = asyncio.create_task(voice.connect())
        await asyncio.sleep(0)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert voice.closed


# Who is in the call.


@asyncio_test
async def test_who_has_left_meanwhile_is_told_when_that_is_known() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        heard: list[Any] = []
        voice.listen(heard.append, MemberJoined, MemberLeft)
        fakes.workers[0].say(wire.MembersChanged(call=voice.call_id, joined=[3, 4]))
        await settled(voice)
        fakes.processes[0].kill()
        await fakes.workers[1].hear(OpenCall)
        await until(lambda: not voice.interrupted)
        fakes.workers[1].say(wire.MembersChanged(call=voice.call_id, joined=[4, 5]))
        await settled(voice)
        assert heard == [MemberJoined(3), MemberJoined(4), MemberJoined(5)]
        assert voice.members == {3, 4, 5}
        now = asyncio.get_running_loop().time()
        voice._tell(voice._view.roll_call(now + 60.0))
        assert heard[3:] == [MemberLeft(3)]
        assert voice.members == {4, 5}


# Whatever crosses.


@pytest.mark.parametrize("seed", range(20))
def test_whatever_crosses_the_deaths_of_workers_it_comes_up_with_the_newest_credentials(  # noqa: C901, PLR0915 - one chance each
    seed: int,
) -> None:
    @asyncio_test
    async def run() -> None:  # noqa: C901, PLR0912, PLR0915 - one chance each
        chance = random.Random(seed)
        pool, fakes = pool_of(2, recovery_rate_hz=1_000.0, **QUICK)
        async with pool:
            voices = [await pool.connect(credentials(guild)) for guild in (1, 2, 3)]
            tasks = [voice.play_no_wait("song.flac") for voice in voices]
            ends: list[Any] = []
            told: dict[int, list[Any]] = {voice.guild_id: [] for voice in voices}
            for voice in voices:
                voice.listen(told[voice.guild_id].append, Interrupted, Restored)
            newest: dict[int, VoiceCredentials] = {}
            joins: list[asyncio.Task[None]] = []
            for step in range(25):
                voice = chance.choice(voices)
                match chance.randrange(7):
                    case 0:
                        living = [
                            index
                            for index, process in enumerate(fakes.processes)
                            if not process.signals and fakes.workers[index].setup
                        ]
                        if len(living) == 2:
                            fakes.processes[chance.choice(living)].kill()
                    case 1:
                        wanted = credentials(voice.guild_id, token=f"token{step}")
                        newest[voice.guild_id] = wanted
                        joins.append(asyncio.create_task(voice.connect(wanted)))
                    case 2:
                        voice.server_gone()
                        wanted = credentials(voice.guild_id, token=f"token{step}")
                        newest[voice.guild_id] = wanted
                        joins.append(asyncio.create_task(voice.connect(wanted)))
                    case 3:
                        voice.volume = chance.choice([0.5, 1.0])
                        voice.pause() if chance.random() < 0.5 else voice.resume()
                    case _:
                        pass
                for _ in range(chance.randrange(40)):
                    await asyncio.sleep(0)
            for join in joins:
                try:
                    await join
                except SupersededError:
                    continue
                except VoicePoolError as error:
                    ends.append(error)
            killed = sum(bool(process.signals) for process in fakes.processes)
            await until(lambda: len(fakes.workers) == 2 + killed)
            await until(lambda: all(not voice.interrupted and voice.connected for voice in voices))
            assert ends == []
            for voice in voices:
                await settled(voice)
                assert voice.link is not None
                worker = next(each for each in fakes.workers if each.bootstrap.worker == voice.link.worker)
                opened = [each for each in worker.heard(OpenCall) if each.call == voice.call_id][-1]
                assert opened.generation == voice._view.generation
                if voice.guild_id in newest:
                    assert opened.credentials.token == newest[voice.guild_id].token
                plays = [each for each in worker.heard(Play) if each.call == voice.call_id]
                assert len(plays) == 1, "each worker is told once what plays"
                kinds = [type(event) for event in told[voice.guild_id]]
                assert kinds == [Interrupted, Restored] * (len(kinds) // 2)
            assert not any(task.done() for task in tasks)
            assert pool._switchboard.recovery._efforts == {}
            for voice in voices:
                await voice.disconnect()
            await asyncio.gather(*tasks)

    run()


@asyncio_test
async def test_an_answer_that_no_worker_gives_is_the_connections_end() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        fakes.workers[1].refusals[OpenCall] = ErrorInfo(code=ErrorCode.CONNECT_TIMEOUT, text="no hello")
        fakes.processes[0].kill()
        await voice.wait_closed()
        assert isinstance(voice.error, ConnectTimeoutError)
        assert fakes.workers[1].heard(CloseCall)


@asyncio_test
async def test_the_only_worker_is_asked_again_though_it_could_not_take_over_before() -> None:
    async with connected(**QUICK) as (voice, _, fakes):

        async def full(worker: ScriptedWorker) -> None:
            worker.refusals[OpenCall] = FULL
            await worker.greet()
            await worker.serve()

        fakes.script = full
        fakes.processes[0].kill()
        await until(lambda: len(fakes.workers) > 1 and fakes.workers[1].heard(OpenCall))
        fakes.workers[1].refusals.clear()
        await until(lambda: not voice.interrupted)
        assert voice.connected
        assert len(fakes.workers[1].heard(OpenCall)) > 1


@asyncio_test
async def test_a_newer_connection_is_not_closed_by_an_older_one_whose_turn_has_just_come() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        older = await pool.connect(credentials())
        fakes.processes[0].kill()
        await until(lambda: older.interrupted)
        # Its recovery is a task now that has not taken its first step.
        await until(lambda: not pool._switchboard.recovery.waiting)
        newer = await pool.connect(credentials())
        assert older.closed
        assert pool.connections == (newer,)
        assert newer.connected


@asyncio_test
async def test_a_call_that_ends_where_it_was_to_go_on_is_counted_as_lost() -> None:
    pool, fakes = pool_of(1)

    async def unreachable(worker: ScriptedWorker) -> None:
        worker.refusals[OpenCall] = AUTH
        await worker.greet()
        await worker.serve()

    async with pool:
        voice = await pool.connect(credentials())
        fakes.script = unreachable
        fakes.processes[0].kill()
        await voice.wait_closed()
        assert isinstance(voice.error, AuthenticationError)
        assert pool.stats().calls_lost == 1
