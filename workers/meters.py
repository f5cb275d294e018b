"""What a worker measures of itself for `Stats`, beside what its threads count.

That is how late its control loop is, how busy its encoder threads are, and how much memory is really its own.

`rss_bytes` counts pages that all workers share (libraries, above all) for each of them. The proportional set
size splits those fairly. Adding it up takes the kernel 3 ms at 150 calls. So that is done rarely, and when
`rss_bytes` has changed above all, and by a thread of its own that lets others go first: packets leave up to
5 ms late otherwise.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from voicepool.workers.machine import rss_bytes

__all__ = ["PSS_EVERY_S", "LoopLag", "ProportionalMemory", "Share"]

PSS_EVERY_S: Final = 3.0
"""How often the memory is added up at most, in seconds."""
CHANGE_BYTES: Final = 4 << 20
"""What must have come or gone for that."""
LONGEST_WAITS: Final = 10
"""After so many times `PSS_EVERY_S` it is added up in any case: others may share more or less of it."""
_SMAPS_ROLLUP: Final = Path("/proc/self/smaps_rollup")
_PSS: Final = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


class LoopLag:
    """How late timers of the control loop fire.

    Attributes
    ----------
    worst_s
        The worst since `restart`, in seconds.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0

    def note(self, due_s: float, now_s: float) -> None:
        """Note that a timer fired now; both in seconds of a monotonic clock."""
        self.worst_s = max(self.worst_s, now_s - due_s)

    def restart(self) -> None:
        """Begin a new period."""
        self.worst_s = 0.0


class Share:
    """How much of a period something was at work."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._worked_before_s = 0.0

    def at(self, now_s: float, worked_s: float) -> float:
        """Return the share since `restart`: 0.0 to 1.0.

        Parameters
        ----------
        now_s
            In seconds of a monotonic clock.
        worked_s
            Time at work, over all periods.
        """
        elapsed_s = now_s - self._since_s
        if elapsed_s <= 0.0:
            return 0.0
        return min(1.0, max(0.0, (worked_s - self._worked_before_s) / elapsed_s))

    def restart(self, now_s: float, worked_s: float) -> None:
        """Begin a new period."""
        self._since_s, self._worked_before_s = now_s, worked_s


class ProportionalMemory:
    """The proportional set size of this process, read by a thread of its own.

    Parameters
    ----------
    rollup
        Where the kernel adds it up (proc(5), ``/proc/pid/smaps_rollup``).
    prepare_thread
        Called on the thread as it starts.
    rss
        Tells the bytes that this process uses, whoever else uses them.

    Attributes
    ----------
    pss_bytes
        As it was last; None before the first time, and where the platform does not tell.
    """

    def __init__(
        self,
        rollup: Path = _SMAPS_ROLLUP,
        *,
        prepare_thread: Callable[[], object] = lambda: None,
        rss: Callable[[], int] = rss_bytes,
    ) -> None:
        self._rss = rss
        self._rollup = rollup
        self._thread = ThreadPoolExecutor(1, "voicepool-memory", initializer=prepare_thread)
        self.pss_bytes: int | None = None

    async def keep_reading(self) -> None:
        """Read it again and again until cancelled; return if the platform does not tell."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.pss_bytes = await loop.run_in_executor(self._thread, self._read)
                if self.pss_bytes is None:
                    return
                await self._until_worth_it(self._rss())
        finally:
            self._thread.shutdown(wait=False)

    async def _until_worth_it(self, before_bytes: int) -> None:
        for _ in range(LONGEST_WAITS):
            await asyncio.sleep(PSS_EVERY_S)
            if abs(self._rss() - before_bytes) >= CHANGE_BYTES:
                break

    def _read(self) -> int | None:
        try:
            found = _PSS.search(self._rollup.read_bytes())
        except OSError:
            return None
        return None if found is None else int(found[1]) * 1024
