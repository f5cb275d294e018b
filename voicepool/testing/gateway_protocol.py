"""[pure] The main gateway's wire language: opcodes, close codes, intents, what a client may send.

A frame becomes one of the `ClientMessage` structs or a `ProtocolError` with the close code that Discord's
documentation gives for it (Opcodes and Status Codes, Gateway Close Event Codes). Nothing here keeps state
except `SendBudget`, the limit on how much a client may send.
"""

from __future__ import annotations

__all__ = [
    "GATEWAY_VERSION",
    "MAX_CLIENT_PAYLOAD_BYTES",
    "PRIVILEGED_INTENTS",
    "ClientMessage",
    "CloseCode",
    "ConnectOptions",
    "Heartbeat",
    "Identify",
    "Intents",
    "Opcode",
    "Other",
    "ProtocolError",
    "RequestMembers",
    "Resume",
    "SendBudget",
    "UpdateVoiceState",
    "check_intents",
    "decode_client_message",
    "encode_dispatch",
    "encode_message",
    "parse_connect_query",
    "shard_of",
]

import enum
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY_VERSION: Final = 10
MAX_CLIENT_PAYLOAD_BYTES: Final = 4096
"""Gateway, Sending Events."""
_BUDGET_MESSAGES: Final = 120
_BUDGET_WINDOW_S: Final = 60.0
"""Gateway, Rate Limiting: 120 events in 60 seconds, heartbeats included."""


class Opcode(enum.IntEnum):
    """Gateway opcodes (Opcodes and Status Codes, Gateway Opcodes)."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE_UPDATE = 3
    VOICE_STATE_UPDATE = 4
    RESUME = 6
    RECONNECT = 7
    REQUEST_GUILD_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11
    REQUEST_SOUNDBOARD_SOUNDS = 31
    REQUEST_CHANNEL_INFO = 43


class CloseCode(enum.IntEnum):
    """Close codes of the main gateway (Opcodes and Status Codes, Gateway Close Event Codes)."""

    GOING_AWAY = 1001
    UNKNOWN_ERROR = 4000
    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    INVALID_SEQ = 4007
    RATE_LIMITED = 4008
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    SHARDING_REQUIRED = 4011
    INVALID_API_VERSION = 4012
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


class Intents(enum.IntFlag):
    """Every gateway intent (Gateway, List of Intents)."""

    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_MODERATION = 1 << 2
    GUILD_EXPRESSIONS = 1 << 3
    GUILD_INTEGRATIONS = 1 << 4
    GUILD_WEBHOOKS = 1 << 5
    GUILD_INVITES = 1 << 6
    GUILD_VOICE_STATES = 1 << 7
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15
    GUILD_SCHEDULED_EVENTS = 1 << 16
    AUTO_MODERATION_CONFIGURATION = 1 << 20
    AUTO_MODERATION_EXECUTION = 1 << 21
    GUILD_MESSAGE_POLLS = 1 << 24
    DIRECT_MESSAGE_POLLS = 1 << 25


PRIVILEGED_INTENTS: Final = Intents.GUILD_MEMBERS | Intents.GUILD_PRESENCES | Intents.MESSAGE_CONTENT
_KNOWN_INTENTS: Final = sum(Intents)


class ProtocolError(Exception):
    """The client broke the protocol; the connection closes with `code`.

    Parameters
    ----------
    code
        The close code.
    reason
        One sentence on what was wrong; it quotes nothing that the client sent as a secret.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_Snowflake = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}$")]
"""Clients send ids as strings or as numbers (discord.py does); Discord takes both."""


class _Envelope(msgspec.Struct):
    op: int
    d: msgspec.Raw = msgspec.Raw(b"null")


class Heartbeat(msgspec.Struct, frozen=True):
    """Op 1: `seq` is the last sequence number that the client has seen."""

    seq: int | None


class Identify(msgspec.Struct, frozen=True):
    """Op 2 (Gateway Events, Identify). `token` is secret, so the struct has no readable repr."""

    token: str
    intents: int | None = None
    properties: dict[str, Any] = {}
    compress: bool = False
    large_threshold: Annotated[int, msgspec.Meta(ge=50, le=250)] = 50
    shard: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Identify(intents={self.intents}, shard={self.shard})"


class UpdateVoiceState(msgspec.Struct, frozen=True):
    """Op 4 (Gateway Events, Update Voice State). A null channel leaves."""

    guild_id: _Snowflake
    channel_id: _Snowflake | None
    self_mute: bool = False
    self_deaf: bool = False


class Resume(msgspec.Struct, frozen=True):
    """Op 6 (Gateway Events, Resume). `token` and `session_id` are secret."""

    token: str
    session_id: str
    seq: int

    def __repr__(self) -> str:
        return f"Resume(seq={self.seq})"


class RequestMembers(msgspec.Struct, frozen=True):
    """Op 8 (Gateway Events, Request Guild Members)."""

    guild_id: _Snowflake
    query: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    user_ids: _Snowflake | list[_Snowflake] | None = None
    presences: bool = False
    nonce: str | None = None


class Other(msgspec.Struct, frozen=True):
    """An opcode that a client may send and that the stand-in has no answer to (presence and the like)."""

    op: int


ClientMessage = Heartbeat | Identify | UpdateVoiceState | Resume | RequestMembers | Other

