"""[pure] What a listener of one guild received, packet by packet, and what was wrong with it.

A *break* is the longest time without a packet within a window. Across it, the place in the source after it is
compared with the one before: a call that goes on where it was has lost nothing and repeats nothing, so the
numbers of the packets go on as if there had been no break, except for those that were under way to a worker's
socket when it died.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos_source import SWEEP_S, decode, number_of, sweep_place_ms

__all__ = ["Break", "Trace"]

_FRAME_MS: Final = 20.0
_SILENCE: Final = b"\xf8\xff\xfe"
_NS_PER_MS: Final = 1e6
_OVER_NS: Final = 1_000_000_000
"""After so long without a packet at the end of a trace, none is expected any more."""
_UNKNOWN: Final = -1
_NEAR: Final = 12
"""How many packets away from a break one with a number is looked for."""
_WARM_UP: Final = 30
_SETTLING: Final = 4
"""Packets after a break whose sound the decoder still mixes with what it had before (RFC 6716 §4.5.2)."""


@dataclass(frozen=True, slots=True)
class Break:
    """The longest time without a packet in a window.

    Attributes
    ----------
    gap_ms
        From the arrival of a packet to that of the next; infinite if none came any more.
    moved_ms
        How much further in the source the sound went on than where it broke off; negative: it was repeated.
        None where it cannot be told.
    """

    gap_ms: float
    moved_ms: float | None


class Trace:
    """The packets of one guild.

    Parameters
    ----------
    keep_sound
        Whether packets without a number are kept, to find places by what they sound like.
    """

    def __init__(self, *, keep_sound: bool = False) -> None:
        self._arrivals = array("q")
        self._numbers = array("q")
        self._sound: list[bytes] | None = [] if keep_sound else None
        self.silences = 0
        """Packets of silence; they count for nothing else."""

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def last_ns(self) -> int:
        """When the last packet came; 0 before any."""
        return self._arrivals[-1] if self._arrivals else 0

    def add(self, arrival_ns: int, opus: bytes) -> None:
        """Take a packet, decrypted."""
        if opus == _SILENCE:
            self.silences += 1
            return
        number = number_of(opus)
        self._arrivals.append(arrival_ns)
        self._numbers.append(_UNKNOWN if number is None else number)
        if self._sound is not None:
            self._sound.append(opus)

    def longest_break(self, from_ns: int, until_ns: int) -> Break:
        """Return the longest break that begins in a window: with the last packet before it, or later."""
        arrivals = np.array(self._arrivals, np.int64)
        first = max(0, int(np.searchsorted(arrivals, from_ns)) - 1)
        end = int(np.searchsorted(arrivals, until_ns))
        if end >= len(arrivals):
            # Either the window ends with the trace, or nothing came any more.
            gaps = np.diff(np.append(arrivals[first:], until_ns))
            if len(gaps) and int(np.argmax(gaps)) == len(gaps) - 1 and gaps[-1] > _OVER_NS:
                return Break(float("inf"), None)
        gaps = np.diff(arrivals[first : end + 1])
        if not len(gaps):
            return Break(float("inf"), None)
        longest = int(np.argmax(gaps))
        return Break(float(gaps[longest]) / _NS_PER_MS, self._moved_ms(first + longest))

    def jumps(self) -> tuple[int, int]:
        """Return how many numbered packets were lost, and how many came twice."""
        numbers = self._known(0, len(self))
        steps = np.diff(numbers[:, 1]) - np.diff(numbers[:, 0])
        return int(steps[steps > 0].sum()), int(-steps[steps < 0].sum())

    def _known(self, first: int, end: int) -> NDArray[np.int64]:
        """Return place and number of the packets that have one, shape (n, 2)."""
        first = max(0, first)
        numbers = np.array(self._numbers[first:end], np.int64)
        places = np.flatnonzero(numbers != _UNKNOWN)
        return np.stack([places + first, numbers[places]], axis=1)

    def _moved_ms(self, last: int) -> float | None:
        """Compare the places before and after a break, whose last packet is the one at `last`."""
        if self._sound is not None:
            return self._moved_by_sound_ms(self._sound, last)
        before = self._known(last + 1 - _NEAR, last + 1)
        after = self._known(last + 1, last + 1 + _NEAR)
        if not len(before) or not len(after):
            return None
        at, number = before[-1]
        at_after, number_after = after[0]
        return float((number_after - number) - (at_after - at)) * _FRAME_MS

    @staticmethod
    def _moved_by_sound_ms(sound: list[bytes], last: int) -> float | None:
        start = max(0, last + 1 - _WARM_UP)
        heard = decode(sound[start : last + 1 + _SETTLING + _NEAR])
        places = [sweep_place_ms(samples) for samples in heard]
        # Each frame's place, counted back to the first one's.
        offsets = [
            None if place is None else place - number * _FRAME_MS for number, place in enumerate(places)
        ]
        split = last + 1 - start
        before = [offset for offset in offsets[max(0, split - _NEAR) : split] if offset is not None]
        after = [offset for offset in offsets[split + _SETTLING :] if offset is not None]
        if not before or not after:
            return None
        return _wrapped(_middle(after, before[0]) - _middle(before, before[0]))


def _middle(offsets: list[float], about: float) -> float:
    """Return the median of places on a circle of one sweep, near any of them."""
    return about + float(np.median([_wrapped(offset - about) for offset in offsets]))


def _wrapped(difference_ms: float) -> float:
    period_ms = SWEEP_S * 1_000
    return (difference_ms + period_ms / 2) % period_ms - period_ms / 2
