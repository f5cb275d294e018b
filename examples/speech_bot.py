"""Speech over music: the bot says what you write, and the music steps back while it speaks.

``!music FILE`` joins your channel and plays background music, again and again; ``!say TEXT`` speaks over it,
or into the silence; ``!stop`` leaves. FILE is one in ``MUSIC_DIR`` (default: the working directory).

Speech comes from a service in pieces, while it is still being made, at a rate of its own. So it is pushed
into a `voicepool.PcmStream` as it comes: it is heard from the first piece on, and `write` waits while as much
as ``buffer_ms`` waits to be heard. `synthesise` stands in for the service, with a beep for each letter.

Run it with ``DISCORD_TOKEN=... python speech_bot.py``; it needs the Message Content intent.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import hikari
import numpy as np

import voicepool

INTENTS = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT
RATE_HZ = 24_000
BEEP_S = 0.15
DUCK_DB = -15.0
LONGEST = 200


async def synthesise(text: str) -> AsyncIterator[bytes]:
    """Make speech of a text: 24 kHz mono, 16 bit, in pieces.

    Put your service here: any that streams PCM will do, whatever the size of its pieces. One that streams
    Opus packets of 20 ms goes with `voicepool.OpusStream`, and a whole file, of any format, needs no stream
    at all: ``await voice.overlay(content, duck_db=-15)``.
    """
    time_s = np.arange(round(BEEP_S * RATE_HZ)) / RATE_HZ
    envelope = np.minimum(1, np.minimum(time_s, BEEP_S - time_s) / 0.01)
    for letter in text.casefold():
        hz = 600 + 40 * (ord(letter) - ord("a")) if letter.isascii() and letter.isalpha() else 0
        yield (9_000 * envelope * np.sin(2 * np.pi * hz * time_s)).astype(np.int16).tobytes()
        # A service would take its time here.
        await asyncio.sleep(0)


async def write_speech(stream: voicepool.PcmStream, text: str) -> None:
    """Write speech while it is being made; the stream ends with it."""
    async with stream:
        async for piece in synthesise(text):
            await stream.write(piece)


class SpeechBot:
    """Ties a hikari bot and a pool together."""

    def __init__(self, bot: hikari.GatewayBot, pool: voicepool.VoicePool, music: Path) -> None:
        self.bot = bot
        self.pool = pool
        self.music = music
        self.floor: defaultdict[hikari.Snowflake, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Held by who speaks in a guild: one after the other, in the order they came."""
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
        command, _, argument = (event.content or "").partition(" ")
        try:
            match command:
                case "!music":
                    voice = await self.voice_for(event)
                    await voice.start(self.music / Path(argument).name, loop=True)
                case "!say":
                    await self.say(await self.voice_for(event), argument[:LONGEST])
                case "!stop":
                    voice = await self.voice_for(event)
                    await voice.disconnect()
        except (voicepool.VoicePoolError, ValueError) as error:
            await self.bot.rest.create_message(event.channel_id, f"Sorry: {error}")

    async def say(self, voice: voicepool.VoiceConnection, text: str) -> None:
        """Speak over what plays, and return when all has been heard."""
        async with self.floor[voice.guild_id]:
            stream = voicepool.PcmStream(sample_rate_hz=RATE_HZ, channels=1, buffer_ms=500)
            # Beside `overlay`, which returns when the first piece can be heard.
            writing = asyncio.create_task(write_speech(stream, text))
            try:
                speech = await voice.overlay(stream, duck_db=DUCK_DB)
                await speech.wait()
                await writing
            finally:
                writing.cancel()

    async def voice_for(self, event: hikari.GuildMessageCreateEvent) -> voicepool.VoiceConnection:
        """Be in the author's channel: join it, move there, or stay."""
        state = self.bot.cache.get_voice_state(event.guild_id, event.author_id)
        if state is None or state.channel_id is None:
            raise ValueError("join a voice channel first")
        return await voicepool.connect(self.bot, event.guild_id, state.channel_id, pool=self.pool)


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    workers = voicepool.VoicePool(voicepool.PoolConfig.load())
    SpeechBot(gateway, workers, Path(os.environ.get("MUSIC_DIR", ".")))
    gateway.run()
