"""The example in the README's first link runs, as it is, on the stand-ins."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import hikari

from tests.fakes.hikari_bot import bot_of, started
from tests.fakes.running import asyncio_test
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoicePool
from voicepool.testing import DiscordVoiceServer, FakeDiscord, User

FILE = Path(__file__).parents[2] / "examples" / "hikari_music.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hikari_music", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asyncio_test
async def test_it_joins_plays_pauses_and_leaves_on_command(tmp_path: Path) -> None:
    (tmp_path / "song.flac").write_bytes(encode("flac", "flac", seconds=20.0))
    async with (
        DiscordVoiceServer() as voice_server,
        FakeDiscord.with_guilds(1, voice_servers=[voice_server]) as discord,
    ):
        guild = discord.guilds[0]
        text, channel = guild.text_channels[0].id, guild.voice_channels[0].id
        listener = User(name="someone")
        await discord.join_voice(guild.id, channel, listener)
        pool = VoicePool(PoolConfig(workers=1, ca_file=voice_server.ca_file))
        bot = bot_of(discord, hikari.Intents.ALL)
        load().MusicBot(bot, pool, tmp_path)
        async with started(bot, discord):
            await discord.post_message(text, listener, "!play missing.flac")
            await discord.wait_until(
                lambda: any(
                    message.content.startswith("Sorry") and "missing.flac" in message.content
                    for message in discord.messages
                ),
                what="an apology",
            )
            await discord.post_message(text, listener, "!play song.flac")
            session = await voice_server.wait_for_session(guild.id)
            await session.wait_for_packets(10)
            await discord.post_message(text, listener, "!volume 50")
            await discord.post_message(text, listener, "!pause")
            await session.wait_until(lambda heard: heard.report().silence_frames >= 5)
            await discord.post_message(text, listener, "!resume")
            held = session.packets
            await session.wait_for_packets(held + 5)
            other = guild.voice_channels[1].id
            await discord.move_member(guild.id, listener.id, other)
            await discord.post_message(text, listener, "!play song.flac")
            await discord.wait_for_voice_state(guild.id, discord.bot_user_id, other)
            await session.wait_closed()
            session = await voice_server.wait_for_session(guild.id)
            await session.wait_for_packets(10)
            await discord.post_message(text, listener, "!stop")
            await discord.wait_for_voice_state(guild.id, discord.bot_user_id, None)
            await session.wait_closed()
            assert session.violations == []
