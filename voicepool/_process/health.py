"""[pure] When a lost worker is started again.

The first loss is answered at once: calls are waiting. From the second on the pause doubles up to a cap, so
that a worker which dies at every start costs next to nothing. `LOOP_FAILURES` of them within `LOOP_SPAN_S`
are a crash loop, and the pause is the longest one from then on. A worker that has stayed up for a while is
forgiven everything.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["FIRST_PAUSE_S", "RestartPolicy"]

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
CALM_AFTER_S: Final = 60.0
LOOP_FAILURES: Final = 5
LOOP_SPAN_S: Final = 60.0


class RestartPolicy:
    """The restarts of one worker slot. All times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._latest: deque[float] = deque(maxlen=LOOP_FAILURES)
        self._is_looping = False
        self._ready_since: float | None = None

    @property
    def failures(self) -> int:
        """Failures in a row that have not been forgiven."""
        return self._failures

    @property
    def is_looping(self) -> bool:
        """Whether it fails again and again soon after its start."""
        return self._is_looping

    def became_ready(self, now: float) -> None:
        """Note that the worker takes calls."""
        self._ready_since = now

    def failed(self, now: float) -> float:
        """Note that the worker was lost or did not come up.

        Returns
        -------
        float
            How many seconds to wait before the next start.
        """
        self._forgive(now)
        self._ready_since = None
        self._failures += 1
        self._latest.append(now)
        if len(self._latest) == LOOP_FAILURES and now - self._latest[0] <= LOOP_SPAN_S:
            self._is_looping = True
        if self._is_looping:
            return LONGEST_PAUSE_S
        if self._failures == 1:
            return 0.0
        # Beyond 2**16 the cap rules anyway, and floats have an end.
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 2, 16))

    def ended(self, now: float) -> float:
        """Note that the worker was ended for a reason that is not held against it.

        Returns
        -------
        float
            As of `failed`. One that had to be ended soon after its start would have to be so again.
        """
        if self._ready_since is not None and now - self._ready_since < CALM_AFTER_S:
            return self.failed(now)
        self._forgive(now)
        self._ready_since = None
        return 0.0

    def _forgive(self, now: float) -> None:
        if self._ready_since is not None and now - self._ready_since >= CALM_AFTER_S:
            self._failures = 0
            self._latest.clear()
            self._is_looping = False
