"""When a child process was stopped, as by SIGSTOP: the kernel tells as it happens (waitid(2), ``WSTOPPED``).

A stopped worker sends nothing, and what it played has to go on where its listeners heard it last. Nobody else
tells when that was: a worker that is found silent fell silent at some time since it was heard last. To ask it
for signs of life often enough to know would cost the bot more than all else that it does while nothing
happens.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final

from voicepool._process.threads import start_thread

__all__ = ["StopWatch"]

_HAS_WAITID: Final = hasattr(os, "waitid")


class StopWatch:
    """Of one child of this process.

    A thread waits, and takes no note of the end that anybody else waits for; it ends with the process. Where
    there is no such call (Windows, macOS before Python 3.13), no thread left, or no such child, nobody knows.

    Parameters
    ----------
    pid
        Of a child.
    clock
        Seconds; monotonic.
    """

    def __init__(self, pid: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._clock = clock
        self._since: float | None = None
        if _HAS_WAITID:
            with contextlib.suppress(OSError):
                start_thread(self._watch, name=f"voicepool stops of {pid}")

    def stopped_s(self) -> float | None:
        """Return for how long it has been stopped, in seconds; None if it is not, or nobody knows."""
        since = self._since
        return None if since is None else self._clock() - since

    def _watch(self) -> None:
        # Gone, and waited for by its owner.
        with contextlib.suppress(ChildProcessError):
            while self._wait(os.WSTOPPED) == os.CLD_STOPPED:
                self._since = self._clock()
                if self._wait(os.WCONTINUED) != os.CLD_CONTINUED:
                    return
                self._since = None
                # It is said again and again until somebody has taken note of it.
                os.waitid(os.P_PID, self._pid, os.WCONTINUED | os.WNOHANG)

    def _wait(self, change: int) -> int | None:
        result = os.waitid(os.P_PID, self._pid, change | os.WEXITED | os.WNOWAIT)
        return None if result is None else result.si_code
