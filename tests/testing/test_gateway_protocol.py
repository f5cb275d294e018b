from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.testing.gateway_protocol import (
    ClientMessage,
    CloseCode,
    Heartbeat,
    Identify,
    Intents,
    Opcode,
    Other,
    ProtocolError,
    RequestMembers,
    Resume,
    SendBudget,
    UpdateVoiceState,
    check_intents,
    decode_client_message,
    encode_dispatch,
    encode_message,
    parse_connect_query,
    shard_of,
)


def decode(op: object, data: object = None) -> ClientMessage:
    return decode_client_message(json.dumps({"op": op, "d": data}).encode())


def code_of(frame: bytes) -> CloseCode:
    with pytest.raises(ProtocolError) as caught:
        decode_client_message(frame)
    return caught.value.code


def test_each_message_decodes() -> None:
    assert decode(1, None) == Heartbeat(None)
    assert decode(1, 7) == Heartbeat(7)
    identify = decode(2, {"token": "t", "intents": 1, "properties": {"os": "x"}, "shard": [0, 2], "extra": 1})
    assert identify == Identify(token="t", intents=1, properties={"os": "x"}, shard=(0, 2))
    assert decode(6, {"token": "t", "session_id": "s", "seq": 3}) == Resume("t", "s", 3)
    assert decode(8, {"guild_id": "1", "query": "", "limit": 0}) == RequestMembers("1", query="")
    for op in (3, 31, 43):
        assert decode(op, {"anything": []}) == Other(op)


def test_ids_come_as_strings_or_numbers() -> None:
    assert decode(4, {"guild_id": 1, "channel_id": "2", "self_mute": True}) == UpdateVoiceState(
        guild_id=1, channel_id="2", self_mute=True
    )
    assert decode(4, {"guild_id": "1", "channel_id": None}) == UpdateVoiceState("1", None)


@pytest.mark.parametrize("op", [0, 5, 7, 9, 10, 11, 99, -1])
def test_opcodes_that_no_client_sends_close_with_4001(op: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(op)
    assert caught.value.code is CloseCode.UNKNOWN_OPCODE


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xff",
        b'{"d": 1}',
        b'{"op": "four"}',
        b'{"op": 1, "d": "seven"}',
        b'{"op": 2, "d": {"intents": 1}}',
        b'{"op": 2, "d": {"token": "t", "shard": [1]}}',
        b'{"op": 2, "d": {"token": "t", "large_threshold": 10}}',
        b'{"op": 4, "d": null}',
        b'{"op": 4, "d": {"guild_id": "1"}}',
        b'{"op": 4, "d": {"guild_id": "one", "channel_id": "2"}}',
        b'{"op": 4, "d": {"guild_id": -1, "channel_id": "2"}}',
        b'{"op": 6, "d": {"token": "t", "session_id": "s", "seq": null}}',
    ],
)
def test_what_does_not_decode_closes_with_4002(frame: bytes) -> None:
    assert code_of(frame) is CloseCode.DECODE_ERROR


def test_a_payload_may_have_4096_bytes() -> None:
    shell = b'{"op": 3, "d": ""}'
    longest = shell.replace(b'""', b'"' + b"x" * (4096 - len(shell)) + b'"')
    assert len(longest) == 4096
    assert decode_client_message(longest) == Other(3)
    assert code_of(longest + b" ") is CloseCode.DECODE_ERROR


@given(st.binary(max_size=200) | st.from_regex(rb'\{"op": [0-9]{1,2}, "d": \{"[a-z_]{1,10}": .{0,20}\}\}'))
def test_no_bytes_do_anything_but_decode_or_close(frame: bytes) -> None:
    try:
        message = decode_client_message(frame)
    except ProtocolError as error:
        message = None
        code = error.code
    # Any other exception would have failed the test by itself.
    assert message is not None or code in {CloseCode.DECODE_ERROR, CloseCode.UNKNOWN_OPCODE}


@pytest.mark.parametrize("field", ["token", "session_id"])
def test_secrets_are_in_no_error_and_no_repr(field: str) -> None:
    data = {"token": "s3cret-a", "session_id": "s3cret-b", "seq": "wrong"}
    with pytest.raises(ProtocolError) as caught:
        decode(6, data | {field: "s3cret-c"})
    assert "s3cret" not in caught.value.reason
    assert "s3cret" not in repr(Identify(token="s3cret"))
    assert "s3cret" not in repr(Resume(token="s3cret", session_id="s3cret", seq=1))


def test_intents_must_be_there_known_and_allowed() -> None:
    assert check_intents(1 << 7, allows_privileged=False) == Intents.GUILD_VOICE_STATES
    assert check_intents(int(sum(Intents)), allows_privileged=True) & Intents.GUILD_PRESENCES
    for wrong in (None, -1, 1 << 17, 1 << 40):
        with pytest.raises(ProtocolError) as caught:
            check_intents(wrong, allows_privileged=True)
        assert caught.value.code is CloseCode.INVALID_INTENTS
    with pytest.raises(ProtocolError) as caught:
        check_intents(1 << 8, allows_privileged=False)
    assert caught.value.code is CloseCode.DISALLOWED_INTENTS


def test_connect_query() -> None:
    assert parse_connect_query({"v": "10"}).compress is None
    options = parse_connect_query({"v": "10", "encoding": "json", "compress": "zlib-stream"})
    assert options.compress == "zlib-stream"
    for query, code in (
        ({}, CloseCode.INVALID_API_VERSION),
        ({"v": "6"}, CloseCode.INVALID_API_VERSION),
        ({"v": "10", "encoding": "etf"}, CloseCode.DECODE_ERROR),
    ):
        with pytest.raises(ProtocolError) as caught:
            parse_connect_query(query)
        assert caught.value.code is code


def test_shard_formula_of_the_documentation() -> None:
    assert shard_of(41771983423143937, 16) == (41771983423143937 >> 22) % 16
    assert shard_of(41771983423143937, 1) == 0


def test_encoded_messages_have_all_four_fields() -> None:
    assert json.loads(encode_message(Opcode.HELLO, {"heartbeat_interval": 1})) == {
        "op": 10,
        "d": {"heartbeat_interval": 1},
        "s": None,
        "t": None,
    }
    assert json.loads(encode_dispatch("READY", 1, msgspec.Raw(b'{"v":10}'))) == {
        "op": 0,
        "d": {"v": 10},
        "s": 1,
        "t": "READY",
    }


def test_a_client_may_send_120_messages_in_any_minute() -> None:
    budget = SendBudget()
    for _ in range(120):
        budget.spend(0.0)
    with pytest.raises(ProtocolError) as caught:
        budget.spend(59.9)
    assert caught.value.code is CloseCode.RATE_LIMITED
    budget.spend(60.0)
