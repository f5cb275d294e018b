"""How an event loop hears of a child process: that it has ended, and what it says.

Not by the event loops' own means (``subprocess_exec``), which do not stand two Ctrl-Cs: they do not agree on
what is left of a start that is cancelled half-way, and with Python 3.11 waiting for it may never end.

Linux tells of the end of a process by a descriptor (pidfd), and event loops watch descriptors of files. Where
the one or the other is not so (before Linux 5.3 and on macOS, on Windows), a thread waits instead. That is
decided here and known to nobody else: `Ending` and `listen` do the same either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol

from voicepool._process.descriptor import Descriptor
from voicepool._process.threads import start_thread, tell_loop

__all__ = ["Ending", "Output", "listen"]

PIECE_BYTES: Final = 1 << 16
"""What is read at once: what a pipe of Linux holds unless told otherwise."""
LAST_PIECES: Final = 64
"""How many of them are read after the end; only a stray child that writes on and on has more."""
_LAST_WORDS_S: Final = 0.5
"""How long a thread is given for them."""


class Ending:
    """The end of a process, heard of in the event loop in which this is made.

    Parameters
    ----------
    process
        A child, for which nobody else waits.

    Attributes
    ----------
    status
        Its exit status, once it has ended and is reaped; negative is the number of the signal that killed it.

    Raises
    ------
    OSError
        A thread is needed, and the system has none to give.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self.status: Final[asyncio.Future[int]] = self._loop.create_future()
        self._told_by = self._watch_descriptor()
        if self._told_by is None:
            start_thread(self._wait, name=f"voicepool wait for {process.pid}")

    def close(self) -> None:
        """Wait no more. A thread that waits ends with the process."""
        if self._told_by is not None and self._told_by.is_held:
            self._loop.remove_reader(self._told_by.fileno())
            self._told_by.let_go()

    def _watch_descriptor(self) -> Descriptor | None:
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = Descriptor(os.pidfd_open(self._process.pid))
        except OSError:
            # An old kernel, a sandbox that forbids it, or too many open files.
            return None
        try:
            self._loop.add_reader(descriptor.fileno(), self._reap)
        except BaseException as error:
            descriptor.let_go()
            if isinstance(error, NotImplementedError):
                return None
            raise
        return descriptor

    def _wait(self) -> None:
        self._process.wait()
        tell_loop(self._loop, self._reap)

    def _reap(self) -> None:
        status = self._process.poll()
        if status is None:
            return
        self.close()
        if not self.status.done():
            self.status.set_result(status)


class Output(Protocol):
    """The output of a process, which is taken as it comes."""

    async def finish(self) -> None:
        """Take what the process, which has ended, has left in the pipe, and nothing after that.

        That is all of it, even if a stray child of the process keeps the pipe open.
        """

    def close(self) -> None:
        """Take no more; closes the pipe."""


def listen(end: Descriptor, take: Callable[[bytes], None]) -> Output:
    """Begin to read a pipe, and hand on what comes in the running event loop.

    Parameters
    ----------
    end
        To read from; owned from now on.
    take
        Handed each piece, `PIECE_BYTES` at most. The pipe fills up as long as the event loop is busy.

    Raises
    ------
    OSError
        A thread is needed, and the system has none to give.
    """
    if sys.platform != "win32":
        # There, loops that do watch descriptors only take sockets, and would break at this.
        with contextlib.suppress(NotImplementedError):
            return _WatchedOutput(end, take)
    return _AwaitedOutput(end, take)


class _WatchedOutput:
    """Read when the event loop says that something is there."""

    def __init__(self, end: Descriptor, take: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = end
        self._take = take
        self._loop.add_reader(end.fileno(), self._read)
        os.set_blocking(end.fileno(), False)

    async def finish(self) -> None:
        for _ in range(LAST_PIECES):
            if not self._end.is_held or not self._read():
                break
        self.close()

    def close(self) -> None:
        if self._end.is_held:
            self._loop.remove_reader(self._end.fileno())
            self._end.let_go()

    def _read(self) -> bool:
        """Take a piece; return whether there may be another."""
        try:
            data = os.read(self._end.fileno(), PIECE_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._take(data)
        else:
            self.close()
        return bool(data)


class _AwaitedOutput:
    """Read by a thread, one piece at a time: the next is read when the event loop has taken the last.

    The thread owns the pipe: closing it here would not wake a thread that reads, and the next file opened
    might get its number. So a stray child of the process that says nothing keeps the thread.
    """

    def __init__(self, end: Descriptor, take: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = end
        self._take = take
        self._taken = threading.Semaphore(1)
        self._is_closed = False
        self._silent: Final[asyncio.Future[None]] = self._loop.create_future()
        start_thread(self._read, name="voicepool output")

    async def finish(self) -> None:
        # There is no asking whether a pipe is empty. What it holds is a piece or two.
        await asyncio.wait({self._silent}, timeout=_LAST_WORDS_S)
        self.close()

    def close(self) -> None:
        self._is_closed = True
        self._taken.release()

    def _read(self) -> None:
        with self._end:
            while not self._is_closed and (data := os.read(self._end.fileno(), PIECE_BYTES)):
                self._taken.acquire()
                if not tell_loop(self._loop, self._hand_on, data):
                    break
        tell_loop(self._loop, self._fall_silent)

    def _hand_on(self, data: bytes) -> None:
        try:
            if not self._is_closed:
                self._take(data)
        finally:
            self._taken.release()

    def _fall_silent(self) -> None:
        if not self._silent.done():
            self._silent.set_result(None)
