"""Opening a source: a file, a URL or bytes in memory.

`open_media` and the reads of a URL block; files and memory do not wait for anyone. FFmpeg's libraries are
used in this process (PyAV), which lets the other threads run while it works. There is no child process that
could be left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.faults import captured_log, open_fault
from voicepool.workers.audio.http_file import HttpClient, HttpFile
from voicepool.workers.audio.location import SourceFile, Target, locate
from voicepool.workers.audio.playlist import PlaylistParts, is_playlist
from voicepool.workers.audio.reader import Frame, MediaKind, MediaReader
from voicepool.workers.errors import SourceError

__all__ = ["Frame", "MediaInfo", "MediaKind", "MediaReader", "open_media"]

_BUFFER_BYTES: Final = 65_536
_PLAYLIST_PATIENCE_S: Final = 30.0
"""Added to the read timeout: segments of a broadcast are 2 to 10 s long, and the next may come late."""

_KEEPS_TAGS: Final = int(av.__version__.partition(".")[0]) >= 19  # noqa: PLR2004  # since that version
"""Whether PyAV takes tags that are no UTF-8 by itself, and has no parameter for it any more."""
_TAGS: Final[dict[str, Any]] = {} if _KEEPS_TAGS else {"metadata_errors": "replace"}


def open_media(
    location: str | bytes | bytearray | memoryview,
    *,
    open_timeout_s: float,
    read_timeout_s: float,
    ca_file: str | None = None,
    headers: Mapping[str, str] | None = None,
    public_only: bool = False,
    live: bool = False,
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
    headers
        HTTP headers to send to a URL; `locate` says which of them other hosts get.
    public_only
        Refuse a URL that leads to a private address: for those that the bot's users write. `addresses` says
        what that covers.
    live
        Whether a URL is a broadcast: it is read as it comes, and its titles are noted (`titles`). A URL that
        is none by this word but turns out to be a station with titles is read in the same way, at the price
        of one more connection.

    Returns
    -------
    MediaReader
        To be closed by the caller.

    Raises
    ------
    SourceError
        It cannot be played; the code says why, the text names it.
    ValueError
        A header cannot be sent.
    """

    def find(*, live: bool) -> Target:
        return locate(
            location,
            ca_file=ca_file,
            headers=headers,
            public_only=public_only,
            live=live,
            open_timeout_s=open_timeout_s,
            read_timeout_s=read_timeout_s,
        )

    target = find(live=live)
    reader = _open_target(target, open_timeout_s, read_timeout_s)
    if target.file is not None or target.client is not None or not _may_have_titles(reader.info):
        return reader
    try:
        station = _open_target(find(live=True), open_timeout_s, read_timeout_s, only_with_titles=True)
    except SourceError:
        # It may let nobody in twice, or has no titles; either way there is a reader.
        return reader
    except BaseException:
        reader.close()
        raise
    reader.close()
    return station


def _may_have_titles(info: MediaInfo) -> bool:
    """Tell whether it may be a station with titles between its bytes; Ogg has them in its own way."""
    return info.live and info.container not in {"hls", "ogg"}


def _open_target(
    target: Target, open_timeout_s: float, read_timeout_s: float, *, only_with_titles: bool = False
) -> MediaReader:
    try:
        return _reader(target, open_timeout_s, read_timeout_s, only_with_titles=only_with_titles)
    except BaseException:
        target.close()
        raise


def _reader(
    target: Target, open_timeout_s: float, read_timeout_s: float, *, only_with_titles: bool
) -> MediaReader:
    server: _Server | _OwnServer | None = None
    if target.client is not None:
        server = _OwnServer(
            target, target.client, (open_timeout_s, read_timeout_s), only_with_titles=only_with_titles
        )
    elif target.file is None:
        server = _Server(target, open_timeout_s, read_timeout_s)
    if server is None:
        container, stream = _open_container(target, target.source, target.options)
    else:
        container, stream = server.reopen()
    try:
        return MediaReader(container, stream, target, read_timeout_s=read_timeout_s, server=server)
    except BaseException:
        container.close()
        raise


