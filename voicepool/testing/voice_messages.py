"""[pure] The voice gateway's vocabulary, version 8: opcodes, close codes, what a client may send.

Everything a client sends is checked field by field. What does not fit raises `Refusal`, which carries
the documented close code and a sentence that tells the author of the client what to change. The sentences
never repeat tokens or session ids.

Sources: Discord's "Voice" topic and "Opcodes and Status Codes, Voice".
"""

from __future__ import annotations

__all__ = (
    "CloseCode",
    "Heartbeat",
    "Identify",
    "Opcode",
    "Refusal",
    "Resume",
    "SelectProtocol",
    "Speaking",
    "decode",
    "encode",
    "parse_heartbeat",
    "parse_identify",
    "parse_resume",
    "parse_select_protocol",
    "parse_speaking",
)

import enum
import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

_MAX_SNOWFLAKE = 2**64 - 1
_SNOWFLAKE_DIGITS = len(str(_MAX_SNOWFLAKE))
_MAX_SSRC = 2**32 - 1
_MAX_PORT = 2**16 - 1
_MAX_SEQUENCE = 2**16 - 1
_MAX_SPEAKING = 0b111


class Opcode(enum.IntEnum):
    """Opcodes of the voice gateway; those of DAVE (21 to 31) are in `DaveOpcode`."""

    IDENTIFY = 0
    SELECT_PROTOCOL = 1
    READY = 2
    HEARTBEAT = 3
    SESSION_DESCRIPTION = 4
    SPEAKING = 5
    HEARTBEAT_ACK = 6
    RESUME = 7
    HELLO = 8
    RESUMED = 9
    CLIENTS_CONNECT = 11
    VIDEO = 12
    """Sent by clients with a camera and by old bots to announce their SSRCs; undocumented, ignored."""
    CLIENT_DISCONNECT = 13


class CloseCode(enum.IntEnum):
    """Close codes of the voice gateway; `reason` is what goes over the wire with them."""

    UNKNOWN_OPCODE = 4001
    FAILED_TO_DECODE = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    SESSION_INVALID = 4006
    SESSION_TIMEOUT = 4009
    SERVER_NOT_FOUND = 4011
    UNKNOWN_PROTOCOL = 4012
    DISCONNECTED = 4014
    SERVER_CRASHED = 4015
    UNKNOWN_ENCRYPTION_MODE = 4016
    DAVE_REQUIRED = 4017
    BAD_REQUEST = 4020
    RATE_LIMITED = 4021
    CALL_TERMINATED = 4022

    @property
    def reason(self) -> str:
        """Short text for the close frame (at most 123 bytes, RFC 6455 §5.5.1)."""
        return self.name.replace("_", " ").capitalize()


