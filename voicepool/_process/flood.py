"""[pure] Whether a worker says more than any worker has to say.

A worker that is broken, or that somebody has taken over, must not keep the bot busy with reading. What it may
send in the long run lies far above what hundreds of calls need, and a burst is no flood: what had gathered
while the bot was busy comes all at once.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FloodGauge"]

MAX_MESSAGES_PER_S: Final = 10_000.0
MAX_BYTES_PER_S: Final = 64.0 * 1024 * 1024
SUSTAINED_S: Final = 5.0
"""For how long it may send at such a rate: a bucket that holds so much, and leaks at that rate."""


class FloodGauge:
    """Two leaky buckets: messages and bytes.

    Parameters
    ----------
    now
        When it is empty, in seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._messages = 0.0
        self._bytes = 0.0
        self._leaked_at = now

    def pour(self, messages: int, size_bytes: int, now: float) -> bool:
        """Take note of what was read; return whether it is too much."""
        passed_s = now - self._leaked_at
        self._leaked_at = now
        self._messages = max(0.0, self._messages - passed_s * MAX_MESSAGES_PER_S) + messages
        self._bytes = max(0.0, self._bytes - passed_s * MAX_BYTES_PER_S) + size_bytes
        return (
            self._messages > SUSTAINED_S * MAX_MESSAGES_PER_S or self._bytes > SUSTAINED_S * MAX_BYTES_PER_S
        )
