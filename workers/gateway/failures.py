"""[pure] The sentences in which a handshake ends that cannot go on."""

from __future__ import annotations

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = ["stopped_reading", "unanswered", "unreadable"]


def stopped_reading(server: str, waiting: int) -> CallError:
    """Return the error for a server that takes no messages; so many of ours are waiting."""
    text = f"{server} takes no messages any more: {waiting} are waiting. Connect again."
    return CallError(ErrorCode.CONNECT_TIMEOUT, text, step="sending")


def unreadable(server: str, opcode: VoiceOpcode) -> CallError:
    """Return the error for a message without which the handshake cannot go on."""
    text = (
        f"{server} sent a {opcode.name} that cannot be read, so the call cannot be made. "
        "Check that the endpoint is a voice server of gateway version 8."
    )
    return CallError(ErrorCode.PROTOCOL, text, opcode=int(opcode))


def unanswered(server: str, awaited: str, timeout_s: float) -> CallError:
    """Return the error for a step that the server left out."""
    text = (
        f"{server} sent no {awaited} within {timeout_s:g} s. "
        "Join again for another voice server, or raise the timeout in the config."
    )
    return CallError(ErrorCode.CONNECT_TIMEOUT, text, step=awaited)
