"""[pure] How many workers there should be, by what they have to do.

Up is quick and down is slow: a call that finds no place is lost, a worker too many costs some memory. The
measure is *headroom*: CPU time that is left below ``full_share``, and calls below ``max_calls_per_worker``,
over all workers that are not full. It has to be enough for the next *wave*: as much as came within the last
minute, and never less than a part of a worker. A worker goes when there would be twice that without it, for
`SLACK_S` on end, and only one at a time. Calls that are up move to an added worker a few at a time, if at all
(`voicepool._fleet.balancing`), so one that sheds complexity has no headroom, whatever the others have.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voicepool._fleet.placement import Ceilings, Load, refusal

__all__ = ["Autoscaler", "Bounds"]

PRESSED_S: Final = 2.0
"""How long headroom has to be short before a worker is added. A call that found no place adds one at once."""
SLACK_S: Final = 180.0
"""How long there has to be too much of it before one is taken away."""
WAVE_S: Final = 60.0
"""What came within this time may come again."""
WAVE_PART: Final = 0.2
"""Of one worker: the least that counts as a wave."""
COMING_S: Final = 30.0
"""How long a worker that is missing is waited for, before it is counted on no more."""
SLACK_WAVES: Final = 2.0
"""Waves that must find room without the worker that goes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How few and how many workers there may be."""

    fewest: int
    most: int

    def clamp(self, count: int) -> int:
        """Return the nearest number within the bounds."""
        return min(max(count, self.fewest), self.most)


@dataclass(frozen=True, slots=True)
class _Demand:
    """What there was to do at some time, as parts of what one worker can do."""

    at_s: float
    parts: float


class Autoscaler:
    """Decides for one pool. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._past: deque[_Demand] = deque()
        self._pressed_since_s: float | None = None
        self._slack_since_s: float | None = None
        self._missing_since_s: float | None = None
        self._refused = 0

    def look(
        self,
        now: float,
        loads: Sequence[Load],
        *,
        wanted: int,
        refused: int,
        ceilings: Ceilings,
        bounds: Bounds,
    ) -> int:
        """Say how many workers there should be.

        Parameters
        ----------
        now
            The time.
        loads
            Of the workers that take calls.
        wanted
            How many there should be so far; those that have not come up yet are none of `loads`.
        refused
            How many calls have found no place since the pool began.
        ceilings
            What makes a worker full.
        bounds
            How few and how many there may be.
        """
        new_refusals, self._refused = refused - self._refused, refused
        demand = sum(_part(load, ceilings) for load in loads)
        wave = max(WAVE_PART, self._growth(_Demand(now, demand)))
        room = sum(_room(load, ceilings) for load in loads)
        target = wanted
        if not bounds.fewest <= wanted <= bounds.most:
            # Calls that are up are worth more than a bound that was lowered.
            needed = math.ceil(sum(load.calls for load in loads) / ceilings.max_calls)
            target = max(bounds.clamp(wanted), min(needed, wanted))
        elif self._is_coming(now, missing=len(loads) < wanted):
            # Others are on their way; what they will do shows when they are there.
            self._pressed_since_s = self._slack_since_s = None
        elif new_refusals > 0 or self._is_pressed(now, short=room < wave):
            target = bounds.clamp(wanted + max(1, math.ceil(wave - room)))
        elif self._is_slack(
            now, loose=len(loads) > 1 and _room_without_one(loads, ceilings) > SLACK_WAVES * wave
        ):
            target = bounds.clamp(wanted - 1)
        if target != wanted:
            self._pressed_since_s = self._slack_since_s = None
        return target

    def _growth(self, demand: _Demand) -> float:
        self._past.append(demand)
        while self._past[0].at_s < demand.at_s - WAVE_S:
            self._past.popleft()
        return demand.parts - min(past.parts for past in self._past)

    def _is_coming(self, now: float, *, missing: bool) -> bool:
        if not missing:
            self._missing_since_s = None
            return False
        if self._missing_since_s is None:
            self._missing_since_s = now
        # One that ends at each of its starts must not keep others from coming.
        return now - self._missing_since_s < COMING_S

    def _is_pressed(self, now: float, *, short: bool) -> bool:
        if not short:
            self._pressed_since_s = None
            return False
        self._slack_since_s = None
        if self._pressed_since_s is None:
            self._pressed_since_s = now
        return now - self._pressed_since_s >= PRESSED_S

    def _is_slack(self, now: float, *, loose: bool) -> bool:
        if not loose:
            self._slack_since_s = None
            return False
        if self._slack_since_s is None:
            self._slack_since_s = now
        return now - self._slack_since_s >= SLACK_S


def _part(load: Load, ceilings: Ceilings) -> float:
    """Return which part of what it can do a worker does: of its CPU time or of its calls, if that is more."""
    return max(load.steady_share / ceilings.full_share, load.calls / ceilings.max_calls)


def _room(load: Load, ceilings: Ceilings) -> float:
    if load.shed or refusal(load, ceilings) is not None:
        return 0.0
    return max(0.0, 1.0 - _part(load, ceilings))


def _room_without_one(loads: Sequence[Load], ceilings: Ceilings) -> float:
    """Return the room there would be without the emptiest worker, whose calls need some of it."""
    emptiest = min(loads, key=lambda load: _part(load, ceilings))
    rest = sum(_room(load, ceilings) for load in loads if load is not emptiest)
    return rest - _part(emptiest, ceilings)
