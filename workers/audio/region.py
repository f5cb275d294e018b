"""A part of a source, played once, several times or without end.

PCM is joined to the sample: the first sample of a round follows the last of the round before, in the same
frame if need be. Opus packets that pass through are 20 ms each, so such a region begins with the packet that
holds its start and ends with the one that holds its last sample.

A source that cannot go back is opened anew for the next round, and read over up to the start.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Final, Protocol

from voicepool.workers.audio.frame import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.joining import FrameJoiner
from voicepool.workers.audio.readahead import BasicReader
from voicepool.workers.audio.reader import Frame, MediaKind
from voicepool.workers.audio.seeking import UnseekableError, checked_position
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

__all__ = ["Region", "SeekableReader"]


class SeekableReader(BasicReader, Protocol):
    """What a region is of: a `MediaReader`."""

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was read last began."""

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind the end, in samples."""

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are there already."""


class Region:
    """A reader that reads from `start_s` to `end_s`, and again. Used like the reader inside.

    Parameters
    ----------
    reader
        Owned from now on, at its start.
    start_s
        Seconds from the source's start. Behind its end there is nothing to read, which is no error.
    end_s
        Seconds from the source's start, above `start_s`; `None` or beyond its end: to its end.
    repeats
        How many more times to play it after the first; `None` without end.
    reopen
        Opens the source anew when it cannot seek; without it, a round that needs that is refused.

    Raises
    ------
    ValueError
        The region is empty, or a number is below 0 or not finite.
    """

    def __init__(
        self,
        reader: SeekableReader,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        repeats: int | None = 0,
        reopen: Callable[[], SeekableReader] | None = None,
    ) -> None:
        self._start = round(checked_position(start_s) * SAMPLE_RATE_HZ)
        self._end = None if end_s is None else _sample(end_s)
        if self._end is not None and self._end <= self._start:
            raise ValueError(f"a region from {start_s} s to {end_s} s has nothing in it")
        if repeats is not None and repeats < 0:
            raise ValueError(f"repeats must be 0 or more, not {repeats}")
        self._reader = reader
        self._reopen = reopen
        self._repeats_left = repeats
        self._at = 0
        """The source's sample that the next frame of the reader begins with."""
        self._read_over = 0
        """Samples to drop before the round begins, where the source cannot seek."""
        self._round_gave = False
        self._joiner = FrameJoiner()
        self._packet: tuple[bytes, int] | None = None
        self._position = self._start
        self._padding_samples = 0
        self._begun = False
        self._over = False
        self._failure: SourceError | None = None
        self._skipped_before = 0
        self._interrupted = False
        self._closed = False
        self.info: Final = reader.info
        self.preroll_packets: tuple[bytes, ...] = ()
        """After the start or a `seek`: the Opus packets before the next, as `MediaReader` has them."""
        self.rounds = 0
        """How many times it has gone back to its start."""

    @property
    def kind(self) -> MediaKind:
        """What the reader gives at present; look at what `read` returned."""
        return self._reader.kind

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far, over all rounds."""
        return self._skipped_before + self._reader.skipped_packets

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was read last began; before that, where the first will."""
        return self._position / SAMPLE_RATE_HZ

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind the region's end, of 960 samples."""
        return self._padding_samples

    def read(self) -> Frame | None:
        """Return the next 20 ms, `None` at the end of the last round.

        Raises
        ------
        SourceError
            Once, after all audio that could be had: what the reader raised.
        UnseekableError
            The source cannot go to where a round begins, and there is no `reopen`.
        """
        while True:
            held_samples = self._joiner.held_samples
            if (taken := self._joiner.take()) is not None:
                frame, self._position = taken
                self._padding_samples = max(0, FRAME_SAMPLES - held_samples)
                return frame
            if self._packet is not None:
                self._padding_samples = 0
                (packet, self._position), self._packet = self._packet, None
                return packet
            if self._interrupted or self._closed:
                return None
            if self._over:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                return None
            self._go_on()

    poll = read

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets of this round that can be had at once; `read` gets to the next.

        None if there are none, if what comes next is PCM, or where a round begins.
        """
        if (
            not self._begun
            or self._over
            or self._closed
            or self._interrupted
            or self._packet is not None
            or self._joiner.held_samples
        ):
            return []
        at = self._at
        if at + FRAME_SAMPLES <= self._start:
            # Still to be read over.
            return []
        if self._end is not None:
            # The last packet is the one that holds the last sample.
            most = min(most, -(-(self._end - at) // FRAME_SAMPLES))
        packets = self._reader.take_packets(most) if most > 0 else []
        if packets:
            self._at = at + len(packets) * FRAME_SAMPLES
            self._position = self._at - FRAME_SAMPLES
            self._padding_samples = 0
            self._read_over = 0
            self._round_gave = True
        return packets

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said since the last call of what is heard."""
        return self._reader.take_titles()

    def seek(self, position_s: float) -> float:
        """Go to a position of the source in the present round.

        What lies before the region is its start; at or behind its end the round is over, and the next begins
        if there is one. Returns, raises and blocks as `MediaReader.seek` does.
        """
        wanted = max(self._start, round(checked_position(position_s) * SAMPLE_RATE_HZ))
        if self._end is not None:
            wanted = min(wanted, self._end)
        at_s = self._reader.seek(wanted / SAMPLE_RATE_HZ)
        self._joiner = FrameJoiner()
        self._packet = self._failure = None
        self._read_over = 0
        self._begun, self._over, self._round_gave = True, False, True
        self._at = self._position = round(at_s * SAMPLE_RATE_HZ)
        self.preroll_packets = self._reader.preroll_packets
        return at_s

    def interrupt(self) -> None:
        """Have `read` end soon; may be called from any thread."""
        self._interrupted = True
        self._reader.interrupt()

    def close(self) -> None:
        """Release the reader. Calling it again does nothing."""
        self._closed = True
        self._joiner = FrameJoiner()
        self._packet = None
        self._reader.close()

    def _go_on(self) -> None:
        """Read a frame of the round, or get to the next."""
        try:
            if not self._begun:
                self._begun = True
                if self._start:
                    self._go_to_start()
            frame = None if self._at_end() else self._reader.read()
            if frame is not None:
                self._put(frame)
            elif not self._interrupted:
                self._end_round()
        except SourceError as error:
            self._finish(error)

    def _at_end(self) -> bool:
        return self._end is not None and self._at >= self._end

    def _put(self, frame: Frame) -> None:
        """Take the part of a frame that lies in the region."""
        if isinstance(frame, bytes):
            at, self._at = self._at, self._at + FRAME_SAMPLES
            if at + FRAME_SAMPLES > self._start:
                self._read_over = 0
                self._round_gave = True
                # Audio of another kind goes before it, filled up with silence.
                self._joiner.finish()
                self._packet = (frame, at)
            return
        count = FRAME_SAMPLES - self._reader.padding_samples
        at, self._at = self._at, self._at + count
        first = min(self._read_over, count)
        self._read_over -= first
        last = count if self._end is None else min(count, self._end - at)
        if first < last:
            self._round_gave = True
            self._joiner.push(frame[first:last], at + first)

    def _end_round(self) -> None:
        if self._repeats_left == 0 or not self._round_gave:
            # A round that gave nothing would go on for ever.
            self._finish(None)
            return
        if self._repeats_left is not None:
            self._repeats_left -= 1
        self._round_gave = False
        self._go_to_start()
        self.rounds += 1

    def _go_to_start(self) -> None:
        try:
            at_s = self._reader.seek(self._start / SAMPLE_RATE_HZ)
        except UnseekableError:
            if self._reopen is None:
                raise
            at_s = 0.0
            if self._at:
                self._open_anew(self._reopen)
        self._at = round(at_s * SAMPLE_RATE_HZ)
        self._read_over = max(0, self._start - self._at) if self._reader.kind == "pcm" else 0
        self.preroll_packets = self._reader.preroll_packets

    def _open_anew(self, reopen: Callable[[], SeekableReader]) -> None:
        self._skipped_before += self._reader.skipped_packets
        self._reader.close()
        self._reader = reopen()
        if self._interrupted:
            # It came for the reader before.
            self._reader.interrupt()

    def _finish(self, failure: SourceError | None) -> None:
        self._over = True
        self._failure = failure
        self._joiner.finish()


def _sample(end_s: float) -> int:
    if not isfinite(end_s):
        raise ValueError(f"a region must end at a number of seconds, not {end_s}")
    return round(end_s * SAMPLE_RATE_HZ)