_BODIES: Final[dict[Opcode, type[Identify | UpdateVoiceState | Resume | RequestMembers]]] = {
    Opcode.IDENTIFY: Identify,
    Opcode.VOICE_STATE_UPDATE: UpdateVoiceState,
    Opcode.RESUME: Resume,
    Opcode.REQUEST_GUILD_MEMBERS: RequestMembers,
}
_UNANSWERED: Final = frozenset(
    {Opcode.PRESENCE_UPDATE, Opcode.REQUEST_SOUNDBOARD_SOUNDS, Opcode.REQUEST_CHANNEL_INFO}
)


def decode_client_message(frame: bytes) -> ClientMessage:
    """Read one frame from a client, text and binary alike.

    Raises
    ------
    ProtocolError
        4001 for an opcode that clients do not send, 4002 for anything that does not decode or is too long.
    """
    if len(frame) > MAX_CLIENT_PAYLOAD_BYTES:
        reason = f"payload of {len(frame)} bytes: a client may send {MAX_CLIENT_PAYLOAD_BYTES} at most"
        raise ProtocolError(CloseCode.DECODE_ERROR, reason)
    try:
        envelope = msgspec.json.decode(frame, type=_Envelope)
    except msgspec.DecodeError as error:
        raise ProtocolError(CloseCode.DECODE_ERROR, f"not a gateway payload: {error}") from None
    try:
        if envelope.op == Opcode.HEARTBEAT:
            return Heartbeat(msgspec.json.decode(envelope.d, type=int | None))
        if envelope.op in _UNANSWERED:
            return Other(envelope.op)
        if envelope.op in _BODIES:
            return msgspec.json.decode(envelope.d, type=_BODIES[Opcode(envelope.op)])
    except msgspec.DecodeError as error:
        # msgspec names fields and types, never values, so that no token can get into the reason.
        raise ProtocolError(CloseCode.DECODE_ERROR, f"bad data in op {envelope.op}: {error}") from None
    raise ProtocolError(CloseCode.UNKNOWN_OPCODE, f"op {envelope.op} is not one that a client sends")


class ConnectOptions(msgspec.Struct, frozen=True):
    """What the query string of the gateway URL asked for."""

    compress: str | None


def parse_connect_query(query: Mapping[str, str]) -> ConnectOptions:
    """Check the query string of a gateway connection (Gateway, Gateway URL Query String Params).

    Raises
    ------
    ProtocolError
        4012 for another version than 10, 4002 for another encoding than JSON.
    """
    version, encoding = query.get("v", ""), query.get("encoding", "json")
    if version != str(GATEWAY_VERSION):
        reason = f"the gateway speaks v={GATEWAY_VERSION}: the URL asked for v={version or '(nothing)'}"
        raise ProtocolError(CloseCode.INVALID_API_VERSION, reason)
    if encoding != "json":
        reason = f"the stand-in speaks encoding=json: the URL asked for {encoding}"
        raise ProtocolError(CloseCode.DECODE_ERROR, reason)
    return ConnectOptions(compress=query.get("compress"))


def check_intents(intents: int | None, *, allows_privileged: bool) -> Intents:
    """Check the intents of an IDENTIFY.

    Raises
    ------
    ProtocolError
        4013 if they are missing or hold unknown bits, 4014 if one of them is not switched on for the bot.
    """
    if intents is None or intents < 0 or intents & ~_KNOWN_INTENTS:
        shown = "missing" if intents is None else f"{intents} has unknown bits"
        raise ProtocolError(CloseCode.INVALID_INTENTS, f"intents: {shown}")
    privileged = Intents(intents) & PRIVILEGED_INTENTS
    if privileged and not allows_privileged:
        raise ProtocolError(
            CloseCode.DISALLOWED_INTENTS, f"privileged intents not switched on: {privileged!r}"
        )
    return Intents(intents)


def shard_of(guild_id: int, shard_count: int) -> int:
    """Tell which shard hears of a guild (Gateway, Sharding Formula)."""
    return (guild_id >> 22) % shard_count


def encode_message(op: Opcode, data: object = None) -> bytes:
    """Encode anything that is not a dispatch."""
    return msgspec.json.encode({"op": int(op), "d": data, "s": None, "t": None})


def encode_dispatch(name: str, seq: int, data: msgspec.Raw) -> bytes:
    """Encode op 0 around data that is already JSON, since one event goes to many sessions."""
    return msgspec.json.encode({"op": int(Opcode.DISPATCH), "d": data, "s": seq, "t": name})


class SendBudget:
    """How much a client may still send on one connection: 120 messages in any 60 s."""

    def __init__(self) -> None:
        self._sent_at_s: deque[float] = deque()

    def spend(self, now: float) -> None:
        """Count one message received at `now` (seconds, monotonic).

        Raises
        ------
        ProtocolError
            4008 beyond the limit.
        """
        while self._sent_at_s and now - self._sent_at_s[0] >= _BUDGET_WINDOW_S:
            self._sent_at_s.popleft()
        if len(self._sent_at_s) >= _BUDGET_MESSAGES:
            reason = f"more than {_BUDGET_MESSAGES} messages in {_BUDGET_WINDOW_S:.0f} s"
            raise ProtocolError(CloseCode.RATE_LIMITED, reason)
        self._sent_at_s.append(now)
