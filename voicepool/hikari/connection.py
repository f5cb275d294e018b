"""`VoiceConnection`: a voicepool connection as hikari's voice component wants it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import hikari
from hikari.api import VoiceComponent
from hikari.api import VoiceConnection as HikariVoiceConnection

from voicepool._link import fresh_copy
from voicepool.connection import BaseVoiceConnection, CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, ConnectError, JoinError, SupersededError, VoicePoolError
from voicepool.events import ConnectionEvent
from voicepool.hikari.admission import Permission, permissions_in
from voicepool.hikari.events import as_hikari_event
from voicepool.hikari.facts import SILENCE, check_admission, check_bot, facts, join_error
from voicepool.hikari.farewell import leave_later, tell_component
from voicepool.hikari.locks import GuildLocks
from voicepool.hikari.rejoin import Phase, Rejoin
from voicepool.hikari.watch import VoiceWatch, bot_behind
from voicepool.pool import VoicePool

__all__ = ["HOW", "VoiceConnection"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")

HOW: Final = "await voicepool.connect(bot, guild, channel, pool=pool)"

_SERVER_GRACE_S: Final = 1.0
"""How long after the state update of a move a server update may come and belong to it."""
_REJOINS: Final = 5
_REJOINS_SPAN_S: Final = 120.0
"""So many rejoins in so short a time show that no session holds, and everyone sees the bot come and go."""

_LOCKS: Final = GuildLocks()


class VoiceConnection(BaseVoiceConnection, HikariVoiceConnection):
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
        self._registered = False
        self._wanted = credentials
        self._watch: VoiceWatch | None = None
        self._reaching = 0
        self._attempts = 0
        self._moves = 0
        self._moving = 0
        self._rejoin: Rejoin | None = None
        self._rejoining: asyncio.Task[None] | None = None
        self._rejoined: deque[float] = deque(maxlen=_REJOINS)
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
            What was given to ``connect_to`` besides: ``pool``, a `VoicePool` that runs, and ``bot`` where the
            component does not tell.

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
    def registered(self) -> bool:
        """Whether the component knows it."""
        return self._registered

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

    async def wait_joined(self) -> None:
        """Wait until what is under way to join or follow is done.

        Raises
        ------
        JoinError
            The bot was taken out of the channel.
        ConnectError, WorkerError
            It was in vain, and the connection has ended.
        """
        if self._watch is not None:
            await self._watch.until(lambda: self.closed or not self._reaching)
        if not self.closed:
            return
        if self.error is not None:
            raise fresh_copy(self.error)
        text = "the bot was taken out of the channel, or is closing; connect again"
        raise join_error("removed", self.guild_id, self.channel_id, text)

    def belongs_to(self, pool: VoicePool) -> bool:
        """Tell whether a pool carries it."""
        return self._host is pool.host

    async def move(
        self,
        channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel | hikari.GuildStageChannel],
        *,
        timeout_s: float = 10.0,
        deaf: bool | None = None,
        mute: bool | None = None,
    ) -> None:
        """Go to another channel of the guild, and return when sound can be sent there. What plays goes on.

        Parameters
        ----------
        channel
            Where to; object or id.
        timeout_s
            Seconds that Discord's main gateway has for its answer.
        deaf, mute
            How the bot shows itself from now on; None leaves it.

        Raises
        ------
        JoinError
            The bot did not get in, or does not run; ``reason`` tells why. Unless it was removed it stays
            where it was.
        SupersededError
            A newer move came first.
        CallGoneError, ConnectError, WorkerError
            The connection has ended, now or before.
        """
        channel_id = hikari.Snowflake(channel)
        if self.closed:
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {HOW}")
        watch = self._known_watch("move")
        check_bot(watch.bot, self.guild_id, channel_id)
        old_deaf, old_mute = watch.flags
        deaf, mute = old_deaf if deaf is None else deaf, old_mute if mute is None else mute
        elsewhere = channel_id != self.channel_id
        if not elsewhere and (deaf, mute) == (old_deaf, old_mute):
            return
        if elsewhere:
            check_admission(watch.bot, self.guild_id, channel_id)
        self._moves += 1
        number = self._moves
        there = (channel_id, deaf, mute)
        self._moving += 1
        try:
            async with asyncio.timeout(timeout_s):
                # The leave that comes first in a rejoin would undo the move.
                await watch.until(lambda: self.closed or number != self._moves or self._rejoin is None)
                servers = watch.servers
                if not self.closed and number == self._moves:
                    await watch.ask(channel_id, deaf=deaf, mute=mute)
                await watch.until(lambda: self.closed or number != self._moves or watch.place == there)
            if elsewhere and not self.closed and number == self._moves:
                await self._await_server(watch, servers)
        except TimeoutError:
            raise join_error("timeout", self.guild_id, channel_id, SILENCE) from None
        finally:
            self._moving -= 1
            watch.tell()
        await self.wait_joined()
        if number != self._moves:
            raise SupersededError(f"guild {self.guild_id}: a newer move came first")

    async def request_to_speak(self) -> None:
        """Ask to be let speak on a stage; with the permission Mute Members, speak without asking.

        Raises
        ------
        JoinError
            It is no stage channel (reason ``"channel"``), or Request to Speak is missing (``"permission"``).
        CallGoneError
            The connection has ended.
        """
        if self.closed:
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {HOW}")
        bot = self._known_watch("request_to_speak").bot
        member, channel = facts(bot, self.guild_id, self.channel_id)
        if channel is not None and not channel.is_stage:
            text = "it is no stage channel, where everyone may speak; ask on stages only"
            raise join_error("channel", self.guild_id, self.channel_id, text)
        may_speak = (
            member is not None
            and channel is not None
            and bool(permissions_in(member, channel) & Permission.MUTE_MEMBERS)
        )
        wish: dict[str, Any] = {"suppress": False} if may_speak else {"request_to_speak": True}
        try:
            await bot.rest.edit_my_voice_state(self.guild_id, self.channel_id, **wish)
        except hikari.BadRequestError as error:
            text = f"Discord refuses the request ({error.message}); ask on stages only"
            raise join_error("channel", self.guild_id, self.channel_id, text) from error
        except hikari.ForbiddenError as error:
            text = "the bot lacks Request to Speak there; grant it to one of its roles"
            raise join_error("permission", self.guild_id, self.channel_id, text) from error

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

    # What the call says.

    def on_server_wanted(self, *, rejoin: bool) -> None:
        """Get new credentials from Discord, where it does not send them by itself."""
        if rejoin and self._watch is None:
            _LOGGER.warning(
                "guild %s: the voice session is void, and a new one needs the bot: use %s", self.guild_id, HOW
            )
        elif rejoin and self._watch is not None:
            self._rejoin_session(self._watch)
        elif self._watch is not None and not self._watch.shard_connected:
            # Whether it is a kick or the end of the gateway's session can be told when the shard is back.
            self.server_gone()

    def on_closed(self, error: VoicePoolError | None) -> None:
        """Tell the component, unless it does not know this connection or has a newer one."""
        if self._watch is not None:
            self._watch.tell()
        if self._rejoining is not None and self._rejoining is not asyncio.current_task():
            self._rejoining.cancel()
        # The component removes by guild: told of a superseded connection, it would drop the new one.
        if self._registered and not isinstance(error, CallGoneError):
            self.spawn(self._say_farewell(), name="farewell")
        elif self._registered and self._watch is not None:
            self._watch.close()

    # For the watch.

    async def follow_state(self, state: hikari.VoiceState) -> None:
        """Follow a voice state, if it is the bot's own."""
        if self.closed or state.user_id != self.user_id or state.guild_id != self.guild_id:
            return
        rejoin = self._rejoin
        if state.channel_id is None:
            if rejoin is not None and rejoin.explains_leave:
                # Our own leave, or the end of a lost session, told late.
                return
            _LOGGER.info("guild %s: disconnected by Discord", self.guild_id)
            if self._registered or self._watch is None:
                await self.disconnect()
            else:
                self.leave()
            return
        if rejoin is not None:
            rejoin.on_state(state.session_id)
        self._wanted = dataclasses.replace(
            self._wanted, channel_id=state.channel_id, session_id=state.session_id
        )

    def follow_session(self, session_id: str) -> None:
        """Rejoin after the main gateway gave the bot a new session: Discord has it out of voice."""
        if self._watch is None or self.closed or session_id == self._wanted.session_id:
            return
        _LOGGER.info("guild %s: the main gateway's session is a new one, rejoining", self.guild_id)
        if self._rejoining is not None:
            self._rejoining.cancel()
        # At once: what Discord says next of the old session must not be taken for a kick.
        self._rejoin = self._make_rejoin(self._watch, leave_first=False, session_id=session_id)
        self._rejoining = self.spawn(self._run(self._rejoin), name="rejoin")

    async def follow_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        """Follow to another voice server."""
        if self.closed or event.guild_id != self.guild_id:
            return
        rejoin, watch = self._rejoin, self._watch
        if rejoin is not None and rejoin.voids_server:
            return
        if rejoin is not None and rejoin.awaits_state and watch is not None:
            # Discord may tell the server before the state whose session belongs to it.
            await watch.until(lambda: self.closed or self._rejoin is not rejoin or not rejoin.awaits_state)
            if self.closed or rejoin.phase is not Phase.JOINED or event is not watch.server:
                return
        await self._follow_server(event)

    # How it is done.

    def _known_watch(self, what: str) -> VoiceWatch:
        if self._watch is None:
            raise TypeError(f"{what} needs the bot: use {HOW}, or give bot=bot to connect_to")
        return self._watch

    def _use(self, watch: VoiceWatch) -> None:
        """Hear the bot's events, and have the bot hear those of the call."""
        self._watch = watch
        watch.connection = self

        def dispatch(event: ConnectionEvent) -> None:
            watch.bot.event_manager.dispatch(as_hikari_event(event, self))

        self.listen(dispatch)

    def _make_rejoin(self, watch: VoiceWatch, *, leave_first: bool, session_id: str | None) -> Rejoin:
        attempts = self._attempts
        return Rejoin(
            watch,
            patience_s=self._host.config.server_wait_s,
            hold=self.server_gone,
            needless=lambda: self.closed or attempts != self._attempts,
            leave_first=leave_first,
            session_id=session_id,
        )

    def _rejoin_session(self, watch: VoiceWatch) -> None:
        """Leave and join in the gateway's session that there is, unless that is going on already."""
        if self._rejoining is not None and not self._rejoining.done():
            return
        now = asyncio.get_running_loop().time()
        if len(self._rejoined) == _REJOINS and now - self._rejoined[0] < _REJOINS_SPAN_S:
            text = f"the voice server forgot the session {_REJOINS + 1} times within {_REJOINS_SPAN_S:g} s"
            self._send_close()
            self._end(ConnectError(f"guild {self.guild_id}: {text}; connect again later"))
            return
        self._rejoined.append(now)
        self._rejoining = self.spawn(self._rejoin_unless_moved(watch), name="rejoin")

    async def _rejoin_unless_moved(self, watch: VoiceWatch) -> None:
        rejoin = self._make_rejoin(watch, leave_first=True, session_id=None)
        # A move brings credentials as well, and the leave would undo it.
        await watch.until(lambda: self.closed or not self._moving)
        if not self.closed:
            self._rejoin = rejoin
            await self._run(rejoin)

    async def _run(self, rejoin: Rejoin) -> None:
        try:
            await rejoin.run(lambda: self.channel_id)
        except JoinError as error:
            self._send_close()
            self._end(error)
        finally:
            if self._rejoin is rejoin:
                self._rejoin = None
            if self._watch is not None:
                self._watch.tell()

    async def _await_server(self, watch: VoiceWatch, servers: int) -> None:
        """Wait a moment for the server update that belongs to a move."""
        try:
            async with asyncio.timeout(_SERVER_GRACE_S):
                await watch.until(lambda: self.closed or watch.servers != servers)
        except TimeoutError:
            _LOGGER.debug("guild %s: moved without another voice server", self.guild_id)

    async def _begin(self) -> None:
        try:
            await self._reach(None)
            await self.wait_joined()
        except BaseException:
            self.leave()
            raise
        # From here on the component knows it, and has to be told of its end.
        self._registered = True

    async def _reach(self, credentials: VoiceCredentials | None) -> None:
        """Connect; an attempt that a newer one overtakes is no failure."""
        self._reaching += 1
        self._attempts += 1
        try:
            await self.connect(credentials)
        except SupersededError:
            # A newer event has taken over.
            pass
        finally:
            self._reaching -= 1
            if self._watch is not None:
                self._watch.tell()

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

    async def _follow_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        if event.endpoint is None:
            # Voice Connections, Voice Server Update: the server is gone, the next update names another.
            self.server_gone()
            return
        wanted = dataclasses.replace(self._wanted, endpoint=event.endpoint, token=event.token)
        if wanted == self._wanted and self.connected:
            # Said again after a resume of the main gateway.
            return
        self._wanted = wanted
        try:
            await self._reach(self._wanted)
        except VoicePoolError as error:
            _LOGGER.warning("guild %s: cannot follow to another voice server: %s", self.guild_id, error)


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
