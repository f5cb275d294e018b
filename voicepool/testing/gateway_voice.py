"""What op 4 does: who may join which voice channel, and which two events follow.

Discord answers a join with VOICE_STATE_UPDATE (the session) and VOICE_SERVER_UPDATE (endpoint and token), and
a join that is not possible with silence (Voice Connections, Retrieving Voice Server Information). The
stand-in is as silent towards the bot, but keeps the reason of each op 4 in a log for whoever debugs it.
"""

from __future__ import annotations

__all__ = [
    "NowhereVoiceServer",
    "Op4",
    "Op4Outcome",
    "VoiceCloseCode",
    "VoiceDesk",
    "VoiceGrant",
    "VoiceServer",
]

import enum
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from voicepool.testing.gateway_hub import Event
from voicepool.testing.gateway_protocol import Intents
from voicepool.testing.guild_model import BotUser, Channel, ChannelType, Guild, Member, Permission
from voicepool.testing.guild_payloads import channel_object, voice_state_object
from voicepool.testing.guild_world import VoiceState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voicepool.testing.gateway_hub import GatewayHub
    from voicepool.testing.gateway_protocol import UpdateVoiceState
    from voicepool.testing.gateway_session import GatewaySession
    from voicepool.testing.guild_world import World

_LOGGER: Final = logging.getLogger("voicepool.testing.discord")
_MAX_OP4_KEPT: Final = 10_000


class VoiceGrant(Protocol):
    """What a voice server hands out for one join."""

    @property
    def endpoint(self) -> str:
        """Host and port, as VOICE_SERVER_UPDATE carries it."""

    @property
    def token(self) -> str:
        """The secret that the bot identifies with at the voice server."""


class VoiceServer(Protocol):
    """A voice server that FakeDiscord can send bots to; `DiscordVoiceServer` is one.

    A server may also have ``revoke(*, guild_id, user_id, code)``: it is called when its grant for a user is
    void, and should close the user's voice websocket with `code`. It may have
    ``set_channel_dave(channel_id, *, enabled)`` as well, called for stage channels, which are not encrypted.
    """

    @property
    def endpoint(self) -> str:
        """Host and port, without a scheme."""

    def grant(self, *, guild_id: int, channel_id: int, user_id: int, session_id: str) -> VoiceGrant:
        """Allow one user to identify for one channel with one session."""


class VoiceCloseCode(enum.IntEnum):
    """Why the main gateway ends a voice session (Opcodes and Status Codes, Voice Close Event Codes)."""

    DISCONNECTED = 4014
    """Left, kicked or moved."""
    CALL_TERMINATED = 4022
    """The guild got another voice server, or the channel was deleted."""


@dataclass(frozen=True, slots=True)
class _Grant:
    endpoint: str
    token: str = field(repr=False)


class NowhereVoiceServer:
    """Stands where no voice server is: bots get a token for an endpoint that nobody serves.

    Parameters
    ----------
    endpoint
        Host and port to announce. The default never resolves (RFC 2606 §2).
    """

    def __init__(self, endpoint: str = "voice.invalid:443") -> None:
        self.endpoint = endpoint

    def grant(self, *, guild_id: int, channel_id: int, user_id: int, session_id: str) -> VoiceGrant:
        """Hand out a token that is good for nothing."""
        del guild_id, channel_id, user_id, session_id
        return _Grant(self.endpoint, secrets.token_hex(8))


class Op4Outcome(enum.Enum):
    """What came of an op 4. The `REFUSED_*` and `IGNORED_*` ones look like silence to the bot."""

    JOINED = "joined"
    MOVED = "moved to another channel of the guild"
    LEFT = "left"
    UPDATED = "changed self_mute or self_deaf"
    IGNORED_SAME_CHANNEL = "already in this channel: no event"
    IGNORED_NOT_IN_VOICE = "left without being in voice: no event"
    REFUSED_UNKNOWN_GUILD = "the bot is not in that guild, or the guild belongs to another shard"
    REFUSED_UNKNOWN_CHANNEL = "that guild has no such voice channel"
    REFUSED_PERMISSION = "the bot lacks VIEW_CHANNEL or CONNECT"
    REFUSED_FULL = "the channel is full and the bot lacks MOVE_MEMBERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op4:
    """One op 4 as it arrived, and what came of it.

    Attributes
    ----------
    at_s
        Clock of the stand-in, seconds.
    """

    at_s: float
    bot_id: int
    guild_id: int
    channel_id: int | None
    self_mute: bool
    self_deaf: bool
    outcome: Op4Outcome


