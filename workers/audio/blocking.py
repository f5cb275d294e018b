"""Work that blocks, away from the event loop: each piece on a daemon thread of its own, so many at once.

A thread of its own, so that one that hangs can hold up neither another nor the end of the process, as a
thread pool's would. A place is given back when the thread has ended, not when nobody waits for it any more:
what hangs is a thread and a connection still. The work is done in the context of who asked for it, so that
what it logs is known to be about their call (`logs`).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["DaemonThreads"]

_T = TypeVar("_T")


class DaemonThreads:
    """Runs blocking work for the coroutines of one event loop.

    Parameters
    ----------
    name
        What the threads are called.
    at_once
        How many there may be; who comes later waits for a place.
    """

    def __init__(self, name: str, *, at_once: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(at_once)

    @property
    def full(self) -> bool:
        """Whether the next piece of work would have to wait for a place."""
        return self._places.locked()

    async def run(self, work: Callable[[], _T], *, discard: Callable[[_T], object]) -> _T:
        """Return what `work` returns, or raise what it raises.

        Parameters
        ----------
        work
            Called on a thread.
        discard
            Takes what `work` returns after the cancellation of who waited for it. It must not block.
        """
        await self._places.acquire()
        result: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        try:
            self._start(work, discard, result)
        except BaseException:
            self._places.release()
            raise
        try:
            return await result
        except asyncio.CancelledError:
            if result.done() and not result.cancelled() and result.exception() is None:
                # It was ready in the moment of the cancellation.
                discard(result.result())
            raise

    def _start(
        self, work: Callable[[], _T], discard: Callable[[_T], object], result: asyncio.Future[_T]
    ) -> None:
        loop = result.get_loop()

        def deliver(value: _T) -> None:
            self._places.release()
            if result.cancelled():
                discard(value)
            else:
                result.set_result(value)

        def fail(error: BaseException) -> None:
            self._places.release()
            if not result.cancelled():
                result.set_exception(error)

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001  # handed to the waiting coroutine, whatever it is
                _hand_over(loop, fail, error)
                return
            if not _hand_over(loop, deliver, value):
                discard(value)

        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(run), name=self._name, daemon=True).start()


def _hand_over(loop: asyncio.AbstractEventLoop, take: Callable[[_T], object], what: _T) -> bool:
    try:
        loop.call_soon_threadsafe(take, what)
    except RuntimeError:
        # The loop has closed: the worker is on its way out.
        return False
    return True
