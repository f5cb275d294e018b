"""Reading a source: a file, a URL or bytes in memory, to Opus packets or PCM, 20 ms at a time.

`open_media` and the reads of a URL block; files and memory do not wait for anyone. FFmpeg's libraries are
used in this process (PyAV), which lets the other threads run while it works. There is no child process that
could be left behind.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.faults import captured_log, open_fault, read_fault
from voicepool.workers.audio.frame import CHANNELS, FRAMES_PER_S
from voicepool.workers.audio.location import Target, locate
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import is_one_tick
from voicepool.workers.audio.resample import FrameCutter
from voicepool.workers.audio.truncation import announced_s, breaks_off, is_short
from voicepool.workers.errors import SourceError

__all__ = ["Frame", "MediaInfo", "MediaKind", "MediaReader", "open_media"]

Frame: TypeAlias = bytes | PcmFrame
"""20 ms: an Opus packet as it was in the file, or float32 PCM of shape ``(960, 2)``."""
MediaKind: TypeAlias = Literal["opus", "pcm"]

_MAX_BAD_PACKETS: Final = 100
"""So many in a row that cannot be read or decoded end the source."""
_PREROLL_PACKETS: Final = 4
"""A decoder that starts in mid-stream needs 80 ms to converge (RFC 7845 §4.6)."""
_BUFFER_BYTES: Final = 65_536
_MAX_TAG_CHARACTERS: Final = 300
_OPUS_HEAD_BYTES: Final = 19


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a source says of itself.

    Attributes
    ----------
    title, artist
        From its tags, at most 300 characters; `None` if it has none.
    duration_s
        Length in seconds, which may be an estimate; `None` for streams without end.
    codec, container
        In FFmpeg's words, for example ``"vorbis"`` and ``"ogg"``.
    sample_rate_hz, channels
        Of the source, not of what is read.
    """

    title: str | None
    artist: str | None
    duration_s: float | None
    codec: str
    container: str
    sample_rate_hz: int
    channels: int


def open_media(
    location: str | bytes | bytearray | memoryview,
    *,
    open_timeout_s: float,
    read_timeout_s: float,
    ca_file: str | None = None,
) -> MediaReader:
    """Open a source. Blocks: call it on a thread.

    Parameters
    ----------
    location
        A path, a http or https URL, or the bytes of a whole file.
    open_timeout_s
        How long a server may take to answer, and again to send enough to recognise the audio. Resolving
        its name is up to the system's resolver, which has its own timeout.
    read_timeout_s
        How long a server may send nothing while it is read.
    ca_file
        Certificates to trust for https; `None` takes ``SSL_CERT_FILE`` or the system's.

    Returns
    -------
    MediaReader
        To be closed by the caller.

    Raises
    ------
    SourceError
        It cannot be played; the code says why, the text names it.
    """
    target = locate(location, ca_file=ca_file)
    try:
        return _open_target(target, open_timeout_s, read_timeout_s)
    except BaseException:
        target.close()
        raise


def _open_target(target: Target, open_timeout_s: float, read_timeout_s: float) -> MediaReader:
    try:
        with captured_log() as log:
            container = av.open(
                target.source,
                mode="r",
                options=target.options,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
                timeout=(open_timeout_s, read_timeout_s) if target.file is None else None,
            )
    except av.FFmpegError as error:
        # From None: PyAV's own text has the whole URL in it.
        raise open_fault(error, target.name, log, timeout_s=open_timeout_s) from None
    try:
        return MediaReader(container, _audio_stream(container, target), target, read_timeout_s=read_timeout_s)
    except BaseException:
        container.close()
        raise


