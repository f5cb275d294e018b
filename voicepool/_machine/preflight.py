"""What is looked at before the first worker starts: what would otherwise fail later, and far from its cause.

* Directories of sockets that dead bots have left are removed.
* The limit on open files (``ulimit -n``, RLIMIT_NOFILE) is compared with what the pool needs when it is full.
  A worker raises its own as far as it may, so for workers the hard limit counts. The bot's is raised as far
  as it needs it and no further: a library of the bot may use select(2), which takes no file above 1023.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicepool._machine.cores import read_topology
from voicepool.errors import WorkerStartError
from voicepool.ipc.sockets import remove_stale_directories

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicepool.config import PoolConfig

if sys.platform != "win32":
    import resource

__all__ = ["FileLimit", "FileNeeds", "most_workers", "prepare_start", "read_file_limit"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

FILES_PER_CALL: Final = 5
"""Websocket, UDP socket, what plays, what plays next or over it, and a websocket while one is renewed."""
FILES_OF_A_WORKER: Final = 64
"""Twice what one without calls has open: its libraries, its link, its pipes, its event loop."""
FILES_PER_WORKER: Final = 12
"""In the bot: both pipes, the process (pidfd), a bound and a connected socket, and ZeroMQ's mailboxes."""
FILES_OF_A_BOT: Final = 256
"""Its own: the main gateway's and REST connections, databases, logs."""


@dataclass(frozen=True, slots=True)
class FileNeeds:
    """How many files are open at once when all workers hold as many calls as they may.

    Attributes
    ----------
    worker
        In each worker.
    bot
        In the bot.
    """

    worker: int
    bot: int

    @classmethod
    def of(cls, *, workers: int, calls: int) -> FileNeeds:
        """Compute them for a number of workers and of calls that each may hold."""
        return cls(FILES_OF_A_WORKER + calls * FILES_PER_CALL, FILES_OF_A_BOT + workers * FILES_PER_WORKER)


@dataclass(frozen=True, slots=True)
class FileLimit:
    """How many files a process may have open.

    Attributes
    ----------
    soft
        In force.
    hard
        As far as the process itself may raise it.
    """

    soft: int
    hard: int


def read_file_limit() -> FileLimit | None:
    """Return the limit of this process; None on Windows, which has no such limit on sockets."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FileLimit(_finite(soft), _finite(hard))


def most_workers(config: PoolConfig) -> int:
    """Return how many workers there may be at once, spare ones and a replacement included."""
    workers = config.resolve_workers()
    if config.autoscale:
        most = config.max_workers
        workers = max(workers, read_topology().usable if isinstance(most, str) else most)
    return workers + config.spare_workers + 1


def prepare_start(config: PoolConfig) -> None:
    """Look at everything, mend what can be, and log a warning for what a bot has to put up with.

    Blocks on the file system; not for the event loop's thread.

    Parameters
    ----------
    config
        Of the pool that starts.

    Raises
    ------
    WorkerStartError
        The limit on open files does not let all workers start; the text has the number needed.
    """
    for path in remove_stale_directories():
        _LOGGER.info("removed %s, which a bot that is no more had left", path)
    _ensure_files(
        FileNeeds.of(workers=most_workers(config), calls=config.max_calls_per_worker),
        read_file_limit(),
        raise_to=_raise_file_limit,
    )


def _ensure_files(needs: FileNeeds, limit: FileLimit | None, *, raise_to: Callable[[int], int]) -> None:
    if limit is None:
        return
    granted = limit.soft
    if granted < needs.bot:
        granted = raise_to(min(needs.bot, limit.hard))
        _LOGGER.info("the limit on open files was %d and is %d now", limit.soft, granted)
    most = max(needs.worker, needs.bot)
    way_out = f"allow {most} (ulimit -n {most}; systemd: LimitNOFILE={most})"
    if granted < needs.bot:
        open_now, more = _open_files(), needs.bot - FILES_OF_A_BOT
        if granted < open_now + more:
            raise WorkerStartError(
                f"the workers cannot be started: {granted} files may be open in the bot, it has {open_now} "
                f"open and needs {more} more for its workers; {way_out}"
            )
        _LOGGER.warning(
            "%d files may be open in the bot, and with its workers it may need %d; %s",
            granted,
            needs.bot,
            way_out,
        )
    if limit.hard < needs.worker:
        calls = max(1, (limit.hard - FILES_OF_A_WORKER) // FILES_PER_CALL)
        _LOGGER.warning(
            "%d files may be open in a worker, and one with max_calls_per_worker calls needs %d: beyond "
            "some %d calls, joining and playing will fail; %s, or set max_calls_per_worker to %d",
            limit.hard,
            needs.worker,
            calls,
            way_out,
            calls,
        )


def _raise_file_limit(wanted: int) -> int:
    """Raise the limit in force; returns what it then is."""
    assert sys.platform != "win32", "there is no such limit"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        # macOS names a hard limit beyond the one it keeps to (OPEN_MAX); a sandbox may forbid it.
        _LOGGER.debug("the limit on open files cannot be raised to %d: %s", wanted, error)
        return _finite(soft)
    return wanted


def _open_files() -> int:
    """Count the files this process has open; 0 where that cannot be seen."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return 0


def _finite(limit: int) -> int:
    assert sys.platform != "win32", "there is no such limit"
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
