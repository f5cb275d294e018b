"""A real, unmodified discord.py client for tests; where it connects to is its configuration.

Take `discord` from here as well: the import is guarded against a warning that the suite would fail on.
"""

from __future__ import annotations

import asyncio
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import yarl

with warnings.catch_warnings():
    # discord.py imports audioop, which Python 3.12 and older announce as deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import discord
    import discord.gateway
    import discord.http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    import pytest

    from voicepool.testing.fake_discord import FakeDiscord

__all__ = ["SAFETY_S", "Client", "discord", "running_client"]

SAFETY_S = 15.0


class Client(discord.Client):
    """Tells when it is ready and keeps the messages that it hears."""

    def __init__(self, intents: discord.Intents, connector: aiohttp.BaseConnector | None) -> None:
        # The library waits this long for further guilds after each one.
        super().__init__(intents=intents, connector=connector, guild_ready_timeout=0.05)
        self.readies = asyncio.Semaphore(0)
        self.resumes = asyncio.Semaphore(0)
        self.heard: asyncio.Queue[discord.Message] = asyncio.Queue()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Do not wait 5 s before identifying anew, as the default does for Discord's sake."""

    async def on_ready(self) -> None:
        self.readies.release()

    async def on_resumed(self) -> None:
        self.resumes.release()

    async def on_message(self, message: discord.Message) -> None:
        self.heard.put_nowait(message)


@asynccontextmanager
async def running_client(
    fake: FakeDiscord,
    monkeypatch: pytest.MonkeyPatch,
    *,
    intents: discord.Intents | None = None,
    connector: aiohttp.BaseConnector | None = None,
) -> AsyncIterator[Client]:
    """Run a client from its login to its close."""
    monkeypatch.setattr(discord.http.Route, "BASE", fake.rest_url)
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(fake.gateway_url))
    client = Client(intents or discord.Intents.all(), connector)
    running = asyncio.create_task(client.start(fake.token))
    ready = asyncio.create_task(client.readies.acquire())
    try:
        await asyncio.wait({running, ready}, timeout=SAFETY_S, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        assert ready.done(), "discord.py did not become ready"
        yield client
    finally:
        ready.cancel()
        await client.close()
        await asyncio.gather(running, return_exceptions=True)
