"""A clock for threads' loops, run step by step: a wait takes no time, it moves the clock."""

from __future__ import annotations

__all__ = ["JumpingClock"]


class JumpingClock:
    """Satisfies `voicepool.workers.clock.Clock`.

    Parameters
    ----------
    now_ns
        First reading.
    oversleep_ns
        How late every wait ends; a test may change it to make the thread late.
    """

    def __init__(self, now_ns: int = 5_000_000_000, oversleep_ns: int = 0) -> None:
        self.time_ns = now_ns
        self.oversleep_ns = oversleep_ns
        self.waits: list[int | None] = []
        self.woken = False

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_until(self, deadline_ns: int | None) -> bool:
        self.waits.append(deadline_ns)
        if self.woken or deadline_ns is None:
            self.woken = False
            return True
        self.time_ns = max(self.time_ns, deadline_ns) + self.oversleep_ns
        return False

    def wake(self) -> None:
        self.woken = True
