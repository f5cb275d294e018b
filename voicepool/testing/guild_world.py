"""The stand-in's state: which bots and guilds exist, and who is in which voice channel.

Holds and looks up; who is told about a change is `gateway_hub`'s matter, what a change entails
`gateway_voice`'s.
"""

from __future__ import annotations

__all__ = ["Attachment", "Message", "VoiceState", "World"]

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from voicepool.testing.guild_model import BotUser, Channel, Guild, Member, User

_MAX_MESSAGES: Final = 10_000
"""The oldest message is forgotten beyond this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceState:
    """One member's place in voice (Voice Resource, Voice State Object).

    Attributes
    ----------
    session_id
        That of the bot's READY; a made-up one for a member that is not a bot. Never shown in a repr.
    suppress
        Whether a stage has the member listening only.
    request_to_speak_timestamp
        ISO 8601, or None when no request is open.
    """

    guild_id: int
    channel_id: int
    user_id: int
    session_id: str = field(repr=False)
    self_mute: bool = False
    self_deaf: bool = False
    suppress: bool = False
    request_to_speak_timestamp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came with a message; its bytes are counted, not kept."""

    id: int
    filename: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message in a channel, posted by a bot over REST or by the test."""

    id: int
    guild_id: int
    channel_id: int
    author: User
    content: str
    timestamp: str
    embeds: tuple[object, ...] = ()
    components: tuple[object, ...] = ()
    attachments: tuple[Attachment, ...] = ()


class World:
    """Bots, guilds, voice states and messages of one stand-in.

    Parameters
    ----------
    bots
        The accounts that may log in; each becomes a member of each guild.
    guilds
        The guilds, in the order in which READY lists them.

    Raises
    ------
    ValueError
        Without a bot, or if two bots or two guilds share an id.
    """

    def __init__(self, bots: Iterable[BotUser], guilds: Iterable[Guild]) -> None:
        self.bots = tuple(bots)
        listed = tuple(guilds)
        self.guilds = {guild.id: guild for guild in listed}
        if not self.bots:
            raise ValueError("FakeDiscord needs at least one bot: leave `bots` out to get one")
        if len({bot.id for bot in self.bots}) != len(self.bots):
            raise ValueError("two bots have the same id: leave `id` out of BotUser to get a fresh one")
        if len(self.guilds) != len(listed):
            raise ValueError("two guilds have the same id: leave `id` out of Guild to get a fresh one")
        for guild in listed:
            for bot in self.bots:
                guild.add_member(bot)
        self._by_token = {bot.token: bot for bot in self.bots}
        self._voice: dict[tuple[int, int], VoiceState] = {}
        self._messages: OrderedDict[int, Message] = OrderedDict()

    def bot_of_token(self, token: str) -> BotUser | None:
        """Find the bot that owns a token; None if nobody does."""
        return self._by_token.get(token)

    def guilds_of(self, user_id: int) -> list[Guild]:
        """List the guilds that a user is a member of."""
        return [guild for guild in self.guilds.values() if user_id in guild.members]

    def guild(self, guild_id: int) -> Guild:
        """Find a guild for a test.

        Raises
        ------
        LookupError
            If there is none of that id.
        """
        if guild_id not in self.guilds:
            raise LookupError(f"no guild {guild_id} on this FakeDiscord: it has {sorted(self.guilds)}")
        return self.guilds[guild_id]

    def member(self, guild_id: int, user_id: int) -> Member:
        """Find a member for a test.

        Raises
        ------
        LookupError
            If the guild does not exist or the user is not in it.
        """
        guild = self.guild(guild_id)
        if user_id not in guild.members:
            raise LookupError(
                f"user {user_id} is no member of guild {guild_id}: call guild.add_member(user) first"
            )
        return guild.members[user_id]

    def voice_channel(self, guild_id: int, channel_id: int) -> Channel:
        """Find a voice or stage channel for a test.

        Raises
        ------
        LookupError
            If the guild has no such channel.
        """
        channel = self.guild(guild_id).channels.get(channel_id)
        if channel is None or not channel.is_voice:
            raise LookupError(f"guild {guild_id} has no voice channel {channel_id}: see its `voice_channels`")
        return channel

    def channel(self, channel_id: int) -> tuple[Guild, Channel] | None:
        """Find a channel and its guild by the channel's id alone."""
        for guild in self.guilds.values():
            if channel_id in guild.channels:
                return guild, guild.channels[channel_id]
        return None

    def voice_state(self, guild_id: int, user_id: int) -> VoiceState | None:
        """Tell where a user is in a guild; None when not in voice."""
        return self._voice.get((guild_id, user_id))

    def voice_states(
        self, *, guild_id: int | None = None, channel_id: int | None = None, session_id: str | None = None
    ) -> Iterator[VoiceState]:
        """Go through the voice states that match everything given; the set may change meanwhile."""
        for state in tuple(self._voice.values()):
            if guild_id not in {None, state.guild_id}:
                continue
            if channel_id in {None, state.channel_id} and session_id in {None, state.session_id}:
                yield state

    def put_voice_state(self, state: VoiceState) -> None:
        """Set or replace where a user is in a guild."""
        self._voice[state.guild_id, state.user_id] = state

    def remove_voice_state(self, guild_id: int, user_id: int) -> VoiceState | None:
        """Take a user out of voice; returns the state until now."""
        return self._voice.pop((guild_id, user_id), None)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message posted, oldest first; the newest 10,000 are kept."""
        return tuple(self._messages.values())

    def message(self, message_id: int) -> Message | None:
        """Find a message by its id."""
        return self._messages.get(message_id)

    def add_message(self, message: Message) -> None:
        """Keep a message."""
        self._messages[message.id] = message
        while len(self._messages) > _MAX_MESSAGES:
            self._messages.popitem(last=False)
