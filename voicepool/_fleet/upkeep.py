"""What a pool that runs does by itself: looks at its workers' load, scales by it, and sees to its spares."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Final

from voicepool._fleet.autoscale import Autoscaler, Bounds
from voicepool._fleet.fleet import Fleet
from voicepool._fleet.placement import Ceilings, Load
from voicepool._fleet.rolling import RETRY_S, Rolling
from voicepool.config import PoolConfig

__all__ = ["Upkeep", "bounds_of"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class Upkeep:
    """Of one pool. Made on the event loop; `close` ends it.

    Parameters
    ----------
    fleet
        The workers.
    rolling
        Changes them.
    look
        Called at each look, for whoever keeps figures.
    """

    def __init__(self, fleet: Fleet, rolling: Rolling, *, look: Callable[[], object] = lambda: None) -> None:
        self._fleet = fleet
        self._rolling = rolling
        self._tell_of_look = look
        self._autoscaler = Autoscaler()
        self._asked = 0
        self._rests_until = 0.0
        self._clock = asyncio.get_running_loop().time
        self._task = asyncio.create_task(self._run(), name="voicepool upkeep")

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def look(self, now: float) -> None:
        """Do what is to be done now.

        Parameters
        ----------
        now
            Seconds of the loop's clock.
        """
        self._tell_of_look()
        loads = self._fleet.loads()
        if self._fleet.config.autoscale:
            self._autoscale(now, loads)
        self._rolling.tend(now)

    def _autoscale(self, now: float, loads: Sequence[Load]) -> None:
        config, wanted = self._fleet.config, self._fleet.crew.wanted
        if wanted < self._asked:
            # What was added has not come up: it would not the next second either.
            self._rests_until = now + RETRY_S
        self._asked = 0
        target = self._autoscaler.look(
            now,
            loads,
            wanted=wanted,
            refused=self._fleet.refused,
            ceilings=Ceilings(max_calls=config.max_calls_per_worker, full_share=config.full_share),
            bounds=bounds_of(config),
        )
        if target < wanted or (target > wanted and now >= self._rests_until):
            self._asked = target
            self._rolling.begin(self._rolling.scale(target, "autoscale"), name="autoscale")

    async def _run(self) -> None:
        while True:
            try:
                self.look(self._clock())
            except Exception:
                _LOGGER.exception("the workers cannot be seen to")
            await asyncio.sleep(self._fleet.config.stats_interval_s)


def bounds_of(config: PoolConfig) -> Bounds:
    """Return how few and how many workers autoscale may have; "auto" is as many as ``workers = "auto"``."""
    most = config.max_workers
    if isinstance(most, str):
        most = dataclasses.replace(config, workers="auto").resolve_workers()
    return Bounds(fewest=config.min_workers, most=max(config.min_workers, most))
