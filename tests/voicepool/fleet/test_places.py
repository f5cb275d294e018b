"""Which worker gets a call: places that are taken, reserved, and given back."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from tests.voicepool.fleet.test_fleet import Deaf, fleet_of
from voicepool.errors import PoolClosedError, PoolFullError, WorkerLostError
from voicepool.ipc.ids import CallId, WorkerId


@asyncio_test
async def test_a_call_keeps_its_worker_until_it_is_released() -> None:
    fleet = fleet_of(2, InProcess())
    await fleet.start()
    first = await fleet.place(CallId("a"), Deaf())
    assert await fleet.place(CallId("a"), Deaf()) is first
    second = await fleet.place(CallId("b"), Deaf())
    assert second is not first
    assert (first.worker, second.worker) == ("w0.1", "w1.1")
    assert [info.calls for info in fleet.describe()] == [1, 1]
    fleet.release(CallId("a"))
    fleet.release(CallId("a"))
    assert [info.calls for info in fleet.describe()] == [0, 1]
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
    assert await fleet.place(call, listener) is new
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
async def test_a_place_can_be_reserved_at_one_worker_as_long_as_it_is_not_full() -> None:
    fleet = fleet_of(3, InProcess(), max_calls_per_worker=1)
    await fleet.start()
    call, listener = CallId("a"), Deaf()
    await fleet.place(call, listener)
    there = fleet.reserve_at(call, WorkerId("w2.1"))
    assert there.worker == "w2.1"
    assert fleet.reserve_at(call, WorkerId("w2.1")) is there, "its own reservation is not in the way"
    fleet.shift(call, there, listener)
    assert [info.calls for info in fleet.describe()] == [0, 0, 1]
    await fleet.place(CallId("b"), Deaf())
    with pytest.raises(PoolFullError):
        fleet.reserve_at(CallId("b"), WorkerId("w2.1"))
    assert fleet.refused == 0, "nobody was turned away"
    with pytest.raises(WorkerLostError, match=r"no worker w7\.1"):
        fleet.reserve_at(call, WorkerId("w7.1"))
    await fleet.stop()
