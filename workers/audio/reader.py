"""Reading an open source to Opus packets or PCM, 20 ms at a time, from any position on."""

from __future__ import annotations

from collections import deque
from math import floor
from typing import Final, Literal, TypeAlias

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from voicepool.workers.audio.description import may_pass_through
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.location import Target
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import PREROLL_PACKETS, is_one_tick
from voicepool.workers.audio.packets import PacketSource, Server
from voicepool.workers.audio.seeking import (
    PREROLLS_S,
    Approach,
    SkippingCutter,
    checked_position,
    plan_seek,
)
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.sampling import DECODING

__all__ = ["Frame", "MediaKind", "MediaReader"]

Frame: TypeAlias = bytes | PcmFrame
"""20 ms: an Opus packet as it was in the file, or float32 PCM of shape ``(960, 2)``."""
MediaKind: TypeAlias = Literal["opus", "pcm"]


class MediaReader:
    """An open source. One thread at a time may use it, but for `interrupt`.

    A damaged packet is skipped and counted; 100 in a row end the source with ``SOURCE_FAILED``.

    Attributes
    ----------
    info
        What the source says of itself.
    kind
        ``"opus"`` while `read` returns packets that can be sent untouched: an Opus source whose packets
        play for 20 ms each. Should a packet of another length turn up, the rest of the source is decoded and
        `kind` becomes ``"pcm"``, so look at what `read` returned rather than at `kind`.
    preroll_packets
        After a `seek` in such a source, the packets before the next, four if there are so many: a decoder
        that begins there is to be given them first.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        target: Target,
        *,
        read_timeout_s: float,
        server: Server | None = None,
    ) -> None:
        self._target = target
        self._packets = PacketSource(container, stream, target, read_timeout_s=read_timeout_s, server=server)
        self._cutter = SkippingCutter()
        self._approach: Approach | None = None
        self._origin_pts: int | None = None
        self._rate_hz = 0
        self._recent: deque[Packet[AudioStream]] = deque(maxlen=PREROLL_PACKETS)
        self._ahead: deque[bytes] = deque()
        # The first read after a pause is the dear one (cold caches: 6 µs a packet against 2), so a file is
        # read a second at a time. From the network, what has come is not to wait for what has not.
        self._packets_at_once = FRAMES_PER_S if target.file is not None else 1
        self._start_s = 0.0
        self._frames_read = 0
        self._input_ended = False
        self._ended = False
        self._closed = False
        self.info: Final = self._packets.info
        self.preroll_packets: tuple[bytes, ...] = ()
        self.kind: MediaKind = "pcm"
        if stream.codec.canonical_name == "opus" and may_pass_through(stream.codec_context.extradata):
            first = self._packets.next()
            if first is not None:
                self._packets.put_back(first)
                if is_one_tick(bytes(first)):
                    self.kind = "opus"
        self._passes_through = self.kind == "opus"

    @property
    def skipped_packets(self) -> int:
        """Packets left out because they could not be read or decoded."""
        return self._packets.skipped_packets

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was read last began; before that, where the first will."""
        return self._start_s + max(0, self._frames_read - 1) / FRAMES_PER_S

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind the source's end, of 960 samples."""
        return self._cutter.padding_samples if self.kind == "pcm" else 0

    def read(self) -> Frame | None:
        """Return the next 20 ms.

        Returns
        -------
        Frame | None
            `None` at the end. An array is the caller's to keep and to change.

        Raises
        ------
        SourceError
            Once, after all audio that could be had: ``SOURCE_TRUNCATED``, ``SOURCE_TIMEOUT`` or
            ``SOURCE_FAILED``. Later calls return `None`.
        """
        frame = self._read_opus() if self.kind == "opus" else self._read_pcm()
        if frame is not None:
            self._frames_read += 1
        return frame

    poll = read
    """The same under the name that `ReadAhead` has too."""

    def take_packets(self, most: int) -> list[bytes]:
        """Return up to `most` Opus packets that can be sent untouched; none if what comes next is none."""
        if self.kind != "opus":
            return []
        ahead = self._ahead
        if self._packets.interrupted:
            ahead.clear()
        elif not ahead:
            self._read_packets()
        taken = [ahead.popleft() for _ in range(min(most, len(ahead)))]
        self._frames_read += len(taken)
        return taken

    def take_titles(self) -> list[TitleChange]:
        """Return what a stream has said since the last call of what is heard."""
        return self._target.titles.take(self.position_s)

    def seek(self, position_s: float) -> float:
        """Go to a position, from which on `read` returns frames; also after the end, and after an error.

        PCM begins with exactly the sample ``round(position_s * 48000)`` of the decoded source (`seeking` says
        how exact timestamps are), Opus packets with the one that holds the position. Behind the end there is
        nothing more to read, which is no error. It blocks for some milliseconds; for a URL as long as the
        server takes to answer anew, for each connection at most the longer of its two timeouts. If the server
        cannot send from the middle, it is read from its start once more.

        Parameters
        ----------
        position_s
            Seconds from the start, 0 or more.

        Returns
        -------
        float
            Where it is now: `position_s`, for Opus packets up to 20 ms less.

        Raises
        ------
        UnseekableError
            It is a live stream; `read` goes on as if not asked.
        SourceError
            A URL whose server cannot send from the middle was to be read anew, which failed.
        ValueError
            The position is below 0 or not finite.
        """
        checked_position(position_s)
        if self._closed or self._packets.interrupted:
            return position_s
        skipped = self._packets.skipped_packets
        if self._passes_through:
            position_s = self._seek_packet(position_s)
        else:
            self._seek_sample(position_s)
        # What a decoder cannot make of packets that lean on some before them is no damage.
        self._packets.skipped_packets = skipped
        self._packets.accept()
        self._start_s = position_s
        self._frames_read = 0
        return position_s

    def interrupt(self) -> None:
        """Have `read` end soon; may be called from any thread.

        What blocks inside FFmpeg at that moment ends with `read_timeout_s` at the latest.
        """
        self._packets.interrupted = True
        self._target.interrupt()

    def close(self) -> None:
        """Release file, connection and decoder. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = self._ended = True
        self._recent.clear()
        self._ahead.clear()
        self._cutter = SkippingCutter()
        self._packets.close()

    def _seek_packet(self, position_s: float) -> float:
        """Go to the packet of 20 ms that holds a position; return where that begins."""
        # The smallest float error must not send a multiple of 20 ms to the packet before.
        wanted = floor(position_s * FRAMES_PER_S + 1e-6)
        found = None
        number = -1
        for preroll_s in PREROLLS_S:
            self._jump(self._packets.first_pts or 0, wanted / FRAMES_PER_S - preroll_s)
            self.kind = "opus"
            while (found := self._packets.next()) is not None:
                number = number + 1 if found.pts is None else self._packet_number(found.pts)
                if number >= wanted:
                    self._packets.put_back(found)
                    break
                self._recent.append(found)
            if found is None or len(self._recent) >= min(PREROLL_PACKETS, wanted):
                break
        self.preroll_packets = tuple(bytes(packet) for packet in self._recent)
        self._packets.played_s = (number + 1 if found is None else wanted) / FRAMES_PER_S
        return wanted / FRAMES_PER_S

    def _packet_number(self, pts: int) -> int:
        assert self._packets.stream.time_base is not None
        return round((pts - (self._packets.first_pts or 0)) * self._packets.stream.time_base * FRAMES_PER_S)

    def _seek_sample(self, position_s: float) -> None:
        """Go to a sample of the decoded source."""
        while self._origin_pts is None and not self._input_ended:
            self._advance()
        if self._origin_pts is None:
            # There is no audio in it at all.
            return
        assert self._packets.stream.time_base is not None
        plan = plan_seek(position_s, self._rate_hz)
        for preroll_s in PREROLLS_S:
            self._jump(self._origin_pts, plan.begin_s - preroll_s)
            self._cutter = SkippingCutter(plan.skip_samples)
            self._approach = approach = Approach(
                plan,
                origin_pts=self._origin_pts,
                time_base=self._packets.stream.time_base,
                from_start=plan.begin_s <= preroll_s,
            )
            while approach.landed is None and not approach.late and not self._input_ended:
                self._advance()
            if not approach.late:
                break
        self._approach = None
        if approach.landed is not None or approach.reached_s is None:
            self._packets.played_s = position_s
        else:
            self._packets.played_s = approach.reached_s

    def _jump(self, origin_pts: int, position_s: float) -> None:
        self._packets.jump(origin_pts, position_s)
        self._recent.clear()
        self._ahead.clear()
        self._ended = self._input_ended = False

    def _read_opus(self) -> Frame | None:
        if self._packets.interrupted:
            self._ahead.clear()
        elif not self._ahead:
            self._read_packets()
        if self._ahead:
            return self._ahead.popleft()
        packet = self._packets.next()
        if packet is None:
            self._end()
            return None
        self.kind = "pcm"
        for earlier in self._recent:
            self._packets.stream.codec_context.decode(earlier)
        self._recent.clear()
        self._decode(packet)
        return self._read_pcm()

    def _read_packets(self) -> None:
        """Read packets that can be sent untouched, until there are enough, or one that can not."""
        for _ in range(self._packets_at_once):
            packet = self._packets.next()
            if packet is None:
                return
            data = bytes(packet)
            if not is_one_tick(data):
                # It waits until all before it have been handed out.
                self._packets.put_back(packet)
                return
            self._packets.played_s += 1 / FRAMES_PER_S
            self._packets.accept()
            self._recent.append(packet)
            self._ahead.append(data)

    def _read_pcm(self) -> PcmFrame | None:
        while (frame := self._cutter.take()) is None:
            if self._ended or self._input_ended:
                self._end()
                return None
            self._advance()
        return frame

    def _advance(self) -> None:
        packet = self._packets.next()
        self._decode(packet)
        if packet is None:
            self._cutter.finish()
            self._input_ended = True

    def _decode(self, packet: Packet[AudioStream] | None) -> None:
        """Decode a packet, or what the decoder still holds, into the cutter."""
        context = self._packets.stream.codec_context
        begun_ns = DECODING.begin()
        try:
            for frame in context.decode(packet):
                self._take(frame)
        except (av.FFmpegError, ValueError) as error:
            # From PyAV 19 on, a decoder that could not be opened has no codec when it is asked again.
            if context.is_open and not isinstance(error, av.FFmpegError):
                raise
            if packet is not None:
                self._packets.skip(packet)
            return
        finally:
            if begun_ns:
                DECODING.end(begun_ns)
        if packet is not None:
            self._packets.accept()

    def _take(self, frame: AudioFrame) -> None:
        if self._origin_pts is None:
            self._origin_pts, self._rate_hz = frame.pts or 0, frame.sample_rate
        approach = self._approach
        if approach is not None and approach.landed is None:
            wanted = None if approach.late else approach.take(frame)
            if wanted is None:
                return
            frame = wanted
        self._packets.played_s += frame.samples / frame.sample_rate
        self._cutter.push(frame)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        failure = self._packets.verdict()
        if failure is not None:
            raise failure