def _audio_stream(container: InputContainer, target: Target) -> AudioStream:
    stream = container.streams.best("audio")
    # PyAV leaves the context out where FFmpeg has no decoder, which its annotations do not say.
    if isinstance(stream, AudioStream) and getattr(stream, "codec_context", None) is not None:
        return stream
    text = f"{target.name} holds no audio that FFmpeg can decode"
    raise SourceError(ErrorCode.SOURCE_UNREADABLE, text)


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
    skipped_packets
        Packets left out because they could not be read or decoded.
    """

    def __init__(
        self, container: InputContainer, stream: AudioStream, target: Target, *, read_timeout_s: float
    ) -> None:
        self._container = container
        self._stream = stream
        self._codec = stream.codec_context
        # The worker has one core for all its calls; more threads would only be in each other's way.
        self._codec.thread_count = 1
        self._target = target
        self._read_timeout_s = read_timeout_s
        self._announced_s = announced_s(container, stream, target.file)
        self._open_ended = target.file is None and container.size < 0
        self._demuxer = self._demux()
        self._cutter = FrameCutter()
        self._recent: deque[Packet[AudioStream]] = deque(maxlen=_PREROLL_PACKETS)
        self._ahead: deque[bytes] = deque()
        # The first read after a pause is the dear one (cold caches: 6 µs a packet against 2), so a file is
        # read a second at a time. From the network, what has come is not to wait for what has not.
        self._packets_at_once = FRAMES_PER_S if target.file is not None else 1
        self._last: Packet[AudioStream] | None = None
        self._last_bad = False
        self._bad_in_a_row = 0
        self._played_s = 0.0
        self._skipped_s = 0.0
        self._failure: SourceError | None = None
        self._input_ended = False
        self._interrupted = False
        self._ended = False
        self._closed = False
        self.skipped_packets = 0
        self.info: Final = _info(container, stream)
        self._peeked: Packet[AudioStream] | None = None
        self.kind: MediaKind = "pcm"
        if stream.codec.canonical_name == "opus" and _may_pass_through(self._codec.extradata):
            self._peeked = self._next_packet()
            if self._peeked is not None and is_one_tick(bytes(self._peeked)):
                self.kind = "opus"

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
        if self.kind == "opus":
            return self._read_opus()
        return self._read_pcm()

    poll = read
    """The same under the name that `ReadAhead` has too."""

    def interrupt(self) -> None:
        """Have `read` end soon; may be called from any thread.

        What blocks inside FFmpeg at that moment ends with `read_timeout_s` at the latest.
        """
        self._interrupted = True

    def close(self) -> None:
        """Release file, connection and decoder. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = self._ended = True
        self._recent.clear()
        self._ahead.clear()
        self._peeked = self._last = None
        self._cutter = FrameCutter()
        self._demuxer.close()
        self._container.close()
        self._target.close()

    def _read_opus(self) -> Frame | None:
        if self._interrupted:
            self._ahead.clear()
        elif not self._ahead:
            self._read_packets()
        if self._ahead:
            return self._ahead.popleft()
        packet = self._next_packet()
        if packet is None:
            self._end()
            return None
        self.kind = "pcm"
        for earlier in self._recent:
            self._codec.decode(earlier)
        self._recent.clear()
        self._decode(packet)
        return self._read_pcm()

    def _read_packets(self) -> None:
        """Read packets that can be sent untouched, until there are enough, or one that can not."""
        for _ in range(self._packets_at_once):
            packet = self._next_packet()
            if packet is None:
                return
            data = bytes(packet)
            if not is_one_tick(data):
                # It waits until all before it have been handed out.
                self._peeked = packet
                return
            self._played_s += 1 / FRAMES_PER_S
            self._last_bad = False
            self._bad_in_a_row = 0
            self._recent.append(packet)
            self._ahead.append(data)

    def _read_pcm(self) -> PcmFrame | None:
        while (frame := self._cutter.take()) is None:
            if self._ended or self._input_ended:
                self._end()
                return None
            packet = self._next_packet()
            if packet is None:
                self._decode(None)
                self._cutter.finish()
                self._input_ended = True
            else:
                self._decode(packet)
        return frame

    def _demux(self) -> Generator[Packet[AudioStream], None, None]:
        demuxer = self._container.demux(self._stream)
        assert isinstance(demuxer, Generator)
        return demuxer

    def _next_packet(self) -> Packet[AudioStream] | None:
        """Return the next packet; `None` at the end, and when reading failed or was interrupted."""
        if self._peeked is not None:
            packet, self._peeked = self._peeked, None
            return packet
        while self._failure is None and not self._interrupted and not self._closed:
            try:
                packet = next(self._demuxer)
            except StopIteration:
                return None
            except av.InvalidDataError:
                self._skip(None)
                self._demuxer = self._demux()
            except av.FFmpegError as error:
                if self._open_ended and error.errno == errno.EIO:
                    # Where no length was announced, FFmpeg takes the end of the connection for an error.
                    return None
                self._failure = read_fault(
                    error, self._target.name, timeout_s=self._read_timeout_s, played_s=self._played_s
                )
            else:
                # PyAV ends with an empty packet per stream, meant to flush the decoder.
                if packet.size > 0:
                    self._last = packet
                    return packet
        return None

    def _decode(self, packet: Packet[AudioStream] | None) -> None:
        """Decode a packet, or what the decoder still holds, into the cutter."""
        try:
            frames = self._codec.decode(packet)
            for frame in frames:
                self._played_s += frame.samples / frame.sample_rate
                self._cutter.push(frame)
        except av.FFmpegError:
            if packet is not None:
                self._skip(packet)
            return
        if packet is not None:
            self._last_bad = False
            self._bad_in_a_row = 0

    def _skip(self, packet: Packet[AudioStream] | None) -> None:
        self.skipped_packets += 1
        self._bad_in_a_row += 1
        self._last_bad = True
        if packet is not None and packet.duration:
            self._skipped_s += float(packet.duration * packet.time_base)
        if self._bad_in_a_row >= _MAX_BAD_PACKETS:
            text = f"{self._target.name} is damaged: {_MAX_BAD_PACKETS} packets in a row could not be decoded"
            self._failure = SourceError(ErrorCode.SOURCE_FAILED, text, played_s=self._played_s)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._interrupted:
            return
        failure = self._failure or self._file_failure() or self._truncation()
        if failure is not None:
            raise failure

    def _file_failure(self) -> SourceError | None:
        file = self._target.file
        if file is None or file.failure is None:
            return None
        text = f"reading {self._target.name} broke off after {self._played_s:.1f} s: {file.failure.strerror}"
        return SourceError(ErrorCode.SOURCE_FAILED, text, played_s=self._played_s)

    def _truncation(self) -> SourceError | None:
        file, last = self._target.file, self._last
        played_s = round(self._played_s, 3)
        if self.skipped_packets and not played_s:
            text = f"{self._target.name} is damaged: not one of its packets could be decoded"
            return SourceError(ErrorCode.SOURCE_FAILED, text)
        cut = self._last_bad or breaks_off(self._container, self._stream, file, last)
        if not is_short(played_s + self._skipped_s, self._announced_s, last_packet_bad=cut):
            return None
        if self._announced_s is None:
            text = f"{self._target.name} breaks off after {played_s:.1f} s, in the middle of its audio data"
            return SourceError(ErrorCode.SOURCE_TRUNCATED, text, played_s=played_s)
        announced = round(self._announced_s, 3)
        text = f"{self._target.name} ended after {played_s:.1f} s, but announces {announced:.1f} s"
        return SourceError(ErrorCode.SOURCE_TRUNCATED, text, played_s=played_s, announced_s=announced)


def _may_pass_through(head: bytes | None) -> bool:
    """Tell whether an Opus stream is one plain stream at its own level (RFC 7845 §5.1).

    Surround sound is several streams in a packet, and a gain in the header is the decoder's to apply.
    """
    if head is None or len(head) < _OPUS_HEAD_BYTES:
        return False
    channels, gain, mapping_family = head[9], head[16:18], head[18]
    return channels <= CHANNELS and gain == b"\x00\x00" and mapping_family == 0


def _info(container: InputContainer, stream: AudioStream) -> MediaInfo:
    # Ogg has its tags on the stream, most others on the container.
    tags = {key.lower(): value for key, value in [*stream.metadata.items(), *container.metadata.items()]}
    duration_s = None
    if container.duration is not None:
        duration_s = container.duration / av.time_base
    elif stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    return MediaInfo(
        title=tags.get("title", "")[:_MAX_TAG_CHARACTERS] or None,
        artist=tags.get("artist", "")[:_MAX_TAG_CHARACTERS] or None,
        duration_s=duration_s,
        codec=stream.codec.canonical_name,
        container=container.format.name,
        sample_rate_hz=stream.codec_context.sample_rate,
        channels=stream.codec_context.channels,
    )
