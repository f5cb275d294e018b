"""Opening a source: a file, a URL or bytes in memory.

`open_media` and the reads of a URL block; files and memory do not wait for anyone. FFmpeg's libraries are
used in this process (PyAV), which lets the other threads run while it works. There is no child process that
could be left behind.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.faults import captured_log, open_fault
from voicepool.workers.audio.location import Target, locate
from voicepool.workers.audio.reader import Frame, MediaKind, MediaReader
from voicepool.workers.errors import SourceError

__all__ = ["Frame", "MediaInfo", "MediaKind", "MediaReader", "open_media"]

_BUFFER_BYTES: Final = 65_536

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
        HTTP headers to send to a URL.
    public_only
        Refuse a URL that leads to a private address: for those that the bot's users write. `addresses` says
        what that covers.

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
    target = locate(location, ca_file=ca_file, headers=headers, public_only=public_only)
    try:
        return _open_target(target, open_timeout_s, read_timeout_s)
    except BaseException:
        target.close()
        raise


def _open_target(target: Target, open_timeout_s: float, read_timeout_s: float) -> MediaReader:
    server = None if target.file is not None else _Server(target, open_timeout_s, read_timeout_s)
    if server is None:
        container, stream = _open_container(target, target.options, timeout_s=None)
    else:
        container, stream = server.reopen()
    try:
        return MediaReader(container, stream, target, read_timeout_s=read_timeout_s, server=server)
    except BaseException:
        container.close()
        raise


class _Server:
    """The server of a URL, to be asked again."""

    def __init__(self, target: Target, open_timeout_s: float, read_timeout_s: float) -> None:
        self._target = target
        self._timeout_s = (open_timeout_s, read_timeout_s)
        # PyAV's own timeouts do not watch over a seek, which may make a new connection.
        self._options = target.options | {"rw_timeout": str(round(max(self._timeout_s) * 1_000_000))}

    def reopen(self) -> tuple[InputContainer, AudioStream]:
        return _open_container(self._target, self._options, timeout_s=self._timeout_s)

    def sends_from_middle(self) -> bool:
        # FFmpeg refuses an answer that does not begin with the byte asked for; what is in it does not matter.
        options = self._options | {"offset": "1", "format_whitelist": "s16le"}
        try:
            with captured_log():
                av.open(self._target.source, format="s16le", options=options, timeout=self._timeout_s).close()
        except av.FFmpegError:
            return False
        return True


def _open_container(
    target: Target, options: dict[str, str], *, timeout_s: tuple[float, float] | None
) -> tuple[InputContainer, AudioStream]:
    try:
        with captured_log() as log:
            container = av.open(
                target.source,
                mode="r",
                options=options,
                **_TAGS,
                buffer_size=_BUFFER_BYTES,
                timeout=timeout_s,
            )
    except av.FFmpegError as error:
        if options.get("max_redirects") == "0" and error.errno == errno.EIO:
            text = f"{target.name} redirects, which is not followed for this source, or cannot be reached"
            raise SourceError(ErrorCode.SOURCE_REFUSED, text) from None
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
