"""Keeps a stretch of a network source ready, so that its stalls are not the encoder's.

A file is read by the encoder thread as it needs it (`MediaReader.poll`). A URL may block for seconds, so it
gets a thread of its own and a buffer, behind the same method.

The thread lives until `close`, beyond the source's end: the way back is a `seek`, and by the time the end has
been read, seconds are still to be heard.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.media import Frame, MediaInfo, MediaKind
from voicepool.workers.audio.seeking import checked_position
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

__all__ = ["NOT_YET", "BasicReader", "NotYet", "PolledReader", "ReadAhead", "Reader"]


_MAX_TITLES: Final = 16
"""Changes of the title that are not heard yet; then the oldest goes."""


class NotYet(enum.Enum):
    """The type of `NOT_YET`."""

    NOT_YET = enum.auto()


NOT_YET: Final = NotYet.NOT_YET
"""Answer of `ReadAhead.poll`: not at the end, but nothing is there at the moment."""

_NotYet: TypeAlias = Literal[NotYet.NOT_YET]
_SeekDone: TypeAlias = Callable[[SourceError | None], object]


class BasicReader(Protocol):
    """What all kinds of readers have."""

    @property
    def info(self) -> MediaInfo:
        """What the source says of itself."""

    @property
    def kind(self) -> MediaKind:
        """What `read` returns at present."""

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far."""

    @property
    def preroll_packets(self) -> tuple[bytes, ...]:
        """The Opus packets before the one that a seek has landed on."""

    def read(self) -> Frame | None:
        """Return the next 20 ms, blocking; `None` at the end."""

    def seek(self, position_s: float) -> float:
        """Go to a position; return where it is."""

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said since the last call of what is heard, on the thread that reads."""

    def interrupt(self) -> None:
        """Have `read` end soon, from another thread."""

    def close(self) -> None:
        """Release it, on the thread that reads."""


class Reader(BasicReader, Protocol):
    """What is read ahead from: a `MediaReader` or a `Region`."""

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was read last began."""

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind the end, of 960 samples."""


class PolledReader(Protocol):
    """What the encoder thread reads from: a `ReadAhead`, or a reader of something that never makes wait."""

    @property
    def kind(self) -> MediaKind:
        """What comes at present."""

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far."""

    @property
    def preroll_packets(self) -> tuple[bytes, ...]:
        """The Opus packets before the one that a seek has landed on."""

    @property
    def position_s(self) -> float:
        """Where in the source the frame that came last began."""

    @property
    def padding_samples(self) -> int:
        """How much of the frame that came last is silence behind the end, of 960 samples."""

    def poll(self) -> Frame | _NotYet | None:
        """Return the next 20 ms without waiting."""

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are there already; none if what comes next is none."""

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said of what is heard by now, oldest first."""

    def close(self) -> None:
        """Release it. Does not wait."""


