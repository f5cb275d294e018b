"""As much of HTTP as a scrape needs, and no more than that of anybody's memory and patience."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.subject import busy_subject
from voicepool._watching import metrics_server
from voicepool._watching.metrics_server import MetricsServer
from voicepool._watching.observatory import Observatory, View
from voicepool.errors import ConfigError

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(look: Callable[[], View | None] | None = None) -> AsyncIterator[int]:
    port = free_port()
    server = await MetricsServer.open(look or Observatory(busy_subject).look, host=HOST, port=port)
    try:
        yield port
    finally:
        await server.close()


async def ask(port: int, request: str) -> tuple[str, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request.encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return status.removeprefix("HTTP/1.1 "), headers, body


def get(target: str = "/metrics", *headers: str, method: str = "GET") -> str:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: pool", *headers, "", ""))


@asyncio_test
async def test_a_scrape_is_answered() -> None:
    async with serving() as port:
        status, headers, body = await ask(port, get())
    assert status == "200 OK"
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    assert b"\nvoicepool_calls 2.0\n" in body


@asyncio_test
async def test_the_scraper_chooses_format_and_coding() -> None:
    async with serving() as port:
        accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        status, headers, body = await ask(
            port, get("/metrics?x=1", accept, "Accept-Encoding: br, gzip;q=0.8")
        )
        plain = await ask(port, get("/", "Accept-Encoding: gzip;q=0"))
    assert status == "200 OK"
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body).endswith(b"# EOF\n")
    assert "content-encoding" not in plain[1]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/secrets"), "404 Not Found"),
        (get(method="POST"), "405 Method Not Allowed"),
        ("NONSENSE\r\n\r\n", "400 Bad Request"),
        ("\x16\x03\x01\r\n\r\n", "400 Bad Request"),
        (get("/metrics", "X: " + "x" * 40_000), "431 Request Header Fields Too Large"),
    ],
)
def test_what_is_no_scrape_is_refused(request_: str, status: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with serving() as port:
            assert (await ask(port, request_))[0] == status
            assert (await ask(port, get()))[0] == "200 OK"

    scenario()


@asyncio_test
async def test_head_has_no_body() -> None:
    async with serving() as port:
        status, headers, body = await ask(port, get(method="HEAD"))
    assert (status, body) == ("200 OK", b"")
    assert int(headers["content-length"]) > 0


@asyncio_test
async def test_a_pool_that_does_not_run_is_told_as_such() -> None:
    async with serving(lambda: None) as port:
        assert b"\nvoicepool_running 0.0\n" in (await ask(port, get()))[2]


@asyncio_test
async def test_a_defect_is_logged_and_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> View:
        raise RuntimeError("no view")

    async with serving(broken) as port:
        assert (await ask(port, get()))[0] == "500 Internal Server Error"
    assert "the figures cannot be served" in caplog.text


@asyncio_test
async def test_clients_are_bounded_and_silent_ones_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "MOST_CLIENTS", 2)
    async with serving() as port:
        silent = [await asyncio.open_connection(HOST, port) for _ in range(2)]
        # Connections are taken in the order in which they were made.
        assert (await ask(port, get()))[0] == "503 Service Unavailable"
        silent[0][1].close()
        while (await ask(port, get()))[0] != "200 OK":
            pass
    # The end of the server is the end of who has not asked yet.
    assert await silent[1][0].read() == b""
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()


@asyncio_test
async def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.01)
    async with serving() as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


@asyncio_test
async def test_a_port_in_use_is_named_with_its_knob() -> None:
    async with serving() as port:
        with pytest.raises(ConfigError, match=f"metrics_port = {port} at 127.0.0.1 is in use") as caught:
            await MetricsServer.open(lambda: None, host=HOST, port=port)
    assert caught.value.key == "metrics_port"


@asyncio_test
async def test_an_address_of_another_machine_is_named_with_its_knob() -> None:
    with pytest.raises(ConfigError, match=r"metrics_host = 192\.0\.2\.1") as caught:
        await MetricsServer.open(lambda: None, host="192.0.2.1", port=free_port())
    assert caught.value.key == "metrics_host"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), PermissionError(1, "no")])
def test_a_port_that_only_root_may_use_is_told(error: OSError) -> None:
    refusal = metrics_server._refusal(error, HOST, 80)
    assert refusal.key == "metrics_port"
    assert "1024 or more" in str(refusal)


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(accepted: str, *, taken: bool) -> None:
    assert metrics_server._takes_gzip(accepted) is taken
