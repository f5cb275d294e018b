"""A session with a connection made of a list: messages, numbering, resume, ends, without any socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.testing.voice_client import run
from voicepool.testing.dave_messages import DaveOpcode, execute_transition, external_sender, prepare_epoch
from voicepool.testing.voice_crypto import transport_mode
from voicepool.testing.voice_grant import GrantBook
from voicepool.testing.voice_messages import CloseCode, Opcode, Refusal
from voicepool.testing.voice_session import MAX_VIOLATIONS, VoiceSession
from voicepool.testing.voice_session_view import SessionState
from voicepool.testing.voice_settings import VoiceServerSettings


class Wire:
    """A `GatewayConnection` that only takes notes."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.binaries: list[bytes] = []
        self.closes: list[int] = []
        self.aborted = False

    def send_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.binaries.append(message)
        else:
            self.sent.append(json.loads(message))

    def close_soon(self, code: int) -> None:
        self.closes.append(code)

    async def close(self, code: int) -> None:
        self.closes.append(code)

    def abort(self) -> None:
        self.aborted = True


class Desk:
    """One session with what its server would keep."""

    def __init__(self, **settings: Any) -> None:
        self.recorded: list[str] = []
        self.ended: list[VoiceSession] = []
        self.grant = GrantBook().issue("127.0.0.1:1", 1, 2, 3, "sesame")
        self.session = VoiceSession(
            self.grant,
            77,
            VoiceServerSettings(**settings),
            max_dave_protocol_version=1,
            record=self.recorded.append,
            on_end=self.ended.append,
        )
        self.wire = Wire()
        self.session.attach(self.wire)

    def number(self, count: int) -> list[int]:
        for _ in range(count):
            self.session.send(Opcode.SPEAKING, {}, numbered=True)
        return [message["seq"] for message in self.wire.sent[-count:]]


def test_numbers_wrap_and_only_numbered_messages_have_one() -> None:
    desk = Desk(first_sequence=0xFFFE)
    assert desk.number(4) == [0xFFFE, 0xFFFF, 0, 1]
    desk.session.send(Opcode.HEARTBEAT_ACK, {"t": 1})
    assert "seq" not in desk.wire.sent[-1]


@pytest.mark.parametrize(
    ("seq_ack", "missed"), [(-1, 3), (0xFFFE, 2), (0xFFFF, 1), (0, 0), (1, None), (0xFFFD, None)]
)
def test_what_a_resume_gets_again(seq_ack: int, missed: int | None) -> None:
    desk = Desk(first_sequence=0xFFFE)
    desk.number(3)
    if missed is None:
        with pytest.raises(Refusal, match="4006"):
            desk.session.take_up(Wire(), seq_ack)
    else:
        texts = desk.session.take_up(Wire(), seq_ack)
        assert [json.loads(text)["seq"] for text in texts] == [0xFFFE, 0xFFFF, 0][3 - missed :]
        assert desk.wire.closes == [1000]


def test_acknowledging_what_was_never_sent_is_a_bad_request() -> None:
    desk = Desk()
    desk.session.acknowledge(-1)
    with pytest.raises(Refusal, match="4020"):
        desk.session.acknowledge(1)
    desk.number(1)
    desk.session.acknowledge(1)
    assert desk.session.last_seq_ack == 1


@run
async def test_a_detached_session_buffers_and_its_window_runs_out() -> None:
    desk = Desk(resume_window_s=0)
    session = desk.session
    session.detach(desk.wire, sent=4015, received=4015)
    assert session.state is SessionState.DETACHED
    session.send(Opcode.SPEAKING, {}, numbered=True)
    assert len(session.take_up(Wire(), -1)) == 1
    second = Desk(resume_window_s=0)
    second.session.detach(second.wire, sent=None, received=None)
    assert second.session.close_code_received == 1006
    await second.session.wait_closed()
    assert second.ended == [second.session]
    assert not desk.ended


@run
async def test_the_loss_of_a_replaced_websocket_changes_nothing() -> None:
    desk = Desk()
    new = Wire()
    desk.session.take_up(new, -1)
    desk.session.detach(desk.wire, sent=1000, received=1000)
    assert desk.session.state is SessionState.IDENTIFIED
    await desk.session.close(4014)
    assert new.closes == [4014]


@run
async def test_an_ended_session_says_no_more_and_ends_once() -> None:
    desk = Desk()
    desk.session.end(4014)
    desk.session.end(4006)
    assert desk.session.state is SessionState.ENDED
    assert desk.ended == [desk.session]
    desk.session.send(Opcode.SPEAKING, {}, numbered=True)
    assert not desk.wire.sent
    closed = asyncio.create_task(desk.session.wait_closed())
    await asyncio.sleep(0)
    assert not closed.done()
    desk.session.detach(desk.wire, sent=4014, received=None)
    await closed
    assert desk.session.report().close_code_sent == 4014


def test_violations_are_bounded_and_reach_the_server() -> None:
    desk = Desk()
    for index in range(MAX_VIOLATIONS + 5):
        desk.session.violate(f"fault {index}")
    report = desk.session.report()
    assert len(report.violations) == MAX_VIOLATIONS
    assert report.violations_left_out == 5
    assert "5 further violations" in report.problems
    assert desk.recorded[0] == "guild 1, user 3: fault 0"


def test_the_key_goes_to_the_client_only() -> None:
    desk = Desk()
    mode = transport_mode("aead_aes256_gcm_rtpsize")
    assert mode is not None
    desk.session.announce_key(mode, tell=True)
    data = desk.wire.sent[-1]["d"]
    key = bytes(data["secret_key"])
    assert data["dave_protocol_version"] == 0
    shown = repr(desk.session) + repr(desk.session.report()) + json.dumps(desk.session.report().to_dict())
    for secret in (repr(key), key.hex(), str(list(key)), desk.grant.token, desk.grant.session_id):
        assert secret not in shown


def test_fatal_media_faults_end_the_session() -> None:
    desk = Desk()
    desk.session.media.fatal = "audio came too early"
    desk.session.attend()
    desk.session.attend()
    assert desk.wire.closes == [CloseCode.BAD_REQUEST]
    assert desk.session.violations == ["audio came too early"]


def test_binary_messages_are_numbered_with_the_others_and_kept() -> None:
    desk = Desk(first_sequence=0xFFFE)
    assert desk.number(1) == [0xFFFE]
    desk.session.send_binary(DaveOpcode.PROPOSALS, b"payload")
    assert desk.wire.binaries == [b"\xff\xff\x1bpayload"]
    assert desk.number(1) == [0]
    assert desk.session.take_up(Wire(), 0xFFFE)[0] == desk.wire.binaries[0]
    desk.session.end()
    desk.session.send_binary(DaveOpcode.PROPOSALS, b"too late")
    assert len(desk.wire.binaries) == 1


def test_what_dave_says_is_reported() -> None:
    desk = Desk()
    for message in (external_sender(b"package"), execute_transition(4), prepare_epoch(1, 5)):
        desk.session.send_dave(message, 1, 3)
    assert [message["op"] for message in desk.wire.sent] == [22, 24]
    assert [message["seq"] for message in desk.wire.sent] == [2, 3]
    report = desk.session.report()
    assert (report.dave_protocol_version, report.dave_epoch, report.dave_transitions) == (1, 3, 1)
