from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from voicepool.workers.gateway.events import SessionDescription, VoiceIdentity
from voicepool.workers.gateway.opcodes import VoiceOpcode
from voicepool.workers.gateway.payloads import (
    CLIENTS_CONNECT_DECODER,
    ENVELOPE_DECODER,
    READY_DECODER,
    SESSION_DESCRIPTION_DECODER,
    SPEAKING_DECODER,
    HeartbeatBody,
    IdentifyBody,
    ResumeBody,
    SelectProtocolBody,
    SelectProtocolData,
    SessionDescriptionBody,
    SpeakingBody,
    encode_message,
)

IDENTIFY = IdentifyBody(
    server_id="1", user_id="2", session_id="SECRET", token="SECRET", max_dave_protocol_version=0
)


@pytest.mark.parametrize(
    ("opcode", "body", "expected"),
    [
        (
            VoiceOpcode.IDENTIFY,
            IDENTIFY,
            {
                "server_id": "1",
                "user_id": "2",
                "session_id": "SECRET",
                "token": "SECRET",
                "max_dave_protocol_version": 0,
            },
        ),
        (
            VoiceOpcode.SELECT_PROTOCOL,
            SelectProtocolBody(protocol="udp", data=SelectProtocolData(address="1.2.3.4", port=5, mode="m")),
            {"protocol": "udp", "data": {"address": "1.2.3.4", "port": 5, "mode": "m"}},
        ),
        (VoiceOpcode.HEARTBEAT, HeartbeatBody(t=7, seq_ack=-1), {"t": 7, "seq_ack": -1}),
        (
            VoiceOpcode.SPEAKING,
            SpeakingBody(speaking=1, delay=0, ssrc=9),
            {"speaking": 1, "delay": 0, "ssrc": 9},
        ),
        (
            VoiceOpcode.RESUME,
            ResumeBody(server_id="1", session_id="s", token="t", seq_ack=10),
            {"server_id": "1", "session_id": "s", "token": "t", "seq_ack": 10},
        ),
    ],
)
def test_our_messages_are_those_of_the_documentation(opcode: VoiceOpcode, body: Any, expected: Any) -> None:
    assert json.loads(encode_message(opcode, body)) == {"op": int(opcode), "d": expected}


def test_envelope_leaves_the_body_undecoded() -> None:
    envelope = ENVELOPE_DECODER.decode('{"op": 99, "d": {"a": [1, 2.5, null]}, "seq": 3, "more": true}')
    assert (envelope.op, envelope.seq) == (99, 3)
    assert json.loads(bytes(envelope.d)) == {"a": [1, 2.5, None]}
    assert bytes(ENVELOPE_DECODER.decode('{"op": 9}').d) == b"null"


def test_ready_takes_what_discord_sends_and_ignores_the_rest() -> None:
    ready = READY_DECODER.decode(
        '{"ssrc": 1, "ip": "127.0.0.1", "port": 1234, "modes": ["a", "b"], "heartbeat_interval": 1,'
        ' "experiments": [], "streams": []}'
    )
    assert (ready.ssrc, ready.ip, ready.port, ready.modes) == (1, "127.0.0.1", 1234, ("a", "b"))


@pytest.mark.parametrize(
    "body",
    [
        '{"ssrc": -1, "ip": "1.1.1.1", "port": 1, "modes": []}',
        '{"ssrc": 4294967296, "ip": "1.1.1.1", "port": 1, "modes": []}',
        '{"ssrc": 1, "ip": "1.1.1.1", "port": 0, "modes": []}',
        '{"ssrc": 1, "ip": "1.1.1.1", "port": 65536, "modes": []}',
        '{"ssrc": 1, "ip": "1.1.1.1", "port": 1}',
        "null",
    ],
)
def test_an_impossible_ready_is_refused(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        READY_DECODER.decode(body)


@pytest.mark.parametrize("key", [[0] * 31, [0] * 33, [256] * 32, ["x"] * 32])
def test_an_impossible_key_is_refused_without_being_quoted(key: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        SESSION_DESCRIPTION_DECODER.decode(json.dumps({"mode": "m", "secret_key": key}))
    assert "256" not in str(caught.value)


def test_snowflakes_are_read_as_string_and_as_number() -> None:
    for user_id in ("123", 123):
        notice = SPEAKING_DECODER.decode(json.dumps({"user_id": user_id, "ssrc": 5, "speaking": 1}))
        assert notice.user_id == 123
    assert CLIENTS_CONNECT_DECODER.decode('{"user_ids": ["1", 2]}').user_ids == (1, 2)


def test_no_secret_in_any_repr() -> None:
    secret_key = tuple(b"SECRET--" * 4)
    structs = [
        IDENTIFY,
        ResumeBody(server_id="1", session_id="SECRET", token="SECRET", seq_ack=1),
        VoiceIdentity(server_id=1, user_id=2, session_id="SECRET", token="SECRET"),
        SessionDescriptionBody(mode="m", secret_key=secret_key),
        SessionDescription(mode="m", secret_key=bytes(secret_key), dave_protocol_version=0),
    ]
    for struct in structs:
        for shown in (repr(struct), str(struct), f"{[struct]}"):
            assert "SECRET" not in shown
            assert str(secret_key[0]) + ", " not in shown
            assert "***" in shown
    assert "user_id='2'" in repr(IDENTIFY)
