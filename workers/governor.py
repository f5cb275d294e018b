"""How hard a worker may try when it has more to encode than it has time for [pure].

Opus costs 0.11 ms a frame at complexity 10, 0.07 at 5, 0.05 at 2 and 0.04 at 0. A listener hardly notices the
difference; a frame that is late is a click. So when the encoder threads have no time left and the rings run
low, the complexity is lowered for all calls and stations of the worker, a step at a time, and raised again
when there is room for it.

Down is quick: rings hold 160 ms unless told otherwise, and work of 1.5 times what there is time for empties
them in 0.5 s. `look` wants to be called every `LOOK_S` while anything is encoded. It lowers the complexity

* when the threads had next to no rest for `EARLY_S`, before anything is behind;
* already after `PRESSED_S` when they had none at all, a ring is behind by `BEHIND_SHARE` of its length, and
  what is sent takes most of a core to be made (calls that begin at the same time have their sources opened
  and their rings filled, and that is all).

Whatever it has done, it measures anew before it does more.

Up is slow: a calm time first, and then only if the dearer encoding is likely to fit in. Whoever was wrong
about that waits twice as long the next time.

What the idle class costs is not counted as too much work: a thread in it that is kept from the core by
another process is the rescue's business (`encoding`), which comes within half a ring.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["LOOK_S", "STEPS", "Governor", "Load", "Verdict", "cost"]

STEPS: Final = (5, 2, 0)
"""Complexities below the configured one, in the order in which they are tried."""
LOOK_S: Final = 0.1
PRESSED_S: Final = 0.2
BEHIND_SHARE: Final = 0.25
"""Of a ring. A ring that is looked after in time is behind by next to nothing, for it is filled in bursts."""
FULL_SHARE: Final = 0.95
"""Time at work per time, over `PRESSED_S`, from which on there is none left."""
EARLY_S: Final = 0.5
EARLY_SHARE: Final = 0.93
"""The same over `EARLY_S`; higher loads come and go with bursts of work."""
STARVED_SHARE: Final = 0.3
"""CPU time per time at work below which a thread of the idle class waits for the core rather than works."""
DEMAND_SHARE: Final = 0.9
"""Of a core, to make frames as fast as they are sent. Some of the rest goes to sending them."""
ROOM_SHARE: Final = 0.8
"""Time at work per time that a higher complexity may come to."""
FIRST_CALM_S: Final = 5.0
LONGEST_CALM_S: Final = 320.0
RELAPSE_CALMS: Final = 3.0
"""A rise was wrong if it has to be taken back within so many times the calm that came before it."""
_PRESSED_LOOKS: Final = round(PRESSED_S / LOOK_S)
_LATE_LOOK_S: Final = 1.0
"""A look that comes so late is no measurement: the machine slept, or the process was stopped."""
_COSTS: Final = {0: 0.37, 2: 0.46, 5: 0.60, 10: 1.0}
"""CPU time of libopus relative to complexity 10, measured on music at 128 kbit/s."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the encoder threads have to do.

    Attributes
    ----------
    worked_s
        Time at work since the start, in seconds of wall time.
    cpu_s
        CPU time of it; 0.0 where the platform does not tell.
    opus_s
        Part of the CPU time that libopus took.
    lag_s
        How long ago the ring that is behind most should have been looked after, in seconds.
    nulled
        Frames since the start for which there was sound, and it was not encoded in time.
    made, due
        Frames that were encoded since the start, and frames that had to be sent, whether there or not.
    rescuing
        Whether the threads work in the normal scheduling class; False for the idle one.
    wanted
        The highest complexity that any call or station asks for.
    """

    worked_s: float
    cpu_s: float
    opus_s: float
    lag_s: float
    nulled: int
    made: int
    due: int
    rescuing: bool
    wanted: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Another complexity, and what led to it.

    Attributes
    ----------
    ceiling
        The highest that may be used from now on; None for any.
    worked_share
        Time at work per time: over the last moments when it is lowered, over the calm when it is raised.
    cpu_share
        CPU time of it per time. What lacks to `worked_share` went to others: this worker's sending, or
        other programs.
    lag_ms, nulled
        How far the rings were behind, and how many frames were missing since the look before.
    """

    ceiling: int | None
    worked_share: float
    cpu_share: float
    lag_ms: float
    nulled: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """Figures at some time."""

    at_s: float
    load: Load


