"""Each failure of a handshake names the server, what is wrong and what to do."""

from __future__ import annotations

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.failures import stopped_reading, unanswered, unreadable
from voicepool.workers.gateway.opcodes import VoiceOpcode

SERVER = "voice.example:443"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (stopped_reading(SERVER, 64), ErrorCode.CONNECT_TIMEOUT, ("64", "Connect again")),
        (unreadable(SERVER, VoiceOpcode.READY), ErrorCode.PROTOCOL, ("READY", "version 8")),
        (unanswered(SERVER, "HELLO", 2.5), ErrorCode.CONNECT_TIMEOUT, ("HELLO", "2.5 s", "timeout")),
    ],
)
def test_a_failure_says_what_and_what_to_do(
    error: CallError, code: ErrorCode, words: tuple[str, ...]
) -> None:
    assert error.code is code
    assert error.text.startswith(SERVER)
    assert all(word in error.text for word in words)