class ReadAhead:
    """A reader, its thread, and a bounded buffer between them.

    The thread fills the buffer to the brim, then rests until half of it has been taken. `poll`, `seek` and
    `close` never wait and belong to one thread; the reader belongs to the thread in here, which closes it.

    Parameters
    ----------
    reader
        Owned from now on.
    capacity_s
        Seconds of audio to hold at most, above 0; 2 s of PCM are 768 kB.
    live
        Whether the source goes on in real time: the thread never rests, and what the buffer cannot hold is
        dropped, oldest first. So what is heard is at most `capacity_s` behind what was sent.

    Attributes
    ----------
    info
        What the source says of itself.
    dropped_frames
        How many frames of 20 ms a live source lost that way.
    """

    def __init__(self, reader: Reader, *, capacity_s: float = 2.0, live: bool = False) -> None:
        if not capacity_s > 0.0:
            raise ValueError(f"capacity_s must be above 0, not {capacity_s}")
        self._reader = reader
        self._capacity = max(1, round(capacity_s * FRAMES_PER_S))
        self._refill_at = self._capacity // 2
        self._live = live
        # Appended to by the thread and taken from by `poll`: a deque needs no lock for that.
        self._frames: deque[tuple[Frame, float, int]] = deque()
        """Each with its place in seconds and its samples of padding."""
        self._titles: deque[TitleChange] = deque(maxlen=_MAX_TITLES)
        """From the thread, for `take_titles`."""
        self._unheard: deque[TitleChange] = deque(maxlen=_MAX_TITLES)
        self._room = threading.Event()
        self._seeks: deque[tuple[float, _SeekDone | None]] = deque()
        """Wanted and not yet done; while there are any, only the thread touches the buffer."""
        self._closing = False
        self._failure: Exception | None = None
        self._ended = False
        self._over = threading.Event()
        self._position_s = reader.position_s
        self._padding_samples = 0
        self.info: Final = reader.info
        self.dropped_frames = 0
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
    def position_s(self) -> float:
        """Where in the source the frame that was polled last began."""
        return self._position_s

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was polled last is silence behind the source's end, of 960 samples."""
        return self._padding_samples

    @property
    def preroll_packets(self) -> tuple[bytes, ...]:
        """After a seek: the Opus packets before the next, as `MediaReader` has them."""
        return self._reader.preroll_packets

    @property
    def buffered_s(self) -> float:
        """How much audio is ready, in seconds."""
        return len(self._frames) / FRAMES_PER_S

    @property
    def ended(self) -> bool:
        """Whether all that there is to read has been read; it may still wait in the buffer."""
        return self._ended

    def poll(self) -> Frame | _NotYet | None:
        """Return the next 20 ms without waiting.

        Returns
        -------
        Frame | NotYet | None
            `NOT_YET` if the source is slower than the audio or a seek goes on, `None` at the end.

        Raises
        ------
        SourceError
            Once, after all that was read before it: what the reader raised.
        """
        if self._seeking:
            return NOT_YET
        # Asked first: whatever is buffered once the reader has ended is all there will be.
        ended = self._ended
        try:
            frame, self._position_s, self._padding_samples = self._frames.popleft()
        except IndexError:
            if not ended and not self._closing:
                return NOT_YET
            self._report_failure()
            return None
        if len(self._frames) <= self._refill_at and not self._room.is_set():
            self._room.set()
        return frame

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are in the buffer; none if what comes next is none."""
        packets: list[bytes] = []
        if self._seeking:
            return packets
        frames = self._frames
        try:
            while len(packets) < most:
                frame, at_s, padding_samples = frames.popleft()
                if not isinstance(frame, bytes):
                    # Looking before taking would not do: the thread may drop the oldest in between.
                    frames.appendleft((frame, at_s, padding_samples))
                    break
                packets.append(frame)
                self._position_s, self._padding_samples = at_s, 0
        except IndexError:
            # That was all there is.
            pass
        if packets and len(frames) <= self._refill_at and not self._room.is_set():
            self._room.set()
        return packets

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said up to the frame that was polled last, oldest first."""
        taken = []
        while self._titles:
            self._unheard.append(self._titles.popleft())
        while self._unheard and self._unheard[0].position_s <= self._position_s:
            taken.append(self._unheard.popleft())
        return taken

    def seek(self, position_s: float, done: _SeekDone | None = None) -> None:
        """Go on from another position; what is buffered is dropped. Does not wait.

        `poll` answers `NOT_YET` until the reader is there. If it cannot go there, all stays as it was. Of
        several seeks that wait, only the last is made, and all of them get its outcome.

        Parameters
        ----------
        position_s
            Seconds from the source's start, 0 or more.
        done
            Called on the reader's thread with why it could not be done, or `None`. Not called once closed.

        Raises
        ------
        ValueError
            The position is below 0 or not finite.
        """
        self._seeks.append((checked_position(position_s), done))
        self._room.set()

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

    @property
    def _seeking(self) -> bool:
        return bool(self._seeks) and not self._closing and not self._over.is_set()

    def _report_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None and not self._closing:
            raise failure

    def _run(self) -> None:
        try:
            while not self._closing:
                self._work()
        finally:
            try:
                self._reader.close()
            finally:
                self._ended = True
                self._over.set()

    def _work(self) -> None:
        """Read a frame, make a seek, or rest until there is one of the two to do."""
        # Cleared before the look: what comes after the look sets it again, so nothing is missed.
        self._room.clear()
        if self._closing:
            return
        if self._seeks:
            self._make_seek()
        elif self._ended or (len(self._frames) >= self._capacity and not self._live):
            self._room.wait()
        else:
            self._fill()

    def _fill(self) -> None:
        """Read until the buffer is full, or something else is to be done."""
        while not self._closing and not self._seeks:
            try:
                frame = self._reader.read()
            except Exception as error:  # noqa: BLE001 - crosses to the thread that polls, which reports it
                self._failure, frame = error, None
            if frame is None:
                self._ended = True
                return
            self._titles.extend(self._reader.take_titles())
            self._frames.append((frame, self._reader.position_s, self._reader.padding_samples))
            if len(self._frames) >= self._capacity:
                if not self._live:
                    return
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._frames) > self._capacity:
            try:
                self._frames.popleft()
            except IndexError:
                # Taken at this moment.
                return
            self.dropped_frames += 1

    def _make_seek(self) -> None:
        wanted = list(self._seeks)
        failure = None
        try:
            self._reader.seek(wanted[-1][0])
        except SourceError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - as in `_fill`: reported by `poll`
            self._frames.clear()
            self._failure, self._ended = error, True
        else:
            self._frames.clear()
            self._failure, self._ended = None, False
        # Only now: from here on `poll` looks into the buffer again.
        for _ in wanted:
            self._seeks.popleft()
        if self._closing:
            return
        for _, done in wanted:
            if done is not None:
                done(failure)
