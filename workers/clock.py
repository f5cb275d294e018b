"""The clock that the pacing and encoder threads wait on, and the scheduling class they run in.

Everything that depends on the platform's timers and scheduler is in this file. On Linux a wait ends within
some 10 µs (the timer slack is set to 1 ns); elsewhere it is as good as the platform's best sleep.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from typing import Final, Protocol

__all__ = [
    "Clock",
    "MonotonicClock",
    "lift_thread",
    "lower_thread_priority",
    "raise_thread_priority",
    "sharpen_timers",
]

_PR_SET_TIMERSLACK: Final = 29
_NS_PER_S: Final = 1_000_000_000


class Clock(Protocol):
    """What a thread needs of time: to read it, to wait for it, and to be woken."""

    def now_ns(self) -> int:
        """Return monotonic time in nanoseconds."""

    def sleep_until(self, deadline_ns: int | None) -> bool:
        """Wait for an instant, or for `wake` alone when it is None; say whether `wake` came first."""

    def wake(self) -> None:
        """End the wait under way, or the next one, from any thread."""


class MonotonicClock:
    """The real clock. Each thread that waits has one of its own.

    Waiting is a timed ``Lock.acquire``: as exact as ``clock_nanosleep`` on POSIX systems, and `wake`
    can end it. On Windows timed locks follow the 15.6 ms system tick, so there ``time.sleep``, which uses
    a high-resolution timer since Python 3.11, does the waiting in steps of at most `_WINDOWS_STEP_S`.
    """

    _WINDOWS_STEP_S: Final = 0.005

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    now_ns = staticmethod(time.monotonic_ns)
    """Return monotonic time in nanoseconds. The C function itself: every packet reads the clock."""

    def sleep_until(self, deadline_ns: int | None) -> bool:
        """Wait for an instant; say whether `wake` came first."""
        if deadline_ns is None:
            return self._gate.acquire()
        left_ns = deadline_ns - time.monotonic_ns()
        if left_ns <= 0:
            return self._gate.acquire(blocking=False)
        if sys.platform == "win32":
            return self._sleep_in_steps(deadline_ns)
        return self._gate.acquire(timeout=left_ns / _NS_PER_S)

    def wake(self) -> None:
        """End the wait under way, or the next one."""
        # Releasing an open gate means that a wake is pending already.
        with contextlib.suppress(RuntimeError):
            self._gate.release()

    def _sleep_in_steps(self, deadline_ns: int) -> bool:
        while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            if self._gate.acquire(blocking=False):
                return True
            time.sleep(min(left_ns / _NS_PER_S, self._WINDOWS_STEP_S))
        return self._gate.acquire(blocking=False)


def sharpen_timers() -> bool:
    """Set the calling thread's timer slack to 1 ns; say whether that worked (Linux only, see prctl(2)).

    The default of 50 µs would be half of the lateness that a lightly loaded worker has.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    prctl.restype = ctypes.c_int
    return bool(prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0)


def lower_thread_priority() -> str:
    """Put the calling thread below the worker's others in the kernel's eyes; return the class it got.

    ``SCHED_IDLE`` needs no privilege and lets a pacing thread that wakes take the core at once. There is
    no way back for an unprivileged thread (it would need ``RLIMIT_NICE``), which is why a rescue uses
    another thread instead.

    Returns
    -------
    str
        ``idle`` or, where the platform has no such class or refuses it, ``normal``.
    """
    if sys.platform.startswith("linux"):
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:
            return "normal"
        return "idle"
    return "normal"


def lift_thread(native_id: int) -> bool:
    """Take a thread of this process out of ``SCHED_IDLE``, from another one; say whether that was allowed."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.sched_setscheduler(native_id, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return False
    return True


def raise_thread_priority() -> str:
    """Put the calling thread above everything ordinary in the kernel's eyes; return the class it got.

    ``SCHED_FIFO`` wants CAP_SYS_NICE or a limit in ``RLIMIT_RTPRIO``. With it, other programs on the
    same core can't delay a packet. The kernel still keeps 5 % of the core from such threads.

    Returns
    -------
    str
        ``fifo`` or, where the platform has no such class or refuses it, ``normal``.
    """
    if sys.platform.startswith("linux"):
        try:
            lowest = os.sched_get_priority_min(os.SCHED_FIFO)
            # Threads and processes started from here would not want it.
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(lowest))
        except OSError:
            return "normal"
        return "fifo"
    return "normal"
