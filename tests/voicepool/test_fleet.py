"""The workers as one; most is seen through the pool in ``test_pool.py``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool._fleet import Fleet
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, WorkerStartError
from voicepool.ipc.commands import ReportStats
from voicepool.ipc.ids import CallId


class Deaf:
    """A listener that counts and needs nothing."""

    def __init__(self) -> None:
        self.heard = 0

    def take(self, thing: Any) -> None:
        self.heard += 1

    on_track_event = on_call_closed = on_call_event = on_stats = on_worker_lost = take


def fleet_of(workers: int, fakes: InProcess, **config: Any) -> Fleet:
    return Fleet(PoolConfig(workers=workers, **config), fakes)


@asyncio_test
async def test_a_call_keeps_its_worker_until_it_is_released() -> None:
    fleet = fleet_of(2, InProcess())
    await fleet.start()
    first = await fleet.place(CallId("a"), Deaf())
    assert await fleet.place(CallId("a"), Deaf()) is first
    second = await fleet.place(CallId("b"), Deaf())
    assert second is not first
    assert (fleet.worker_of(CallId("a")), fleet.worker_of(CallId("b"))) == ("w0.1", "w1.1")
    assert [info.calls for info in fleet.describe()] == [1, 1]
    fleet.release(CallId("a"))
    fleet.release(CallId("a"))
    assert fleet.worker_of(CallId("a")) == ""
    assert await fleet.place(CallId("c"), Deaf()) is first
    await fleet.stop()


@asyncio_test
async def test_a_released_call_is_not_spoken_of_any_more() -> None:
    fakes = InProcess()
    fleet = fleet_of(1, fakes)
    await fleet.start()
    listener = Deaf()
    await fleet.place(CallId("a"), listener)
    fakes.workers[0].open_calls[CallId("a")] = 1
    await fleet.refresh_stats()
    assert listener.heard == 1
    fleet.release(CallId("a"))
    await fleet.refresh_stats()
    assert listener.heard == 1
    await fleet.stop()


@asyncio_test
async def test_a_call_of_a_lost_worker_is_placed_anew() -> None:
    fakes = InProcess()
    fleet = fleet_of(2, fakes)
    await fleet.start()
    first = await fleet.place(CallId("a"), Deaf())
    fakes.processes[0].kill()
    await until(lambda: first.lost)
    second = await fleet.place(CallId("a"), Deaf())
    assert second.worker == "w1.1"
    await fleet.stop()


@asyncio_test
async def test_stopping_ends_who_waits_for_a_worker() -> None:
    first = [True]

    async def never_again(worker: ScriptedWorker) -> None:
        await worker.greet()
        if not first[0]:
            await asyncio.Event().wait()
        first[0] = False
        await worker.serve()

    fakes = InProcess(never_again)
    fleet = fleet_of(1, fakes)
    await fleet.start()
    fakes.processes[0].kill()
    await until(lambda: not fleet.links)
    waiting = asyncio.create_task(fleet.place(CallId("a"), Deaf()))
    await asyncio.sleep(0)
    await fleet.stop()
    with pytest.raises(PoolClosedError):
        await waiting


@asyncio_test
async def test_a_worker_learns_how_patient_a_call_is() -> None:
    fakes = InProcess()
    patience = {
        "connect_timeout_s": 11.0,
        "reconnect_first_pause_s": 1.5,
        "reconnect_longest_pause_s": 12.0,
        "reconnect_attempts": 3,
        "server_wait_s": 13.0,
        "removal_grace_s": 14.0,
    }
    fleet = fleet_of(1, fakes, **patience)
    await fleet.start()
    setup = fakes.workers[0].setup
    assert setup is not None
    assert {key: getattr(setup.settings, key) for key in patience} == patience
    await fleet.stop()


@asyncio_test
async def test_of_several_failing_starts_one_is_told_and_none_is_lost() -> None:
    async def refuse(_worker: ScriptedWorker) -> None:
        return

    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context))
    fleet = fleet_of(4, InProcess(refuse))
    with pytest.raises(WorkerStartError, match=r"worker w\d\.1 exited"):
        await fleet.start()
    assert fleet.links == []
    assert noise == []


@asyncio_test
async def test_fresh_figures_come_from_who_answers(caplog: pytest.LogCaptureFixture) -> None:
    fakes = InProcess()
    fleet = fleet_of(2, fakes, command_timeout_s=0.02)
    await fleet.start()
    fakes.workers[0].silent_about.add(ReportStats)
    await fleet.refresh_stats()
    assert [link.stats is not None for link in fleet.links] == [False, True]
    assert "w0.1 has not answered ReportStats" in caplog.text
    await fleet.stop()
