"""The packets of an open source: in order, with those that cannot be used counted, and why they end.

FFmpeg goes on behind damage and takes the end of a broken-off file for its end. `PacketSource` keeps the
account that tells one from the other: what was played, what was left out, what the header announced.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from math import floor
from typing import Final, Protocol

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.description import describe
from voicepool.workers.audio.faults import read_fault
from voicepool.workers.audio.location import Target
from voicepool.workers.audio.seeking import UnseekableError, latest_landing_s
from voicepool.workers.audio.truncation import announced_s, breaks_off, is_short
from voicepool.workers.errors import SourceError

__all__ = ["PacketSource", "Server"]

_MAX_BAD_PACKETS: Final = 100
"""So many in a row that cannot be read or decoded end the source."""

_BLIND: Final = frozenset({"matroska", "wav", "w64", "aiff", "au", "caf"})
"""Containers whose demuxers don't look whether the server went along, and read on in disorder."""


class Server(Protocol):
    """Where a URL comes from. Both methods block as opening does."""

    def reopen(self) -> tuple[InputContainer, AudioStream]:
        """Open the same source anew."""

    def sends_from_middle(self) -> bool:
        """Tell whether it can be asked for a part of the source."""


class PacketSource:
    """An open container and one audio stream of it.

    Parameters
    ----------
    container, stream, target
        Container and target are owned from now on.
    read_timeout_s
        How long a server may send nothing.
    server
        Where a URL comes from; `None` for files.

    Attributes
    ----------
    stream
        The stream that is read, which may be another after a `jump`.
    info
        What the source says of itself.
    first_pts
        Timestamp of the very first packet; `None` until it was read, or if it has none.
    skipped_packets
        Packets left out because they could not be read or decoded.
    played_s
        Where in the source the audio ends that was handed out; kept by who decodes.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        target: Target,
        *,
        read_timeout_s: float,
        server: Server | None,
    ) -> None:
        self._container = container
        self._server = server
        self.stream = stream
        self._target = target
        self._read_timeout_s = read_timeout_s
        self._announced_s = announced_s(container, stream, target.file)
        # Unknown is -1, and None from PyAV 19 on.
        self._open_ended = target.file is None and (container.size or -1) < 0
        self._demuxer = self._demux()
        self._put_back: Packet[AudioStream] | None = None
        self._last: Packet[AudioStream] | None = None
        self._last_bad = False
        self._bad_in_a_row = 0
        self._skipped_s = 0.0
        self._failure: SourceError | None = None
        self._just_jumped = False
        self._seekable: bool | None = None
        self._closed = False
        self.interrupted = False
        self.info: Final = describe(container, stream)
        self.first_pts: int | None = None
        self.skipped_packets = 0
        self.played_s = 0.0

    def next(self) -> Packet[AudioStream] | None:
        """Return the next packet; `None` at the end, and when reading failed or was interrupted."""
        if self._put_back is not None and not self.interrupted:
            packet, self._put_back = self._put_back, None
            return packet
        while self._failure is None and not self.interrupted and not self._closed:
            try:
                packet = next(self._demuxer)
            except StopIteration:
                return None
            except av.InvalidDataError:
                self.skip(None)
                self._demuxer = self._demux()
            except av.FFmpegError as error:
                if self._just_jumped and self._server is not None:
                    # FFmpeg has believed that the server went along.
                    self._start_over(self._server)
                elif error.errno == errno.EIO and self._open_ended:
                    # Where no length was announced, FFmpeg takes the end of the connection for an error.
                    return None
                else:
                    self._failure = read_fault(
                        error, self._target.name, timeout_s=self._read_timeout_s, played_s=self.played_s
                    )
            else:
                # PyAV ends with an empty packet per stream, meant to flush the decoder.
                if packet.size > 0:
                    return self._noted(packet)
        return None

    def put_back(self, packet: Packet[AudioStream]) -> None:
        """Have `next` return a packet again."""
        self._put_back = packet

    def skip(self, packet: Packet[AudioStream] | None) -> None:
        """Count a packet that is left out; `None` for one that could not even be read."""
        self.skipped_packets += 1
        self._bad_in_a_row += 1
        self._last_bad = True
        if packet is not None and packet.duration:
            self._skipped_s += float(packet.duration * packet.time_base)
        if self._bad_in_a_row >= _MAX_BAD_PACKETS:
            text = f"{self._target.name} is damaged: {_MAX_BAD_PACKETS} packets in a row could not be decoded"
            self._failure = SourceError(ErrorCode.SOURCE_FAILED, text, played_s=self.played_s)

    def accept(self) -> None:
        """Take note that the last packet was good."""
        self._last_bad = False
        self._bad_in_a_row = 0

    def jump(self, origin_pts: int, position_s: float) -> None:
        """Go to some packet at or before a position; what ended the source before is forgotten.

        Parameters
        ----------
        origin_pts
            Timestamp of the source's first sample.
        position_s
            Seconds from there; below 0 for the very start.

        Raises
        ------
        UnseekableError
            The source cannot do that; nothing has changed.
        SourceError
            The server cannot send from the middle, and does not answer anew.
        """
        if self._open_ended and self.info.duration_s is None:
            raise UnseekableError(self._target.name, "it is a live stream")
        assert self.stream.time_base is not None
        position_s = min(position_s, latest_landing_s(self.info, self._announced_s))
        pts = origin_pts if self.first_pts is None else self.first_pts
        if position_s > 0.0:
            pts = max(pts, origin_pts + floor(position_s / self.stream.time_base))
        if not self._go_to(pts):
            if self._server is None:
                raise UnseekableError(self._target.name, "FFmpeg finds no way to another position")
            self._start_over(self._server)
        self._put_back = self._last = self._failure = None
        self._skipped_s = 0.0
        self.accept()

    def verdict(self) -> SourceError | None:
        """Return why it ended, if that was too early. To be asked once `next` returned `None`."""
        return None if self.interrupted else self._failure or self._file_failure() or self._truncation()

    def close(self) -> None:
        """Release file and connection. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._put_back = self._last = None
        self._demuxer.close()
        self._container.close()
        # Closed, it still holds FFmpeg's contexts, 70 KiB. Who played it may be known for long after.
        del self._demuxer, self._container, self.stream
        self._target.close()

    def _noted(self, packet: Packet[AudioStream]) -> Packet[AudioStream]:
        self._just_jumped = False
        if self.first_pts is None:
            self.first_pts = packet.pts
        self._last = packet
        self._target.titles.look_at(packet)
        return packet

    def _go_to(self, pts: int) -> bool:
        if self._server is not None and self.info.container.partition(",")[0] in _BLIND:
            if self._seekable is None:
                self._seekable = self._server.sends_from_middle()
            if not self._seekable:
                return False
        # Before, not after: a generator at rest holds a timeout that goes on.
        self._demuxer.close()
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            return False
        finally:
            self._demuxer = self._demux()
        self._just_jumped = True
        return True

    def _start_over(self, server: Server) -> None:
        """Go to the start in a new connection: what cannot be skipped there is read over."""
        self._just_jumped = False
        container, self.stream = server.reopen()
        self._demuxer.close()
        self._container.close()
        self._container = container
        self._demuxer = self._demux()

    def _demux(self) -> Generator[Packet[AudioStream], None, None]:
        demuxer = self._container.demux(self.stream)
        assert isinstance(demuxer, Generator)
        return demuxer

    def _file_failure(self) -> SourceError | None:
        file = self._target.file
        if file is None or file.failure is None:
            return None
        text = f"reading {self._target.name} broke off after {self.played_s:.1f} s: {file.failure.strerror}"
        return SourceError(ErrorCode.SOURCE_FAILED, text, played_s=self.played_s)

    def _truncation(self) -> SourceError | None:
        file, last = self._target.file, self._last
        played_s = round(self.played_s, 3)
        if self.skipped_packets and not played_s:
            text = f"{self._target.name} is damaged: not one of its packets could be decoded"
            return SourceError(ErrorCode.SOURCE_FAILED, text)
        cut = self._last_bad or breaks_off(self._container, self.stream, file, last)
        if not is_short(played_s + self._skipped_s, self._announced_s, last_packet_bad=cut):
            return None
        if self._announced_s is None:
            text = f"{self._target.name} breaks off after {played_s:.1f} s, in the middle of its audio data"
            return SourceError(ErrorCode.SOURCE_TRUNCATED, text, played_s=played_s)
        announced = round(self._announced_s, 3)
        text = f"{self._target.name} ended after {played_s:.1f} s, but announces {announced:.1f} s"
        return SourceError(ErrorCode.SOURCE_TRUNCATED, text, played_s=played_s, announced_s=announced)
