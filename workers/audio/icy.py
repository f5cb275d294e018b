"""[pure] Titles between the bytes of a SHOUTcast or Icecast stream (``icy-metaint``).

A server that is asked to (``Icy-MetaData: 1``) sends a block after each so many bytes of audio: one byte with
its length in units of 16 bytes, then text such as ``StreamTitle='Artist - Title';StreamUrl='';``, filled up
with zeros. There is no standard. Nothing is escaped, so a quote inside a title is told from the one that ends
it by what follows; the encoding is UTF-8 in most cases, and Latin-1 in the others.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["IcyStripper", "interval_bytes", "parse_block", "split_title"]

_LENGTH_UNIT_BYTES: Final = 16
_MAX_INTERVAL_BYTES: Final = 1 << 24
_FIELD: Final = re.compile(r"(?<!\w)(\w{1,32})='(.*?)'(?=;\s*(?:\w{1,32}='|$)|\s*$)", re.DOTALL)
"""A value ends with the quote behind which there is another name, or nothing."""
_MAX_FIELDS: Final = 16


def interval_bytes(header: str | None) -> int | None:
    """Return after how many bytes of audio a block comes; `None` if the header is missing or no number."""
    if header is None or not re.fullmatch(r"\s*[0-9]{1,9}\s*", header):
        return None
    interval = int(header)
    return interval if 0 < interval <= _MAX_INTERVAL_BYTES else None


def parse_block(block: bytes) -> dict[str, str]:
    """Read a block of metadata.

    Returns
    -------
    dict[str, str]
        Names in lower case, values as they came; empty if nothing in it can be read.
    """
    data = block.rstrip(b"\0")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    fields = {}
    for found in _FIELD.finditer(text):
        fields[found[1].lower()] = found[2]
        if len(fields) == _MAX_FIELDS:
            break
    return fields


def split_title(text: str) -> tuple[str | None, str | None]:
    """Split ``Artist - Title``; returns artist and title, `None` for what is missing or empty."""
    artist, dash, title = text.partition(" - ")
    if not dash:
        artist, title = "", text
    return artist.strip() or None, title.strip() or None


class IcyStripper:
    """Takes a stream apart: audio here, metadata there.

    Parameters
    ----------
    interval
        Bytes of audio between two blocks, 1 or more.

    Attributes
    ----------
    blocks
        Those that came and were not empty, the oldest first; the caller takes them out. Each has at most
        4,080 bytes.
    audio_bytes
        How much audio came so far: behind `feed`, where the last block was at the latest.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._audio_left = interval
        self._block_left: int | None = None
        """Bytes missing of the present block; None while its length has not come or there is none."""
        self._block = bytearray()
        self.blocks: list[bytes] = []
        self.audio_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the audio in the next bytes of the stream, which may be none."""
        audio = []
        at = 0
        while at < len(data):
            if self._audio_left:
                piece = data[at : at + self._audio_left]
                audio.append(piece)
                self._audio_left -= len(piece)
                at += len(piece)
            elif self._block_left is None:
                self._block_left = data[at] * _LENGTH_UNIT_BYTES
                at += 1
            else:
                piece = data[at : at + self._block_left]
                self._block += piece
                self._block_left -= len(piece)
                at += len(piece)
            if self._block_left == 0:
                self._end_block()
        whole = b"".join(audio)
        self.audio_bytes += len(whole)
        return whole

    def _end_block(self) -> None:
        if self._block:
            self.blocks.append(bytes(self._block))
            self._block.clear()
        self._block_left = None
        self._audio_left = self._interval