class Refusal(Exception):  # noqa: N818 -- the server's own word for its answer, not an error of ours
    """The client broke a rule; the server closes its websocket.

    Attributes
    ----------
    code : CloseCode
        Close code to send.
    sentence : str
        What was wrong and what would be right; free of secrets.
    """

    def __init__(self, code: CloseCode, sentence: str) -> None:
        super().__init__(f"{code.value} {code.reason}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Identify:
    """Opcode 0: who the client says it is. Secrets stay out of the repr."""

    guild_id: int
    user_id: int
    session_id: str = field(repr=False)
    token: str = field(repr=False)
    max_dave_protocol_version: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Opcode 7: which session to go on with; `seq_ack` is -1 when nothing numbered was received."""

    guild_id: int
    session_id: str = field(repr=False)
    token: str = field(repr=False)
    seq_ack: int


@dataclass(frozen=True, slots=True)
class SelectProtocol:
    """Opcode 1: where the client receives UDP, and how it encrypts."""

    address: str
    port: int
    mode: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Opcode 3: nonce to send back; `seq_ack` is None when the client left it out."""

    nonce: int
    seq_ack: int | None


@dataclass(frozen=True, slots=True)
class Speaking:
    """Opcode 5: flags (1 microphone, 2 soundshare, 4 priority) and the SSRC they are for."""

    flags: int
    ssrc: int


def encode(opcode: enum.IntEnum, data: object, sequence: int | None = None) -> str:
    """Return one server message as JSON text; `sequence` numbers it for a later resume."""
    message: dict[str, object] = {"op": int(opcode), "d": data}
    if sequence is not None:
        message["seq"] = sequence
    return json.dumps(message, separators=(",", ":"))


def decode(text: str) -> tuple[int, object]:
    """Return opcode and data of one client message.

    Raises
    ------
    Refusal
        4002 when the text is no JSON object with an integer ``op`` and a ``d``.
    """
    try:
        message = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(CloseCode.FAILED_TO_DECODE, "a message was not valid JSON") from error
    if not isinstance(message, dict):
        _undecodable(f"a message was a JSON {_kind(message)}; send an object with `op` and `d`")
    opcode = message.get("op")
    if not _is_int(opcode):
        _undecodable(f"`op` was {_kind(opcode)}; send an integer")
    if "d" not in message:
        _undecodable(f"the message with op {opcode} had no `d`")
    return opcode, message["d"]


def parse_identify(data: object) -> Identify:
    """Check the data of opcode 0; raises `Refusal` 4002, documented for a malformed identify."""
    fields = _Fields("Identify", data, CloseCode.FAILED_TO_DECODE)
    return Identify(
        guild_id=fields.snowflake("server_id"),
        user_id=fields.snowflake("user_id"),
        session_id=fields.text("session_id"),
        token=fields.text("token"),
        max_dave_protocol_version=fields.integer("max_dave_protocol_version", 0, 0xFFFF, default=0),
    )


def parse_resume(data: object) -> Resume:
    """Check the data of opcode 7; raises `Refusal` 4020."""
    fields = _Fields("Resume", data, CloseCode.BAD_REQUEST)
    return Resume(
        guild_id=fields.snowflake("server_id"),
        session_id=fields.text("session_id"),
        token=fields.text("token"),
        seq_ack=fields.integer("seq_ack", -1, _MAX_SEQUENCE, default=-1),
    )


def parse_select_protocol(data: object) -> SelectProtocol:
    """Check the data of opcode 1; raises `Refusal` 4012 for a protocol other than udp, else 4020."""
    fields = _Fields("Select Protocol", data, CloseCode.BAD_REQUEST)
    protocol = fields.text("protocol")
    if protocol != "udp":
        raise Refusal(
            CloseCode.UNKNOWN_PROTOCOL,
            f"Select Protocol asked for protocol {protocol[:32]!r}; this server speaks 'udp'",
        )
    inner = _Fields("Select Protocol `data`", fields.raw("data"), CloseCode.BAD_REQUEST)
    address = inner.text("address")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        inner.refuse("address", "an IP address, as IP discovery returned it", address[:64])
    return SelectProtocol(
        address=address,
        port=inner.integer("port", 1, _MAX_PORT),
        mode=inner.text("mode"),
    )


def parse_heartbeat(data: object) -> Heartbeat:
    """Check the data of opcode 3; raises `Refusal` 4020 (which Discord sends for the body used before v8)."""
    if _is_int(data):
        raise Refusal(
            CloseCode.BAD_REQUEST,
            "a heartbeat's `d` was an integer; since gateway version 8 it is an object {t, seq_ack}",
        )
    fields = _Fields("Heartbeat", data, CloseCode.BAD_REQUEST)
    return Heartbeat(
        nonce=fields.integer("t", -_MAX_SNOWFLAKE, _MAX_SNOWFLAKE),
        seq_ack=fields.integer("seq_ack", -1, _MAX_SEQUENCE) if fields.has("seq_ack") else None,
    )


def parse_speaking(data: object) -> Speaking:
    """Check the data of opcode 5; raises `Refusal` 4020."""
    fields = _Fields("Speaking", data, CloseCode.BAD_REQUEST)
    fields.integer("delay", 0, _MAX_SSRC, default=0)
    return Speaking(
        flags=fields.integer("speaking", 0, _MAX_SPEAKING),
        ssrc=fields.integer("ssrc", 0, _MAX_SSRC),
    )


class _Fields:
    """Reads one JSON object; every complaint names the message, the field and what is expected."""

    def __init__(self, message: str, data: object, code: CloseCode) -> None:
        self._message = message
        self._code = code
        if not isinstance(data, dict):
            raise Refusal(code, f"{message} was {_kind(data)}; send an object")
        self._data: dict[str, Any] = data

    def has(self, name: str) -> bool:
        return name in self._data

    def raw(self, name: str) -> object:
        if name not in self._data:
            raise Refusal(self._code, f"{self._message} has no `{name}`")
        value: object = self._data[name]
        return value

    def text(self, name: str) -> str:
        value = self.raw(name)
        if not isinstance(value, str) or not value:
            self.refuse(name, "a non-empty string", _kind(value))
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        value = self.raw(name)
        if not _is_int(value):
            self.refuse(name, "an integer", _kind(value))
        if not low <= value <= high:
            self.refuse(name, f"an integer from {low} to {high}", "out of range")
        return value

    def snowflake(self, name: str) -> int:
        value = self.raw(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _SNOWFLAKE_DIGITS:
            value = int(value)
        if not _is_int(value) or not 0 <= value <= _MAX_SNOWFLAKE:
            self.refuse(name, "a snowflake (a decimal string)", _kind(value))
        return value

    def refuse(self, name: str, expected: str, got: str) -> NoReturn:
        raise Refusal(self._code, f"{self._message} needs `{name}` as {expected}; it was {got}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    if value is None:
        return "null or missing"
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _undecodable(sentence: str) -> NoReturn:
    raise Refusal(CloseCode.FAILED_TO_DECODE, sentence)
