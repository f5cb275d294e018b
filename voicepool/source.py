"""Frozen descriptions of what to play. Nothing is opened here; the worker does that."""

from __future__ import annotations

import dataclasses
import enum
import os
import urllib.parse
from pathlib import Path
from typing import Final

from voicepool.ipc.commands import BytesSource, FileSource, Source, UrlSource

__all__ = ["AudioFile", "Playable", "SourceKind", "as_audio"]

_ALLOWED: Final = "a path (str or os.PathLike), an http(s) URL (str) or the file's content (bytes)"
_SCHEMES: Final = ("http", "https")


class SourceKind(enum.Enum):
    """Where the audio is."""

    FILE = "file"
    URL = "url"
    BYTES = "bytes"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class AudioFile:
    """An audio file or stream of any format that FFmpeg reads.

    Ogg and WebM/Matroska with Opus in them are sent without re-encoding while the volume is 1.

    Parameters
    ----------
    location
        A path, an ``http://`` or ``https://`` URL, or the content of a whole file as bytes. A relative path
        counts from the current directory of now, not of the time it is played; ``~`` is the home directory.
        Kept as an absolute `str`, the URL, or `bytes`.

    Raises
    ------
    TypeError
        It is none of these.
    ValueError
        It is empty, a URL of another scheme, or a path that cannot be sent to a worker.
    """

    location: str | os.PathLike[str] | bytes | bytearray | memoryview

    def __post_init__(self) -> None:
        """Check the location and bring it into the form it is kept in."""
        object.__setattr__(self, "location", _normal(self.location))

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
        return f"AudioFile({self.label!r})"

    def to_wire(self) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description and the attachments as the message to a worker carries them."""
        if isinstance(self.location, bytes):
            return BytesSource(size_bytes=len(self.location)), (self.location,)
        if self.kind is SourceKind.URL:
            return UrlSource(url=str(self.location)), ()
        return FileSource(path=str(self.location)), ()


Playable = AudioFile | str | os.PathLike[str] | bytes
"""What ``play`` takes: anything but an `AudioFile` is made into one."""


def as_audio(source: object) -> AudioFile:
    """Return the source as an `AudioFile`.

    Raises
    ------
    TypeError, ValueError
        As `AudioFile` does.
    """
    return source if isinstance(source, AudioFile) else AudioFile(source)  # type: ignore[arg-type]


def _normal(location: object) -> str | bytes:
    if isinstance(location, bytes | bytearray | memoryview):
        if not len(location):
            raise ValueError("there are no bytes to play")
        return bytes(location)
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
    return str(Path(path).expanduser().absolute())


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
