"""Serves the figures of a pool to Prometheus: as much of HTTP/1.1 as a scrape needs.

It runs on the pool's event loop, which only looks; the text, which takes a while, is made in a thread. A
connection is good for one answer.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from voicepool._watching.reception import Reception
from voicepool.errors import ConfigError

try:
    from voicepool.metrics import render
except ImportError as error:
    raise ConfigError(
        'metrics_port needs prometheus-client; install it (pip install "voicepool[prometheus]"), or set '
        "metrics_port to 0",
        key="metrics_port",
    ) from error

if TYPE_CHECKING:
    from voicepool._watching.observatory import View

__all__ = ["MetricsServer"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

MOST_CLIENTS: Final = 16
"""Answered at a time; one more is told to come back (503)."""
PATIENCE_S: Final = 10.0
"""How long a client may take to ask, and then to read the answer."""
LONGEST_REQUEST_BYTES: Final = 16_384
_PATHS: Final = frozenset({"/", "/metrics"})
_PLAIN: Final = "text/plain; charset=utf-8"


class MetricsServer:
    """Answers ``GET /metrics``. Made by `open`.

    Parameters
    ----------
    look
        Says what there is to be seen of the pool; called on the event loop.
    place
        The address and the port.
    """

    def __init__(self, look: Callable[[], View | None], place: tuple[str, int]) -> None:
        self.place: Final = place
        self._look = look
        self._reception = Reception(
            self._serve,
            most=MOST_CLIENTS,
            name="voicepool metrics client",
            refusal=_answer("503 Service Unavailable", b"too many scrapes at a time\n", _PLAIN),
        )

    @classmethod
    async def open(cls, look: Callable[[], View | None], *, host: str, port: int) -> MetricsServer:
        """Listen.

        Raises
        ------
        ConfigError
            The port is taken, or may not be used; or the address is not of this machine.
        """
        opened = cls(look, (host, port))
        try:
            await opened._reception.open(
                lambda meet: asyncio.start_server(meet, host, port, limit=LONGEST_REQUEST_BYTES)
            )
        except OSError as error:
            raise _refusal(error, host, port) from error
        return opened

    async def close(self) -> None:
        """Answer nobody any more."""
        await self._reception.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._respond(head.decode("latin-1")))
            async with asyncio.timeout(PATIENCE_S):
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_answer("431 Request Header Fields Too Large", b"", _PLAIN))
        except (OSError, EOFError, TimeoutError) as error:
            _LOGGER.debug("a client of the metrics endpoint went away: %s", error)
        except Exception:
            _LOGGER.exception("the figures cannot be served")
            writer.write(_answer("500 Internal Server Error", b"see the bot's log\n", _PLAIN))

    async def _respond(self, head: str) -> bytes:
        request, *lines = head.split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004  # RFC 9112 §3
            return _answer("400 Bad Request", b"this is no HTTP/1.1\n", _PLAIN)
        method, target, _ = words
        if method not in {"GET", "HEAD"}:
            return _answer("405 Method Not Allowed", b"only GET and HEAD\n", _PLAIN, "Allow: GET, HEAD")
        if target.partition("?")[0] not in _PATHS:
            return _answer("404 Not Found", b"the figures are at /metrics\n", _PLAIN)
        headers = _headers(lines)
        view = self._look()
        body, content_type = await asyncio.to_thread(render, view, headers.get("accept", ""))
        extra = ["Vary: Accept, Accept-Encoding"]
        if _takes_gzip(headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(gzip.compress, body, 5)
            extra.append("Content-Encoding: gzip")
        return _answer("200 OK", body, content_type, *extra, without_body=method == "HEAD")


def _headers(lines: list[str]) -> dict[str, str]:
    """Return the header fields, names in lower case, values of the same name joined (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            name = name.lower()
            found[name] = f"{found[name]},{value.strip()}" if name in found else value.strip()
    return found


def _takes_gzip(accepted: str) -> bool:
    codings = {}
    for item in accepted.lower().split(","):
        coding, _, weight = item.replace(" ", "").partition(";q=")
        codings[coding] = weight
    return codings.get("gzip", "0").rstrip("0.") != "" or codings.get("gzip") == ""


def _answer(status: str, body: bytes, content_type: str, *headers: str, without_body: bool = False) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1") + (b"" if without_body else body)


def _refusal(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        text = (
            f"metrics_port = {port} at {host} is in use by another program, or another pool; set it to "
            "a free port, or to 0 to serve no figures"
        )
        return ConfigError(text, key="metrics_port")
    if error.errno in {errno.EACCES, errno.EPERM}:
        text = f"metrics_port = {port} may not be used by this user; set metrics_port to 1024 or more"
        return ConfigError(text, key="metrics_port")
    text = f"the figures cannot be served at metrics_host = {host}: {error.strerror or error}"
    return ConfigError(text, key="metrics_host")
