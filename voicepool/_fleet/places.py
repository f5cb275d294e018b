"""The half of a fleet that is about calls: which worker holds each, and how it gets a place at one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from voicepool._fleet.gauge import Costs
from voicepool._fleet.leases import Lease
from voicepool._fleet.placement import Ceilings, Load
from voicepool._fleet.placing import Placing
from voicepool._fleet.spares import Crew, Member, Part
from voicepool._process.link import CallListener, Link
from voicepool.config import PoolConfig
from voicepool.errors import PoolClosedError, PoolFullError, WorkerLostError
from voicepool.ipc.ids import CallId, WorkerId

__all__ = ["Places"]


class Places:
    """The places for calls at the workers of one pool; mixed into `voicepool._fleet.fleet.Fleet`.

    Parameters
    ----------
    config
        The pool's.
    crew
        The workers, each with its part.
    """

    def __init__(self, config: PoolConfig, crew: Crew) -> None:
        self.config = config
        self.crew: Final = crew
        self.refused = 0
        self._placing = Placing(config)
        self._leases = self._placing.leases
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping

    @property
    def links(self) -> list[Link]:
        """The conversations with all workers that are up, whether they take calls or not."""
        return [worker.link for member in self.crew if (worker := member.slot.worker) is not None]

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

    def reserve_at(self, call: CallId, worker: WorkerId, *, station: str | None = None) -> Link:
        """Return the link to a given worker for a call that will move there; see `reserve`.

        Raises
        ------
        PoolFullError
            It takes no further call.
        WorkerLostError
            It is not there.
        """
        links = [link for link in self._open_links() if link.worker == worker]
        if not links:
            raise WorkerLostError(f"there is no worker {worker} to take a call")
        self._leases.cancel(call)
        lease = self._placing.choose(links, station=station, exists=False)
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

    # Figures.

    @property
    def costs(self) -> Costs:
        """What a call costs, learned from all workers."""
        return self._placing.costs

    @property
    def ceilings(self) -> Ceilings:
        """What makes a worker full."""
        return self._placing.ceilings

    def calls_at(self, member: Member) -> int:
        """Return how many calls a worker holds."""
        return self._leases.calls_at(WorkerId(member.slot.name))

    def loads(self) -> list[Load]:
        """Return what is known of the workers that take calls."""
        self._placing.observe(self.links)
        return self._placing.loads(self._open_links())

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
