"""What a worker asks of its machine beside time: a core of its own, and how much memory it holds.

Where a platform cannot tell or do something, that is said here and nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["pin_to_core", "rss_bytes", "step_back"]

_LOGGER: Final = logging.getLogger("voicepool.worker")
_NICEST: Final = 19
_STATM: Final = Path("/proc/self/statm")


def pin_to_core(core: int | None) -> int | None:
    """Keep this process on one core.

    Returns
    -------
    int or None
        The core, or None where that cannot be done (macOS and Windows have no such call in the standard
        library; a container may forbid it).
    """
    if core is None or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, {core})
    except OSError as error:
        _LOGGER.warning("core %d cannot be had (%s); the worker runs on any", core, error.strerror)
        return None
    return core


def _threads() -> list[int]:
    """Return the threads there are so far; those to come inherit the core from whoever starts them."""
    try:
        return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
    except OSError:
        return [0]


def step_back() -> None:
    """Let all other threads go before the calling one, which still gets a hundredth of the core at least.

    That is for work which holds something that others may want, as the kernel's lock of the address space:
    a thread of the idle class might be kept from giving it back. Linux has this for single threads only.
    """
    if sys.platform.startswith("linux"):
        os.nice(_NICEST)


def rss_bytes() -> int:
    """Return the memory this process holds, in bytes: now on Linux, at its peak on macOS, 0 on Windows."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
