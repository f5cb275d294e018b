"""Python's garbage collection in a worker: of everything only when it disturbs few.

A full collection looks at every object of every call while it holds the interpreter's lock: 20 to 60 ms at
500 calls, in which no packet leaves. Python starts one whenever the objects have grown by a quarter, so most
of all while calls join. Here it starts none by itself; what is young is collected as ever, in smaller bites.

Older objects are freed as ever when the last reference to them goes. Only cycles among them stay. Calls and
tracks let go of what is large when they end, and of who owns them; what is left are some kilobytes each.
So everything is looked at once so many have ended that it is worth the pause, which is the longer the more
calls there are, and disturbs the more of them; or when memory grows; and at once when nothing is being sent.
What a worker has loaded before its first call is never looked at.

At 20 calls most of such a pause goes not into looking but into freeing, 3 µs an object, so what leaves no
cycles helps twice. Where other programs want the core, whoever holds the interpreter may have to wait for
it: one pause of 13 ms took 74, for which all calls gave up three frames. A pause is worth having seldom.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

from voicepool.workers.heaps import give_back

__all__ = ["FEWEST_ENDS", "GROWTH_BYTES", "STEP_S", "GarbageSteps", "ends_worth_a_pause"]

STEP_S: Final = 1.0
"""Time between two steps, in seconds."""
FEWEST_ENDS: Final = 128
"""Calls and tracks that must have ended before everything is looked at while calls are sent to: with what
they leave behind, 1 or 2 MiB."""
_SHARE: Final = 64
GROWTH_BYTES: Final = 32 << 20
"""How much memory it must have gained since everything was looked at, at least, to do it sooner."""
_GROWTH_SHARE: Final = 0.25
"""And how much of what it had then."""
_FEWEST_ENDS_GROWN: Final = 16
"""And how many calls and tracks must have ended, or it is not they that it comes from."""
_MIDDLE: Final = 2
"""Young collections before a middle one, which then looks at some 1,400 objects; Python waits for 10."""
_NEVER: Final = 1 << 30
"""Middle collections before Python starts a full one."""


def ends_worth_a_pause(calls: int) -> int:
    """Return how many calls and tracks must end before everything is looked at while calls are sent to.

    The pause is proportional to the calls, and so is how many it makes late: by the square of them, one end
    costs all listeners together the same.
    """
    return max(FEWEST_ENDS, calls * calls // _SHARE)


class GarbageSteps:
    """Collects what calls and tracks leave behind.

    Parameters
    ----------
    give_back
        Called after everything was looked at: what it gave free is to leave the process as well.
    """

    def __init__(self, *, give_back: Callable[[], object] = give_back) -> None:
        self._give_back = give_back
        self.ends = 0
        """Calls and tracks that have ended since everything was looked at."""
        self._thresholds: tuple[int, int, int] | None = None
        self._least_bytes: int | None = None

    def start(self) -> None:
        """Freeze what has been loaded, which stays, and have Python start no full collection any more."""
        self._thresholds = gc.get_threshold()
        gc.set_threshold(self._thresholds[0], _MIDDLE, _NEVER)
        gc.collect()
        gc.freeze()

    def stop(self) -> None:
        """Leave the rest to Python."""
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            self._thresholds = None
            gc.unfreeze()

    def step(self, *, calls: int, sending: bool, memory_bytes: int) -> bool:
        """Collect everything if it is time for that.

        Parameters
        ----------
        calls
            How many there are.
        sending
            Whether a pause would be heard.
        memory_bytes
            What the process uses.

        Returns
        -------
        bool
            Whether everything was looked at.
        """
        if self._least_bytes is None or memory_bytes < self._least_bytes:
            self._least_bytes = memory_bytes
        is_due = self._is_due(calls, self._least_bytes, memory_bytes) if sending else self.ends > 0
        if is_due:
            self.ends = 0
            # What it comes to is known at the next step.
            self._least_bytes = None
            gc.collect()
            self._give_back()
        return is_due

    def _is_due(self, calls: int, least_bytes: int, memory_bytes: int) -> bool:
        if self.ends >= ends_worth_a_pause(calls):
            return True
        has_grown = memory_bytes - least_bytes > max(GROWTH_BYTES, _GROWTH_SHARE * least_bytes)
        return has_grown and self.ends >= max(_FEWEST_ENDS_GROWN, calls // 2)
