"""A web server that breaks off as the test wants: each request is answered by what a function says."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import Literal, TypeAlias

__all__ = ["Answer", "Breaking", "breaking"]

Way: TypeAlias = Literal["whole", "end", "reset", "stall", "half a header", "status"]


@dataclass(frozen=True)
class Answer:
    """How one request is answered."""

    way: Way = "whole"
    until_bytes: int = 0
    """Where in the file it breaks off, one way or another."""
    status: int = 503
    ranges: bool = True


@dataclass
class Breaking:
    """One file, and how it is served."""

    body: bytes
    answer: Callable[[int], Answer]
    """Told from which byte on it is wanted."""
    length: bool = True
    port: int = 0
    starts: list[int] = field(default_factory=list)
    """From which byte on each request wanted it."""
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/song"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


def _handler(site: Breaking) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: C901 - a list of faults
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            self.close_connection = True
            start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            site.starts.append(start)
            site.headers.append(dict(self.headers))
            answer = site.answer(start)
            if not answer.ranges:
                start = 0
            if answer.way == "half a header":
                self.wfile.write(b"HTTP/1.1 206 Partial Con")
                return
            if answer.way == "status":
                self._head(answer.status, {"Content-Length": "0"})
                return
            self._head_of_file(start, ranges=answer.ranges)
            self.wfile.write(
                site.body[start:] if answer.way == "whole" else site.body[start : answer.until_bytes]
            )
            self.wfile.flush()
            if answer.way == "reset":
                self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif answer.way == "stall":
                self.connection.settimeout(30)
                self.connection.recv(1)

        def _head_of_file(self, start: int, *, ranges: bool) -> None:
            total = len(site.body)
            fields = {"Connection": "close"}
            if site.length:
                fields["Content-Length"] = str(total - start)
            if ranges:
                fields |= {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{total - 1}/{total}"}
            self._head(206 if ranges else 200, fields)

        def _head(self, status: int, fields: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler


@contextmanager
def breaking(site: Breaking) -> Iterator[Breaking]:
    server = _Server(("127.0.0.1", 0), _handler(site))
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
