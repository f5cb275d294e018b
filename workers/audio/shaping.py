"""Filters, speed and loudness of a track, changed while it plays.

A `ShapedFeed` stands before a `Feed` and is used like one. While there is nothing to shape it hands on what
the feed gives, packets included. Otherwise its frames come from a *line*: the feed's frames as PCM, kept on a
tape, brought to a loudness, and put through one chain of libavfilter's that also changes the speed.

Frames that were handed out are kept, so that a rewind gives the same again, bit by bit, whatever memory the
filters have. Each is known by its *place*: the sample of the source at which it begins. A new shape starts a
new line at the place of the next frame, wherever the old one had read ahead to, and one frame (20 ms) fades
from old to new.

Measured on one 2023 cloud core: a packet that passes costs what it costs without a `ShapedFeed`; a shaped
frame 7 µs, and what its filters take (bass 15, atempo 30, loudness 35 µs) and the decoder (20 to 40 µs).

Loudness comes before the filters, so that it is the source's, as it is where a tag says it: filters that make
a track softer are not undone.
"""

from __future__ import annotations

import logging
from typing import Final

from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.filters import FilterChain, FilterError
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.kept import KeptFrames
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.shape import Line, Shape, faded
from voicepool.workers.audio.station_feed import StationFeed
from voicepool.workers.audio.stretches import Stretches
from voicepool.workers.audio.tape import LevelledTape, Tape

