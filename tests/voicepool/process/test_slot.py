"""A place for one worker: keeping a process in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool._process import health
from voicepool._process.exits import Exit
from voicepool._process.slot import Slot
from voicepool.errors import VoicePoolError, WorkerLostError, WorkerStartError
from voicepool.pool_events import (
    ExitReason,
    PoolEvent,
    WorkerHeavy,
    WorkerLooping,
    WorkerLost,
    WorkerShed,
    WorkerStarted,
)
from voicepool.stats import WorkerState


class FakeLink:
    calls = 3


class FakeWorker:
    """A worker without a process."""

    memory_limit_bytes = 1_000
    pid = 77

    def __init__(self, name: str, failure: Exception | None) -> None:
        self.name = name
        self.lost: VoicePoolError | None = None
        self.exit: Exit | None = None
        self.link = FakeLink()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.on_memory: Callable[[int, bool], None]
        self.on_complexity: Callable[[int], None]
        self.stopped = 0
        self.killed = 0
        self.failure = failure
        self._gone = asyncio.Event()

    async def start(self) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    async def wait_lost(self) -> VoicePoolError:
        await self._gone.wait()
        assert self.lost is not None
        return self.lost

    async def stop(self) -> None:
        self.stopped += 1
        if self.exit is None:
            self.die(ExitReason.ASKED)
        await self.may_end.wait()

    def kill(self) -> None:
        self.killed += 1

    def die(self, reason: ExitReason = ExitReason.CRASHED) -> None:
        self.exit = Exit(reason, f"worker {self.name} died")
        self.lost = WorkerLostError(self.exit.text)
        self._gone.set()


class Bench:
    """A slot, the workers it made, and the changes it told of."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.failures: list[Exception | None] = []
        self.states: list[WorkerState] = []
        self.told: list[PoolEvent] = []
        self.heavy: list[Slot] = []
        self.slot = Slot(
            4,
            2,
            make=self._make,
            on_change=self._changed,
            tell=self.told.append,
            on_heavy=self.heavy.append,
        )

    @property
    def reasons(self) -> list[ExitReason]:
        return [event.reason for event in self.told if isinstance(event, WorkerLost)]

    def _make(self, slot: Slot, start: int) -> Any:
        failure = self.failures.pop(0) if self.failures else None
        self.workers.append(FakeWorker(f"w{slot.index}.{start}", failure))
        return self.workers[-1]

    def _changed(self) -> None:
        self.states.append(self.slot.state)


@asyncio_test
async def test_it_starts_and_stops() -> None:
    bench = Bench()
    assert (bench.slot.state, bench.slot.worker, bench.slot.name) == (WorkerState.STOPPED, None, "")
    await bench.slot.start()
    assert bench.slot.worker is not None
    assert bench.slot.worker.name == bench.slot.name == "w4.1"
    await bench.slot.stop()
    assert bench.workers[0].stopped == 1
    assert bench.slot.worker is None
    assert bench.states == [WorkerState.STARTING, WorkerState.READY, WorkerState.STOPPED]
    await bench.slot.stop()


@asyncio_test
async def test_a_lost_worker_is_out_of_use_at_once_and_replaced() -> None:
    bench = Bench()
    await bench.slot.start()
    bench.workers[0].die()
    assert (bench.slot.worker, bench.slot.state) == (None, WorkerState.RESTARTING)
    await until(lambda: bench.slot.worker is not None)
    assert (bench.slot.name, bench.slot.restarts) == ("w4.2", 1)
    assert bench.slot.last_error == "worker w4.1 died"
    assert bench.workers[0].stopped == 1
    await bench.slot.stop()


@asyncio_test
async def test_a_replacement_that_does_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 0.0)
    bench = Bench()
    bench.failures = [None, WorkerStartError("no memory"), WorkerStartError("still no memory"), None]
    await bench.slot.start()
    bench.workers[0].die()
    await until(lambda: bench.slot.worker is not None)
    assert (bench.slot.name, bench.slot.last_error) == ("w4.4", "still no memory")
    await bench.slot.stop()


@asyncio_test
async def test_the_first_start_is_not_tried_again() -> None:
    bench = Bench()
    bench.failures = [WorkerStartError("no libopus")]
    with pytest.raises(WorkerStartError):
        await bench.slot.start()
    assert bench.slot.state is WorkerState.STOPPED
    await bench.slot.stop()
    assert len(bench.workers) == 1


@asyncio_test
async def test_stopping_in_the_pause_before_a_restart_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 600.0)
    monkeypatch.setattr(health, "LONGEST_PAUSE_S", 600.0)
    bench = Bench()
    bench.failures = [None, WorkerStartError("no memory")]
    await bench.slot.start()
    bench.workers[0].die()
    await until(lambda: bench.slot.last_error == "no memory")
    await bench.slot.stop()
    assert bench.slot.state is WorkerState.STOPPED
    assert len(bench.workers) == 2


@asyncio_test
async def test_kill_reaches_the_process() -> None:
    bench = Bench()
    bench.slot.kill()
    await bench.slot.start()
    bench.slot.kill()
    assert bench.workers[0].killed == 1
    await bench.slot.stop()


# What is told.


@asyncio_test
async def test_each_instance_is_told_to_have_started_and_to_be_lost() -> None:
    bench = Bench()
    await bench.slot.start()
    bench.workers[0].die()
    await until(lambda: len(bench.told) == 3)
    await bench.slot.stop()
    assert bench.told == [
        WorkerStarted(slot=4, worker="w4.1", pid=77),
        WorkerLost(slot=4, worker="w4.1", reason=ExitReason.CRASHED, text="worker w4.1 died", calls=3),
        WorkerStarted(slot=4, worker="w4.2", pid=77),
        WorkerLost(slot=4, worker="w4.2", reason=ExitReason.ASKED, text="worker w4.2 died", calls=3),
    ]
    assert bench.slot.exits == {ExitReason.CRASHED: 1, ExitReason.ASKED: 1}
    await bench.slot.stop()
    assert len(bench.told) == 4


