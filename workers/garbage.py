"""Python's garbage collection in a worker: never of everything while packets have to leave.

A full collection looks at every object of every call while it holds the interpreter's lock: 20 to 60 ms at
500 calls, in which no packet leaves. Python starts one whenever the objects have grown by a quarter, so most
of all while calls join. Here it starts none by itself. What is young is collected as ever, in smaller bites,
and what has survived that is *frozen* once a second, which costs nothing.

Objects that are old or frozen are freed as ever when the last reference to them goes. Only cycles among
them stay: measured, some seven objects for each call that ends. So once thousands have ended everything is
thawed and looked at; and at once when nothing is being sent.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["ENDS_PER_CALL", "FEWEST_ENDS", "STEP_S", "GarbageSteps"]

STEP_S: Final = 1.0
"""Time between two steps, in seconds."""
FEWEST_ENDS: Final = 4_096
"""Calls and tracks that must have ended before everything is looked at while calls are sent to."""
ENDS_PER_CALL: Final = 8
"""How many of them for each call there is, since looking takes the longer the more there are."""
_MIDDLE: Final = 2
"""Young collections before a middle one, which then looks at some 1,400 objects; Python waits for 10."""
_NEVER: Final = 1 << 30
"""Middle collections before Python starts a full one."""


class GarbageSteps:
    """Collects what calls and tracks leave behind."""

    def __init__(self) -> None:
        self.ends = 0
        """Calls and tracks that have ended since everything was looked at."""
        self._thresholds: tuple[int, int, int] | None = None

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

    def step(self, *, calls: int, sending: bool) -> bool:
        """Collect everything if it is time for that; freeze what there is.

        Parameters
        ----------
        calls
            How many there are.
        sending
            Whether a pause would be heard.

        Returns
        -------
        bool
            Whether everything was looked at.
        """
        thorough = self.ends >= max(FEWEST_ENDS, ENDS_PER_CALL * calls) if sending else self.ends > 0
        if thorough:
            self.ends = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()
        return thorough
