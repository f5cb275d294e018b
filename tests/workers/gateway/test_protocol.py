from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import ManualClock
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveMessage,
    GatewayClosed,
    GatewayEvent,
    GatewayFailed,
    HeartbeatLost,
    Ready,
    Resumed,
    SessionDescription,
    Skipped,
    SpeakingUpdate,
    VoiceIdentity,
)
from voicepool.workers.gateway.opcodes import SpeakingFlag, VoiceOpcode
from voicepool.workers.gateway.protocol import OUTGOING_LIMIT, VoiceGatewayProtocol
from voicepool.workers.gateway.skipped import UNKNOWN_OPCODES_KEPT
from voicepool.workers.gateway.states import GatewayState, IllegalMoveError

IDENTITY = VoiceIdentity(server_id=41, user_id=10, session_id="SECRET-session", token="SECRET-token")
KEY = list(range(32))
READY = {"ssrc": 7, "ip": "127.0.0.1", "port": 1234, "modes": ["a", "b"], "heartbeat_interval": 1}
DESCRIPTION = {"mode": "a", "secret_key": KEY, "dave_protocol_version": 0}


T = TypeVar("T")


class Client:
    """The protocol with a manual clock; says in one word what each test does to it."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.core = VoiceGatewayProtocol(
            IDENTITY, server="voice.example:2048", jitter=lambda: 0.5, step_timeout_s=5.0, **options
        )

    def opened(self) -> Client:
        self.core.connection_opened(self.clock())
        return self

    def gets(self, op: int, d: object = None, seq: int | None = None) -> Client:
        message = {"op": op, "d": d} | ({} if seq is None else {"seq": seq})
        return self.gets_text(json.dumps(message))

    def gets_text(self, text: str) -> Client:
        self.core.receive_text(text, self.clock())
        return self

    def gets_binary(self, data: bytes) -> Client:
        self.core.receive_binary(data, self.clock())
        return self

    def selects(self) -> Client:
        self.core.select_protocol("203.0.113.9", 4242, "a", self.clock())
        return self

    def established(self, interval_ms: float = 10_000) -> Client:
        self.opened().gets(8, {"heartbeat_interval": interval_ms}).gets(2, READY).selects().gets(
            4, DESCRIPTION
        )
        self.core.events()
        self.core.outgoing()
        return self

    def is_in(self, state: GatewayState) -> bool:
        return self.core.state is state

    def told(self, kind: type[T]) -> list[T]:
        """Return the events, all of which must be of this kind."""
        events = self.core.events()
        assert all(isinstance(event, kind) for event in events), events
        return [event for event in events if isinstance(event, kind)]

    def goes_to_deadline(self) -> float:
        deadline = self.core.next_deadline()
        assert deadline is not None
        self.clock.advance(deadline - self.clock())
        self.core.tick(self.clock())
        return self.clock()

    def sent(self) -> list[tuple[int, Any]]:
        return [(message["op"], message["d"]) for message in map(json.loads, self.core.outgoing())]

    def failure(self) -> CallError:
        (event,) = [event for event in self.core.events() if isinstance(event, GatewayFailed)]
        assert self.core.state is GatewayState.CLOSING
        assert self.core.closing() is not None
        assert self.core.next_deadline() is None
        return event.error


# The handshake.


def test_the_whole_handshake() -> None:
    client = Client(max_dave_protocol_version=1)
    core = client.core
    assert client.is_in(GatewayState.NEW)
    client.opened()
    assert client.sent() == [
        (
            0,
            {
                "server_id": "41",
                "user_id": "10",
                "session_id": "SECRET-session",
                "token": "SECRET-token",
                "max_dave_protocol_version": 1,
            },
        )
    ]
    client.gets(8, {"heartbeat_interval": 41_250, "v": 8}).gets(2, READY)
    assert core.events() == [Ready(ssrc=7, ip="127.0.0.1", port=1234, modes=("a", "b"))]
    client.selects()
    data = {"address": "203.0.113.9", "port": 4242, "mode": "a"}
    assert client.sent() == [(1, {"protocol": "udp", "data": data})]
    client.gets(4, DESCRIPTION)
    assert core.events() == [SessionDescription(mode="a", secret_key=bytes(KEY), dave_protocol_version=0)]
    assert client.is_in(GatewayState.ESTABLISHED)
    assert core.closing() is None


def test_events_and_outgoing_are_handed_out_once() -> None:
    client = Client().opened()
    assert client.core.outgoing()
    assert client.core.outgoing() == []
    client.gets(2, READY)
    assert client.core.events()
    assert client.core.events() == []


def test_dave_version_is_carried() -> None:
    client = Client().opened().gets(2, READY).selects()
    client.core.events()
    client.gets(4, DESCRIPTION | {"dave_protocol_version": 1})
    assert [event.dave_protocol_version for event in client.told(SessionDescription)] == [1]


def test_selecting_before_ready_or_twice_is_a_defect() -> None:
    client = Client().opened()
    with pytest.raises(IllegalMoveError, match="select_protocol is not allowed in state identifying"):
        client.selects()
    client.gets(2, READY).selects()
    with pytest.raises(IllegalMoveError, match="awaiting_key"):
        client.selects()


@pytest.mark.parametrize(
    ("prepare", "awaited"),
    [
        (lambda client: client.opened(), "HELLO"),
        (lambda client: client.opened().gets(8, {"heartbeat_interval": 60_000}), "READY"),
        (lambda client: client.opened().gets(2, READY), "HELLO"),
        (
            lambda client: client.opened().gets(8, {"heartbeat_interval": 60_000}).gets(2, READY).selects(),
            "SESSION_DESCRIPTION",
        ),
    ],
)
def test_a_step_without_an_answer_fails_by_name(prepare: Callable[..., Client], awaited: str) -> None:
    client = prepare(Client())
    assert client.goes_to_deadline() == 1_005.0
    error = client.failure()
    assert error.code is ErrorCode.CONNECT_TIMEOUT
    assert error.text.startswith(f"voice.example:2048 sent no {awaited} within 5 s. ")
    assert error.data == {"step": awaited}
    assert client.core.closing() == 1000


def test_no_resumed_fails_by_name() -> None:
    client = Client(resume=True).opened().gets(8, {"heartbeat_interval": 60_000})
    client.goes_to_deadline()
    assert client.failure().data == {"step": "RESUMED"}


def test_our_own_discovery_has_no_deadline_here() -> None:
    client = Client().opened().gets(8, {"heartbeat_interval": 60_000}).gets(2, READY)
    assert client.core.next_deadline() == 1_030.0  # the first heartbeat


# Order and nonsense.


EARLY = [
    ((5, {"user_id": "9", "ssrc": 3, "speaking": 1}), SpeakingUpdate(9, 3, SpeakingFlag.MICROPHONE)),
    ((11, {"user_ids": ["1", "2"]}), ClientsConnected((1, 2))),
    ((13, {"user_id": "1"}), ClientDisconnected(1)),
    ((18, {"user_id": "1", "flags": 0}), None),
    ((20, {"user_id": "1", "platform": 0}), None),
    ((21, {"protocol_version": 1}), DaveMessage(21, b'{"protocol_version": 1}', None, binary=False)),
]


@pytest.mark.parametrize(("message", "event"), EARLY)
@pytest.mark.parametrize("moment", range(5))
def test_news_is_taken_at_any_moment_of_the_handshake(
    message: tuple[int, Any], event: GatewayEvent | None, moment: int
) -> None:
    client = Client()
    steps: list[Callable[[], Client]] = [
        client.opened,
        lambda: client.gets(8, {"heartbeat_interval": 1_000}),
        lambda: client.gets(2, READY),
        client.selects,
        lambda: client.gets(4, DESCRIPTION),
    ]
    for position, step in enumerate(steps):
        step()
        if position == moment:
            client.gets(*message)
    assert client.core.state is GatewayState.ESTABLISHED
    events = client.core.events()
    others = [each for each in events if not isinstance(each, Ready | SessionDescription)]
    assert others == ([] if event is None else [event])
    assert len(events) == 2 + len(others)
    assert not client.core.skipped.unknown_opcodes


def test_an_early_key_is_kept_until_it_is_wanted_and_the_newer_one_counts() -> None:
    client = Client().opened().gets(4, DESCRIPTION | {"mode": "old"}).gets(2, READY).gets(4, DESCRIPTION)
    assert [type(event) for event in client.core.events()] == [Ready]
    client.selects()
    assert [event.mode for event in client.told(SessionDescription)] == ["a"]
    assert client.core.state is GatewayState.ESTABLISHED


def test_a_key_that_comes_again_is_told_again() -> None:
    client = Client().established().gets(4, DESCRIPTION)
    assert [type(event) for event in client.core.events()] == [SessionDescription]
    assert client.core.state is GatewayState.ESTABLISHED


def test_messages_without_use_are_counted() -> None:
    client = Client().established().gets(2, READY).gets(9).gets(2, READY)
    assert client.core.skipped.unexpected == {VoiceOpcode.READY: 2, VoiceOpcode.RESUMED: 1}
    assert client.core.skipped.total == 3
    assert client.core.events() == [Skipped("an unexpected READY"), Skipped("an unexpected RESUMED")]


def test_unknown_opcodes_are_counted_within_bounds() -> None:
    client = Client().established()
    for op in range(1_000, 1_000 + 2 * UNKNOWN_OPCODES_KEPT):
        client.gets(op).gets(op)
    client.gets(-5)
    client.gets(10**30)
    counted = client.core.skipped.unknown_opcodes
    assert len(counted) == UNKNOWN_OPCODES_KEPT + 1
    assert counted[1_000] == 2
    assert sum(counted.values()) == client.core.skipped.total == 4 * UNKNOWN_OPCODES_KEPT + 2
    told = client.core.events()
    assert told == [
        *(Skipped(f"unknown opcode {op}") for op in range(1_000, 1_000 + UNKNOWN_OPCODES_KEPT)),
        Skipped("other unknown opcodes"),
    ]
    assert client.core.state is GatewayState.ESTABLISHED


MALFORMED = [
    "",
    "null",
    "[]",
    "{}",
    '{"op": "2"}',
    '{"op": 5, "d"',
    '{"op": 5}',
    '{"op": 5, "d": {"user_id": "x", "ssrc": 1}}',
    '{"op": 11, "d": {"user_ids": 5}}',
    '{"op": 13, "d": []}',
    '{"op": 6, "d": {"t": "soon"}}',
    '{"op": 5, "d": {"user_id": 1, "ssrc": -1}}',
    '{"op": 4, "d": {"mode": "a", "secret_key": [1]}}',
    '{"op": 8, "d": {"heartbeat_interval": 0}}',
    '{"op": 8, "d": {"heartbeat_interval": 1e400}}',
    '{"op": 99, "seq": "x"}',
    '{"op": 12, "seq": 65536}',
    '{"op": 12, "seq": -1}',
    '{"op": 1, "d": ' + "[" * 100_000,
    '{"op": 5, "d": "\udc80"}',
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_text_is_counted_and_the_call_goes_on(text: str) -> None:
    client = Client().established()
    client.gets_text(text)
    client.gets_text(text)
    assert client.core.skipped.malformed == client.core.skipped.total == 2
    (skipped,) = client.core.events()
    assert isinstance(skipped, Skipped)
    assert client.core.state is GatewayState.ESTABLISHED


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1"])
def test_a_short_binary_frame_is_malformed(data: Any) -> None:
    client = Client().established().gets_binary(data)
    assert client.core.skipped.malformed == 1


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda client: client.opened(), (8, {})),
        (lambda client: client.opened(), (2, READY | {"port": 0})),
        (lambda client: client.opened(), (2, None)),
        (lambda client: client.opened().gets(2, READY).selects(), (4, DESCRIPTION | {"secret_key": KEY[1:]})),
    ],
)
def test_an_unreadable_step_ends_the_handshake(
    prepare: Callable[..., Client], message: tuple[int, Any]
) -> None:
    client = prepare(Client())
    client.gets(*message)
    error = client.failure()
    assert error.code is ErrorCode.PROTOCOL
    assert VoiceOpcode(message[0]).name in error.text
    assert client.core.skipped.malformed == 1
    assert client.core.outgoing() == []


def test_nothing_is_read_once_closing() -> None:
    client = Client().opened().gets(2, None)
    client.core.events()
    client.gets(2, READY).gets_binary(b"\0\1\x19")
    assert client.core.events() == []
    assert client.core.last_seq == -1


@settings(max_examples=300)
@given(
    st.lists(
        st.text(max_size=40)
        | st.binary(max_size=40)
        | st.builds(
            lambda op, d, seq: json.dumps({"op": op, "d": d, "seq": seq}),
            st.integers(-1, 40),
            st.sampled_from(
                [None, READY, DESCRIPTION, {"heartbeat_interval": 5}, {"user_id": "1", "ssrc": 2}]
            )
            | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5),
            st.none() | st.integers(-5, 70_000),
        ),
        max_size=30,
    ),
    st.data(),
)
def test_no_server_can_crash_it(frames: list[str | bytes], data: Any) -> None:
    client = Client(resume=data.draw(st.booleans())).opened()
    for frame in frames:
        if isinstance(frame, bytes):
            client.gets_binary(frame)
        else:
            client.gets_text(frame)
        if client.core.state is GatewayState.SELECTING and data.draw(st.booleans()):
            client.selects()
        deadline = client.core.next_deadline()
        if deadline is not None and data.draw(st.booleans()):
            client.goes_to_deadline()
        assert -1 <= client.core.last_seq <= 0xFFFF
    client.core.connection_lost(1006, "", client.clock())
    assert [type(event) for event in client.core.events()].count(GatewayClosed) == 1


# Sequence numbers and the end-to-end encryption's messages.


def test_seq_comes_from_json_and_from_binary_frames_unsigned() -> None:
    client = Client().established()
    assert client.core.last_seq == -1
    client.gets(11, {"user_ids": []}, seq=65_535)
    assert client.core.last_seq == 65_535
    client.gets_binary(b"\x80\x01\x19sender")
    assert client.core.last_seq == 0x8001
    client.gets(12, {}, seq=0)
    assert client.core.last_seq == 0
    client.gets(6, {"t": 1})
    assert client.core.last_seq == 0


def test_binary_frames_are_passed_on() -> None:
    client = Client().opened().gets_binary(b"\x00\x05\x19\x01\x02\x03").gets_binary(b"\x00\x06\x05")
    assert client.core.events() == [
        DaveMessage(25, b"\x01\x02\x03", 5, binary=True),
        Skipped("unknown opcode 5"),
    ]
    assert client.core.skipped.unknown_opcodes == {5: 1}


# Heartbeats.


def test_heartbeats_carry_the_last_seq_and_measure_the_round_trip() -> None:
    client = Client().established(interval_ms=10_000)
    assert client.goes_to_deadline() == 1_005.0
    client.gets(11, {"user_ids": []}, seq=3)
    ((op, body),) = client.sent()
    assert (op, body["seq_ack"]) == (3, -1)
    client.clock.advance(0.125)
    client.gets(6, body)
    assert client.core.rtt_s == 0.125
    assert client.goes_to_deadline() == 1_015.0
    ((_, later),) = client.sent()
    assert later["seq_ack"] == 3
    assert later["t"] != body["t"]


def test_readys_own_interval_is_ignored() -> None:
    client = (
        Client().opened().gets(8, {"heartbeat_interval": 20_000}).gets(2, READY | {"heartbeat_interval": 1})
    )
    assert client.core.next_deadline() == 1_010.0


def test_hello_may_change_the_interval() -> None:
    client = Client().established(interval_ms=10_000).gets(8, {"heartbeat_interval": 2_000})
    assert client.core.next_deadline() == 1_001.0


def test_an_unreadable_second_hello_is_only_counted() -> None:
    client = Client().established().gets(8, {})
    assert client.core.state is GatewayState.ESTABLISHED


def test_silence_is_noticed_and_asks_for_a_resumable_close() -> None:
    client = Client(unanswered_limit=2).established(interval_ms=10_000)
    for _ in range(3):
        client.goes_to_deadline()
    assert client.core.events() == [HeartbeatLost(unanswered=2, silent_s=20.0)]
    assert client.core.closing() == 3000
    assert client.core.outgoing() == []
    assert client.core.next_deadline() is None


def test_an_early_tick_does_nothing() -> None:
    client = Client().established()
    client.core.tick(client.clock())
    assert client.sent() == []


# Speaking.


def test_speaking_is_sent() -> None:
    client = Client().established()
    client.core.set_speaking(SpeakingFlag.MICROPHONE | SpeakingFlag.PRIORITY, 7)
    assert client.sent() == [(5, {"speaking": 5, "delay": 0, "ssrc": 7})]


def test_speaking_waits_for_the_key_and_only_the_newest_is_sent() -> None:
    client = Client().opened().gets(2, READY).selects()
    client.core.outgoing()
    client.core.set_speaking(1, 7)
    client.core.set_speaking(0, 7)
    assert client.sent() == []
    client.gets(4, DESCRIPTION)
    assert client.sent() == [(5, {"speaking": 0, "delay": 0, "ssrc": 7})]
    client.gets(4, DESCRIPTION)
    assert client.sent() == []


def test_speaking_waits_for_resumed() -> None:
    client = Client(resume=True, seq_ack=4).opened()
    client.core.outgoing()
    client.core.set_speaking(1, 7)
    client.gets(9)
    assert client.sent() == [(5, {"speaking": 1, "delay": 0, "ssrc": 7})]


def test_speaking_after_the_end_is_a_defect() -> None:
    client = Client().established()
    client.core.close()
    with pytest.raises(IllegalMoveError, match="set_speaking is not allowed in state closing"):
        client.core.set_speaking(1, 7)


# Resume.


def test_resume() -> None:
    client = Client(resume=True, seq_ack=65_535).opened()
    body = {
        "server_id": "41",
        "session_id": "SECRET-session",
        "token": "SECRET-token",
        "seq_ack": 65_535,
    }
    assert client.sent() == [(7, body)]
    client.gets(8, {"heartbeat_interval": 10_000})
    client.gets(5, {"user_id": "9", "ssrc": 3, "speaking": 1}, seq=0).gets(9)
    assert client.core.events() == [SpeakingUpdate(9, 3, SpeakingFlag.MICROPHONE), Resumed()]
    assert client.core.state is GatewayState.ESTABLISHED
    client.goes_to_deadline()
    assert client.sent()[0][1]["seq_ack"] == 0


def test_a_key_before_resumed_is_kept() -> None:
    client = Client(resume=True).opened().gets(4, DESCRIPTION)
    assert client.core.events() == []
    client.gets(9)
    assert [type(event) for event in client.core.events()] == [Resumed, SessionDescription]


def test_ready_during_a_resume_is_counted_only() -> None:
    client = Client(resume=True).opened().gets(2, READY)
    assert client.core.skipped.unexpected == {VoiceOpcode.READY: 1}
    assert client.core.state is GatewayState.RESUMING


# The end.


def test_close_sends_what_is_left_first() -> None:
    client = Client().established()
    client.core.set_speaking(0, 7)
    client.core.close(1000)
    client.core.close(3000)
    assert client.core.closing() == 1000
    assert [op for op, _ in client.sent()] == [5]
    assert client.core.next_deadline() is None


@pytest.mark.parametrize("prepare", [Client, lambda: Client().opened(), lambda: Client().established()])
def test_closed_is_told_once_and_nothing_after(prepare: Callable[..., Client]) -> None:
    client = prepare()
    client.core.connection_lost(4014, "Disconnected.", client.clock())
    client.core.connection_lost(1006, "", client.clock())
    expected = GatewayClosed(code=4014, reason="Disconnected.", by_us=False, server="voice.example:2048")
    assert client.core.events() == [expected]
    client.gets(2, READY).gets_binary(b"\0\1\x19")
    assert client.core.events() == []
    assert client.core.outgoing() == []
    assert client.core.next_deadline() is None


def test_closed_becomes_an_error_and_a_policy() -> None:
    client = Client().opened()
    client.core.connection_lost(4004, "", client.clock())
    (closed,) = client.told(GatewayClosed)
    assert closed.to_error().code is ErrorCode.AUTHENTICATION
    assert closed.to_error().data == {"close_code": 4004}
    assert closed.policy.error is ErrorCode.AUTHENTICATION


def test_a_caller_that_cannot_send_any_more_ends_it_at_the_bound() -> None:
    client = Client().established()
    for _ in range(OUTGOING_LIMIT):
        client.core.set_speaking(1, 7)
    assert client.core.state is GatewayState.ESTABLISHED
    client.core.set_speaking(1, 7)
    assert client.failure().data == {"step": "sending"}
    assert client.core.closing() == 3000
    assert client.core.outgoing() == []


def test_secrets_are_in_no_text() -> None:
    client = Client()
    shown = [repr(client.core), repr(IDENTITY)]
    client.opened().gets(2, READY).selects().gets(4, DESCRIPTION | {"secret_key": [83] * 33})
    shown += [repr(event) for event in client.core.events()] + [repr(client.core)]
    assert not [text for text in shown if "SECRET" in text or "83, 83" in text]
