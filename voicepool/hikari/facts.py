"""What a bot's cache says about joining, and the errors that come of it.

The bot is whatever hikari makes; only its attributes are used, so that hikari itself stays in one module.
"""

from __future__ import annotations

from typing import Any, Final

from voicepool.errors import JoinError
from voicepool.hikari import admission

__all__ = [
    "HOW",
    "NOT_RUNNING",
    "SILENCE",
    "channel_bitrate_bps",
    "check_admission",
    "check_bot",
    "facts",
    "join_error",
]

HOW: Final = "await voicepool.connect(bot, guild, channel, pool=pool)"
"""The way to a connection, for error texts."""
SILENCE: Final = (
    "Discord did not answer; check that the bot may enter and has the intent GUILD_VOICE_STATES, "
    "then try again"
)
NOT_RUNNING: Final = "the bot does not run, or its shard is not connected; start it, and try again"
STARTING: Final = "the bot is still starting, and hikari does not know its shards yet; wait for StartedEvent"

_SHARD_SHIFT: Final = 22
"""Gateway, Sharding: shards are dealt out by a guild id's time of creation."""


def join_error(reason: str, guild_id: int, channel_id: int, text: str) -> JoinError:
    """Make the error; `reason` as its class lists them, `text` with the way out."""
    return JoinError(f"guild {guild_id}, channel {channel_id}: {text}", reason=reason)


def check_bot(bot: Any, guild_id: int, channel_id: int) -> None:
    """Raise `JoinError` unless the bot runs and has the guild on a shard of this process."""
    if not bot.is_alive or not bot.voice.is_alive:
        raise join_error("bot", guild_id, channel_id, NOT_RUNNING)
    if not bot.shards:
        # hikari knows its shards only once the first ones are ready; guilds and messages may come before.
        raise join_error("bot", guild_id, channel_id, STARTING)
    shard_id = (guild_id >> _SHARD_SHIFT) % bot.shard_count
    if shard_id not in bot.shards:
        text = (
            f"the guild is on shard {shard_id}, this process has {sorted(bot.shards)}; connect from that one"
        )
        raise join_error("shard", guild_id, channel_id, text)


def check_admission(bot: Any, guild_id: int, channel_id: int) -> None:
    """Raise `JoinError` if the cache knows that Discord would not let the bot in."""
    member, channel = facts(bot, guild_id, channel_id)
    if channel is not None:
        refusal = admission.refusal(guild_id, member, channel)
        if refusal is not None:
            raise join_error(refusal.reason, guild_id, channel_id, refusal.text)
    elif (guild := bot.cache.get_guild(guild_id)) is not None and guild.get_channels():
        text = "the guild has no such channel, or the bot may not see it; check the id and View Channel"
        raise join_error("channel", guild_id, channel_id, text)


def channel_bitrate_bps(bot: Any, channel_id: int) -> int | None:
    """Return the bitrate of a voice channel in bit/s; None if the cache does not know it."""
    bitrate_bps = getattr(bot.cache.get_guild_channel(channel_id), "bitrate", None)
    return bitrate_bps if isinstance(bitrate_bps, int) else None


def facts(
    bot: Any, guild_id: int, channel_id: int
) -> tuple[admission.Member | None, admission.Channel | None]:
    """Collect what the cache knows; a bot that caches less is told less before the timeout."""
    place = bot.cache.get_guild_channel(channel_id)
    if place is None:
        return None, None
    overwrites: dict[int, admission.Overwrite] = {}
    # Threads have none, and only channels for voice have a limit.
    for target, overwrite in getattr(place, "permission_overwrites", {}).items():
        overwrites[target] = admission.Overwrite(int(overwrite.allow), int(overwrite.deny))
    channel = admission.Channel(
        guild_id=place.guild_id,
        kind=int(place.type),
        user_limit=getattr(place, "user_limit", 0),
        occupants=tuple(bot.cache.get_voice_states_view_for_channel(guild_id, channel_id)),
        overwrites=overwrites,
    )
    guild, me = bot.cache.get_guild(guild_id), bot.get_me()
    if guild is None or me is None:
        return None, channel
    member = bot.cache.get_member(guild_id, me.id)
    roles = bot.cache.get_roles_view_for_guild(guild_id)
    everyone = roles.get(guild_id)
    if member is None or everyone is None or not all(role in roles for role in member.role_ids):
        return None, channel
    return admission.Member(
        user_id=me.id,
        guild_id=guild_id,
        owner_id=guild.owner_id,
        roles={role: int(roles[role].permissions) for role in member.role_ids if role != guild_id},
        everyone=int(everyone.permissions),
    ), channel
