"""Which frame that was handed out lies where in its source, though filters, speed and jumps came between.

A *stretch* is a run of frames of one kind: the feed's own, whose places the feed knows, or made by a line at
one speed. Only where a stretch begins is noted, so that hours of a track are a handful of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicepool.workers.audio.frame import FRAMES_PER_S

__all__ = ["Stretches"]

_SAME_PLACE_S: Final = 0.001
"""A source whose position is nearer than this to where it was expected has not jumped."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Frames from `number` on, until the next stretch."""

    number: int
    feed_number: int
    """The feed's number of the same frame, if they are the feed's own; else -1."""
    position_s: float = 0.0
    speed: float = 1.0


class Stretches:
    """The stretches of one track. One thread at a time marks them; any thread may ask.

    Parameters
    ----------
    feed_position_s
        Returns where in the source the feed's frame of a number begins, in seconds; from any thread.
    """

    def __init__(self, feed_position_s: Callable[[int], float]) -> None:
        self._feed_position_s = feed_position_s
        # Replaced as a whole, since other threads read it.
        self._stretches: tuple[_Stretch, ...] = (_Stretch(0, 0),)

    def __len__(self) -> int:
        return len(self._stretches)

    def source_position_s(self, number: int) -> float:
        """Return where in the source the frame of this number begins, in seconds; from any thread."""
        stretches = self._stretches
        found = next((stretch for stretch in reversed(stretches) if stretch.number <= number), stretches[0])
        beyond = number - found.number
        if found.feed_number >= 0:
            return self._feed_position_s(found.feed_number + beyond)
        return max(0.0, found.position_s + beyond * found.speed / FRAMES_PER_S)

    def go_on_with_feed(self, number: int, feed_number: int) -> None:
        """Take note that from a frame on all are the feed's own, the first being its `feed_number`."""
        self._stretches = (
            *(stretch for stretch in self._stretches if stretch.number < number),
            _Stretch(number, feed_number),
        )

    def go_on_with_line(self, number: int, position_s: float, speed: float, *, first_kept: int) -> None:
        """Take note where the frame that a line makes next lies, unless it is where one would expect it.

        Parameters
        ----------
        number
            The frame's.
        position_s
            Where it begins in the source, in seconds.
        speed
            Source seconds per second of hearing.
        first_kept
            Number of the oldest frame that may be handed out again; what was before it is forgotten.
        """
        last = self._stretches[-1]
        if (
            last.number <= number
            and last.feed_number < 0
            and last.speed == speed
            and abs(self.source_position_s(number) - position_s) < _SAME_PLACE_S
        ):
            return
        kept = [stretch for stretch in self._stretches if stretch.number < number]
        while len(kept) > 1 and kept[1].number <= first_kept:
            del kept[0]
        self._stretches = (*kept, _Stretch(number, -1, position_s, speed))
