"""[pure] Whether a worker still lives, told from the last time anything was heard from it.

A worker that hangs looks like a bot that does not listen. So the time that counts is the time in which this
side was awake: when the event loop was blocked, the process stopped or the machine suspended, the look that
was due came late, and the allowance starts anew. It does so a few times in a row only, since a bot that is
always late would otherwise keep a dead worker for ever.

All times are seconds of the monotonic clock, which nobody sets, so that changes of the date do not matter.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pulse"]

MOST_PARDONS: Final = 3
"""How often in a row, without a sign of life, the allowance starts anew."""
MOST_LATE_S: Final = 0.5
"""A look that comes later than that, or than an interval, shows that this side was not awake."""
_SHORTEST_REST_S: Final = 0.001


class Pulse:
    """The signs of life of one worker.

    Parameters
    ----------
    interval_s
        How long nothing may have been heard before it `is_quiet`, and is asked for a sign of life.
    timeout_s
        How long there may be no sign of life.
    now
        When it was last known to live.

    Attributes
    ----------
    interval_s, timeout_s
        As given; may be changed.
    """

    def __init__(self, *, interval_s: float, timeout_s: float, now: float) -> None:
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self._due_at = now + interval_s
        self._heard_at = now
        self._counts_from = now
        self._pardons = 0

    def rest_s(self, now: float, heard_at: float) -> float:
        """Return how long to wait until the next look, in seconds.

        Whoever hears something in between may ask again, and wait that long from then on.
        """
        self._hear(heard_at)
        quiet_at = self._heard_at + self.interval_s
        next_at = quiet_at if quiet_at > now else now + self.interval_s
        rest_s = max(_SHORTEST_REST_S, min(next_at, self._counts_from + self.timeout_s) - now)
        self._due_at = now + rest_s
        return rest_s

    def is_quiet(self, now: float) -> bool:
        """Tell whether a worker that lives may have had nothing to say, so that it is to be asked."""
        return now - self._heard_at >= self.interval_s

    def look(self, now: float, heard_at: float) -> bool:
        """Tell whether there has been no sign of life for too long, as far as is known.

        To be called when the time that `rest_s` told is over. What waits to be read may still prove the
        contrary: read it, then ask `is_hung`.

        Parameters
        ----------
        now
            When the look is taken.
        heard_at
            When anything was heard last.
        """
        late_s = now - self._due_at
        self._due_at = now + self.interval_s
        self._hear(heard_at)
        if late_s > min(MOST_LATE_S, self.interval_s) and self._pardons < MOST_PARDONS:
            self._pardons += 1
            self._counts_from = now
        return self._is_over(now)

    def is_hung(self, now: float, heard_at: float) -> bool:
        """Tell the same between two looks, once everything has been read."""
        self._hear(heard_at)
        return self._is_over(now)

    def silence_s(self, now: float) -> float:
        """Return for how long nothing has been heard, in seconds."""
        return now - self._heard_at

    def _hear(self, heard_at: float) -> None:
        if heard_at > self._heard_at:
            self._heard_at = heard_at
            self._counts_from = max(self._counts_from, heard_at)
            self._pardons = 0

    def _is_over(self, now: float) -> bool:
        return now - self._counts_from >= self.timeout_s
