from __future__ import annotations

import asyncio
import os
import time

import pytest

from benchmarks.chaos_bot import LoopWatch, open_bot, percentile, pss_bytes, worker_processes
from tests.fakes.running import asyncio_test
from voicepool.config import PoolConfig


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1.0, 51.0, 100.0, 100.0]
    assert percentile([], 99) == 0.0


def test_memory_is_told_of_processes_that_there_are() -> None:
    used = pss_bytes(os.getpid())
    assert used is not None
    assert used > 1 << 20
    assert pss_bytes((1 << 22) + 1) is None


@asyncio_test
async def test_a_loop_that_was_blocked_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.time
    noted = asyncio.Event()
    async with LoopWatch() as watch:
        # It waits for its first tick now; meanwhile 100 ms pass at once.
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: real() + 0.1)
        loop.call_later(0.02, noted.set)
        await noted.wait()
        late_ms = watch.take()
        assert late_ms[0] > 90.0
        assert watch.take() == []


@asyncio_test
async def test_a_bot_plays_what_is_heard_and_its_file_is_its_settings() -> None:
    before = worker_processes()
    async with open_bot(60.0, workers=1, config_check_s=0.0) as bot:
        assert len(bot.note_pids()) == 1
        assert worker_processes() - before == bot.pids
        await bot.join([1, 2], sound=[2])
        assert sorted(bot.guilds_at(bot.pool.workers[0].name)) == [1, 2]
        bot.play(1)
        bot.play(2)
        await bot.settle(packets=20)
        assert await bot.until_ready(1) < 60.0
        (breaks,) = await bot.ask(
            "breaks",
            windows=[{"from_ns": 0, "until_ns": time.monotonic_ns(), "guilds": [1, 2]}],
        )
        assert [broken["guild"] for broken in breaks] == [1, 2]
        assert await bot.ask("jumps", guilds=[1]) == [[0, 0]]
        assert await bot.ask("silent", than_ms=60_000) == []
        totals = await bot.ask("totals")
        assert (totals["sessions"], totals["violations"], totals["nonce_reuses"]) == (2, [], 0)
        await bot.leave(1)
        assert bot.ended == {}
        bot.configure(workers=3)
        assert PoolConfig.load(bot.pool.config.origin, env={}).workers == 3
        assert bot.pool.config.workers == 1
    assert worker_processes() == before
