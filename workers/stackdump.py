"""Has a worker that hangs or crashes say where, on standard error, which its bot passes on.

SIGUSR1 writes the stacks of all threads. That is done in the signal handler itself, in C, without waiting for
the interpreter: it also works when the main thread loops for ever or holds the interpreter's lock in a call
that does not return. So whoever is about to kill a hung worker asks it first. Signals that stand for a crash
write the same, and then end the process as ever.

Only names of files and functions and line numbers are written, no values, so no secret can be among them.
"""

from __future__ import annotations

import faulthandler
import signal

__all__ = ["can_be_asked", "enable"]


def can_be_asked() -> bool:
    """Tell whether this platform has the signal."""
    return hasattr(faulthandler, "register") and hasattr(signal, "SIGUSR1")


def enable() -> None:
    """Write stacks on a crash, and on SIGUSR1 where there is one.

    Without a standard error there is nowhere to write to, and nothing is done.
    """
    try:
        faulthandler.enable(all_threads=True)
        if can_be_asked():
            faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
    except (RuntimeError, ValueError, OSError):
        # `sys.stderr` is None or no file.
        return