@asyncio_test
async def test_one_that_does_not_come_up_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 0.0)
    bench = Bench()
    bench.failures = [None, WorkerStartError("no memory")]
    await bench.slot.start()
    bench.workers[0].die()
    await until(lambda: bench.slot.worker is not None)
    assert bench.reasons == [ExitReason.CRASHED, ExitReason.NOT_STARTED]
    await bench.slot.stop()


@asyncio_test
async def test_memory_and_complexity_are_told() -> None:
    bench = Bench()
    await bench.slot.start()
    worker = bench.workers[0]
    worker.on_memory(800, False)
    assert bench.heavy == []
    worker.on_memory(1_000, True)
    assert bench.heavy == [bench.slot]
    worker.on_complexity(5)
    assert bench.told[1:] == [
        WorkerHeavy(slot=4, worker="w4.1", pss_bytes=800, limit_bytes=1_000, replaced=False),
        WorkerHeavy(slot=4, worker="w4.1", pss_bytes=1_000, limit_bytes=1_000, replaced=True),
        WorkerShed(slot=4, worker="w4.1", complexity=5),
    ]
    await bench.slot.stop()


# Restarts.


@asyncio_test
async def test_a_successor_does_not_wait_until_the_lost_one_has_ended() -> None:
    bench = Bench()
    await bench.slot.start()
    lost = bench.workers[0]
    lost.may_end.clear()
    lost.die(ExitReason.HUNG)
    await until(lambda: bench.slot.worker is not None)
    assert bench.slot.name == "w4.2"
    stopping = asyncio.create_task(bench.slot.stop())
    await until(lambda: bench.workers[1].stopped)
    assert not stopping.done()
    lost.may_end.set()
    await stopping


@asyncio_test
async def test_a_cancelled_stop_ends_all_that_is_leaving() -> None:
    bench = Bench()
    await bench.slot.start()
    bench.workers[0].may_end.clear()
    stopping = asyncio.create_task(bench.slot.stop())
    await until(lambda: bench.workers[0].stopped)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert bench.reasons == [ExitReason.ASKED]


@asyncio_test
async def test_a_crash_loop_is_told_once_and_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(health, "LONGEST_PAUSE_S", 0.0)
    bench = Bench()
    await bench.slot.start()
    for number in range(1, health.LOOP_FAILURES + 3):
        assert bench.slot.name == f"w4.{number}"
        bench.workers[-1].die()
        await until(lambda: bench.slot.worker is not None)
    looping = [event for event in bench.told if isinstance(event, WorkerLooping)]
    assert looping == [WorkerLooping(slot=4, failures=5, pause_s=0.0, text="worker w4.5 died")]
    assert bench.states.count(WorkerState.LOOPING) == 3
    await bench.slot.stop()


@asyncio_test
async def test_a_worker_of_a_crash_loop_waits_for_the_longest_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(health, "LONGEST_PAUSE_S", 600.0)
    monkeypatch.setattr(health, "LOOP_FAILURES", 2)
    bench = Bench()
    await bench.slot.start()
    bench.workers[-1].die()
    await until(lambda: bench.slot.worker is not None)
    bench.workers[-1].die()
    await until(lambda: bench.slot.state is WorkerState.LOOPING)
    assert bench.slot.worker is None
    await bench.slot.stop()
    assert len(bench.workers) == 2


@pytest.mark.parametrize("reason", [ExitReason.OVER_MEMORY, ExitReason.ASKED])
def test_ends_that_are_no_failures_have_no_pause(reason: ExitReason, monkeypatch: pytest.MonkeyPatch) -> None:
    @asyncio_test
    async def run() -> None:
        monkeypatch.setattr(health, "CALM_AFTER_S", 0.0)
        monkeypatch.setattr(health, "FIRST_PAUSE_S", 600.0)
        monkeypatch.setattr(health, "LONGEST_PAUSE_S", 600.0)
        bench = Bench()
        await bench.slot.start()
        for _ in range(10):
            bench.workers[-1].die(reason)
            await until(lambda: bench.slot.worker is not None)
        assert bench.slot.exits == {reason: 10}
        await bench.slot.stop()

    run()


@asyncio_test
async def test_a_retired_worker_is_not_replaced() -> None:
    bench = Bench()
    await bench.slot.start()
    bench.slot.retire()
    assert bench.slot.worker is not None
    bench.workers[0].die()
    await until(lambda: bench.slot.state is WorkerState.STOPPED)
    assert bench.states[-1] is WorkerState.STOPPED
    await bench.slot.stop()
    assert len(bench.workers) == 1
    assert bench.reasons == [ExitReason.CRASHED]


@asyncio_test
async def test_a_listener_that_fails_does_not_keep_workers_down(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def fail(_event: PoolEvent) -> None:
        raise RuntimeError("a mistake of somebody's")

    bench.slot._listener = fail
    await bench.slot.start()
    bench.workers[0].die()
    await until(lambda: bench.slot.name == "w4.2" and bench.slot.worker is not None)
    await bench.slot.stop()
    assert "a mistake of somebody's" in caplog.text


@asyncio_test
async def test_one_that_does_not_end_in_order_is_no_reason_to_stop_restarting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    await bench.slot.start()

    async def fail() -> None:
        raise OSError("the socket has gone")

    bench.workers[0].stop = fail  # type: ignore[method-assign]
    bench.workers[0].die()
    await until(lambda: bench.slot.worker is not None)
    await bench.slot.stop()
    assert "worker w4.1 did not end in order" in caplog.text
