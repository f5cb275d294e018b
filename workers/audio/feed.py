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
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["Feed", "FeedDecoder", "FeedSource"]

_SHAPE: Final = (FRAME_SAMPLES, CHANNELS)


class FeedSource(Protocol):
    """Where frames come from: a reader, or a read-ahead before one."""

    @property
    def skipped_packets(self) -> int:
        """Packets that could not be decoded, so far."""

    def poll(self) -> bytes | PcmFrame | NotYet | None:
        """Return a frame, `NOT_YET`, or None at the end; never wait long. An array is the taker's to keep."""

    def close(self) -> None:
        """Release the source."""


class FeedDecoder(Protocol):
    """An Opus decoder that gives a frame for each packet, also for one that it cannot decode."""

    @property
    def concealed(self) -> int:
        """Packets that could not be decoded."""

    def decode_float(self, packet: bytes | None, out: PcmFrame) -> int:
        """Decode one packet into `out`, shape (960, 2)."""

    def close(self) -> None:
        """Release it."""


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
    early_samples
        The encoder's lookahead, 0 to 960 samples: how much early decoded packets are handed out.
    """

    def __init__(
        self,
        source: FeedSource,
        *,
        make_decoder: Callable[[], FeedDecoder],
        kept_frames: int,
        early_samples: int,
    ) -> None:
        if kept_frames < 0:
            raise ValueError(f"kept_frames must be 0 or more, not {kept_frames}")
        if not 0 <= early_samples <= FRAME_SAMPLES:
            raise ValueError(f"early_samples must be 0 to {FRAME_SAMPLES}, not {early_samples}")
        self._source = source
        self._make_decoder = make_decoder
        self._decoder: FeedDecoder | None = None
        self._kept_frames = kept_frames
        self._early_samples = early_samples
        self._frames: deque[bytes | PcmFrame] = deque()
        self._decoded: deque[PcmFrame | None] = deque()
        """Beside `_frames`, the PCM of a packet that was decoded."""
        self._first = 0
        """Number of the first frame kept."""
        self._next = 0
        """Number of the frame to be handed out next."""
        self._decoder_at = -1
        """Number of the packet that the decoder expects."""
        self._is_early = False
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
        return min(self._next - self._first, self._kept_frames)

    @property
    def is_early(self) -> bool:
        """Whether it hands out PCM earlier than the source gives it, there being packets among its frames."""
        return self._is_early

    def keeps(self, number: int) -> bool:
        """Return whether the frame of this number was handed out and can still be `heard`."""
        return self._first <= number < self._next

    def peek(self) -> bytes | PcmFrame | NotYet | None:
        """Return the next frame as the source gave it; it stays the next. None at the end or a failure."""
        return self._at(self._next)

    def go_on(self) -> None:
        """Go on after `peek`: the frame is being sent as it is."""
        self._go_on()

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
            self._frames.append(frame)
            self._decoded.append(None)
        return self._frames[number - self._first]

    def _go_on(self) -> None:
        self._next += 1
        if self._next - self._first > self._kept_frames + PREROLL_PACKETS:
            self._frames.popleft()
            self._decoded.popleft()
            self._first += 1

    def _pcm(self, number: int) -> PcmFrame:
        """Return a kept frame as PCM; packets are decoded once."""
        place = number - self._first
        frame, decoded = self._frames[place], self._decoded[place]
        if not isinstance(frame, bytes):
            return frame
        if decoded is not None:
            return decoded
        if self._decoder is None:
            self._decoder = self._make_decoder()
        out = np.empty(_SHAPE, dtype=np.float32)
        if number != self._decoder_at:
            for earlier in range(max(self._first, number - PREROLL_PACKETS), number):
                before = self._frames[earlier - self._first]
                if isinstance(before, bytes):
                    self._decoder.decode_float(before, out)
        self._decoder.decode_float(frame, out)
        self._decoder_at = number + 1
        self._decoded[place] = out
        return out
