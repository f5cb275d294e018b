"""The workers of a pool as one: started and stopped together, calls placed among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from voicepool._calling import call_in_thread
from voicepool._fleet.hiring import Hiring
from voicepool._fleet.places import Places
from voicepool._fleet.spares import Crew, Member, Part
from voicepool._machine.cores import read_topology
from voicepool._machine.isolation import explain_plan
from voicepool._machine.preflight import prepare_start
from voicepool._machine.repinning import repin
from voicepool._process.launcher import Launcher
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.errors import WorkerError, WorkerLostError, WorkerTimeoutError
from voicepool.ipc.commands import ReportStats
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import PoolEvent
from voicepool.stats import WorkerInfo

__all__ = ["Fleet"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Fleet(Places):
    """All workers of one pool. Used once: `start`, then `stop`.

    Parameters
    ----------
    config
        The pool's.
    launcher
        Who starts the processes.
    on_crash
        Told which one has died unasked, before those whose calls it held are.
    tell
        Handed what happens to workers.
    on_heavy
        Handed a worker that has used up its memory, so that it has to be replaced.
    on_report
        Handed each report of a worker.

    Attributes
    ----------
    config
        In force now; see `apply`.
    crew
        The workers, each with its part.
    refused
        How many calls found no place.
    """

    def __init__(
        self,
        config: PoolConfig,
        launcher: Launcher,
        *,
        on_crash: Callable[[WorkerId], None] = lambda _worker: None,
        tell: Callable[[PoolEvent], None] = lambda _event: None,
        on_heavy: Callable[[Member], None] = lambda _member: None,
        on_report: Callable[[Stats], None] = lambda _stats: None,
    ) -> None:
        super().__init__(config, Crew(_repin, self._free_core))
        self._hiring = Hiring(
            self.crew,
            launcher,
            on_crash=on_crash,
            on_change=self._on_change,
            on_heavy=on_heavy,
            on_report=on_report,
            tell=tell,
        )

    # Start and end.

    async def start(self) -> None:
        """Bring all workers up, or none. Spares are not among them; see `enlist`.

        Raises
        ------
        WorkerStartError
            One does not come up; the others have been ended. Or there is no place for their sockets, or too
            few files may be open; the text has the way out.
        """
        await call_in_thread(partial(prepare_start, self.config), name="voicepool preflight")
        self._hiring.use(self.config)
        self.crew.wanted = count = self.config.resolve_workers()
        topology = read_topology()
        if consequence := explain_plan(count, topology):
            # Less than a core each is a mistake; no core for the bot alone is what small machines are like.
            _LOGGER.log(logging.WARNING if count > topology.usable else logging.INFO, "%s", consequence)
        try:
            await _all_or_first_error(
                [
                    asyncio.create_task(self._bring_up(self._hiring.hire(index, Part.ACTIVE)))
                    for index in range(count)
                ]
            )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all workers and release everything. When cancelled, they are killed at once."""
        self._stopping = True
        self._changed.set()
        stops = {
            asyncio.create_task(member.slot.stop(), name="voicepool worker stop"): member.slot.name
            for member in self.crew
        }
        try:
            if stops:
                await asyncio.wait(stops)
        finally:
            unfinished = {task for task in stops if not task.done()}
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
            await self._hiring.close()
        for task, worker in stops.items():
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOGGER.error(
                    "worker %s did not end in order", worker, exc_info=error, extra=about(worker=worker)
                )

    def check_process(self) -> None:
        """Do nothing, unless this is a fork of the process that started it.

        Raises
        ------
        PoolClosedError
            It is.
        """
        self._hiring.check_process()

    def kill(self) -> None:
        """End all processes at once; `stop` still has to be awaited."""
        for member in self.crew:
            member.slot.kill()

    # Figures.

    def describe(self) -> tuple[WorkerInfo, ...]:
        """Describe all workers."""
        return tuple(self._hiring.describe(member, self.calls_at(member)) for member in self.crew)

    async def refresh_stats(self) -> None:
        """Ask all workers for fresh figures; one that does not answer keeps its old ones."""
        requests = {}
        for link in self.links:
            try:
                request = link.request(
                    lambda number: ReportStats(request=number), Stats, timeout_s=self.config.command_timeout_s
                )
            except WorkerError as error:
                _LOGGER.warning("no figures from %s: %s", link.worker, error, extra=about(worker=link.worker))
            else:
                requests[link.worker] = request.answer()
        outcomes = await asyncio.gather(*requests.values(), return_exceptions=True)
        for worker, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, WorkerLostError | WorkerTimeoutError):
                _LOGGER.warning("no fresh figures: %s", outcome, extra=about(worker=worker))
            elif isinstance(outcome, BaseException):
                raise outcome
        self._placing.observe(self.links)

    # Other workers than before; see `voicepool._fleet.rolling`.

    def apply(self, config: PoolConfig) -> None:
        """Have other settings from now on; what only new processes can take, they get.

        Raises
        ------
        WorkerStartError
            There is no place for the workers' sockets; nothing has changed then.
        """
        self._hiring.use(config)
        self.config = self._placing.config = config

    def is_outdated(self, member: Member) -> bool:
        """Whether a worker runs with settings that are no longer those in force."""
        return self._hiring.is_outdated(member)

    async def enlist(self, part: Part, *, instead_of: Member | None = None) -> Member:
        """Start one more worker. When this fails or is cancelled, nothing is left of it.

        Parameters
        ----------
        part
            What it is there for.
        instead_of
            Whose index and core it gets.

        Raises
        ------
        WorkerStartError
            It does not come up.
        """
        index = self.crew.free_index() if instead_of is None else instead_of.slot.index
        member = self._hiring.hire(index, part, like=instead_of)
        try:
            await self._bring_up(member)
        except BaseException:
            await self.dismiss(member)
            raise
        return member

    async def dismiss(self, member: Member) -> None:
        """End a worker, and forget it."""
        member.part = Part.LEAVING
        try:
            await member.slot.stop()
        finally:
            self._hiring.forget(member)

    # How it is done.

    def _free_core(self) -> int | None:
        return self._hiring.free_core()

    def _on_change(self) -> None:
        self.crew.balance()
        self._changed.set()

    async def _bring_up(self, member: Member) -> None:
        await member.slot.start()


def _repin(member: Member) -> None:
    worker = member.slot.worker
    if worker is not None and member.slot.core is not None:
        repin(worker.pid, member.slot.core, worker=worker.name)


async def _all_or_first_error(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for all tasks; at the first failure, or when cancelled, cancel the others and wait for them."""
    tasks = set(tasks)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        unfinished = {task for task in tasks if not task.done()}
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        # Looked at in any case, or asyncio complains of those that failed while this was cancelled.
        outcomes = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    for error in outcomes:
        if error is not None:
            raise error
