"""Another core for a worker that runs, where the platform can do that."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from voicepool._subject_log import about

__all__ = ["repin"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


def repin(pid: int | None, core: int, *, worker: str = "") -> None:
    """Keep all threads of a process on a core from now on; where that cannot be done, it stays where it is.

    Parameters
    ----------
    pid
        Of the process; without one nothing is done.
    core
        The core's number.
    worker
        What the log calls that process.
    """
    if pid is None or pid == os.getpid() or not hasattr(os, "sched_setaffinity"):
        # The bot itself is never pinned, whatever a launcher of somebody else's takes for a process.
        return
    try:
        for thread in _threads(pid):
            # A thread may end meanwhile; those that begin inherit the core.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, {core})
    except OSError as error:
        _LOGGER.debug(
            "process %d cannot be moved to core %d: %s", pid, core, error.strerror, extra=about(worker=worker)
        )


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return [pid]
