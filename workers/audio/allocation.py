"""How much memory FFmpeg may ask for at once.

Where a file begins like a song and then has no frame in it, FFmpeg's parsers keep all of it until they find
one: a web server that sends zeros as fast as it can had a worker hold 1.6 GB after three seconds. A table
whose header says that it is enormous is another such case. Nothing that is played needs one piece of that
size, so FFmpeg is told to refuse it, by ``av_max_alloc`` (libavutil/mem.h); then it gives up the piece, and
at last the source. This holds for the whole process, and for all that it opens.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import av
import av._core

__all__ = ["LARGEST_PIECE_BYTES", "limit_allocations"]

LARGEST_PIECE_BYTES: Final = 48 * 1024 * 1024
"""The index of an MP4 file of 50 hours, or a cover of 48 MiB; a parser holds at most about twice as much."""


def limit_allocations(limit_bytes: int = LARGEST_PIECE_BYTES) -> str:
    """Have FFmpeg refuse to allocate more than this at once.

    Returns
    -------
    str
        What holds now, for a log.

    Raises
    ------
    OSError
        FFmpeg's library cannot be reached; its own limit, 2 GiB, holds on.
    """
    for library in _libraries():
        try:
            set_limit = cast("Callable[[int], None]", _declared(ctypes.CDLL(library)))
        except (OSError, AttributeError):
            # Not there, or without the function: the next may be it.
            continue
        set_limit(limit_bytes)
        return f"FFmpeg gets at most {limit_bytes:,} bytes at once"
    raise OSError("FFmpeg's libavutil cannot be reached")


def _declared(library: ctypes.CDLL) -> object:
    function = library.av_max_alloc
    function.argtypes = (ctypes.c_size_t,)
    function.restype = None
    return function


def _libraries() -> Iterator[str]:
    """Yield where the function of the FFmpeg that PyAV uses may be found."""
    if sys.platform != "win32":
        # The loader also looks into what a library was linked with: so it is the right one, however it came.
        yield av._core.__file__  # noqa: SLF001 - the module that asks FFmpeg for its versions
    package = Path(av.__file__).parent
    for file in sorted(package.with_name(f"{package.name}.libs").glob("avutil-*.dll")):
        yield str(file)
