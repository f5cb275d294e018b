"""The voice gateway's client side, in each state, against a server that sends anything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import FUZZ, HOSTILE_JSON, hostile_bodies, largest_container, mutants, random_damage
from voicepool.workers.gateway.events import GatewayFailed, Skipped, VoiceIdentity
from voicepool.workers.gateway.protocol import OUTGOING_LIMIT, VoiceGatewayProtocol
from voicepool.workers.gateway.skipped import UNKNOWN_OPCODES_KEPT
from voicepool.workers.gateway.states import GatewayState

SECRETS = ("SECRET-session", "SECRET-token")
KEY = list(range(200, 232))
BODIES: dict[int, dict[str, Any]] = {
    2: {"ssrc": 7, "ip": "127.0.0.1", "port": 1234, "modes": ["a", "b"]},
    4: {"mode": "a", "secret_key": KEY, "dave_protocol_version": 1},
    5: {"user_id": "5", "ssrc": 9, "speaking": 1},
    6: {"t": 1_000_000},
    8: {"v": 8, "heartbeat_interval": 5_000.0},
    9: {"nothing": None},
    11: {"user_ids": ["5", "6"]},
    13: {"user_id": "5"},
    21: {"transition_id": 1, "protocol_version": 0},
    99: {"anything": 1},
}
WELL_FORMED = [json.dumps({"op": op, "d": body, "seq": op}).encode() for op, body in BODIES.items()]
NESTED = b'{"op":8,"d":' + b"[" * 100_000


def fresh(**options: Any) -> VoiceGatewayProtocol:
    identity = VoiceIdentity(server_id=41, user_id=10, session_id=SECRETS[0], token=SECRETS[1])
    return VoiceGatewayProtocol(identity, server="voice.example:2048", jitter=lambda: 0.5, **options)


def say(core: VoiceGatewayProtocol, op: int) -> None:
    core.receive_text(json.dumps({"op": op, "d": BODIES[op]}), 1_000.0)


def identifying() -> VoiceGatewayProtocol:
    core = fresh(max_dave_protocol_version=1)
    core.connection_opened(1_000.0)
    return core


def resuming() -> VoiceGatewayProtocol:
    core = fresh(resume=True, seq_ack=3)
    core.connection_opened(1_000.0)
    return core


def ready() -> VoiceGatewayProtocol:
    core = identifying()
    say(core, 8)
    say(core, 2)
    return core


def awaiting_key() -> VoiceGatewayProtocol:
    core = ready()
    core.select_protocol("192.0.2.1", 5_000, "a", 1_000.0)
    return core


def established() -> VoiceGatewayProtocol:
    core = awaiting_key()
    say(core, 4)
    return core


def closing() -> VoiceGatewayProtocol:
    core = established()
    core.close()
    return core


def closed() -> VoiceGatewayProtocol:
    core = established()
    core.connection_lost(1006, "", 1_000.0)
    return core


STATES = [fresh, identifying, resuming, ready, awaiting_key, established, closing, closed]


@st.composite
def _envelopes(draw: st.DrawFn) -> bytes:
    op = draw(st.sampled_from(sorted(BODIES)))
    message: dict[str, object] = {"op": op, "d": draw(hostile_bodies(BODIES[op]))}
    if draw(st.booleans()):
        message["seq"] = draw(st.one_of(st.integers(-2, 70_000), HOSTILE_JSON))
    return json.dumps(message).encode()


TEXTS = st.one_of(_envelopes(), _envelopes(), mutants(WELL_FORMED))
BINARIES = mutants([bytes((0, 5, op)) + b"payload" for op in (21, 25, 27, 29, 30, 31, 200)])
MESSAGES = st.lists(st.tuples(st.booleans(), TEXTS, BINARIES), max_size=6)


def check(core: VoiceGatewayProtocol) -> None:
    """What holds after whatever was received; takes what waits, as the connection does."""
    events = core.events()
    shown = repr((core, events)) + "".join(str(e.error) for e in events if isinstance(e, GatewayFailed))
    assert not any(secret in shown for secret in (*SECRETS, str(KEY), repr(bytes(KEY))))
    assert len(core.outgoing()) <= OUTGOING_LIMIT
    assert -1 <= core.last_seq <= 0xFFFF
    deadline = core.next_deadline()
    assert deadline is None or 1_000.0 <= deadline < 1_000_000.0
    assert (core.closing() is not None) >= any(isinstance(event, GatewayFailed) for event in events)


@pytest.mark.parametrize("state", STATES)
@FUZZ
@given(messages=MESSAGES)
@example(messages=[(True, NESTED, b"")])
@example(messages=[(True, b"\xff\xfe", b""), (True, b"", b""), (True, b'{"op":"\\ud800","d":1}', b"")])
def test_no_message_breaks_any_state(
    state: Callable[[], VoiceGatewayProtocol], messages: list[tuple[bool, bytes, bytes]]
) -> None:
    core = state()
    now = 1_000.0
    for is_text, text, binary in messages:
        if is_text:
            core.receive_text(text, now)
        else:
            core.receive_binary(binary, now)
        check(core)
        now += 1.0
        core.tick(now)
        check(core)


@FUZZ
@given(data=mutants(WELL_FORMED))
@example(data=NESTED)
def test_what_is_no_envelope_is_counted_and_changes_nothing_else(data: bytes) -> None:
    core = established()
    core.events()
    try:
        # As forgiving as our own reader, which does not look into what it passes on or leaves out.
        message = json.loads(data.decode("utf-8", "replace"), parse_int=str, parse_float=str)
        is_envelope = isinstance(message, dict)
    except (ValueError, RecursionError):
        is_envelope = False
    core.receive_text(data, 1_001.0)
    if not is_envelope:
        assert core.skipped.malformed == 1
        assert [type(event) for event in core.events()] == [Skipped]
    assert core.state is GatewayState.ESTABLISHED


@FUZZ
@given(op=st.integers(-(2**70), 2**70).filter(lambda op: op not in range(32)), body=HOSTILE_JSON)
def test_unknown_opcodes_are_skipped_and_counted(op: int, body: object) -> None:
    core = established()
    core.events()
    core.receive_text(json.dumps({"op": op, "d": body}), 1_001.0)
    assert core.skipped.total == 1
    assert [type(event) for event in core.events()] == [Skipped]
    assert core.state is GatewayState.ESTABLISHED


@pytest.mark.parametrize("state", [identifying, resuming, ready, awaiting_key, established])
def test_ten_thousand_messages_leave_nothing_behind(state: Callable[[], VoiceGatewayProtocol]) -> None:
    number = random.Random(7)
    core = state()
    # In these states a readable step of the handshake would only move the test into the next one.
    seeds = [data for data in WELL_FORMED if json.loads(data)["op"] not in {2, 4, 8, 9}]
    for index in range(10_000):
        if index % 3:
            core.receive_text(random_damage(seeds, number), 1_000.0)
        elif index % 2:
            core.receive_text(b'{"op":%d,"d":null,"seq":%d}' % (1_000 + index, index), 1_000.0)
        else:
            core.receive_binary(number.randbytes(number.randrange(40)), 1_000.0)
        check(core)
    assert core.skipped.malformed > 1_000
    assert core.skipped.unknown_opcodes.total() > 1_000
    assert core.state is state().state
    size, path = largest_container(core)
    assert size <= max(UNKNOWN_OPCODES_KEPT + 1, OUTGOING_LIMIT), path
