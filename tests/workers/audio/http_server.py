"""A web server for the tests, with the faults that real ones have."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Site:
    """What it serves: path to body; and how it behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    port: int = 0
    scheme: str = "http"
    requests: list[str] = field(default_factory=list)
    """Path and range of each."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """What each request had."""

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


def _handler(site: Site) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: C901 - a list of small faults
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            kind, _, rest = self.path.partition("?")[0][1:].partition("/")
            start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            site.headers.append(dict(self.headers))
            site.requests.append(f"{kind}/{rest}@{start}")
            answer: Callable[[str, int], None] | None = getattr(self, f"_{kind}", None)
            if kind.isdigit():
                self._head(int(kind), 0)
            elif answer is not None:
                answer(rest, start)
            else:
                self._head(404, 0)

        def _head(self, status: int, length: int | None, **headers: str) -> None:
            self.send_response(status)
            if length is None:
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(length))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def _file(self, name: str, _start: int) -> None:
            body = site.files[name]
            self._head(200, len(body))
            self.wfile.write(body)

        def _ranges(self, name: str, start: int) -> None:
            """Serve from any place on, as most servers can."""
            body = site.files[name]
            self._head(
                206,
                len(body) - start,
                Connection="close",
                Accept_Ranges="bytes",
                Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}",
            )
            self.wfile.write(body[start:])

        def _live(self, name: str, _start: int) -> None:
            self._head(200, None)
            self.wfile.write(site.files[name])

        def _redirect(self, name: str, _start: int) -> None:
            self._head(302, 0, Location=site.redirects[name])

        def _wait_until_left(self) -> None:
            self.connection.settimeout(30)
            self.connection.recv(1)
            self.close_connection = True

        def _hang(self, _name: str, _start: int) -> None:
            self._wait_until_left()

        def _stall(self, name: str, _start: int) -> None:
            body = site.files[name]
            self._head(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._wait_until_left()

        def _cut(self, name: str, _start: int) -> None:
            body = site.files[name]
            self._head(200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True

        def _flaky(self, name: str, start: int) -> None:
            """Break off once, and serve the rest to who asks for it."""
            body = site.files[name]
            self._head(
                206,
                len(body) - start,
                Accept_Ranges="bytes",
                Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}",
            )
            self.wfile.write(body[start:] if start else body[: len(body) // 2])
            self.close_connection = not start

    return Handler


@contextmanager
def serving(site: Site, *, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), _handler(site))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        site.scheme = "https"
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
