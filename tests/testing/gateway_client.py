"""What the tests of the main gateway share: an async runner, and a client that knows frames and no rules.

The client is built on websockets, so that server and client do not come from one library.
"""

from __future__ import annotations

import asyncio
import functools
import json
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from voicepool.testing.fake_discord import FakeDiscord
    from voicepool.testing.guild_model import BotUser

__all__ = ["GatewayClient", "gateway_client", "in_loop", "log_in"]

P = ParamSpec("P")
SAFETY_S = 20.0
"""Far beyond what any test takes; only a hang reaches it."""
ALL_INTENTS = 0b11_0011_0001_1111_1111_1111_1111


def in_loop(body: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test in a loop of its own, and fail it if it leaves a task behind."""

    @functools.wraps(body)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        async def checked() -> None:
            await asyncio.wait_for(body(*args, **kwargs), SAFETY_S)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"the test left tasks behind: {left}"

        asyncio.run(checked())

    return test


class GatewayClient:
    """Sends and receives raw gateway payloads."""

    def __init__(self, socket: ClientConnection, compress: str | None) -> None:
        self.socket = socket
        self.seq: int | None = None
        self._inflater = zlib.decompressobj() if compress == "zlib-stream" else None

    async def send(self, op: int, data: object = None) -> None:
        await self.socket.send(json.dumps({"op": op, "d": data}))

    async def receive(self) -> dict[str, Any]:
        frame = await self.socket.recv()
        if self._inflater is not None:
            assert isinstance(frame, bytes), "a text frame on a compressed connection"
            assert frame.endswith(b"\x00\x00\xff\xff")
            frame = self._inflater.decompress(frame)
        payload: dict[str, Any] = json.loads(frame)
        if payload["op"] == 0:
            self.seq = payload["s"]
        return payload

    async def dispatch(self, name: str) -> dict[str, Any]:
        """Receive up to the next dispatch of a name and return its data."""
        while True:
            payload = await self.receive()
            if payload["t"] == name:
                data: dict[str, Any] = payload["d"]
                return data

    async def names_until(self, name: str) -> list[str]:
        """Receive up to a dispatch; return the names of all dispatches on the way, that one included."""
        names: list[str] = []
        while name not in names:
            payload = await self.receive()
            if payload["op"] == 0:
                names.append(payload["t"])
        return names

    async def flush(self) -> list[str]:
        """Return the names of all dispatches that had been sent when the server answers a heartbeat."""
        await self.send(1, self.seq)
        names: list[str] = []
        while (payload := await self.receive())["op"] != 11:
            names.append(payload["t"])
        return names

    async def close_code(self) -> int | None:
        """Wait for the server to close; return its code."""
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


@asynccontextmanager
async def gateway_client(
    fake: FakeDiscord, *, query: str = "v=10&encoding=json", compress: str | None = None
) -> AsyncIterator[GatewayClient]:
    """Connect and swallow HELLO."""
    if compress is not None:
        query += f"&compress={compress}"
    async with connect(f"{fake.gateway_url}?{query}") as socket:
        client = GatewayClient(socket, compress)
        hello = await client.receive()
        assert hello["op"] == 10
        assert hello["d"]["heartbeat_interval"] > 0
        yield client


@asynccontextmanager
async def log_in(
    fake: FakeDiscord,
    bot: BotUser | None = None,
    *,
    intents: int = ALL_INTENTS,
    shard: tuple[int, int] | None = None,
    compress: str | None = None,
) -> AsyncIterator[tuple[GatewayClient, dict[str, Any]]]:
    """Connect and identify; gives the client and READY's data."""
    async with gateway_client(fake, compress=compress) as client:
        identify: dict[str, Any] = {"token": (bot or fake.bot).token, "intents": intents, "properties": {}}
        if shard is not None:
            identify["shard"] = shard
        await client.send(2, identify)
        yield client, await client.dispatch("READY")
