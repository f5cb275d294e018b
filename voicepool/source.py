"""Frozen descriptions of what to play. Nothing is opened here; the worker does that.

::

    AudioSource            what all of them are
    ├── AudioFile          a file, a URL, or the content of a file
    ├── Silence            nothing to be heard, for a time
    ├── Station            one source that many calls hear at the same moment (`voicepool.station`)
    ├── Resolved           what a callable in the bot makes of a query (`voicepool.resolver`)
    └── WorkerResolved     what a callable in the worker makes of a query (`voicepool.resolver`)

Audio that the bot makes itself is pushed into a stream (`voicepool.streams`), which is played like these.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import os
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from voicepool._checks import check_seconds, check_types
from voicepool._http_headers import checked_headers
from voicepool._reading import MAX_CONTENT_BYTES, is_file_like, read_content
from voicepool.errors import VoicePoolError
from voicepool.ipc.secret import REDACTED
from voicepool.ipc.sources import (
    BytesSource,
    FileSource,
    SilenceSource,
    Source,
    StreamSource,
    UrlSource,
)

__all__ = [
    "AudioFile",
    "AudioSource",
    "Playable",
    "Pushed",
    "Silence",
    "SourceKind",
    "as_audio",
    "as_source",
]

_ALLOWED: Final = (
    "a path (str or os.PathLike), an http(s) URL (str), the file's content (bytes) or a file opened as 'rb'"
)
_SCHEMES: Final = ("http", "https")


class SourceKind(enum.Enum):
    """Where the audio comes from."""

    FILE = "file"
    URL = "url"
    BYTES = "bytes"
    SILENCE = "silence"
    STATION = "station"
    RESOLVER = "resolver"


class AudioSource(abc.ABC):
    """What can be played. Make one of its subclasses; the player asks this of each of them."""

    __slots__ = ()

    needs_resolving: ClassVar[bool] = False
    """Whether `resolve` has work to do, and `to_wire` cannot be called before."""

    @property
    @abc.abstractmethod
    def kind(self) -> SourceKind:
        """Where the audio comes from."""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """A short name for logs, without secrets."""

    @property
    def size_bytes(self) -> int:
        """How much goes to the worker beside the description: 0 unless the content was given."""
        return 0

    async def resolve(self) -> AudioSource | Pushed:
        """Return what is to be played in its place, right before it is: itself, unless it is a `Resolved`.

        Raises
        ------
        ResolverError
            There is nothing to be played.
        """
        return self

    @abc.abstractmethod
    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description and the attachments as the message to a worker carries them.

        Parameters
        ----------
        public_only
            The pool's rule about URLs that lead to private addresses; a source's own comes before it.
        """


