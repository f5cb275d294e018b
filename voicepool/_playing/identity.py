"""[pure] Which descriptions of a source mean the same one: a digest that tells nothing about it."""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Final, NewType

from voicepool.ipc.sources import BytesSource, FileSource, ResolverSource, Source, StationSource, UrlSource

__all__ = ["SourceId", "identify"]

SourceId = NewType("SourceId", bytes)
"""The same for whatever is the same source, in all calls of a pool."""

_DIGEST_BYTES: Final = 16
_PIECES: Final = 16
_PIECE_BYTES: Final = 1 << 16
"""What is larger than all pieces together, 1 MiB, is judged by them: a digest of 1 GiB takes a second, and
two recordings of one size that agree in all of them do not happen."""


def identify(source: Source, attachments: Sequence[bytes] = ()) -> SourceId | None:
    """Return what tells a source from others; None for streams and silence, where nothing is read.

    A station is its source. How something is fetched does not count: neither headers, nor the user part and
    fragment of a URL, nor whether it is live. Its query does: it may be all that tells two songs apart.

    Parameters
    ----------
    source
        As the message to a worker carries it.
    attachments
        What goes with that message: the content of a `BytesSource`.
    """
    match source:
        case StationSource():
            return identify(source.source)
        case FileSource():
            return _digest((b"file", source.path.encode()))
        case UrlSource():
            return _digest((b"url", _place(source.url).encode()))
        case ResolverSource():
            return _digest((b"resolver", source.resolver.encode(), source.query.encode()))
        case BytesSource():
            size = source.size_bytes.to_bytes(8)
            return _digest((b"bytes", size, *_pieces(attachments[0])))
        case _:
            return None


def _place(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return urllib.parse.urlunsplit((parts.scheme.lower(), host, parts.path, parts.query, ""))


def _pieces(content: bytes) -> Iterator[bytes]:
    """Return the content, or of a large one what stands at its beginning, its end and evenly between."""
    if len(content) <= _PIECES * _PIECE_BYTES:
        yield content
        return
    last = len(content) - _PIECE_BYTES
    for number in range(_PIECES):
        at = last * number // (_PIECES - 1)
        yield content[at : at + _PIECE_BYTES]


def _digest(parts: Sequence[bytes]) -> SourceId:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        # With its length, so that no two lists of parts read the same.
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return SourceId(digest.digest())
