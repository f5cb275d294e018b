"""`connect` and `VoiceConnection`: a voicepool connection as hikari's voice component wants it.

The only module that imports hikari. What hikari's component does and leaves undone (2.7):

* It calls `initialize` once both updates of the join are there, and hands later events of the guild to
  `notify`, each in a task of its own: they start in order and overlap.
* A connection leaves its map, and the channel, only when the connection calls ``on_close``: exactly once,
  never from inside `initialize`, and after everything else has ended, since it may fail or take a minute.

* It loses the events that come during `initialize`, takes the state update of a leave for that of a join,
  lets the bot stay in the channel when it times out or is cancelled, and misses a lost gateway session.

So each event is taken in before anything is waited for, and a newer event overtakes what an older one waits
for. A connection that knows its bot (all that `connect` makes do) hears the events by a `VoiceWatch` of its
own that begins before op 4, and `notify` has nothing to do.
"""

from __future__ import annotations

import asyncio
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

from voicepool import _admission
from voicepool._guild_facts import NOT_RUNNING, SILENCE, check_admission, check_bot, facts, join_error
from voicepool._guild_locks import GuildLocks
from voicepool._link import fresh_copy
from voicepool._voice_watch import EventKinds, VoiceWatch
from voicepool.connection import BaseVoiceConnection, CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, JoinError, SupersededError, VoicePoolError
from voicepool.pool import VoicePool

