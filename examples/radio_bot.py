"""A radio that plays day and night, in every guild that has a voice channel called ``radio``.

All guilds hear one `voicepool.Station`: each worker process reads, decodes and encodes the stream once,
however many calls it has, and a further guild costs little more than its encryption. Calls mend themselves
(region moves, lost servers), and so does the stream (it is opened anew, with growing pauses); what neither
can mend, such as a worker that died, ends ``play`` with an error, and the loop below begins anew.

The title of what is on the air becomes the bot's status. Who disconnects the bot has peace until it starts
again. ``DISCORD_TOKEN=... RADIO_URL=https://... python radio_bot.py`` runs it: an Icecast or other HTTP
stream, or HLS.
"""

from __future__ import annotations

import asyncio
import logging
import os

import hikari

import voicepool

LOGGER = logging.getLogger("radio")
INTENTS = hikari.Intents.GUILDS | hikari.Intents.GUILD_VOICE_STATES


class RadioBot:
    """Ties a hikari bot and a pool together."""

    channel_name = "radio"
    retry_s = 15.0

    def __init__(self, bot: hikari.GatewayBot, pool: voicepool.VoicePool, url: str) -> None:
        self.bot = bot
        self.pool = pool
        # What waits to be heard is never more than 5 s behind what is sent.
        self.station = voicepool.Station("radio", voicepool.AudioFile(url, live=True, max_latency_s=5))
        self.title: str | None = None
        self.calls: dict[hikari.Snowflake, asyncio.Task[None]] = {}
        """What keeps each guild's call going, by the guild's id."""
        self.started = asyncio.Event()
        """Guilds come while the bot is still starting, and it cannot join before it has started."""
        bot.subscribe(hikari.StartingEvent, self.on_starting)
        bot.subscribe(hikari.StartedEvent, self.on_started)
        bot.subscribe(hikari.StoppingEvent, self.on_stopping)
        bot.subscribe(hikari.GuildAvailableEvent, self.on_guild)
        bot.subscribe(hikari.GuildJoinEvent, self.on_guild)
        bot.subscribe(voicepool.VoiceTrackChangedEvent, self.on_title)
        bot.subscribe(voicepool.VoiceRestoredEvent, self.on_restored)

    async def on_starting(self, _: hikari.StartingEvent) -> None:
        """Start the workers with the bot."""
        await self.pool.start()

    async def on_started(self, _: hikari.StartedEvent) -> None:
        """Begin to join."""
        self.started.set()

    async def on_stopping(self, _: hikari.StoppingEvent) -> None:
        """Leave all channels and end the workers."""
        for call in self.calls.values():
            call.cancel()
        await asyncio.gather(*self.calls.values(), return_exceptions=True)
        await self.pool.close()

    async def on_guild(self, event: hikari.GuildAvailableEvent | hikari.GuildJoinEvent) -> None:
        """Begin to play in a guild that has a radio channel, and where it does not play yet."""
        voice_channels = (
            channel for channel in event.channels.values() if isinstance(channel, hikari.GuildVoiceChannel)
        )
        channel = next((each for each in voice_channels if each.name == self.channel_name), None)
        call = self.calls.get(event.guild_id)
        if channel is not None and (call is None or call.done()):
            self.calls[event.guild_id] = asyncio.create_task(self.keep_playing(event.guild_id, channel.id))

    async def keep_playing(self, guild_id: hikari.Snowflake, channel_id: hikari.Snowflake) -> None:
        """Be in the channel and play there, until somebody sends the bot away."""
        await self.started.wait()
        while True:
            try:
                voice = await voicepool.connect(self.bot, guild_id, channel_id, pool=self.pool, deaf=True)
                await voice.play(self.station)
            except voicepool.VoicePoolError as error:
                LOGGER.warning("guild %s: %s; next try in %g s", guild_id, error, self.retry_s)
                await asyncio.sleep(self.retry_s)
            else:
                LOGGER.info("guild %s: the radio was sent away", guild_id)
                return

    async def on_title(self, event: voicepool.VoiceTrackChangedEvent) -> None:
        """Show what is on the air. Each guild says so, and Discord takes five such changes in 20 s."""
        if event.title and event.title != self.title:
            self.title = event.title
            LOGGER.info("on the air: %s", event.title)
            await self.show(event.title)

    async def show(self, title: str) -> None:
        """Make a title the bot's status."""
        await self.bot.update_presence(
            activity=hikari.Activity(name=title, type=hikari.ActivityType.LISTENING)
        )

    async def on_restored(self, event: voicepool.VoiceRestoredEvent) -> None:
        """Note that a call has mended itself."""
        LOGGER.info("guild %s: silent for %.0f ms", event.guild_id, event.gap_ms)


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    RadioBot(gateway, voicepool.VoicePool(voicepool.PoolConfig.load()), os.environ["RADIO_URL"])
    gateway.run()
