"""A place for one worker: keeping a process in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from voicepool import _health
from voicepool._slot import Slot
from voicepool.errors import VoicePoolError, WorkerLostError, WorkerStartError
from voicepool.stats import WorkerState


class FakeWorker:
    """A worker without a process."""

    def __init__(self, name: str, failure: Exception | None) -> None:
        self.name = name
        self.lost: VoicePoolError | None = None
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

    def kill(self) -> None:
        self.killed += 1

    def die(self) -> None:
        self.lost = WorkerLostError(f"worker {self.name} died")
        self._gone.set()


class Bench:
    """A slot, the workers it made, and the changes it told of."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.failures: list[Exception | None] = []
        self.states: list[WorkerState] = []
        self.slot = Slot(4, 2, make=self._make, on_change=self._changed)

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
    monkeypatch.setattr(_health, "FIRST_PAUSE_S", 0.0)
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
    monkeypatch.setattr(_health, "FIRST_PAUSE_S", 600.0)
    monkeypatch.setattr(_health, "LONGEST_PAUSE_S", 600.0)
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
