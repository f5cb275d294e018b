"""What the encoder threads keep busy: the calls' playbacks and the stations, as they see them."""

from __future__ import annotations

import threading
from typing import Protocol

__all__ = ["EncoderItem"]


class EncoderItem(Protocol):
    """What the encoder threads keep busy: a call's playback, or a station.

    `fill` and `may_park` are called on an encoder thread, of which there are two; but never on both at once.
    """

    busy: threading.Lock
    """Held by the encoder thread that fills it."""
    ticket: int
    """Number of its place among those that wait to be filled; an older one is void. First -1."""
    hurried: bool
    """Whether something was asked for since a thread began to fill it."""
    parked: bool
    """Whether it waits for nothing but a nudge. Both are the encoder threads' to set."""
    cancelled: bool
    """Set by its owner, who nudges the encoder threads then: the next `fill` closes it."""

    @property
    def may_park(self) -> bool:
        """Whether nothing is to be done until somebody nudges. Asked after each `fill`, under a lock."""

    def fill(self, now_ns: int) -> int | None:
        """Work for some milliseconds at most; never raise.

        Returns
        -------
        int or None
            When to be called again, in monotonic nanoseconds, unless it `may_park`; None when it is closed.
        """

    def close(self) -> None:
        """Release all it holds: by the encoder threads when they stop. Again, it does nothing."""
