"""The REST API's routes: what each answers, without HTTP around it.

One `Route` a line in `ROUTES`; each handler takes a `Call` and returns a `Reply` or raises `RestError` with
Discord's own error code (Opcodes and Status Codes, JSON). `rest_server` does authentication, limits and
bytes.
"""

from __future__ import annotations

__all__ = ["ROUTES", "Route"]

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec

from voicepool.testing.guild_model import ChannelType, Permission
from voicepool.testing.guild_payloads import (
    application_object,
    channel_object,
    member_object,
    message_object,
    own_user_object,
    rest_guild_object,
    role_object,
    user_object,
    voice_state_object,
)
from voicepool.testing.rest_backend import Reply, RestError
from voicepool.testing.rest_limits import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicepool.testing.guild_model import Guild, User
    from voicepool.testing.guild_payloads import Json
    from voicepool.testing.guild_world import VoiceState
    from voicepool.testing.rest_backend import Backend, Call

_ORDINARY: Final = RateLimit(requests=50, window_s=1.0)
_MESSAGES: Final = RateLimit(requests=5, window_s=1.0)
_SESSION_STARTS_A_DAY: Final = 1_000
_MAX_CONCURRENCY: Final = 16
_MAX_CONTENT_CHARACTERS: Final = 2_000
_MAX_EMBEDS: Final = 10


def _gateway(backend: Backend, _call: Call) -> Reply:
    return Reply(200, {"url": backend.gateway_url()})


def _gateway_bot(backend: Backend, _call: Call) -> Reply:
    limit = {
        "total": _SESSION_STARTS_A_DAY,
        "remaining": max(0, _SESSION_STARTS_A_DAY - backend.hub.identifies),
        "reset_after": 86_400_000,
        "max_concurrency": _MAX_CONCURRENCY,
    }
    return Reply(200, {"url": backend.gateway_url(), "shards": 1, "session_start_limit": limit})


def _own_user(_backend: Backend, call: Call) -> Reply:
    return Reply(200, own_user_object(call.bot))


def _approximate_counts(guild: Guild) -> Json:
    count = len(guild.members)
    return {"approximate_member_count": count, "approximate_presence_count": count}


class _Page(msgspec.Struct):
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 200
    with_counts: bool = False


class _VoiceStateChange(msgspec.Struct):
    channel_id: str | int | None = None
    suppress: bool | msgspec.UnsetType = msgspec.UNSET
    request_to_speak_timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


class _NewMessage(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(max_length=_MAX_CONTENT_CHARACTERS)] | None = None
    embeds: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=_MAX_EMBEDS)] | None = None
    components: list[dict[str, Any]] | None = None


_Form = TypeVar("_Form")


def _read(fields: Mapping[str, Any], form: type[_Form], *, strict: bool = True) -> _Form:
    """Check a body, or with `strict` off a query string, against what the route takes."""
    try:
        return msgspec.convert(dict(fields), form, strict=strict)
    except msgspec.ValidationError as error:
        # Discord adds a tree of errors here; one sentence serves whoever debugs a test better.
        raise RestError(400, 50035, f"Invalid Form Body: {error}") from None


def _own_guilds(backend: Backend, call: Call) -> Reply:
    page = _read(call.query, _Page, strict=False)
    guilds: list[Json] = [
        {
            "id": str(guild.id),
            "name": guild.name,
            "icon": None,
            "banner": None,
            "owner": False,
            "permissions": str(int(guild.everyone.permissions)),
            "features": [],
            **(_approximate_counts(guild) if page.with_counts else {}),
        }
        for guild in backend.world.guilds_of(call.bot.id)
    ]
    return Reply(200, [guild for guild in guilds if int(guild["id"]) > page.after][: page.limit])


def _user(backend: Backend, call: Call) -> Reply:
    for guild in backend.world.guilds.values():
        if call.ids["user"] in guild.members:
            return Reply(200, user_object(guild.members[call.ids["user"]].user))
    raise RestError(404, 10013, "Unknown User")


def _application(backend: Backend, call: Call) -> Reply:
    guilds = backend.world.guilds_of(call.bot.id)
    owner: User = guilds[0].owner if guilds else call.bot
    return Reply(200, application_object(call.bot, owner=owner, guild_count=len(guilds)))


def _guild(backend: Backend, call: Call) -> Reply:
    return Reply(200, rest_guild_object(backend.guild(call)))


def _guild_channels(backend: Backend, call: Call) -> Reply:
    guild = backend.guild(call)
    return Reply(200, [channel_object(channel, guild_id=guild.id) for channel in guild.channels.values()])


def _guild_roles(backend: Backend, call: Call) -> Reply:
    return Reply(200, [role_object(role) for role in backend.guild(call).roles.values()])


def _guild_member(backend: Backend, call: Call) -> Reply:
    member = backend.guild(call).members.get(call.ids["user"])
    if member is None:
        raise RestError(404, 10007, "Unknown Member")
    return Reply(200, member_object(member))


def _channel(backend: Backend, call: Call) -> Reply:
    guild, channel, _ = backend.channel(call)
    return Reply(200, channel_object(channel, guild_id=guild.id))


