"""What exists on the stand-in: users, guilds, roles, channels, members, and who may do what.

Plain data that a test builds, reads and changes; nothing here speaks a protocol. `guild_payloads` turns it
into Discord's JSON, `guild_world` looks it up.
"""

from __future__ import annotations

__all__ = [
    "BotUser",
    "Channel",
    "ChannelType",
    "Guild",
    "Member",
    "Overwrite",
    "Permission",
    "Role",
    "User",
    "make_guild",
    "next_snowflake",
]

import base64
import enum
import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DISCORD_EPOCH_MS: Final = 1_420_070_400_000
"""First second of 2015, where snowflakes begin (API Reference, Snowflakes)."""
_SNOWFLAKE_TIME_SHIFT: Final = 22


def _timestamps_ms() -> Iterator[int]:
    # One millisecond each: the timestamp alone is then unique, and guilds spread evenly over shards.
    yield from itertools.count(int(time.time() * 1000) - _DISCORD_EPOCH_MS)


_TIMESTAMPS_MS: Final = _timestamps_ms()


def next_snowflake() -> int:
    """Make an id that is unique in this process and carries a plausible time of creation."""
    return next(_TIMESTAMPS_MS) << _SNOWFLAKE_TIME_SHIFT


class ChannelType(enum.IntEnum):
    """The channel types that the stand-in has (Channels Resource, Channel Types)."""

    TEXT = 0
    VOICE = 2
    STAGE = 13


class Permission(enum.IntFlag):
    """The permissions that matter to a voice bot (Permissions, Bitwise Permission Flags)."""

    ADMINISTRATOR = 1 << 3
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    CONNECT = 1 << 20
    SPEAK = 1 << 21
    MUTE_MEMBERS = 1 << 22
    DEAFEN_MEMBERS = 1 << 23
    MOVE_MEMBERS = 1 << 24
    USE_VAD = 1 << 25
    USE_APPLICATION_COMMANDS = 1 << 31
    REQUEST_TO_SPEAK = 1 << 32


_NO_PERMISSIONS: Final = Permission(0)
_ALL_PERMISSIONS: Final = ~_NO_PERMISSIONS
_EVERYONE_PERMISSIONS: Final = (
    Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.CONNECT
    | Permission.SPEAK
    | Permission.USE_VAD
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.REQUEST_TO_SPEAK
)


@dataclass(slots=True, kw_only=True)
class User:
    """A person, or a bot when it is a `BotUser`.

    Parameters
    ----------
    name
        The user name, in lower case as Discord has it.
    id
        The snowflake; a fresh one when left out.
    """

    name: str
    id: int = field(default_factory=next_snowflake)

    @property
    def is_bot(self) -> bool:
        """Whether Discord would mark this account as a bot."""
        return isinstance(self, BotUser)


def _make_token() -> str:
    # The last two segments are opaque to a client; lengths follow real tokens so that masks and patterns
    # match.
    return f"{secrets.token_urlsafe(4)}.{secrets.token_urlsafe(28)}"


@dataclass(slots=True, kw_only=True)
class BotUser(User):
    """A bot that may log in to the stand-in.

    Parameters
    ----------
    name, id
        As for `User`; the application has the same id.
    allows_privileged_intents
        Whether the switches for presences, members and message content are on. If not, an IDENTIFY that asks
        for one of them is closed with 4014.
    """

    allows_privileged_intents: bool = True
    _token_tail: str = field(default_factory=_make_token, repr=False)

    @property
    def token(self) -> str:
        """The token to log in with; its first segment is the base64 of the id, which hikari decodes."""
        head = base64.urlsafe_b64encode(str(self.id).encode()).decode().rstrip("=")
        return f"{head}.{self._token_tail}"


@dataclass(slots=True, kw_only=True)
class Role:
    """A role of a guild. The role with the guild's own id is ``@everyone``."""

    name: str
    permissions: Permission = _NO_PERMISSIONS
    position: int = 1
    id: int = field(default_factory=next_snowflake)


@dataclass(slots=True, kw_only=True)
class Overwrite:
    """Permissions granted and denied in one channel to one role or member (`target_id`)."""

    target_id: int
    is_role: bool
    allow: Permission = _NO_PERMISSIONS
    deny: Permission = _NO_PERMISSIONS


