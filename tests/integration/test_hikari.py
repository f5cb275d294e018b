"""A real hikari bot, real workers, and stand-ins for all of Discord: join, be heard, and stay up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import hikari
import pytest

import voicepool
from tests.fakes.hikari_bot import bot_of, started
from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, likeness
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoiceConnection, VoicePool
from voicepool.testing import DiscordVoiceServer, FakeDiscord, VoiceSession

SONG_S = 2.0
FRAMES = 100
ON_THEIR_WAY = 5
"""Frames that the old server no longer takes, sent before the worker can know."""


class World(NamedTuple):
    bot: hikari.GatewayBot
    fake: FakeDiscord
    server: DiscordVoiceServer
    pool: VoicePool

    def place(self, channel: int = 0, guild: int = 0) -> hikari.Snowflake:
        return hikari.Snowflake(self.fake.guilds[guild].voice_channels[channel].id)

    async def join(self, channel: int = 0, *, guild: int = 0, by_component: bool = False) -> VoiceConnection:
        guild_id, place = hikari.Snowflake(self.fake.guilds[guild].id), self.place(channel, guild)
        if by_component:
            return await self.bot.voice.connect_to(guild_id, place, VoiceConnection, pool=self.pool)
        return await voicepool.connect(self.bot, guild_id, place, pool=self.pool)

    def session(self, guild: int = 0) -> VoiceSession:
        session = self.server.session(self.fake.guilds[guild].id)
        assert session is not None, "nobody has joined"
        return session


@contextlib.asynccontextmanager
async def world(guilds: int = 1) -> AsyncIterator[World]:
    async with (
        DiscordVoiceServer() as server,
        FakeDiscord.with_guilds(guilds, voice_servers=[server]) as fake,
        VoicePool(PoolConfig(workers=1, ca_file=server.ca_file)) as pool,
        started(bot_of(fake), fake) as bot,
    ):
        yield World(bot, fake, server, pool)


@asyncio_test
async def test_a_bot_joins_is_heard_moves_is_heard_and_leaves() -> None:
    async with world() as here:
        voice = await here.join()
        music = encode("libmp3lame", "mp3", bitrate_bps=192_000, seconds=1.0)
        await voice.play(music)
        before = here.session()
        assert likeness(before, seconds=1.0) > 0.98
        await voice.move(here.place(1))
        assert voice.connected
        await voice.play(music)
        assert likeness(here.session(), seconds=1.0) > 0.98
        await voice.disconnect()
        await here.fake.wait_for_voice_state(voice.guild_id, here.fake.bot_user_id, None)
        await here.session().wait_closed(timeout_s=30)
        assert (await here.join(1)).connected


@asyncio_test
async def test_a_stage_has_an_audience_and_a_way_out_of_it() -> None:
    async with world() as here:
        guild = here.fake.guilds[0]
        stage = hikari.Snowflake(guild.stage_channels[0].id)
        voice = await voicepool.connect(here.bot, hikari.Snowflake(guild.id), stage, pool=here.pool)
        assert voice.suppressed
        await voice.request_to_speak()
        state = here.fake.voice_state(guild.id, here.fake.bot_user_id)
        assert state is not None
        assert state.request_to_speak_timestamp is not None
        await voice.move(here.place())
        assert not voice.suppressed


# Music goes on, whichever way the call was made.

Fault = Callable[[World, int], Awaitable[None]]


async def void_the_session(here: World, guild: int) -> None:
    await here.session(guild).close(4006)


async def drag(here: World, guild: int) -> None:
    await here.fake.move_member(here.fake.guilds[guild].id, here.fake.bot_user_id, here.place(1, guild))


async def change_region(here: World, guild: int) -> None:
    await here.fake.change_voice_server(here.fake.guilds[guild].id, here.server, null_first=True)


async def lose_the_gateway(here: World, guild: int) -> None:
    if guild == 0:
        await here.fake.drop_gateway(resume=False)


async def music_goes_on(here: World, guild: int, fault: Fault, all_play: asyncio.Barrier) -> None:
    voice = await here.join(guild=guild, by_component=bool(guild % 2))
    before = here.session(guild)
    playing = voice.play_no_wait(encode("flac", "flac", seconds=SONG_S))
    await before.wait_for_packets(20)
    await all_play.wait()
    await fault(here, guild)
    await playing
    after = here.session(guild)
    assert after is not before
    lost = FRAMES - before.report().frames - after.report().frames
    assert 0 <= lost <= ON_THEIR_WAY, "none is left out, and none is played twice"
    assert_nothing_lost(after)
    assert voice.connected
    assert here.bot.voice.connections[voice.guild_id] is voice


@pytest.mark.parametrize(
    "faults",
    [(void_the_session,) * 2 + (drag,) * 2 + (change_region,) * 2, (lose_the_gateway,) * 2],
    ids=["voice", "gateway"],
)
def test_music_goes_on(faults: Sequence[Fault]) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with world(len(faults)) as here:
            all_play = asyncio.Barrier(len(faults))
            ends: list[voicepool.VoiceClosedEvent] = []

            @here.bot.listen()
            async def on_end(event: voicepool.VoiceClosedEvent) -> None:
                ends.append(event)

            await asyncio.gather(
                *(music_goes_on(here, guild, fault, all_play) for guild, fault in enumerate(faults))
            )
            assert here.fake.violations == ()
            assert ends == []
            await here.bot.voice.disconnect_all()
            for guild in here.fake.guilds:
                await here.fake.wait_for_voice_state(guild.id, here.fake.bot_user_id, None)

    scenario()


@asyncio_test
async def test_a_gateway_that_is_resumed_disturbs_nothing() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        playing = voice.play_no_wait(encode("flac", "flac", seconds=SONG_S))
        await session.wait_for_packets(20)
        resumed = asyncio.create_task(here.bot.wait_for(hikari.ShardResumedEvent, timeout=None))
        await asyncio.sleep(0)
        await here.fake.drop_gateway()
        await resumed
        await playing
        assert here.session() is session
        assert session.report().frames == FRAMES
        assert_nothing_lost(session)
        assert len(here.fake.op4_log) == 1
