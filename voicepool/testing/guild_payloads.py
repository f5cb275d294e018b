"""Discord's JSON for the stand-in's model, as REST answers and gateway events share it.

Each function returns a dict that is ready to encode: ids are strings, permissions are decimal strings. Field
sets follow the objects of the API reference; fields that no client needs are left out only where the
reference marks them optional.
"""

from __future__ import annotations

__all__ = [
    "Json",
    "application_object",
    "channel_object",
    "gateway_guild_object",
    "member_object",
    "message_object",
    "own_user_object",
    "partial_application_object",
    "rest_guild_object",
    "role_object",
    "user_object",
    "voice_state_object",
]

from typing import TYPE_CHECKING, Any, Final

from voicepool.testing.guild_model import ChannelType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicepool.testing.guild_model import BotUser, Channel, Guild, Member, Role, User
    from voicepool.testing.guild_world import Message, VoiceState

Json = dict[str, Any]

_JOINED_AT: Final = "2024-01-01T00:00:00.000000+00:00"
_LIMITED_PRIVILEGED_FLAGS: Final = 1 << 13 | 1 << 15 | 1 << 19
"""GATEWAY_PRESENCE_LIMITED, GATEWAY_GUILD_MEMBERS_LIMITED, GATEWAY_MESSAGE_CONTENT_LIMITED."""
_LARGE_GUILD_MEMBERS: Final = 250


def user_object(user: User) -> Json:
    """Build a user as others see it (Users Resource, User Object)."""
    return {
        "id": str(user.id),
        "username": user.name,
        "global_name": None,
        "discriminator": "0",
        "avatar": None,
        "bot": user.is_bot,
        "system": False,
        "public_flags": 0,
    }


def own_user_object(bot: BotUser) -> Json:
    """Build the user that a bot sees of itself, in READY and ``/users/@me``."""
    return user_object(bot) | {
        "mfa_enabled": False,
        "verified": True,
        "email": None,
        "flags": 0,
        "locale": "en-US",
        "premium_type": 0,
    }


def partial_application_object(bot: BotUser) -> Json:
    """Build the application part of READY."""
    flags = _LIMITED_PRIVILEGED_FLAGS if bot.allows_privileged_intents else 0
    return {"id": str(bot.id), "flags": flags}


def application_object(bot: BotUser, *, owner: User, guild_count: int) -> Json:
    """Build the whole application (Application Resource, Application Object)."""
    return partial_application_object(bot) | {
        "name": bot.name,
        "icon": None,
        "description": "",
        "bot_public": True,
        "bot_require_code_grant": False,
        "bot": user_object(bot),
        "owner": user_object(owner),
        "team": None,
        "summary": "",
        "verify_key": "00" * 32,
        "approximate_guild_count": guild_count,
        "approximate_user_install_count": 0,
        "integration_types_config": {},
        "redirect_uris": [],
        "interactions_endpoint_url": None,
    }


