"""[pure] Who may identify: the credentials that the main gateway would have handed out."""

from __future__ import annotations

__all__ = ("GrantBook", "VoiceGrant")

import hmac
import secrets
from dataclasses import dataclass, field

from voicepool.testing.voice_messages import CloseCode, Identify, Refusal, Resume


@dataclass(frozen=True, slots=True)
class VoiceGrant:
    """Permission for one user to join one voice channel.

    What Discord spreads over VOICE_STATE_UPDATE (`session_id`) and VOICE_SERVER_UPDATE (`endpoint`, `token`).

    Attributes
    ----------
    endpoint : str
        ``host:port`` as Discord sends it, without a scheme.
    token, session_id : str
        Secrets; left out of the repr.
    guild_id, channel_id, user_id : int
        Snowflakes.
    """

    endpoint: str
    token: str = field(repr=False)
    session_id: str = field(repr=False)
    guild_id: int
    channel_id: int
    user_id: int


class GrantBook:
    """The grants in force, at most one for a user in a guild."""

    def __init__(self) -> None:
        self._grants: dict[int, dict[int, VoiceGrant]] = {}

    def issue(
        self, endpoint: str, guild_id: int, channel_id: int, user_id: int, session_id: str | None
    ) -> VoiceGrant:
        """Make a grant with a new token; the user's earlier one in that guild is void from now on."""
        grant = VoiceGrant(
            endpoint=endpoint,
            token=secrets.token_hex(16),
            session_id=secrets.token_hex(16) if session_id is None else session_id,
            guild_id=guild_id,
            channel_id=channel_id,
            user_id=user_id,
        )
        self._grants.setdefault(guild_id, {})[user_id] = grant
        return grant

    def revoke(self, guild_id: int, user_id: int) -> None:
        """Void the user's grant in that guild, if there is one."""
        users = self._grants.get(guild_id, {})
        users.pop(user_id, None)
        if not users:
            self._grants.pop(guild_id, None)

    def holds(self, grant: VoiceGrant) -> bool:
        """Return whether `grant` is still in force."""
        return self._grants.get(grant.guild_id, {}).get(grant.user_id) is grant

    def admit(self, identify: Identify) -> VoiceGrant:
        """Return the grant that an Identify uses.

        Raises
        ------
        Refusal
            4011 for a guild without grants, 4004 for a wrong token or user, 4006 for a wrong session id.
        """
        users = self._grants.get(identify.guild_id)
        if not users:
            raise Refusal(
                CloseCode.SERVER_NOT_FOUND,
                f"Identify named guild {identify.guild_id}, for which nothing was granted; "
                "`server_id` is the guild's id",
            )
        grant = users.get(identify.user_id)
        if grant is None:
            raise Refusal(
                CloseCode.AUTHENTICATION_FAILED,
                f"Identify named user {identify.user_id}, who was granted nothing in guild "
                f"{identify.guild_id}",
            )
        if not _same(grant.token, identify.token):
            raise Refusal(
                CloseCode.AUTHENTICATION_FAILED,
                f"Identify for guild {identify.guild_id} had a wrong token; "
                "take it from the newest VOICE_SERVER_UPDATE",
            )
        if not _same(grant.session_id, identify.session_id):
            raise Refusal(
                CloseCode.SESSION_INVALID,
                f"Identify for guild {identify.guild_id} had a wrong session id; "
                "take it from the user's newest VOICE_STATE_UPDATE",
            )
        return grant

    def readmit(self, resume: Resume) -> VoiceGrant:
        """Return the grant that a Resume uses; raises `Refusal` 4006 if there is none."""
        for grant in self._grants.get(resume.guild_id, {}).values():
            if _same(grant.token, resume.token) and _same(grant.session_id, resume.session_id):
                return grant
        raise Refusal(
            CloseCode.SESSION_INVALID,
            f"Resume for guild {resume.guild_id} had a token or session id that is not, or no longer, valid",
        )


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
