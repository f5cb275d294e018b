"""So many clients at a time, each one's connection closed in the end, and nobody served after the close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from voicepool._watching.reception import Reception

HOST = "127.0.0.1"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Host:
    """Serves a client until it is told to."""

    def __init__(self) -> None:
        self.served = 0
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        self.arrived.set()
        await self.release.wait()
        writer.write(b"served")


class Door:
    """A reception that listens at a port."""

    def __init__(self, reception: Reception, port: int) -> None:
        self.reception = reception
        self.port = port

    async def visit(self) -> Streams:
        return await asyncio.open_connection(HOST, self.port)


@contextlib.asynccontextmanager
async def door(host: Host, **more: Any) -> AsyncIterator[Door]:
    reception = Reception(host.serve, **{"most": 2, "name": "client", **more})
    server = await reception.open(lambda meet: asyncio.start_server(meet, HOST, 0))
    try:
        yield Door(reception, server.sockets[0].getsockname()[1])
    finally:
        await reception.close()


async def rest(streams: Streams) -> bytes:
    """Return all that comes until the far end closes."""
    reader, writer = streams
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@asyncio_test
async def test_the_connection_is_closed_behind_who_was_served() -> None:
    host = Host()
    host.release.set()
    async with door(host) as here:
        assert await rest(await here.visit()) == b"served"


@asyncio_test
async def test_one_more_than_the_bound_is_turned_away_until_one_has_left() -> None:
    host = Host()
    async with door(host, most=1, refusal=b"full") as here:
        first = await here.visit()
        await host.arrived.wait()
        assert await rest(await here.visit()) == b"full"
        host.release.set()
        assert await rest(first) == b"served"
        assert await rest(await here.visit()) == b"served"
    assert host.served == 2


@asyncio_test
async def test_who_is_not_admitted_is_never_served() -> None:
    host = Host()
    async with door(host, admits=lambda _: False) as here:
        assert await rest(await here.visit()) == b""
    assert host.served == 0


@asyncio_test
async def test_a_failure_of_the_serving_closes_the_connection_and_is_told() -> None:
    class Broken(Host):
        async def serve(self, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            raise RuntimeError("no answer")

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with door(Broken()) as here:
        assert await rest(await here.visit()) == b""
    gc.collect()
    assert [str(context["exception"]) for context in told] == ["no answer"]


@asyncio_test
async def test_the_close_ends_who_is_still_there_and_waits_for_it() -> None:
    ended = False

    class Slow(Host):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal ended
            try:
                await super().serve(reader, writer)
            finally:
                await asyncio.sleep(0)
                ended = True

    host = Slow()
    async with door(host) as here:
        streams = await here.visit()
        await host.arrived.wait()
        await here.reception.close()
        assert ended
        assert await rest(streams) == b""
        with pytest.raises(ConnectionRefusedError):
            await here.visit()


@asyncio_test
async def test_who_arrives_while_it_closes_is_turned_away() -> None:
    host = Host()
    meet: list[Any] = []

    async def listen(callback: Any) -> asyncio.Server:
        meet.append(callback)
        return await asyncio.start_server(callback, HOST, 0)

    reception = Reception(host.serve, most=2, name="client", refusal=b"closed")
    server = await reception.open(listen)
    port = server.sockets[0].getsockname()[1]
    await reception.close()
    # What the event loop had accepted already is handed over after the close.
    other = await asyncio.start_server(meet[0], HOST, port)
    try:
        assert await rest(await asyncio.open_connection(HOST, port)) == b"closed"
    finally:
        other.close()
    assert host.served == 0


@asyncio_test
async def test_a_client_cancelled_before_its_first_step_is_hung_up_on() -> None:
    host = Host()

    def admits(_writer: asyncio.StreamWriter) -> bool:
        # Its turn comes after the client's task is made, and before the first step of that.
        asyncio.get_running_loop().call_soon(cancel)
        return True

    def cancel() -> None:
        for client in here.reception._clients:
            client.cancel()

    async with door(host, admits=admits) as here:
        assert await rest(await here.visit()) == b""
    assert host.served == 0


@asyncio_test
async def test_closing_twice_and_before_it_is_open_does_nothing() -> None:
    reception = Reception(Host().serve, most=1, name="client")
    await reception.close()
    await reception.close()