def role_object(role: Role) -> Json:
    """Build a role (Permissions, Role Object)."""
    return {
        "id": str(role.id),
        "name": role.name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": role.position,
        "permissions": str(int(role.permissions)),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def member_object(member: Member) -> Json:
    """Build a guild member with its user (Guild Resource, Guild Member Object)."""
    return {
        "user": user_object(member.user),
        "nick": member.nick,
        "avatar": None,
        "banner": None,
        "roles": [str(role_id) for role_id in member.role_ids],
        "joined_at": _JOINED_AT,
        "premium_since": None,
        "deaf": member.deaf,
        "mute": member.mute,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
    }


def channel_object(channel: Channel, *, guild_id: int | None = None) -> Json:
    """Build a channel (Channels Resource, Channel Object); inside GUILD_CREATE it has no guild_id."""
    payload: Json = {
        "id": str(channel.id),
        "type": int(channel.type),
        "name": channel.name,
        "position": channel.position,
        "parent_id": None,
        "permission_overwrites": [
            {
                "id": str(overwrite.target_id),
                "type": 0 if overwrite.is_role else 1,
                "allow": str(int(overwrite.allow)),
                "deny": str(int(overwrite.deny)),
            }
            for overwrite in channel.overwrites
        ],
        "nsfw": False,
        "flags": 0,
        "last_message_id": None,
        "rate_limit_per_user": 0,
    }
    if guild_id is not None:
        payload["guild_id"] = str(guild_id)
    if channel.type is ChannelType.TEXT:
        payload |= {"topic": None, "last_pin_timestamp": None}
    else:
        payload |= {
            "bitrate": channel.bitrate,
            "user_limit": channel.user_limit,
            "rtc_region": None,
            "video_quality_mode": 1,
        }
    return payload


def _guild_object(guild: Guild) -> Json:
    return {
        "id": str(guild.id),
        "name": guild.name,
        "icon": None,
        "icon_hash": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "owner_id": str(guild.owner.id),
        "afk_channel_id": None,
        "afk_timeout": 300,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "nsfw": False,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "preferred_locale": "en-US",
        "features": [],
        "description": None,
        "vanity_url_code": None,
        "application_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "max_presences": None,
        "max_members": 500_000,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "roles": [role_object(role) for role in guild.roles.values()],
        "emojis": [],
        "stickers": [],
        "incidents_data": None,
    }


def rest_guild_object(guild: Guild) -> Json:
    """Build a guild as ``/guilds/{id}`` answers it; approximate counts are always there."""
    return _guild_object(guild) | {
        "approximate_member_count": len(guild.members),
        "approximate_presence_count": len(guild.members),
    }


def gateway_guild_object(
    guild: Guild, *, members: Iterable[Member], voice_states: Iterable[VoiceState]
) -> Json:
    """Build a guild as GUILD_CREATE carries it; `members` must cover everyone in `voice_states`."""
    return _guild_object(guild) | {
        "joined_at": _JOINED_AT,
        "large": len(guild.members) > _LARGE_GUILD_MEMBERS,
        "unavailable": False,
        "member_count": len(guild.members),
        "voice_states": [_bare_voice_state(state, guild.members[state.user_id]) for state in voice_states],
        "members": [member_object(member) for member in members],
        "channels": [channel_object(channel) for channel in guild.channels.values()],
        "threads": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def _bare_voice_state(state: VoiceState, member: Member) -> Json:
    return {
        "channel_id": str(state.channel_id),
        "user_id": str(state.user_id),
        "session_id": state.session_id,
        "deaf": member.deaf,
        "mute": member.mute,
        "self_deaf": state.self_deaf,
        "self_mute": state.self_mute,
        "self_video": False,
        "suppress": state.suppress,
        "request_to_speak_timestamp": state.request_to_speak_timestamp,
    }


def voice_state_object(state: VoiceState, member: Member, *, left: bool = False) -> Json:
    """Build a voice state with its member, for VOICE_STATE_UPDATE and REST.

    Parameters
    ----------
    left
        Whether the member has just gone: the same state with a null channel.
    """
    payload = _bare_voice_state(state, member) | {
        "guild_id": str(state.guild_id),
        "member": member_object(member),
    }
    if left:
        payload["channel_id"] = None
    return payload


def message_object(message: Message, *, member: Member | None = None, show_content: bool = True) -> Json:
    """Build a message (Messages Resource, Message Object).

    Parameters
    ----------
    member
        Given for MESSAGE_CREATE, which adds guild_id and the author's member without its user.
    show_content
        False for a bot without the message content intent: what a person put in is then empty.
    """
    payload: Json = {
        "id": str(message.id),
        "type": 0,
        "channel_id": str(message.channel_id),
        "author": user_object(message.author),
        "content": message.content if show_content else "",
        "embeds": list(message.embeds) if show_content else [],
        "attachments": [
            {
                "id": str(attachment.id),
                "filename": attachment.filename,
                "size": attachment.size_bytes,
                "url": f"https://cdn.invalid/attachments/{message.channel_id}/{attachment.id}",
                "proxy_url": f"https://media.invalid/attachments/{message.channel_id}/{attachment.id}",
            }
            for attachment in (message.attachments if show_content else ())
        ],
        "components": list(message.components) if show_content else [],
        "mentions": [],
        "mention_roles": [],
        "mention_everyone": False,
        "timestamp": message.timestamp,
        "edited_timestamp": None,
        "tts": False,
        "pinned": False,
        "flags": 0,
    }
    if member is not None:
        payload["guild_id"] = str(message.guild_id)
        payload["member"] = {key: value for key, value in member_object(member).items() if key != "user"}
    return payload
