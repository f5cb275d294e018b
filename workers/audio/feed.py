"""One source on its way into a program: its frames in order, and the way back over the last of them.

A program works ahead of what is heard. When something is changed (a volume, a filter, another track), the
frames that were made too early are made again, so each feed keeps the last frames it gave, and `rewind` gives
them a second time.

Opus packets are handed out as they are, or decoded for a mix. A decoder that starts in mid-stream needs four
packets before (RFC 7845 §4.6), which are among those kept. What is decoded will be encoded again, and an
encoder delays by its lookahead; so decoded frames are handed out that much early. The listener hears no jump
when a call changes between passing packets through and mixing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE_HZ
from voicepool.workers.audio.late import LateSource, sounding_samples
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.track_feed import FeedDecoder, FeedSource, TrackFeed

__all__ = ["Feed", "FeedDecoder", "FeedSource", "TrackFeed"]

_SHAPE: Final = (FRAME_SAMPLES, CHANNELS)
_SAME_PLACE_S: Final = 2 / SAMPLE_RATE_HZ
"""A source whose position is nearer than this to where it was expected has not jumped."""


class Feed:
    """The frames of one source, numbered from 0. One thread at a time uses it.

    Parameters
    ----------
    source
        Owned from now on.
    make_decoder
        Makes the decoder that is needed once Opus packets cannot pass through.
    kept_frames
        How far `rewind` can go, at least 0.
    kept_packets
        How far it can go among Opus packets, which are small; by None, as far.
    early_samples
        The encoder's lookahead, 0 to 960 samples: how much early decoded packets are handed out.
    preroll_packets
        What the source has before its first packet, for the decoder to converge on.
    """

    def __init__(
        self,
        source: FeedSource,
        *,
        make_decoder: Callable[[], FeedDecoder],
        kept_frames: int,
        early_samples: int,
        kept_packets: int | None = None,
        preroll_packets: Sequence[bytes] = (),
    ) -> None:
        if kept_frames < 0:
            raise ValueError(f"kept_frames must be 0 or more, not {kept_frames}")
        if not 0 <= early_samples <= FRAME_SAMPLES:
            raise ValueError(f"early_samples must be 0 to {FRAME_SAMPLES}, not {early_samples}")
        self._source: FeedSource = source
        self._make_decoder = make_decoder
        self._decoder: FeedDecoder | None = None
        self._kept_frames = kept_frames
        self._kept_packets = kept_frames if kept_packets is None else max(kept_frames, kept_packets)
        self._early_samples = early_samples
        self._preroll = tuple(preroll_packets)
        self._frames: deque[bytes | PcmFrame] = deque()
        self._decoded: dict[int, PcmFrame] = {}
        """The PCM of packets that were decoded, by number: the last `kept_frames` of them."""
        self._places: deque[tuple[int, float]] = deque()
        """Numbers of frames at which the source was, or jumped to, a position in seconds."""
        self._first = 0
        """Number of the first frame kept."""
        self._next = 0
        """Number of the frame to be handed out next."""
        self._decoder_at = -1
        """Number of the packet that the decoder expects."""
        self._is_early = False
        self._late_samples: int | None = None
        self._source_ended = False
        self._failure: Exception | None = None
        self._closed = False

    @property
    def skipped_packets(self) -> int:
        """Packets of the source that could not be decoded, so far."""
        concealed = 0 if self._decoder is None else self._decoder.concealed
        return self._source.skipped_packets + concealed

    @property
    def position_frames(self) -> int:
        """How many frames it has handed out, those taken back not counted."""
        return self._next

    @property
    def rewindable_frames(self) -> int:
        """How far it can go back now."""
        return min(self._next - self._first, self._kept)

    @property
    def is_early(self) -> bool:
        """Whether it hands out PCM earlier than the source gives it, there being packets among its frames."""
        return self._is_early

    def keeps(self, number: int) -> bool:
        """Return whether the frame of this number was handed out and can still be `heard`."""
        return self._first <= number < self._next

    def source_position_s(self, number: int) -> float:
        """Return where in the source the frame of this number begins, in seconds; from any thread."""
        found = (0, 0.0)
        for place in list(self._places):
            if place[0] > number and found is not None:
                break
            found = place
        return max(0.0, found[1] + (number - found[0]) / FRAMES_PER_S)

    def peek(self) -> bytes | PcmFrame | NotYet | None:
        """Return the next frame as the source gave it; it stays the next. None at the end or a failure."""
        return self._at(self._next)

    def go_on(self) -> None:
        """Go on after `peek`: the frame is being sent as it is."""
        self._go_on()

    def last_sounding_samples(self) -> int | None:
        """Return how many samples of the next frame come before the silence that fills it up.

        Returns
        -------
        int or None
            None if it is not known to be the last, or is no PCM of its own place.
        """
        if self._is_early:
            # Nothing is read ahead of packets, which are taken many at once.
            return None
        frame = self._at(self._next)
        if not isinstance(frame, np.ndarray) or self._at(self._next + 1) is not None:
            return None
        return None if self._failure is not None else sounding_samples(frame)

    def begin_late(self, samples: int) -> bool:
        """Begin so many samples after the start of the first frame.

        Parameters
        ----------
        samples
            0 to 959.

        Returns
        -------
        bool
            Whether it does. Packets begin with a frame, and what has begun once keeps its place.
        """
        frame = self._at(0) if self._next == 0 and self._first == 0 else None
        if self._is_early or not isinstance(frame, np.ndarray) or self._failure is not None:
            return False
        if self._late_samples is not None:
            return self._late_samples == samples
        self._late_samples = samples
        if samples:
            read = [(pcm, self.source_position_s(at)) for at, pcm in enumerate(self._frames)]
            first = [(pcm, position_s) for pcm, position_s in read if not isinstance(pcm, bytes)]
            self._frames.clear()
            self._places.clear()
            self._source_ended = False
            self._source = LateSource(self._source, first, samples)
        return True

    def take_packets(self, most: int) -> list[bytes]:
        """Hand out up to `most` packets at once, as they are; none if what comes next is no packet."""
        ahead = self._next - self._first
        if ahead < len(self._frames):
            taken = []
            for frame in islice(self._frames, ahead, ahead + most):
                if not isinstance(frame, bytes):
                    break
                taken.append(frame)
        elif self._source_ended:
            return []
        else:
            try:
                taken = self._source.take_packets(most)
            except Exception as error:  # noqa: BLE001  # raised when what came before it has been handed out
                self._failure, self._source_ended = error, True
                return []
            if taken:
                self._is_early = True
                self._frames.extend(taken)
                last = self._source.position_s
                self._note_place(self._next, last - (len(taken) - 1) / FRAMES_PER_S)
        self._next += len(taken)
        self._trim()
        return taken

    def next_frame(self) -> PcmFrame | NotYet | None:
        """Return the next 20 ms as PCM, shape (960, 2): not to be changed, and the feed's own.

        Returns
        -------
        ndarray or NotYet or None
            `NOT_YET` if the source has nothing ready, None at its end.

        Raises
        ------
        SourceError
            Once, after all frames before it: what the source raised.
        """
        frame = self._at(self._next)
        if frame is NOT_YET:
            return NOT_YET
        if frame is None:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return None
        if not self._is_early:
            # The array of a source without packets, as it is.
            assert isinstance(frame, np.ndarray)
            self._go_on()
            return frame
        following = self._at(self._next + 1)
        if following is NOT_YET:
            return NOT_YET
        early, out = self._early_samples, np.empty(_SHAPE, dtype=np.float32)
        out[: FRAME_SAMPLES - early] = self._pcm(self._next)[early:]
        out[FRAME_SAMPLES - early :] = 0.0 if following is None else self._pcm(self._next + 1)[:early]
        self._go_on()
        return out

    def skip(self, frames: int) -> int:
        """Leave out frames that are there; return how many that were."""
        skipped = 0
        while skipped < frames and self._at(self._next) is not NOT_YET and self._at(self._next) is not None:
            self._go_on()
            skipped += 1
        return skipped

    def rewind(self, frames: int) -> None:
        """Hand out the last frames again.

        Raises
        ------
        ValueError
            More than `rewindable_frames`.
        """
        if not 0 <= frames <= self.rewindable_frames:
            raise ValueError(f"a feed goes back by 0 to {self.rewindable_frames} frames now, not {frames}")
        self._next -= frames

    def heard(self, back: int) -> PcmFrame:
        """Return the PCM of the frame handed out `back` frames ago, 1 being the last: as if for a mix."""
        if not 1 <= back <= self._next - self._first:
            raise ValueError(f"a frame {back} back is not kept")
        number = self._next - back
        if not self._is_early:
            return self._pcm(number)
        following = self._at(number + 1)
        early, out = self._early_samples, np.empty(_SHAPE, dtype=np.float32)
        out[: FRAME_SAMPLES - early] = self._pcm(number)[early:]
        missing = following is None or following is NOT_YET
        out[FRAME_SAMPLES - early :] = 0.0 if missing else self._pcm(number + 1)[:early]
        return out

    def close(self) -> None:
        """Release source and decoder, and forget the frames. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = self._source_ended = True
        self._frames.clear()
        self._decoded.clear()
        self._first = self._next
        try:
            self._source.close()
        finally:
            if self._decoder is not None:
                self._decoder.close()

    def _at(self, number: int) -> bytes | PcmFrame | NotYet | None:
        """Return a frame by its number, asking the source for it if need be."""
        while number >= self._first + len(self._frames):
            if self._source_ended:
                return None
            try:
                frame = self._source.poll()
            except Exception as error:  # noqa: BLE001  # raised when what came before it has been handed out
                self._failure = error
                frame = None
            if frame is NOT_YET:
                return NOT_YET
            if frame is None:
                self._source_ended = True
                return None
            self._is_early = self._is_early or isinstance(frame, bytes)
            self._note_place(self._first + len(self._frames), self._source.position_s)
            self._frames.append(frame)
        return self._frames[number - self._first]

    def _go_on(self) -> None:
        self._next += 1
        self._trim()

    @property
    def _kept(self) -> int:
        return self._kept_packets if self._is_early else self._kept_frames

    def _trim(self) -> None:
        """Forget the frames that nobody can go back to."""
        excess = self._next - self._first - self._kept - PREROLL_PACKETS
        for _ in range(excess):
            self._frames.popleft()
        if excess > 0:
            self._first += excess
            while len(self._places) > 1 and self._places[1][0] <= self._first:
                self._places.popleft()

    def _note_place(self, number: int, position_s: float) -> None:
        if self._places:
            before, expected_s = self._places[-1]
            expected_s += (number - before) / FRAMES_PER_S
            if abs(position_s - expected_s) < _SAME_PLACE_S:
                return
        self._places.append((number, position_s))

    def _before(self, place: int) -> list[bytes]:
        """Return the packets that a decoder wants to have heard before the kept frame at a place."""
        # Those that came before the source's first packet are no use once that is forgotten.
        known = [*(self._preroll if self._first == 0 else ()), *islice(self._frames, place)]
        return [frame for frame in known[-PREROLL_PACKETS:] if isinstance(frame, bytes)]

    def _pcm(self, number: int) -> PcmFrame:
        """Return a kept frame as PCM; packets are decoded once."""
        place = number - self._first
        frame = self._frames[place]
        if not isinstance(frame, bytes):
            return frame
        if (decoded := self._decoded.get(number)) is not None:
            return decoded
        if self._decoder is None:
            self._decoder = self._make_decoder()
        out = np.empty(_SHAPE, dtype=np.float32)
        if number != self._decoder_at:
            for packet in self._before(place):
                self._decoder.decode_float(packet, out)
        self._decoder.decode_float(frame, out)
        self._decoder_at = number + 1
        self._decoded[number] = out
        # In the order they were decoded, of which the oldest are no longer asked for.
        while len(self._decoded) > self._kept_frames + PREROLL_PACKETS:
            del self._decoded[next(iter(self._decoded))]
        return out
