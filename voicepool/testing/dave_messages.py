"""[pure] The voice gateway's DAVE opcodes, 21 to 31: what the server sends, what a client may send.

Texts are JSON like every other opcode's; binaries are an opcode byte and a payload, after a 16-bit sequence
number if they come from the server. Who sends and numbers them is not decided here.

Source: DAVE whitepaper, "Voice Gateway Opcodes"; "Voice Connections, Binary Websocket Messages".
"""

from __future__ import annotations

__all__ = (
    "DaveBinary",
    "DaveMessage",
    "DaveOpcode",
    "DaveText",
    "announce_commit",
    "append_proposals",
    "execute_transition",
    "external_sender",
    "parse_transition_id",
    "prepare_epoch",
    "prepare_transition",
    "revoke_proposals",
    "welcome",
)

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from voicepool.testing.mls_codec import u8, u16, vector
from voicepool.testing.voice_messages import CloseCode, Refusal

APPEND: Final = 0
REVOKE: Final = 1
NEW_GROUP_EPOCH: Final = 1
INITIAL_TRANSITION: Final = 0
MAX_TRANSITION_ID: Final = 2**16 - 1


class DaveOpcode(enum.IntEnum):
    """Opcodes of the DAVE protocol."""

    PREPARE_TRANSITION = 21
    EXECUTE_TRANSITION = 22
    READY_FOR_TRANSITION = 23
    PREPARE_EPOCH = 24
    EXTERNAL_SENDER_PACKAGE = 25
    KEY_PACKAGE = 26
    PROPOSALS = 27
    COMMIT_WELCOME = 28
    ANNOUNCE_COMMIT_TRANSITION = 29
    WELCOME = 30
    INVALID_COMMIT_WELCOME = 31


@dataclass(frozen=True, slots=True)
class DaveText:
    """A JSON message: opcode and the content of ``d``."""

    opcode: DaveOpcode
    data: dict[str, int]


@dataclass(frozen=True, slots=True)
class DaveBinary:
    """A binary message: opcode and payload, without a sequence number."""

    opcode: DaveOpcode
    payload: bytes


DaveMessage: TypeAlias = DaveText | DaveBinary


def prepare_transition(version: int, transition_id: int) -> DaveText:
    """Return opcode 21: get ready for `version`; at once if `transition_id` is 0."""
    return DaveText(
        DaveOpcode.PREPARE_TRANSITION, {"protocol_version": version, "transition_id": transition_id}
    )


def execute_transition(transition_id: int) -> DaveText:
    """Return opcode 22: senders change over now."""
    return DaveText(DaveOpcode.EXECUTE_TRANSITION, {"transition_id": transition_id})


def prepare_epoch(version: int, transition_id: int) -> DaveText:
    """Return opcode 24 with epoch 1: a new group is to be created, for `version`.

    `transition_id` is the transition that will lead into it; 0 for the lone member of a call.
    """
    return DaveText(
        DaveOpcode.PREPARE_EPOCH,
        {"protocol_version": version, "epoch": NEW_GROUP_EPOCH, "transition_id": transition_id},
    )


def external_sender(package: bytes) -> DaveBinary:
    """Return opcode 25: `package` is the encoded ExternalSender."""
    return DaveBinary(DaveOpcode.EXTERNAL_SENDER_PACKAGE, package)


def append_proposals(messages: Iterable[bytes]) -> DaveBinary:
    """Return opcode 27 that adds proposals, each an encoded MLSMessage."""
    return DaveBinary(DaveOpcode.PROPOSALS, u8(APPEND) + vector(b"".join(messages)))


def revoke_proposals(refs: Iterable[bytes]) -> DaveBinary:
    """Return opcode 27 that takes proposals back, each by its ProposalRef."""
    return DaveBinary(DaveOpcode.PROPOSALS, u8(REVOKE) + vector(b"".join(vector(ref) for ref in refs)))


def announce_commit(transition_id: int, commit: bytes) -> DaveBinary:
    """Return opcode 29: the commit that won, for those who stay."""
    return DaveBinary(DaveOpcode.ANNOUNCE_COMMIT_TRANSITION, u16(transition_id) + commit)


def welcome(transition_id: int, message: bytes) -> DaveBinary:
    """Return opcode 30: the welcome for one who is added."""
    return DaveBinary(DaveOpcode.WELCOME, u16(transition_id) + message)


def parse_transition_id(opcode: int, data: object) -> int:
    """Check the data of opcode 23 or 31 and return its transition id.

    Raises
    ------
    Refusal
        4020 when it is not an object with an integer ``transition_id`` of 16 bits.
    """
    value = data.get("transition_id") if isinstance(data, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TRANSITION_ID:
        raise Refusal(
            CloseCode.BAD_REQUEST,
            f"op {opcode} needs `transition_id` as an integer from 0 to {MAX_TRANSITION_ID}, as it came with "
            "the commit, welcome or transition that is answered",
        )
    return value
