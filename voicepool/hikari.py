"""`VoiceConnection`: a voicepool connection as hikari's voice component wants it.

The only module that imports hikari. What hikari's component does and leaves undone (2.7):

* It calls `initialize` once both updates of the join are there, and hands later events of the guild to
  `notify`, each in a task of its own: they start in order and overlap.
* A connection leaves its map, and the channel, only when the connection calls ``on_close``: exactly once,
  never from inside `initialize`, and after everything else has ended, since it may fail or take a minute.

So `notify` takes each event in before it waits for anything, and a newer event overtakes what an older one
waits for.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

try:
    import hikari
except ModuleNotFoundError as error:
    msg = "voicepool.VoiceConnection needs hikari; install voicepool[hikari]"
    raise ModuleNotFoundError(msg, name=error.name) from error
from hikari.api import VoiceComponent
from hikari.api import VoiceConnection as HikariVoiceConnection

from voicepool.connection import BaseVoiceConnection, CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, SupersededError, VoicePoolError
from voicepool.pool import VoicePool

__all__ = ["VoiceConnection"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")

_HOW: Final = "await bot.voice.connect_to(guild, channel, voicepool.VoiceConnection, pool=pool)"


class VoiceConnection(BaseVoiceConnection, HikariVoiceConnection):
    """A call in one guild, made by hikari's voice component.

    Examples
    --------
    ::

        voice = await bot.voice.connect_to(guild, channel, voicepool.VoiceConnection, pool=pool)
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
    """

    def __init__(
        self,
        host: CallHost,
        credentials: VoiceCredentials,
        *,
        on_close: Callable[[Any], Awaitable[None]],
        owner: VoiceComponent,
        shard_id: int,
    ) -> None:
        super().__init__(host, credentials)
        self._on_close = on_close
        self._owner = owner
        self._shard_id = shard_id
        self._registered = False
        self._wanted = credentials

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
            What was given to ``connect_to`` besides; must be ``pool``, a `VoicePool` that runs.

        Raises
        ------
        TypeError
            ``pool`` is missing or no `VoicePool`, or something else was given.
        ConnectError, WorkerError, PoolNotStartedError, PoolClosedError
            As for `VoicePool.connect`. Nothing is left behind, and hikari makes the bot leave the channel.
        """
        pool = kwargs.pop("pool", None)
        if not isinstance(pool, VoicePool):
            what = "is missing" if pool is None else f"is {type(pool).__name__}, not a VoicePool"
            raise TypeError(f"pool= {what}; use {_HOW}")
        if kwargs:
            raise TypeError(f"unknown arguments {', '.join(sorted(kwargs))}; use {_HOW}")
        credentials = VoiceCredentials(
            guild_id=guild_id,
            channel_id=channel_id,
            user_id=user_id,
            session_id=session_id,
            endpoint=endpoint,
            token=token,
        )
        connection = cls(pool.host, credentials, on_close=on_close, owner=owner, shard_id=shard_id)
        await connection.connect()
        # From here on the component knows it, and has to be told of its end.
        connection._registered = True
        return connection

    @property
    def channel_id(self) -> hikari.Snowflake:
        """ID of the voice channel; follows when the bot is moved."""
        return hikari.Snowflake(self._wanted.channel_id)

    @property
    def guild_id(self) -> hikari.Snowflake:
        """ID of the guild."""
        return hikari.Snowflake(super().guild_id)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not self.closed

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

    async def notify(self, event: hikari.VoiceEvent) -> None:
        """Take in what the main gateway says of this guild's voice. Called by hikari's voice component."""
        if self.closed:
            return
        if isinstance(event, hikari.VoiceStateUpdateEvent):
            await self._follow_state(event.state)
        elif isinstance(event, hikari.VoiceServerUpdateEvent):
            await self._follow_server(event)

    def on_closed(self, error: VoicePoolError | None) -> None:
        """Tell the component, unless it does not know this connection or has a newer one."""
        # The component removes by guild: told of a superseded connection, it would drop the new one.
        if self._registered and not isinstance(error, CallGoneError):
            self.spawn(self._tell_component(), name="farewell")

    async def _tell_component(self) -> None:
        await self.left()
        try:
            await self._on_close(self)
        except Exception:
            # Not ours: a shard that is down, a listener of the bot's own. The call has ended either way.
            _LOGGER.exception("guild %s: hikari's voice component could not leave the channel", self.guild_id)

    async def _follow_state(self, state: hikari.VoiceState) -> None:
        if state.user_id != self.user_id or state.guild_id != self.guild_id:
            return
        if state.channel_id is None:
            _LOGGER.info("guild %s: disconnected by Discord", self.guild_id)
            await self.disconnect()
            return
        self._wanted = dataclasses.replace(
            self._wanted, channel_id=state.channel_id, session_id=state.session_id
        )

    async def _follow_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        if event.guild_id != self.guild_id:
            return
        if event.endpoint is None:
            # Voice Connections, Voice Server Update: the server is gone, the next update names another.
            return
        wanted = dataclasses.replace(self._wanted, endpoint=event.endpoint, token=event.token)
        if wanted == self._wanted and self.connected:
            # Said again after a resume of the main gateway.
            return
        self._wanted = wanted
        try:
            await self.connect(self._wanted)
        except SupersededError:
            # A newer event has taken over.
            pass
        except VoicePoolError as error:
            _LOGGER.warning("guild %s: cannot follow to another voice server: %s", self.guild_id, error)
