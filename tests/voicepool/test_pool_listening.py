"""Listening to a pool. How listeners are treated is in ``test_hearers.py``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import pool_of
from tests.fakes.running import asyncio_test
from voicepool.events import TrackEnded
from voicepool.pool_events import ExitReason, PoolScaled, WorkerLost, WorkerStarted


@asyncio_test
async def test_each_process_is_heard_of_when_it_starts_and_when_it_ends() -> None:
    pool, _ = pool_of(2)
    everything: list[Any] = []
    lost: list[WorkerLost] = []
    pool.listen(everything.append)
    pool.listen(lost.append, WorkerLost)
    events = pool.events()
    async with pool:
        started = [event for event in everything if isinstance(event, WorkerStarted)]
        assert sorted((event.slot, event.worker) for event in started) == [(0, "w0.1"), (1, "w1.1")]
        await pool.scale(1)
    assert PoolScaled(before=2, after=1, reason="scale") in everything
    assert [(event.worker, event.reason) for event in lost] == [
        ("w1.1", ExitReason.ASKED),
        ("w0.1", ExitReason.ASKED),
    ]
    assert [event async for event in events] == everything, "it ends with the pool"


@asyncio_test
async def test_coroutines_are_run_to_their_end_by_the_pool() -> None:
    pool, _ = pool_of()
    heard: list[str] = []

    async def slow(event: WorkerStarted) -> None:
        await asyncio.sleep(0)
        heard.append(event.worker)

    stop = pool.listen(slow, WorkerStarted)
    async with pool:
        pass
    stop()
    assert heard == ["w0.1"]


@asyncio_test
async def test_who_has_stopped_hears_nothing() -> None:
    pool, _ = pool_of()
    heard: list[Any] = []
    pool.listen(heard.append)()
    async with pool:
        assert heard == []


def test_only_events_of_pools_can_be_listened_for() -> None:
    pool, _ = pool_of()
    with pytest.raises(TypeError, match="WorkerStarted"):
        pool.listen(print, TrackEnded)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="callable"):
        pool.listen("print")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        pool.events(TrackEnded)  # type: ignore[type-var]


@asyncio_test
async def test_after_the_end_there_is_nothing_to_hear() -> None:
    pool, _ = pool_of()
    await pool.close()
    assert [event async for event in pool.events()] == []
