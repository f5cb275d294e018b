"""Frames of the server are read, put aside as steps of the conversation, or counted; never fatal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.gateway.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveMessage,
    GatewayEvent,
    Skipped,
    SpeakingUpdate,
)
from voicepool.workers.gateway.incoming import STEPS, Incoming
from voicepool.workers.gateway.opcodes import DAVE_OPCODES, IGNORED_OPCODES, SpeakingFlag, VoiceOpcode
from voicepool.workers.gateway.payloads import HELLO_DECODER


class Reader:
    """What a websocket's reader has told, and what it left to be judged."""

    def __init__(self, last_seq: int = -1) -> None:
        self.events: list[GatewayEvent] = []
        self.incoming = Incoming(self.events, last_seq=last_seq)
        self.steps: list[tuple[VoiceOpcode, bytes]] = []

    def gets(self, op: int, d: object = None, seq: int | None = None) -> Reader:
        step = self.incoming.take_text(json.dumps({"op": op, "d": d, "seq": seq}))
        if step is not None:
            self.steps.append(step)
        return self


@pytest.mark.parametrize("opcode", sorted(STEPS))
def test_steps_are_handed_on_unread(opcode: VoiceOpcode) -> None:
    reader = Reader().gets(opcode, [1, 2])
    assert reader.steps == [(opcode, b"[1, 2]")]
    assert reader.events == []
    assert reader.incoming.skipped.total == 0


def test_who_comes_goes_and_speaks_is_an_event_at_once() -> None:
    reader = Reader()
    reader.gets(5, {"user_id": "9", "ssrc": 3, "speaking": 1})
    reader.gets(11, {"user_ids": ["1", 2]})
    reader.gets(13, {"user_id": "1"})
    assert reader.events == [
        SpeakingUpdate(9, 3, SpeakingFlag.MICROPHONE),
        ClientsConnected((1, 2)),
        ClientDisconnected(1),
    ]
    assert reader.steps == []


def test_messages_of_the_encryption_pass_as_they_are_whether_text_or_binary() -> None:
    reader = Reader().gets(21, {"transition_id": 4}, seq=7)
    reader.incoming.take_binary(b"\xff\xfe\x1ball of it")
    assert reader.events == [
        DaveMessage(21, b'{"transition_id": 4}', 7, binary=False),
        DaveMessage(27, b"all of it", 0xFFFE, binary=True),
    ]
    assert reader.incoming.last_seq == 0xFFFE


def test_what_is_of_no_concern_is_not_even_counted() -> None:
    reader = Reader()
    for opcode in IGNORED_OPCODES:
        reader.gets(opcode, {})
    assert reader.events == []
    assert reader.steps == []
    assert reader.incoming.skipped.total == 0


def test_numbers_go_on_from_the_websocket_before_and_never_beyond_16_bits() -> None:
    reader = Reader(last_seq=40).gets(99)
    assert reader.incoming.last_seq == 40
    reader.gets(99, seq=41).gets(99, seq=70_000).gets(99, seq=-1)
    assert reader.incoming.last_seq == 41
    assert reader.events == [
        Skipped("unknown opcode 99"),
        Skipped("a sequence number beyond 16 bits"),
    ]
    assert reader.incoming.skipped.malformed == 2


@pytest.mark.parametrize(
    ("op", "d", "told"),
    [
        (5, {"user_id": "x", "ssrc": 1}, "a malformed SPEAKING"),
        (11, {"user_ids": 5}, "a malformed CLIENTS_CONNECT"),
        (13, [], "a malformed CLIENT_DISCONNECT"),
        (1_000, None, "unknown opcode 1000"),
        (10**30, None, "other unknown opcodes"),
    ],
)
def test_what_cannot_be_used_is_counted_each_time_and_told_once(op: int, d: object, told: str) -> None:
    reader = Reader().gets(op, d).gets(op, d)
    assert reader.events == [Skipped(told)]
    assert reader.incoming.skipped.total == 2
    assert reader.steps == []


def test_a_body_is_read_when_it_is_asked_for() -> None:
    reader = Reader().gets(8, {"heartbeat_interval": 5}).gets(8, {"heartbeat_interval": "soon"})
    read = [reader.incoming.read(opcode, HELLO_DECODER, body) for opcode, body in reader.steps]
    assert [hello and hello.heartbeat_interval for hello in read] == [5, None]
    reader.incoming.skip_unexpected(VoiceOpcode.HELLO)
    assert reader.events == [Skipped("a malformed HELLO"), Skipped("an unexpected HELLO")]
    assert (reader.incoming.skipped.malformed, reader.incoming.skipped.unexpected.total()) == (1, 1)


@given(st.binary(max_size=8))
def test_a_binary_frame_is_a_message_of_the_encryption_or_is_counted(data: bytes) -> None:
    reader = Reader()
    reader.incoming.take_binary(data)
    [event] = reader.events
    if len(data) >= 3 and data[2] in DAVE_OPCODES:
        assert event == DaveMessage(data[2], data[3:], int.from_bytes(data[:2]), binary=True)
    else:
        assert isinstance(event, Skipped)
        assert reader.incoming.skipped.total == 1
