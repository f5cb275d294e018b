"""A music bot in one page.

``!play SONG`` joins your channel, or moves there, and plays; then ``!pause``, ``!resume``, ``!volume 50``,
``!stop``. SONG is a URL, or a file in ``MUSIC_DIR`` (default: the working directory). Run it with
``DISCORD_TOKEN`` set.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import hikari

import voicepool

LOGGER = logging.getLogger("music")
INTENTS = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT


class MusicBot:
    """Ties a hikari bot and a pool together."""

    def __init__(self, bot: hikari.GatewayBot, pool: voicepool.VoicePool, music: Path) -> None:
        self.bot = bot
        self.pool = pool
        self.music = music
        bot.subscribe(hikari.StartingEvent, self.on_starting)
        bot.subscribe(hikari.StoppingEvent, self.on_stopping)
        bot.subscribe(hikari.GuildMessageCreateEvent, self.on_message)
        bot.subscribe(voicepool.VoiceInterruptedEvent, self.on_interrupted)
        bot.subscribe(voicepool.VoiceRestoredEvent, self.on_restored)

    async def on_starting(self, _: hikari.StartingEvent) -> None:
        """Start the workers with the bot."""
        await self.pool.start()

    async def on_stopping(self, _: hikari.StoppingEvent) -> None:
        """Leave all channels and end the workers."""
        await self.pool.close()

    async def on_interrupted(self, event: voicepool.VoiceInterruptedEvent) -> None:
        """Note that a call lost its server. It mends itself, and the song waits meanwhile."""
        LOGGER.warning("guild %s: %s", event.guild_id, event.reason)

    async def on_restored(self, event: voicepool.VoiceRestoredEvent) -> None:
        """Note that a call is heard again."""
        LOGGER.info("guild %s: silent for %.0f ms", event.guild_id, event.gap_ms)

    async def on_message(self, event: hikari.GuildMessageCreateEvent) -> None:
        """Carry out a command; say what went wrong in the channel it came from."""
        try:
            await self.obey(event, *(event.content or "").split(maxsplit=1))
        except (voicepool.VoicePoolError, ValueError) as error:
            # One sentence that says what is wrong with which thing: fit to be shown.
            await self.bot.rest.create_message(event.channel_id, f"Sorry: {error}")

    async def obey(
        self, event: hikari.GuildMessageCreateEvent, command: str = "", argument: str = ""
    ) -> None:
        """Do what a message asks for."""
        if command == "!play":
            voice = await self.voice_for(event)
            is_url = argument.startswith(("http://", "https://"))
            await voice.play(voicepool.AudioFile(argument if is_url else self.music / Path(argument).name))
            return
        current = self.bot.voice.connections.get(event.guild_id)
        if not isinstance(current, voicepool.VoiceConnection):
            return
        match command:
            case "!pause":
                current.pause()
            case "!resume":
                current.resume()
            case "!volume":
                current.volume = float(argument) / 100
            case "!stop":
                await current.disconnect()

    async def voice_for(self, event: hikari.GuildMessageCreateEvent) -> voicepool.VoiceConnection:
        """Be in the author's channel: join it, move there, or stay."""
        state = self.bot.cache.get_voice_state(event.guild_id, event.author_id)
        if state is None or state.channel_id is None:
            raise ValueError("join a voice channel first")
        return await voicepool.connect(self.bot, event.guild_id, state.channel_id, pool=self.pool)


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    workers = voicepool.VoicePool(voicepool.PoolConfig.load())
    MusicBot(gateway, workers, Path(os.environ.get("MUSIC_DIR", ".")))
    gateway.run()
