"""The parts of an HLS playlist (RFC 8216): FFmpeg's demuxer names them, `HttpClient` fetches them.

FFmpeg asks here for every playlist, key and segment, and opens nothing itself. So no playlist can name a
file, and each address is looked at if that is wanted. A part that cannot be had is an empty one, over which
FFmpeg goes on with the next: a segment that is missing must not end a broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    Attributes
    ----------
    failure
        Why a part could not be had, if any; the last one.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.failure: SourceError | None = None

    def __call__(self, url: str, flags: int, options: Mapping[str, str]) -> Part:
        """Open a part; what cannot be had is empty."""
        if flags & _WRITE:
            return Part(None, None)
        encrypted = url.startswith((_ENCRYPTED, "crypto:"))
        asked = _range(options)
        try:
            cipher = _Decryption(options) if encrypted else None
            answer = self._client.fetch(url.removeprefix(_ENCRYPTED).removeprefix("crypto:"), asked)
        except SourceError as error:
            self.failure = error
            return Part(None, None)
        except ValueError:
            # A key that is none.
            return Part(None, None)
        if asked and answer.response.status != HTTPStatus.PARTIAL_CONTENT:
            # The whole file in place of a piece of it.
            self._client.release(answer)
            return Part(None, None)
        return Part(HttpFile(self._client, answer, is_part=True), cipher)


class Part:
    """A part of a playlist, as FFmpeg's reading callbacks; it raises nothing and cannot seek."""

    def __init__(self, file: HttpFile | None, cipher: _Decryption | None) -> None:
        self._file = file
        self._cipher = cipher
        self._plain = b""
        self._ended = False

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        if self._file is None:
            return b""
        try:
            if self._cipher is None:
                return self._file.read(count)
            while not self._plain and not self._ended:
                data = self._file.read(count)
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
