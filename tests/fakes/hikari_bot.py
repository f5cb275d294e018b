"""A real hikari bot on the stand-in, and what the tests of the adapter have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import hikari
import hikari.impl.shard

import voicepool
from tests.fakes.pool import pool_of
from tests.fakes.worker import InProcess, ScriptedWorker
from voicepool import VoiceConnection, VoicePool
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.guild_model import Guild

__all__ = ["Stage", "bot_of", "stage", "started"]

_PAUSE_S = 0.25


def bot_of(
    discord: FakeDiscord, intents: hikari.Intents = hikari.Intents.ALL_UNPRIVILEGED
) -> hikari.GatewayBot:
    """A bot that logs in to the stand-in once it is started."""
    return hikari.GatewayBot(
        discord.token,
        intents=intents,
        rest_url=discord.rest_url,
        banner=None,
        logs=None,
        suppress_optimization_warning=True,
    )


@contextlib.asynccontextmanager
async def started(
    bot: hikari.GatewayBot, discord: FakeDiscord, *, shards: int | None = None
) -> AsyncIterator[hikari.GatewayBot]:
    """Run a bot until the block ends; it has all its guilds by then."""
    with patch.object(hikari.impl.shard, "asyncio", _WithoutPauses("asyncio")):
        async with _started(bot, discord, shards=shards):
            yield bot


class _WithoutPauses(ModuleType):
    """What hikari's shards see of asyncio; after each close they wait for TLS to end, which is not there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(delay: float) -> None:
        await asyncio.sleep(0 if delay == _PAUSE_S else delay)


@contextlib.asynccontextmanager
async def _started(
    bot: hikari.GatewayBot, discord: FakeDiscord, *, shards: int | None
) -> AsyncIterator[hikari.GatewayBot]:
    awaited = {guild.id for guild in discord.guilds}
    complete = asyncio.Event()

    async def on_guild(event: hikari.GuildAvailableEvent) -> None:
        awaited.discard(event.guild_id)
        if not awaited:
            complete.set()

    bot.event_manager.subscribe(hikari.GuildAvailableEvent, on_guild)
    await bot.start(check_for_updates=False, shard_count=shards)
    try:
        await complete.wait()
        bot.event_manager.unsubscribe(hikari.GuildAvailableEvent, on_guild)
        yield bot
    finally:
        if bot.is_alive:
            await bot.close()


class Stage(NamedTuple):
    """All that takes part in a call: a bot, the stand-in, a pool, and scripted workers."""

    bot: hikari.GatewayBot
    fake: FakeDiscord
    pool: VoicePool
    fakes: InProcess

    @property
    def worker(self) -> ScriptedWorker:
        """The first worker."""
        return self.fakes.workers[0]

    @property
    def guild(self) -> Guild:
        """The first guild."""
        return self.fake.guilds[0]

    def place(self, channel: int = 0) -> hikari.Snowflake:
        """The id of one of its voice channels."""
        return hikari.Snowflake(self.guild.voice_channels[channel].id)

    async def join(self, channel: int = 0, **more: Any) -> VoiceConnection:
        """Join by `voicepool.connect`."""
        return await voicepool.connect(
            self.bot, hikari.Snowflake(self.guild.id), self.place(channel), pool=self.pool, **more
        )

    async def join_by_component(self, channel: int = 0, **more: Any) -> VoiceConnection:
        """Join by hikari's own ``connect_to``."""
        return await self.bot.voice.connect_to(
            hikari.Snowflake(self.guild.id), self.place(channel), VoiceConnection, pool=self.pool, **more
        )

    async def bot_is_in(self, channel: int | None) -> None:
        """Wait until the stand-in has the bot in a voice channel, or out of voice."""
        place = None if channel is None else self.place(channel)
        await self.fake.wait_for_voice_state(self.guild.id, self.fake.bot_user_id, place)


@contextlib.asynccontextmanager
async def stage(
    fake: FakeDiscord | None = None, *, shards: int | None = None, **config: Any
) -> AsyncIterator[Stage]:
    """Run all that takes part; `config` is the pool's."""
    pool, fakes = pool_of(**config)
    async with (
        fake or FakeDiscord() as discord,
        pool,
        started(bot_of(discord), discord, shards=shards) as bot,
    ):
        yield Stage(bot, discord, pool, fakes)
