"""`FollowingConnection`: a connection that goes along with what Discord does to the bot.

Discord moves the bot to another channel, takes the voice server away and names another, or gives the bot a
new session, in which it has to join anew. What plays goes on through all of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from typing import Final

import hikari

from voicepool._process.link import fresh_copy
from voicepool._subject_log import about
from voicepool.connection import BaseVoiceConnection, CallHost
from voicepool.credentials import VoiceCredentials
from voicepool.errors import ConnectError, JoinError, SupersededError, VoicePoolError
from voicepool.hikari.facts import HOW, join_error
from voicepool.hikari.rejoin import Phase, Rejoin
from voicepool.hikari.watch import VoiceWatch

__all__ = ["FollowingConnection"]

_LOGGER: Final = logging.getLogger("voicepool.hikari")

_REJOINS: Final = 5
_REJOINS_SPAN_S: Final = 120.0
"""So many rejoins in so short a time show that no session holds, and everyone sees the bot come and go."""


class FollowingConnection(BaseVoiceConnection):
    """What a hikari bot's connection does by itself.

    Parameters
    ----------
    host
        The pool.
    credentials
        What Discord handed out when the bot joined.
    """

    def __init__(self, host: CallHost, credentials: VoiceCredentials) -> None:
        super().__init__(host, credentials)
        self._registered = False
        self._wanted = credentials
        self._watch: VoiceWatch | None = None
        """On the bot's events; None while nothing is known of the bot."""
        self._reaching = 0
        self._attempts = 0
        self._moving = 0
        """How many moves that the bot asked for are under way: each brings credentials."""
        self._rejoin: Rejoin | None = None
        self._rejoining: asyncio.Task[None] | None = None
        self._rejoined: deque[float] = deque(maxlen=_REJOINS)

    @property
    def channel_id(self) -> hikari.Snowflake:
        """ID of the voice channel; follows when the bot is moved."""
        return hikari.Snowflake(self._wanted.channel_id)

    @property
    def guild_id(self) -> hikari.Snowflake:
        """ID of the guild."""
        return hikari.Snowflake(super().guild_id)

    @property
    def registered(self) -> bool:
        """Whether the component knows it."""
        return self._registered

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

    # What the call says.

    def on_server_wanted(self, *, rejoin: bool) -> None:
        """Get new credentials from Discord, where it does not send them by itself."""
        if rejoin and self._watch is None:
            _LOGGER.warning(
                "guild %s: the voice session is void, and a new one needs the bot: use %s",
                self.guild_id,
                HOW,
                extra=about(guild=self.guild_id),
            )
        elif rejoin and self._watch is not None:
            self._rejoin_session(self._watch)
        elif self._watch is not None and not self._watch.shard_connected:
            # Whether it is a kick or the end of the gateway's session can be told when the shard is back.
            self.server_gone()

    def on_closed(self, error: VoicePoolError | None) -> None:  # noqa: ARG002  # a hook, and they tell why
        """Have those who wait look again, and end what was to bring the bot back."""
        if self._watch is not None:
            self._watch.tell()
        if self._rejoining is not None and self._rejoining is not asyncio.current_task():
            self._rejoining.cancel()

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
            _LOGGER.info("guild %s: disconnected by Discord", self.guild_id, extra=about(guild=self.guild_id))
            if self._registered or self._watch is None:
                await self.disconnect()
            else:
                self.leave()
            return
        if rejoin is not None:
            rejoin.on_state(state.session_id)
        moved = state.channel_id != self._wanted.channel_id
        self._wanted = dataclasses.replace(
            self._wanted, channel_id=state.channel_id, session_id=state.session_id
        )
        if moved:
            # The other channel may have another bitrate, and need not have another server.
            self.refresh_encoding()

    def follow_session(self, session_id: str) -> None:
        """Rejoin after the main gateway gave the bot a new session: Discord has it out of voice."""
        if self._watch is None or self.closed or session_id == self._wanted.session_id:
            return
        _LOGGER.info(
            "guild %s: the main gateway's session is a new one, rejoining",
            self.guild_id,
            extra=about(guild=self.guild_id),
        )
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
            _LOGGER.warning(
                "guild %s: cannot follow to another voice server: %s",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id),
            )

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
