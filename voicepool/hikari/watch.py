"""`VoiceWatch`: what the main gateway says of the bot's own voice in one guild, and what it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import hikari
from hikari.api import VoiceComponent

from voicepool._subject_log import about
from voicepool.credentials import VoiceCredentials
from voicepool.errors import JoinError
from voicepool.hikari.facts import NOT_RUNNING, SILENCE, join_error
from voicepool.hikari.router import EventRouter

__all__ = ["Follower", "VoiceWatch", "bot_behind"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")
_LEAVE_S: Final = 5.0
"""What a leave for tidiness may take."""


class Follower(Protocol):
    """The connection, as the watch sees it."""

    @property
    def registered(self) -> bool:
        """Whether the component knows it."""

    def leave(self) -> None:
        """Begin to disconnect."""

    async def follow_state(self, state: hikari.VoiceState) -> None:
        """Follow a voice state of the bot's own."""

    async def follow_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        """Follow to another voice server."""

    def follow_session(self, session_id: str) -> None:
        """Rejoin in a new session of the main gateway."""


class VoiceWatch:
    """What the main gateway says of the bot's own voice in one guild, from the join to the end.

    Parameters
    ----------
    bot
        Whose events.
    guild_id, user_id, shard_id
        Which of them.
    """

    def __init__(self, bot: hikari.GatewayBotAware, guild_id: int, user_id: int, shard_id: int) -> None:
        self.bot: Final = bot
        self.state: hikari.VoiceState | None = None
        """The newest that was heard."""
        self.server: hikari.VoiceServerUpdateEvent | None = None
        """The newest that was heard."""
        self.servers = 0
        """How many were heard."""
        self.stopping = False
        """Whether the bot closes."""
        self.connection: Follower | None = None
        self.guild_id, self.shard_id = guild_id, shard_id
        self._user_id = user_id
        self._changed = asyncio.Event()
        self._router: EventRouter | None = EventRouter.add(bot, self)

    # What is known.

    @property
    def latest(self) -> hikari.VoiceState | None:
        """The newest state, from the cache if none was heard; None if that keeps none."""
        return self.state or self.bot.cache.get_voice_state(self.guild_id, self._user_id)

    @property
    def in_channel(self) -> bool:
        """Whether the bot is in voice, as far as was heard."""
        return self.state is not None and self.state.channel_id is not None

    @property
    def has_server(self) -> bool:
        """Whether a server was named, and not taken away since."""
        return self.server is not None and self.server.endpoint is not None

    @property
    def flags(self) -> tuple[bool, bool]:
        """Whether the bot has deafened and muted itself."""
        state = self.latest
        return (False, False) if state is None else (state.is_self_deafened, state.is_self_muted)

    @property
    def place(self) -> tuple[int | None, bool, bool]:
        """The channel, and `flags`."""
        return (None if self.state is None else self.state.channel_id, *self.flags)

    @property
    def shard_connected(self) -> bool:
        """Whether the main gateway can be told anything."""
        shard = self.bot.shards.get(self.shard_id)
        return shard is not None and shard.is_connected

    # Waiting.

    def tell(self) -> None:
        """Have those who wait look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not condition():
            await self._changed.wait()

    async def newest(self, credentials: VoiceCredentials, timeout_s: float) -> VoiceCredentials:
        """Bring what the component took for the answer to a join up to date.

        It takes any state for that of the join, one of a leave before too, and the first server for the last.

        Parameters
        ----------
        credentials
            What it took.
        timeout_s
            How long what is missing may take.

        Raises
        ------
        JoinError
            A half of the answer does not come.
        """
        if self.state is None and self.server is None:
            # It was not listened to in time; what the cache has is what Discord said last.
            state = self.latest
            if state is None or state.channel_id is None:
                return credentials
            return replace(credentials, channel_id=state.channel_id, session_id=state.session_id)
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: self.in_channel and self.has_server)
        except TimeoutError:
            raise join_error("timeout", self.guild_id, credentials.channel_id, SILENCE) from None
        assert self.state is not None
        assert self.server is not None
        return replace(
            credentials,
            channel_id=self.state.channel_id or credentials.channel_id,
            session_id=self.state.session_id,
            endpoint=self.server.endpoint or credentials.endpoint,
            token=self.server.token,
        )

    # Telling.

    async def ask(self, channel_id: int | None, *, deaf: bool = False, mute: bool = False) -> None:
        """Send op 4: join, move, or leave with None. It may wait a minute in the shard's rate limiter.

        Raises
        ------
        JoinError
            The shard is not connected, or lost its connection meanwhile.
        """
        try:
            await self.bot.update_voice_state(self.guild_id, channel_id, self_deaf=deaf, self_mute=mute)
        except hikari.ComponentStateConflictError as error:
            raise join_error("bot", self.guild_id, channel_id or 0, NOT_RUNNING) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # hikari's rate limiter cancels who waits in it when the shard reconnects.
            raise join_error("bot", self.guild_id, channel_id or 0, NOT_RUNNING) from None

    async def leave(self) -> None:
        """Leave the channel, and wait a moment for Discord to say so. A failure is logged."""
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self.ask(None)
                # Else the next join would take the state update of this leave for its own.
                await self.until(lambda: not self.in_channel)
        except (TimeoutError, RuntimeError, JoinError, hikari.HikariError) as error:
            _LOGGER.warning(
                "guild %s: could not leave the channel: %r",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id),
            )

    def close(self) -> None:
        """Hear no more. Idempotent."""
        router, self._router = self._router, None
        if router is not None:
            router.remove(self)
        self.tell()

    # What the main gateway says; see `EventRouter`.

    async def on_state(self, event: hikari.VoiceStateUpdateEvent) -> None:
        """Take any user's voice state in the guild."""
        if event.state.user_id != self._user_id:
            return
        self.state = event.state
        try:
            if self.connection is not None:
                await self.connection.follow_state(event.state)
        finally:
            self.tell()

    async def on_server(self, event: hikari.VoiceServerUpdateEvent) -> None:
        """Take the guild's voice server."""
        self.server = event
        self.servers += 1
        following = None if self.connection is None else self.connection.follow_server(event)
        # Those who wait for the server go on to wait for the connection: that has to have begun by then.
        self.tell()
        if following is not None:
            await following

    def on_ready(self, session_id: str) -> None:
        """Take note that the shard has a session, a new one or the first."""
        if self.connection is not None:
            self.connection.follow_session(session_id)
        self.tell()

    def on_resumed(self) -> None:
        """Take note that the shard is back in its session."""
        self.tell()

    def on_stopping(self) -> None:
        """Take note that the bot closes."""
        self.stopping = True
        if self.connection is not None and not self.connection.registered:
            # The component closes what it knows, and it does not know this one yet.
            self.connection.leave()
        self.tell()


def bot_behind(owner: VoiceComponent) -> hikari.GatewayBotAware | None:
    """Find the bot of a voice component; None when there is none to be found.

    hikari gives a connection no public way to its bot. The component keeps it in a private attribute, which
    is believed only if what it holds says that the component is its own.
    """
    bot = getattr(owner, "_app", None)
    return bot if isinstance(bot, hikari.GatewayBotAware) and bot.voice is owner else None
