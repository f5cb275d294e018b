"""`connect`: join a voice channel as hikari's ``connect_to`` does, and see to what that leaves undone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import hikari

from voicepool._calls.hint import station_name
from voicepool._subject_log import about
from voicepool.hikari.connection import VoiceConnection
from voicepool.hikari.facts import HOW, NOT_RUNNING, SILENCE, check_admission, check_bot, join_error
from voicepool.hikari.locks import GuildLocks
from voicepool.hikari.watch import VoiceWatch
from voicepool.pool import VoicePool
from voicepool.station import Station

__all__ = ["connect"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")
_ATTEMPTS: Final = 2
_LOCKS: Final = GuildLocks()


async def connect(
    bot: hikari.GatewayBotAware,
    guild: hikari.SnowflakeishOr[hikari.PartialGuild],
    channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel | hikari.GuildStageChannel],
    *,
    pool: VoicePool,
    timeout_s: float = 10.0,
    deaf: bool = False,
    mute: bool = False,
    station: Station | str | None = None,
) -> VoiceConnection:
    """Join a voice or stage channel.

    In place of ``bot.voice.connect_to``, whose map it also appears in. One call a guild at a time: a second
    one waits for the first, and returns its connection, moved if it asks for another channel. Whatever goes
    wrong, a cancellation too, the bot does not stay behind in the channel.

    Parameters
    ----------
    bot
        A bot that runs.
    guild, channel
        Where; objects or ids.
    pool
        A pool that runs.
    timeout_s
        Seconds that Discord's main gateway has for its answer. When it stays silent the bot leaves and tries
        once more, so it can take twice as long, and the voice server's own handshake is not in it.
    deaf, mute
        How the bot shows itself. A deaf bot receives no audio.
    station
        The `Station` that the call is going to hear, or its name; a hint, see `VoicePool.connect`.

    Returns
    -------
    VoiceConnection
        Connected.

    Raises
    ------
    JoinError
        The bot did not get in; ``reason`` tells why.
    ConnectError, WorkerError, PoolNotStartedError, PoolClosedError
        As for `VoicePool.connect`.
    """
    if not isinstance(pool, VoicePool):
        raise TypeError(f"pool= is {type(pool).__name__}, not a VoicePool; use {HOW}")
    expected = station_name(station)
    guild_id, channel_id = hikari.Snowflake(guild), hikari.Snowflake(channel)
    async with _LOCKS.hold((id(bot), guild_id)):
        check_bot(bot, guild_id, channel_id)
        check_admission(bot, guild_id, channel_id)
        there = bot.voice.connections.get(guild_id)
        if isinstance(there, VoiceConnection) and there.closed:
            await there.join()
            there = bot.voice.connections.get(guild_id)
        if there is None:
            joining = _Joining(bot, guild_id, channel_id, pool, timeout_s, deaf=deaf, mute=mute)
            return await joining.run(expected)
        if not isinstance(there, VoiceConnection) or not there.belongs_to(pool):
            what = "another pool" if isinstance(there, VoiceConnection) else type(there).__name__
            raise join_error(
                "occupied", guild_id, channel_id, f"{what} is connected there; disconnect that first"
            )
        await there.move(channel_id, timeout_s=timeout_s, deaf=deaf, mute=mute)
        return there


class _Joining:
    """One `connect` that finds no connection."""

    def __init__(
        self,
        bot: hikari.GatewayBotAware,
        guild_id: hikari.Snowflake,
        channel_id: hikari.Snowflake,
        pool: VoicePool,
        timeout_s: float,
        *,
        deaf: bool,
        mute: bool,
    ) -> None:
        self._bot, self._guild_id, self._channel_id, self._pool = bot, guild_id, channel_id, pool
        self._timeout_s, self._deaf, self._mute = timeout_s, deaf, mute
        self._shard_id = hikari.snowflakes.calculate_shard_id(bot, guild_id)

    async def run(self, station: str | None) -> VoiceConnection:
        """Join, if need be a second time, to hear a station if one is named."""
        for _ in range(_ATTEMPTS):
            connection = await self._attempt(station)
            if connection is not None:
                return connection
            check_bot(self._bot, self._guild_id, self._channel_id)
        raise join_error("timeout", self._guild_id, self._channel_id, SILENCE)

    async def _attempt(self, station: str | None) -> VoiceConnection | None:
        """Join; None when the main gateway did not answer and the bot has left again."""
        me = self._bot.get_me() or await self._bot.rest.fetch_my_user()
        watch = VoiceWatch(self._bot, self._guild_id, me.id, self._shard_id)
        connection: VoiceConnection | None = None
        try:
            connection = await self._ask(watch, station)
        finally:
            if connection is None:
                try:
                    await self._leave(watch)
                finally:
                    watch.close()
        if connection is not None and not self._bot.voice.is_alive:
            await connection.disconnect()
            raise join_error("bot", self._guild_id, self._channel_id, NOT_RUNNING)
        if connection is not None and watch.connection is not connection:
            # One that hikari's own ``connect_to`` made in the same moment, for a channel of its own.
            watch.close()
            await connection.move(
                self._channel_id, timeout_s=self._timeout_s, deaf=self._deaf, mute=self._mute
            )
        return connection

    async def _ask(self, watch: VoiceWatch, station: str | None) -> VoiceConnection | None:
        try:
            return await self._bot.voice.connect_to(
                self._guild_id,
                self._channel_id,
                VoiceConnection,
                deaf=self._deaf,
                mute=self._mute,
                timeout=self._timeout_s,  # type: ignore[arg-type]  # goes to asyncio, which takes fractions
                pool=self._pool,
                station=station,
                _watch=watch,
            )
        except hikari.VoiceError as error:
            if not isinstance(error.__cause__, TimeoutError):
                text = f"hikari refuses ({error}); leave, then connect again"
                raise join_error("occupied", self._guild_id, self._channel_id, text) from error
        except AssertionError:
            # The first server update had no endpoint: there is none yet, and asking before there is is idle.
            await self._wait_a_while(watch, lambda: watch.has_server)
        except hikari.ComponentStateConflictError as error:
            raise join_error("bot", self._guild_id, self._channel_id, NOT_RUNNING) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # hikari's rate limiter cancels who waits in it when the shard reconnects.
        return None

    async def _leave(self, watch: VoiceWatch) -> None:
        if watch.state is not None and not watch.in_channel:
            return
        if self._guild_id in self._bot.voice.connections:
            # Another connection has the guild, and the channel.
            return
        # The pool sees to its end if this task is cancelled again.
        leave = self._pool.host.spawn(watch.leave(), name=f"leave of guild {self._guild_id}")
        await asyncio.wait({leave})

    async def _wait_a_while(self, watch: VoiceWatch, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await watch.until(condition)
        except TimeoutError:
            _LOGGER.debug(
                "guild %s: Discord has named no voice server",
                self._guild_id,
                extra=about(guild=self._guild_id),
            )
