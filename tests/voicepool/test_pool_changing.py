"""Changing a pool that runs: scale, drain, restart, reload; over scripted workers."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pool import credentials, pool_of, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool._fleet import rolling
from voicepool._process import memory
from voicepool.config import PoolConfig
from voicepool.errors import (
    ConfigError,
    PoolClosedError,
    PoolFullError,
    PoolNotStartedError,
    WorkerStartError,
)
from voicepool.ipc.commands import OpenCall, ReleaseCall
from voicepool.pool import VoicePool
from voicepool.pool_events import (
    CallMoved,
    ConfigReloaded,
    MoveReason,
    PoolScaled,
    SettingRefused,
    WorkerHeavy,
)
from voicepool.queue import QueueFullError
from voicepool.stats import WorkerState


def names(pool: VoicePool) -> list[str]:
    return [info.name for info in pool.workers]


@asyncio_test
async def test_a_pool_grows_and_shrinks_and_its_calls_stay() -> None:
    pool, fakes = pool_of(1)
    async with pool:
        voices = [await pool.connect(credentials(guild)) for guild in (1, 2)]
        await pool.scale(3)
        assert names(pool) == ["w0.1", "w1.1", "w2.1"]
        assert {info.state for info in pool.workers} == {WorkerState.READY}
        await pool.connect(credentials(3))
        await pool.connect(credentials(4))
        await pool.scale(1)
        assert [(info.name, info.calls) for info in pool.workers] == [("w0.1", 4)]
        assert all(voice.connected for voice in pool.connections)
        assert voices[0].connected
        assert len(fakes.workers[0].heard(OpenCall)) == 4


@asyncio_test
async def test_a_pool_does_not_shrink_below_its_calls() -> None:
    pool, _ = pool_of(2, max_calls_per_worker=2)
    async with pool:
        for guild in (1, 2, 3):
            await pool.connect(credentials(guild))
        with pytest.raises(PoolFullError, match=r"1 workers cannot hold the 3 calls there are, .* keep 2"):
            await pool.scale(1)
        assert names(pool) == ["w0.1", "w1.1"]
        assert all(voice.connected for voice in pool.connections)


@asyncio_test
async def test_a_drained_worker_is_followed_by_a_fresh_one_that_has_its_calls() -> None:
    pool, fakes = pool_of(1)
    moved: list[CallMoved] = []
    pool.listen(moved.append, CallMoved)
    async with pool:
        voice = await pool.connect(credentials(1))
        await voice.start("song.flac")
        await pool.drain("w0.1")
        assert [(info.name, info.calls) for info in pool.workers] == [("w0.2", 1)]
        assert len(fakes.workers[0].heard(ReleaseCall)) == 1
        assert [(event.old, event.new, event.reason) for event in moved] == [
            ("w0.1", "w0.2", MoveReason.DRAINED)
        ]
        await pool.drain(pool.workers[0])
        assert names(pool) == ["w0.3"]
        assert voice.connected
        assert not voice.stopped


@asyncio_test
async def test_a_drained_worker_takes_no_new_calls() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials(1))
        fakes.workers[0].silent_about.add(ReleaseCall)
        draining = asyncio.create_task(pool.drain("w0.1"))
        await fakes.workers[0].hear(ReleaseCall)
        assert WorkerState.DRAINING in {info.state for info in pool.workers}
        for guild in range(2, 8):
            await pool.connect(credentials(guild))
        assert len(fakes.workers[0].heard(OpenCall)) == 1
        fakes.processes[0].kill()
        await draining
        await until(lambda: voice.connected and not voice.interrupted)


@asyncio_test
async def test_all_workers_are_replaced_one_by_one() -> None:
    pool, fakes = pool_of(3)
    async with pool:
        voices = [await pool.connect(credentials(guild)) for guild in range(1, 10)]
        await pool.restart()
        assert names(pool) == ["w0.2", "w1.2", "w2.2"]
        assert all(voice.connected for voice in voices)
        assert len(fakes.workers) == 6


@asyncio_test
async def test_a_worker_is_named_as_it_is() -> None:
    pool, _ = pool_of(2)
    async with pool:
        with pytest.raises(ValueError, match=r"no worker 'w7\.1'; there are w0\.1, w1\.1"):
            await pool.drain("w7.1")
        old = pool.workers[0]
        await pool.drain(old)
        with pytest.raises(ValueError, match=r"no worker 'w0\.1'"):
            await pool.drain(old)
        for wrong in (0, -1, 5_000):
            with pytest.raises(ConfigError, match="workers"):
                await pool.scale(wrong)
        with pytest.raises(TypeError):
            await pool.scale("auto")  # type: ignore[arg-type]


@asyncio_test
async def test_only_a_pool_that_runs_can_be_changed() -> None:
    pool, _ = pool_of()
    changes: list[Any] = [
        lambda: pool.scale(2),
        lambda: pool.drain("w0.1"),
        pool.restart,
        lambda: pool.reload(PoolConfig()),
    ]
    for change in changes:
        with pytest.raises(PoolNotStartedError):
            await change()
    await pool.close()
    for change in changes:
        with pytest.raises(PoolClosedError):
            await change()


@asyncio_test
async def test_closing_ends_a_change_that_is_under_way() -> None:
    held = asyncio.Event()

    async def script(worker: ScriptedWorker) -> None:
        await worker.greet()
        if worker.bootstrap.worker != "w0.1":
            await held.wait()
        await worker.serve()

    fakes = InProcess(script)
    pool, _ = pool_of(launcher=fakes)
    await pool.start()
    changes = [asyncio.create_task(change) for change in (pool.scale(3), pool.drain("w0.1"), pool.restart())]
    await until(lambda: len(fakes.workers) == 3 and all(worker.setup for worker in fakes.workers))
    await pool.close()
    for change in changes:
        with pytest.raises(PoolClosedError):
            await change
    assert all(process.signals for process in fakes.processes[1:])


@asyncio_test
async def test_a_worker_that_does_not_come_up_is_told_and_the_others_stay() -> None:
    async def script(worker: ScriptedWorker) -> None:
        await worker.greet()
        if worker.bootstrap.worker.startswith("w1"):
            return
        await worker.serve()

    pool, _ = pool_of(launcher=InProcess(script))
    async with pool:
        with pytest.raises(WorkerStartError, match=r"w1\.1"):
            await pool.scale(2)
        assert names(pool) == ["w0.1"]


@asyncio_test
async def test_spares_come_up_behind_the_workers_and_take_over_at_once() -> None:
    pool, fakes = pool_of(1, spare_workers=1)
    async with pool:
        voice = await pool.connect(credentials(1))
        await until(lambda: [info.state for info in pool.workers] == [WorkerState.READY, WorkerState.SPARE])
        assert [info.calls for info in pool.workers] == [1, 0]
        fakes.processes[0].kill()
        await fakes.workers[1].hear(OpenCall)
        await until(lambda: voice.connected and not voice.interrupted)
        await until(lambda: [info.state for info in pool.workers] == [WorkerState.SPARE, WorkerState.READY])
        assert names(pool) == ["w0.2", "w1.1"]


# Settings.


@asyncio_test
async def test_other_settings_hold_at_once() -> None:
    pool, fakes = pool_of(1, max_calls_per_worker=500)
    told: list[ConfigReloaded] = []
    pool.listen(told.append, ConfigReloaded)
    async with pool:
        assert await pool.reload(pool.config) == frozenset()
        new = dataclasses.replace(pool.config, full_share=0.5, recovery_rate_hz=7.0, spare_workers=1)
        assert await pool.reload(new) == {"full_share", "recovery_rate_hz", "spare_workers"}
        assert pool.config == pool.host.config == new
        await until(lambda: [info.state for info in pool.workers][1:] == [WorkerState.SPARE])
        assert len(fakes.workers) == 2, "nobody had to be replaced"
        assert [event.replaced for event in told] == [False]


@asyncio_test
async def test_calls_and_workers_that_are_up_go_by_other_settings_too() -> None:
    pool, _ = pool_of(1)
    async with pool:
        voice = await pool.connect(credentials())
        new = dataclasses.replace(
            pool.config,
            public_urls_only=True,
            command_timeout_s=9.0,
            queue_max_tracks=2,
            heartbeat_interval_s=0.5,
            hang_timeout_s=77.0,
            stop_timeout_s=66.0,
        )
        await pool.reload(new)
        assert names(pool) == ["w0.1"]
        with pytest.raises(QueueFullError):
            voice.queue.add("a.opus", "b.opus", "c.opus", "d.opus")
        assert voice.player.line.config == new
        [member] = pool._switchboard.fleet.crew
        worker = member.slot.newest
        assert worker is not None
        assert worker._stop_timeout_s == 66.0
        assert worker._supervision is not None
        pulse = worker._supervision._pulse
        assert (pulse.interval_s, pulse.timeout_s) == (0.5, 77.0)


@asyncio_test
async def test_what_workers_are_told_at_their_start_replaces_them() -> None:
    pool, fakes = pool_of(2, spare_workers=1)
    async with pool:
        voice = await pool.connect(credentials(1))
        await until(lambda: len(pool.workers) == 3)
        old = set(names(pool))
        assert await pool.reload(dataclasses.replace(pool.config, bitrate_bps=64_000)) == {"bitrate_bps"}
        await until(
            lambda: (
                not old & set(names(pool))
                and {info.state for info in pool.workers} == {WorkerState.READY, WorkerState.SPARE}
            )
        )
        assert {worker.setup.settings.bitrate_bps for worker in fakes.workers[3:] if worker.setup} == {64_000}
        assert voice.connected


@asyncio_test
async def test_another_number_of_workers_is_a_scaling() -> None:
    pool, _ = pool_of(1)
    scaled: list[PoolScaled] = []
    pool.listen(scaled.append, PoolScaled)
    async with pool:
        await pool.reload(dataclasses.replace(pool.config, workers=3))
        await until(lambda: len([i for i in pool.workers if i.state is WorkerState.READY]) == 3)
        await pool.scale(2)
        await pool.reload(dataclasses.replace(pool.config, full_share=0.5))
        assert len(pool.workers) == 2, "what was scaled by hand stays until the setting changes"
    assert scaled == [PoolScaled(1, 3, "config"), PoolScaled(3, 2, "scale")]


@asyncio_test
async def test_workers_that_a_file_wants_are_tried_again_until_they_come_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rolling, "RETRY_FIRST_S", 0.01)
    failures = 3

    async def script(worker: ScriptedWorker) -> None:
        nonlocal failures
        await worker.greet()
        if worker.bootstrap.worker != "w0.1" and failures:
            failures -= 1
            return
        await worker.serve()

    pool, _ = pool_of(launcher=InProcess(script), stats_interval_s=0.05)
    scaled: list[PoolScaled] = []
    pool.listen(scaled.append, PoolScaled)
    async with pool:
        await pool.reload(dataclasses.replace(pool.config, workers=3))
        await until(lambda: failures < 3)
        assert pool.stats().workers_wanted == 3, "what is wanted does not change because it failed"
        await until(lambda: [info.state for info in pool.workers] == [WorkerState.READY] * 3)
    assert scaled == [PoolScaled(1, 3, "config")]


@asyncio_test
async def test_workers_may_meet_the_bot_elsewhere() -> None:
    pool, fakes = pool_of(1, ipc="unix")
    async with pool:
        voice = await pool.connect(credentials(1))
        await pool.reload(dataclasses.replace(pool.config, ipc="tcp"))
        await until(lambda: names(pool) == ["w0.2"])
        assert fakes.workers[0].bootstrap.address.startswith("ipc:")
        assert fakes.workers[1].bootstrap.address.startswith("tcp:")
        await until(lambda: voice.connected and not voice.interrupted)


def test_a_file_that_leaves_calls_no_place_changes_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "voicepool.toml"

    def write(workers: int, rate_hz: float) -> None:
        text = "max_calls_per_worker = 2\nconfig_check_s = 0\n"
        file.write_text(f"{text}workers = {workers}\nrecovery_rate_hz = {rate_hz}\n", encoding="utf-8")

    @asyncio_test
    async def run() -> None:
        pool = VoicePool(PoolConfig.load(file, env={}), launcher=InProcess())
        async with pool:
            told: list[SettingRefused] = []
            pool.listen(told.append, SettingRefused)
            voices = [await pool.connect(credentials(guild)) for guild in (1, 2, 3)]
            write(1, 7)
            assert await pool.reload() == {"recovery_rate_hz"}
            assert (pool.config.workers, pool.config.recovery_rate_hz) == (2, 7.0)
            assert "workers stays 2: the 3 calls there are need more places than 2" in caplog.text
            await until(lambda: told)
            assert [(each.key, each.text in caplog.text) for each in told] == [("workers", True)]
            rolling = pool._rolling
            assert rolling is not None
            await until(lambda: not rolling.busy)
            assert names(pool) == ["w0.1", "w1.1"]
            assert all(voice.connected for voice in voices)
            await voices[0].disconnect()
            assert await pool.reload() == {"workers"}
            await until(lambda: len(names(pool)) == 1)
            assert all(voice.connected for voice in voices[1:])

    write(2, 50)
    run()


def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"

    @asyncio_test
    async def run() -> None:
        pool = VoicePool(PoolConfig.load(file, env={}), launcher=InProcess())
        async with pool:
            before = pool.config
            file.write_text("workers = 2\nbitrate_bps = 'high'\n", encoding="utf-8")
            with pytest.raises(ConfigError, match="bitrate_bps"):
                await pool.reload()
            assert pool.config is before
            assert names(pool) == ["w0.1"]

    file.write_text("workers = 1\nconfig_check_s = 0\n", encoding="utf-8")
    run()


@asyncio_test
async def test_settings_are_settings() -> None:
    pool, _ = pool_of()
    async with pool:
        with pytest.raises(TypeError, match="PoolConfig, not dict"):
            await pool.reload({"workers": 2})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no file"):
            await pool.reload()


@asyncio_test
async def test_a_port_that_is_taken_leaves_everything_as_it_was() -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pool, _ = pool_of()
        async with pool:
            before = pool.config
            with pytest.raises(ConfigError, match="metrics_port"):
                await pool.reload(dataclasses.replace(before, metrics_port=port, bitrate_bps=64_000))
            assert pool.config is before
            assert names(pool) == ["w0.1"]


@asyncio_test
async def test_a_worker_that_is_too_heavy_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "YOUNG_S", 0.0)
    pool, fakes = pool_of(1, memory_limit_mib=64)
    heavy: list[WorkerHeavy] = []
    pool.listen(heavy.append, WorkerHeavy)
    async with pool:
        voice = await pool.connect(credentials(1))
        worker = fakes.workers[0]
        worker.say(worker.stats(pss_bytes=65 << 20))
        await until(lambda: names(pool) == ["w0.2"])
        assert voice.connected
    assert [(event.worker, event.replaced) for event in heavy] == [("w0.1", True)]


@asyncio_test
async def test_a_call_that_finds_no_place_brings_a_worker_up_if_that_is_wanted() -> None:
    pool, _ = pool_of(1, autoscale=True, max_workers=2, max_calls_per_worker=1, stats_interval_s=0.05)
    scaled: list[PoolScaled] = []
    pool.listen(scaled.append, PoolScaled)
    async with pool:
        await pool.connect(credentials(1))
        with pytest.raises(PoolFullError):
            await pool.connect(credentials(2))
        await until(lambda: [info.state for info in pool.workers] == [WorkerState.READY] * 2)
        assert (await pool.connect(credentials(2))).connected
        with pytest.raises(PoolFullError):
            await pool.connect(credentials(3))
        assert pool.stats().workers_wanted == 2
    assert scaled == [PoolScaled(1, 2, "autoscale")]
