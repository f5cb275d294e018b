"""A web server whose answers have no end, for clients that should know when to stop reading."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator

__all__ = ["EndlessSite", "serving_endlessly"]


class EndlessSite:
    """Sends a piece after the other to whoever asks, as fast as it is taken.

    Parameters
    ----------
    begin
        The first bytes of each answer.
    piece
        The further ones, by number.
    """

    def __init__(self, begin: bytes, piece: Callable[[int], bytes]) -> None:
        self._begin = begin
        self._piece = piece
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self.sent_bytes = 0
        """To all clients together."""
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/song.mp3"

    def serve(self) -> None:
        """Take connections until `close`."""
        while True:
            connection, _ = self._listener.accept()
            self._connections.append(connection)
            if self._closing:
                return
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End all answers."""
        self._closing = True
        with socket.create_connection(self._listener.getsockname()):
            pass
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def release(self) -> None:
        """Close the sockets, once nobody serves any more."""
        for connection in (*self._connections, self._listener):
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.recv(4_096)
            connection.sendall(self._begin)
            for number in itertools.count():
                piece = self._piece(number)
                connection.sendall(piece)
                self.sent_bytes += len(piece)


@contextlib.contextmanager
def serving_endlessly(begin: bytes, piece: Callable[[int], bytes]) -> Iterator[EndlessSite]:
    """Serve until the block ends."""
    site = EndlessSite(begin, piece)
    thread = threading.Thread(target=site.serve)
    thread.start()
    try:
        yield site
    finally:
        site.close()
        thread.join()
        site.release()
