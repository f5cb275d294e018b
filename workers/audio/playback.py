"""One playing source: turns what a reader hands out into Opus frames, ahead of time, into a ring of its own.

A playback belongs to the encoder threads: they alone read, encode and, at the end, close what it holds. The
control loop only sets `cancelled` and `gain`; the pacing thread only takes frames from `ring`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.frame import CHANNELS, FRAME_NS, FRAME_SAMPLES, Mark
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.errors import SourceError

__all__ = ["FrameEncoder", "FrameSource", "Outlet", "PacketDecoder", "Playback"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

PRIME_FRAMES: Final = 2
"""Frames in the ring before the first is sent: one to send and one to be late with."""
PREROLL_PACKETS: Final = 4
"""A decoder that starts in mid-stream needs 80 ms to converge (RFC 7845 §4.6)."""
STARVED_RETRY_NS: Final = 10_000_000
"""How soon to ask a source again that had nothing ready."""


class FrameSource(Protocol):
    """Where frames come from: a reader, or a read-ahead before one."""

    @property
    def skipped_packets(self) -> int:
        """Packets that could not be decoded, so far."""

    def poll(self) -> bytes | NDArray[np.float32] | NotYet | None:
        """Return a frame, `NOT_YET`, or None at the end; never wait long."""

    def close(self) -> None:
        """Release the source."""


class FrameEncoder(Protocol):
    """An Opus encoder over a buffer of its own."""

    def encode_bound(self) -> bytes:
        """Encode what the bound buffer holds."""

    def close(self) -> None:
        """Release it."""


class PacketDecoder(Protocol):
    """An Opus decoder that gives a frame for each packet, also for one that it cannot decode."""

    @property
    def concealed(self) -> int:
        """Packets that could not be decoded."""

    def decode_float(self, packet: bytes | None, out: NDArray[np.float32]) -> int:
        """Decode one packet into `out`; return its samples per channel."""

    def close(self) -> None:
        """Release it."""


class Outlet(Protocol):
    """What a playback must know of where its frames go."""

    active: bool
    due_ns: int


class Playback:
    """A source on its way to one call.

    Parameters
    ----------
    source
        Owned from now on.
    encoder, buffer
        An encoder bound to the buffer: float32 of shape (960, 2).
    make_decoder
        Makes the decoder that is needed once an Opus packet cannot pass through.
    outlet
        Where the frames go.
    capacity_frames
        How many frames of 20 ms to be ahead.
    gain
        Linear volume.
    end
        Given the playback, returns what to put into the ring after the last frame.
    primed
        Called on an encoder thread as soon as there is something to send, or an error instead.
    """

    def __init__(
        self,
        *,
        source: FrameSource,
        encoder: FrameEncoder,
        buffer: NDArray[np.float32],
        make_decoder: Callable[[], PacketDecoder],
        outlet: Outlet,
        capacity_frames: int,
        gain: float,
        end: Callable[[], Sequence[bytes | Mark]],
        primed: Callable[[], object],
    ) -> None:
        self.ring: deque[bytes | Mark] = deque()
        self.gain = gain
        self.cancelled = False
        self.parked = False
        """Waiting for nothing but a wake: its ring is full and its call sends nothing."""
        self.closed = False
        self.error: ErrorInfo | None = None
        """Why it ended early; set before the end is put into the ring."""
        self.frames_encoded = 0
        self._source = source
        self._encoder = encoder
        self._buffer = buffer
        self._make_decoder = make_decoder
        self._decoder: PacketDecoder | None = None
        self._passed: deque[bytes] = deque(maxlen=PREROLL_PACKETS)
        self._outlet = outlet
        self._capacity = capacity_frames
        # Refilling in bursts costs fewer wake-ups and keeps one encoder's state in the cache. Packets that
        # need no encoding are cheap: more of them at once delay no other call.
        self._encoded_burst = max(1, capacity_frames // 4)
        self._passed_burst = max(1, capacity_frames // 2)
        self._burst = self._encoded_burst
        self._last_gain = gain
        self._end = end
        self._primed: Callable[[], object] | None = primed
        self._closing_frames = 0

    @property
    def ended(self) -> bool:
        """Whether everything it will ever send is in the ring."""
        return self._closing_frames > 0

    @property
    def frames_sent(self) -> int:
        """Frames of audio that have left the ring; while it is being filled, up to a burst too few."""
        return max(0, self.frames_encoded - max(0, len(self.ring) - self._closing_frames))

    @property
    def skipped_packets(self) -> int:
        """Packets of the source that could not be decoded, so far."""
        return self._source.skipped_packets + (0 if self._decoder is None else self._decoder.concealed)

    def fill(self, now_ns: int) -> int | None:
        """Produce a burst of frames.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.

        Returns
        -------
        int or None
            When to be called again, in monotonic nanoseconds; None when there is nothing more to do.
        """
        if self.cancelled:
            self.close()
            return None
        wanted = min(self._burst, self._capacity - len(self.ring))
        try:
            while wanted > 0:
                frame = self._next_frame()
                if frame is NOT_YET:
                    self._prime_if_due()
                    return now_ns + STARVED_RETRY_NS
                if frame is None:
                    self._finish(None)
                    return None
                self.ring.append(frame)
                self.frames_encoded += 1
                wanted -= 1
        except SourceError as error:
            self._finish(error.info)
            return None
        except Exception as error:
            _LOGGER.exception("a playback failed inside voicepool")
            text = f"voicepool failed while it encoded: {error!r}; the worker's log has the traceback"
            self._finish(ErrorInfo(code=ErrorCode.INTERNAL, text=text))
            return None
        self._prime_if_due()
        return self.due_again_ns()

    def due_again_ns(self) -> int:
        """Return when the ring has room for the next burst; 0, first of all, until it is primed."""
        if self._primed is not None:
            return 0
        room_for = self._capacity - len(self.ring) - self._burst
        return self._outlet.due_ns - room_for * FRAME_NS

    @property
    def may_park(self) -> bool:
        """Whether no room will come of itself: nothing is being sent and the ring holds all it may."""
        return not self._outlet.active and len(self.ring) + self._burst > self._capacity

    def close(self) -> None:
        """Release source and codec. On an encoder thread, or when none can hold this playback."""
        if self.closed:
            return
        self.closed = True
        for part in (self._source, self._encoder, self._decoder):
            try:
                if part is not None:
                    part.close()
            except Exception:
                # The thread that closes serves all calls of the worker.
                _LOGGER.exception("a %s could not be closed", type(part).__name__)

    def _next_frame(self) -> bytes | NotYet | None:
        frame = self._source.poll()
        if frame is None or frame is NOT_YET:
            return frame
        gain = self.gain
        self._burst = self._encoded_burst
        if isinstance(frame, bytes):
            if gain == 1.0 == self._last_gain:
                self._passed.append(frame)
                self._burst = self._passed_burst
                return frame
            self._decode(frame)
            samples = self._buffer
        else:
            samples = frame
        if gain == self._last_gain:
            if gain != 1.0:
                np.multiply(samples, gain, out=self._buffer)
            elif samples is not self._buffer:
                np.copyto(self._buffer, samples)
        else:
            # A step would click: go from the old gain to the new one over this frame.
            np.multiply(samples, _ramp(self._last_gain, gain), out=self._buffer)
            self._last_gain = gain
        return self._encoder.encode_bound()

    def _decode(self, packet: bytes) -> None:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = self._make_decoder()
        # What passed by unheard; without it the change of volume would begin with a dip.
        while self._passed:
            decoder.decode_float(self._passed.popleft(), self._buffer)
        decoder.decode_float(packet, self._buffer)

    def _prime_if_due(self) -> None:
        if self._primed is not None and (len(self.ring) >= PRIME_FRAMES or self.ended):
            primed, self._primed = self._primed, None
            primed()

    def _finish(self, error: ErrorInfo | None) -> None:
        self.error = error
        self.close()
        closing = self._end()
        self._closing_frames = len(closing)
        self.ring.extend(closing)
        self._prime_if_due()


def _ramp(start: float, stop: float) -> NDArray[np.float32]:
    gains = np.linspace(start, stop, FRAME_SAMPLES, dtype=np.float32)
    return np.repeat(gains[:, np.newaxis], CHANNELS, axis=1)
