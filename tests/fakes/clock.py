"""A clock that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Callable like `time.monotonic`; ``advance`` is the only way that time passes.

    Parameters
    ----------
    now
        First reading, seconds.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new reading."""
        assert seconds >= 0, "a monotonic clock does not go back"
        self.now += seconds
        return self.now