@runtime_checkable
class Pushed(Protocol):
    """A stream of audio that the bot makes while it plays; see `voicepool.streams`."""

    @property
    def label(self) -> str:
        """A short name for logs."""

    @property
    def size_bytes(self) -> int:
        """How much goes to the worker beside the description."""

    def to_wire(self) -> tuple[StreamSource, tuple[bytes, ...]]:
        """Return the description and the attachments as the message to a worker carries them."""

    def attach(self, send: Callable[[Sequence[bytes], bool], None], /) -> None:
        """Begin to send: attachments of a message, and whether they are the last."""

    def grant(self, credit_ms: int, /) -> None:
        """Take leave to send more."""

    def detach(self, error: VoicePoolError | None, /) -> None:
        """Send no more: the track is over."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class AudioFile(AudioSource):
    """An audio file or stream of any format that FFmpeg reads.

    Ogg and WebM/Matroska with Opus in them are sent without re-encoding while the volume is 1.

    Parameters
    ----------
    location
        A path, an ``http://`` or ``https://`` URL, the content of a whole file as bytes, or a file-like
        object that gives bytes. A relative path counts from the current directory of now, not of the time it
        is played; ``~`` is the home directory. A file-like object is read to its end here and now, and stays
        open; where that may take long, as from a network, make the `AudioFile` in a thread.
        Kept as an absolute `str`, the URL, or `bytes`.
    headers
        URLs only: HTTP headers to send, such as ``Referer``, also to what it redirects to. They never show.
    live
        URLs only: it is a broadcast, so that any end of it is a break, after which it is opened anew.
    max_latency_s
        With `live` only: how many seconds of it may wait to be heard before the oldest are dropped; None
        drops nothing.
    public_only
        URLs only: refuse it if it leads to a private address. For URLs that strangers supply. None takes the
        pool's ``public_urls_only``.
    max_bytes
        Content only (bytes and file-like objects): the most to take; None for 64 MiB of a file-like object.
        The pool's ``max_source_bytes`` counts when it is played.
    title, artist, duration_s
        What is known of it beforehand: a track shows them in place of what the source says of itself.

    Raises
    ------
    TypeError
        The location is none of these, or a parameter has another type.
    ValueError
        The location is empty, a URL of another scheme, or a path that cannot be sent to a worker; a
        parameter does not go with the location, or has no such value.

    Examples
    --------
    >>> AudioFile("/music/song.opus")
    AudioFile('/music/song.opus')
    >>> AudioFile("https://radio.example/live.mp3", live=True, max_latency_s=5)
    AudioFile('https://radio.example/live.mp3', live=True, max_latency_s=5)
    """

    location: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
    _: dataclasses.KW_ONLY
    # Not in the hash, for a mapping has none.
    headers: Mapping[str, str] | None = dataclasses.field(default=None, hash=False)
    live: bool = False
    max_latency_s: float | None = None
    public_only: bool | None = None
    max_bytes: dataclasses.InitVar[int | None] = None
    title: str | None = None
    artist: str | None = None
    duration_s: float | None = None

    def __post_init__(self, max_bytes: int | None) -> None:
        """Check everything and bring it into the form it is kept in."""
        has_content = isinstance(self.location, bytes | bytearray | memoryview) or is_file_like(self.location)
        if max_bytes is not None and not has_content:
            raise ValueError("max_bytes goes with bytes and file-like objects only; a worker reads the rest")
        object.__setattr__(self, "location", _normal(self.location, max_bytes))
        check_types(self, live=bool, public_only=bool | None, title=str | None, artist=str | None)
        if self.kind is not SourceKind.URL:
            given = {"headers": self.headers, "live": self.live or None, "public_only": self.public_only}
            for name in (name for name, value in given.items() if value is not None):
                raise ValueError(f"{name} goes with http(s) URLs only; this is {self.label}")
        if self.headers is not None:
            object.__setattr__(self, "headers", checked_headers(self.headers))
        if self.max_latency_s is not None and not self.live:
            raise ValueError("max_latency_s goes with live=True only: what is no broadcast loses nothing")
        check_seconds("max_latency_s", self.max_latency_s)
        check_seconds("duration_s", self.duration_s)

    @property
    def kind(self) -> SourceKind:
        """Where the audio is."""
        if isinstance(self.location, bytes):
            return SourceKind.BYTES
        return SourceKind.URL if "://" in str(self.location) else SourceKind.FILE

    @property
    def label(self) -> str:
        """A short name for logs. Holds no query and no password of a URL: those may be secret."""
        if isinstance(self.location, bytes):
            return f"{len(self.location)} bytes"
        if self.kind is SourceKind.FILE:
            return str(self.location)
        parts = urllib.parse.urlsplit(str(self.location))
        port = f":{parts.port}" if parts.port is not None else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

    @property
    def size_bytes(self) -> int:
        """How much goes to the worker beside the description: 0 unless the content was given."""
        return len(self.location) if isinstance(self.location, bytes) else 0

    def __repr__(self) -> str:
        fields = (field for field in dataclasses.fields(self) if field.name != "location")
        changed = {field.name: getattr(self, field.name) for field in fields}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        texts = [
            f"{name}={REDACTED if name == 'headers' else repr(value)}"
            for name, value in changed.items()
            if value != defaults[name]
        ]
        return f"AudioFile({', '.join([repr(self.label), *texts])})"

    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description and the attachments as the message to a worker carries them.

        Parameters
        ----------
        public_only
            What counts where the source's own `public_only` is None.
        """
        if isinstance(self.location, bytes):
            return BytesSource(size_bytes=len(self.location)), (self.location,)
        if self.kind is SourceKind.FILE:
            return FileSource(path=str(self.location)), ()
        source = UrlSource(
            url=str(self.location),
            headers=dict(self.headers or {}),
            live=self.live,
            max_latency_s=None if self.max_latency_s is None else float(self.max_latency_s),
            public_only=public_only if self.public_only is None else self.public_only,
        )
        return source, ()


