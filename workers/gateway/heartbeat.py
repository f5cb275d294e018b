"""Heartbeats: when the next is due, which are unanswered, how long an answer takes [no I/O].

Source: Voice Connections, Heartbeating. The interval is the one of HELLO; the first heartbeat comes after a
random part of it. A heartbeat that comes due while too many are unanswered is not sent: the connection is
dead, however healthy TCP thinks it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["SHORTEST_INTERVAL_S", "Heartbeat"]

SHORTEST_INTERVAL_S: Final = 0.05
"""A server that asks for more than 20 heartbeats a second is not obeyed."""


class Heartbeat:
    """The heartbeat of one websocket; silent until `start`.

    Parameters
    ----------
    unanswered_limit
        Heartbeats that may be without an answer when the next one is due.
    jitter
        Returns a number in [0, 1), the part of the interval before the first.
    """

    __slots__ = (
        "_due",
        "_interval_s",
        "_jitter",
        "_last_nonce",
        "_rtt_s",
        "_unanswered",
        "_unanswered_limit",
    )

    def __init__(self, *, unanswered_limit: int, jitter: Callable[[], float]) -> None:
        self._unanswered_limit = unanswered_limit
        self._jitter = jitter
        self._interval_s: float | None = None
        self._due: float | None = None
        self._last_nonce = -1
        self._unanswered: dict[int, float] = {}
        self._rtt_s: float | None = None

    @property
    def due(self) -> float | None:
        """When the next one is to be sent; None while stopped."""
        return self._due

    @property
    def started(self) -> bool:
        """Whether an interval is known."""
        return self._interval_s is not None

    @property
    def unanswered(self) -> int:
        """How many have had no answer yet."""
        return len(self._unanswered)

    @property
    def is_dead(self) -> bool:
        """Whether so many are unanswered that the next one is not worth sending."""
        return len(self._unanswered) >= self._unanswered_limit

    @property
    def rtt_s(self) -> float | None:
        """Seconds from the last answered one to its answer; None before the first."""
        return self._rtt_s

    def silent_s(self, now: float) -> float:
        """Seconds since the oldest unanswered one was sent; 0 if all are answered."""
        return now - min(self._unanswered.values(), default=now)

    def start(self, interval_s: float, now: float) -> None:
        """Begin, or begin again with another interval."""
        self._interval_s = max(interval_s, SHORTEST_INTERVAL_S)
        self._due = now + self._interval_s * self._jitter()

    def stop(self) -> None:
        """Have no more of them due."""
        self._due = None

    def beat(self, now: float) -> int:
        """Note that one is sent now, and return its nonce."""
        assert self._due is not None
        assert self._interval_s is not None
        self._last_nonce = max(int(now * 1_000), self._last_nonce + 1)
        self._unanswered[self._last_nonce] = now
        self._due += self._interval_s
        if self._due <= now:
            # We were held up for longer than an interval: one heartbeat says as much as several.
            self._due = now + self._interval_s
        return self._last_nonce

    def answered(self, nonce: int, now: float) -> None:
        """Note an answer.

        A nonce that was never sent gives no round trip time, yet it is a sign of life like any other.
        """
        sent_at = self._unanswered.get(nonce)
        if sent_at is not None:
            self._rtt_s = now - sent_at
        self._unanswered.clear()
