"""The JSON bodies of the voice gateway.

A message is read in two steps: first the envelope, whose ``d`` stays undecoded, then ``d`` with the decoder
of its opcode. So an unknown opcode costs nothing, and a bad body spoils its own message only.

Numbers that Discord writes as strings (snowflakes) are read either way. Tokens, session ids and keys are
left out of every ``repr`` here, so that a log line or a traceback cannot carry one off.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = [
    "ACK_DECODER",
    "CLIENTS_CONNECT_DECODER",
    "CLIENT_DISCONNECT_DECODER",
    "ENVELOPE_DECODER",
    "HELLO_DECODER",
    "KEY_BYTES",
    "READY_DECODER",
    "SEQ_MAX",
    "SESSION_DESCRIPTION_DECODER",
    "SPEAKING_DECODER",
    "ClientDisconnectBody",
    "ClientsConnectBody",
    "Envelope",
    "HeartbeatAckBody",
    "HeartbeatBody",
    "HelloBody",
    "IdentifyBody",
    "ReadyBody",
    "Redacted",
    "ResumeBody",
    "SelectProtocolBody",
    "SelectProtocolData",
    "SessionDescriptionBody",
    "SpeakingBody",
    "SpeakingNotice",
    "encode_message",
]

KEY_BYTES: Final = 32
SEQ_MAX: Final = 0xFFFF
"""Sequence numbers are unsigned, of 16 bits (Voice Connections, Binary Websocket Messages)."""

_SECRET_FIELDS: Final = frozenset({"token", "session_id", "secret_key"})

_Uint32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]
_Snowflake = Annotated[int, msgspec.Meta(ge=0)]
_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_IntervalMs = Annotated[float, msgspec.Meta(gt=0, le=3_600_000)]


class Redacted(msgspec.Struct, frozen=True):
    """Base of the Structs that hold a secret: shows its fields, but stars for the secret ones."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in _SECRET_FIELDS else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Envelope(msgspec.Struct, frozen=True):
    """Any message; ``seq`` is present on those that a resume would send again."""

    op: int
    d: msgspec.Raw = msgspec.Raw(b"null")
    seq: int | None = None


# Client to server.


class IdentifyBody(Redacted, frozen=True):
    """Opcode 0."""

    server_id: str
    user_id: str
    session_id: str
    token: str
    max_dave_protocol_version: int


class ResumeBody(Redacted, frozen=True):
    """Opcode 7; ``seq_ack`` is -1 if no numbered message has been received."""

    server_id: str
    session_id: str
    token: str
    seq_ack: int


class SelectProtocolData(msgspec.Struct, frozen=True):
    """Where our UDP socket is seen from outside, and the encryption mode of its packets."""

    address: str
    port: int
    mode: str


class SelectProtocolBody(msgspec.Struct, frozen=True):
    """Opcode 1."""

    protocol: str
    data: SelectProtocolData


class HeartbeatBody(msgspec.Struct, frozen=True):
    """Opcode 3; ``t`` comes back in the ACK."""

    t: int
    seq_ack: int


class SpeakingBody(msgspec.Struct, frozen=True):
    """Opcode 5, ours; bots set ``delay`` to 0 (Voice Connections, Speaking)."""

    speaking: int
    delay: int
    ssrc: int


# Server to client.


class HelloBody(msgspec.Struct, frozen=True):
    """Opcode 8; ``heartbeat_interval`` in milliseconds."""

    heartbeat_interval: _IntervalMs


class ReadyBody(msgspec.Struct, frozen=True):
    """Opcode 2. Its own ``heartbeat_interval`` is wrong and not read (Voice Connections)."""

    ssrc: _Uint32
    ip: str
    port: _Port
    modes: tuple[str, ...]


class SessionDescriptionBody(Redacted, frozen=True):
    """Opcode 4; ``secret_key`` is an array of bytes."""

    mode: str
    secret_key: Annotated[tuple[_Byte, ...], msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    dave_protocol_version: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] = 0


class HeartbeatAckBody(msgspec.Struct, frozen=True):
    """Opcode 6."""

    t: int


class SpeakingNotice(msgspec.Struct, frozen=True):
    """Opcode 5 of someone else: from now on this SSRC is that user."""

    user_id: _Snowflake
    ssrc: _Uint32
    speaking: _Uint32 = 0


class ClientsConnectBody(msgspec.Struct, frozen=True):
    """Opcode 11: who is in the call; their SSRCs are not told."""

    user_ids: tuple[_Snowflake, ...]


class ClientDisconnectBody(msgspec.Struct, frozen=True):
    """Opcode 13."""

    user_id: _Snowflake


_Body = TypeVar("_Body")


def _lenient(body: type[_Body]) -> msgspec.json.Decoder[_Body]:
    return msgspec.json.Decoder(body, strict=False)


ENVELOPE_DECODER: Final = msgspec.json.Decoder(Envelope)
HELLO_DECODER: Final = _lenient(HelloBody)
READY_DECODER: Final = _lenient(ReadyBody)
SESSION_DESCRIPTION_DECODER: Final = _lenient(SessionDescriptionBody)
ACK_DECODER: Final = _lenient(HeartbeatAckBody)
SPEAKING_DECODER: Final = _lenient(SpeakingNotice)
CLIENTS_CONNECT_DECODER: Final = _lenient(ClientsConnectBody)
CLIENT_DISCONNECT_DECODER: Final = _lenient(ClientDisconnectBody)

_ENCODER: Final = msgspec.json.Encoder()


class _Message(msgspec.Struct, frozen=True):
    op: int
    d: msgspec.Struct

    def __repr__(self) -> str:
        return f"_Message(op={self.op})"


def encode_message(opcode: VoiceOpcode, body: msgspec.Struct) -> str:
    """Return the text frame for one of our messages."""
    return _ENCODER.encode(_Message(op=int(opcode), d=body)).decode()
