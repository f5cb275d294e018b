"""Which readers stand behind one another for a source, and where the outermost begins.

====================  ==================================================================
a file, bytes         `MediaReader`
silence               `SilenceReader`
a recording's URL     `MediaReader` < `Resuming` < `ReadAhead`
a broadcast's URL     `MediaReader` < `Reconnecting` < `ReadAhead`, which may drop the oldest
====================  ==================================================================

A `Region` comes next to the reader that can seek, only where a part is played or repeated: an untouched file
has nothing around it. All here blocks, and belongs on a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import path
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import av

from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo as WireInfo
from voicepool.ipc.sources import BytesSource, FileSource, SilenceSource, UrlSource
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.readahead import PolledReader, ReadAhead, Reader
from voicepool.workers.audio.reconnecting import Reconnecting
from voicepool.workers.audio.region import Region, SeekableReader
from voicepool.workers.audio.resuming import Resuming
from voicepool.workers.audio.seeking import UnseekableError, checked_position
from voicepool.workers.audio.silence import SilenceReader
from voicepool.workers.errors import SourceError

__all__ = ["Assembler", "ConcreteSource", "OpenedTrack", "wire_info"]

_BROADCAST_ATTEMPTS: Final = 30
"""With at most 10 s between them: a broadcast may be away for some five minutes."""

ConcreteSource: TypeAlias = FileSource | UrlSource | BytesSource | SilenceSource


class _Inner(SeekableReader, PolledReader, Protocol):
    """What a region can be made of, or is read as it is."""


class _Outer(Reader, PolledReader, Protocol):
    """One of those, or a region."""


@dataclass(frozen=True, slots=True)
class OpenedTrack:
    """A source that is open, at the place where it is to begin.

    Attributes
    ----------
    reader
        What the encoder thread reads from.
    info
        What the source says of itself, as it goes over the wire.
    source
        What was opened: of a resolver, what it found. To be opened again for a seek.
    begins_s
        Where in the source the first frame is, in seconds.
    """

    reader: PolledReader
    info: WireInfo
    source: ConcreteSource
    begins_s: float

    def close(self) -> None:
        """Release the source. Does not wait."""
        self.reader.close()


@dataclass(frozen=True, slots=True)
class Assembler:
    """Opens sources.

    Parameters
    ----------
    open_timeout_s, read_timeout_s
        How long a server may take to answer, and to send the next bytes.
    read_ahead_s
        How much of a URL to hold ahead.
    ca_file
        Certificates to trust for https; `None` takes the system's.
    """

    open_timeout_s: float
    read_timeout_s: float
    read_ahead_s: float
    ca_file: str | None = None

    def open(
        self,
        source: ConcreteSource,
        options: TrackOptions,
        attachments: Sequence[bytes],
        *,
        position_s: float | None,
    ) -> OpenedTrack:
        """Open a source at its place.

        Parameters
        ----------
        source, attachments
            What to open, and the bytes of a `BytesSource` as the first attachment.
        options
            Of these, `start_s`, `end_s` and `repeats` count here.
        position_s
            Where the first round begins; `None` at its start. Before the start it is the start, and behind
            the end there is nothing left of the round.

        Raises
        ------
        SourceError
            It cannot be played; ``UNSEEKABLE`` if only from another place than asked for.
        """
        try:
            part = _Part.of(source, options, position_s)
            reader = self._reader(source, attachments)
            try:
                return self._assembled(part, reader, attachments)
            except BaseException:
                reader.close()
                raise
        except av.FFmpegError:
            # Some of them are a ValueError too, with the whole URL in their text.
            raise
        except ValueError as error:
            raise SourceError(ErrorCode.SOURCE_REFUSED, f"{_name(source)}: {error}") from None

    def _assembled(self, part: _Part, reader: _Inner, attachments: Sequence[bytes]) -> OpenedTrack:
        source = part.source
        outer: _Outer = reader
        if not part.is_whole:
            outer = Region(
                reader,
                start_s=part.start_s,
                end_s=part.end_s,
                repeats=part.repeats,
                reopen=lambda: self._reader(source, attachments),
            )
        reads_over = part.begin(outer)
        info = wire_info(reader.info, passthrough=reader.kind == "opus", live=part.is_live)
        polled: PolledReader
        begins_s = outer.position_s
        if isinstance(source, UrlSource):
            latency_s = source.max_latency_s if source.live else None
            capacity_s = self.read_ahead_s if latency_s is None else latency_s
            polled = ReadAhead(outer, capacity_s=capacity_s, live=latency_s is not None)
        elif reads_over:
            # Decoding up to the start, again in each round, takes longer than the encoder thread may.
            polled = ReadAhead(outer, capacity_s=self.read_ahead_s)
        else:
            polled = outer
        return OpenedTrack(polled, info, source, begins_s)

    def _reader(self, source: ConcreteSource, attachments: Sequence[bytes]) -> _Inner:
        match source:
            case FileSource(name):
                # Absolute, so that no name of a file can be taken for a URL.
                return self._local(path.abspath(name))  # noqa: PTH100  # a name may hold what Path would fold
            case BytesSource():
                return self._local(attachments[0])
            case SilenceSource(duration_s):
                return SilenceReader(duration_s)
            case UrlSource(live=True):
                return Reconnecting(
                    self._url(source), reopen=lambda: self._url(source), attempts=_BROADCAST_ATTEMPTS
                )
            case UrlSource():
                return Resuming(self._url(source), reopen=lambda: self._url(source))

    def _url(self, source: UrlSource) -> MediaReader:
        return open_media(
            source.url,
            open_timeout_s=self.open_timeout_s,
            read_timeout_s=self.read_timeout_s,
            ca_file=self.ca_file,
            headers=source.headers,
            public_only=source.public_only,
            live=source.live,
        )

    def _local(self, location: str | bytes) -> MediaReader:
        return open_media(location, open_timeout_s=self.open_timeout_s, read_timeout_s=self.read_timeout_s)


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a source is to be played."""

    source: ConcreteSource
    start_s: float
    end_s: float | None
    repeats: int | None
    wanted_s: float
    """Where the first round begins."""

    @classmethod
    def of(cls, source: ConcreteSource, options: TrackOptions, position_s: float | None) -> _Part:
        start_s = checked_position(options.start_s)
        wanted_s = max(start_s, checked_position(position_s or 0.0))
        part = cls(source, start_s, options.end_s, options.repeats, wanted_s)
        if part.is_live and wanted_s > 0.0:
            raise _unseekable(source, wanted_s, "it is a broadcast, of which there is only what is sent now")
        if part.is_live and options.repeats != 0:
            text = f"{_name(source)} cannot be played again: it is a broadcast; play it without a loop"
            raise SourceError(ErrorCode.UNSEEKABLE, text)
        return part

    @property
    def is_whole(self) -> bool:
        return self.start_s == 0.0 and self.end_s is None and self.repeats == 0

    @property
    def is_live(self) -> bool:
        return isinstance(self.source, UrlSource) and self.source.live

    def begin(self, reader: Reader) -> bool:
        """Send a reader to where the first round begins; tell whether it has to read up to there instead."""
        if self.wanted_s == 0.0:
            return False
        try:
            reader.seek(self.wanted_s)
        except UnseekableError:
            if self.wanted_s > self.start_s:
                reason = "it has no length, or its server sends it from the start only"
                raise _unseekable(self.source, self.wanted_s, reason) from None
            return True
        return False


def _unseekable(source: ConcreteSource, wanted_s: float, reason: str) -> SourceError:
    text = f"{_name(source)} cannot be played from {wanted_s:g} s on: {reason}; play it from its start"
    return SourceError(ErrorCode.UNSEEKABLE, text)


def _name(source: ConcreteSource) -> str:
    """Return what to call a source in an error: of a URL, what cannot be secret."""
    match source:
        case FileSource(name):
            return name
        case UrlSource(url):
            parts = urlsplit(url)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        case BytesSource(size_bytes):
            return f"the {size_bytes} bytes in memory"
        case SilenceSource():
            return "silence"


def wire_info(info: MediaInfo, *, passthrough: bool, live: bool) -> WireInfo:
    """Return what a source says of itself, as it goes over the wire.

    Parameters
    ----------
    info
        What its reader says.
    passthrough
        Whether its Opus packets can be sent as they are.
    live
        Whether it is known to be live, whatever it says.
    """
    return WireInfo(
        codec=info.codec,
        container=info.container,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        duration_s=info.duration_s,
        title=info.title,
        artist=info.artist,
        passthrough=passthrough,
        live=live or info.live,
        tags=info.tags,
    )
