"""Time that a test moves by hand, for threads that really wait.

`HandTime.settle` is what makes such a test exact: it returns when every thread has gone to sleep and nothing
that has happened so far will wake it.
"""

from __future__ import annotations

import threading

__all__ = ["HandClock", "HandTime"]

_SAFETY_S = 30.0


class HandTime:
    """One time for several clocks."""

    def __init__(self, now_ns: int = 50_000_000_000) -> None:
        self.now_ns = now_ns
        self.changed = threading.Condition()
        self.clocks: list[HandClock] = []

    def make_clock(self) -> HandClock:
        clock = HandClock(self)
        self.clocks.append(clock)
        return clock

    def advance(self, by_ns: int) -> int:
        """Let time pass; the new time."""
        with self.changed:
            self.now_ns += by_ns
            self.changed.notify_all()
            return self.now_ns

    def settle(self, *clocks: HandClock) -> None:
        """Wait until the threads of these clocks (of all, if none is named) are asleep for good."""
        with self.changed:
            asleep = self.changed.wait_for(
                lambda: all(clock.sleeps_on for clock in clocks or self.clocks), _SAFETY_S
            )
        assert asleep, "a thread never went to sleep"


class HandClock:
    """Satisfies `voicepool.workers.clock.Clock`; made by `HandTime`."""

    def __init__(self, time: HandTime) -> None:
        self._time = time
        self._asleep = False
        self._woken = False
        self.deadline_ns: int | None = None
        """Of the present wait, or the last."""

    def now_ns(self) -> int:
        return self._time.now_ns

    def sleep_until(self, deadline_ns: int | None) -> bool:
        changed = self._time.changed
        with changed:
            self._asleep, self.deadline_ns = True, deadline_ns
            changed.notify_all()
            changed.wait_for(lambda: not self.sleeps_on)
            self._asleep = False
            woken, self._woken = self._woken, False
            return woken

    def wake(self) -> None:
        with self._time.changed:
            self._woken = True
            self._time.changed.notify_all()

    @property
    def sleeps_on(self) -> bool:
        """Whether its thread waits, and for something that has not happened."""
        due = self.deadline_ns is not None and self.deadline_ns <= self._time.now_ns
        return self._asleep and not self._woken and not due
