"""The main gateway as a whole: its connections, and what happens to sessions that lose theirs."""

from __future__ import annotations

__all__ = ["GatewayServer"]

import asyncio
from typing import TYPE_CHECKING

from voicepool.testing.gateway_answers import guild_create, member_chunks, ready
from voicepool.testing.gateway_connection import GatewayConnection
from voicepool.testing.gateway_hub import Event
from voicepool.testing.gateway_protocol import CloseCode, Intents
from voicepool.testing.gateway_web import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicepool.testing.gateway_changes import Changes
    from voicepool.testing.gateway_hub import GatewayHub
    from voicepool.testing.gateway_protocol import RequestMembers, UpdateVoiceState
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.gateway_voice import VoiceDesk
    from voicepool.testing.guild_world import World


class GatewayServer:
    """Owns every gateway connection and the timers of the sessions without one.

    Parameters
    ----------
    world, hub, desk
        State, events, and op 4.
    changes
        Told whenever something happens.
    clock
        Seconds, monotonic.
    heartbeat_interval_s
        Announced in HELLO.
    resume_window_s
        How long a session may be resumed after its connection is gone.
    """

    def __init__(
        self,
        world: World,
        hub: GatewayHub,
        desk: VoiceDesk,
        changes: Changes,
        *,
        clock: Callable[[], float],
        heartbeat_interval_s: float,
        resume_window_s: float,
    ) -> None:
        self._world = world
        self._hub = hub
        self._desk = desk
        self._changes = changes
        self._clock = clock
        self._heartbeat_interval_s = heartbeat_interval_s
        self._resume_window_s = resume_window_s
        self._connections: set[GatewayConnection] = set()
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._closing = False
        self.url = ""
        """Set by the owner once the port is known; READY announces it for resuming."""
        hub.on_session_end = self._session_ended

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle one websocket; a request handler of aiohttp."""
        if self._closing:
            # A client that reconnects as soon as it is told goodbye would outlive the ones that were closed.
            return web.Response(status=503)
        connection = GatewayConnection(
            self._hub,
            self,
            self._changes,
            clock=self._clock,
            heartbeat_interval_s=self._heartbeat_interval_s,
        )
        self._connections.add(connection)
        try:
            return await connection.serve(request)
        finally:
            self._connections.discard(connection)

    async def drop(self, sessions: list[GatewaySession], *, resume: bool) -> None:
        """Cut the connections of some sessions; see `FakeDiscord.drop_gateway`."""
        holders = [holder for session in sessions if (holder := self.holder_of(session)) is not None]
        if not resume:
            for session in sessions:
                self._hub.end_session(session)
            await asyncio.gather(*(holder.invalidate() for holder in holders))
        closings = (holder.close(CloseCode.UNKNOWN_ERROR, "dropped by the test") for holder in holders)
        await asyncio.gather(*closings)

    async def close(self) -> None:
        """Close every connection and end every session."""
        self._closing = True
        goodbyes = [connection.close(CloseCode.GOING_AWAY, "stopping") for connection in self._connections]
        await asyncio.gather(*goodbyes)
        for session in self._hub.sessions:
            self._hub.end_session(session)

    # What the connections ask for (`gateway_connection.GatewayRules`).

    def welcome(self, session: GatewaySession) -> None:
        """Dispatch READY and a GUILD_CREATE for each guild of the shard."""
        guilds = [guild for guild in self._world.guilds_of(session.bot.id) if session.hears_of(guild.id)]
        self._tell(session, "READY", ready(session, guilds, self.url))
        if Intents.GUILDS in session.intents:
            for guild in guilds:
                self._tell(
                    session,
                    "GUILD_CREATE",
                    guild_create(self._world, guild, session.bot, session.intents),
                    guild.id,
                )

    def resumed(self, session: GatewaySession) -> None:
        """Dispatch RESUMED, behind what the session has missed."""
        session.resumes += 1
        self._forget_expiry(session)
        self._tell(session, "RESUMED", {})

    def update_voice_state(self, session: GatewaySession, message: UpdateVoiceState) -> None:
        """Carry out an op 4."""
        self._desk.update(session, message)

    def request_members(self, session: GatewaySession, message: RequestMembers) -> None:
        """Answer an op 8; one that needs an intent the session lacks is recorded and not answered."""
        guild = self._world.guilds.get(int(message.guild_id))
        if guild is None or session.bot.id not in guild.members or not session.hears_of(guild.id):
            return
        if message.user_ids is None and not message.query and Intents.GUILD_MEMBERS not in session.intents:
            self._hub.violation("asked for all members without the intent for it", bot_id=session.bot.id)
            return
        for chunk in member_chunks(guild, message):
            self._tell(session, "GUILD_MEMBERS_CHUNK", chunk, guild.id)

    def detached(self, session: GatewaySession) -> None:
        """Let a session die unless it is resumed in time."""
        self._forget_expiry(session)
        loop = asyncio.get_running_loop()
        self._expiries[session.session_id] = loop.call_later(
            self._resume_window_s, self._hub.end_session, session
        )

    def holder_of(self, session: GatewaySession) -> GatewayConnection | None:
        """Find the connection that serves a session now."""
        return next((held for held in self._connections if held.session is session), None)

    def _tell(self, session: GatewaySession, name: str, data: dict[str, object], guild_id: int = 0) -> None:
        self._hub.publish(Event(name=name, data=data, guild_id=guild_id, session_id=session.session_id))

    def _session_ended(self, session: GatewaySession) -> None:
        self._forget_expiry(session)
        self._desk.leave_all_of(session)

    def _forget_expiry(self, session: GatewaySession) -> None:
        timer = self._expiries.pop(session.session_id, None)
        if timer is not None:
            timer.cancel()
