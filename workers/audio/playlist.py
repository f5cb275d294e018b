"""The parts of an HLS playlist (RFC 8216): FFmpeg's demuxer names them, `HttpClient` fetches them.

FFmpeg asks here for every playlist, key and segment, and opens nothing itself. So no playlist can name a
file, and each address is looked at if that is wanted. A part that cannot be had is an empty one, over which
FFmpeg goes on with the next: a segment that is missing must not end a broadcast.

FFmpeg would go on like that to the end of any list, and looks at the clock only where a part fails. So once
it has got nothing for as long as its own timeout, which is over then as well, the next part does fail.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import av
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from voicepool.workers.audio.http_file import HttpClient, HttpFile
from voicepool.workers.errors import SourceError

__all__ = ["PlaylistParts", "is_playlist"]

_HEAD_BYTES: Final = 4_096
_FIRST_LINE: Final = b"#EXTM3U"
_BLOCK_BYTES: Final = 16
_ENCRYPTED: Final = "crypto+"
_WRITE: Final = 2
"""FFmpeg's ``AVIO_FLAG_WRITE``."""


def is_playlist(file: HttpFile) -> bool:
    """Tell whether a file is an HLS playlist, by its first bytes: servers misname their types too often.

    Raises
    ------
    av.FFmpegError
        Reading failed.
    """
    if file.head(len(_FIRST_LINE)) != _FIRST_LINE:
        return False
    # A list of stations begins like that too, and has none of the tags of HLS.
    return b"#EXT-X-" in file.head(_HEAD_BYTES)


class PlaylistParts:
    """Opens the parts of a playlist; given to PyAV as ``io_open``.

    Parameters
    ----------
    client
        Fetches them.
    timeout_s
        How long FFmpeg may take to open the list, and to give a packet of it, as PyAV is told.
    now
        The clock, in seconds.

    Attributes
    ----------
    failure
        Why a part could not be had, if any: the last one that there was time for.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        timeout_s: tuple[float, float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._now = now
        self._nothing_since: float | None = None
        """When the first of the parts was asked for that have given nothing since."""
        self.failure: SourceError | None = None

    def __call__(self, url: str, flags: int, options: Mapping[str, str]) -> Part:
        """Open a part; what cannot be had is empty.

        Raises
        ------
        av.FFmpegError
            Nothing could be had for so long that FFmpeg is to stop.
        """
        if flags & _WRITE:
            return Part(None, None)
        if not self._client.stopped:
            self._stop_in_time()
        encrypted = url.startswith((_ENCRYPTED, "crypto:"))
        asked = _range(options)
        try:
            cipher = _Decryption(options) if encrypted else None
            answer = self._client.fetch(url.removeprefix(_ENCRYPTED).removeprefix("crypto:"), asked)
        except SourceError as error:
            if self.failure is None or self._client.has_time:
                self.failure = error
            return Part(None, None)
        except ValueError:
            # A key that is none.
            return Part(None, None)
        if asked and answer.response.status != HTTPStatus.PARTIAL_CONTENT:
            # The whole file in place of a piece of it.
            self._client.release(answer)
            return Part(None, None)
        return Part(HttpFile(self._client, answer, is_part=True), cipher, on_data=self._on_data)

    def _stop_in_time(self) -> None:
        now = self._now()
        if self._nothing_since is None:
            self._nothing_since = now
            return
        left_s = self._nothing_since + self._timeout_s[0 if self._client.is_opening else 1] - now
        if left_s > 0.0 and not self._client.has_time and self._client.rest(left_s):
            # There is nothing more to be asked for, and FFmpeg's time is not over before this.
            left_s = 0.0
        if left_s <= 0.0:
            # PyAV keeps what is raised here, and can keep one: FFmpeg must be sure to stop.
            raise av.error.TimeoutError(errno.ETIMEDOUT, "timed out")

    def _on_data(self) -> None:
        self._nothing_since = None


class Part:
    """A part of a playlist, as FFmpeg's reading callbacks; it raises nothing and cannot seek.

    Parameters
    ----------
    file
        What it is; by None, it is empty.
    cipher
        Decrypts it, if it is encrypted.
    on_data
        Told that it is not empty.
    """

    def __init__(
        self,
        file: HttpFile | None,
        cipher: _Decryption | None,
        *,
        on_data: Callable[[], object] = lambda: None,
    ) -> None:
        self._file = file
        self._cipher = cipher
        self._on_data = on_data
        self._plain = b""
        self._ended = False

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        if self._file is None:
            return b""
        try:
            if self._cipher is None:
                return self._read(self._file, count)
            while not self._plain and not self._ended:
                data = self._read(self._file, count)
                self._ended = not data
                self._plain = self._cipher.feed(data) if data else self._cipher.finish()
        except av.FFmpegError:
            return b""
        # PyAV copies whatever it gets, so it must never be more than it asked for.
        data, self._plain = self._plain[:count], self._plain[count:]
        return data

    def close(self) -> None:
        """Release its connection."""
        if self._file is not None:
            self._file.close()

    def _read(self, file: HttpFile, count: int) -> bytes:
        data = file.read(count)
        if data:
            self._on_data()
        return data


class _Decryption:
    """AES-128 with CBC and PKCS7 padding (RFC 8216 §4.3.2.4)."""

    def __init__(self, options: Mapping[str, str]) -> None:
        key, vector = bytes.fromhex(options.get("key", "")), bytes.fromhex(options.get("iv", ""))
        if len(key) != _BLOCK_BYTES:
            raise ValueError("the key of an encrypted segment has 16 bytes")
        self._decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        self._last = b""
        """The last block, of which it is not known yet whether it ends with padding."""

    def feed(self, data: bytes) -> bytes:
        plain = self._last + self._decryptor.update(data)
        self._last = plain[-_BLOCK_BYTES:]
        return plain[:-_BLOCK_BYTES]

    def finish(self) -> bytes:
        last, self._last = self._last, b""
        padding = last[-1] if last else 0
        return last[:-padding] if 0 < padding <= _BLOCK_BYTES else last


def _range(options: Mapping[str, str]) -> dict[str, str]:
    """Return the header for the piece of a file that a segment may be."""
    start, end = options.get("offset", "0"), options.get("end_offset", "0")
    if not (start.isdecimal() and end.isdecimal()) or (start, end) == ("0", "0"):
        return {}
    return {"Range": f"bytes={start}-{int(end) - 1 if int(end) else ''}"}
