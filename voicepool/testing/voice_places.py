"""Who may be in which voice channel, and who is there, as a test asks a `DiscordVoiceServer`."""

from __future__ import annotations

__all__ = ("VoicePlaces",)

from typing import TYPE_CHECKING, Self

from voicepool.testing.voice_messages import CloseCode
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_session_view import SessionState

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from voicepool.testing.dave_calls import DaveCalls
    from voicepool.testing.voice_directory import VoiceDirectory
    from voicepool.testing.voice_grant import VoiceGrant
    from voicepool.testing.voice_guests import Guests
    from voicepool.testing.voice_settings import VoiceServerSettings
    from voicepool.testing.voice_speaker import VoiceSpeaker
    from voicepool.testing.voice_waiting import Conditions


class VoicePlaces:
    """Base of `DiscordVoiceServer`; never used by itself."""

    settings: VoiceServerSettings
    directory: VoiceDirectory
    guests: Guests
    calls: DaveCalls
    violations: deque[str]
    _conditions: Conditions

    @property
    def endpoint(self) -> str:
        """``host:port`` of the gateway."""
        raise NotImplementedError

    # Credentials.

    def grant(
        self, guild_id: int, channel_id: int, user_id: int, session_id: str | None = None
    ) -> VoiceGrant:
        """Let a user into a voice channel.

        Parameters
        ----------
        guild_id, channel_id, user_id : int
            Snowflakes.
        session_id : str | None
            The session id of the user's main gateway connection; None makes one up.

        Returns
        -------
        VoiceGrant
            With a new token. The user's earlier grant in that guild can no longer identify or resume;
            a session that is open with it ends when the new one identifies.
        """
        return self.directory.grant(self.endpoint, guild_id, channel_id, user_id, session_id)

    def revoke(self, guild_id: int, user_id: int, code: int = CloseCode.DISCONNECTED) -> None:
        """Put a user out of voice, as Discord does on a kick: void the grant, end the session with `code`.

        Returns at once; `disconnect` waits for the close handshake. Without grant or session nothing happens.
        """
        self.directory.expel(guild_id, user_id, code)

    async def disconnect(self, guild_id: int, user_id: int, code: int = CloseCode.DISCONNECTED) -> None:
        """Put a user out of voice like `revoke`, and wait until the websocket is closed."""
        session = self.session(guild_id, user_id)
        self.revoke(guild_id, user_id, code)
        if session is not None:
            await session.wait_closed(timeout_s=None)

    # Sessions.

    @property
    def sessions(self) -> list[VoiceSession]:
        """All sessions in the order they identified, ended ones included (the last 10,000 or so)."""
        return list(self.directory.sessions)

    def session(self, guild_id: int, user_id: int | None = None) -> VoiceSession | None:
        """Return the newest session of a guild, or of a user in it; None if there was none."""
        return self.directory.newest(guild_id, user_id)

    async def wait_for_session(
        self, guild_id: int, user_id: int | None = None, timeout_s: float | None = 10.0
    ) -> VoiceSession:
        """Return the newest session of a guild that has not ended, once there is one.

        Raises
        ------
        TimeoutError
            Nobody identified within `timeout_s` seconds; the text says what went wrong meanwhile.
        """

        def find() -> VoiceSession | None:
            session = self.session(guild_id, user_id)
            return session if session is not None and session.state is not SessionState.ENDED else None

        await self._conditions.wait(
            lambda: find() is not None,
            timeout_s,
            lambda: (
                f"nobody has a session in guild {guild_id}; "
                f"recent violations: {'; '.join(list(self.violations)[-5:]) or 'none'}"
            ),
        )
        session = find()
        if session is None:
            # Ended between the notification and now; let the caller's timeout decide about the next one.
            return await self.wait_for_session(guild_id, user_id, timeout_s)
        return session

    async def wait_until(self, predicate: Callable[[Self], bool], timeout_s: float | None = 10.0) -> None:
        """Return once `predicate` holds; it is asked again when a websocket or session comes or goes.

        Raises
        ------
        TimeoutError
            It did not hold within `timeout_s` seconds.
        """
        await self._conditions.wait(
            lambda: predicate(self),
            timeout_s,
            lambda: (
                f"the awaited condition did not come about; {len(self.directory.live())} sessions live, "
                f"recent violations: {'; '.join(list(self.violations)[-5:]) or 'none'}"
            ),
        )

    # Others in the channel.

    def add_speaker(self, guild_id: int, channel_id: int, user_id: int, *, dave: bool = True) -> VoiceSpeaker:
        """Let somebody into a channel whom the server plays, and whom a test lets speak.

        The clients hear it, encrypted end to end where the call is.

        Parameters
        ----------
        guild_id, channel_id, user_id : int
            Snowflakes.
        dave : bool
            Whether the user's client supports DAVE. While one is there that does not, the call is downgraded.

        Raises
        ------
        ValueError
            The user is in that channel already; or has no DAVE where the server requires it.
        """
        if not dave and self.settings.dave == "required" and self.calls.offers(channel_id):
            raise ValueError(f"user {user_id} cannot join without DAVE: this server requires it")
        return self.guests.add((guild_id, channel_id), user_id, dave=dave)

    def remove_speaker(self, guild_id: int, channel_id: int, user_id: int) -> None:
        """Let a speaker leave; without one of that user nothing happens."""
        self.guests.remove((guild_id, channel_id), user_id)