class Governor:
    """Decides on the ceiling of one worker's complexity. Times are seconds of a monotonic clock.

    Parameters
    ----------
    ring_s
        How much sound a ring holds, in seconds.
    """

    def __init__(self, ring_s: float) -> None:
        self._ring_s = ring_s
        self.ceiling: int | None = None
        """In force; None for any complexity."""
        self.sheds = 0
        """How often it was lowered."""
        self._last: _Mark | None = None
        self._recent: deque[_Mark] = deque(maxlen=round(EARLY_S / LOOK_S))
        """The last looks since a change."""
        self._calm_from: _Mark | None = None
        self._calm_s = FIRST_CALM_S
        self._raised_at_s: float | None = None

    def look(self, now_s: float, load: Load) -> Verdict | None:
        """Take in the figures; return a verdict if another ceiling is to hold from now on."""
        last, now = self._last, _Mark(now_s, load)
        self._last = now
        if last is None or not 0.0 < now_s - last.at_s < _LATE_LOOK_S:
            self._forget()
            return None
        verdict = self._shed(last, now) if self._is_time_to_shed(now) else self._maybe_rise(last, now)
        self._recent.append(now)
        if verdict is not None:
            self._recent.clear()
        return verdict

    def _forget(self) -> None:
        self._recent.clear()
        self._calm_from = None

    def _is_time_to_shed(self, now: _Mark) -> bool:
        recent = self._recent
        if len(recent) == recent.maxlen and _is_busy(recent[0], now, EARLY_SHARE):
            return True
        if len(recent) < _PRESSED_LOOKS or now.load.lag_s <= self._behind_s:
            return False
        before = recent[-_PRESSED_LOOKS]
        return _is_busy(before, now, FULL_SHARE) and _demand(before, now) >= DEMAND_SHARE

    def _maybe_rise(self, last: _Mark, now: _Mark) -> Verdict | None:
        if self.ceiling is None:
            return None
        if now.load.nulled > last.load.nulled or now.load.lag_s > self._behind_s:
            self._calm_from = None
        elif self._calm_from is None:
            self._calm_from = now
        elif now.at_s - self._calm_from.at_s >= self._calm_s:
            return self._rise(self._calm_from, now)
        return None

    @property
    def _behind_s(self) -> float:
        return BEHIND_SHARE * self._ring_s

    def _shed(self, before: _Mark, after: _Mark) -> Verdict | None:
        load, now_s = after.load, after.at_s
        in_force = load.wanted if self.ceiling is None else min(self.ceiling, load.wanted)
        lower = next((step for step in STEPS if step < in_force), None)
        if lower is None:
            return None
        if self._raised_at_s is not None:
            wrong = now_s - self._raised_at_s < RELAPSE_CALMS * self._calm_s
            self._calm_s = min(2 * self._calm_s, LONGEST_CALM_S) if wrong else FIRST_CALM_S
            self._raised_at_s = None
        self._calm_from = None
        self.sheds += 1
        self.ceiling = lower
        return self._verdict(before, after)

    def _rise(self, before: _Mark, after: _Mark) -> Verdict | None:
        assert self.ceiling is not None
        # What follows is another measurement.
        self._calm_from = after
        higher = min((step for step in STEPS if step > self.ceiling), default=None)
        if higher is not None and higher >= after.load.wanted:
            higher = None
        becomes = after.load.wanted if higher is None else higher
        if _share_at(before, after, cost(becomes) / cost(min(self.ceiling, after.load.wanted))) > ROOM_SHARE:
            return None
        self.ceiling, self._raised_at_s = higher, after.at_s
        return self._verdict(before, after)

    def _verdict(self, before: _Mark, after: _Mark) -> Verdict:
        worked_share, cpu_share = _shares(before, after)
        nulled = after.load.nulled - before.load.nulled
        return Verdict(self.ceiling, worked_share, cpu_share, after.load.lag_s * 1_000, nulled)


def cost(complexity: int) -> float:
    """Return what encoding costs at a complexity, relative to 10."""
    below = max(known for known in _COSTS if known <= complexity)
    above = min(known for known in _COSTS if known >= complexity)
    if below == above:
        return _COSTS[below]
    way = (complexity - below) / (above - below)
    return _COSTS[below] + way * (_COSTS[above] - _COSTS[below])


def _is_busy(before: _Mark, after: _Mark, limit: float) -> bool:
    """Tell whether the threads had less rest than that, and got to work at all."""
    worked_share, cpu_share = _shares(before, after)
    starved = after.load.cpu_s > 0.0 and cpu_share < STARVED_SHARE * worked_share
    return worked_share >= limit and (after.load.rescuing or not starved)


def _shares(before: _Mark, after: _Mark) -> tuple[float, float]:
    """Return time at work, and CPU time of it, per time."""
    elapsed_s = after.at_s - before.at_s
    worked_s = after.load.worked_s - before.load.worked_s
    return worked_s / elapsed_s, (after.load.cpu_s - before.load.cpu_s) / elapsed_s


def _demand(before: _Mark, after: _Mark) -> float:
    """Return the CPU time per time that it takes to make frames as fast as they have to be sent.

    Packets that pass through are due as well and cost nothing, so with many of them it is less than this.
    """
    made = after.load.made - before.load.made
    if made <= 0:
        return 0.0
    worked_share, cpu_share = _shares(before, after)
    share = cpu_share if after.load.cpu_s > 0.0 else worked_share
    return share * (after.load.due - before.load.due) / made


def _share_at(before: _Mark, after: _Mark, dearer: float) -> float:
    """Return the time at work per time that it would have been, had libopus been so many times as dear."""
    worked_share, _ = _shares(before, after)
    cpu_s = after.load.cpu_s - before.load.cpu_s
    # Where CPU time is not known, all of it may have been libopus.
    opus_share = min(1.0, (after.load.opus_s - before.load.opus_s) / cpu_s) if cpu_s > 0.0 else 1.0
    return worked_share * (1.0 + opus_share * (dearer - 1.0))
