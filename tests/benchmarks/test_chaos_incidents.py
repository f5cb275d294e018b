from __future__ import annotations

import itertools
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.chaos_bot import Bot
from benchmarks.chaos_incidents import Kind, OrphanWatch, kinds, strike
from tests.fakes.running import asyncio_test
from voicepool.stats import WorkerInfo, WorkerState


def test_half_of_all_are_kills_and_the_order_is_the_seeds() -> None:
    first = list(itertools.islice(kinds(random.Random(1)), 40))
    assert first == list(itertools.islice(kinds(random.Random(1)), 40))
    assert first != list(itertools.islice(kinds(random.Random(2)), 40))
    assert Counter(first) == {Kind.KILL: 20, Kind.STOP: 10, Kind.LEAK: 10}
    assert set(first[:4]) == set(Kind)


def bot(*workers: WorkerInfo, guilds: dict[str, list[int]]) -> Bot:
    pool = SimpleNamespace(workers=workers)
    return cast("Bot", SimpleNamespace(pool=pool, guilds_at=lambda name: guilds.get(name, [])))


def worker(name: str, state: WorkerState = WorkerState.READY) -> WorkerInfo:
    # The kernel gives nobody this number: above the largest pid there is.
    return WorkerInfo(slot=0, name=name, state=state, pid=(1 << 22) + 1)


@asyncio_test
async def test_only_workers_with_calls_are_struck() -> None:
    there = bot(
        worker("w0.1", WorkerState.SPARE),
        worker("w1.1"),
        worker("w2.1"),
        guilds={"w2.1": [3, 4], "w0.1": [1]},
    )
    for _ in range(5):
        incident = await strike(there, Kind.KILL, random.Random())
        assert incident is not None
        assert (incident.kind, incident.worker, incident.guilds) == (Kind.KILL, "w2.1", (3, 4))


@asyncio_test
async def test_without_any_nothing_is_done() -> None:
    there = bot(worker("w0.1", WorkerState.RESTARTING), worker("w1.1"), guilds={"w0.1": [1]})
    assert await strike(there, Kind.STOP, random.Random()) is None


def test_an_orphan_is_one_that_stays_unknown() -> None:
    watch = OrphanWatch(cast("Any", None))
    watch.look({1, 2, 3}, {1}, 0.0)
    watch.look({1, 2, 3}, {1, 3}, 8.0)
    watch.look({1, 2, 3}, {1}, 9.0)
    assert watch.found == set()
    watch.look({1, 2, 3}, {1}, 10.0)
    assert watch.found == {2}
    watch.look(set(), {1}, 30.0)
    assert watch.found == {2}
