"""The workers as one; most is seen through the pool in ``test_pool.py``."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool._fleet.fleet import Fleet
from voicepool._fleet.spares import Part
from voicepool._machine.isolation import Topology
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, PoolFullError, WorkerStartError
from voicepool.ipc.commands import ReportStats, Shutdown
from voicepool.ipc.ids import CallId
from voicepool.pool_events import ExitReason
from voicepool.stats import WorkerState


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


# Second places, and workers that come and go.


@asyncio_test
async def test_a_reserved_place_counts_until_it_is_the_calls_or_given_back() -> None:
    fleet = fleet_of(2, InProcess(), max_calls_per_worker=1)
    await fleet.start()
    call, listener = CallId("a"), Deaf()
    old = await fleet.place(call, listener)
    new = await fleet.reserve(call, avoid={old.worker})
    assert new is not old
    with pytest.raises(PoolFullError):
        await fleet.place(CallId("b"), Deaf())
    fleet.cancel_reservation(call)
    fleet.cancel_reservation(call)
    second = await fleet.place(CallId("b"), Deaf())
    assert second is new
    with pytest.raises(PoolFullError):
        await fleet.reserve(call, avoid={old.worker})
    assert fleet.refused == 2
    fleet.release(CallId("b"))
    assert await fleet.reserve(call, avoid={old.worker}) is new
    fleet.shift(call, new, listener)
    assert fleet.worker_of(call) == new.worker
    assert [info.calls for info in fleet.describe()] == [0, 1]
    assert await fleet.place(CallId("c"), Deaf()) is old
    await fleet.stop()


@asyncio_test
async def test_news_of_a_call_comes_from_the_worker_that_has_it_now() -> None:
    fakes = InProcess()
    fleet = fleet_of(2, fakes)
    await fleet.start()
    call, listener = CallId("a"), Deaf()
    old = await fleet.place(call, listener)
    for worker in fakes.workers:
        worker.open_calls[call] = 1
    new = await fleet.reserve(call, avoid={old.worker})
    await fleet.refresh_stats()
    assert listener.heard == 1
    fleet.shift(call, new, listener)
    await fleet.refresh_stats()
    assert listener.heard == 2
    await fleet.stop()


@asyncio_test
async def test_a_worker_that_is_to_be_avoided_does_not_keep_a_call() -> None:
    fleet = fleet_of(2, InProcess())
    await fleet.start()
    first = await fleet.place(CallId("a"), Deaf())
    second = await fleet.place(CallId("a"), Deaf(), avoid={first.worker})
    assert second is not first
    assert [info.calls for info in fleet.describe()] == [0, 1]
    await fleet.stop()


@asyncio_test
async def test_a_call_that_existed_goes_where_new_ones_are_refused() -> None:
    fakes = InProcess()
    fleet = fleet_of(2, fakes, full_share=0.1)
    await fleet.start()
    held = await fleet.place(CallId("a"), Deaf())
    assert held.worker == "w0.1"
    for fake in fakes.workers:
        fake.uptime_s = 1.0
    await fleet.refresh_stats()
    for fake in fakes.workers:
        fake.uptime_s, fake.cpu_s = 31.0, 29.0
    await fleet.refresh_stats()
    with pytest.raises(PoolFullError, match=r"w1\.1: 0 calls, 0\.9\d of a core"):
        await fleet.place(CallId("b"), Deaf())
    fakes.processes[0].kill()
    await until(lambda: held.lost)
    assert (await fleet.place(CallId("a"), Deaf())).worker == "w1.1"
    await fleet.stop()


@asyncio_test
async def test_calls_of_a_station_are_placed_together() -> None:
    fleet = fleet_of(2, InProcess())
    await fleet.start()
    links = [await fleet.place(CallId(name), Deaf(), station="radio") for name in "abc"]
    assert {link.worker for link in links} == {"w0.1"}
    await fleet.stop()


@asyncio_test
async def test_more_workers_come_and_go_and_keep_their_own_names() -> None:
    fakes = InProcess()
    fleet = fleet_of(1, fakes)
    await fleet.start()
    spare = await fleet.enlist(Part.SPARE)
    assert [info.state for info in fleet.describe()] == [WorkerState.READY, WorkerState.SPARE]
    assert {(await fleet.place(CallId(name), Deaf())).worker for name in "ab"} == {"w0.1"}
    assert len(fleet.links) == 2
    first = next(iter(fleet.crew))
    beside = await fleet.enlist(Part.ACTIVE, instead_of=first)
    assert beside.slot.name == "w0.2"
    await fleet.dismiss(first)
    await fleet.dismiss(spare)
    [info] = fleet.describe()
    assert (info.slot, info.name, info.restarts, info.exits) == (0, "w0.2", 1, {ExitReason.ASKED: 1})
    await fleet.stop()
    assert all(worker.heard(Shutdown) for worker in fakes.workers)


@asyncio_test
async def test_one_that_does_not_come_up_leaves_nothing() -> None:
    async def script(worker: ScriptedWorker) -> None:
        if worker.bootstrap.worker == "w1.1":
            return
        await worker.greet()
        await worker.serve()

    fleet = fleet_of(1, InProcess(script))
    await fleet.start()
    with pytest.raises(WorkerStartError):
        await fleet.enlist(Part.ACTIVE)
    assert [info.name for info in fleet.describe()] == ["w0.1"]
    assert (await fleet.enlist(Part.ACTIVE)).slot.name == "w1.2"
    await fleet.stop()


@asyncio_test
async def test_workers_with_old_settings_are_known() -> None:
    fleet = fleet_of(1, InProcess())
    await fleet.start()
    [member] = fleet.crew
    fleet.apply(dataclasses.replace(fleet.config, full_share=0.3))
    assert not fleet.is_outdated(member)
    fleet.apply(dataclasses.replace(fleet.config, complexity=4))
    assert fleet.is_outdated(member)
    assert not fleet.is_outdated(await fleet.enlist(Part.ACTIVE))
    await fleet.stop()


@asyncio_test
async def test_more_workers_than_cores_are_warned_of_with_the_consequence(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicepool._fleet.fleet.read_topology", lambda: Topology(allowed=1))
    fleet = fleet_of(2, InProcess())
    await fleet.start()
    await fleet.stop()
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "2 workers share" in warning.getMessage()
