"""When a worker looks at its load: often while it encodes, and seldom while it does not.

Each look wakes the control loop, which costs far more than the look itself. Who encodes nothing has nothing
to encode with less effort; packets that only pass through do not count. Work begins with a command of the bot
most of the time, so after one the next looks come as soon as ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from voicepool.workers.governor import LOOK_S
from voicepool.workers.meters import LoopLag
from voicepool.workers.sampling import ENCODING

__all__ = ["REST_LOOK_S", "Looks"]

REST_LOOK_S: Final = 0.5
"""Between two looks while nothing is encoded; short enough for the governor to go on from the one before."""
ALERT_S: Final = 2.0
"""After a command: a source may have to be opened before there are frames to encode."""


class Looks:
    """Looks at the load, and on the way at how late the control loop's timers are. On that loop.

    Parameters
    ----------
    lag
        Told of each look.
    look
        Handed the time of each, in nanoseconds of the monotonic clock.
    frames_made
        How many frames were encoded since the start.
    clock
        Seconds; monotonic.
    """

    def __init__(
        self,
        lag: LoopLag,
        look: Callable[[int], object],
        *,
        frames_made: Callable[[], int] = lambda: ENCODING.turns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lag = lag
        self._look = look
        self._frames_made = frames_made
        self._made_before = 0
        self._clock = clock
        self._alert_until_s = 0.0
        self._rests = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look again and again from now on."""
        self._look_after(LOOK_S)

    def hurry(self) -> None:
        """Look as soon as ever: there may be work now."""
        self._alert_until_s = self._clock() + ALERT_S
        if self._rests and self._timer is not None:
            self._timer.cancel()
            self._look_after(LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_after(self, pause_s: float) -> None:
        # No task: of all that a worker does regularly this is what it does most often.
        self._rests = pause_s > LOOK_S
        due_s = self._clock() + pause_s
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._look_now, due_s)

    def _look_now(self, due_s: float) -> None:
        now_s, made = self._clock(), self._frames_made()
        rests = made == self._made_before and now_s >= self._alert_until_s
        self._made_before = made
        self._look_after(REST_LOOK_S if rests else LOOK_S)
        self._lag.note(due_s, now_s)
        self._look(round(now_s * 1e9))
