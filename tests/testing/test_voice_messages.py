from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from voicepool.testing.voice_messages import (
    CloseCode,
    Opcode,
    Refusal,
    decode,
    encode,
    parse_heartbeat,
    parse_identify,
    parse_resume,
    parse_select_protocol,
    parse_speaking,
)

IDENTIFY = {"server_id": "1", "user_id": "2", "session_id": "sesame", "token": "hush"}
RESUME = {"server_id": "1", "session_id": "sesame", "token": "hush", "seq_ack": 3}
SELECT = {"protocol": "udp", "data": {"address": "127.0.0.1", "port": 5, "mode": "m"}}


def test_encode_numbers_a_message_only_when_asked() -> None:
    assert json.loads(encode(Opcode.RESUMED, None)) == {"op": 9, "d": None}
    assert json.loads(encode(Opcode.SPEAKING, {"a": 1}, 0)) == {"op": 5, "d": {"a": 1}, "seq": 0}


def test_decode_ignores_members_it_does_not_know() -> None:
    assert decode('{"op": 3, "d": {"t": 1}, "extra": 1}') == (3, {"t": 1})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '"x"', "{}", '{"op": 1}', '{"op": "1", "d": 1}', '{"op": true, "d": 1}',
     '{"op": 1.0, "d": 1}', '{"op": NaN, "d": 1}', "[" * 100_000],
)  # fmt: skip
def test_undecodable_messages_close_with_4002(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode(text)
    assert caught.value.code is CloseCode.FAILED_TO_DECODE


def test_well_formed_messages() -> None:
    identify = parse_identify({**IDENTIFY, "user_id": 2, "video": True, "streams": []})
    assert (identify.guild_id, identify.user_id, identify.max_dave_protocol_version) == (1, 2, 0)
    assert parse_identify({**IDENTIFY, "max_dave_protocol_version": 1}).max_dave_protocol_version == 1
    assert parse_resume(RESUME).seq_ack == 3
    assert parse_resume({k: v for k, v in RESUME.items() if k != "seq_ack"}).seq_ack == -1
    assert parse_select_protocol(SELECT).port == 5
    assert parse_heartbeat({"t": 1501184119561}).seq_ack is None
    assert parse_heartbeat({"t": 1, "seq_ack": 10}).seq_ack == 10
    assert parse_speaking({"speaking": 5, "delay": 0, "ssrc": 1}).flags == 5
    assert parse_speaking({"speaking": 0, "ssrc": 1}).flags == 0


def without(message: dict[str, object], key: str) -> dict[str, object]:
    return {k: v for k, v in message.items() if k != key}


BAD: list[tuple[Callable[[object], object], object, CloseCode, str]] = [
    (parse_identify, [], CloseCode.FAILED_TO_DECODE, "an array"),
    (parse_identify, None, CloseCode.FAILED_TO_DECODE, "null"),
    *[
        (parse_identify, without(dict(IDENTIFY), k), CloseCode.FAILED_TO_DECODE, f"no `{k}`")
        for k in IDENTIFY
    ],
    (parse_identify, {**IDENTIFY, "server_id": "x"}, CloseCode.FAILED_TO_DECODE, "snowflake"),
    (parse_identify, {**IDENTIFY, "server_id": "9" * 5_000}, CloseCode.FAILED_TO_DECODE, "snowflake"),
    (parse_identify, {**IDENTIFY, "server_id": True}, CloseCode.FAILED_TO_DECODE, "snowflake"),
    (parse_identify, {**IDENTIFY, "user_id": -1}, CloseCode.FAILED_TO_DECODE, "snowflake"),
    (parse_identify, {**IDENTIFY, "token": 5}, CloseCode.FAILED_TO_DECODE, "`token`"),
    (parse_identify, {**IDENTIFY, "session_id": ""}, CloseCode.FAILED_TO_DECODE, "`session_id`"),
    (parse_identify, {**IDENTIFY, "max_dave_protocol_version": "1"}, CloseCode.FAILED_TO_DECODE, "integer"),
    (parse_resume, {**RESUME, "seq_ack": 70_000}, CloseCode.BAD_REQUEST, "from -1 to 65535"),
    (parse_resume, {**RESUME, "seq_ack": None}, CloseCode.BAD_REQUEST, "integer"),
    (parse_select_protocol, {**SELECT, "protocol": "webrtc"}, CloseCode.UNKNOWN_PROTOCOL, "webrtc"),
    (parse_select_protocol, {"protocol": "udp"}, CloseCode.BAD_REQUEST, "no `data`"),
    (
        parse_select_protocol,
        {"protocol": "udp", "data": {"address": "example.com", "port": 5, "mode": "m"}},
        CloseCode.BAD_REQUEST,
        "IP address",
    ),
    (
        parse_select_protocol,
        {"protocol": "udp", "data": {"address": "127.0.0.1", "port": 0, "mode": "m"}},
        CloseCode.BAD_REQUEST,
        "`port`",
    ),
    (parse_heartbeat, 1501184119561, CloseCode.BAD_REQUEST, "since gateway version 8"),
    (parse_heartbeat, {"seq_ack": 1}, CloseCode.BAD_REQUEST, "no `t`"),
    (parse_heartbeat, {"t": 1.5}, CloseCode.BAD_REQUEST, "a float"),
    (parse_heartbeat, {"t": 1, "seq_ack": -2}, CloseCode.BAD_REQUEST, "`seq_ack`"),
    (parse_speaking, {"speaking": True, "ssrc": 1}, CloseCode.BAD_REQUEST, "a boolean"),
    (parse_speaking, {"speaking": 8, "ssrc": 1}, CloseCode.BAD_REQUEST, "from 0 to 7"),
    (parse_speaking, {"speaking": 1}, CloseCode.BAD_REQUEST, "no `ssrc`"),
    (parse_speaking, {"speaking": 1, "ssrc": 1, "delay": "0"}, CloseCode.BAD_REQUEST, "`delay`"),
]


@pytest.mark.parametrize(("parse", "data", "code", "hint"), BAD)
def test_malformed_messages_name_code_and_field(
    parse: Callable[[object], object], data: object, code: CloseCode, hint: str
) -> None:
    with pytest.raises(Refusal) as caught:
        parse(data)
    assert caught.value.code is code
    assert hint in caught.value.sentence
    assert "hush" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_secrets_stay_out_of_reprs() -> None:
    for message in (parse_identify(IDENTIFY), parse_resume(RESUME)):
        assert "hush" not in repr(message)
        assert "sesame" not in repr(message)


def test_reasons_fit_a_close_frame() -> None:
    assert CloseCode.AUTHENTICATION_FAILED.reason == "Authentication failed"
    assert all(len(code.reason.encode()) <= 123 for code in CloseCode)
