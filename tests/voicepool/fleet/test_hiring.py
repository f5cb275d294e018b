"""Making workers: names, cores, settings, and where they meet the bot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess
from voicepool._fleet.hiring import Hiring
from voicepool._fleet.spares import Crew, Member, Part
from voicepool._machine.isolation import Core, Topology
from voicepool.config import PoolConfig
from voicepool.ipc.events import Stats
from voicepool.pool_events import ExitReason

FOUR_CORES = Topology(allowed=4, cores=tuple(Core(number, frozenset({number})) for number in range(4)))


class Bench:
    """Makes workers in the test's loop, on a machine of four cores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        monkeypatch.setattr("voicepool._fleet.hiring.read_topology", lambda: FOUR_CORES)
        self.fakes = InProcess()
        self.crew = Crew(lambda _member: None)
        self.heavy: list[Member] = []
        self.reports: list[Stats] = []
        self.config = PoolConfig(**config)
        self.hiring = Hiring(
            self.crew,
            self.fakes,
            on_crash=lambda _worker: None,
            on_change=lambda: None,
            on_heavy=self.heavy.append,
            on_report=self.reports.append,
            tell=lambda _event: None,
        )
        self.hiring.use(self.config)

    async def up(self, index: int, part: Part = Part.ACTIVE, like: Member | None = None) -> Member:
        member = self.hiring.hire(index, part, like=like)
        await member.slot.start()
        return member

    async def close(self) -> None:
        for member in self.crew:
            await member.slot.stop()
        await self.hiring.close()


def hiring_test(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[pytest.MonkeyPatch], None]:
    """Run an async test with a bench."""

    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        @asyncio_test
        async def scenario() -> None:
            bench = Bench(monkeypatch)
            await test(bench)
            await bench.close()

        scenario()

    return run


@hiring_test
async def test_each_active_worker_has_a_core_that_is_not_the_bots_and_a_spare_has_none(bench: Bench) -> None:
    bench.crew.wanted = 3
    members = [await bench.up(index) for index in range(3)]
    spare = await bench.up(3, Part.SPARE)
    assert {member.slot.core for member in members} == {1, 2, 3}
    assert spare.slot.core is None
    successor = await bench.up(1, like=members[1])
    assert successor.slot.core == members[1].slot.core
    assert [worker.setup.settings.core for worker in bench.fakes.workers if worker.setup] == [
        *(member.slot.core for member in members),
        None,
        successor.slot.core,
    ]


@hiring_test
async def test_whether_workers_are_pinned_is_for_the_next_one_too(bench: Bench) -> None:
    bench.crew.wanted = 1
    pinned = await bench.up(0)
    bench.hiring.use(dataclasses.replace(bench.config, pin_workers=False))
    loose = await bench.up(0, like=pinned)
    bench.hiring.use(bench.config)
    again = await bench.up(0, like=loose)
    cores = [worker.setup.settings.core for worker in bench.fakes.workers if worker.setup]
    assert cores == [pinned.slot.core, None, again.slot.core]
    assert pinned.slot.core is not None
    assert again.slot.core is not None


@hiring_test
async def test_names_and_counts_go_on_over_all_slots_of_a_place(bench: Bench) -> None:
    first = await bench.up(0)
    second = await bench.up(0, like=first)
    assert (first.slot.name, second.slot.name) == ("w0.1", "w0.2")
    await first.slot.stop()
    bench.hiring.forget(first)
    info = bench.hiring.describe(second, calls=3)
    assert (info.slot, info.name, info.restarts, info.calls) == (0, "w0.2", 1, 3)
    assert info.exits == {ExitReason.ASKED: 1}
    assert info.libopus == "libopus 9.9"


@hiring_test
async def test_a_worker_that_is_not_up_is_described_without_a_process(bench: Bench) -> None:
    member = bench.hiring.hire(0, Part.ACTIVE)
    info = bench.hiring.describe(member, calls=0)
    assert (info.name, info.pid, info.libopus, info.restarts, info.exits) == ("", None, "", 0, {})


@hiring_test
async def test_other_settings_are_for_the_next_worker(bench: Bench) -> None:
    old = await bench.up(0)
    bench.hiring.use(dataclasses.replace(bench.config, heartbeat_interval_s=0.3, recovery_rate_hz=3.0))
    new = await bench.up(1)
    bench.hiring.use(dataclasses.replace(bench.config, heartbeat_interval_s=0.3))
    assert not bench.hiring.is_outdated(new)
    bench.hiring.use(dataclasses.replace(bench.config, bitrate_bps=32_000))
    assert bench.hiring.is_outdated(old)
    newest = await bench.up(2)
    assert not bench.hiring.is_outdated(newest)
    settings = [worker.setup.settings.bitrate_bps for worker in bench.fakes.workers if worker.setup]
    assert settings == [128_000, 128_000, 32_000]


@hiring_test
async def test_workers_that_run_stay_where_they_have_met_the_bot(bench: Bench) -> None:
    await bench.up(0)
    bench.hiring.use(dataclasses.replace(bench.config, ipc="tcp"))
    await bench.up(1)
    bench.hiring.use(dataclasses.replace(bench.config, ipc="tcp", complexity=3))
    await bench.up(2)
    kinds = [worker.bootstrap.address.partition(":")[0] for worker in bench.fakes.workers]
    assert kinds[1:] == ["tcp", "tcp"]
    assert len(bench.hiring._rendezvous) == 2


def test_without_pinning_there_are_no_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    @asyncio_test
    async def run() -> None:
        bench = Bench(monkeypatch, pin_workers=False)
        assert bench.hiring.free_core() is None
        assert (await bench.up(0)).slot.core is None
        await bench.close()

    run()
