"""Frames that were handed out and may be asked for again: by number, with their places in the source."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from voicepool.workers.audio.opus import PcmFrame

__all__ = ["KeptFrames"]


@dataclass(slots=True)
class _Kept:
    pcm: PcmFrame
    place_samples: float


class KeptFrames:
    """A run of frames without a gap. How many are kept is up to who drops them.

    Attributes
    ----------
    first
        Number of the oldest, or while there is none, of the one that is appended next.
    """

    def __init__(self) -> None:
        self.first = 0
        self._frames: deque[_Kept] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def end(self) -> int:
        """Number of the frame that is appended next."""
        return self.first + len(self._frames)

    def pcm(self, number: int) -> PcmFrame:
        """Return a frame, shape (960, 2); one of `first` to `end` - 1."""
        return self._frames[number - self.first].pcm

    def place_samples(self, number: int) -> float:
        """Return the sample of the source at which a frame begins; one of `first` to `end` - 1."""
        return self._frames[number - self.first].place_samples

    def append(self, pcm: PcmFrame, place_samples: float) -> None:
        """Keep another frame, its number being `end`."""
        self._frames.append(_Kept(pcm, place_samples))

    def drop_oldest(self) -> None:
        """Forget the first frame."""
        self._frames.popleft()
        self.first += 1

    def cut(self, end: int) -> None:
        """Forget the frames from this number on."""
        while self.end > end:
            self._frames.pop()

    def clear(self) -> None:
        """Forget all frames."""
        self._frames.clear()

    def begin_at(self, number: int) -> None:
        """Give the frame that is appended next a number, while there is none."""
        self.first = number
