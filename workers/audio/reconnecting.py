"""A live stream that breaks off and is opened anew, for as long as that helps.

A recording goes on where it broke off (`resuming`). A live stream cannot: what was sent meanwhile is lost,
and it goes on with what is sent now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.reader import Frame, MediaKind
from voicepool.workers.audio.region import SeekableReader
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

__all__ = ["RECOVERED_FRAMES", "Attempts", "Reconnecting", "backoff_s"]

RECOVERED_FRAMES: Final = 10 * FRAMES_PER_S
"""After 10 s of audio a connection counts as good, and the next break has all attempts again."""


def backoff_s(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Return how long to wait before an attempt, counted from 0: twice as long each time, up to a bound."""
    # 2 ** 30 is beyond any bound, and a larger number need not fit a float.
    return min(longest_s, first_s * 2.0 ** min(attempt, 30))


class Attempts:
    """The attempts to open a source anew that are left, and the waits before them.

    Parameters
    ----------
    most
        How often to try after a break, 0 or more.
    first_delay_s, longest_delay_s
        How long to wait before the first attempt, and at most before a later one.

    Attributes
    ----------
    interrupted
        Ends a wait, and all that would follow it. May be set from any thread.
    """

    def __init__(self, most: int, *, first_delay_s: float, longest_delay_s: float) -> None:
        self._most = most
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._made = 0
        self.interrupted = threading.Event()

    def wait_for_next(self) -> bool:
        """Wait until the next is due; return False if none is left, or it was interrupted."""
        if self._made >= self._most:
            return False
        delay_s = backoff_s(self._made, first_s=self._first_delay_s, longest_s=self._longest_delay_s)
        self._made += 1
        return not self.interrupted.wait(delay_s)

    def renew(self) -> None:
        """Have all of them again: the connection is good."""
        self._made = 0


class Reconnecting:
    """A reader that opens its source anew when it ends or fails. Used like the reader inside.

    For live streams only: any end counts as a break. A stream that ended of itself and does not come back has
    ended; one that failed raises what it failed with.

    Parameters
    ----------
    reader
        Owned from now on.
    reopen
        Opens the source anew; blocks, and raises `SourceError`.
    attempts
        How often to try after a break, 0 or more.
    first_delay_s, longest_delay_s
        How long to wait before the first attempt, and at most before a later one.
    """

    def __init__(
        self,
        reader: SeekableReader,
        *,
        reopen: Callable[[], SeekableReader],
        attempts: int = 6,
        first_delay_s: float = 0.5,
        longest_delay_s: float = 10.0,
    ) -> None:
        self._reader = reader
        self._reopen = reopen
        self._attempts = Attempts(attempts, first_delay_s=first_delay_s, longest_delay_s=longest_delay_s)
        self._frames_here = 0
        self._frames_before = 0
        self._skipped_before = 0
        self._ended = False
        self._interrupted = self._attempts.interrupted
        self.info: MediaInfo = reader.info
        """What the source said of itself when it was opened last."""
        self.reconnects = 0
        """How many times the source was opened anew."""

    @property
    def kind(self) -> MediaKind:
        """What the reader gives at present; look at what `read` returned."""
        return self._reader.kind

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far, over all connections."""
        return self._skipped_before + self._reader.skipped_packets

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind an end, in samples."""
        return self._reader.padding_samples

    @property
    def preroll_packets(self) -> tuple[bytes, ...]:
        """None: a live stream has no seek."""
        return ()

    @property
    def position_s(self) -> float:
        """How much was read before the frame that was read last, in seconds; breaks are not counted."""
        return max(0, self._frames_before + self._frames_here - 1) / FRAMES_PER_S

    def read(self) -> Frame | None:
        """Return the next 20 ms; blocks over a break. `None` at the end.

        Raises
        ------
        SourceError
            Once: why the source broke off, after the last attempt to open it anew.
        """
        while not self._ended and not self._interrupted.is_set():
            failure = None
            try:
                frame = self._reader.read()
            except SourceError as error:
                frame, failure = None, error
            if frame is not None:
                self._frames_here += 1
                if self._frames_here == RECOVERED_FRAMES:
                    self._attempts.renew()
                return frame
            if not self._connect_again():
                self._ended = True
                if failure is not None and not self._interrupted.is_set():
                    raise failure
        return None

    poll = read

    def take_packets(self, most: int) -> list[bytes]:  # noqa: ARG002 - the same for all readers
        """Return none: whatever comes from a server may have to be waited for."""
        return []

    def take_titles(self) -> list[TitleChange]:
        """Return what the stream has said since the last call of what is heard, placed over all breaks."""
        return [replace(change, position_s=self.position_s) for change in self._reader.take_titles()]

    def seek(self, position_s: float) -> float:
        """Raise what the reader raises: a live stream cannot seek."""
        return self._reader.seek(position_s)

    def interrupt(self) -> None:
        """Have `read` end soon; may be called from any thread."""
        self._interrupted.set()
        self._reader.interrupt()

    def close(self) -> None:
        """Release the reader. Calling it again does nothing."""
        self._ended = True
        self._reader.close()

    def _connect_again(self) -> bool:
        """Open the source anew, in as many attempts as are left; tell whether that went well."""
        # At once, so that a server that counts its listeners does not take this for a second one.
        self._reader.close()
        while self._attempts.wait_for_next():
            try:
                reader = self._reopen()
            except SourceError:
                continue
            self._take_over(reader)
            return True
        return False

    def _take_over(self, reader: SeekableReader) -> None:
        self._skipped_before += self._reader.skipped_packets
        self._frames_before += self._frames_here
        self._frames_here = 0
        self._reader = reader
        self.info = reader.info
        self.reconnects += 1
        if self._interrupted.is_set():
            # It came for the reader before.
            reader.interrupt()
