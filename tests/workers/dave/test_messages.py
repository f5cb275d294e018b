from __future__ import annotations

import json

import pytest

from voicepool.workers.dave.messages import (
    BodyError,
    commit_welcome_reply,
    invalid_reply,
    key_package_reply,
    read_execute_transition,
    read_mls_transition,
    read_prepare_epoch,
    read_prepare_transition,
    read_proposals_operation,
    ready_reply,
)


def test_json_bodies() -> None:
    body = read_prepare_transition(b'{"transition_id": 65535, "protocol_version": 1, "more": []}')
    assert (body.transition_id, body.protocol_version) == (65_535, 1)
    assert read_execute_transition(b'{"transition_id": 7}').transition_id == 7
    epoch = read_prepare_epoch(b'{"protocol_version": 1, "epoch": 1}')
    assert (epoch.protocol_version, epoch.epoch, epoch.transition_id) == (1, 1, None)
    assert read_prepare_epoch(b'{"protocol_version": 1, "epoch": 3, "transition_id": 4}').transition_id == 4


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'{"transition_id": -1}', b'{"transition_id": 65536}', b"\xff", b"[" * 100_000],
)
def test_json_that_is_no_body(payload: bytes) -> None:
    for read in (read_prepare_transition, read_execute_transition, read_prepare_epoch):
        with pytest.raises(BodyError):
            read(payload)


def test_binary_bodies() -> None:
    assert read_proposals_operation(b"\x00rest") == (False, b"rest")
    assert read_proposals_operation(b"\x01") == (True, b"")
    assert read_mls_transition(b"\x01\x02rest") == (258, b"rest")
    for payload in (b"", b"\x02"):
        with pytest.raises(BodyError):
            read_proposals_operation(payload)
        with pytest.raises(BodyError):
            read_mls_transition(payload)


def test_replies() -> None:
    assert json.loads(ready_reply(5).data) == {"op": 23, "d": {"transition_id": 5}}
    assert json.loads(invalid_reply(0).data) == {"op": 31, "d": {"transition_id": 0}}
    assert key_package_reply(b"package").data == b"\x1apackage"
    assert commit_welcome_reply(b"commit", b"welcome").data == b"\x1ccommitwelcome"
    assert commit_welcome_reply(b"commit", b"").data == b"\x1ccommit"
    assert [reply.is_text for reply in (ready_reply(1), key_package_reply(b""))] == [True, False]


def test_a_reply_shows_its_size_and_not_its_content() -> None:
    assert repr(key_package_reply(b"package")) == "DaveReply(opcode=26, 8 bytes)"
