"""Has an event loop call something when a ZeroMQ socket may have something to be read.

ZeroMQ's own asyncio sockets do that as well, and more, at several times the cost of a message: a future, a
handle and a task's turn for each of them, in a bot that hears from its workers day and night.

What a ZeroMQ socket has for a file descriptor (zmq_getsockopt(3), ``ZMQ_FD``) says no more than that
something has changed. It is quiet again as soon as anybody has looked (``ZMQ_EVENTS``), or has sent or
received, whatever that was. So who works with such a socket has to look each time afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket as sockets
import threading
from collections.abc import Callable
from typing import Final

import zmq

__all__ = ["Readiness"]


class Readiness:
    """Calls `on_change` on the running event loop whenever a socket's state may have changed.

    Parameters
    ----------
    socket
        Stays its owner's, who must `close` this first.
    on_change
        Has to look at the socket's ``EVENTS``, and may be called for nothing. Must not block.
    """

    def __init__(self, socket: zmq.Socket[bytes], on_change: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        descriptor = socket.get(zmq.FD)
        assert isinstance(descriptor, int), "as of every option but those that are texts"
        self._descriptor = descriptor
        self._thread: _SelectingThread | None = None
        self._is_open = True
        try:
            self._loop.add_reader(self._descriptor, on_change)
        except NotImplementedError:
            # The default loop of Windows watches no descriptors.
            self._thread = _SelectingThread(self._descriptor, self._loop, on_change)

    def close(self) -> None:
        """Call no more."""
        if not self._is_open:
            return
        self._is_open = False
        if self._thread is not None:
            self._thread.close()
        else:
            self._loop.remove_reader(self._descriptor)


class _SelectingThread:
    """Watches a descriptor where the loop cannot. After each call it waits until that one is done."""

    def __init__(
        self, descriptor: int, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]
    ) -> None:
        self._descriptor: Final = descriptor
        self._loop = loop
        self._on_change = on_change
        self._is_open = True
        self._done = threading.Semaphore(0)
        self._waker, self._woken = sockets.socketpair()
        self._thread = threading.Thread(target=self._watch, name="voicepool link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for that, since the number of the descriptor may be another's soon."""
        self._is_open = False
        self._waker.send(b"\0")
        self._done.release()
        self._thread.join()
        self._waker.close()
        self._woken.close()

    def _watch(self) -> None:
        while self._is_open:
            select.select([self._descriptor, self._woken.fileno()], [], [])
            if not self._is_open:
                return
            with contextlib.suppress(RuntimeError):
                # The loop is closed: what is left is to wait for `close`.
                self._loop.call_soon_threadsafe(self._call)
            self._done.acquire()

    def _call(self) -> None:
        try:
            if self._is_open:
                self._on_change()
        finally:
            self._done.release()
