from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.testing.dave_messages import (
    DaveBinary,
    DaveOpcode,
    DaveText,
    announce_commit,
    append_proposals,
    execute_transition,
    external_sender,
    parse_transition_id,
    prepare_epoch,
    prepare_transition,
    revoke_proposals,
    welcome,
)
from voicepool.testing.voice_messages import CloseCode, Refusal


def test_texts_carry_the_documented_fields() -> None:
    assert prepare_transition(0, 10) == DaveText(
        DaveOpcode.PREPARE_TRANSITION, {"protocol_version": 0, "transition_id": 10}
    )
    assert execute_transition(10) == DaveText(DaveOpcode.EXECUTE_TRANSITION, {"transition_id": 10})
    assert prepare_epoch(1, 0) == DaveText(
        DaveOpcode.PREPARE_EPOCH, {"protocol_version": 1, "epoch": 1, "transition_id": 0}
    )


def test_binaries_have_the_documented_layout() -> None:
    assert external_sender(b"package") == DaveBinary(DaveOpcode.EXTERNAL_SENDER_PACKAGE, b"package")
    assert append_proposals([b"abc", b"de"]).payload == b"\x00\x05abcde"
    assert revoke_proposals([b"abc", b"de"]).payload == b"\x01\x07\x03abc\x02de"
    assert announce_commit(0x0102, b"commit").payload == b"\x01\x02commit"
    assert welcome(0xFFFF, b"welcome").payload == b"\xff\xffwelcome"


@given(st.integers(0, 65_535))
def test_transition_ids_have_sixteen_bits(transition_id: int) -> None:
    assert parse_transition_id(23, {"transition_id": transition_id, "more": 1}) == transition_id


@pytest.mark.parametrize(
    "data", [None, [], 3, {}, *({"transition_id": bad} for bad in (-1, 65_536, "1", 1.0, True, None))]
)
def test_anything_else_is_a_bad_request(data: object) -> None:
    with pytest.raises(Refusal, match="op 31 needs `transition_id`") as caught:
        parse_transition_id(31, data)
    assert caught.value.code is CloseCode.BAD_REQUEST
