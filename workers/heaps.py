"""Keeps what a worker has freed from staying with it: few heaps, and back with what lies free in them.

glibc gives threads up to eight heaps (arenas) a core, so that they do not wait for each other. Sources are
opened by threads that come and go, and what FFmpeg leaves in a heap keeps the pages around it: of 20 calls
that play, seek and leave all the time, a worker had ten heaps after some minutes, with 15 to 18 MiB in them
that nobody used. So all threads but the main one share a heap. Frames become no dearer by it, for most of
what allocates holds the interpreter's lock as it is, and small pieces come from a cache of the thread.

Pages in the middle of a heap go back to the kernel only by `give_back`: 12 MiB of those 15 in 1.4 ms, during
which the interpreter is free.

Other C libraries (musl, macOS, Windows) have no such heaps, or no such setting.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

__all__ = ["HEAPS", "give_back", "share_heaps"]

HEAPS: Final = 2
"""The main thread's, and one for all others."""
_M_ARENA_MAX: Final = -8
_OWN_WISHES: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""Settings of glibc by which whoever runs the bot has said how it is to be."""


def share_heaps() -> bool:
    """Bound the number of heaps; tell whether it is bound by this now.

    To be called before there are threads: those that have a heap keep it. See mallopt(3), ``M_ARENA_MAX``.
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None or any(name in os.environ for name in _OWN_WISHES):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    return bool(mallopt(_M_ARENA_MAX, HEAPS))


def give_back() -> bool:
    """Give free pages in all heaps back to the kernel; tell whether there were any. See malloc_trim(3)."""
    malloc_trim = _of_the_c_library("malloc_trim")
    if malloc_trim is None:
        return False
    malloc_trim.argtypes = (ctypes.c_size_t,)
    malloc_trim.restype = ctypes.c_int
    return bool(malloc_trim(0))


def _of_the_c_library(name: str) -> Any:
    """Return a function; None where there is none of this name, or another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