@dataclasses.dataclass(frozen=True, slots=True)
class Silence(AudioSource):
    """Nothing to be heard: a pause between two tracks of a queue, or a call that is kept open.

    Parameters
    ----------
    duration_s
        How long, in seconds; None without end.

    Raises
    ------
    TypeError, ValueError
        It is no finite number above 0.

    Examples
    --------
    >>> Silence(2.5).label
    '2.5 s of silence'
    """

    duration_s: float | None = None

    def __post_init__(self) -> None:
        """Check the duration."""
        check_seconds("duration_s", self.duration_s)

    @property
    def kind(self) -> SourceKind:
        """That it is silence."""
        return SourceKind.SILENCE

    @property
    def label(self) -> str:
        """How long it is."""
        return "silence" if self.duration_s is None else f"{self.duration_s:g} s of silence"

    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description; there are no attachments."""
        del public_only
        return SilenceSource(duration_s=None if self.duration_s is None else float(self.duration_s)), ()


Playable: TypeAlias = (
    AudioSource | Pushed | str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
)
"""What ``play`` takes: anything but a source is made into an `AudioFile`."""


def as_source(source: object) -> AudioSource | Pushed:
    """Return the source unchanged if it is one, and otherwise an `AudioFile` of it.

    Raises
    ------
    TypeError, ValueError
        As `AudioFile` does.
    """
    # A class has the methods too, but is no stream yet.
    if isinstance(source, AudioSource) or (isinstance(source, Pushed) and not isinstance(source, type)):
        return source
    return AudioFile(source)  # type: ignore[arg-type]  # it says itself what it does not take


as_audio = as_source


def _normal(location: object, max_bytes: int | None) -> str | bytes:
    if isinstance(location, bytes | bytearray | memoryview) or is_file_like(location):
        return _content(location, max_bytes)
    path = os.fspath(location) if isinstance(location, os.PathLike) else location
    if not isinstance(path, str):
        raise TypeError(f"cannot play {type(location).__name__}; allowed is {_ALLOWED}")
    if not path or "\0" in path:
        raise ValueError(f"a location is empty or holds a NUL; allowed is {_ALLOWED}")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {path!r} is not UTF-8; open the file and pass its bytes") from None
    if "://" in path and isinstance(location, str):
        return _checked_url(path)
    # Where there is no such user, "~a.mp3" is a file's name like any other; `Path.expanduser` would raise.
    return str(Path(os.path.expanduser(path)).absolute())  # noqa: PTH111


def _content(location: Any, max_bytes: int | None) -> bytes:
    if max_bytes is not None and (
        isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1
    ):
        raise ValueError(f"max_bytes must be a whole number, 1 or more; it is {max_bytes!r}")
    if is_file_like(location):
        if getattr(location, "closed", False):
            raise ValueError("the file is closed; pass one that is open, or its path")
        content = read_content(location, MAX_CONTENT_BYTES if max_bytes is None else max_bytes)
        if not content:
            raise ValueError("there are no bytes to play: the file is empty, or was read; seek(0) first")
    else:
        content = bytes(location)
        if max_bytes is not None and len(content) > max_bytes:
            raise ValueError(f"{len(content)} bytes are more than max_bytes = {max_bytes}")
    if not content:
        raise ValueError("there are no bytes to play")
    return content


def _checked_url(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme.lower() not in _SCHEMES:
        raise ValueError(f"cannot play from {scheme}://; allowed is {_ALLOWED}")
    try:
        parts = urllib.parse.urlsplit(url)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not url.isprintable() or " " in url:
        raise ValueError(f"{scheme}://… is no complete URL; it needs a host, and no spaces")
    return url
