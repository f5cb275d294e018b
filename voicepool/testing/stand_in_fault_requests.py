"""The requests that let something go wrong at the voice servers of stand-ins in a process of their own."""

from __future__ import annotations

__all__ = ["FaultRequests"]

from voicepool.testing.dave_rules import SPOILABLE, Spoilable
from voicepool.testing.voice_faults import Step
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_session_view import SessionState


class FaultRequests:
    """Base of `StandInRequests`; never used by itself. Each public coroutine method is a request."""

    _servers: tuple[DiscordVoiceServer, ...]

    async def disconnect(self, *, guild_id: int, user_id: int, code: int = 4014) -> None:
        """Void a user's credentials for a call and close the voice websocket with a code."""
        for server in self._servers:
            await server.disconnect(guild_id, user_id, code)

    async def close_session(self, *, guild_id: int, code: int) -> None:
        """Close the voice websocket of the guild's newest session with a code; 1006 cuts it."""
        await self._newest(guild_id).close(code)

    async def abort_session(self, *, guild_id: int) -> None:
        """Cut the TCP connection of the guild's newest session."""
        self._newest(guild_id).abort()

    async def stall_session(self, *, guild_id: int) -> None:
        """Let nothing more reach the client over the voice websocket of the guild's newest session."""
        self._newest(guild_id).stall()

    async def drop_packets(self, *, guild_id: int, received: int = 0, sent: int = 0) -> None:
        """Lose the next datagrams with audio of the guild's newest session, from and to its client."""
        self._newest(guild_id).drop_packets(received=received, sent=sent)

    async def close_next_identify(self, *, code: int, times: int = 1, guild_id: int | None = None) -> None:
        """Answer the next Identify messages by closing with a code; 1006 cuts the connection."""
        for server in self._servers:
            server.close_next_identify(code, times, guild_id=guild_id)

    async def close_next_resume(
        self, *, code: int = 4006, times: int = 1, guild_id: int | None = None
    ) -> None:
        """Answer the next Resume messages by closing with a code; 1006 cuts the connection."""
        for server in self._servers:
            server.close_next_resume(code, times, guild_id=guild_id)

    async def mute_step(self, *, step: Step, guild_id: int | None = None) -> None:
        """Never answer a step of the voice handshake; see `DiscordVoiceServer.mute_step`."""
        for server in self._servers:
            server.mute_step(step, guild_id=guild_id)

    async def unmute_step(self, *, step: Step, guild_id: int | None = None) -> None:
        """Answer that step again."""
        for server in self._servers:
            server.unmute_step(step, guild_id=guild_id)

    async def drop_discovery_requests(self, *, count: int, guild_id: int | None = None) -> None:
        """Ignore the next IP discovery requests."""
        for server in self._servers:
            server.drop_discovery_requests(count, guild_id=guild_id)

    async def crash_voice_server(
        self, *, endpoint: str, code: int = 1006, keep_sessions: bool = False
    ) -> None:
        """Take one of ``voice_endpoints`` down until `recover_voice_server`; see `DiscordVoiceServer`."""
        await self._server_at(endpoint).crash(code, keep_sessions=keep_sessions)

    async def recover_voice_server(self, *, endpoint: str) -> None:
        """Let a voice server that is down take connections again."""
        await self._server_at(endpoint).recover()

    # Others in an encrypted call, and what goes wrong there.

    async def add_speaker(self, *, guild_id: int, channel_id: int, user_id: int, dave: bool = True) -> None:
        """Let somebody into a voice server's channel; without DAVE, the call is downgraded meanwhile."""
        self._server_of(guild_id).add_speaker(guild_id, channel_id, user_id, dave=dave)

    async def remove_speaker(self, *, guild_id: int, channel_id: int, user_id: int) -> None:
        """Let a speaker leave; without one of that user nothing happens."""
        for server in self._servers:
            server.remove_speaker(guild_id, channel_id, user_id)

    async def spoil_dave(self, *, user_id: int, kind: Spoilable) -> None:
        """Damage the next ``commit`` (op 29) or ``welcome`` (op 30) for a user."""
        if kind not in SPOILABLE:
            raise ValueError(f"{kind!r} cannot be spoiled; {' and '.join(SPOILABLE)} can")
        for server in self._servers:
            server.spoil_dave(user_id, kind)

    async def renew_dave_group(self, *, guild_id: int, channel_id: int) -> None:
        """Have the members of an encrypted call create its group anew, with new key packages."""
        self._server_of(guild_id).renew_dave_group(guild_id, channel_id)

    # Which session, which server.

    def _sessions(self, guild_id: int | None) -> list[VoiceSession]:
        return [
            session
            for server in self._servers
            for session in server.sessions
            if guild_id in {None, session.guild_id}
        ]

    def _server_at(self, endpoint: str) -> DiscordVoiceServer:
        for server in self._servers:
            if server.endpoint == endpoint:
                return server
        known = ", ".join(server.endpoint for server in self._servers)
        raise LookupError(f"there is no voice server at {endpoint!r}; there are {known}")

    def _server_of(self, guild_id: int) -> DiscordVoiceServer:
        """Find the server that has the guild's newest live session, else the one the guild is sent to."""
        for server in self._servers:
            session = server.session(guild_id)
            if session is not None and session.state is not SessionState.ENDED:
                return server
        return self._servers[(guild_id >> 22) % len(self._servers)]

    def _newest(self, guild_id: int) -> VoiceSession:
        found = [session for session in self._sessions(guild_id) if session.state is not SessionState.ENDED]
        if not found:
            raise LookupError(f"nobody has a voice session in guild {guild_id}")
        return found[-1]
