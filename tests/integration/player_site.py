"""A web server whose answers wait for the test, so that a stall is as long as the test wants it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

__all__ = ["StallingSite", "icy_answer", "stalling"]


class StallingSite:
    """Serves one file, and stops in its middle until `go_on`.

    Parameters
    ----------
    body
        The file.
    stall_at
        After how many bytes it stops.

    Attributes
    ----------
    requests
        The head of each.
    """

    def __init__(self, body: bytes, stall_at: int) -> None:
        self._body = body
        self._stall_at = stall_at
        self._free = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._vanished = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/song"
        self.requests: list[str] = []
        self._threads: list[threading.Thread] = []

    def go_on(self) -> None:
        """Send the rest, of this and later requests."""
        self._free.set()

    def vanish(self) -> None:
        """Answer later requests with 404."""
        self._vanished = True

    def serve(self) -> None:
        """Answer requests until `close`, each on a thread of its own."""
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                if self._closing:
                    connection.close()
                    break
                thread = threading.Thread(target=self._answer, args=(connection,))
                thread.start()
                self._threads.append(thread)
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Have `serve` return."""
        self._closing = True
        self._free.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = connection.recv(65_536).decode("latin-1")
            self.requests.append(head)
            if self._vanished:
                connection.sendall(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            found = re.search(r"(?im)^range: bytes=(\d+)-", head)
            start, size = int(found[1]) if found else 0, len(self._body)
            status = f"206 Partial Content\r\nContent-Range: bytes {start}-{size - 1}/{size}"
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {size - start}\r\nConnection: close\r\n\r\n"
            connection.sendall(answer.encode())
            if start < self._stall_at:
                # What is at the end, such as tags, may be asked for before.
                connection.sendall(self._body[start : self._stall_at])
                self._free.wait(60.0)
            connection.sendall(self._body[max(start, self._stall_at) :])


@contextlib.contextmanager
def stalling(body: bytes, stall_at: int) -> Iterator[StallingSite]:
    """Run a `StallingSite`."""
    site = StallingSite(body, stall_at)
    thread = threading.Thread(target=site.serve)
    thread.start()
    try:
        yield site
    finally:
        site.close()
        thread.join()


def icy_answer(body: bytes, titles: list[str], *, interval_bytes: int) -> bytes:
    """Return an Icecast server's whole answer: a title comes after each so many bytes of the body."""
    parts = [f"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\nicy-metaint: {interval_bytes}\r\n\r\n".encode()]
    for at in range(0, len(body), interval_bytes):
        piece = body[at : at + interval_bytes]
        parts.append(piece)
        if len(piece) == interval_bytes:
            title = titles[min(at // interval_bytes, len(titles) - 1)]
            text = f"StreamTitle='{title}';".encode()
            parts.append(bytes([-(-len(text) // 16)]) + text.ljust(-(-len(text) // 16) * 16, b"\0"))
    return b"".join(parts)
