"""What a pool does by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._fleet.autoscale import Bounds
from voicepool._fleet.placement import Load
from voicepool._fleet.rolling import RETRY_S
from voicepool._fleet.spares import Crew
from voicepool._fleet.upkeep import Upkeep, bounds_of
from voicepool.config import PoolConfig


class FakeFleet:
    """Workers whose load is what the test says."""

    def __init__(self, **config: Any) -> None:
        self.config = PoolConfig(workers=1, stats_interval_s=0.05, **config)
        self.crew = Crew(lambda _member: None)
        self.crew.wanted = 1
        self.refused = 0
        self.load: Load | Exception = Load(name="w0.1", calls=0)

    def loads(self) -> list[Load]:
        if isinstance(self.load, Exception):
            raise self.load
        return [self.load] * self.crew.wanted


class FakeRolling:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.scaled: list[tuple[int, str]] = []
        self.tended = 0

    def tend(self, _now: float) -> None:
        self.tended += 1

    async def scale(self, count: int, reason: str) -> None:
        self.scaled.append((count, reason))

    def begin(self, work: Any, *, name: str) -> None:
        assert name == "autoscale"
        with pytest.raises(StopIteration):
            work.send(None)


def upkeep_of(fleet: Any, rolling: Any, looked: list[bool]) -> Upkeep:
    return Upkeep(fleet, rolling, look=lambda: looked.append(True))


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


def test_as_many_as_there_are_cores_may_be_started_on_auto() -> None:
    assert bounds_of(PoolConfig(min_workers=2, max_workers=5)) == Bounds(2, 5)
    auto = bounds_of(PoolConfig(workers=7, min_workers=1))
    assert auto == Bounds(1, PoolConfig(workers="auto").resolve_workers())
    assert bounds_of(PoolConfig(min_workers=900)).most == 900
