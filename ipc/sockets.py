"""The private directory in which a pool's socket files lie, and what is left of those of dead bots.

Only this user can enter it. As long as its bot lives, the bot holds a lock on it (flock(2)): the kernel lets
go of that however a process ends. So whether a bot is dead is seen from its directory alone, also where
containers share a directory for temporary files and know nothing of each other's process numbers, and where a
number has been given to another process since.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from voicepool.ipc.ids import WorkerId

if sys.platform != "win32":
    import fcntl

__all__ = ["SocketDirectory", "remove_stale_directories"]

_PREFIX: Final = "voicepool.ipc-"
"""No other directory's, or an empty one of that name would be taken for what a dead bot has left."""
_SUN_PATH_BYTES: Final = 104 if sys.platform == "darwin" else 107
"""Room for a path in ``sockaddr_un`` (unix(7)), its terminating zero excluded."""
_SHORT_PARENT: Final = "/tmp"  # noqa: S108  # mkdtemp makes it private
_MOST_REMOVED: Final = 1_000
"""Directories that one start clears away; what is left is for the next."""


class SocketDirectory:
    """A private directory for socket files, removed by `close`.

    Raises
    ------
    OSError
        No temporary directory gives a path short enough for a socket, or none can be written; the text is a
        sentence with the reasons and the way out.
    """

    _LONGEST_NAME: Final = len("/w999.99999.sock")

    def __init__(self) -> None:
        self.path, self._lock = self._make()
        self._pid = os.getpid()

    @classmethod
    def _make(cls) -> tuple[Path, int]:
        # TMPDIR may be long (macOS, CI), and a socket path has little room: /tmp is the way out.
        reasons: list[OSError] = []
        for parent in _parents():
            try:
                return _make_locked(parent, room_bytes=_SUN_PATH_BYTES - cls._LONGEST_NAME)
            except OSError as error:
                reasons.append(error)
        told = "; ".join(f"{reason.filename or 'no directory'}: {reason.strerror}" for reason in reasons)
        text = (
            f"there is no place for the socket files of the workers ({told}); free some space, or set TMPDIR "
            'to a directory with a short path that can be written, or set ipc to "tcp"'
        )
        raise OSError(reasons[0].errno, text)

    def address(self, worker: WorkerId) -> str:
        """Return the ``ipc://`` address of a worker's socket."""
        return f"ipc://{self.path}/{worker}.sock"

    def close(self) -> None:
        """Remove the directory and what is left in it; in a fork of its bot, leave it to the bot."""
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        try:
            if os.getpid() == self._pid:
                shutil.rmtree(self.path, ignore_errors=True)
        finally:
            os.close(lock)


def remove_stale_directories() -> list[Path]:
    """Remove the socket directories of this user's dead bots, and return which these were.

    What is a link, belongs to someone else, can be entered by others, holds anything but sockets or has a
    bot that lives is left alone. There are none on Windows.
    """
    removed: list[Path] = []
    if sys.platform == "win32":
        return removed
    for parent in _parents():
        # A directory that cannot be listed holds nothing that we could remove.
        with contextlib.suppress(OSError):
            for entry in parent.iterdir():
                if len(removed) == _MOST_REMOVED:
                    return removed
                if entry.name.startswith(_PREFIX) and _remove_if_stale(entry):
                    removed.append(entry)
    return removed


def _parents() -> list[Path]:
    return [Path(parent) for parent in dict.fromkeys((tempfile.gettempdir(), _SHORT_PARENT))]


def _make_locked(parent: Path, *, room_bytes: int) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if len(os.fsencode(path)) > room_bytes:
            path.rmdir()
            text = f"its path is too long for a socket, which has room for {_SUN_PATH_BYTES} bytes"
            raise OSError(errno.ENAMETOOLONG, text, str(parent))
        # Another bot that starts now may take it for a dead one's and remove it; then there is to be another.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, lock)
                if _take(lock) is not _Taken.BY_ANOTHER and os.path.samestat(os.fstat(lock), path.stat()):
                    stack.pop_all()
                    return path, lock


class _Taken(enum.Enum):
    BY_US = enum.auto()
    BY_ANOTHER = enum.auto()
    UNKNOWN = enum.auto()
    """The file system knows no locks."""


def _take(directory: int) -> _Taken:
    if sys.platform == "win32":
        return _Taken.UNKNOWN
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Taken.BY_ANOTHER
    except OSError:
        return _Taken.UNKNOWN
    return _Taken.BY_US


def _remove_if_stale(path: Path) -> bool:
    # A descriptor of the directory itself: nobody can put a link, or another directory, in its place.
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, directory)
        if _is_private(os.fstat(directory)) and _take(directory) is _Taken.BY_US and _clear(directory):
            path.rmdir()
            return True
    return False


def _is_private(directory: os.stat_result) -> bool:
    return directory.st_uid == os.geteuid() and not stat.S_IMODE(directory.st_mode) & 0o077


def _clear(directory: int) -> bool:
    """Unlink the sockets in a directory, by its descriptor; True if nothing else is in it."""
    names = os.listdir(directory)
    if not all(
        stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode) for name in names
    ):
        return False
    for name in names:
        os.unlink(name, dir_fd=directory)
    return True
