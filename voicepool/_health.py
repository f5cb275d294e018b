"""[pure] When a lost worker is started again.

The first loss is answered at once: calls are waiting. From the second on the pause doubles up to a cap, so
that a worker which dies at every start costs next to nothing. A worker that has stayed up for a while is
forgiven everything.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RestartPolicy"]

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
CALM_AFTER_S: Final = 60.0


class RestartPolicy:
    """The restarts of one worker slot. All times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._ready_since: float | None = None

    @property
    def failures(self) -> int:
        """Failures in a row that have not been forgiven."""
        return self._failures

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
        if self._ready_since is not None and now - self._ready_since >= CALM_AFTER_S:
            self._failures = 0
        self._ready_since = None
        self._failures += 1
        if self._failures == 1:
            return 0.0
        # Beyond 2**16 the cap rules anyway, and floats have an end.
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 2, 16))
