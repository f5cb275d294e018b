"""Does my bot survive a region move? A test without Discord, offline, in six seconds.

Copy `check` into your own tests and put your bot in place of the one here. It starts stand-ins for all of
Discord, lets the bot play a song, moves the guild to another voice server while it plays, and looks at what a
listener in the channel has heard. ``python examples/survives_a_region_move.py`` runs it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import wave
from array import array
from pathlib import Path

import hikari

import voicepool
from voicepool.testing import StandInProcess

SONG_S = 4
RATE_HZ = 48_000
FRAMES_A_SECOND = 50


def write_song(path: Path) -> None:
    """Write a tone as a WAV file."""
    samples = (round(8_000 * math.sin(2 * math.pi * 440 * at / RATE_HZ)) for at in range(SONG_S * RATE_HZ))
    with wave.open(str(path), "wb") as song:
        song.setnchannels(1)
        song.setsampwidth(2)
        song.setframerate(RATE_HZ)
        song.writeframes(array("h", samples).tobytes())


async def started(discord: StandInProcess) -> hikari.GatewayBot:
    """Start a bot that logs in to the stand-in; your own, with its ``rest_url`` changed."""
    bot = hikari.GatewayBot(discord.token, rest_url=discord.rest_url, banner=None, logs="ERROR")
    await bot.start(check_for_updates=False)
    return bot


async def check(song: Path) -> list[str]:
    """Play a song over a region move; return what a listener would complain about."""
    async with (
        StandInProcess(voice_servers=2) as discord,
        voicepool.VoicePool(voicepool.PoolConfig(workers=1, ca_file=discord.ca_file)) as pool,
    ):
        bot = await started(discord)
        try:
            guild = discord.guilds[0]
            voice = await voicepool.connect(bot, guild.id, guild.voice_channel_ids[0], pool=pool)
            playing = voice.play_no_wait(song)
            await discord.wait_for_packets(guild.id, FRAMES_A_SECOND)
            await discord.move_region(guild.id)
            await playing
            reports = await discord.reports(guild.id)
            complaints = await discord.problems()
        finally:
            await bot.close()
    heard = sum(report.frames for report in reports)
    if len(reports) != 2:  # noqa: PLR2004 - one session before the move, one after
        complaints.append(f"the bot had {len(reports)} voice sessions and not two: it did not follow")
    if heard != SONG_S * FRAMES_A_SECOND:
        complaints.append(f"{heard} of {SONG_S * FRAMES_A_SECOND} frames of the song were heard")
    return complaints


def main() -> int:
    """Run the check and say how it went."""
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder, "song.wav")
        write_song(song)
        complaints = asyncio.run(check(song))
    print("\n".join(complaints) or "the bot followed, and not a frame was lost")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
