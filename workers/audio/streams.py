"""Audio that the bot pushes while it plays, as the encoder thread reads it.

Between the control loop, which brings messages, and the encoder thread, which takes 20 ms at a time, lies one
bounded queue. Its bound is kept by credit: the whole capacity is granted at first, and then as much as was
taken, by the quarter of the capacity. A bot that sends without credit is out of order, and the track ends.

So the capacity is how late pushed audio can be, beyond what every call is ahead. If the bot has nothing to
send in time the call falls silent, and nothing is made up for; what comes late is heard in full, and all
after it as much later, up to the capacity: at that point the bot has to wait. Speech that is pushed as it is
spoken wants a capacity of some 200 ms, and a bot that drops what it cannot send; what is read from somewhere
wants the second that is the default.

What has no samples to convert (48 kHz, mono or stereo) is handed on as soon as 20 ms are there. All else goes
through the same `FrameCutter` as files.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.frame import (
    CHANNELS,
    FRAME_MS,
    FRAME_SAMPLES,
    FRAMES_PER_S,
    SAMPLE_RATE_HZ,
)
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import is_one_tick
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.reader import Frame, MediaKind
from voicepool.workers.audio.resample import FrameCutter
from voicepool.workers.errors import SourceError

__all__ = ["StreamReader"]

_ITEM_BYTES: Final = {"s16": 2, "f32": 4}
_ITEM_CODECS: Final = {"s16": "pcm_s16", "f32": "pcm_f32"}
_INT16_SCALE: Final = np.float32(1 / 32_768)
_LOUDEST: Final = 1e6
"""Larger floats are no sound (full scale is 1), and would become infinite on their way through a mix."""
_RATES_HZ: Final = range(1_000, 384_001)
_CHANNEL_COUNTS: Final = range(1, 9)
_CAPACITIES_MS: Final = range(FRAME_MS, 60_001)
_MAX_PACKET_BYTES: Final = 1_500
"""No datagram carries a larger one."""
_LAYOUTS: Final = {1: "mono", 2: "stereo"}


class StreamReader:
    """The reading end of a pushed stream.

    `push` belongs to one thread, all that reads to another; `close` may be called on either, the attributes
    may be read on any.

    Parameters
    ----------
    source
        What the bot is going to send.
    on_credit
        Called with milliseconds of audio that the bot may send beyond those granted before: at once with the
        whole capacity, later on the reading thread. It must not wait.

    Attributes
    ----------
    info
        What is known of the stream.
    kind
        ``"opus"`` or ``"pcm"``: what `poll` returns, from the first frame to the last.
    skipped_packets
        Opus packets left out because they do not play for exactly 20 ms or cannot be sent.
    silenced_values
        Float samples, each channel counted, that were no sound (NaN, infinite, beyond ±1e6) and became 0.
    preroll_packets
        Always empty: a stream cannot seek.

    Raises
    ------
    SourceError
        ``SOURCE_UNREADABLE``: format, rate, channels or capacity are none that this worker can play.
    """

    def __init__(self, source: StreamSource, *, on_credit: Callable[[int], object]) -> None:
        _check(source)
        self._on_credit = on_credit
        self._rate_hz = source.sample_rate_hz
        self._channels = source.channels
        self._format = source.format
        self._sample_bytes = _ITEM_BYTES.get(source.format, 0) * source.channels
        self._capacity_ms = source.capacity_ms
        self._credit_step_ms = -(-source.capacity_ms // 4)
        self._lock = threading.Lock()
        self._queue: deque[bytes | memoryview] = deque()
        self._received_samples = 0
        self._taken_samples = 0
        self._input_over = False
        """Nothing is taken into the queue any more: the bot has ended it, or has failed."""
        self._failure: SourceError | None = None
        self._closed = False
        self._frames_given = 0
        plain = source.sample_rate_hz == SAMPLE_RATE_HZ and source.channels <= CHANNELS
        self._cutter = None if plain else FrameCutter(block_frames=1)
        self._cutter_finished = False
        self.info: Final = _describe(source)
        self.kind: Final[MediaKind] = "opus" if source.format == "opus" else "pcm"
        self.skipped_packets = 0
        self.silenced_values = 0
        self.preroll_packets: Final[tuple[bytes, ...]] = ()
        self._granted_ms = source.capacity_ms
        on_credit(source.capacity_ms)

    @property
    def position_s(self) -> float:
        """Where in the stream the frame that was read last began."""
        return max(0, self._frames_given - 1) / FRAMES_PER_S

    @property
    def buffered_s(self) -> float:
        """How much audio waits in the queue, in seconds; never more than the capacity."""
        return (self._received_samples - self._taken_samples) / self._rate_hz

    # The control loop's side.

    def push(self, attachments: Sequence[bytes], *, ends: bool) -> None:
        """Take a message of the bot's. After the end, or a fault, nothing more is taken.

        Parameters
        ----------
        attachments
            PCM in whole samples, or one Opus packet each.
        ends
            Nothing comes after it.
        """
        samples, fault = self._measure(attachments)
        with self._lock:
            if self._input_over or self._closed:
                return
            if fault is None and (excess_ms := self._excess_ms(samples)) > 0:
                fault = SourceError(
                    ErrorCode.SOURCE_FAILED,
                    f"the bot pushed {excess_ms} ms more than the {self._granted_ms} ms it had credit for; "
                    "it is to wait for credit",
                )
            if fault is not None:
                self._failure, self._input_over = fault, True
                return
            self._received_samples += samples
            if self.kind == "opus":
                # What is too large is not kept, but leaves its place: credit is counted in packets.
                self._queue.extend(p if len(p) <= _MAX_PACKET_BYTES else b"" for p in attachments)
            else:
                self._queue.extend(memoryview(piece) for piece in attachments if piece)
            self._input_over = ends

    def close(self) -> None:
        """Drop what was not read. Calling it again does nothing."""
        with self._lock:
            self._closed = self._input_over = True
            self._queue.clear()
            self._taken_samples = self._received_samples

    # The encoder thread's side.

    def poll(self) -> Frame | NotYet | None:
        """Return the next 20 ms without waiting.

        Returns
        -------
        bytes or ndarray or NotYet or None
            An Opus packet, or float32 of shape ``(960, 2)``, which is the caller's to keep and to change.
            `NOT_YET` while the bot is late, None at the end. The last PCM frame is filled up with silence.

        Raises
        ------
        SourceError
            Once, after all audio before it: ``SOURCE_FAILED``, the bot sent what it must not.
        """
        if self._closed:
            return None
        frame: Frame | NotYet | None
        if self.kind == "opus":
            packets = self.take_packets(1)
            frame = packets[0] if packets else self._nothing()
        else:
            frame = self._poll_plain() if self._cutter is None else self._poll_cutter(self._cutter)
            if frame is not None and frame is not NOT_YET:
                self._frames_given += 1
        if frame is None:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
        return frame

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that are there already; always none of a PCM stream."""
        packets: list[bytes] = []
        if self.kind != "opus":
            return packets
        with self._lock:
            queue = self._queue
            while queue and len(packets) < most:
                packet = bytes(queue.popleft())
                self._taken_samples += FRAME_SAMPLES
                if is_one_tick(packet):
                    packets.append(packet)
                else:
                    self.skipped_packets += 1
        self._frames_given += len(packets)
        self._grant()
        return packets

    # How it is done.

    def _measure(self, attachments: Sequence[bytes]) -> tuple[int, SourceError | None]:
        """Return how many samples of one channel a message holds, or what is wrong with it."""
        if self.kind == "opus":
            return len(attachments) * FRAME_SAMPLES, None
        for piece in attachments:
            if len(piece) % self._sample_bytes:
                text = (
                    f"the bot pushed a piece of {len(piece)} bytes, which is no whole number of samples of "
                    f"{self._sample_bytes} bytes"
                )
                return 0, SourceError(ErrorCode.SOURCE_FAILED, text)
        return sum(map(len, attachments)) // self._sample_bytes, None

    def _excess_ms(self, samples: int) -> int:
        """Return by how much further samples go beyond the credit, rounded up; 0 or less if they do not."""
        excess = (self._received_samples + samples) * 1_000 - self._granted_ms * self._rate_hz
        return -(-excess // self._rate_hz)

    def _nothing(self) -> NotYet | None:
        """Return what `poll` answers when there is no frame."""
        with self._lock:
            # A message may have come since the queue was found empty: then it is not over yet.
            return None if self._input_over and not self._queue else NOT_YET

    def _poll_plain(self) -> PcmFrame | NotYet | None:
        data = self._take_bytes(least_samples=FRAME_SAMPLES, most_samples=FRAME_SAMPLES)
        if not data:
            return self._nothing()
        samples = self._samples(data)
        frame = np.empty((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
        filled = frame[: len(samples)]
        if samples.dtype == np.int16:
            np.multiply(samples, _INT16_SCALE, out=filled)
        else:
            filled[:] = samples
        frame[len(samples) :] = 0.0
        return frame

    def _poll_cutter(self, cutter: FrameCutter) -> PcmFrame | NotYet | None:
        while (frame := cutter.take()) is None:
            if self._cutter_finished:
                return None
            data = self._take_bytes(least_samples=1, most_samples=-(-self._rate_hz // FRAMES_PER_S))
            if data:
                cutter.push(self._av_frame(data))
                continue
            if self._nothing() is NOT_YET:
                return NOT_YET
            cutter.finish()
            self._cutter_finished = True
        return frame

    def _take_bytes(self, *, least_samples: int, most_samples: int) -> bytes | memoryview:
        """Take PCM out of the queue: nothing if there is less than `least_samples`, unless it is the end."""
        queue, parts = self._queue, []
        with self._lock:
            samples = self._received_samples - self._taken_samples
            if not queue or (samples < least_samples and not self._input_over):
                return b""
            samples = min(samples, most_samples)
            wanted_bytes = samples * self._sample_bytes
            while wanted_bytes:
                piece = queue.popleft()
                if len(piece) > wanted_bytes:
                    queue.appendleft(piece[wanted_bytes:])
                    piece = piece[:wanted_bytes]
                parts.append(piece)
                wanted_bytes -= len(piece)
            self._taken_samples += samples
        self._grant()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _grant(self) -> None:
        """Grant anew what was taken, once it is worth a message; none after the end."""
        taken_ms = self._taken_samples * 1_000 // self._rate_hz
        credit_ms = self._capacity_ms + taken_ms - self._granted_ms
        if credit_ms >= self._credit_step_ms and not self._input_over:
            # Counted first: the bot may use it before the call returns.
            self._granted_ms += credit_ms
            self._on_credit(credit_ms)

    def _samples(self, data: bytes | memoryview) -> npt.NDArray[np.int16] | npt.NDArray[np.float32]:
        """Return PCM as an array of shape (samples, channels), without what is no sound."""
        if self._format == "s16":
            return np.frombuffer(data, dtype=np.int16).reshape(-1, self._channels)
        floats = np.frombuffer(data, dtype=np.float32)
        # A comparison with NaN is false, so this finds all three at the cost of one look.
        if not np.abs(floats).max() <= _LOUDEST:
            sound = np.abs(floats) <= _LOUDEST
            self.silenced_values += len(floats) - int(np.count_nonzero(sound))
            floats = np.where(sound, floats, np.float32(0.0))
        return floats.reshape(-1, self._channels)

    def _av_frame(self, data: bytes | memoryview) -> AudioFrame:
        samples = self._samples(data)
        frame = AudioFrame.from_ndarray(
            samples.reshape(1, -1),
            format="s16" if samples.dtype == np.int16 else "flt",
            layout=_LAYOUTS.get(self._channels, f"{self._channels} channels"),
        )
        frame.sample_rate = self._rate_hz
        return frame


def _check(source: StreamSource) -> None:
    fault = None
    if source.format not in (*_ITEM_BYTES, "opus"):
        fault = f"format {source.format!r}; it must be s16, f32 or opus"
    elif source.sample_rate_hz not in _RATES_HZ:
        fault = f"{source.sample_rate_hz} Hz; it must be {_RATES_HZ[0]} to {_RATES_HZ[-1]} Hz"
    elif source.channels not in _CHANNEL_COUNTS:
        fault = f"{source.channels} channels; it must be {_CHANNEL_COUNTS[0]} to {_CHANNEL_COUNTS[-1]}"
    elif source.capacity_ms not in _CAPACITIES_MS:
        fault = f"{source.capacity_ms} ms capacity; it must be {_CAPACITIES_MS[0]} to {_CAPACITIES_MS[-1]} ms"
    elif source.format == "opus" and source.sample_rate_hz != SAMPLE_RATE_HZ:
        fault = f"Opus at {source.sample_rate_hz} Hz; its clock is always {SAMPLE_RATE_HZ} Hz (RFC 7587 §4.1)"
    if fault is not None:
        raise SourceError(ErrorCode.SOURCE_UNREADABLE, f"cannot play pushed audio of {fault}")


def _describe(source: StreamSource) -> MediaInfo:
    order = "le" if sys.byteorder == "little" else "be"
    return MediaInfo(
        title=None,
        artist=None,
        duration_s=None,
        codec="opus" if source.format == "opus" else f"{_ITEM_CODECS[source.format]}{order}",
        container="stream",
        sample_rate_hz=source.sample_rate_hz,
        channels=source.channels,
        live=True,
    )
