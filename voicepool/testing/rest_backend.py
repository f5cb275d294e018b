"""What REST routes are given and give back, and what they act on, without HTTP around it."""

from __future__ import annotations

__all__ = ["Backend", "Call", "Reply", "RestError"]

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voicepool.testing.gateway_hub import Event
from voicepool.testing.gateway_protocol import Intents
from voicepool.testing.guild_model import Permission, next_snowflake
from voicepool.testing.guild_payloads import message_object
from voicepool.testing.guild_world import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicepool.testing.gateway_hub import GatewayHub
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.gateway_voice import VoiceDesk
    from voicepool.testing.guild_model import BotUser, Channel, Guild, User
    from voicepool.testing.guild_payloads import Json
    from voicepool.testing.guild_world import Attachment, World


class RestError(Exception):
    """An answer that is an error.

    Parameters
    ----------
    status
        HTTP status.
    code
        Discord's JSON error code; 0 for the general ones.
    text
        The message that goes with it.
    """

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request.

    Attributes
    ----------
    bot
        Who asks.
    ids
        The parts of the path that were ids; ``@me`` has become the bot's id.
    query
        The query string.
    body
        The decoded JSON object; empty without a body.
    attachments
        Files of a multipart body.
    """

    bot: BotUser
    ids: Mapping[str, int] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a route answers. A body of None is an empty answer."""

    status: int
    body: object = None


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes act on."""

    world: World
    hub: GatewayHub
    desk: VoiceDesk
    gateway_url: Callable[[], str]

    def guild(self, call: Call) -> Guild:
        """Find the guild of the path.

        Raises
        ------
        RestError
            404, 10004 if the bot is not in one of that id.
        """
        guild = self.world.guilds.get(call.ids["guild"])
        if guild is None or call.bot.id not in guild.members:
            raise RestError(404, 10004, "Unknown Guild")
        return guild

    def channel(self, call: Call) -> tuple[Guild, Channel, Permission]:
        """Find the channel of the path, with its guild and the bot's permissions in it.

        Raises
        ------
        RestError
            404, 10003 if there is none; 403, 50001 if the bot may not see it.
        """
        found = self.world.channel(call.ids["channel"])
        if found is None or call.bot.id not in found[0].members:
            raise RestError(404, 10003, "Unknown Channel")
        guild, channel = found
        permissions = guild.permissions_of(guild.members[call.bot.id], channel)
        if Permission.VIEW_CHANNEL not in permissions:
            raise RestError(403, 50001, "Missing Access")
        return guild, channel, permissions

    def post_message(self, guild: Guild, channel: Channel, author: User, **parts: Any) -> Message:
        """Keep a message and tell every bot that may hear of it."""
        message = Message(
            id=next_snowflake(),
            guild_id=guild.id,
            channel_id=channel.id,
            author=author,
            timestamp=dt.datetime.now(dt.UTC).isoformat(),
            **parts,
        )
        self.world.add_message(message)
        member = guild.members[author.id]

        def as_seen_by(session: GatewaySession) -> Json:
            # Gateway, Message Content Intent: one's own messages are always whole, and so are mentions.
            mentioned = f"<@{session.bot.id}>" in message.content
            whole = Intents.MESSAGE_CONTENT in session.intents or session.bot.id == author.id or mentioned
            return message_object(message, member=member, show_content=whole)

        event = Event(
            name="MESSAGE_CREATE",
            data=as_seen_by,
            guild_id=guild.id,
            user_id=author.id,
            intent=Intents.GUILD_MESSAGES,
        )
        self.hub.publish(event)
        return message
