"""Threads that serve an event loop, one for each thing that would block it."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from typing import TypeVarTuple

__all__ = ["start_thread", "tell_loop"]

_Ts = TypeVarTuple("_Ts")


def start_thread(work: Callable[[], None], *, name: str) -> None:
    """Run a function in a thread that does not keep the program from ending.

    Raises
    ------
    OSError
        The system has no thread to give.
    """
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"the system starts no more threads: {error}") from error


def tell_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[*_Ts], object], *args: *_Ts) -> bool:
    """Have an event loop call something, from a thread.

    Returns
    -------
    bool
        Whether it will; False if the loop is closed, so that nobody is there any more to hear of it.
    """
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        return False
    return True
