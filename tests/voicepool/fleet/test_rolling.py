"""Changing the workers while calls go on, over a fleet without processes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._fleet import rolling
from voicepool._fleet.rolling import Rolling
from voicepool._fleet.spares import Crew, Member, Part
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, WorkerLostError, WorkerStartError
from voicepool.pool_events import PoolEvent, PoolScaled
from voicepool.stats import WorkerState


class FakeSlot:
    """A slot without a process."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.core: int | None = None
        self.state = WorkerState.STARTING
        self.retired = False
        self.link = name

    @property
    def worker(self) -> Any:
        return self if self.state is WorkerState.READY else None

    def retire(self) -> None:
        self.retired = True


class Bench:
    """The changes to a fleet, and what came of them, in order."""

    def __init__(self, workers: int, **config: Any) -> None:
        self.config = PoolConfig(workers=workers, **config)
        self.crew = Crew(lambda _member: None)
        self.crew.wanted = workers
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []
        self.told: list[PoolEvent] = []
        self.failures: list[Exception] = []
        self.gate: asyncio.Event | None = None
        """Starts wait for it."""
        self.move_gate: asyncio.Event | None = None
        self.outdated: set[str] = set()
        self.dismissing = 0
        self._starts: Counter[int] = Counter()
        for _ in range(workers):
            self._add(Part.ACTIVE).slot.state = WorkerState.READY  # type: ignore[misc]
        for _ in range(self.config.spare_workers):
            self._add(Part.SPARE).slot.state = WorkerState.READY  # type: ignore[misc]
        self.rolling = Rolling(self, move_calls=self._move, tell=self.told.append)

    @property
    def active(self) -> list[str]:
        return [member.slot.name for member in self.crew.of(Part.ACTIVE)]

    @property
    def spares(self) -> list[str]:
        return [member.slot.name for member in self.crew.of(Part.SPARE)]

    def member(self, name: str) -> Member:
        return next(member for member in self.crew if member.slot.name == name)

    # What the fleet offers.

    def calls_at(self, member: Member) -> int:
        return self.calls[member.slot.name]

    def is_outdated(self, member: Member) -> bool:
        return member.slot.name in self.outdated

    async def enlist(self, part: Part, *, instead_of: Member | None = None) -> Member:
        member = self._add(part, None if instead_of is None else instead_of.slot.index)
        try:
            await self._come_up()
        except BaseException:
            self.crew.remove(member)
            raise
        member.slot.state = WorkerState.READY  # type: ignore[misc]
        self.log.append(f"+{member.slot.name}")
        return member

    async def dismiss(self, member: Member) -> None:
        self.dismissing += 1
        await asyncio.sleep(0)
        self.dismissing -= 1
        self.crew.remove(member)
        self.log.append(f"-{member.slot.name}")

    async def _come_up(self) -> None:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)

    async def _move(self, link: Any) -> None:
        if self.move_gate is not None:
            await self.move_gate.wait()
        if self.failures and isinstance(self.failures[0], WorkerLostError):
            raise self.failures.pop(0)
        await asyncio.sleep(0)
        self.log.append(f"moved {self.calls.pop(link, 0)} off {link}")

    def _add(self, part: Part, index: int | None = None) -> Member:
        index = self.crew.free_index() if index is None else index
        self._starts[index] += 1
        slot: Any = FakeSlot(index, f"w{index}.{self._starts[index]}")
        member = Member(slot, part)
        self.crew.add(member)
        return member


@asyncio_test
async def test_it_grows_and_shrinks_by_the_emptiest() -> None:
    bench = Bench(1)
    await bench.rolling.scale(4, "scale")
    assert bench.active == ["w0.1", "w1.1", "w2.1", "w3.1"]
    bench.calls.update({"w0.1": 1, "w1.1": 5, "w2.1": 2, "w3.1": 1})
    bench.log.clear()
    await bench.rolling.scale(1, "autoscale")
    assert bench.active == ["w1.1"]
    assert bench.log == [
        "moved 1 off w3.1",
        "-w3.1",
        "moved 1 off w0.1",
        "-w0.1",
        "moved 2 off w2.1",
        "-w2.1",
    ]
    assert bench.told == [PoolScaled(1, 4, "scale"), PoolScaled(4, 1, "autoscale")]
    await bench.rolling.close()


