"""Who comes to a socket of the pool: so many at a time, each with a task of its own, none after the close.

For servers that give a connection one answer. They say how to serve one; that it ends, its connection closed,
is seen to here, whatever comes of the serving.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["Meet", "Reception"]

Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]
"""What `asyncio.start_server` calls for each connection."""


class Reception:
    """Owns a listening socket and the tasks of its clients. Used on one event loop.

    Parameters
    ----------
    serve
        Serves one client. Need not close the connection.
    most
        Clients served at a time; at the bound one more is turned away.
    name
        Of the clients' tasks.
    refusal
        What is written to who is turned away.
    admits
        Says whether a client is served at all.
    """

    def __init__(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
        *,
        most: int,
        name: str,
        refusal: bytes = b"",
        admits: Callable[[asyncio.StreamWriter], bool] = lambda _: True,
    ) -> None:
        self._serve = serve
        self._most = most
        self._name = name
        self._refusal = refusal
        self._admits = admits
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def open(self, listen: Callable[[Meet], Awaitable[asyncio.Server]]) -> asyncio.Server:
        """Listen, and own what is listened with.

        Parameters
        ----------
        listen
            Starts the server, with what is given to it as the callback for connections. What it raises is
            raised here.
        """
        self._server = await listen(self._meet)
        return self._server

    async def close(self) -> None:
        """Serve nobody any more, and wait for the tasks of who is still there. A second time does nothing."""
        # Who has been accepted may still be on the way to `_meet`.
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        if clients:
            await asyncio.wait(clients)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_closed or len(self._clients) >= self._most or not self._admits(writer):
            if self._refusal:
                writer.write(self._refusal)
            writer.close()
            return
        client = asyncio.create_task(self._serve(reader, writer), name=self._name)
        self._clients.add(client)
        # Not in `_serve`: a task that is cancelled before its first step runs none of it.
        client.add_done_callback(functools.partial(self._part, writer))

    def _part(self, writer: asyncio.StreamWriter, client: asyncio.Task[None]) -> None:
        self._clients.discard(client)
        writer.close()
