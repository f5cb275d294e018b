"""What a pool does by itself."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._fleet.autoscale import Bounds
from voicepool._fleet.balancing import LASTING_S, Movable, Transfer
from voicepool._fleet.gauge import Costs
from voicepool._fleet.placement import Ceilings, Load
from voicepool._fleet.spares import Crew
from voicepool._fleet.upkeep import RETRY_S, Upkeep, bounds_of
from voicepool.config import PoolConfig
from voicepool.ipc.ids import CallId, WorkerId


class FakeFleet:
    """Workers whose load is what the test says."""

    def __init__(self, **config: Any) -> None:
        self.config = PoolConfig(workers=1, stats_interval_s=0.05, **config)
        self.crew = Crew(lambda _member: None)
        self.crew.wanted = 1
        self.refused = 0
        self.load: Load | Exception = Load(name="w0.1", calls=0)
        self.costs = Costs()
        self.ceilings = Ceilings(max_calls=500, full_share=0.85)

    def loads(self) -> list[Load]:
        if isinstance(self.load, Exception):
            raise self.load
        return [self.load] * self.crew.wanted


class FakeRolling:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.scaled: list[tuple[int, str]] = []
        self.begun: list[str] = []
        self.tended = 0
        self.busy = False

    def tend(self, _now: float) -> None:
        self.tended += 1

    async def scale(self, count: int, reason: str) -> None:
        self.scaled.append((count, reason))

    async def take_turn(self, work: Any) -> None:
        await work()

    def begin(self, work: Any, *, name: str) -> None:
        self.begun.append(name)
        with pytest.raises(StopIteration):
            work.send(None)


class Moves:
    """The calls of a pool, and which of them were to move."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = [Movable(CallId(str(number)), WorkerId("w0.1")) for number in range(calls)]
        self.told: list[Transfer] = []

    async def move(self, transfers: Sequence[Transfer]) -> None:
        self.told.extend(transfers)


def upkeep_of(fleet: Any, rolling: Any, looked: list[bool], moves: Moves | None = None) -> Upkeep:
    moves = moves or Moves()
    return Upkeep(
        fleet, rolling, movables=lambda: moves.calls, move=moves.move, look=lambda: looked.append(True)
    )


@asyncio_test
async def test_it_looks_again_and_again_and_sees_to_the_spares() -> None:
    rolling, looked = FakeRolling(), list[bool]()
    upkeep = upkeep_of(FakeFleet(), rolling, looked)
    await until(lambda: rolling.tended >= 2)
    assert len(looked) == rolling.tended
    await upkeep.close()


@asyncio_test
async def test_it_scales_only_where_that_is_wanted() -> None:
    for autoscale, scaled in ((False, []), (True, [(2, "autoscale")])):
        fleet, rolling = FakeFleet(autoscale=autoscale, max_workers=4), FakeRolling()
        upkeep = upkeep_of(fleet, rolling, [])
        fleet.refused = 1
        upkeep.look(100.0)
        await upkeep.close()
        assert rolling.scaled == scaled


@asyncio_test
async def test_what_did_not_come_up_is_not_tried_again_at_once() -> None:
    fleet, rolling = FakeFleet(autoscale=True, max_workers=4), FakeRolling()
    upkeep = upkeep_of(fleet, rolling, [])
    await upkeep.close()
    for now in (100.0, 101.0, 102.0, 101.0 + RETRY_S):
        fleet.refused += 1
        upkeep.look(now)
    assert len(rolling.scaled) == 2, "at first, and after a while"
    fleet.crew.wanted = 2
    fleet.refused += 1
    upkeep.look(200.0)
    assert rolling.scaled[-1] == (3, "autoscale")


@asyncio_test
async def test_a_defect_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    fleet, rolling = FakeFleet(), FakeRolling()
    fleet.load = ValueError("a defect")
    upkeep = upkeep_of(fleet, rolling, [])
    await until(lambda: "a defect" in caplog.text)
    fleet.load = Load(name="w0.1", calls=0)
    await until(lambda: rolling.tended)
    await upkeep.close()
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@asyncio_test
async def test_it_relieves_a_worker_that_has_too_much_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    fleet, rolling, moves = FakeFleet(moves_at_once=2), FakeRolling(), Moves(calls=8)
    busy = Load(name="w0.1", calls=8, playing=8, cpu_share=0.95, steady_share=0.95)
    loads = [busy, Load(name="w1.1", calls=0)]
    fleet.loads = lambda: loads  # type: ignore[method-assign]
    upkeep = upkeep_of(fleet, rolling, [], moves)
    await upkeep.close()
    upkeep.look(1_000_000.0)
    rolling.busy = True
    upkeep.look(1_000_000.0 + LASTING_S)
    assert moves.told == [], "workers are just being changed"
    rolling.busy = False
    upkeep.look(1_000_000.0 + LASTING_S)
    assert [(each.call, each.source, each.target) for each in moves.told] == [
        ("0", "w0.1", "w1.1"),
        ("1", "w0.1", "w1.1"),
    ]
    assert rolling.begun == ["relieving workers"]
    loads[0] = dataclasses.replace(busy, cpu_share=0.5)
    upkeep.look(1_000_100.0)
    assert len(moves.told) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "worker w0.1 has too much to do; calls move off it where there is room",
        "worker w0.1 has no longer too much to do",
    ]


@asyncio_test
async def test_nothing_is_evened_out_where_that_is_not_wanted() -> None:
    fleet, rolling, moves = FakeFleet(rebalance=False), FakeRolling(), Moves(calls=8)
    busy = Load(name="w0.1", calls=8, playing=8, cpu_share=0.95, steady_share=0.95)
    fleet.loads = lambda: [busy, Load(name="w1.1", calls=0)]  # type: ignore[method-assign]
    upkeep = upkeep_of(fleet, rolling, [], moves)
    await upkeep.close()
    for now in (1_000_000.0, 1_000_100.0, 1_000_200.0):
        upkeep.look(now)
    assert moves.told == []


def test_as_many_as_there_are_cores_may_be_started_on_auto() -> None:
    assert bounds_of(PoolConfig(min_workers=2, max_workers=5)) == Bounds(2, 5)
    auto = bounds_of(PoolConfig(workers=7, min_workers=1))
    assert auto == Bounds(1, PoolConfig(workers="auto").resolve_workers())
    assert bounds_of(PoolConfig(min_workers=900)).most == 900