@dataclass(slots=True, kw_only=True)
class Channel:
    """A text, voice or stage channel.

    Parameters
    ----------
    user_limit
        Most members in a voice channel; 0 is no limit.
    bitrate
        Bits per second that a client should encode with.
    overwrites
        Permission overwrites of this channel.
    """

    name: str
    type: ChannelType
    user_limit: int = 0
    bitrate: int = 64_000
    position: int = 0
    overwrites: list[Overwrite] = field(default_factory=list)
    id: int = field(default_factory=next_snowflake)

    @property
    def is_voice(self) -> bool:
        """Whether one can join it with op 4."""
        return self.type is not ChannelType.TEXT


@dataclass(slots=True, kw_only=True)
class Member:
    """A user in a guild. `deaf` and `mute` are those that the server imposes."""

    user: User
    role_ids: list[int] = field(default_factory=list)
    nick: str | None = None
    deaf: bool = False
    mute: bool = False


@dataclass(slots=True, kw_only=True)
class Guild:
    """A guild with its roles, channels and members; change it freely between events.

    Parameters
    ----------
    name
        Shown name.
    owner
        A member with every permission; made when left out, so that a bot is never the owner by accident.
    """

    name: str
    owner: User = field(default_factory=lambda: User(name="owner"))
    roles: dict[int, Role] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    id: int = field(default_factory=next_snowflake)

    def __post_init__(self) -> None:
        everyone = Role(id=self.id, name="@everyone", permissions=_EVERYONE_PERMISSIONS, position=0)
        self.roles.setdefault(self.id, everyone)
        self.add_member(self.owner)

    @property
    def everyone(self) -> Role:
        """The role that every member has."""
        return self.roles[self.id]

    @property
    def text_channels(self) -> list[Channel]:
        """Text channels in the order in which they were added."""
        return [channel for channel in self.channels.values() if channel.type is ChannelType.TEXT]

    @property
    def voice_channels(self) -> list[Channel]:
        """Voice channels (not stages) in the order in which they were added."""
        return [channel for channel in self.channels.values() if channel.type is ChannelType.VOICE]

    @property
    def stage_channels(self) -> list[Channel]:
        """Stage channels in the order in which they were added."""
        return [channel for channel in self.channels.values() if channel.type is ChannelType.STAGE]

    def add_channel(self, channel: Channel) -> Channel:
        """Add a channel below those that are there."""
        channel.position = len(self.channels)
        self.channels[channel.id] = channel
        return channel

    def add_role(self, role: Role) -> Role:
        """Add a role; give it to a member by adding its id to `Member.role_ids`."""
        self.roles[role.id] = role
        return role

    def add_member(self, user: User) -> Member:
        """Let a user into the guild; returns the member that is there if there is one."""
        return self.members.setdefault(user.id, Member(user=user))

    def permissions_of(self, member: Member, channel: Channel) -> Permission:
        """Compute a member's permissions in a channel (Permissions, Permission Overwrites).

        Order of the rules: base permissions of the roles, then the overwrites of ``@everyone``, of the other
        roles together, and of the member.
        """
        role_ids = [self.id, *member.role_ids]
        granted = _NO_PERMISSIONS
        for role_id in role_ids:
            granted |= self.roles[role_id].permissions
        if member.user.id == self.owner.id or Permission.ADMINISTRATOR in granted:
            return _ALL_PERMISSIONS
        by_target = {overwrite.target_id: overwrite for overwrite in channel.overwrites}
        for targets in ([self.id], member.role_ids, [member.user.id]):
            hits = [by_target[target] for target in targets if target in by_target]
            for overwrite in hits:
                granted &= ~overwrite.deny
            for overwrite in hits:
                granted |= overwrite.allow
        return granted


def make_guild(
    name: str,
    *,
    text_channels: int = 1,
    voice_channels: int = 2,
    stage_channels: int = 1,
) -> Guild:
    """Build a guild with so many channels of each type, named ``text-0``, ``voice-0``, ``stage-0``, …."""
    guild = Guild(name=name)
    counts = {
        ChannelType.TEXT: text_channels,
        ChannelType.VOICE: voice_channels,
        ChannelType.STAGE: stage_channels,
    }
    for channel_type, count in counts.items():
        for index in range(count):
            guild.add_channel(Channel(name=f"{channel_type.name.lower()}-{index}", type=channel_type))
    return guild
