"""Bodies of opcodes 21 to 31: what the server's say, and ours ready for the websocket [pure].

Sources: DAVE protocol, Voice Gateway Opcodes; Voice Connections, Binary Websocket Messages. A message of ours
in binary has no sequence number, and MLS structures follow each other without lengths between.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = [
    "BodyError",
    "DaveReply",
    "ExecuteTransitionBody",
    "PrepareEpochBody",
    "PrepareTransitionBody",
    "commit_welcome_reply",
    "invalid_reply",
    "key_package_reply",
    "read_execute_transition",
    "read_mls_transition",
    "read_prepare_epoch",
    "read_prepare_transition",
    "read_proposals_operation",
    "ready_reply",
]

TransitionId = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Version = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Epoch = Annotated[int, msgspec.Meta(ge=0)]
_TRANSITION_ID_BYTES: Final = 2
_APPEND: Final = 0
_REVOKE: Final = 1


class BodyError(ValueError):
    """A body that cannot be read."""


class PrepareTransitionBody(msgspec.Struct, frozen=True):
    """Opcode 21."""

    transition_id: TransitionId
    protocol_version: _Version


class ExecuteTransitionBody(msgspec.Struct, frozen=True):
    """Opcode 22."""

    transition_id: TransitionId


class PrepareEpochBody(msgspec.Struct, frozen=True):
    """Opcode 24; the transition id is in Discord's documentation but not in the whitepaper."""

    protocol_version: _Version
    epoch: _Epoch
    transition_id: TransitionId | None = None


class DaveReply(msgspec.Struct, frozen=True):
    """A message of ours.

    Attributes
    ----------
    opcode
        23, 26, 28 or 31.
    data
        The frame: str for a text frame, bytes for a binary one.
    """

    opcode: int
    data: str | bytes

    def __repr__(self) -> str:
        return f"DaveReply(opcode={self.opcode}, {len(self.data)} {'chars' if self.is_text else 'bytes'})"

    @property
    def is_text(self) -> bool:
        """Whether it goes into a text frame."""
        return isinstance(self.data, str)


_PREPARE_TRANSITION: Final = msgspec.json.Decoder(PrepareTransitionBody, strict=False)
_EXECUTE_TRANSITION: Final = msgspec.json.Decoder(ExecuteTransitionBody, strict=False)
_PREPARE_EPOCH: Final = msgspec.json.Decoder(PrepareEpochBody, strict=False)
_ENCODER: Final = msgspec.json.Encoder()
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)

_Body = TypeVar("_Body")


def read_prepare_transition(payload: bytes) -> PrepareTransitionBody:
    """Read opcode 21, or raise `BodyError`."""
    return _read(_PREPARE_TRANSITION, payload)


def read_execute_transition(payload: bytes) -> ExecuteTransitionBody:
    """Read opcode 22, or raise `BodyError`."""
    return _read(_EXECUTE_TRANSITION, payload)


def read_prepare_epoch(payload: bytes) -> PrepareEpochBody:
    """Read opcode 24, or raise `BodyError`."""
    return _read(_PREPARE_EPOCH, payload)


def read_proposals_operation(payload: bytes) -> tuple[bool, bytes]:
    """Split opcode 27 into whether it revokes, and the vector of what; or raise `BodyError`."""
    if not payload or payload[0] not in {_APPEND, _REVOKE}:
        raise BodyError("proposals that are neither to append nor to revoke")
    return payload[0] == _REVOKE, payload[1:]


def read_mls_transition(payload: bytes) -> tuple[int, bytes]:
    """Split opcode 29 or 30 into transition id and MLS structure; or raise `BodyError`."""
    if len(payload) < _TRANSITION_ID_BYTES:
        raise BodyError("no transition id")
    return int.from_bytes(payload[:_TRANSITION_ID_BYTES]), payload[_TRANSITION_ID_BYTES:]


def ready_reply(transition_id: int) -> DaveReply:
    """Opcode 23: ready for this transition."""
    return _text(VoiceOpcode.DAVE_TRANSITION_READY, transition_id)


def invalid_reply(transition_id: int) -> DaveReply:
    """Opcode 31: this transition's commit or welcome could not be processed."""
    return _text(VoiceOpcode.DAVE_MLS_INVALID_COMMIT_WELCOME, transition_id)


def key_package_reply(key_package: bytes) -> DaveReply:
    """Opcode 26."""
    return _binary(VoiceOpcode.DAVE_MLS_KEY_PACKAGE, key_package)


def commit_welcome_reply(commit: bytes, welcome: bytes) -> DaveReply:
    """Opcode 28: the commit, and right after it the welcome, if there is one."""
    return _binary(VoiceOpcode.DAVE_MLS_COMMIT_WELCOME, commit + welcome)


def _read(decoder: msgspec.json.Decoder[_Body], payload: bytes) -> _Body:
    try:
        return decoder.decode(payload)
    except _UNREADABLE as error:
        raise BodyError(str(error)) from None


def _text(opcode: VoiceOpcode, transition_id: int) -> DaveReply:
    message = {"op": int(opcode), "d": {"transition_id": transition_id}}
    return DaveReply(opcode=int(opcode), data=_ENCODER.encode(message).decode())


def _binary(opcode: VoiceOpcode, payload: bytes) -> DaveReply:
    return DaveReply(opcode=int(opcode), data=bytes((opcode,)) + payload)
