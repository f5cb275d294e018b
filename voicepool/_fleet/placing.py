"""The places for calls at the workers: what each worker can bear, by its reports, and which one is next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from voicepool._fleet.gauge import Costs, Gauge
from voicepool._fleet.leases import Lease, Leases
from voicepool._fleet.placement import Ceilings, Load, choose_worker, measure
from voicepool._process.link import Link
from voicepool.config import PoolConfig
from voicepool.ipc.ids import WorkerId

__all__ = ["Placing"]


class Placing:
    """Measures workers and chooses among them.

    Parameters
    ----------
    config
        The pool's; may be exchanged.

    Attributes
    ----------
    leases
        The places that are taken.
    costs
        What a call costs, learned from all workers.
    """

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self.leases: Final = Leases()
        self.costs: Final = Costs()
        self._gauges: dict[WorkerId, Gauge] = {}

    @property
    def ceilings(self) -> Ceilings:
        """What makes a worker full."""
        return Ceilings(max_calls=self.config.max_calls_per_worker, full_share=self.config.full_share)

    def observe(self, links: Sequence[Link]) -> None:
        """Take in the latest reports of all workers that are up; those that are gone are forgotten."""
        self._gauges = {link.worker: self._gauge(link) for link in links}

    def choose(self, links: Sequence[Link], *, station: str | None, exists: bool) -> Lease:
        """Return a place at the worker to take a call; it is not taken yet.

        Parameters
        ----------
        links
            To the workers that take calls; at least one.
        station
            Key of the station that the call hears.
        exists
            Whether the call was up already.

        Raises
        ------
        PoolFullError
            All are full.
        """
        loads = self.loads(links, station)
        link = links[choose_worker(loads, self.ceilings, self.costs, exists=exists)]
        return Lease(link, since_s=self._gauge(link).uptime_s, station=station)

    def loads(self, links: Sequence[Link], station: str | None = None) -> list[Load]:
        """Return what is known of these workers."""
        return [self._load(link, station) for link in links]

    def _load(self, link: Link, station: str | None) -> Load:
        gauge = self._gauge(link)
        taken = self.leases.of(link.worker)
        fresh = self.leases.fresh(link.worker, gauge.uptime_s)
        on_air = set(gauge.latest.stations) if gauge.latest is not None else set()
        coming = [lease.station for lease in fresh if lease.station is not None]
        # The first of those that hear a station has it encoded; for the others it is there.
        alone = len(set(coming) - on_air)
        return measure(
            gauge,
            name=link.worker,
            calls=len(taken),
            fresh=len(fresh),
            fresh_passing=len(coming) - alone,
            complexity=self.config.complexity,
            on_air=station is not None
            and (station in on_air or self.leases.is_expected(station, link.worker, gauge.uptime_s)),
        )

    def _gauge(self, link: Link) -> Gauge:
        gauge = self._gauges.setdefault(link.worker, Gauge())
        span = gauge.take(link.stats)
        if span is not None:
            self.costs.learn(span)
        return gauge
