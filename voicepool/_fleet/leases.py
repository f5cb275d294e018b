"""Which worker holds which call, and which has a place reserved for one that will move there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voicepool._process.link import CallListener, Link
from voicepool.ipc.ids import CallId, WorkerId

__all__ = ["Lease", "Leases"]

SETTLING_S: Final = 3.0
"""How long after it came a call is in no figure yet, by the clock of its worker's reports."""

EXPECTED_S: Final = 60.0
"""How long after it came a call may begin the station that it was said to hear; later, only reports count."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A call's place at a worker.

    Attributes
    ----------
    link
        To the worker.
    since_s
        The worker's age, as of its last report, when the place was taken.
    station
        Key of the station that the call heard, or was said to be going to hear, if that was known.
    """

    link: Link
    since_s: float
    station: str | None = None


class Leases:
    """All places that are taken."""

    def __init__(self) -> None:
        self._held: dict[CallId, Lease] = {}
        self._reserved: dict[CallId, Lease] = {}

    def holder(self, call: CallId) -> Link | None:
        """Return the link to the worker that holds a call; None if none does."""
        lease = self._held.get(call)
        return lease.link if lease is not None else None

    def reserved(self, call: CallId) -> Link | None:
        """Return the link to the worker at which a call has a place reserved; None if there is none."""
        lease = self._reserved.get(call)
        return lease.link if lease is not None else None

    def of(self, worker: WorkerId) -> list[Lease]:
        """Return the places that are taken at a worker, reserved ones among them."""
        return [lease for lease in self._all() if lease.link.worker == worker]

    def calls_at(self, worker: WorkerId) -> int:
        """Return how many calls a worker holds, without those that will come."""
        return sum(lease.link.worker == worker for lease in self._held.values())

    def fresh(self, worker: WorkerId, uptime_s: float) -> list[Lease]:
        """Return the places whose calls came too lately to be in a worker's figures."""
        return [lease for lease in self.of(worker) if uptime_s - lease.since_s < SETTLING_S]

    def is_expected(self, station: str, worker: WorkerId, uptime_s: float) -> bool:
        """Tell whether a call came to a worker lately that was said to be going to hear a station."""
        return any(
            lease.station == station and uptime_s - lease.since_s < EXPECTED_S for lease in self.of(worker)
        )

    def take(self, call: CallId, lease: Lease, listener: CallListener) -> None:
        """Give a call its place."""
        self._held[call] = lease
        lease.link.listen(call, listener)

    def reserve(self, call: CallId, lease: Lease) -> None:
        """Keep a second place for a call."""
        self._reserved[call] = lease

    def shift(self, call: CallId, link: Link, listener: CallListener) -> None:
        """Make a reserved place the call's, and give the old one back."""
        old = self._held.pop(call, None)
        if old is not None:
            old.link.unlisten(call)
        lease = self._reserved.get(call)
        if lease is None or lease.link is not link:
            lease = Lease(link, since_s=0.0)
        else:
            del self._reserved[call]
        self.take(call, lease, listener)

    def cancel(self, call: CallId) -> None:
        """Give a reserved place back."""
        self._reserved.pop(call, None)

    def release(self, call: CallId) -> None:
        """Give back all places of a call."""
        self.cancel(call)
        lease = self._held.pop(call, None)
        if lease is not None:
            lease.link.unlisten(call)

    def _all(self) -> Iterator[Lease]:
        yield from self._held.values()
        yield from self._reserved.values()
