"""Notices when a call has nothing to send, and says for want of what [pure]."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.frame import FRAME_MS, Mark

__all__ = ["STUCK_AFTER_MS", "Hunger", "Outlet", "Stuck"]

STUCK_AFTER_MS: Final = 500
"""How long a call may have nothing to send before the bot is told why."""


class Outlet(Protocol):
    """What a playback must know of where its frames go."""

    active: bool
    queue: deque[bytes | Mark]
    due_ns: int
    nulled_run: int
    dry: bool
    """Whether no more frames can be made, since a source has nothing ready."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Nothing could be sent for want of something; with 0 ms, it goes on."""

    track: DeckTrack | None
    waited_ms: int
    part: str


class Hunger:
    """Watches one call.

    Parameters
    ----------
    deck, outlet
        Of the call.
    on_stuck
        Told, on an encoder thread, of each time that began or ended.
    """

    def __init__(self, deck: Deck, outlet: Outlet, on_stuck: Callable[[Stuck], object]) -> None:
        self._deck = deck
        self._outlet = outlet
        self._on_stuck = on_stuck
        self._starved_since_ns: int | None = None
        self._told_stuck = False
        self._told_gap = False
        """Whether it was told of the gap that the outlet counts."""

    def watch(self, now_ns: int, *, starved: bool) -> None:
        """Look at what an attempt to make frames has come to.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.
        starved
            Whether nothing waits to be sent, since a source has nothing ready.
        """
        waited_ms = self._outlet.nulled_run * FRAME_MS if self._outlet.active else 0
        if not (starved and self._outlet.active):
            if self._told_stuck:
                self._on_stuck(Stuck(self._deck.main, 0, "source"))
                self._told_gap = True
            elif self._starved_since_ns is None:
                self._look_for_delay(waited_ms)
            self._starved_since_ns, self._told_stuck = None, False
            return
        if self._starved_since_ns is None:
            self._starved_since_ns = now_ns
        starved_ms = (now_ns - self._starved_since_ns) // 1_000_000
        if starved_ms >= STUCK_AFTER_MS and not self._told_stuck:
            self._told_stuck = True
            self._on_stuck(Stuck(self._deck.starving(), starved_ms, "source"))

    def _look_for_delay(self, waited_ms: int) -> None:
        """Tell of a time in which the ring ran out though the source had something."""
        if waited_ms < STUCK_AFTER_MS:
            # Frames are sent again.
            self._told_gap = False
        elif not self._told_gap:
            self._told_gap = True
            for told_ms in (waited_ms, 0):
                self._on_stuck(Stuck(self._deck.main, told_ms, "encoder"))