__all__ = ["VoiceConnection", "connect"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")

_HOW: Final = "await voicepool.connect(bot, guild, channel, pool=pool)"

_ATTEMPTS: Final = 2
_LEAVE_S: Final = 5.0
"""What a leave for tidiness may take."""
_FAREWELL_S: Final = 70.0
"""What the component's leave may take: a shard's rate limiter lets it wait a minute."""
_FAREWELL_WHILE_STOPPING_S: Final = 2.0
"""The same while the bot closes, where the end of the session takes the bot out of voice anyway."""
_SERVER_GRACE_S: Final = 1.0
"""How long after the state update of a move a server update may come and belong to it."""

_SESSION_S: Final = 30.0
"""How long a rejoin may take when all guilds of a shard rejoin at once."""

_LOCKS: Final = GuildLocks()
_KINDS: Final = EventKinds(
    hikari.VoiceStateUpdateEvent, hikari.VoiceServerUpdateEvent, hikari.ShardReadyEvent, hikari.StoppingEvent
)


async def connect(
    bot: hikari.GatewayBotAware,
    guild: hikari.SnowflakeishOr[hikari.PartialGuild],
    channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel | hikari.GuildStageChannel],
    *,
    pool: VoicePool,
    timeout_s: float = 10.0,
    deaf: bool = False,
    mute: bool = False,
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
        raise TypeError(f"pool= is {type(pool).__name__}, not a VoicePool; use {_HOW}")
    guild_id, channel_id = hikari.Snowflake(guild), hikari.Snowflake(channel)
    async with _LOCKS.hold((id(bot), guild_id)):
        check_bot(bot, guild_id, channel_id)
        check_admission(bot, guild_id, channel_id)
        there = bot.voice.connections.get(guild_id)
        if isinstance(there, VoiceConnection) and there.closed:
            await there.join()
            there = bot.voice.connections.get(guild_id)
        if there is None:
            return await _Joining(bot, guild_id, channel_id, pool, timeout_s, deaf=deaf, mute=mute).run()
        if not isinstance(there, VoiceConnection) or not there.belongs_to(pool):
            what = "another pool" if isinstance(there, VoiceConnection) else type(there).__name__
            raise join_error(
                "occupied", guild_id, channel_id, f"{what} is connected there; disconnect that first"
            )
        await there.move(channel_id, timeout_s=timeout_s, deaf=deaf, mute=mute)
        return there


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
        On the bot's events; None when the component brings them and nothing is known of the bot.
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
        self._watch = watch
        self._reaching = 0
        self._moves = 0
        self._awaited_session: str | None = None

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
            What was given to ``connect_to`` besides: ``pool``, a `VoicePool` that runs, and optionally
            ``bot``, for `move`, `request_to_speak` and a new gateway session; `connect` does this for you.

        Raises
        ------
        TypeError
            ``pool`` is missing or no `VoicePool`, or something else was given.
        ConnectError, WorkerError, PoolNotStartedError, PoolClosedError
            As for `VoicePool.connect`. Nothing is left behind, and hikari makes the bot leave the channel.
        """
        pool, bot, watch = (kwargs.pop(name, None) for name in ("pool", "bot", "_watch"))
        if not isinstance(pool, VoicePool):
            what = "is missing" if pool is None else f"is {type(pool).__name__}, not a VoicePool"
            raise TypeError(f"pool= {what}; use {_HOW}")
        if kwargs:
            raise TypeError(f"unknown arguments {', '.join(sorted(kwargs))}; use {_HOW}")
        own_watch = watch is None
        if watch is None and bot is not None:
            if not isinstance(bot, hikari.GatewayBotAware):
                raise TypeError(f"bot= is {type(bot).__name__}, not a gateway bot; use {_HOW}")
            watch = VoiceWatch(bot, guild_id, user_id, shard_id, _KINDS)
        assert watch is None or isinstance(watch, VoiceWatch)
        connection: Self | None = None
        try:
            if watch is not None and watch.server is not None:
                # The component takes any state for that of the join, and the first server for the last.
                state, server = await watch.joined(channel_id, pool.config.connect_timeout_s)
                channel_id, session_id = state.channel_id or channel_id, state.session_id
                endpoint, token = server.endpoint or endpoint, server.token
            credentials = VoiceCredentials(
                guild_id=guild_id,
                channel_id=channel_id,
                user_id=user_id,
                session_id=session_id,
                endpoint=endpoint,
                token=token,
            )
            connection = cls(
                pool.host, credentials, on_close=on_close, owner=owner, shard_id=shard_id, watch=watch
            )
            if watch is not None:
                watch.connection = connection
            await connection._reach(None)
            await connection._check_joined()
        except BaseException:
            if connection is not None:
                connection.leave()
            if watch is not None and own_watch:
                watch.close()
            raise
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
    def registered(self) -> bool:
        """Whether the component knows it."""
        return self._registered

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
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {_HOW}")
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
        number, servers = self._moves, watch.servers
        there = (channel_id, deaf, mute)
        try:
            async with asyncio.timeout(timeout_s):
                await _say(watch.bot, self.guild_id, channel_id, deaf=deaf, mute=mute)
                await watch.until(lambda: self.closed or number != self._moves or watch.place == there)
        except TimeoutError:
            raise join_error("timeout", self.guild_id, channel_id, SILENCE) from None
        if elsewhere and not self.closed and number == self._moves:
            try:
                async with asyncio.timeout(_SERVER_GRACE_S):
                    await watch.until(lambda: self.closed or watch.servers != servers)
            except TimeoutError:
                _LOGGER.debug("guild %s: moved without another voice server", self.guild_id)
        await self._check_joined()
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
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; use {_HOW}")
        bot = self._known_watch("request_to_speak").bot
        member, channel = facts(bot, self.guild_id, self.channel_id)
        if channel is not None and not channel.is_stage:
            text = "it is no stage channel, where everyone may speak; ask on stages only"
            raise join_error("channel", self.guild_id, self.channel_id, text)
        may_speak = (
            member is not None
            and channel is not None
            and bool(_admission.permissions_in(member, channel) & _admission.Permission.MUTE_MEMBERS)
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
        if isinstance(event, hikari.VoiceStateUpdateEvent):
            await self.follow_state(event.state)
        elif isinstance(event, hikari.VoiceServerUpdateEvent):
            await self.follow_server(event)

    def on_closed(self, error: VoicePoolError | None) -> None:
        """Tell the component, unless it does not know this connection or has a newer one."""
        if self._watch is not None:
            self._watch.tell()
        # The component removes by guild: told of a superseded connection, it would drop the new one.
        if self._registered and not isinstance(error, CallGoneError):
            self.spawn(self._tell_component(), name="farewell")
        elif self._registered and self._watch is not None:
            self._watch.close()

    # For the watch.

    async def follow_state(self, state: hikari.VoiceState) -> None:
        """Follow a voice state, if it is the bot's own."""
        if self.closed or state.user_id != self.user_id or state.guild_id != self.guild_id:
            return
        if state.channel_id is None:
            if self._awaited_session is not None:
                # The end of the lost session, told late.
                return
            _LOGGER.info("guild %s: disconnected by Discord", self.guild_id)
            if self._registered or self._watch is None:
                await self.disconnect()
            else:
                self.leave()
            return
        if state.session_id == self._awaited_session:
            self._awaited_session = None
        self._wanted = dataclasses.replace(
            self._wanted, channel_id=state.channel_id, session_id=state.session_id
        )

    async def follow_session(self, session_id: str) -> None:
        """Rejoin after the main gateway gave the bot a new session: Discord has it out of voice."""
        watch = self._watch
        if self.closed or watch is None or session_id == self._wanted.session_id:
            return
        _LOGGER.info("guild %s: the main gateway's session is a new one, rejoining", self.guild_id)
        self._awaited_session = session_id
        servers = watch.servers
        deaf, mute = watch.flags

        def back() -> bool:
            return self._awaited_session is None and watch.servers != servers

        def overtaken() -> bool:
            return self.closed or self._awaited_session not in {None, session_id}

        try:
            async with asyncio.timeout(_SESSION_S):
                await _say(watch.bot, self.guild_id, self.channel_id, deaf=deaf, mute=mute)
                await watch.until(lambda: back() or overtaken())
        except (TimeoutError, JoinError):
            if not back() and not overtaken():
                self._send_close()
                self._end(join_error("timeout", self.guild_id, self.channel_id, SILENCE))

    async def follow_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        """Follow to another voice server."""
        if self._awaited_session is not None and self._watch is not None:
            # Discord may tell the server before the state whose session belongs to it.
            await self._watch.until(lambda: self.closed or self._awaited_session is None)
        if not self.closed:
            await self._follow_server(event)

    # How it is done.

    def _known_watch(self, what: str) -> VoiceWatch:
        if self._watch is None:
            raise TypeError(f"{what} needs the bot: use {_HOW}, or give bot=bot to connect_to")
        return self._watch

    async def _reach(self, credentials: VoiceCredentials | None) -> None:
        """Connect; an attempt that a newer one overtakes is no failure."""
        self._reaching += 1
        try:
            await self.connect(credentials)
        except SupersededError:
            # A newer event has taken over.
            pass
        finally:
            self._reaching -= 1
            if self._watch is not None:
                self._watch.tell()

    async def _check_joined(self) -> None:
        """Wait for the newest attempt, and raise if it was in vain."""
        if self._watch is not None:
            await self._watch.until(lambda: self.closed or not self._reaching)
        if not self.closed:
            return
        if self.error is not None:
            raise fresh_copy(self.error)
        text = "the bot was taken out of the channel, or is closing; connect again"
        raise join_error("removed", self.guild_id, self.channel_id, text)

    async def _tell_component(self) -> None:
        await self.left()
        watch = self._watch
        stopping = watch is not None and watch.stopping
        try:
            async with asyncio.timeout(_FAREWELL_WHILE_STOPPING_S if stopping else _FAREWELL_S):
                await self._on_close(self)
        except TimeoutError:
            _LOGGER.warning("guild %s: the main gateway did not take the leave in time", self.guild_id)
        except Exception as error:
            if stopping:
                # The end of the session leaves for all.
                _LOGGER.debug("guild %s: no leave while the bot stops: %r", self.guild_id, error)
            else:
                # Not ours: a shard that is down, a listener of the bot's own. The call has ended either way.
                _LOGGER.exception(
                    "guild %s: hikari's voice component could not leave the channel", self.guild_id
                )
        finally:
            if watch is not None:
                watch.close()

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
            await self._reach(self._wanted)
        except VoicePoolError as error:
            _LOGGER.warning("guild %s: cannot follow to another voice server: %s", self.guild_id, error)


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

    async def run(self) -> VoiceConnection:
        """Join, if need be a second time."""
        for _ in range(_ATTEMPTS):
            connection = await self._attempt()
            if connection is not None:
                return connection
            check_bot(self._bot, self._guild_id, self._channel_id)
        raise join_error("timeout", self._guild_id, self._channel_id, SILENCE)

    async def _attempt(self) -> VoiceConnection | None:
        """Join; None when the main gateway did not answer and the bot has left again."""
        me = self._bot.get_me() or await self._bot.rest.fetch_my_user()
        watch = VoiceWatch(self._bot, self._guild_id, me.id, self._shard_id, _KINDS)
        connection: VoiceConnection | None = None
        try:
            connection = await self._bot.voice.connect_to(
                self._guild_id,
                self._channel_id,
                VoiceConnection,
                deaf=self._deaf,
                mute=self._mute,
                timeout=self._timeout_s,  # type: ignore[arg-type]  # goes to asyncio, which takes fractions
                pool=self._pool,
                _watch=watch,
            )
        except hikari.VoiceError as error:
            if not isinstance(error.__cause__, TimeoutError):
                text = f"hikari refuses ({error}); leave, then connect again"
                raise join_error("occupied", self._guild_id, self._channel_id, text) from error
        except AssertionError:
            # The first server update had no endpoint: there is none yet, and asking before there is is idle.
            await self._wait_a_while(watch, lambda: watch.server is not None and bool(watch.server.endpoint))
        except hikari.ComponentStateConflictError as error:
            raise join_error("bot", self._guild_id, self._channel_id, NOT_RUNNING) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # hikari's rate limiter cancels who waits in it when the shard reconnects.
        finally:
            if connection is None:
                try:
                    await self._leave(watch)
                finally:
                    watch.close()
        if connection is not None and not self._bot.voice.is_alive:
            await connection.disconnect()
            raise join_error("bot", self._guild_id, self._channel_id, NOT_RUNNING)
        return connection

    async def _leave(self, watch: VoiceWatch) -> None:
        if watch.state is not None and not watch.in_channel:
            return
        # The pool sees to its end if this task is cancelled again.
        leave = self._pool.host.spawn(self._leave_now(watch), name=f"leave of guild {self._guild_id}")
        await asyncio.wait({leave})

    async def _leave_now(self, watch: VoiceWatch) -> None:
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._bot.update_voice_state(self._guild_id, None)
                # Else the next join would take the state update of this leave for its own.
                await watch.until(lambda: not watch.in_channel)
        except (TimeoutError, RuntimeError, hikari.HikariError) as error:
            _LOGGER.warning("guild %s: could not leave the channel: %r", self._guild_id, error)

    async def _wait_a_while(self, watch: VoiceWatch, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await watch.until(condition)
        except TimeoutError:
            _LOGGER.debug("guild %s: Discord has named no voice server", self._guild_id)


async def _say(
    bot: hikari.GatewayBotAware, guild_id: int, channel_id: int, *, deaf: bool, mute: bool
) -> None:
    try:
        await bot.update_voice_state(guild_id, channel_id, self_deaf=deaf, self_mute=mute)
    except hikari.ComponentStateConflictError as error:
        raise join_error("bot", guild_id, channel_id, NOT_RUNNING) from error
