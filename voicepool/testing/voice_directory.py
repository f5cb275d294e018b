"""Who is here: sessions by SSRC, guild and channel, and what members of a channel hear of each other."""

from __future__ import annotations

__all__ = ("VoiceDirectory",)

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from voicepool.testing.voice_grant import GrantBook, VoiceGrant
from voicepool.testing.voice_messages import CloseCode, Identify, Opcode, Refusal, Resume
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_session_view import GatewayConnection, SessionState
from voicepool.testing.voice_settings import VoiceServerSettings

MAX_ENDED_SESSIONS: Final = 10_000
_SSRC_LIMIT: Final = 2**32


class VoiceDirectory:
    """All sessions of one server.

    Parameters
    ----------
    settings : VoiceServerSettings
        Given to each session.
    record : Callable[[str], None]
        Takes every violation of every session.
    on_end : Callable[[VoiceSession], None]
        Called once when a session ends, before it is taken from the directory.
    on_left : Callable[[VoiceSession], None]
        Called after that, when the other members of the channel have been told.
    """

    def __init__(
        self,
        settings: VoiceServerSettings,
        record: Callable[[str], None],
        on_end: Callable[[VoiceSession], None],
        on_left: Callable[[VoiceSession], None] = lambda _session: None,
    ) -> None:
        self.grants = GrantBook()
        self.sessions: list[VoiceSession] = []
        """In the order they identified; of the ended ones the last 10,000 or so."""
        self._settings = settings
        self._record = record
        self._on_end = on_end
        self._on_left = on_left
        self._live: dict[int, VoiceSession] = {}
        self._users: dict[tuple[int, int], VoiceSession] = {}
        self._channels: dict[tuple[int, int], dict[int, VoiceSession]] = {}
        self._newest: dict[tuple[int, int | None], VoiceSession] = {}
        # Any start will do, but not 1: a client that makes its SSRC up must not be right by chance.
        self._last_ssrc = secrets.randbelow(2**20) + 2**12

    def identify(self, identify: Identify, connection: GatewayConnection) -> VoiceSession:
        """Open a session; the user's earlier one in the guild ends with 4014.

        Raises
        ------
        Refusal
            As `GrantBook.admit`.
        """
        grant = self.grants.admit(identify)
        previous = self._users.get((grant.guild_id, grant.user_id))
        if previous is not None:
            previous.end(CloseCode.DISCONNECTED)
        session = VoiceSession(
            grant,
            self.next_ssrc(),
            self._settings,
            max_dave_protocol_version=identify.max_dave_protocol_version,
            record=self._record,
            on_end=self._leave,
        )
        self._live[session.ssrc] = session
        self._users[grant.guild_id, grant.user_id] = session
        self._channels.setdefault((grant.guild_id, grant.channel_id), {})[grant.user_id] = session
        if len(self.sessions) >= len(self._live) + MAX_ENDED_SESSIONS:
            self._prune()
        self.sessions.append(session)
        self._newest[grant.guild_id, None] = self._newest[grant.guild_id, grant.user_id] = session
        session.attach(connection)
        return session

    def resume(self, resume: Resume, connection: GatewayConnection) -> tuple[VoiceSession, list[str | bytes]]:
        """Take a session up again; return it with the messages its client has missed.

        Raises
        ------
        Refusal
            4006 when there is no such session, or too much was missed.
        """
        grant = self.grants.readmit(resume)
        session = self._users.get((grant.guild_id, grant.user_id))
        if session is None or session.grant is not grant:
            raise Refusal(
                CloseCode.SESSION_INVALID,
                f"Resume for guild {resume.guild_id} named a session that has ended; identify anew",
            )
        return session, session.take_up(connection, resume.seq_ack)

    def expel(self, guild_id: int, user_id: int, code: int) -> None:
        """Void a user's grant and end the session, closing its websocket with `code`."""
        self.grants.revoke(guild_id, user_id)
        session = self._users.get((guild_id, user_id))
        if session is not None:
            session.end(code)

    def by_ssrc(self, ssrc: int) -> VoiceSession | None:
        """Return the live session with that SSRC."""
        return self._live.get(ssrc)

    def newest(self, guild_id: int, user_id: int | None = None) -> VoiceSession | None:
        """Return the session of that guild (and user) that identified last, live or ended."""
        return self._newest.get((guild_id, user_id))

    def live(self) -> tuple[VoiceSession, ...]:
        """Return the sessions that have not ended."""
        return tuple(self._live.values())

    def peers(self, session: VoiceSession) -> Iterator[VoiceSession]:
        """Iterate over the other members of the session's channel."""
        members = self._channels.get((session.guild_id, session.channel_id), {})
        return (peer for peer in members.values() if peer is not session)

    def member(self, place: tuple[int, int], user_id: int) -> VoiceSession | None:
        """Return the session of a user in a channel (guild and channel)."""
        return self._channels.get(place, {}).get(user_id)

    def introduce(
        self, session: VoiceSession, played: Iterable[int] = (), newly_played: Iterable[int] = ()
    ) -> None:
        """Tell a new member who is there and who has spoken, and the others of the new member.

        Parameters
        ----------
        session : VoiceSession
            The new member.
        played, newly_played : Iterable[int]
            Users in the channel that have no session, as the server plays them; those that come with the new
            member, for the others.
        """
        peers = tuple(self.peers(session))
        users = [str(user_id) for user_id in (*(peer.user_id for peer in peers), *played)]
        if users:
            session.send(Opcode.CLIENTS_CONNECT, {"user_ids": users}, numbered=True)
        news = [str(user_id) for user_id in (*newly_played, session.user_id)]
        for peer in peers:
            if peer.media.announced:
                session.send(Opcode.SPEAKING, _speaking(peer), numbered=True)
            peer.send(Opcode.CLIENTS_CONNECT, {"user_ids": news}, numbered=True)

    def at(self, place: tuple[int, int]) -> tuple[VoiceSession, ...]:
        """Return the sessions in a channel (guild and channel)."""
        return tuple(self._channels.get(place, {}).values())

    def spread_speaking(self, session: VoiceSession) -> None:
        """Tell the others of the channel what the session's last opcode 5 said."""
        for peer in self.peers(session):
            peer.send(Opcode.SPEAKING, _speaking(session), numbered=True)

    def grant(
        self, endpoint: str, guild_id: int, channel_id: int, user_id: int, session_id: str | None
    ) -> VoiceGrant:
        """Issue a grant; see `GrantBook.issue`."""
        return self.grants.issue(endpoint, guild_id, channel_id, user_id, session_id)

    def _leave(self, session: VoiceSession) -> None:
        self._on_end(session)
        self._live.pop(session.ssrc, None)
        key = (session.guild_id, session.user_id)
        if self._users.get(key) is session:
            del self._users[key]
        place = (session.guild_id, session.channel_id)
        members = self._channels.get(place, {})
        if members.get(session.user_id) is session:
            del members[session.user_id]
        if not members:
            self._channels.pop(place, None)
        for peer in tuple(members.values()):
            peer.send(Opcode.CLIENT_DISCONNECT, {"user_id": str(session.user_id)}, numbered=True)
        self._on_left(session)

    def next_ssrc(self) -> int:
        """Return an SSRC that was not given out before (within the last 2^32)."""
        self._last_ssrc = (self._last_ssrc + 1) % _SSRC_LIMIT
        return self._last_ssrc

    def _prune(self) -> None:
        ended = [session for session in self.sessions if session.state is SessionState.ENDED]
        forget = set(ended[: len(ended) // 2])
        self.sessions = [session for session in self.sessions if session not in forget]
        self._newest = {key: session for key, session in self._newest.items() if session not in forget}


def _speaking(session: VoiceSession) -> dict[str, object]:
    return {"user_id": str(session.user_id), "ssrc": session.ssrc, "speaking": session.speaking}
