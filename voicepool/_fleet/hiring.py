"""Makes the workers of a pool: gives each a name, a core, its settings, and a place to meet the bot."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Final

from voicepool._fleet.spares import Crew, Member, Part
from voicepool._machine.cores import read_topology
from voicepool._machine.isolation import plan_cores
from voicepool._process.launcher import Launcher
from voicepool._process.rendezvous import Rendezvous
from voicepool._process.settings import worker_settings
from voicepool._process.slot import Slot
from voicepool._process.worker import Worker
from voicepool._settings.knobs import TakesEffect
from voicepool.config import PoolConfig
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import ExitReason, PoolEvent
from voicepool.stats import WorkerInfo

__all__ = ["Hiring"]

_MIB: Final = 1 << 20


class Hiring:
    """For one pool. `use` comes first, `close` last.

    What counts over all processes that a place ever held is kept here, since slots come and go.

    Parameters
    ----------
    crew
        Where the workers belong.
    launcher
        Who starts the processes.
    on_crash, on_heavy, on_report, tell
        As of `voicepool._fleet.fleet.Fleet`.
    on_change
        Told after each change of a worker's state.
    """

    def __init__(
        self,
        crew: Crew,
        launcher: Launcher,
        *,
        on_crash: Callable[[WorkerId], None],
        on_change: Callable[[], None],
        on_heavy: Callable[[Member], None],
        on_report: Callable[[Stats], None],
        tell: Callable[[PoolEvent], None],
    ) -> None:
        self._crew = crew
        self._launcher = launcher
        self._on_crash = on_crash
        self._on_change = on_change
        self._on_heavy = on_heavy
        self._on_report = on_report
        self._tell = tell
        self._config = PoolConfig()
        self._rendezvous: list[Rendezvous] = []
        self._launches: Counter[int] = Counter()
        self._exits: dict[int, Counter[ExitReason]] = {}
        self._configs: dict[str, PoolConfig] = {}

    def use(self, config: PoolConfig) -> None:
        """Make workers with these settings from now on; those there are go by what they can of them.

        Raises
        ------
        WorkerStartError
            There is no place for their sockets; nothing has changed then.
        """
        here, there = self._config, config
        if not self._rendezvous or (here.ipc, here.max_source_bytes) != (there.ipc, there.max_source_bytes):
            # Those that run stay where they have met the bot.
            self._rendezvous.append(Rendezvous(there.ipc, max_attachment_bytes=there.max_source_bytes))
        self._config = config
        for member in self._crew:
            if (worker := member.slot.newest) is not None:
                worker.configure(
                    heartbeat_interval_s=config.heartbeat_interval_s,
                    hang_timeout_s=config.hang_timeout_s,
                    stop_timeout_s=config.stop_timeout_s,
                )

    def check_process(self) -> None:
        """Do nothing, unless this is a fork of the process that started the workers.

        Raises
        ------
        PoolClosedError
            It is.
        """
        if self._rendezvous:
            self._rendezvous[-1].check_process()

    async def close(self) -> None:
        """Release where workers met the bot; there are none any more."""
        # The stack goes on with the next one when one fails.
        async with contextlib.AsyncExitStack() as stack:
            for rendezvous in self._rendezvous:
                stack.push_async_callback(rendezvous.close)

    def hire(self, index: int, part: Part, *, like: Member | None = None) -> Member:
        """Make a member of the crew, which is to be started.

        Parameters
        ----------
        index
            Of its slot.
        part
            What it is there for.
        like
            Whose core it gets, if that has one; else an active one gets the core that the fewest have.
        """
        slot = Slot(
            index,
            like.slot.core if like is not None else None,
            make=self._make_worker,
            on_change=self._on_change,
            tell=self._tell,
            on_heavy=self._take_heavy,
        )
        self._assign_core(slot, part)
        member = Member(slot, part)
        self._crew.add(member)
        return member

    def forget(self, member: Member) -> None:
        """Take out one that has ended."""
        self._crew.remove(member)
        self._exits.setdefault(member.slot.index, Counter()).update(member.slot.exits)

    def is_outdated(self, member: Member) -> bool:
        """Whether a worker runs with settings that are no longer those in force."""
        started_with = self._configs.get(member.slot.name, self._config)
        return TakesEffect.NEXT_WORKER in self._config.changes_from(started_with).values()

    def describe(self, member: Member, calls: int) -> WorkerInfo:
        """Describe a worker that holds so many calls."""
        slot, worker = member.slot, member.slot.worker
        info = WorkerInfo(
            slot=slot.index,
            name=slot.name,
            state=member.state,
            restarts=max(0, self._launches[slot.index] - 1),
            last_error=slot.last_error,
            # A plain one: dataclasses.asdict makes nonsense of a Counter.
            exits=dict(self._exits.get(slot.index, Counter()) + slot.exits),
        )
        if worker is None:
            return info
        ready = worker.ready
        return dataclasses.replace(
            info,
            pid=worker.pid,
            core=ready.core if slot.core is None else slot.core,
            calls=calls,
            libopus=ready.libopus,
            libopus_origin=ready.libopus_origin,
            loop=ready.loop,
            encoder_class=ready.encoder_class,
            pacing_class=ready.pacing_class,
            rtt_ms=worker.link.rtt_ms,
        )

    def free_core(self) -> int | None:
        """Return the core that the fewest active workers have. A spare has none: the kernel finds it one."""
        if not self._config.pin_workers:
            return None
        used = Counter(member.slot.core for member in self._crew.of(Part.ACTIVE))
        plan = plan_cores(max(self._crew.wanted, used.total() + 1), read_topology())
        return min(plan, key=lambda core: used[core])

    def _assign_core(self, slot: Slot, part: Part) -> None:
        """Give a slot a core, or take it away: ``pin_workers`` may have changed since it got one."""
        if not self._config.pin_workers:
            slot.core = None
        elif slot.core is None and part is Part.ACTIVE:
            slot.core = self.free_core()

    def _member_of(self, slot: Slot) -> Member:
        return next(member for member in self._crew if member.slot is slot)

    def _make_worker(self, slot: Slot, _start: int) -> Worker:
        config = self._config
        self._assign_core(slot, self._member_of(slot).part)
        self._launches[slot.index] += 1
        name = WorkerId(f"w{slot.index}.{self._launches[slot.index]}")
        running = {member.slot.name for member in self._crew}
        self._configs = {known: with_ for known, with_ in self._configs.items() if known in running}
        self._configs[name] = config
        worker = Worker(
            name,
            settings=worker_settings(config, slot.core),
            rendezvous=self._rendezvous[-1],
            launcher=self._launcher,
            start_timeout_s=config.start_timeout_s,
            stop_timeout_s=config.stop_timeout_s,
            heartbeat_interval_s=config.heartbeat_interval_s,
            hang_timeout_s=config.hang_timeout_s,
            memory_limit_bytes=config.memory_limit_mib * _MIB,
            on_crash=self._on_crash,
        )
        worker.on_report = self._on_report
        return worker

    def _take_heavy(self, slot: Slot) -> None:
        self._on_heavy(self._member_of(slot))
