"""The workers of a pool as one: started and stopped together, calls placed among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

from voicepool._calling import call_in_thread
from voicepool._fleet.hiring import Hiring
from voicepool._fleet.leases import Lease
from voicepool._fleet.placement import Load
from voicepool._fleet.placing import Placing
from voicepool._fleet.spares import Crew, Member, Part
from voicepool._machine.cores import read_topology
from voicepool._machine.isolation import explain_plan
from voicepool._machine.preflight import prepare_start
from voicepool._machine.repinning import repin
from voicepool._process.launcher import Launcher
from voicepool._process.link import CallListener, Link
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, PoolFullError, WorkerError, WorkerLostError, WorkerTimeoutError
from voicepool.ipc.commands import ReportStats
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import CallId, WorkerId
from voicepool.pool_events import PoolEvent
from voicepool.stats import WorkerInfo

__all__ = ["Fleet"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Fleet:
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
        self.config = config
        self.refused = 0
        self.crew: Final = Crew(_repin, self._free_core)
        self._placing = Placing(config)
        self._leases = self._placing.leases
        self._hiring = Hiring(
            self.crew,
            launcher,
            on_crash=on_crash,
            on_change=self._on_change,
            on_heavy=on_heavy,
            on_report=on_report,
            tell=tell,
        )
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def links(self) -> list[Link]:
        """The conversations with all workers that are up, whether they take calls or not."""
        return [worker.link for member in self.crew if (worker := member.slot.worker) is not None]

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping

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
        stops = [
            asyncio.create_task(member.slot.stop(), name="voicepool worker stop") for member in self.crew
        ]
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
        for task in stops:
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOGGER.error("a worker did not end in order", exc_info=error)

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

    # Calls.

    async def place(
        self,
        call: CallId,
        listener: CallListener,
        *,
        avoid: Collection[WorkerId] = (),
        station: str | None = None,
    ) -> Link:
        """Return the link to the worker that holds a call, choosing one if none does.

        Waits up to ``connect_timeout_s`` for a worker while all are being restarted. The place is taken
        until `release`. A call whose worker was lost gets another one, which may be one that takes no new
        calls for want of CPU time.

        Parameters
        ----------
        call, listener
            The call, and who hears news of it.
        avoid
            Workers that are not to take it, as long as there is another one.
        station
            Key of the station that it hears; calls of one station are kept together.

        Raises
        ------
        PoolFullError
            Every worker is full; the text tells of each why.
        WorkerLostError
            All workers are down.
        PoolClosedError
            The pool is being closed.
        """
        if (link := self._held(call, avoid)) is not None:
            return link
        # The only worker there is, is better than none, though it may not have taken the call before.
        avoided = avoid if self._has_others(avoid) else ()
        try:
            await self._wait_for_a_worker(avoided)
        except WorkerLostError:
            if not self._open_links():
                raise
            avoided = ()
        if (link := self._held(call, avoid)) is not None:
            # Another attempt of the same call waited too, and was first.
            return link
        before = self._leases.holder(call)
        lease = self._choose(avoided, station, exists=before is not None)
        if before is not None:
            before.unlisten(call)
        self._leases.take(call, lease, listener)
        return lease.link

    async def reserve(
        self, call: CallId, *, avoid: Collection[WorkerId] = (), station: str | None = None
    ) -> Link:
        """Return the link to a second worker for a call that will move there; see `place`.

        The place is taken until `shift`, `cancel_reservation` or `release`. A newer one replaces it.

        Raises
        ------
        PoolFullError, WorkerLostError, PoolClosedError
            As `place` does.
        """
        await self._wait_for_a_worker(avoid)
        self._leases.cancel(call)
        lease = self._choose(avoid, station, exists=True)
        self._leases.reserve(call, lease)
        return lease.link

    def shift(self, call: CallId, link: Link, listener: CallListener) -> None:
        """Make the reserved place the call's; the old one is given back, and says nothing of it any more."""
        self._leases.shift(call, link, listener)

    def cancel_reservation(self, call: CallId) -> None:
        """Give a reserved place back, if there is one."""
        self._leases.cancel(call)

    def release(self, call: CallId) -> None:
        """Give a call's place back, and what is reserved for it."""
        self._leases.release(call)

    def worker_of(self, call: CallId) -> str:
        """Return the name of the worker that holds a call; empty if none does."""
        link = self._leases.holder(call)
        return link.worker if link is not None else ""

    # Figures.

    def describe(self) -> tuple[WorkerInfo, ...]:
        """Describe all workers."""
        return tuple(self._hiring.describe(member, self.calls_at(member)) for member in self.crew)

    def calls_at(self, member: Member) -> int:
        """Return how many calls a worker holds."""
        return self._leases.calls_at(WorkerId(member.slot.name))

    def loads(self) -> list[Load]:
        """Return what is known of the workers that take calls."""
        self._placing.observe(self.links)
        return self._placing.loads(self._open_links())

    async def refresh_stats(self) -> None:
        """Ask all workers for fresh figures; one that does not answer keeps its old ones."""
        requests = []
        for link in self.links:
            try:
                request = link.request(
                    lambda number: ReportStats(request=number), Stats, timeout_s=self.config.command_timeout_s
                )
            except WorkerError as error:
                _LOGGER.warning("no figures from %s: %s", link.worker, error)
            else:
                requests.append(request.answer())
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(outcome, WorkerLostError | WorkerTimeoutError):
                _LOGGER.warning("no fresh figures: %s", outcome)
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

    def _held(self, call: CallId, avoid: Collection[WorkerId]) -> Link | None:
        link = self._leases.holder(call)
        return link if link is not None and link.lost is None and link.worker not in avoid else None

    def _has_others(self, avoid: Collection[WorkerId]) -> bool:
        return any(member.slot.name not in avoid for member in self.crew.of(Part.ACTIVE))

    def _choose(self, avoid: Collection[WorkerId], station: str | None, *, exists: bool) -> Lease:
        try:
            return self._placing.choose(self._open_links(avoid), station=station, exists=exists)
        except PoolFullError:
            self.refused += 1
            raise

    def _open_links(self, avoid: Collection[WorkerId] = ()) -> list[Link]:
        self.crew.balance()
        workers = [member.slot.worker for member in self.crew.of(Part.ACTIVE)]
        return [worker.link for worker in workers if worker is not None and worker.name not in avoid]

    async def _wait_for_a_worker(self, avoid: Collection[WorkerId] = ()) -> None:
        try:
            async with asyncio.timeout(self.config.connect_timeout_s):
                while not self._open_links(avoid) and not self._stopping:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            down = {member.slot.last_error or "is starting" for member in self.crew if not member.is_up}
            which = "no other worker" if avoid else "no worker"
            reasons = "; ".join(sorted(down)) or "there are none"
            raise WorkerLostError(f"{which} is running, all are being restarted: {reasons}") from None
        if self._stopping:
            raise PoolClosedError("the pool is being closed")

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
        repin(worker.pid, member.slot.core)


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
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if errors:
        raise errors[0]
