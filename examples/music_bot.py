"""A music bot with a queue: songs follow each other without a gap, and fade into each other.

=====================  =======================================================================
``!play WORDS``        joins your channel and puts the song at the end of the queue
``!skip``, ``!back``   the next song, the one before
``!queue``, ``!now``   what comes next; what plays, and where in it
``!loop track``        plays the song again and again; ``queue`` all of them, ``off`` neither
``!seek 1:30``         another place in the song
``!volume 50``         in percent, for all songs
``!filter bass``       for the song that plays; or ``nightcore``, ``8d``, ``off``
``!stop``              leaves
=====================  =======================================================================

WORDS are looked for in the names of the files below ``MUSIC_DIR`` (default: the working directory). Invite
the bot, allow it the Message Content intent, and run ``DISCORD_TOKEN=... python music_bot.py``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import hikari

import voicepool
from voicepool.filters import BassBoost, Nightcore, Rotation

LOGGER = logging.getLogger("music")
INTENTS = hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT
SHOWN = 10
FILTERS = {"bass": BassBoost(9), "nightcore": Nightcore(), "8d": Rotation(), "off": None}


class MusicBot:
    """Ties a hikari bot and a pool together."""

    crossfade_s = 3.0

    def __init__(self, bot: hikari.GatewayBot, pool: voicepool.VoicePool, music: Path) -> None:
        self.bot, self.pool, self.music = bot, pool, music
        self.asked_in: dict[hikari.Snowflake, hikari.Snowflake] = {}
        """The channel of each guild's last command: what happens is told there."""
        bot.subscribe(hikari.StartingEvent, self.on_starting)
        bot.subscribe(hikari.StoppingEvent, self.on_stopping)
        bot.subscribe(hikari.GuildMessageCreateEvent, self.on_message)
        bot.subscribe(voicepool.VoiceTrackStartedEvent, self.on_track_started)
        bot.subscribe(voicepool.VoiceTrackEndedEvent, self.on_track_ended)

    async def on_starting(self, _: hikari.StartingEvent) -> None:
        """Start the workers with the bot."""
        await self.pool.start()

    async def on_stopping(self, _: hikari.StoppingEvent) -> None:
        """Leave all channels and end the workers."""
        await self.pool.close()

    async def on_message(self, event: hikari.GuildMessageCreateEvent) -> None:
        """Carry out a command, and answer in the channel it came from."""
        command, _, argument = (event.content or "").partition(" ")
        if not command.startswith("!"):
            return
        self.asked_in[event.guild_id] = event.channel_id
        current = self.bot.voice.connections.get(event.guild_id)
        answer: str | None = None
        try:
            if command == "!play":
                answer = await self.play(event, argument)
            elif isinstance(current, voicepool.VoiceConnection):
                answer = await obey(current, command, argument.strip())
        except (voicepool.VoicePoolError, ValueError) as error:
            answer = f"Sorry: {error}"
        if answer:
            await self.bot.rest.create_message(event.channel_id, answer)

    async def on_track_started(self, event: voicepool.VoiceTrackStartedEvent) -> None:
        """Say what is heard from now on."""
        LOGGER.info("guild %s plays %s", event.guild_id, event.track.source.label)
        await self.tell(event.guild_id, f"Now playing {title(event.track)}")

    async def on_track_ended(self, event: voicepool.VoiceTrackEndedEvent) -> None:
        """Say why a song was left out; the queue itself goes on with the next one."""
        if event.error is not None:
            await self.tell(event.guild_id, f"Sorry: {event.error}")

    async def tell(self, guild_id: hikari.Snowflake, text: str) -> None:
        """Say something to a guild."""
        await self.bot.rest.create_message(self.asked_in[guild_id], text)

    async def play(self, event: hikari.GuildMessageCreateEvent, query: str) -> str | None:
        """Be in the author's channel, and add a song to the queue, which starts by itself."""
        state = self.bot.cache.get_voice_state(event.guild_id, event.author_id)
        if state is None or state.channel_id is None:
            raise ValueError("join a voice channel first")
        voice = await voicepool.connect(self.bot, event.guild_id, state.channel_id, pool=self.pool)
        voice.queue.crossfade_s = self.crossfade_s
        # Asked when the song's turn comes. For web sites: voicepool.Resolved(query, voicepool.ytdlp.resolve)
        voice.queue.add(voicepool.Resolved(query, self.find))
        return f"{query} is number {len(voice.queue)} in the queue" if voice.queue else None

    def find(self, query: str) -> Path | None:
        """Return the first file with all words in its name; called in a thread, it may block."""
        words = query.casefold().split()
        files = sorted(file for file in self.music.rglob("*") if file.is_file())
        return next((file for file in files if all(word in file.stem.casefold() for word in words)), None)


async def obey(voice: voicepool.VoiceConnection, command: str, argument: str) -> str | None:
    """Do what a command says to a guild's connection; return what there is to say."""
    match command:
        case "!skip":
            await voice.queue.skip()
        case "!back":
            await voice.queue.back()
        case "!queue":
            songs = [f"{place}. {song.label}" for place, song in enumerate(voice.queue.upcoming[:SHOWN], 1)]
            return "\n".join([*songs, f"{len(voice.queue)} in all, loop {voice.queue.loop.value}"])
        case "!now" if voice.track is not None:
            return f"{title(voice.track)}, {clock(voice.position_s)} of {clock(voice.track.duration_s)}"
        case "!loop":
            voice.queue.loop = voicepool.Loop(argument)
        case "!seek":
            minutes, _, seconds = argument.rpartition(":")
            await voice.seek(60 * float(minutes or 0) + float(seconds))
        case "!volume":
            voice.volume = float(argument) / 100
        case "!filter" if voice.track is not None and argument in FILTERS:
            await voice.track.set(filters=FILTERS[argument])
        case "!stop":
            await voice.disconnect()
    return None


def title(track: voicepool.Track) -> str:
    """Return the song's title, or else the name of its file."""
    return track.info.title or Path(track.source.label).stem


def clock(seconds: float | None) -> str:
    """Write seconds as minutes and seconds."""
    return "?" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


if __name__ == "__main__":
    gateway = hikari.GatewayBot(os.environ["DISCORD_TOKEN"], intents=INTENTS)
    music = Path(os.environ.get("MUSIC_DIR", "."))
    MusicBot(gateway, voicepool.VoicePool(voicepool.PoolConfig.load()), music)
    gateway.run()
