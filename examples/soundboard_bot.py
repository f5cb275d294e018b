"""A soundboard: short sounds over music, several at once, while the music steps back for them.

====================  =================================================================
``!music FILE``       joins your channel and plays background music, again and again
``!sound NAME``       plays a sound over it; ``!sound NAME 50`` at half its volume
``!quiet``            ends all sounds; the music goes on
``!stop``             leaves
====================  =================================================================

Files are those in ``SOUNDS_DIR`` (default: the working directory), called without their suffix. Run it with
``DISCORD_TOKEN=... python soundboard_bot.py``; it needs the Message Content intent.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import hikari

import voicepool

INTENTS = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT
DUCK_DB = -9.0
MOST_AT_ONCE = 8


class SoundboardBot:
    """Ties a hikari bot and a pool together."""

    def __init__(self, bot: hikari.GatewayBot, pool: voicepool.VoicePool, sounds: Path) -> None:
        self.bot = bot
        self.pool = pool
        self.files = {file.stem: file for file in sorted(sounds.iterdir()) if file.is_file()}
        bot.subscribe(hikari.StartingEvent, self.on_starting)
        bot.subscribe(hikari.StoppingEvent, self.on_stopping)
        bot.subscribe(hikari.GuildMessageCreateEvent, self.on_message)

    async def on_starting(self, _: hikari.StartingEvent) -> None:
        """Start the workers with the bot."""
        await self.pool.start()

    async def on_stopping(self, _: hikari.StoppingEvent) -> None:
        """Leave all channels and end the workers."""
        await self.pool.close()

    async def on_message(self, event: hikari.GuildMessageCreateEvent) -> None:
        """Carry out a command; say what went wrong in the channel it came from."""
        try:
            match (event.content or "").split():
                case ["!music", name]:
                    voice = await self.voice_for(event)
                    await voice.start(self.file(name), loop=True, fade_in_s=1.0)
                case ["!sound", name]:
                    await self.sound(await self.voice_for(event), name)
                case ["!sound", name, percent]:
                    await self.sound(await self.voice_for(event), name, float(percent) / 100)
                case ["!quiet"]:
                    await self.quiet(await self.voice_for(event))
                case ["!stop"]:
                    voice = await self.voice_for(event)
                    await voice.disconnect()
        except (voicepool.VoicePoolError, ValueError) as error:
            await self.bot.rest.create_message(event.channel_id, f"Sorry: {error}")

    async def sound(self, voice: voicepool.VoiceConnection, name: str, volume: float = 1.0) -> None:
        """Play a sound beside all that is heard, and return as soon as it can be heard too."""
        if len(sounds_of(voice)) >= MOST_AT_ONCE:
            raise ValueError(f"{MOST_AT_ONCE} sounds at once are enough")
        await voice.overlay(self.file(name), duck_db=DUCK_DB, volume=volume)

    async def quiet(self, voice: voicepool.VoiceConnection) -> None:
        """End all sounds, softly; the music comes up again by itself."""
        await asyncio.gather(*(track.stop(fade_out_s=0.1) for track in sounds_of(voice)))

    def file(self, name: str) -> Path:
        """Return the file of that name."""
        if name not in self.files:
            raise ValueError(f"there are {', '.join(self.files)}")
        return self.files[name]

    async def voice_for(self, event: hikari.GuildMessageCreateEvent) -> voicepool.VoiceConnection:
        """Be in the author's channel: join it, move there, or stay."""
        state = self.bot.cache.get_voice_state(event.guild_id, event.author_id)
        if state is None or state.channel_id is None:
            raise ValueError("join a voice channel first")
        return await voicepool.connect(self.bot, event.guild_id, state.channel_id, pool=self.pool)


def sounds_of(voice: voicepool.VoiceConnection) -> list[voicepool.Track]:
    """Return all that is heard but the music."""
    return [track for track in voice.tracks if track is not voice.track]


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    workers = voicepool.VoicePool(voicepool.PoolConfig.load())
    SoundboardBot(gateway, workers, Path(os.environ.get("SOUNDS_DIR", ".")))
    gateway.run()
