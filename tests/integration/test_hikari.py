"""A real hikari bot, real workers, and stand-ins for all of Discord: join, be heard, move, leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import hikari

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration.calls import likeness
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoiceConnection, VoicePool
from voicepool.testing import DiscordVoiceServer, FakeDiscord


class World(NamedTuple):
    bot: hikari.GatewayBot
    fake: FakeDiscord
    server: DiscordVoiceServer
    pool: VoicePool

    @property
    def guild(self) -> Any:
        return self.fake.guilds[0]

    async def join(self, channel: int = 0) -> VoiceConnection:
        place = self.guild.voice_channels[channel].id
        return await voicepool.connect(self.bot, self.guild.id, place, pool=self.pool)


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with (
        DiscordVoiceServer() as server,
        FakeDiscord(voice_servers=[server]) as fake,
        VoicePool(PoolConfig(workers=1, ca_file=server.ca_file)) as pool,
    ):
        bot = hikari.GatewayBot(
            fake.token, rest_url=fake.rest_url, banner=None, logs=None, suppress_optimization_warning=True
        )
        ready = asyncio.Event()

        async def on_guild(_event: hikari.GuildAvailableEvent) -> None:
            ready.set()

        bot.event_manager.subscribe(hikari.GuildAvailableEvent, on_guild)
        await bot.start(check_for_updates=False)
        try:
            await ready.wait()
            yield World(bot, fake, server, pool)
        finally:
            await bot.close()


@asyncio_test
async def test_a_bot_joins_is_heard_and_leaves() -> None:
    async with world() as here:
        voice = await here.join()
        await voice.play(encode("libmp3lame", "mp3", bitrate_bps=192_000))
        session = here.server.session(here.guild.id)
        assert session is not None
        assert likeness(session) > 0.98
        await voice.disconnect()
        await here.fake.wait_for_voice_state(here.guild.id, here.fake.bot_user_id, None)
        await session.wait_closed(timeout_s=30)
        assert (await here.join(1)).connected


@asyncio_test
async def test_a_bot_moves_and_is_heard_there() -> None:
    async with world() as here:
        voice = await here.join()
        await voice.move(here.guild.voice_channels[1].id)
        assert voice.connected
        await voice.play(encode("libmp3lame", "mp3", bitrate_bps=192_000))
        session = here.server.session(here.guild.id)
        assert session is not None
        assert likeness(session) > 0.98
