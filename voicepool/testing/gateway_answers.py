"""[pure] The longer answers of the main gateway: what follows IDENTIFY, and member chunks."""

from __future__ import annotations

__all__ = ["guild_create", "member_chunks", "ready"]

from typing import TYPE_CHECKING, Final

from voicepool.testing.gateway_protocol import GATEWAY_VERSION, Intents
from voicepool.testing.guild_payloads import (
    gateway_guild_object,
    member_object,
    own_user_object,
    partial_application_object,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voicepool.testing.gateway_protocol import RequestMembers
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.guild_model import BotUser, Guild
    from voicepool.testing.guild_payloads import Json
    from voicepool.testing.guild_world import World

_CHUNK_MEMBERS: Final = 1_000
_MAX_QUERIED_MEMBERS: Final = 100
"""Bound of a query by prefix or by user ids (Gateway Events, Request Guild Members)."""
_MAX_NONCE_BYTES: Final = 32


def ready(session: GatewaySession, guilds: list[Guild], resume_gateway_url: str) -> Json:
    """Build READY; its guilds are unavailable until their GUILD_CREATE (Gateway, Guild Availability)."""
    return {
        "v": GATEWAY_VERSION,
        "user": own_user_object(session.bot),
        "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
        "session_id": session.session_id,
        "resume_gateway_url": resume_gateway_url,
        "shard": list(session.shard),
        "application": partial_application_object(session.bot),
        "private_channels": [],
        "relationships": [],
        "presences": [],
    }


def guild_create(world: World, guild: Guild, bot: BotUser, intents: Intents) -> Json:
    """Build GUILD_CREATE for one bot.

    Without the presence intent it lists only the bot and whoever is in voice (Request Guild Members).
    """
    states = list(world.voice_states(guild_id=guild.id)) if Intents.GUILD_VOICE_STATES in intents else []
    if Intents.GUILD_PRESENCES in intents:
        members = list(guild.members.values())
    else:
        ids = dict.fromkeys([bot.id, *(state.user_id for state in states)])
        members = [guild.members[user_id] for user_id in ids]
    return gateway_guild_object(guild, members=members, voice_states=states)


def member_chunks(guild: Guild, request: RequestMembers) -> Iterator[Json]:
    """Answer op 8 with as many GUILD_MEMBERS_CHUNK as it takes, at least one."""
    not_found: list[str] = []
    if request.user_ids is not None:
        asked = request.user_ids if isinstance(request.user_ids, list) else [request.user_ids]
        ids = [int(user_id) for user_id in asked[:_MAX_QUERIED_MEMBERS]]
        members = [guild.members[user_id] for user_id in ids if user_id in guild.members]
        not_found = [str(user_id) for user_id in ids if user_id not in guild.members]
    else:
        prefix = (request.query or "").lower()
        members = [member for member in guild.members.values() if member.user.name.lower().startswith(prefix)]
        members = members[: request.limit or None]
        if prefix:
            members = members[:_MAX_QUERIED_MEMBERS]
    pieces = [members[at : at + _CHUNK_MEMBERS] for at in range(0, len(members), _CHUNK_MEMBERS)] or [[]]
    for index, piece in enumerate(pieces):
        chunk: Json = {
            "guild_id": str(guild.id),
            "members": [member_object(member) for member in piece],
            "chunk_index": index,
            "chunk_count": len(pieces),
        }
        if not_found and index == 0:
            chunk["not_found"] = not_found
        if request.presences:
            chunk["presences"] = []
        if request.nonce is not None and len(request.nonce.encode()) <= _MAX_NONCE_BYTES:
            chunk["nonce"] = request.nonce
        yield chunk
