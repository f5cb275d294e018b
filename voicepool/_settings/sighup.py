"""SIGHUP, which asks a service to read its settings again, for as many pools as one event loop has.

Only where nobody else has a use for the signal: a handler of the bot's own stays, and so does what ``nohup``
sets. By default the signal ends a process.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = ["on_hangup"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

_listeners: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Callable[[], None]]]] = (
    weakref.WeakKeyDictionary()
)
_installed: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any]] = weakref.WeakKeyDictionary()
"""What the signal module shows as the handler since each loop hears the signal."""


def on_hangup(listener: Callable[[], None]) -> Callable[[], None]:
    """Have a function called on the running event loop whenever SIGHUP comes, if that can be done.

    It cannot on Windows, off the main thread, or where the signal has a handler already.

    Returns
    -------
    Callable
        Ends it; the last one to do so gives the signal back.
    """
    loop = asyncio.get_running_loop()
    listeners = _listeners.get(loop)
    if listeners is None:
        if not _take(loop):
            return _nothing
        listeners = _listeners[loop] = []
    listeners.append(listener)

    def stop() -> None:
        present = _listeners.get(loop, [])
        if listener in present:
            present.remove(listener)
        if not present and _listeners.pop(loop, None) is not None:
            _give_back(loop)

    return stop


def _take(loop: asyncio.AbstractEventLoop) -> bool:
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        return False
    try:
        loop.add_signal_handler(signal.SIGHUP, _call_all, loop)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        _LOGGER.debug("SIGHUP cannot be heard: %s", error)
        return False
    _installed[loop] = signal.getsignal(signal.SIGHUP)
    return True


def _give_back(loop: asyncio.AbstractEventLoop) -> None:
    ours, present = _installed.pop(loop, None), signal.getsignal(signal.SIGHUP)
    loop.remove_signal_handler(signal.SIGHUP)
    if present is not ours:
        # Somebody has set another one meanwhile; the loop has taken it away.
        signal.signal(signal.SIGHUP, present)


def _call_all(loop: asyncio.AbstractEventLoop) -> None:
    for listener in tuple(_listeners.get(loop, ())):
        listener()


def _nothing() -> None:
    """There is nothing to end."""
