"""The pool: start, calls, figures, loss of a worker, end."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

import pytest

from tests.fakes.pool import credentials, pool_of, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker, command_line
from voicepool._process import health
from voicepool._process.launcher import LocalLauncher
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import (
    AuthenticationError,
    CallGoneError,
    PoolClosedError,
    PoolFullError,
    PoolNotStartedError,
    SourceQuarantinedError,
    WorkerLostError,
    WorkerStartError,
    WorkerTimeoutError,
)
from voicepool.events import TrackEnded
from voicepool.ipc.commands import CloseCall, OpenCall, Play, ReportStats, Shutdown
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.pool import VoicePool
from voicepool.pool_events import CallMoved, ExitReason, MoveReason, WorkerLost
from voicepool.resolver import Resolved
from voicepool.source import AudioFile
from voicepool.station import Station
from voicepool.stats import WorkerState

# Start and end.


@asyncio_test
async def test_a_pool_starts_its_workers_and_ends_them() -> None:
    pool, fakes = pool_of(3)
    assert not pool.workers
    async with pool:
        assert pool.running
        assert [worker.name for worker in pool.workers] == ["w0.1", "w1.1", "w2.1"]
        assert {worker.state for worker in pool.workers} == {WorkerState.READY}
        assert pool.workers[0].libopus == "libopus 9.9"
    assert not pool.running
    assert pool.workers == ()
    assert all(worker.heard(Shutdown) for worker in fakes.workers)
    assert all(process.signals == [] for process in fakes.processes)


@asyncio_test
async def test_workers_are_told_the_settings_and_a_core_each() -> None:
    pool, fakes = pool_of(2, bitrate_bps=64_000, complexity=3, modes=["aead_xchacha20_poly1305_rtpsize"])
    async with pool:
        settings = [worker.setup.settings for worker in fakes.workers if worker.setup is not None]
    assert {each.bitrate_bps for each in settings} == {64_000}
    assert {each.complexity for each in settings} == {3}
    assert {each.modes for each in settings} == {("aead_xchacha20_poly1305_rtpsize",)}
    assert {each.max_calls for each in settings} == {500}


@asyncio_test
async def test_without_pinning_no_core_is_named() -> None:
    pool, fakes = pool_of(2, pin_workers=False)
    async with pool:
        assert [worker.setup.settings.core for worker in fakes.workers if worker.setup] == [None, None]


@asyncio_test
async def test_start_and_close_may_be_called_twice() -> None:
    pool, fakes = pool_of()
    await pool.start()
    await pool.start()
    await asyncio.gather(pool.close(), pool.close())
    await pool.close()
    assert len(fakes.workers) == 1


@asyncio_test
async def test_two_starts_at_once_are_one() -> None:
    pool, fakes = pool_of()
    await asyncio.gather(pool.start(), pool.start())
    await pool.close()
    assert len(fakes.workers) == 1


@asyncio_test
async def test_a_pool_that_was_never_started_can_be_closed() -> None:
    pool, _ = pool_of()
    await pool.close()
    with pytest.raises(PoolClosedError, match="make a new VoicePool"):
        await pool.start()


@asyncio_test
async def test_a_pool_that_does_not_run_says_so() -> None:
    pool, _ = pool_of()
    with pytest.raises(PoolNotStartedError, match="async with"):
        await pool.connect(credentials())
    with pytest.raises(PoolNotStartedError):
        pool.stats()
    await pool.close()
    with pytest.raises(PoolClosedError):
        await pool.connect(credentials())
    with pytest.raises(PoolClosedError):
        await pool.refresh_stats()


@asyncio_test
async def test_a_failed_start_ends_the_workers_that_came_up_and_may_be_tried_again() -> None:
    broken = [True]

    async def script(worker: ScriptedWorker) -> None:
        if worker.bootstrap.worker.startswith("w1") and broken[0]:
            return
        await worker.greet()
        await worker.serve()

    pool, _ = pool_of(2, launcher=InProcess(script))
    with pytest.raises(WorkerStartError, match=r"worker w1\.1 exited with code 0 before it was ready"):
        await pool.start()
    assert not pool.running
    assert pool.workers == ()
    broken[0] = False
    await pool.start()
    assert len(pool.workers) == 2
    await pool.close()


@asyncio_test
async def test_closing_during_the_start_ends_the_start() -> None:
    async def never_ready(worker: ScriptedWorker) -> None:
        await worker.greet()
        await asyncio.Event().wait()

    fakes = InProcess(never_ready)
    pool, _ = pool_of(2, launcher=fakes)
    starting = asyncio.create_task(pool.start())
    await until(lambda: len(fakes.workers) == 2 and all(worker.setup for worker in fakes.workers))
    await pool.close()
    with pytest.raises(PoolClosedError):
        await starting


@asyncio_test
async def test_a_cancelled_start_leaves_nothing_and_may_be_tried_again() -> None:
    held = asyncio.Event()

    async def script(worker: ScriptedWorker) -> None:
        await worker.greet()
        await held.wait()
        await worker.serve()

    fakes = InProcess(script)
    pool, _ = pool_of(1, launcher=fakes)
    starting = asyncio.create_task(pool.start())
    await until(lambda: fakes.workers and fakes.workers[0].setup)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert fakes.processes[0].signals
    held.set()
    await pool.start()
    assert pool.running
    await pool.close()


@asyncio_test
async def test_a_cancelled_close_kills_and_still_cleans_up() -> None:
    pool = VoicePool(
        PoolConfig(workers=2, stop_timeout_s=600.0), launcher=LocalLauncher(command_line("immortal"))
    )
    await pool.start()
    closing = asyncio.create_task(pool.close())
    await until(lambda: pool._closing is not None)
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert pool._closing is not None
    assert pool._closing.done()


@asyncio_test
async def test_real_processes_over_tcp_with_keys() -> None:
    pool = VoicePool(PoolConfig(workers=2, ipc="tcp"), launcher=LocalLauncher(command_line("good")))
    async with pool:
        voice = await pool.connect(credentials())
        await voice.disconnect()


def test_a_wrong_config_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="PoolConfig, not dict"):
        VoicePool({"workers": 2})  # type: ignore[arg-type]


def test_without_a_config_the_settings_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPOOL_WORKERS", "5")
    assert VoicePool().config.workers == 5


# Calls.


@asyncio_test
async def test_connecting_gives_an_open_call() -> None:
    pool, fakes = pool_of()
    async with pool:
        voice = await pool.connect(credentials(3))
        assert type(voice) is BaseVoiceConnection
        assert (voice.guild_id, voice.channel_id, voice.user_id) == (3, 30, 7)
        assert voice.connected
        assert (voice.mode, voice.ssrc) == ("aead_aes256_gcm_rtpsize", 1001)
        assert list(pool.connections) == [voice]
        [opened] = fakes.workers[0].heard(OpenCall)
        assert opened.credentials == credentials(3).to_wire()
        await voice.disconnect()
        assert pool.connections == ()
        assert fakes.workers[0].open_calls == {}


@asyncio_test
async def test_a_refused_call_is_a_typed_error_and_leaves_nothing() -> None:
    pool, fakes = pool_of()
    async with pool:
        worker = fakes.workers[0]
        worker.refusals[OpenCall] = ErrorInfo(
            code=ErrorCode.AUTHENTICATION, text="wrong token", data={"close_code": 4004}
        )
        with pytest.raises(AuthenticationError, match="wrong token") as caught:
            await pool.connect(credentials())
        assert caught.value.close_code == 4004
        assert pool.connections == ()
        assert pool.workers[0].calls == 0
        worker.refusals.clear()
        voice = await pool.connect(credentials())
        assert voice.connected


@asyncio_test
async def test_a_hundred_calls_at_once_are_spread_evenly() -> None:
    pool, fakes = pool_of(4)
    async with pool:
        voices = await asyncio.gather(*(pool.connect(credentials(guild)) for guild in range(1, 101)))
        assert all(voice.connected for voice in voices)
        assert [len(worker.open_calls) for worker in fakes.workers] == [25] * 4
        assert [info.calls for info in pool.workers] == [25] * 4
        await asyncio.gather(*(voice.disconnect() for voice in voices))
        assert [info.calls for info in pool.workers] == [0] * 4


@asyncio_test
async def test_a_full_pool_refuses_and_a_place_that_is_given_back_is_used() -> None:
    pool, _ = pool_of(2, max_calls_per_worker=1)
    async with pool:
        first, _second = [await pool.connect(credentials(guild)) for guild in (1, 2)]
        with pytest.raises(PoolFullError, match="max_calls_per_worker"):
            await pool.connect(credentials(3))
        await first.disconnect()
        assert (await pool.connect(credentials(3))).connected


@asyncio_test
async def test_a_new_connection_of_a_user_takes_the_guild_over() -> None:
    pool, fakes = pool_of()
    async with pool:
        old = await pool.connect(credentials())
        other_bot = await pool.connect(credentials(user_id=8))
        playing = asyncio.create_task(old.play("song.flac"))
        await fakes.workers[0].hear(Play)
        new = await pool.connect(credentials())
        with pytest.raises(CallGoneError, match="newer connection"):
            await playing
        assert old.closed
        assert (new.connected, other_bot.connected) == (True, True)
        assert fakes.workers[0].heard(CloseCall)[0].call == old.call_id


@asyncio_test
async def test_cancelling_a_connect_tells_the_worker_to_leave() -> None:
    pool, fakes = pool_of()
    async with pool:
        worker = fakes.workers[0]
        worker.silent_about.add(OpenCall)
        connecting = asyncio.create_task(pool.connect(credentials()))
        [opened] = await worker.hear(OpenCall)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        [closed] = await worker.hear(CloseCall)
        assert closed.call == opened.call
        assert pool.connections == ()


@asyncio_test
async def test_a_mute_worker_is_a_timeout() -> None:
    pool, fakes = pool_of(connect_timeout_s=0.01)
    async with pool:
        fakes.workers[0].silent_about.add(OpenCall)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("voicepool._calls.patience.ANSWER_MARGIN_S", 0.01)
            with pytest.raises(WorkerTimeoutError, match=r"w0\.1 has not answered OpenCall"):
                await pool.connect(credentials())


@asyncio_test
async def test_closing_the_pool_ends_connections_and_what_they_wait_for() -> None:
    pool, fakes = pool_of()
    await pool.start()
    worker = fakes.workers[0]
    voice = await pool.connect(credentials(1))
    playing = asyncio.create_task(voice.play("song.flac"))
    detached = voice.play_no_wait("song2.flac")
    await worker.hear(Play, 2)
    worker.silent_about.add(OpenCall)
    connecting = asyncio.create_task(pool.connect(credentials(2)))
    await worker.hear(OpenCall, 2)
    await pool.close()
    await playing
    await detached
    with pytest.raises(PoolClosedError):
        await connecting
    assert voice.closed
    with pytest.raises(CallGoneError):
        await voice.play("song.flac")


@pytest.mark.parametrize("wrong", [None, {"guild_id": 1}, "wss://x"])
def test_credentials_must_be_credentials(wrong: Any) -> None:
    @asyncio_test
    async def run() -> None:
        pool, _ = pool_of()
        async with pool:
            with pytest.raises(TypeError, match="VoiceCredentials"):
                await pool.connect(wrong)

    run()


@asyncio_test
async def test_guilds_that_are_going_to_hear_a_station_meet_at_one_worker() -> None:
    station = Station("lofi", "lofi.ogg")
    pool, fakes = pool_of(2)
    async with pool:
        first = await pool.connect(credentials(1), station=station)
        for guild in (2, 3, 4):
            await pool.connect(credentials(guild), station="lofi")
        await pool.connect(credentials(5))
        assert [info.calls for info in pool.workers] == [4, 1]
        assert not fakes.workers[0].heard(Play), "a hint plays nothing"
        assert first.station == "lofi"
        await first.start("song.flac")
        assert first.station is None, "it hears something else now"
        await first.start(station)
        assert first.station == "lofi"
        with pytest.raises(TypeError, match="station must be a Station or its name, not int"):
            await pool.connect(credentials(6), station=7)
        assert len(pool.connections) == 5


@asyncio_test
async def test_a_call_that_waits_for_its_station_goes_to_where_that_is_when_its_worker_dies() -> None:
    pool, fakes = pool_of(3)
    async with pool:
        for guild in range(1, 10):
            await pool.connect(credentials(guild))
        voice = await pool.connect(credentials(10), station="lofi")
        assert voice.link is not None
        assert voice.link.worker == "w0.1"
        fakes.workers[2].say(fakes.workers[2].stats(stations=["lofi"], cpu_s=50.0))
        await until(lambda: pool._switchboard.fleet.links[2].stats is not None)
        fakes.processes[0].kill()
        await until(lambda: voice.link is not None and voice.link.worker != "w0.1")
        assert voice.link.worker == "w2.1"


# The loss of a worker.


@asyncio_test
async def test_the_calls_of_a_lost_worker_go_on_elsewhere_and_it_comes_back() -> None:
    pool, fakes = pool_of(2)
    events: list[Any] = []
    pool.listen(events.append)
    async with pool:
        lost, kept = [await pool.connect(credentials(guild)) for guild in (1, 2)]
        playing = asyncio.create_task(lost.play("song.flac"))
        await fakes.workers[0].hear(Play)
        fakes.processes[0].kill()
        [again] = await fakes.workers[1].hear(Play)
        await until(lambda: not lost.interrupted)
        assert (lost.connected, lost.closed, kept.connected) == (True, False, True)
        await until(lambda: pool.workers[0].state is WorkerState.READY)
        info = pool.workers[0]
        assert (info.name, info.restarts) == ("w0.2", 1)
        assert info.exits == {ExitReason.KILLED: 1}
        assert info.last_error == "worker w0.1 was killed by SIGKILL"
        fakes.workers[1].finish(again.call)
        await playing
        assert (await pool.connect(credentials(3))).connected
        await until(lambda: len(fakes.workers[2].open_calls) == 1)
    told = [event for event in events if isinstance(event, WorkerLost | CallMoved)]
    killed, *asked = [(event.worker, event.reason) for event in told if isinstance(event, WorkerLost)]
    assert killed == ("w0.1", ExitReason.KILLED)
    # Both are ended at the same time.
    assert sorted(asked) == [("w0.2", ExitReason.ASKED), ("w1.1", ExitReason.ASKED)]
    [moved] = [event for event in told if isinstance(event, CallMoved)]
    assert (moved.guild_id, moved.old, moved.new, moved.reason) == (1, "w0.1", "w1.1", MoveReason.LOST)


@asyncio_test
async def test_a_source_that_two_workers_have_died_of_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def opens_no_source_at_first(worker: ScriptedWorker) -> None:
        if worker.bootstrap.worker == "w0.2":
            worker.silent_about.add(Play)
        await worker.greet()
        await worker.serve()

    fakes = InProcess(opens_no_source_at_first)
    pool, _ = pool_of(launcher=fakes)
    bad, good = AudioFile("https://radio.example/bad?token=secret"), AudioFile("/music/good.flac")
    async with pool:
        voice = await pool.connect(credentials())
        await voice.start(good)
        fakes.workers[0].silent_about.add(Play)
        opening = asyncio.create_task(voice.overlay(bad))
        await fakes.workers[0].hear(Play, 2)
        fakes.processes[0]._end("crash", -signal.SIGSEGV)
        await until(lambda: len(fakes.workers) == 2)
        await fakes.workers[1].hear(Play, 2)
        fakes.processes[1]._end("crash", -signal.SIGSEGV)
        with pytest.raises(SourceQuarantinedError, match=r"radio\.example/bad is quarantined"):
            await opening
        assert list(pool.quarantine) == ["https://radio.example/bad"]
        assert "https://radio.example/bad is quarantined" in caplog.text
        assert "secret" not in caplog.text
        await until(lambda: len(fakes.workers) == 3 and not voice.interrupted)
        worker = fakes.workers[2]
        [goes_on] = await worker.hear(Play)
        assert goes_on.source == good.to_wire()[0]
        for refused in (voice.play, voice.start, voice.overlay):
            with pytest.raises(SourceQuarantinedError, match=r"radio\.example/bad is quarantined") as caught:
                await refused(bad)
            assert "secret" not in str(caught.value)
        with pytest.raises(SourceQuarantinedError):
            voice.play_no_wait(Station("bad", bad))
        with pytest.raises(SourceQuarantinedError):
            await voice.play(Resolved("bad", lambda _query: bad))
        assert len(worker.heard(Play)) == 1
        await voice.stop()
        ended: list[TrackEnded] = []
        voice.listen(ended.append, TrackEnded)
        voice.queue.add(bad, good)
        await worker.hear(Play, 2)
        assert [type(event.error) for event in ended] == [SourceQuarantinedError]
        pool.quarantine.clear()
        await voice.start(bad)
        await voice.stop()


@asyncio_test
async def test_a_worker_that_leaves_in_order_or_is_killed_by_us_leaves_no_suspects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 0.0)

    async def leaves_when_asked_to_play(worker: ScriptedWorker) -> None:
        await worker.greet()
        tasks = {asyncio.create_task(worker.serve()), asyncio.create_task(worker.hear(Play))}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    fakes = InProcess(leaves_when_asked_to_play)
    pool, _ = pool_of(launcher=fakes)
    async with pool:
        voice = await pool.connect(credentials())
        playing = voice.play_no_wait("song.flac")
        await until(lambda: len(fakes.workers) == 3)
        assert list(pool.quarantine) == []
        await voice.disconnect()
        await playing
    pool, fakes = pool_of()
    await pool.start()
    voice = await pool.connect(credentials())
    playing = voice.play_no_wait("song.flac")
    await fakes.workers[0].hear(Play)
    assert pool._fleet is not None
    pool._fleet.kill()
    await until(lambda: voice.interrupted)
    assert pool._switchboard.suspicion._records == {}
    await pool.close()
    await playing


@asyncio_test
async def test_who_joins_when_the_worker_dies_is_told_and_figures_are_not_waited_for() -> None:
    pool, fakes = pool_of()
    async with pool:
        worker = fakes.workers[0]
        worker.silent_about |= {OpenCall, ReportStats}
        connecting = asyncio.create_task(pool.connect(credentials(2)))
        refreshing = asyncio.create_task(pool.refresh_stats())
        await worker.hear(OpenCall)
        await worker.hear(ReportStats)
        fakes.processes[0].kill()
        with pytest.raises(WorkerLostError):
            await connecting
        await refreshing


@asyncio_test
async def test_connecting_waits_for_a_worker_that_is_coming_back() -> None:
    pool, fakes = pool_of()
    async with pool:
        fakes.processes[0].kill()
        await until(lambda: pool.workers[0].state is not WorkerState.READY)
        assert (await pool.connect(credentials())).connected


@asyncio_test
async def test_connecting_gives_up_when_no_worker_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    first = [True]

    async def only_once(worker: ScriptedWorker) -> None:
        if not first[0]:
            return
        first[0] = False
        await worker.greet()
        await worker.serve()

    fakes = InProcess(only_once)
    pool, _ = pool_of(launcher=fakes, connect_timeout_s=0.05)
    async with pool:
        fakes.processes[0].kill()
        await until(lambda: pool.workers[0].state is not WorkerState.READY)
        with pytest.raises(WorkerLostError, match="no worker is running"):
            await pool.connect(credentials())
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "w0.1 was killed by SIGKILL (killed); starting another in 0 s" in errors[0].getMessage()


@asyncio_test
async def test_closing_during_a_restart_leaves_nothing() -> None:
    first = [True]

    async def slow_the_second_time(worker: ScriptedWorker) -> None:
        await worker.greet()
        if not first[0]:
            await asyncio.Event().wait()
        first[0] = False
        await worker.serve()

    fakes = InProcess(slow_the_second_time)
    pool, _ = pool_of(launcher=fakes)
    async with pool:
        fakes.processes[0].kill()
        await until(lambda: len(fakes.workers) == 2 and fakes.workers[1].setup)
    assert fakes.processes[1].signals


# Figures.


@asyncio_test
async def test_stats_are_those_of_the_last_reports() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials(5))
        playing = asyncio.create_task(voice.play("song.flac"))
        await fakes.workers[0].hear(Play)
        assert pool.stats().workers == ()
        fakes.workers[0].cpu_s, fakes.workers[0].uptime_s = 1.0, 10.0
        stats = await pool.refresh_stats()
        assert [worker.name for worker in stats.workers] == ["w0.1", "w1.1"]
        assert (stats.frames_sent, stats.frames_nulled, stats.ticks_skipped) == (200, 2, 4)
        assert stats.lateness.p50_ms == 0.001
        assert stats.lateness.max_ms == 0.002
        [call] = stats.calls
        assert (call.guild_id, call.worker, call.playing, call.position_s) == (5, "w0.1", True, 1.0)
        assert voice.position_s == pytest.approx(1.0, abs=0.1)
        assert stats.workers[0].cpu_share is None
        fakes.workers[0].cpu_s, fakes.workers[0].uptime_s = 1.5, 11.0
        assert (await pool.refresh_stats()).workers[0].cpu_share == 0.5
        assert pool.stats() == await pool.refresh_stats()
        await voice.stop()
        await playing


@asyncio_test
async def test_a_worker_that_does_not_report_keeps_its_old_figures() -> None:
    pool, fakes = pool_of(2, command_timeout_s=0.05)
    async with pool:
        await pool.refresh_stats()
        fakes.workers[0].silent_about.add(ReportStats)
        assert len((await pool.refresh_stats()).workers) == 2


@asyncio_test
async def test_calls_go_where_the_cpu_is_free() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        await pool.refresh_stats()
        fakes.workers[0].cpu_s, fakes.workers[0].uptime_s = 0.9, 1.0
        fakes.workers[1].cpu_s, fakes.workers[1].uptime_s = 0.1, 1.0
        await pool.refresh_stats()
        for guild in range(1, 6):
            await pool.connect(credentials(guild))
        assert [len(worker.open_calls) for worker in fakes.workers] == [0, 5]


@asyncio_test
async def test_unreadable_messages_are_counted_and_harm_nothing() -> None:
    pool, fakes = pool_of()
    async with pool:
        await fakes.workers[0].send_raw(b"\xc1 not a message")
        voice = await pool.connect(credentials())
        assert voice.connected
        assert pool.stats().unreadable_messages == 1
