"""The titles of a source that an encoder thread reads by itself, for the control loop to take.

Whoever reads a source must also be the one who asks it for titles. A `ReadAhead` and a station do that on
their own threads; a file that is read in place has a `TitleDrain` around it, if it can have titles at all.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from voicepool.workers.audio.readahead import NotYet, PolledReader
from voicepool.workers.audio.reader import Frame
from voicepool.workers.audio.titles import TitleChange

__all__ = ["TitleDrain"]

_MAX_WAITING: Final = 16
"""Changes that nobody has taken; then the oldest goes."""


class TitleDrain:
    """A reader whose titles may be taken on another thread than the one that reads.

    Parameters
    ----------
    reader
        Owned from now on.
    """

    def __init__(self, reader: PolledReader) -> None:
        self._reader = reader
        self._titles: deque[TitleChange] = deque(maxlen=_MAX_WAITING)

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far."""
        return self._reader.skipped_packets

    @property
    def position_s(self) -> float:
        """Where in the source the frame that came last began, in seconds."""
        return self._reader.position_s

    def poll(self) -> Frame | NotYet | None:
        """Return the next 20 ms without waiting, as the reader does."""
        frame = self._reader.poll()
        self._titles.extend(self._reader.take_titles())
        return frame

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are there, as the reader does."""
        packets = self._reader.take_packets(most)
        self._titles.extend(self._reader.take_titles())
        return packets

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said since the last call, oldest first; from any one thread.

        It is what was read, up to 2 s before that is heard: a file is read a second at a time, and what comes
        of it waits in the call's ring.
        """
        taken = []
        while self._titles:
            taken.append(self._titles.popleft())
        return taken

    def close(self) -> None:
        """Release the source."""
        self._reader.close()