def _voice_state_of(backend: Backend, call: Call) -> tuple[Guild, VoiceState]:
    guild = backend.guild(call)
    state = backend.world.voice_state(guild.id, call.ids.get("user", call.bot.id))
    if state is None:
        raise RestError(404, 10065, "Unknown Voice State")
    return guild, state


def _voice_state(backend: Backend, call: Call) -> Reply:
    guild, state = _voice_state_of(backend, call)
    return Reply(200, voice_state_object(state, guild.members[state.user_id]))


def _modify_own_voice_state(backend: Backend, call: Call) -> Reply:
    """Suppress or unsuppress oneself on a stage, or ask to speak (Voice Resource, Modify Current User …)."""
    guild, state = _voice_state_of(backend, call)
    channel = guild.channels[state.channel_id]
    if channel.type is not ChannelType.STAGE:
        raise RestError(400, 50024, "Cannot execute action on this channel type")
    change = _read(call.body, _VoiceStateChange)
    if change.channel_id is not None and str(change.channel_id) != str(state.channel_id):
        raise RestError(404, 10065, "Unknown Voice State")
    permissions = guild.permissions_of(guild.members[call.bot.id], channel)
    changed = state
    if change.suppress is not msgspec.UNSET:
        if not change.suppress and Permission.MUTE_MEMBERS not in permissions:
            raise RestError(403, 50013, "Missing Permissions")
        changed = replace(changed, suppress=change.suppress)
    wish = change.request_to_speak_timestamp
    if wish is not msgspec.UNSET:
        if wish is not None and Permission.REQUEST_TO_SPEAK not in permissions:
            raise RestError(403, 50013, "Missing Permissions")
        changed = replace(changed, request_to_speak_timestamp=wish)
    if changed != state:
        backend.desk.change(changed)
    return Reply(204)


def _post_message(backend: Backend, call: Call) -> Reply:
    guild, channel, permissions = backend.channel(call)
    if Permission.SEND_MESSAGES not in permissions:
        raise RestError(403, 50013, "Missing Permissions")
    new = _read(call.body, _NewMessage)
    if not (new.content or new.embeds or new.components or call.attachments):
        raise RestError(400, 50006, "Cannot send an empty message")
    message = backend.post_message(
        guild,
        channel,
        call.bot,
        content=new.content or "",
        embeds=tuple(new.embeds or ()),
        components=tuple(new.components or ()),
        attachments=call.attachments,
    )
    return Reply(200, message_object(message))


def _message(backend: Backend, call: Call) -> Reply:
    _, channel, _ = backend.channel(call)
    message = backend.world.message(call.ids["message"])
    if message is None or message.channel_id != channel.id:
        raise RestError(404, 10008, "Unknown Message")
    return Reply(200, message_object(message))


def _typing(backend: Backend, call: Call) -> Reply:
    backend.channel(call)
    return Reply(204)


class Route:
    """One method on one path.

    Parameters
    ----------
    method
        HTTP method.
    path
        Below ``/api/vN``; ``{name}`` stands for an id, and in the place of ``{user}`` also for ``@me``.
    handler
        Answers.
    public
        Whether it answers without a token.
    limit
        Its rate limit.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[[Backend, Call], Reply],
        *,
        public: bool = False,
        limit: RateLimit = _ORDINARY,
    ) -> None:
        self.method: Final = method
        self.path: Final = path
        self.handler: Final = handler
        self.public: Final = public
        self.limit: Final = limit
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]{1,20})", path)
        self._pattern: Final = re.compile(
            pattern.replace("(?P<user>[0-9]{1,20})", "(?P<user>[0-9]{1,20}|@me)")
        )

    def match(self, path: str) -> dict[str, str] | None:
        """Return the ids in a path as they were written, or None if it is another path."""
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()


ROUTES: Final = (
    Route("GET", "/gateway", _gateway, public=True),
    Route("GET", "/gateway/bot", _gateway_bot),
    Route("GET", "/users/@me", _own_user),
    Route("GET", "/users/@me/guilds", _own_guilds),
    Route("GET", "/users/{user}", _user),
    Route("GET", "/applications/@me", _application),
    Route("GET", "/oauth2/applications/@me", _application),
    Route("GET", "/guilds/{guild}", _guild),
    Route("GET", "/guilds/{guild}/channels", _guild_channels),
    Route("GET", "/guilds/{guild}/roles", _guild_roles),
    Route("GET", "/guilds/{guild}/members/{user}", _guild_member),
    Route("GET", "/guilds/{guild}/voice-states/{user}", _voice_state),
    Route("PATCH", "/guilds/{guild}/voice-states/@me", _modify_own_voice_state),
    Route("GET", "/channels/{channel}", _channel),
    Route("POST", "/channels/{channel}/messages", _post_message, limit=_MESSAGES),
    Route("GET", "/channels/{channel}/messages/{message}", _message),
    Route("POST", "/channels/{channel}/typing", _typing),
)
"""Every route there is; the first that matches answers."""
