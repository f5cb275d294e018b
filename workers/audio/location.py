"""From what the bot names to what FFmpeg may open, and under which restrictions.

A source is chosen by a bot's user as often as by its author, so FFmpeg gets no more than the source needs:

* A file is opened here, after a look at what it is, and FFmpeg gets a reader; it opens no path itself, so a
  device is never touched and a playlist disguised as a song cannot pull in other files.
* A URL must be http or https, and so must what it leads to (redirects, and the playlists, keys and segments
  of HLS). Where FFmpeg fetches it, `_URL_PROTOCOLS` says so: ``tcp``, ``tls`` and ``httpproxy`` carry http,
  ``crypto`` decrypts segments, ``hls`` names playlists; there is no ``file``, ``data`` or ``concat``.
* FFmpeg fetches a recording that needs nothing special. Our own client (`http_file`) fetches what FFmpeg's
  cannot do right, and FFmpeg then has no network at all: a broadcast, whose titles PyAV has no way to;
  a URL with headers, which FFmpeg would send to all hosts that the URL leads to; and a URL that strangers
  wrote, where each address is to be a public one (`addresses`) before anything connects to it.
* Only containers that hold audio are recognised: no playlists for files, no images, no capture devices.
"""

from __future__ import annotations

import io
import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.http_connection import Access
from voicepool.workers.audio.http_file import HttpClient
from voicepool.workers.audio.titles import TitleLog
from voicepool.workers.errors import SourceError

__all__ = ["SourceFile", "Target", "locate"]

_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,matroska,mlp,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,nut,ogg,oma,qoa,rm,shn,sox,tak,truehd,tta,voc,w64,wav,wtv,wv,xwma"
)
_PROBED_PACKETS: Final = 2
"""How much of a WAV file is searched for DTS in disguise; FFmpeg would spend 20 to 80 ms on it."""
_READ_BY_US: Final = {"protocol_whitelist": "none", "max_probe_packets": str(_PROBED_PACKETS)}
_URL_PROTOCOLS: Final = "http,https,httpproxy,tcp,tls,crypto,hls"
_RECONNECT_DELAY_S: Final = 1
"""A connection that breaks is made anew at once, and once more after this long."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110 §5.6.2)."""
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
"""Visible ASCII, spaces and tabs (RFC 9110 §5.5): no line break by which one header would become two."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MAX_NAME_CHARACTERS: Final = 300
_CA_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Debian, Fedora, macOS: where the system's certificates are if Python does not know."""
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class SourceFile:
    """A regular file or a piece of memory, as FFmpeg's reading callbacks.

    No method raises: PyAV prints what a callback raises while FFmpeg deals with an earlier failure. The
    first failure is kept in `failure`, and FFmpeg sees the end of the file.
    """

    def __init__(self, raw: io.RawIOBase | io.BytesIO, name: str) -> None:
        self._raw = raw
        self.name: Final = name
        """The file's name, whose extension helps FFmpeg to recognise it."""
        self.failure: OSError | None = None

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end and after a failure."""
        try:
            return self._raw.read(count) or b""
        except OSError as error:
            self.failure = self.failure or error
        except ValueError:
            # Closed meanwhile.
            pass
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns the new position, or -1 if that is not possible."""
        try:
            return self._raw.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        """Return the position, or -1."""
        return self.seek(0, os.SEEK_CUR)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on; the position stays."""
        position = self.tell()
        if self.seek(offset) < 0:
            return b""
        data = self.read(count)
        self.seek(position)
        return data

    @property
    def size_bytes(self) -> int:
        """How long it is now, or -1."""
        position = self.tell()
        size = self.seek(0, os.SEEK_END)
        self.seek(position)
        return size

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        self._raw.close()


@dataclass(frozen=True, slots=True)
class Target:
    """What FFmpeg is to open.

    Attributes
    ----------
    name
        What error texts call it; without the query and the user part of a URL, which may hold secrets.
    source
        A URL, or the reader of a file.
    options
        Options for FFmpeg's container layer.
    client
        What fetches the URL; `None` if FFmpeg does, and for files.
    titles
        Where what the stream says of itself is noted while it is read.
    """

    name: str
    source: str | SourceFile
    options: dict[str, str]
    client: HttpClient | None = None
    titles: TitleLog = field(default_factory=TitleLog)

    @property
    def file(self) -> SourceFile | None:
        """The file, if it is one."""
        return None if isinstance(self.source, str) else self.source

    def interrupt(self) -> None:
        """End `client`'s wait for the server, for good; may be called from any thread."""
        if self.client is not None:
            self.client.interrupt()

    def close(self) -> None:
        """Close the file or the connections. Calling it again does nothing."""
        if not isinstance(self.source, str):
            self.source.close()
        if self.client is not None:
            self.client.close()


