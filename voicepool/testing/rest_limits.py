"""[pure] Rate limits of the REST API: fixed windows, as their headers say (Rate Limits, Header Format)."""

from __future__ import annotations

__all__ = ["RateLimit", "RateLimits", "Verdict"]

import hashlib
from dataclasses import dataclass
from typing import Final

_MAX_WINDOWS: Final = 4096
"""Beyond it the windows that are over are forgotten."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many requests a window of so many seconds allows on one route."""

    requests: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one request may pass, and what its answer says about the next.

    Attributes
    ----------
    reset_after_s
        Seconds until the window ends.
    """

    allowed: bool
    bucket: str
    limit: int
    remaining: int
    reset_after_s: float

    def headers(self, wall_now_s: float) -> dict[str, str]:
        """Build the headers; `wall_now_s` is Unix time in seconds."""
        headers = {
            "X-RateLimit-Bucket": self.bucket,
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": f"{wall_now_s + self.reset_after_s:.3f}",
            "X-RateLimit-Reset-After": f"{self.reset_after_s:.3f}",
        }
        if not self.allowed:
            headers |= {"X-RateLimit-Scope": "user", "Retry-After": f"{self.reset_after_s:.3f}"}
        return headers


@dataclass(slots=True)
class _Window:
    ends_at_s: float
    used: int


class RateLimits:
    """Counts requests by route, bot and top-level resource."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int, str], _Window] = {}

    def take(self, route: str, *, bot_id: int, resource: str, limit: RateLimit, now: float) -> Verdict:
        """Count one request.

        Parameters
        ----------
        route
            Method and path pattern.
        resource
            Id of the guild or channel in the path, or an empty string.
        now
            Seconds, monotonic.
        """
        key = (route, bot_id, resource)
        window = self._windows.get(key)
        if window is None or now >= window.ends_at_s:
            self._forget_finished(now)
            window = self._windows[key] = _Window(now + limit.window_s, 0)
        allowed = window.used < limit.requests
        window.used += allowed
        return Verdict(
            allowed=allowed,
            bucket=hashlib.blake2s(route.encode(), digest_size=16).hexdigest(),
            limit=limit.requests,
            remaining=limit.requests - window.used,
            reset_after_s=max(0.0, window.ends_at_s - now),
        )

    def _forget_finished(self, now: float) -> None:
        if len(self._windows) >= _MAX_WINDOWS:
            self._windows = {key: window for key, window in self._windows.items() if window.ends_at_s > now}
