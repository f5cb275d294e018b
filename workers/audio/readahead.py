"""Keeps a stretch of a network source ready, so that its stalls are not the encoder's.

A file is read by the encoder thread as it needs it (`MediaReader.poll`). A URL may block for seconds, so it
gets a thread of its own and a buffer, behind the same method.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Final, Literal, Protocol, TypeAlias

from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.media import Frame, MediaInfo, MediaKind

__all__ = ["NOT_YET", "NotYet", "ReadAhead", "Reader"]


class NotYet(enum.Enum):
    """The type of `NOT_YET`."""

    NOT_YET = enum.auto()


NOT_YET: Final = NotYet.NOT_YET
"""Answer of `ReadAhead.poll`: not at the end, but nothing is there at the moment."""

_NotYet: TypeAlias = Literal[NotYet.NOT_YET]


class Reader(Protocol):
    """What is read ahead from: a `MediaReader`."""

    @property
    def info(self) -> MediaInfo:
        """What the source says of itself."""

    @property
    def kind(self) -> MediaKind:
        """What `read` returns at present."""

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far."""

    def read(self) -> Frame | None:
        """Return the next 20 ms, blocking; `None` at the end."""

    def interrupt(self) -> None:
        """Have `read` end soon, from another thread."""

    def close(self) -> None:
        """Release it, on the thread that reads."""


class ReadAhead:
    """A reader, its thread, and a bounded buffer between them.

    The thread fills the buffer to the brim, then rests until half of it has been taken. `poll` and `close`
    never wait and belong to one thread; the reader belongs to the thread in here, which also closes it.

    Parameters
    ----------
    reader
        Owned from now on.
    capacity_s
        Seconds of audio to hold at most, above 0; 2 s of PCM are 768 kB.

    Attributes
    ----------
    info
        What the source says of itself.
    """

    def __init__(self, reader: Reader, *, capacity_s: float = 2.0) -> None:
        if not capacity_s > 0.0:
            raise ValueError(f"capacity_s must be above 0, not {capacity_s}")
        self._reader = reader
        self._capacity = max(1, round(capacity_s * FRAMES_PER_S))
        self._refill_at = self._capacity // 2
        # Appended to by the thread and taken from by `poll`: a deque needs no lock for that.
        self._frames: deque[Frame] = deque()
        self._room = threading.Event()
        self._closing = False
        self._failure: Exception | None = None
        self._over = threading.Event()
        self.info: Final = reader.info
        self._thread = threading.Thread(target=self._run, name="voicepool-readahead", daemon=True)
        self._thread.start()

    @property
    def kind(self) -> MediaKind:
        """What the reader is giving now (`MediaReader.kind`); what was buffered before may differ."""
        return self._reader.kind

    @property
    def skipped_packets(self) -> int:
        """Damaged packets that the reader left out so far."""
        return self._reader.skipped_packets

    @property
    def buffered_s(self) -> float:
        """How much audio is ready, in seconds."""
        return len(self._frames) / FRAMES_PER_S

    def poll(self) -> Frame | _NotYet | None:
        """Return the next 20 ms without waiting.

        Returns
        -------
        Frame | NotYet | None
            `NOT_YET` if the source is slower than the audio, `None` at the end.

        Raises
        ------
        SourceError
            Once, after all that was read before it: what the reader raised.
        """
        # Asked first: whatever is buffered once the thread is over is all there will be.
        over = self._over.is_set()
        try:
            frame = self._frames.popleft()
        except IndexError:
            if not over and not self._closing:
                return NOT_YET
            self._report_failure()
            return None
        if len(self._frames) <= self._refill_at and not self._room.is_set():
            self._room.set()
        return frame

    def close(self) -> None:
        """Drop what is buffered and let the thread end. Does not wait; calling it again does nothing.

        The thread closes the reader as it ends, which is at once unless it waits for the network: then it is
        after the read timeout at the latest.
        """
        self._closing = True
        self._reader.interrupt()
        self._room.set()
        self._frames.clear()

    def wait_until_over(self, timeout_s: float) -> bool:
        """Wait until the thread is over and the reader closed; tell whether that is so."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _report_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None and not self._closing:
            raise failure

    def _run(self) -> None:
        try:
            self._read_on()
        except Exception as error:  # noqa: BLE001 - crosses to the thread that polls, which reports it
            self._failure = error
        finally:
            try:
                self._reader.close()
            finally:
                self._over.set()

    def _read_on(self) -> None:
        while not self._closing:
            frame = self._reader.read()
            if frame is None:
                return
            self._frames.append(frame)
            # Cleared before the look: room made after the look sets it again, so none is missed.
            self._room.clear()
            if len(self._frames) >= self._capacity and not self._closing:
                self._room.wait()