__all__ = ["ShapedFeed"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

_PEEKED_FRAMES: Final = 16
"""How many frames `peek` puts through filters at most before the first comes out: nobody waits for that."""


class ShapedFeed:
    """A feed whose sound can be shaped. One thread at a time uses it, but for `source_position_s`.

    Frames are numbered as they are handed out. Those that come from a line are to be mixed (`is_early`), even
    one track alone: filters may drive them beyond full scale.

    Parameters
    ----------
    feed
        Owned from now on.
    kept_frames
        How far `rewind` can go back over shaped frames, at least 0.

    Attributes
    ----------
    broken_chains
        How many times filters broke while they ran. The track went on without them.
    """

    def __init__(self, feed: Feed, *, kept_frames: int) -> None:
        if kept_frames < 0:
            raise ValueError(f"kept_frames must be 0 or more, not {kept_frames}")
        self.broken_chains = 0
        self._feed = feed
        self._kept_frames = kept_frames
        self._shape = Shape()
        self._is_clear = True
        """Whether the next frame is the feed's next."""
        self._clear_from = 0
        """Number of the first frame that is the feed's own; means nothing while there is a line."""
        self._offset = 0
        """What a frame that is the feed's own has more as its number."""
        self._kept = KeptFrames()
        """Frames up to `_clear_from`, or up to what the line makes next."""
        self._next = 0
        """Number of the frame to be handed out next; means nothing while all is clear."""
        self._tape: Tape | None = None
        """What they were made of, and what the line reads."""
        self._levelled: LevelledTape | None = None
        self._line: Line | None = None
        self._fade_from: PcmFrame | None = None
        """What the next frame made fades from."""
        self._stretches = Stretches(feed.source_position_s)

    @property
    def skipped_packets(self) -> int:
        """Packets of the source that could not be decoded, so far."""
        return self._feed.skipped_packets

    @property
    def position_frames(self) -> int:
        """How many frames it has handed out, those taken back not counted."""
        return self._feed.position_frames + self._offset if self._is_clear else self._next

    @property
    def rewindable_frames(self) -> int:
        """How far it can go back now."""
        if not self._is_clear:
            return min(self._next - self._kept.first, self._kept_frames)
        clear = self._clear_frames
        rewindable = self._feed.rewindable_frames
        return rewindable if rewindable < clear else clear + len(self._kept)

    @property
    def is_early(self) -> bool:
        """Whether PCM that it hands out has to go through a mixer: it is early, as a feed's, or shaped."""
        return not self._is_clear or self._feed.is_early

    def keeps(self, number: int) -> bool:
        """Return whether the frame of this number was handed out and can still be `heard`."""
        if self._is_clear and number >= self._clear_from:
            return self._feed.keeps(number - self._offset)
        return self._kept.first <= number < min(self._kept.end, self.position_frames)

    def source_position_s(self, number: int) -> float:
        """Return where in the source the frame of this number begins, in seconds; from any thread.

        Speeds other than 1 move windows of up to 60 ms about; of the time heard it is right to 20 ms.
        """
        return self._stretches.source_position_s(number)

    def peek(self) -> bytes | PcmFrame | NotYet | None:
        """Return the next frame as it is handed out, no packet if it is shaped; it stays the next.

        Before the first frame, filters that look ahead are given what they want little by little.
        """
        return self._feed.peek() if self._is_clear else self._at_next(None if self._next else _PEEKED_FRAMES)

    def prepare(self) -> None:
        """Make the first frame, as far as the source has what that takes: some 30 ms with ``loudnorm``."""
        if not self._is_clear:
            self._at_next()

    def go_on(self) -> None:
        """Go on after `peek`."""
        if self._is_clear:
            self._feed.go_on()
        else:
            self._go_on()

    def last_sounding_samples(self) -> int | None:
        """Return how much of the next frame sounds, if it is the last and the feed's own."""
        return self._feed.last_sounding_samples() if self._is_clear else None

    def begin_late(self, samples: int) -> bool:
        """Begin so many samples after the start of the first frame; return whether that can be done."""
        return self._is_clear and self._offset == 0 and self._feed.begin_late(samples)

    def take_packets(self, most: int) -> list[bytes]:
        """Hand out up to `most` packets at once, as they are; none if what comes next is no packet."""
        if not self._is_clear:
            return []
        if self._kept and self._feed.rewindable_frames < self._clear_frames:
            # Nobody comes back to what was before them.
            self._kept.clear()
            self._tape = None
        return self._feed.take_packets(most)

    def next_frame(self) -> PcmFrame | NotYet | None:
        """Return the next 20 ms as PCM, shape (960, 2): not to be changed, and the feed's own.

        Filters that look ahead are given what they want, up to `filters.HOLD_LIMIT_S`.

        Returns
        -------
        ndarray or NotYet or None
            `NOT_YET` if the source has nothing ready, None at its end, after what the filters held.

        Raises
        ------
        SourceError
            Once, after all frames before it: what the source raised.
        """
        if self._is_clear:
            return self._feed.next_frame()
        if self._next == 0 < self._kept.end and isinstance(self._feed, StationFeed):
            # It was prepared for when it begins, which is now.
            self._rejoin(self._feed)
        frame = self._at_next()
        if frame is NOT_YET:
            return NOT_YET
        if frame is None:
            failure = None if self._tape is None else self._tape.take_failure()
            if failure is not None:
                raise failure
            return None
        self._go_on()
        return frame

    def skip(self, frames: int) -> int:
        """Leave out frames that are there; return how many that were. A station goes to its live edge."""
        if not self._is_clear and isinstance(self._feed, StationFeed):
            self._rejoin(self._feed)
            return 0
        skipped = 0
        while skipped < frames:
            if self._is_clear:
                return skipped + self._feed.skip(frames - skipped)
            frame = self._at_next()
            if frame is None or frame is NOT_YET:
                break
            self._go_on()
            skipped += 1
        return skipped

    def rewind(self, frames: int) -> None:
        """Hand out the last frames again, the same as before until `shape` is called.

        Raises
        ------
        ValueError
            More than `rewindable_frames`.
        """
        if not 0 <= frames <= self.rewindable_frames:
            raise ValueError(f"a feed goes back by 0 to {self.rewindable_frames} frames now, not {frames}")
        if not self._is_clear:
            self._next -= frames
        elif frames <= self._clear_frames:
            self._feed.rewind(frames)
        else:
            self._next = self.position_frames - frames
            self._feed.rewind(self._clear_frames)
            self._is_clear = False

    def heard(self, back: int) -> PcmFrame:
        """Return the PCM of the frame handed out `back` frames ago, 1 being the last: as if for a mix."""
        number = self.position_frames - back
        if self._is_clear and number >= self._clear_from:
            return self._feed.heard(back)
        if back < 1 or not self._kept.first <= number < self._kept.end:
            raise ValueError(f"a frame {back} back is not kept")
        return self._kept.pcm(number)

    def shape(self, filters: str | None, speed: float, loudness_lufs: float | None) -> None:
        """Shape what is handed out from now on otherwise.

        Parameters
        ----------
        filters, speed, loudness_lufs
            As for `shape.check_shape`; None, 1 and None leave the sound as it is.

        Raises
        ------
        FilterError
            As `shape.check_shape`. Nothing has changed.
        """
        wanted = Shape(filters, float(speed), loudness_lufs)
        if wanted == self._shape:
            return
        chain = wanted.chain()
        number = self.position_frames
        tape, place_samples = self._begin()
        if self._kept.end > number or self._fade_from is None:
            self._fade_from = self._old_frame(number, tape, place_samples)
        self._kept.cut(number)
        self._shape = wanted
        self._start_line(tape, chain, place_samples)
        self._settle()

    def close(self) -> None:
        """Release the source, and forget the frames. Calling it again does nothing."""
        self._next = self.position_frames
        self._clear_from = self._next
        self._offset = self._next - self._feed.position_frames
        self._is_clear = True
        self._kept.clear()
        self._kept.begin_at(self._next)
        self._tape = self._levelled = self._line = self._fade_from = None
        self._feed.close()

    @property
    def _clear_frames(self) -> int:
        """How many frames of the feed's own were handed out since the last that was not."""
        return self._feed.position_frames + self._offset - self._clear_from

    def _at_next(self, most_frames: int | None = None) -> PcmFrame | NotYet | None:
        if self._next < self._kept.end:
            return self._kept.pcm(self._next)
        assert self._line is not None, "what is not kept is made, or the feed's own"
        assert self._tape is not None, "what it is made of"
        while True:
            place_samples = self._line.place_samples
            try:
                frame = self._line.make(most_frames=most_frames)
            except FilterError as error:
                self._go_on_without(error)
                continue
            if frame is None or frame is NOT_YET:
                return frame
            old, self._fade_from = self._fade_from, None
            if old is not None:
                frame = faded(old, frame)
            position_s = self._tape.position_s(place_samples)
            kept, speed = self._kept, self._line.speed
            self._stretches.go_on_with_line(kept.end, position_s, speed, first_kept=kept.first)
            kept.append(frame, place_samples)
            return frame

    def _go_on(self) -> None:
        self._next += 1
        if self._line is None:
            self._is_clear = self._next == self._clear_from
            return
        while self._next - self._kept.first > self._kept_frames + PREROLL_PACKETS:
            self._kept.drop_oldest()
        oldest = int(self._place_of(self._kept.first)) // FRAME_SAMPLES
        self._line.frames.trim(oldest)
        if self._tape is not None:
            self._tape.trim(oldest)
        self._settle()

    def _place_of(self, number: int) -> float:
        """Return where a frame begins that is kept, or is next."""
        if number < self._kept.end:
            return self._kept.place_samples(number)
        if self._line is not None:
            return self._line.place_samples
        return float((number - self._offset) * FRAME_SAMPLES)

    def _begin(self) -> tuple[Tape, float]:
        """Begin to keep frames, unless they are kept; return the tape, and the place of the next frame."""
        number = self.position_frames
        place_samples = self._place_of(number)
        if not self._is_clear:
            assert self._tape is not None, "what is shaped, or was, is made of something"
            return self._tape, place_samples
        begin = number
        while begin > max(self._clear_from, number - self._kept_frames) and self.keeps(begin - 1):
            begin -= 1
        # In this order, for a decoder goes forward.
        clear = [self.heard(number - earlier) for earlier in range(begin, number)]
        while self._kept and (len(clear) + len(self._kept) > self._kept_frames or self._kept.end != begin):
            self._kept.drop_oldest()
        if not self._kept:
            self._kept.begin_at(begin)
        for pcm in clear:
            self._kept.append(pcm, self._place_of(self._kept.end))
        self._next, self._is_clear = number, False
        return Tape(self._feed, clear), place_samples

    def _old_frame(self, number: int, tape: Tape, place_samples: float) -> PcmFrame | None:
        """Return what the next frame would have been, None if there is nothing to fade from."""
        if number == 0:
            # Nobody has heard anything yet.
            return None
        if self._kept.end > number:
            return self._kept.pcm(number)
        old = tape.frame(int(place_samples) // FRAME_SAMPLES) if self._line is None else self._at_next()
        return None if old is NOT_YET else old

    def _start_line(self, tape: Tape, chain: FilterChain | None, place_samples: float) -> None:
        place_samples = max(place_samples, float(tape.first * FRAME_SAMPLES))
        start = int(place_samples) // FRAME_SAMPLES
        target_lufs = self._shape.loudness_lufs
        levelled = self._levelled
        if target_lufs is None:
            levelled = None
        elif levelled is None or levelled.target_lufs != target_lufs or levelled.first > start:
            levelled = LevelledTape(tape, target_lufs, start, before=levelled)
        self._tape, self._levelled = tape, levelled
        self._line = Line(tape if levelled is None else levelled, chain, place_samples)

    def _rejoin(self, feed: StationFeed) -> None:
        """Make the frames that follow of what a station's other calls hear then."""
        feed.skip(0)
        self._kept.cut(self._next)
        self._fade_from = None
        self._start_line(Tape(feed), self._shape.chain(), float(feed.position_frames * FRAME_SAMPLES))

    def _settle(self) -> None:
        """Go over to the feed's own frames, if nothing is left to be done."""
        line, tape = self._line, self._tape
        if line is None or tape is None or self._shape != Shape():
            return
        if self._next != self._kept.end or self._fade_from is not None:
            return
        tape.give_back(line.read_number)
        if line.read_number < tape.end or tape.has_failed:
            return
        self._clear_from = self._next
        self._offset = self._next - self._feed.position_frames
        self._stretches.go_on_with_feed(self._next, self._feed.position_frames)
        self._line = self._levelled = None
        self._is_clear = True

    def _go_on_without(self, error: FilterError) -> None:
        """Go on at the same place: to a listener, music without filters is better than no music."""
        assert self._line is not None, "there were filters"
        assert self._tape is not None, "what they were fed from"
        self.broken_chains += 1
        shape = self._shape
        speed = shape.speed if shape.filters is not None else 1.0
        self._shape = Shape(None, speed, shape.loudness_lufs)
        _LOGGER.warning("a track goes on without its filters: %s", error)
        self._start_line(self._tape, self._shape.chain(), self._line.place_samples)
