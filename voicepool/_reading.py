"""The content of a file-like object, as bytes, and no more of it than allowed."""

from __future__ import annotations

import io
from typing import Any, Final

__all__ = ["MAX_CONTENT_BYTES", "is_file_like", "read_content"]

MAX_CONTENT_BYTES: Final = 64 * 1024 * 1024
"""How much is read of a file-like object without other word; as ``max_source_bytes`` of the pool's config."""
_PIECE_BYTES: Final = 1024 * 1024
_WAY_OUT: Final = "open it as 'rb', or pass its path"


def is_file_like(thing: object) -> bool:
    """Tell whether something can be read as a file is. It may still turn out to give text."""
    return callable(getattr(thing, "read", None)) and not isinstance(thing, type)


def read_content(file: Any, max_bytes: int = MAX_CONTENT_BYTES) -> bytes:
    """Read a file from where it is to its end. It stays open.

    Parameters
    ----------
    file
        Something with ``read(count)``; one that gives less at a time than asked for will do.
    max_bytes
        The most there may be; no more than one byte beyond is read.

    Raises
    ------
    TypeError
        It gives text.
    ValueError
        It holds more, cannot be read, or has nothing to give at the moment (a non-blocking pipe).
    OSError
        As `file` raises it.
    """
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"cannot play a file that was opened as text; {_WAY_OUT}")
    content = bytearray()
    while len(content) <= max_bytes:
        try:
            piece = file.read(min(_PIECE_BYTES, max_bytes + 1 - len(content)))
        except io.UnsupportedOperation as error:
            raise ValueError("the file was not opened for reading; open it as 'rb'") from error
        if piece is None:
            raise ValueError("the file has nothing to read at the moment; open it in blocking mode")
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise TypeError(f"cannot play a file that gives {type(piece).__name__}; {_WAY_OUT}")
        if not len(piece):
            return bytes(content)
        content += piece
    raise ValueError(f"the file holds more than max_bytes = {max_bytes}; raise it, or pass a path or URL")