@asyncio_test
async def test_all_who_go_take_no_calls_before_the_first_is_moved() -> None:
    bench = Bench(3)
    bench.move_gate = asyncio.Event()
    scaling = asyncio.create_task(bench.rolling.scale(1, "scale"))
    await until(lambda: len(bench.active) == 1)
    assert len(bench.crew.of(Part.LEAVING)) == 2
    bench.move_gate.set()
    await scaling
    await bench.rolling.close()


@asyncio_test
async def test_one_that_is_down_goes_first() -> None:
    bench = Bench(2)
    bench.calls["w0.1"] = 3
    bench.member("w0.1").slot.state = WorkerState.LOOPING  # type: ignore[misc]
    await bench.rolling.scale(1, "scale")
    assert (bench.active, bench.log) == (["w1.1"], ["-w0.1"])
    await bench.rolling.close()


@asyncio_test
async def test_the_last_wish_wins_and_all_wait_for_it() -> None:
    bench = Bench(1)
    bench.gate = asyncio.Event()
    wishes = [asyncio.create_task(bench.rolling.scale(count, "scale")) for count in (5, 2, 3)]
    await until(lambda: len(bench.crew) > 1)
    bench.gate.set()
    await asyncio.gather(*wishes)
    assert len(bench.active) == 3
    await bench.rolling.close()


@asyncio_test
async def test_what_does_not_come_up_is_an_error_and_no_longer_wanted() -> None:
    bench = Bench(1)
    bench.failures = [WorkerStartError("no memory"), WorkerStartError("still none")]
    with pytest.raises(WorkerStartError):
        await bench.rolling.scale(4, "scale")
    assert len(bench.active) == bench.crew.wanted == 2
    assert bench.told == [PoolScaled(1, 4, "scale"), PoolScaled(4, 2, "scale")]
    await bench.rolling.close()


@asyncio_test
async def test_a_successor_is_there_before_the_old_one_goes() -> None:
    bench = Bench(2)
    bench.calls["w0.1"] = 3
    await bench.rolling.replace([bench.member("w0.1")])
    assert bench.log == ["+w0.2", "moved 3 off w0.1", "-w0.1"]
    assert bench.active == ["w0.2", "w1.1"]
    await bench.rolling.close()


@asyncio_test
async def test_a_spare_relieves_at_once_and_is_followed_by_a_new_one() -> None:
    bench = Bench(1, spare_workers=1)
    bench.calls["w0.1"] = 3
    await bench.rolling.replace([bench.member("w0.1")])
    assert bench.log == ["moved 3 off w0.1", "-w0.1", "+w0.2"]
    assert (bench.active, bench.spares) == (["w1.1"], ["w0.2"])
    await bench.rolling.replace([bench.member("w0.2")])
    assert bench.spares == ["w0.3"]
    await bench.rolling.close()


@asyncio_test
async def test_a_worker_whose_successor_does_not_come_up_goes_on() -> None:
    bench = Bench(1)
    bench.failures = [WorkerStartError("no memory")]
    worker = bench.member("w0.1")
    with pytest.raises(WorkerStartError):
        await bench.rolling.replace([worker])
    assert (bench.active, worker.part, bench.log) == (["w0.1"], Part.ACTIVE, [])
    await bench.rolling.close()


@asyncio_test
async def test_replacing_twice_is_done_once() -> None:
    bench = Bench(1)
    worker = bench.member("w0.1")
    await asyncio.gather(bench.rolling.replace([worker]), bench.rolling.replace([worker]))
    assert bench.active == ["w0.2"]
    await bench.rolling.close()


@asyncio_test
async def test_a_worker_that_dies_while_its_calls_move_is_gone_all_the_same() -> None:
    bench = Bench(2)
    bench.calls["w1.1"] = 1
    worker = bench.member("w0.1")
    bench.move_gate = asyncio.Event()
    scaling = asyncio.create_task(bench.rolling.scale(1, "scale"))
    await until(lambda: worker.part is Part.LEAVING)
    assert worker.slot.retired  # type: ignore[attr-defined]
    bench.failures = [WorkerLostError("worker w0.1 was killed by SIGKILL")]
    bench.move_gate.set()
    await scaling
    assert bench.active == ["w1.1"]
    await bench.rolling.close()


