"""What a pool that runs does by itself: looks at its workers' load, scales, evens out, and sees to spares."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from voicepool._fleet.autoscale import Autoscaler, Bounds
from voicepool._fleet.balancing import Balancer, Movable, Transfer
from voicepool._fleet.fleet import Fleet
from voicepool._fleet.placement import Load
from voicepool._fleet.rolling import Rolling
from voicepool._subject_log import about
from voicepool.config import PoolConfig

__all__ = ["Upkeep", "bounds_of"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

RETRY_S: Final = 30.0
"""Until more workers are asked for again after some that autoscale wanted have not come up."""


class Upkeep:
    """Of one pool. Made on the event loop; `close` ends it.

    Parameters
    ----------
    fleet
        The workers.
    rolling
        Changes them.
    movables
        Returns the calls that could move.
    move
        Moves some, and returns when that is done, or not to be done.
    look
        Called at each look, for whoever keeps figures.
    """

    def __init__(
        self,
        fleet: Fleet,
        rolling: Rolling,
        *,
        movables: Callable[[], Sequence[Movable]],
        move: Callable[[Sequence[Transfer]], Coroutine[Any, Any, None]],
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self._fleet = fleet
        self._rolling = rolling
        self._movables = movables
        self._move = move
        self._tell_of_look = look
        self._autoscaler = Autoscaler()
        self._balancer = Balancer()
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
        if self._fleet.config.rebalance and not self._rolling.busy:
            self._balance(now, loads)

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
            ceilings=self._fleet.ceilings,
            bounds=bounds_of(config),
        )
        if target < wanted or (target > wanted and now >= self._rests_until):
            self._asked = target
            self._rolling.begin(self._rolling.scale(target, "autoscale"), name="autoscale")

    def _balance(self, now: float, loads: Sequence[Load]) -> None:
        before = self._balancer.relieving
        transfers = self._balancer.look(
            now,
            loads,
            self._movables,
            ceilings=self._fleet.ceilings,
            costs=self._fleet.costs,
            at_once=self._fleet.config.moves_at_once,
        )
        relieving = self._balancer.relieving
        for worker in sorted(relieving - before):
            _LOGGER.warning(
                "worker %s has too much to do; calls move off it where there is room",
                worker,
                extra=about(worker=worker),
            )
        for worker in sorted(before - relieving):
            _LOGGER.info("worker %s has no longer too much to do", worker, extra=about(worker=worker))
        if transfers:
            self._rolling.begin(
                self._rolling.take_turn(lambda: self._move(transfers)), name="relieving workers"
            )

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
