"""`VoiceWatch`: what hikari's events say of the bot's own voice in one guild.

The bot and its events are whatever hikari makes; only their attributes are used, so that hikari itself stays
in one module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from voicepool._guild_facts import SILENCE, join_error

__all__ = ["EventKinds", "Follower", "VoiceWatch"]


class EventKinds(NamedTuple):
    """The classes of the events to hear."""

    state: type
    server: type
    ready: type
    stopping: type


class Follower(Protocol):
    """The connection, as the watch sees it."""

    @property
    def registered(self) -> bool:
        """Whether the component knows it."""

    def leave(self) -> None:
        """Begin to disconnect."""

    async def follow_state(self, state: Any) -> None:
        """Follow a voice state of the bot's own."""

    async def follow_server(self, event: Any) -> None:
        """Follow to another voice server."""

    async def follow_session(self, session_id: str) -> None:
        """Rejoin in a new session of the main gateway."""


class VoiceWatch:
    """What the main gateway says of the bot's own voice in one guild, from before the join to the end.

    Parameters
    ----------
    bot
        Whose events.
    guild_id, user_id, shard_id
        Which of them.
    kinds
        hikari's events, in the order of `EventKinds`.
    """

    def __init__(self, bot: Any, guild_id: int, user_id: int, shard_id: int, kinds: EventKinds) -> None:
        self.bot = bot
        self.state: Any = None
        self.server: Any = None
        self.servers = 0
        self.stopping = False
        self.connection: Follower | None = None
        self._guild_id, self._user_id, self._shard_id = guild_id, user_id, shard_id
        self._changed = asyncio.Event()
        self._listeners: list[tuple[type, Any]] = [
            (kinds.state, self._on_state),
            (kinds.server, self._on_server),
            (kinds.ready, self._on_ready),
            (kinds.stopping, self._on_stopping),
        ]
        for kind, listener in self._listeners:
            bot.event_manager.subscribe(kind, listener)

    @property
    def in_channel(self) -> bool:
        """Whether the bot is in voice, as far as was heard."""
        return self.state is not None and self.state.channel_id is not None

    @property
    def flags(self) -> tuple[bool, bool]:
        """Whether the bot has deafened and muted itself."""
        state = self.state or self.bot.cache.get_voice_state(self._guild_id, self._user_id)
        return (False, False) if state is None else (state.is_self_deafened, state.is_self_muted)

    @property
    def place(self) -> tuple[int | None, bool, bool]:
        """The channel, and `flags`."""
        return (None if self.state is None else self.state.channel_id, *self.flags)

    def tell(self) -> None:
        """Have those who wait look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not condition():
            await self._changed.wait()

    async def joined(self, channel_id: int, timeout_s: float) -> tuple[Any, Any]:
        """Wait until both halves of the join are there, and return the newest of each."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(
                    lambda: self.in_channel and self.server is not None and self.server.endpoint is not None
                )
        except TimeoutError:
            raise join_error("timeout", self._guild_id, channel_id, SILENCE) from None
        return self.state, self.server

    def close(self) -> None:
        """Hear no more. Idempotent."""
        listeners, self._listeners = self._listeners, []
        for kind, listener in listeners:
            self.bot.event_manager.unsubscribe(kind, listener)
        self.tell()

    async def _on_state(self, event: Any) -> None:
        if (event.guild_id, event.state.user_id) != (self._guild_id, self._user_id):
            return
        self.state = event.state
        try:
            if self.connection is not None:
                await self.connection.follow_state(event.state)
        finally:
            self.tell()

    async def _on_server(self, event: Any) -> None:
        if event.guild_id != self._guild_id:
            return
        self.server = event
        self.servers += 1
        following = None if self.connection is None else self.connection.follow_server(event)
        # Those who wait for the server go on to wait for the connection: that has to have begun by then.
        self.tell()
        if following is not None:
            await following

    async def _on_ready(self, event: Any) -> None:
        if event.shard.id == self._shard_id and self.connection is not None:
            await self.connection.follow_session(event.session_id)

    async def _on_stopping(self, _event: Any) -> None:
        self.stopping = True
        if self.connection is not None and not self.connection.registered:
            # The component closes what it knows, and it does not know this one yet.
            self.connection.leave()
        self.tell()
