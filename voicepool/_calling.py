"""Calls of functions that may block for long or for ever, off the event loop.

asyncio's own executor will not do for them: one that hangs keeps the program from ending, and a few of them
keep everything else from its threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["MAX_THREADS", "call_in_thread"]

MAX_THREADS: Final = 16
"""How many such calls run at once for one event loop, those included that nobody waits for any more."""

_T = TypeVar("_T")
_places: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]] = (
    weakref.WeakKeyDictionary()
)


async def call_in_thread(function: Callable[[], _T], *, name: str) -> _T:
    """Call a function in a thread of its own, after a wait if `MAX_THREADS` of them run already.

    Cancelling this gives up waiting. A function that has begun then goes on to its end, for nothing can end
    a thread, and keeps its place until then; the thread is a daemon, so the program can end before it.

    Parameters
    ----------
    function
        Sees the context variables of the caller.
    name
        Of the thread.

    Raises
    ------
    RuntimeError
        The function ended by something that is no `Exception`, such as `SystemExit`.
    Exception
        Whatever the function raises.
    """
    loop = asyncio.get_running_loop()
    places = _places.setdefault(loop, asyncio.Semaphore(MAX_THREADS))
    await places.acquire()
    over: asyncio.Future[Callable[[], _T]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(outcome: Callable[[], _T]) -> None:
        places.release()
        if not over.done():
            over.set_result(outcome)

    def work() -> None:
        outcome = _outcome(lambda: context.run(function))
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:
            # The loop has closed, and with it all who waited.
            return

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except BaseException:
        places.release()
        raise
    # Handed over as a callable, since a future refuses some exceptions (StopIteration).
    return (await over)()


def _outcome(function: Callable[[], _T]) -> Callable[[], _T]:
    """Call a function; what is returned gives its result, or raises what it raised."""
    failure: Exception
    try:
        result = function()
    except Exception as error:  # noqa: BLE001 - the caller gets it, whatever it is
        failure = error
    except BaseException as error:  # noqa: BLE001 - raised in the event loop's thread, it would end that
        failure = RuntimeError(f"it ended by {type(error).__name__}")
        failure.__cause__ = error
    else:
        return lambda: result

    def fail() -> _T:
        raise failure

    return fail