@asyncio_test
async def test_a_change_goes_on_when_nobody_waits_for_it_any_more() -> None:
    bench = Bench(1)
    bench.gate = asyncio.Event()
    scaling = asyncio.create_task(bench.rolling.scale(2, "scale"))
    await until(lambda: len(bench.crew) == 2)
    scaling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scaling
    bench.gate.set()
    await until(lambda: bench.active == ["w0.1", "w1.1"] and bench.log == ["+w1.1"])
    await bench.rolling.close()


@asyncio_test
async def test_closing_ends_what_is_under_way_and_refuses_more() -> None:
    bench = Bench(2)
    bench.gate, bench.move_gate = asyncio.Event(), asyncio.Event()
    growing = asyncio.create_task(bench.rolling.scale(4, "scale"))
    replacing = asyncio.create_task(bench.rolling.replace([bench.member("w0.1")]))
    bench.rolling.begin(bench.rolling.replace([bench.member("w1.1")]), name="replacing a worker")
    await until(lambda: len(bench.crew) > 2)
    await bench.rolling.close()
    for change in (growing, replacing):
        with pytest.raises(PoolClosedError):
            await change
    assert bench.active == ["w0.1", "w1.1"]
    with pytest.raises(PoolClosedError):
        await bench.rolling.scale(1, "scale")
    bench.rolling.begin(bench.rolling.scale(1, "scale"), name="scaling")
    assert bench.rolling._tasks == set()


@asyncio_test
async def test_closing_while_calls_move_waits_for_the_end_of_the_worker() -> None:
    bench = Bench(2)
    bench.move_gate = asyncio.Event()
    scaling = asyncio.create_task(bench.rolling.scale(1, "scale"))
    await until(lambda: len(bench.active) == 1)
    await asyncio.sleep(0)
    await bench.rolling.close()
    with pytest.raises(PoolClosedError):
        await scaling
    assert bench.dismissing == 0


@asyncio_test
async def test_what_is_missing_or_old_is_seen_to_in_the_background() -> None:
    bench = Bench(2, spare_workers=1)
    bench.rolling.tend(0.0)
    assert bench.rolling._tasks == set()
    bench.crew.remove(bench.member("w1.1"))
    bench.outdated = {"w0.1", "w2.1"}
    bench.rolling.tend(1.0)
    await until(lambda: not bench.rolling._tasks)
    assert not bench.outdated & {*bench.active, *bench.spares}
    assert (len(bench.active), len(bench.spares)) == (2, 1)
    await bench.rolling.close()


@asyncio_test
async def test_fewer_spares_are_wanted() -> None:
    bench = Bench(1, spare_workers=2)
    bench.config = dataclasses.replace(bench.config, spare_workers=0)
    bench.rolling.tend(0.0)
    await until(lambda: not bench.rolling._tasks)
    assert (bench.spares, bench.active) == ([], ["w0.1"])
    await bench.rolling.close()


@asyncio_test
async def test_a_spare_that_does_not_come_up_is_tried_again_after_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(1)
    bench.config = dataclasses.replace(bench.config, spare_workers=1)
    bench.failures = [WorkerStartError("no memory")]
    bench.rolling.tend(0.0)
    await until(lambda: not bench.rolling._tasks)
    assert "a spare worker does not come up: no memory" in caplog.text
    bench.rolling.tend(1.0)
    bench.rolling.tend(0.9 + rolling.RETRY_FIRST_S)
    assert bench.rolling._tasks == set()
    bench.rolling.tend(1.0 + rolling.RETRY_FIRST_S)
    await until(lambda: not bench.rolling._tasks)
    assert bench.spares == ["w1.2"]
    await bench.rolling.close()


@asyncio_test
async def test_what_goes_wrong_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(1)
    bench.failures = [WorkerStartError("no memory")]
    bench.rolling.begin(bench.rolling.replace([bench.member("w0.1")]), name="replacing a worker")
    await until(lambda: not bench.rolling._tasks)
    assert "replacing a worker: no memory" in caplog.text
    await bench.rolling.close()