def locate(
    location: str | bytes | bytearray | memoryview,
    *,
    ca_file: str | None = None,
    headers: Mapping[str, str] | None = None,
    public_only: bool = False,
    live: bool = False,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
) -> Target:
    """Check a location and open it, if it is a file.

    Parameters
    ----------
    location
        A path, a http or https URL, or the bytes of a whole file.
    ca_file
        Certificates to trust for https; `None` takes ``SSL_CERT_FILE`` or the system's.
    headers
        HTTP headers to send to the URL's host. Hosts that it leads to get ``User-Agent``, ``Referer``,
        ``Origin`` and ``Accept`` of these only.
    public_only
        Refuse a URL that leads to a private address (`addresses`) once it is opened.
    live
        Whether a URL is a broadcast.
    open_timeout_s, read_timeout_s
        As `open_media` has them.

    Raises
    ------
    ValueError
        A header's name or value cannot be sent.
    SourceError
        ``SOURCE_NOT_FOUND``, ``SOURCE_REFUSED``, or ``SOURCE_UNREADABLE`` if it is empty.
    """
    if not isinstance(location, str):
        name = f"the {len(location)} bytes in memory"
        return _file_target(SourceFile(io.BytesIO(location), "memory"), name)
    scheme = _SCHEME.match(location)
    if scheme is None:
        return _file_target(_open_file(location), _shown(location))
    name, options = _url_options(location, scheme[1].lower(), ca_file)
    if headers:
        _check_headers(headers)
    if not (live or public_only or headers):
        return Target(name, location, options)
    access = Access(name, location, dict(headers or {}), options.get("ca_file"), public_only)
    titles = TitleLog()
    client = HttpClient(
        access, titles, live=live, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s
    )
    return Target(name, location, _READ_BY_US | {"format_whitelist": f"{_CONTAINERS},hls"}, client, titles)


def _check_headers(headers: Mapping[str, str]) -> None:
    for header, value in headers.items():
        # The value may be a secret, so the text does without it.
        if not (_HEADER_NAME.fullmatch(header) and _HEADER_VALUE.fullmatch(value)):
            raise ValueError(f"the header {header!r} cannot be sent: only ASCII, and no line breaks")


def _file_target(file: SourceFile, name: str) -> Target:
    if file.size_bytes == 0:
        file.close()
        raise SourceError(ErrorCode.SOURCE_UNREADABLE, f"{name} is empty; there is nothing to play")
    return Target(name, file, _READ_BY_US | {"format_whitelist": _CONTAINERS})


def _url_options(url: str, scheme: str, ca_file: str | None) -> tuple[str, dict[str, str]]:
    """Return what to call a URL, and the options with which FFmpeg may fetch it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        text = f"the {scheme} URL names no host; it must look like https://host/path"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text)
    name = _shown(f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
    if scheme not in {"http", "https"}:
        text = f"{name} cannot be played: only http and https URLs are, and files by their plain path"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text)
    options = {
        "format_whitelist": f"{_CONTAINERS},hls",
        "protocol_whitelist": _URL_PROTOCOLS,
        "max_probe_packets": str(_PROBED_PACKETS),
        "reconnect": "1",
        "reconnect_delay_max": str(_RECONNECT_DELAY_S),
        "tls_verify": "1",
    }
    trusted = ca_file or _system_ca_file()
    if trusted is not None:
        options["ca_file"] = trusted
    return name, options


def _open_file(path: str) -> SourceFile:
    name = _shown(path)
    try:
        # Looked at before it is opened: opening a pipe waits for its other end, opening a device may act.
        _refuse_special(os.stat(path).st_mode, name)  # noqa: PTH116 - Path.stat cannot take every str
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        raw = io.FileIO(path, opener=lambda file, _: os.open(file, flags))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        # ValueError: a character that no path can hold.
        raise SourceError(ErrorCode.SOURCE_NOT_FOUND, f"there is no file {name}") from error
    except PermissionError as error:
        text = f"{name} may not be read: permission denied for the user the bot runs as"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text) from error
    except OSError as error:
        raise SourceError(ErrorCode.SOURCE_REFUSED, f"{name} cannot be opened: {error.strerror}") from error
    try:
        # And again now that it can no longer be swapped.
        _refuse_special(os.fstat(raw.fileno()).st_mode, name)
    except BaseException:
        raw.close()
        raise
    return SourceFile(raw, path)


def _refuse_special(mode: int, name: str) -> None:
    if stat.S_ISREG(mode):
        return
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "not a regular file")
    raise SourceError(ErrorCode.SOURCE_REFUSED, f"{name} is {kind}; only regular files can be played")


def _system_ca_file() -> str | None:
    known = ssl.get_default_verify_paths().cafile
    return known or next((file for file in _CA_FILES if Path(file).is_file()), None)


def _shown(text: str) -> str:
    """Make a name fit for one line of a log."""
    shown = "".join(character if character.isprintable() else "�" for character in text)
    if len(shown) > _MAX_NAME_CHARACTERS:
        return shown[:_MAX_NAME_CHARACTERS] + "…"
    return shown
