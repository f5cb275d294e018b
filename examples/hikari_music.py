"""A music bot in one page.

``!play SONG`` joins your channel and plays, then ``!pause``, ``!resume``, ``!volume 50``, ``!stop``. Run it
with ``DISCORD_TOKEN`` set. SONG is a file in ``MUSIC_DIR`` (default: the working directory) or a URL.
"""

from __future__ import annotations

import os
from pathlib import Path

import hikari

import voicepool

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

    async def on_starting(self, _: hikari.StartingEvent) -> None:
        """Start the workers with the bot."""
        await self.pool.start()

    async def on_stopping(self, _: hikari.StoppingEvent) -> None:
        """Leave all channels, then end the workers."""
        await self.bot.voice.disconnect_all()
        await self.pool.close()

    async def on_message(self, event: hikari.GuildMessageCreateEvent) -> None:
        """Carry out a command; say what went wrong in the channel it came from."""
        try:
            await self.obey(event, *(event.content or "").split(maxsplit=1))
        except (voicepool.VoicePoolError, hikari.VoiceError, ValueError) as error:
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
        """Return the guild's connection; join the author's channel if there is none."""
        current = self.bot.voice.connections.get(event.guild_id)
        if isinstance(current, voicepool.VoiceConnection):
            return current
        state = self.bot.cache.get_voice_state(event.guild_id, event.author_id)
        if state is None or state.channel_id is None:
            raise ValueError("join a voice channel first")
        return await self.bot.voice.connect_to(
            event.guild_id, state.channel_id, voicepool.VoiceConnection, pool=self.pool
        )


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    workers = voicepool.VoicePool(voicepool.PoolConfig.load())
    MusicBot(gateway, workers, Path(os.environ.get("MUSIC_DIR", ".")))
    gateway.run()
