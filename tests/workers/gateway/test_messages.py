"""Our messages have the fields that Discord documents, each of its type."""

from __future__ import annotations

import json

import pytest

from voicepool.workers.gateway.events import VoiceIdentity
from voicepool.workers.gateway.messages import (
    heartbeat_message,
    identify_message,
    resume_message,
    select_protocol_message,
    speaking_message,
)
from voicepool.workers.gateway.opcodes import SpeakingFlag

IDENTITY = VoiceIdentity(server_id=41, user_id=10, session_id="session", token="token")


@pytest.mark.parametrize(
    ("message", "op", "body"),
    [
        (
            identify_message(IDENTITY, 1),
            0,
            {
                "server_id": "41",
                "user_id": "10",
                "session_id": "session",
                "token": "token",
                "max_dave_protocol_version": 1,
            },
        ),
        (
            resume_message(IDENTITY, 7),
            7,
            {"server_id": "41", "session_id": "session", "token": "token", "seq_ack": 7},
        ),
        (
            select_protocol_message("203.0.113.9", 4242, "aead_aes256_gcm_rtpsize"),
            1,
            {
                "protocol": "udp",
                "data": {"address": "203.0.113.9", "port": 4242, "mode": "aead_aes256_gcm_rtpsize"},
            },
        ),
        (speaking_message(SpeakingFlag.MICROPHONE, 5), 5, {"speaking": 1, "delay": 0, "ssrc": 5}),
        (heartbeat_message(1_234, -1), 3, {"t": 1_234, "seq_ack": -1}),
    ],
    ids=["identify", "resume", "select protocol", "speaking", "heartbeat"],
)
def test_fields(message: str, op: int, body: object) -> None:
    assert json.loads(message) == {"op": op, "d": body}
