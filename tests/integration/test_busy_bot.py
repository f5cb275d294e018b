"""A bot that computes, and so stops its own event loop, moves no packet."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.fakes.running import asyncio_test
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoiceConnection, VoicePool
from voicepool.testing import StandInProcess

GUILDS = 4
BLOCKS = 3
BLOCK_S = 1.0
SONG_S = 5.0


def compute(seconds: float) -> int:
    """Keep the interpreter busy, as a bot's own pure-Python work does."""
    steps = 0
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        steps += sum(number * number for number in range(500))
    return steps


@asyncio_test
async def test_three_seconds_without_an_event_loop_lose_nothing(tmp_path: Path) -> None:
    import hikari

    song = tmp_path / "song.flac"
    song.write_bytes(encode("flac", "flac", seconds=SONG_S))
    async with StandInProcess(guilds=GUILDS) as discord:
        bot = hikari.GatewayBot(
            discord.token,
            rest_url=discord.rest_url,
            banner=None,
            logs=None,
            suppress_optimization_warning=True,
        )
        async with VoicePool(PoolConfig(workers=1, ca_file=discord.ca_file)) as pool:
            await bot.start(check_for_updates=False)
            try:
                voices = [
                    await bot.voice.connect_to(
                        guild.id, guild.voice_channel_ids[0], VoiceConnection, pool=pool
                    )
                    for guild in discord.guilds
                ]
                playing = [asyncio.create_task(voice.play(song)) for voice in voices]
                for guild in discord.guilds:
                    await discord.wait_for_packets(guild.id, 10)
                for _ in range(BLOCKS):
                    compute(BLOCK_S)
                    # Just long enough for the loop to see to whatever has come meanwhile.
                    await discord.reports()
                await asyncio.gather(*playing)
                sent = {call.guild_id: call for call in (await pool.refresh_stats()).calls}
                for guild in discord.guilds:
                    await discord.wait_for_packets(guild.id, sent[guild.id].frames_sent)
                for report in await discord.reports():
                    assert report.frames == sent[report.guild_id].frames_sent == SONG_S * 50
                    assert (report.sequence_gaps, report.nonce_reuses, report.violations) == (0, 0, ())
            finally:
                await bot.close()
