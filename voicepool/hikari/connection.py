"""`VoiceConnection`: a voicepool connection as hikari's voice component wants it.

What it does by itself is in `following`, where the bot sends it in `moving`; here is what the component sees.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import hikari
from hikari.api import VoiceComponent
from hikari.api import VoiceConnection as HikariVoiceConnection

from voicepool._calls.hint import station_name
from voicepool.connection import CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, VoicePoolError
from voicepool.events import ConnectionEvent
from voicepool.hikari.events import as_hikari_event
from voicepool.hikari.facts import HOW, channel_bitrate_bps
from voicepool.hikari.farewell import leave_later, tell_component
from voicepool.hikari.locks import GuildLocks
from voicepool.hikari.moving import MovingConnection
from voicepool.hikari.watch import VoiceWatch, bot_behind
from voicepool.pool import VoicePool

__all__ = ["VoiceConnection"]

_LOCKS: Final = GuildLocks()


class VoiceConnection(MovingConnection, HikariVoiceConnection):
    """A call in one guild, made by hikari's voice component.

    Examples
    --------
    ::

        voice = await voicepool.connect(bot, guild, channel, pool=pool)
        await voice.play("song.flac")
        await voice.disconnect()

    Parameters
    ----------
    host
        The pool.
    credentials
        What the component collected.
    on_close, owner, shard_id
        As `initialize` got them.
    watch
        On the bot's events; None when nothing is known of the bot and the component brings them.
    """

    def __init__(
        self,
        host: CallHost,
        credentials: VoiceCredentials,
        *,
        on_close: Callable[[Any], Awaitable[None]],
        owner: VoiceComponent,
        shard_id: int,
        watch: VoiceWatch | None = None,
    ) -> None:
        super().__init__(host, credentials)
        self._on_close = on_close
        self._owner = owner
        self._shard_id = shard_id
        if watch is not None:
            self._use(watch)

    @classmethod
    async def initialize(
        cls,
        channel_id: hikari.Snowflake,
        endpoint: str,
        guild_id: hikari.Snowflake,
        on_close: Callable[[Self], Awaitable[None]],
        owner: VoiceComponent,
        session_id: str,
        shard_id: int,
        token: str,
        user_id: hikari.Snowflake,
        **kwargs: object,
    ) -> Self:
        """Join the call. Called by hikari's voice component.

        Parameters
        ----------
        channel_id, endpoint, guild_id, session_id, token, user_id
            What Discord handed out.
        on_close, owner, shard_id
            The component's.
        **kwargs
            What was given to ``connect_to`` besides: ``pool``, a `VoicePool` that runs; ``station``, as for
            `VoicePool.connect`; and ``bot`` where the component does not tell.

        Returns
        -------
        VoiceConnection
            Connected. Two ``connect_to`` of one moment both get the first one's connection.

        Raises
        ------
        TypeError
            ``pool`` is missing or no `VoicePool`, or something else was given.
        JoinError
            The bot was taken out of the channel meanwhile.
        ConnectError, WorkerError, PoolNotStartedError, PoolClosedError
            As for `VoicePool.connect`. Nothing is left behind, and hikari makes the bot leave the channel.
        """
        station = station_name(kwargs.pop("station", None))
        pool, bot, watch = _partners(kwargs)
        credentials = VoiceCredentials(
            guild_id=guild_id,
            channel_id=channel_id,
            user_id=user_id,
            session_id=session_id,
            endpoint=endpoint,
            token=token,
        )
        async with _LOCKS.hold((id(owner), guild_id)):
            there = owner.connections.get(guild_id)
            if isinstance(there, cls) and there.belongs_to(pool) and not there.closed:
                # The component lets a second `connect_to` pass while the first is not done yet.
                await there.wait_joined()
                return there
            own_watch: VoiceWatch | None = None
            if watch is None and (bot := bot or bot_behind(owner)) is not None:
                watch = own_watch = VoiceWatch(bot, guild_id, user_id, shard_id)
            try:
                if watch is not None:
                    credentials = await watch.newest(credentials, pool.config.connect_timeout_s)
                connection = cls(
                    pool.host, credentials, on_close=on_close, owner=owner, shard_id=shard_id, watch=watch
                )
                connection.station_hint = station
                await connection._begin()
            except BaseException as error:
                if own_watch is not None and isinstance(error, Exception):
                    own_watch.close()
                elif own_watch is not None:
                    # For a cancellation hikari does not leave the channel.
                    pool.host.spawn(_leave(own_watch), name=f"leave of guild {guild_id}")
                raise
            return connection

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.closed

    @property
    def bot(self) -> hikari.GatewayBotAware | None:
        """The bot; None while it is not known, which is so only under a voice component of another making."""
        return None if self._watch is None else self._watch.bot

    @property
    def suppressed(self) -> bool:
        """Whether it sits in the audience of a stage, where it is not heard; see `request_to_speak`."""
        state = None if self._watch is None else self._watch.latest
        return state is not None and state.is_suppressed

    @property
    def channel_bitrate_bps(self) -> int | None:
        """Bitrate of the voice channel in bit/s; None while the bot's cache does not know it."""
        return None if self._watch is None else channel_bitrate_bps(self._watch.bot, self.channel_id)

    @property
    def shard_id(self) -> int:
        """ID of the shard that asked for it."""
        return self._shard_id

    @property
    def owner(self) -> VoiceComponent:
        """The component that made it."""
        return self._owner

    async def join(self) -> None:
        """Wait until it has ended, for whatever reason, and the component has been told."""
        await self.wait_closed()

    def belongs_to(self, pool: VoicePool) -> bool:
        """Tell whether a pool carries it."""
        return self._host is pool.host

    async def notify(self, event: hikari.VoiceEvent) -> None:
        """Take in what the main gateway says of this guild's voice. Called by hikari's voice component."""
        if self.closed or self._watch is not None:
            return
        if isinstance(event.app, hikari.GatewayBotAware):
            # The component did not tell which bot it is of; its events do. The watch hears the next one.
            self._use(VoiceWatch(event.app, self.guild_id, self.user_id, self._shard_id))
        if isinstance(event, hikari.VoiceStateUpdateEvent):
            await self.follow_state(event.state)
        elif isinstance(event, hikari.VoiceServerUpdateEvent):
            await self.follow_server(event)

    def on_closed(self, error: VoicePoolError | None) -> None:
        """Tell the component, unless it does not know this connection or has a newer one."""
        super().on_closed(error)
        # The component removes by guild: told of a superseded connection, it would drop the new one.
        if self._registered and not isinstance(error, CallGoneError):
            self.spawn(self._say_farewell(), name="farewell")
        elif self._registered and self._watch is not None:
            self._watch.close()

    # How it is done.

    def _use(self, watch: VoiceWatch) -> None:
        """Hear the bot's events, and have the bot hear those of the call."""
        self._watch = watch
        watch.connection = self

        def dispatch(event: ConnectionEvent) -> None:
            watch.bot.event_manager.dispatch(as_hikari_event(event, self))

        self.listen(dispatch)

    async def _begin(self) -> None:
        try:
            await self._reach(None)
            await self.wait_joined()
        except BaseException:
            self.leave()
            raise
        # From here on the component knows it, and has to be told of its end.
        self._registered = True

    async def _say_farewell(self) -> None:
        await self.left()
        watch = self._watch
        stayed = await tell_component(lambda: self._on_close(self), watch, self.guild_id)
        if watch is None:
            return
        if stayed:
            # The pool's, not ours: it may take long, and who disconnects need not wait for it.
            self._host.spawn(
                leave_later(watch, lambda: self.guild_id not in self._owner.connections),
                name=f"late leave of guild {self.guild_id}",
            )
        else:
            watch.close()


def _partners(given: dict[str, object]) -> tuple[VoicePool, hikari.GatewayBotAware | None, VoiceWatch | None]:
    """Take what `connect_to` was given besides."""
    pool, bot, watch = (given.pop(name, None) for name in ("pool", "bot", "_watch"))
    if not isinstance(pool, VoicePool):
        what = "is missing" if pool is None else f"is {type(pool).__name__}, not a VoicePool"
        raise TypeError(f"pool= {what}; use {HOW}")
    if given:
        raise TypeError(f"unknown arguments {', '.join(sorted(given))}; use {HOW}")
    if bot is not None and not isinstance(bot, hikari.GatewayBotAware):
        raise TypeError(f"bot= is {type(bot).__name__}, not a gateway bot; use {HOW}")
    assert watch is None or isinstance(watch, VoiceWatch)
    return pool, bot, watch


async def _leave(watch: VoiceWatch) -> None:
    try:
        await watch.leave()
    finally:
        watch.close()