@asyncio_test
async def test_a_worker_that_is_worn_out_is_replaced_and_tried_again_if_that_fails() -> None:
    bench = Bench(1)
    bench.failures = [WorkerStartError("no memory")]
    bench.rolling.renew(bench.member("w0.1"))
    await until(lambda: not bench.rolling._tasks)
    assert bench.active == ["w0.1"]
    bench.rolling.tend(0.0)
    bench.rolling.tend(rolling.RETRY_FIRST_S)
    await until(lambda: not bench.rolling._tasks)
    assert bench.active == ["w0.3"]
    bench.rolling.tend(100.0)
    assert (bench.rolling._tasks, bench.rolling._worn) == (set(), set())
    await bench.rolling.close()


@asyncio_test
async def test_a_wish_that_fails_does_not_undo_a_newer_one() -> None:
    bench = Bench(4)
    bench.gate = asyncio.Event()
    bench.failures = [WorkerStartError("no memory")]
    more = asyncio.create_task(bench.rolling.scale(8, "scale"))
    await until(lambda: len(bench.crew) > 4)
    fewer = asyncio.create_task(bench.rolling.scale(2, "scale"))
    await until(lambda: bench.crew.wanted == 2)
    bench.gate.set()
    await fewer
    assert isinstance(more.exception(), WorkerStartError)
    assert (bench.crew.wanted, len(bench.active)) == (2, 2)
    assert bench.told == [PoolScaled(4, 8, "scale"), PoolScaled(8, 2, "scale")]
    await bench.rolling.close()


@asyncio_test
async def test_what_a_file_wants_stays_wanted_and_is_tried_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(1)
    bench.rolling.want(3, "config")
    tries: list[float] = []
    now = last = 0.0
    while len(tries) < 7:
        bench.failures = [WorkerStartError("no memory")] * 2
        bench.rolling.tend(now)
        if bench.rolling._tasks:
            tries.append(now - last)
            last = now
            await until(lambda: not bench.rolling._tasks)
        now += 1.0
    assert tries == [0.0, 6.0, 11.0, 21.0, 41.0, 61.0, 61.0], "a look each second notices a failure"
    assert (bench.crew.wanted, bench.active) == (3, ["w0.1"])
    assert "1 of the 3 workers that are wanted are there" in caplog.text
    assert "what did not start is tried again in 5 s" in caplog.text
    bench.failures = []
    bench.rolling.tend(now)
    bench.rolling.tend(now + rolling.RETRY_LONGEST_S)
    await until(lambda: len(bench.active) == 3)
    assert bench.told == [PoolScaled(1, 3, "config")]
    await bench.rolling.close()


@asyncio_test
async def test_a_new_wish_does_not_wait_for_the_pause_of_the_old_one() -> None:
    bench = Bench(1)
    bench.rolling.want(2, "config")
    bench.failures = [WorkerStartError("no memory")]
    bench.rolling.tend(0.0)
    await until(lambda: not bench.rolling._tasks)
    bench.rolling.tend(1.0)
    assert bench.rolling._tasks == set()
    bench.rolling.want(3, "config")
    bench.rolling.tend(2.0)
    await until(lambda: len(bench.active) == 3)
    await bench.rolling.close()


@asyncio_test
async def test_fewer_that_are_wanted_in_the_background_are_seen_off() -> None:
    bench = Bench(3)
    bench.rolling.want(1, "config")
    bench.rolling.tend(0.0)
    await until(lambda: not bench.rolling._tasks)
    assert (len(bench.active), len(bench.crew)) == (1, 1)
    await bench.rolling.close()


@asyncio_test
async def test_what_takes_its_turn_waits_for_the_change_before_and_holds_up_the_next() -> None:
    bench = Bench(1)
    bench.gate, done, held = asyncio.Event(), list[str](), asyncio.Event()

    async def work() -> None:
        done.append("begun")
        await held.wait()

    assert not bench.rolling.busy
    bench.rolling.begin(bench.rolling.scale(2, "scale"), name="scaling")
    await until(lambda: len(bench.crew) == 2)
    bench.rolling.begin(bench.rolling.take_turn(work), name="something")
    assert bench.rolling.busy
    assert not done
    bench.gate.set()
    await until(lambda: done)
    bench.rolling.begin(bench.rolling.scale(1, "scale"), name="scaling")
    await asyncio.sleep(0)
    assert len(bench.active) == 2
    held.set()
    await until(lambda: not bench.rolling.busy)
    assert len(bench.active) == 1
    await bench.rolling.close()
