"""[pure] Whether a bot may join a voice channel, from what it knows of the guild.

Discord answers a join that is not possible with silence (Voice Connections, Retrieving Voice Server
Information); who computes the answer beforehand can say why instead of waiting for a timeout.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Channel", "Member", "Overwrite", "Permission", "Refusal", "permissions_in", "refusal"]


class Permission(enum.IntFlag):
    """The permissions that decide about voice (Permissions, Bitwise Permission Flags)."""

    ADMINISTRATOR = 1 << 3
    VIEW_CHANNEL = 1 << 10
    CONNECT = 1 << 20
    MUTE_MEMBERS = 1 << 22
    MOVE_MEMBERS = 1 << 24


_ALL: Final = ~Permission(0)
_NEEDED: Final = {"View Channel": Permission.VIEW_CHANNEL, "Connect": Permission.CONNECT}
_VOICE: Final = 2
_STAGE: Final = 13


@dataclass(frozen=True, slots=True)
class Overwrite:
    """What one channel allows and denies one role or member."""

    allow: int
    deny: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The bot in its guild.

    Attributes
    ----------
    roles
        Permissions of each of its roles, by id; without ``@everyone``.
    everyone
        Permissions of ``@everyone``.
    """

    user_id: int
    guild_id: int
    owner_id: int
    roles: Mapping[int, int]
    everyone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The channel to join.

    Attributes
    ----------
    kind
        Its type (Channels Resource, Channel Types).
    user_limit
        Most members; 0 is no limit.
    occupants
        Users in it.
    overwrites
        By id of the role or member.
    """

    guild_id: int
    kind: int
    user_limit: int
    occupants: Collection[int]
    overwrites: Mapping[int, Overwrite]

    @property
    def is_stage(self) -> bool:
        """Whether one has to be let speak there."""
        return self.kind == _STAGE


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, as `JoinError.reason` has it, and in words that say the way out."""

    reason: str
    text: str


def permissions_in(member: Member, channel: Channel) -> Permission:
    """Compute permissions (Permissions, Permission Overwrites).

    Parameters
    ----------
    member
        Whose.
    channel
        Where.

    Returns
    -------
    Permission
        All of them for the owner and for administrators.
    """
    granted = member.everyone
    for permissions in member.roles.values():
        granted |= permissions
    if member.user_id == member.owner_id or granted & Permission.ADMINISTRATOR:
        return _ALL
    for targets in ((member.guild_id,), tuple(member.roles), (member.user_id,)):
        hits = [channel.overwrites[target] for target in targets if target in channel.overwrites]
        for hit in hits:
            granted &= ~hit.deny
        for hit in hits:
            granted |= hit.allow
    return Permission(granted)


def refusal(guild_id: int, member: Member | None, channel: Channel) -> Refusal | None:
    """Tell why Discord would not let the bot in.

    Parameters
    ----------
    guild_id
        The guild it was asked to join in.
    member
        The bot there; None when that is not known, and permissions cannot be told.
    channel
        The channel it was asked to join.

    Returns
    -------
    Refusal | None
        None when nothing speaks against it.
    """
    if channel.guild_id != guild_id:
        return Refusal("channel", "the channel is in another guild; give a channel of this one")
    if channel.kind not in {_VOICE, _STAGE}:
        return Refusal("channel", "it is neither a voice nor a stage channel; give one that is")
    if member is None:
        return None
    permissions = permissions_in(member, channel)
    missing = [name for name, needed in _NEEDED.items() if not permissions & needed]
    if missing:
        return Refusal(
            "permission", f"the bot lacks {' and '.join(missing)} there; grant it to one of its roles"
        )
    others = len(set(channel.occupants) - {member.user_id})
    if channel.user_limit and others >= channel.user_limit and not permissions & Permission.MOVE_MEMBERS:
        return Refusal(
            "full",
            f"{others} of {channel.user_limit} places are taken; wait for one, raise the limit, or grant the "
            "bot Move Members",
        )
    return None
