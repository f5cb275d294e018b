"""[pure] What the memory that a worker uses calls for: a warning, a successor, or its end.

Most leaks are slow. At the limit there is time to move the calls to a new worker, one by one and unheard.
Only a worker that goes on growing beyond it is ended on the spot, before the kernel chooses whom to end.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["MemoryUse", "MemoryWatch", "Weight"]

WARNING_SHARE: Final = 0.8
CALM_SHARE: Final = 0.7
"""Below it the next rise is told again."""
LAST_SHARE: Final = 1.25
YOUNG_S: Final = 10.0
"""A worker that reaches the limit sooner is not replaced: its successor would do the same."""


class MemoryUse:
    """What a worker uses, as well as its reports tell.

    Its part of what is shared (PSS) is what counts, and costs the kernel a walk over all its pages, so that a
    worker reads it rarely. In between, what it holds in all (RSS) tells how much was added: what is new is
    hardly ever shared.
    """

    def __init__(self) -> None:
        self._pss_bytes = 0
        self._rss_bytes = 0

    def estimate(self, *, pss_bytes: int | None, rss_bytes: int, uptime_s: float) -> int | None:
        """Return its memory in bytes; None while it is too young to have read what counts.

        Parameters
        ----------
        pss_bytes
            As it read it last; None for never.
        rss_bytes
            As it is now.
        uptime_s
            Its age in seconds. A worker that has read nothing by `YOUNG_S` cannot.
        """
        if pss_bytes is None:
            return rss_bytes if uptime_s >= YOUNG_S else None
        if pss_bytes != self._pss_bytes:
            self._pss_bytes, self._rss_bytes = pss_bytes, rss_bytes
        return pss_bytes + max(0, rss_bytes - self._rss_bytes)


class Weight(enum.IntEnum):
    """How much a worker uses, against its limit."""

    LIGHT = 0
    HEAVY = 1
    """Most of it."""
    FULL = 2
    """It is to be replaced."""
    OVER = 3
    """It is to be ended at once."""


class MemoryWatch:
    """The memory of one worker.

    Parameters
    ----------
    limit_bytes
        What it may use; 0 for any amount.
    now
        When it started, in seconds of a monotonic clock.
    """

    def __init__(self, limit_bytes: int, *, now: float) -> None:
        self.limit_bytes: Final = limit_bytes
        self._started_at = now
        self._told = Weight.LIGHT

    def weigh(self, used_bytes: int, now: float) -> Weight:
        """Take a report.

        Parameters
        ----------
        used_bytes
            What it uses, see `MemoryUse`.
        now
            When.

        Returns
        -------
        Weight
            `Weight.LIGHT` also when there is nothing to do that was not told before.
        """
        weight = self._of(used_bytes)
        if weight is Weight.FULL and now - self._started_at < YOUNG_S:
            weight = Weight.HEAVY
        if weight > self._told:
            self._told = weight
            return weight
        if used_bytes < CALM_SHARE * self.limit_bytes:
            self._told = Weight.LIGHT
        return Weight.LIGHT

    def _of(self, used_bytes: int) -> Weight:
        if self.limit_bytes == 0:
            return Weight.LIGHT
        share = used_bytes / self.limit_bytes
        if share >= LAST_SHARE:
            return Weight.OVER
        if share >= 1.0:
            return Weight.FULL
        return Weight.HEAVY if share >= WARNING_SHARE else Weight.LIGHT
