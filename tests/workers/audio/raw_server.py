"""A server that answers by script, byte for byte: for what a library's server would never send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest


@dataclass
class Script:
    """What came, and where it listens."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    """The head of each request."""

    def url(self, path: str = "/radio") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def answering(answer: Callable[[str], bytes], *, hang_up: bool = True) -> Iterator[Script]:
    """Serve one connection after the other; without `hang_up`, each stays open until the client leaves."""
    script = Script()
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("no_proxy", "*")
        script.port = listener.getsockname()[1]
        closing = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    if closing.is_set():
                        return
                    connection.settimeout(30)
                    head = b""
                    while b"\r\n\r\n" not in head and (data := connection.recv(4_096)):
                        head += data
                    script.requests.append(head.decode("latin-1"))
                    connection.sendall(answer(script.requests[-1]))
                    if not hang_up:
                        connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield script
        finally:
            closing.set()
            with socket.socket() as last:
                # Not by create_connection, whose resolver a test may have replaced.
                last.connect(("127.0.0.1", script.port))
            thread.join()
