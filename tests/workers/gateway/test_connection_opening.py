"""Opening that fails, on real loopback sockets: one typed error each, and no event."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.workers.gateway.scripted_server import (
    IDENTITY,
    Run,
    established,
    gateway,
    no_event,
    serving,
    shake_hands,
    until_closed,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.testing.certificates import CertificateAuthority
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.connection import VoiceGateway
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol


async def failing_open(voice: VoiceGateway) -> CallError:
    with pytest.raises(CallError) as caught:
        await voice.open()
    assert "SECRET" not in caught.value.text
    # The library's own error could quote what was sent.
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    await voice.close()
    return caught.value


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_nobody_listens(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        port = free_port()
        error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CONNECT_REFUSED
        assert f"127.0.0.1:{port}" in error.text

    run(main())


def test_the_name_does_not_resolve(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        voice = gateway(443, no_event, host="voice.invalid", tls=authority.client_context())
        error = await failing_open(voice)
        assert error.code is ErrorCode.CONNECT_REFUSED
        assert "voice.invalid:443" in error.text

    run(main())


def test_the_certificate_is_from_somebody_else(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        with CertificateAuthority() as stranger:
            async with serving(until_closed, stranger.server_context()) as port:
                error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CERTIFICATE
        assert "ca_file" in error.text

    run(main())


def test_the_certificate_is_for_another_host(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        async with serving(until_closed, authority.server_context(["voice.example"])) as port:
            error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CERTIFICATE

    run(main())


def test_the_server_speaks_no_tls(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        async with serving(until_closed) as port:
            error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CONNECT_REFUSED

    run(main())


@contextlib.asynccontextmanager
async def scripted_tcp(answer: bytes | None) -> AsyncIterator[int]:
    """Accept connections; give each the answer to its request, or with None only listen."""
    handlers: set[asyncio.Task[None]] = set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        if answer is None:
            await reader.read()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        if handlers:
            await asyncio.wait(handlers)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.2:9/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_the_upgrade_is_refused(run: Run[None], answer: bytes) -> None:
    async def main() -> None:
        async with scripted_tcp(answer) as port:
            error = await failing_open(gateway(port, no_event))
        assert error.code is ErrorCode.CONNECT_REFUSED

    run(main())


def test_the_server_accepts_and_says_nothing(run: Run[None]) -> None:
    async def main() -> None:
        async with scripted_tcp(None) as port:
            error = await failing_open(gateway(port, no_event, open_timeout_s=0.05))
        assert error.code is ErrorCode.CONNECT_TIMEOUT
        assert f"127.0.0.1:{port}" in error.text

    run(main())


def test_the_token_is_not_sent_in_the_clear(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        for endpoint, context in (("ws://127.0.0.1:9", authority.client_context()), ("127.0.0.1:9", None)):
            protocol = VoiceGatewayProtocol(IDENTITY)
            voice = VoiceGateway(endpoint=endpoint, protocol=protocol, ssl_context=context, on_event=no_event)
            error = await failing_open(voice)
            assert "in the clear" in error.text

    run(main())


def test_opening_twice_is_a_defect(run: Run[None]) -> None:
    async def main() -> None:
        async with serving(shake_hands) as port, established(port) as (voice, _):
            with pytest.raises(RuntimeError, match="opened once"):
                await voice.open()

    run(main())
