"""The workers as one; most is seen through the pool in ``test_pool.py``."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool._fleet.fleet import Fleet
from voicepool._fleet.spares import Part
from voicepool._machine.isolation import Topology
from voicepool.config import PoolConfig
from voicepool.errors import WorkerStartError
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