class _Server:
    """The server of a URL that FFmpeg fetches, to be asked again."""

    def __init__(self, target: Target, open_timeout_s: float, read_timeout_s: float) -> None:
        self._target = target
        self._timeout_s = (open_timeout_s, read_timeout_s)
        # PyAV's own timeouts do not watch over a seek, which may make a new connection.
        self._options = target.options | {"rw_timeout": str(round(max(self._timeout_s) * 1_000_000))}

    def reopen(self) -> tuple[InputContainer, AudioStream]:
        return _open_container(self._target, self._target.source, self._options, timeout_s=self._timeout_s)

    def sends_from_middle(self) -> bool:
        # FFmpeg refuses an answer that does not begin with the byte asked for; what is in it does not matter.
        options = self._options | {"offset": "1", "format_whitelist": "s16le"}
        try:
            with captured_log():
                av.open(self._target.source, format="s16le", options=options, timeout=self._timeout_s).close()
        except av.FFmpegError:
            return False
        return True


class _OwnServer:
    """The server of a URL that our own client fetches."""

    def __init__(
        self, target: Target, client: HttpClient, timeout_s: tuple[float, float], *, only_with_titles: bool
    ) -> None:
        self._target = target
        self._client = client
        self._only_with_titles = only_with_titles
        self._file: HttpFile | None = None
        # The client keeps the timeouts of a server. This one is for a playlist, which FFmpeg may have to wait
        # for to grow.
        self._timeout_s = (timeout_s[0], timeout_s[1] + _PLAYLIST_PATIENCE_S)

    def reopen(self) -> tuple[InputContainer, AudioStream]:
        if self._file is not None:
            self._file.close()
        with self._client.opening():
            file = self._file = self._client.open()
        if self._only_with_titles and not file.has_titles:
            raise SourceError(ErrorCode.SOURCE_REFUSED, f"{self._target.name} has no titles")
        try:
            with self._client.opening():
                return self._open(file)
        except BaseException:
            file.close()
            raise

    def sends_from_middle(self) -> bool:
        return self._file is not None and self._file.sends_from_middle

    def _open(self, file: HttpFile) -> tuple[InputContainer, AudioStream]:
        try:
            parts = PlaylistParts(self._client, timeout_s=self._timeout_s) if is_playlist(file) else None
        except av.FFmpegError as error:
            raise open_fault(error, self._target.name, [], timeout_s=self._timeout_s[0]) from None
        try:
            container, stream = _open_container(
                self._target, file, self._target.options, timeout_s=self._timeout_s, parts=parts
            )
        except SourceError as error:
            if parts is not None and parts.failure is not None:
                raise parts.failure from error
            raise
        # What a station says in its headers is as good as a tag. The first title is not: it is news as well.
        for name, value in file.station.items():
            container.metadata.setdefault(name, value)
        if (first := self._target.titles.latest) is not None:
            for name, said in (("title", first.title), ("artist", first.artist)):
                if said is not None:
                    container.metadata.setdefault(name, said)
        return container, stream


def _open_container(
    target: Target,
    source: str | SourceFile | HttpFile,
    options: dict[str, str],
    *,
    timeout_s: tuple[float, float] | None = None,
    parts: PlaylistParts | None = None,
) -> tuple[InputContainer, AudioStream]:
    """Have FFmpeg open a source; with `parts`, as an HLS playlist whose parts come from there."""
    playlist: dict[str, Any] = {} if parts is None else {"format": "hls", "io_open": parts}
    if parts is not None:
        # Both are about connections of FFmpeg's own, of which there are none.
        options = options | {"http_persistent": "0", "http_multiple": "0"}
    try:
        with captured_log() as log:
            container = av.open(
                source,
                mode="r",
                options=options,
                **_TAGS,
                **playlist,
                buffer_size=_BUFFER_BYTES,
                timeout=timeout_s,
            )
    except av.FFmpegError as error:
        open_timeout_s = 0.0 if timeout_s is None else timeout_s[0]
        # From None: PyAV's own text has the whole URL in it.
        raise open_fault(error, target.name, log, timeout_s=open_timeout_s) from None
    try:
        stream = _audio_stream(container, target)
        # The worker has one core for all its calls; more threads would only be in each other's way.
        stream.codec_context.thread_count = 1
    except BaseException:
        container.close()
        raise
    return container, stream


def _audio_stream(container: InputContainer, target: Target) -> AudioStream:
    stream = container.streams.best("audio")
    # PyAV leaves the context out where FFmpeg has no decoder, which its annotations do not say.
    if isinstance(stream, AudioStream) and getattr(stream, "codec_context", None) is not None:
        return stream
    text = f"{target.name} holds no audio that FFmpeg can decode"
    raise SourceError(ErrorCode.SOURCE_UNREADABLE, text)