class VoiceDesk:
    """Answers op 4 and moves people about.

    Parameters
    ----------
    world, hub
        The state, and who hears of its changes.
    servers
        Voice servers; a guild gets one of them by its id, as with shards.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, world: World, hub: GatewayHub, servers: Sequence[VoiceServer], clock: Callable[[], float]
    ) -> None:
        self._world = world
        self._hub = hub
        self._servers = tuple(servers) or (NowhereVoiceServer(),)
        self._clock = clock
        self._server_of_guild: dict[int, VoiceServer | None] = {}
        self._op4_log: deque[Op4] = deque(maxlen=_MAX_OP4_KEPT)

    @property
    def op4_log(self) -> tuple[Op4, ...]:
        """The newest 10,000 op 4, oldest first."""
        return tuple(self._op4_log)

    def server_of(self, guild_id: int) -> VoiceServer | None:
        """Tell which voice server a guild has now; None while Discord is looking for a new one."""
        spread = self._servers[(guild_id >> 22) % len(self._servers)]
        return self._server_of_guild.get(guild_id, spread)

    def update(self, session: GatewaySession, message: UpdateVoiceState) -> None:
        """Carry out an op 4."""
        guild_id = int(message.guild_id)
        channel_id = None if message.channel_id is None else int(message.channel_id)
        outcome = self._update(session, guild_id, channel_id, message)
        entry = Op4(
            at_s=self._clock(),
            bot_id=session.bot.id,
            guild_id=guild_id,
            channel_id=channel_id,
            self_mute=message.self_mute,
            self_deaf=message.self_deaf,
            outcome=outcome,
        )
        self._op4_log.append(entry)
        _LOGGER.debug("op 4 of bot %s, guild %s: %s", entry.bot_id, guild_id, outcome.value)
        self._hub.changed()

    def _update(
        self, session: GatewaySession, guild_id: int, channel_id: int | None, message: UpdateVoiceState
    ) -> Op4Outcome:
        guild = self._world.guilds.get(guild_id)
        if guild is None or session.bot.id not in guild.members or not session.hears_of(guild_id):
            return Op4Outcome.REFUSED_UNKNOWN_GUILD
        state = self._world.voice_state(guild_id, session.bot.id)
        if channel_id is not None:
            wanted = VoiceState(
                guild_id=guild_id,
                channel_id=channel_id,
                user_id=session.bot.id,
                session_id=session.session_id,
                self_mute=message.self_mute,
                self_deaf=message.self_deaf,
            )
            return self._join(guild, state, wanted)
        if state is None:
            return Op4Outcome.IGNORED_NOT_IN_VOICE
        self.leave(state)
        return Op4Outcome.LEFT

    def _join(self, guild: Guild, state: VoiceState | None, wanted: VoiceState) -> Op4Outcome:
        channel = guild.channels.get(wanted.channel_id)
        if channel is None or not channel.is_voice:
            return Op4Outcome.REFUSED_UNKNOWN_CHANNEL
        if state is not None and (state.channel_id, state.session_id) == (channel.id, wanted.session_id):
            if (state.self_mute, state.self_deaf) == (wanted.self_mute, wanted.self_deaf):
                return Op4Outcome.IGNORED_SAME_CHANNEL
            self.change(replace(state, self_mute=wanted.self_mute, self_deaf=wanted.self_deaf))
            return Op4Outcome.UPDATED
        refusal = self._refusal(guild, channel, guild.members[wanted.user_id])
        if refusal is not None:
            return refusal
        self.place(wanted)
        return Op4Outcome.JOINED if state is None else Op4Outcome.MOVED

    def _refusal(self, guild: Guild, channel: Channel, member: Member) -> Op4Outcome | None:
        permissions = guild.permissions_of(member, channel)
        if (Permission.VIEW_CHANNEL | Permission.CONNECT) not in permissions:
            return Op4Outcome.REFUSED_PERMISSION
        others = sum(
            state.user_id != member.user.id
            for state in self._world.voice_states(guild_id=guild.id, channel_id=channel.id)
        )
        if channel.user_limit and others >= channel.user_limit and Permission.MOVE_MEMBERS not in permissions:
            return Op4Outcome.REFUSED_FULL
        return None

    def place(self, state: VoiceState) -> None:
        """Put someone into a channel, from nowhere or from another channel, whatever the rules say.

        A bot is told of its voice server as well, with a new token: an old one is never good again.
        """
        guild = self._world.guild(state.guild_id)
        channel = self._world.voice_channel(state.guild_id, state.channel_id)
        member = self._world.member(state.guild_id, state.user_id)
        if self._world.voice_state(state.guild_id, state.user_id) is not None:
            self._revoke(state.guild_id, state.user_id)
        on_stage = channel.type is ChannelType.STAGE
        speaks = Permission.MUTE_MEMBERS in guild.permissions_of(member, channel)
        self.change(replace(state, suppress=on_stage and not speaks, request_to_speak_timestamp=None))
        self.announce_server(state)

    def change(self, state: VoiceState) -> None:
        """Set a voice state and tell everyone; nothing else follows."""
        self._world.put_voice_state(state)
        self._publish_state(state)

    def leave(self, state: VoiceState, code: VoiceCloseCode = VoiceCloseCode.DISCONNECTED) -> None:
        """Take someone out of voice and tell everyone; the voice websocket is closed with `code`."""
        self._world.remove_voice_state(state.guild_id, state.user_id)
        self._revoke(state.guild_id, state.user_id, code)
        self._publish_state(state, left=True)

    def leave_all_of(self, session: GatewaySession) -> None:
        """Take a bot out of every channel that a dead session had joined."""
        for state in self._world.voice_states(session_id=session.session_id):
            self.leave(state)

    def announce_server(self, state: VoiceState) -> None:
        """Send a bot its voice server and a new token; nothing for members that are not bots.

        While the guild has no server the endpoint is null (Gateway Events, Voice Server Update).
        """
        if not isinstance(self._world.member(state.guild_id, state.user_id).user, BotUser):
            return
        server = self.server_of(state.guild_id)
        if server is None:
            endpoint, token = None, secrets.token_hex(8)
        else:
            self._tell_of_stage(server, state)
            grant = server.grant(
                guild_id=state.guild_id,
                channel_id=state.channel_id,
                user_id=state.user_id,
                session_id=state.session_id,
            )
            endpoint, token = grant.endpoint, grant.token
        data = {"token": token, "guild_id": str(state.guild_id), "endpoint": endpoint}
        self._hub.publish(
            Event(
                name="VOICE_SERVER_UPDATE",
                data=data,
                guild_id=state.guild_id,
                user_id=state.user_id,
                session_id=state.session_id,
            )
        )

    def delete_channel(self, guild_id: int, channel_id: int) -> None:
        """Delete a channel, tell everyone, and take those out of voice who are in it."""
        guild = self._world.guild(guild_id)
        channel = guild.channels.pop(channel_id)
        self._publish_channel("CHANNEL_DELETE", guild_id, channel)
        for state in tuple(self._world.voice_states(guild_id=guild_id, channel_id=channel_id)):
            self.leave(state, VoiceCloseCode.CALL_TERMINATED)

    def publish_channel(self, guild_id: int, channel: Channel) -> None:
        """Tell everyone that a channel has changed."""
        self._publish_channel("CHANNEL_UPDATE", guild_id, channel)

    def change_server(self, guild_id: int, server: VoiceServer | None) -> None:
        """Give a guild another voice server (None: none for now) and tell every bot in voice there."""
        states = tuple(self._world.voice_states(guild_id=self._world.guild(guild_id).id))
        for state in states:
            self._revoke(guild_id, state.user_id, VoiceCloseCode.CALL_TERMINATED)
        self._server_of_guild[guild_id] = server
        for state in states:
            self.announce_server(state)

    def next_server(self, guild_id: int) -> VoiceServer:
        """Return another voice server than the guild has, the next in the order they were given.

        Raises
        ------
        LookupError
            If there is no other.
        """
        here = self.server_of(self._world.guild(guild_id).id)
        at = self._servers.index(here) if here in self._servers else -1
        there = self._servers[(at + 1) % len(self._servers)]
        if there is here:
            raise LookupError("there is no other voice server: give FakeDiscord two or more `voice_servers`")
        return there

    def server_at(self, endpoint: str) -> VoiceServer:
        """Find the voice server of an endpoint; one that nobody serves if there is none."""
        known = (server for server in self._servers if server.endpoint == endpoint)
        return next(known, None) or NowhereVoiceServer(endpoint)

    def _publish_channel(self, name: str, guild_id: int, channel: Channel) -> None:
        data = channel_object(channel, guild_id=guild_id)
        self._hub.publish(Event(name=name, data=data, guild_id=guild_id, intent=Intents.GUILDS))

    def _tell_of_stage(self, server: VoiceServer, state: VoiceState) -> None:
        channel = self._world.voice_channel(state.guild_id, state.channel_id)
        set_channel_dave = getattr(server, "set_channel_dave", None)
        if channel.type is ChannelType.STAGE and set_channel_dave is not None:
            set_channel_dave(channel.id, enabled=False)

    def _publish_state(self, state: VoiceState, *, left: bool = False) -> None:
        member = self._world.member(state.guild_id, state.user_id)
        self._hub.publish(
            Event(
                name="VOICE_STATE_UPDATE",
                data=voice_state_object(state, member, left=left),
                guild_id=state.guild_id,
                user_id=state.user_id,
                intent=Intents.GUILD_VOICE_STATES,
            )
        )

    def _revoke(
        self, guild_id: int, user_id: int, code: VoiceCloseCode = VoiceCloseCode.DISCONNECTED
    ) -> None:
        revoke = getattr(self.server_of(guild_id), "revoke", None)
        if revoke is not None:
            revoke(guild_id=guild_id, user_id=user_id, code=code)
