"""The stand-in for Discord, which faces clients that it does not know."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.dave_call import CHANNEL, EncryptedCall
from tests.fuzz import FUZZ, HOSTILE_JSON, attempt, hostile_bodies, largest_container, mutants, random_damage
from tests.testing.mls_builder import commit_bytes, key_package_bytes, leaf_node, path, welcome_bytes
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.mls_codec import MlsDecodeError
from voicepool.testing.mls_crypto import Signer
from voicepool.testing.mls_framing import parse_commit
from voicepool.testing.mls_key_package import check_key_package, parse_key_package
from voicepool.testing.mls_welcome import parse_welcome
from voicepool.testing.voice_messages import (
    CloseCode,
    Refusal,
    decode,
    parse_heartbeat,
    parse_identify,
    parse_resume,
    parse_select_protocol,
    parse_speaking,
)
from voicepool.testing.voice_rtp import (
    DISCOVERY_BYTES,
    RTP_HEADER_BYTES,
    opus_samples,
    parse_discovery,
    strip_rtp_extras,
    unencrypted_header_bytes,
)

SECRETS = {"session_id": "SECRET-session", "token": "SECRET-token"}
PARSERS: list[tuple[Callable[[object], object], dict[str, Any]]] = [
    (parse_identify, {"server_id": "1", "user_id": "2", "max_dave_protocol_version": 1, **SECRETS}),
    (parse_resume, {"server_id": "1", "seq_ack": 5, **SECRETS}),
    (parse_select_protocol, {"protocol": "udp", "data": {"address": "1.2.3.4", "port": 5, "mode": "m"}}),
    (parse_heartbeat, {"t": 5, "seq_ack": 5}),
    (parse_speaking, {"speaking": 1, "delay": 0, "ssrc": 7}),
]
TEXTS = [json.dumps({"op": 0, "d": body}).encode() for _, body in PARSERS]

SIGNER = Signer()
LEAF = leaf_node(2, SIGNER, source=3)
PACKAGES = [key_package_bytes(2, SIGNER), b"\x00\x01\x00\x05" + key_package_bytes(2, SIGNER)]
COMMITS = [commit_bytes([bytes(32)]), commit_bytes([b"a" * 32, b"b" * 32], encoded_path=path(LEAF))]
WELCOMES = [welcome_bytes([bytes(32)]), welcome_bytes([b"a" * 32, b"b" * 32])]


@FUZZ
@given(data=mutants(TEXTS))
@example(data=b'{"op":0,"d":' + b"[" * 100_000)
@example(data=b'{"op":' + b"9" * 10_000 + b',"d":0}')
@example(data=b'{"op":NaN,"d":Infinity}')
def test_a_message_is_decoded_or_refused(data: bytes) -> None:
    # The websocket has checked that a text frame is UTF-8 before.
    text = data.decode("utf-8", "replace")
    found = attempt(Refusal, decode, text)
    if isinstance(found, Refusal):
        assert found.code is CloseCode.FAILED_TO_DECODE
    else:
        assert isinstance(found[0], int)


@pytest.mark.parametrize(("parse", "body"), PARSERS)
@FUZZ
@given(data=st.data())
def test_a_body_is_taken_or_refused_without_its_secrets(
    parse: Callable[[object], object], body: dict[str, Any], data: st.DataObject
) -> None:
    assert parse(body) is not None
    hostile = data.draw(hostile_bodies(body))
    if isinstance(hostile, dict) and isinstance(hostile.get("data"), dict):
        hostile = {**hostile, "data": data.draw(hostile_bodies(hostile["data"] or {"mode": ""}))}
    found = attempt(Refusal, parse, hostile)
    assert "SECRET" not in repr(found)
    if isinstance(found, Refusal):
        codes = {CloseCode.FAILED_TO_DECODE, CloseCode.BAD_REQUEST, CloseCode.UNKNOWN_PROTOCOL}
        assert found.code in codes
        assert len(found.sentence) < 300


@FUZZ
@given(datagram=st.binary(min_size=DISCOVERY_BYTES, max_size=DISCOVERY_BYTES))
@example(datagram=b"\x00\x01\x00\x46" + bytes(DISCOVERY_BYTES - 4))
def test_a_discovery_request_is_right_or_explained(datagram: bytes) -> None:
    ssrc, problem = parse_discovery(datagram)
    assert ssrc == int.from_bytes(datagram[4:8])
    assert (problem is None) == datagram.startswith(b"\x00\x01\x00\x46")


@FUZZ
@given(
    packet=st.binary(min_size=RTP_HEADER_BYTES, max_size=90),
    plain=st.binary(max_size=90),
    rtpsize=st.booleans(),
)
def test_what_a_packet_claims_never_goes_beyond_it(packet: bytes, plain: bytes, *, rtpsize: bool) -> None:
    assert RTP_HEADER_BYTES <= unencrypted_header_bytes(packet) <= RTP_HEADER_BYTES + 64
    opus = strip_rtp_extras(packet, plain, rtpsize=rtpsize)
    if opus is not None:
        assert opus in plain
        assert 0 <= opus_samples(opus) <= 5_760


@pytest.mark.parametrize(
    ("parse", "seeds"), [(parse_key_package, PACKAGES), (parse_commit, COMMITS), (parse_welcome, WELCOMES)]
)
@FUZZ
@given(data=st.data())
def test_an_mls_structure_is_read_or_refused(
    parse: Callable[[bytes], object], seeds: list[bytes], data: st.DataObject
) -> None:
    for seed in seeds:
        parse(seed)
    found = attempt(MlsDecodeError, parse, data.draw(mutants(seeds)))
    assert not isinstance(found, MlsDecodeError) or str(found)


@FUZZ
@given(payload=mutants(PACKAGES))
def test_no_damaged_key_package_may_be_added(payload: bytes) -> None:
    try:
        package = parse_key_package(payload)
    except MlsDecodeError:
        return
    problem = check_key_package(package, 2)
    assert problem is None or problem
    # Its signature covers all of it, but not the two numbers before it that say what it is.
    assert problem is not None or payload.endswith(PACKAGES[0])


def a_call() -> tuple[EncryptedCall, list[tuple[int, bytes]]]:
    """Return a call of two, and what its members sent in binary: opcode and payload."""
    call = EncryptedCall()
    for user_id in (1, 2):
        call.join(user_id)
        call.advance(3.0)
    replies = [reply.data for client in call.clients.values() for reply in client.sent]
    return call, [(data[0], data[1:]) for data in replies if isinstance(data, bytes)]


@FUZZ
@given(data=st.data())
def test_no_binary_message_breaks_the_delivery_service(data: st.DataObject) -> None:
    call, seeds = a_call()
    service = call.service
    for _ in range(data.draw(st.integers(1, 6))):
        opcode, payload = data.draw(st.sampled_from(seeds))
        damaged = data.draw(st.one_of(st.just(payload), mutants([payload])))
        opcode = data.draw(st.sampled_from((opcode, opcode, opcode, 25, 30, 255)))
        user_id = data.draw(st.sampled_from((1, 2, 77)))
        assert service.receive_binary(user_id, opcode, damaged, call.clock()) == (opcode in {26, 28})
        service.tick(call.clock.advance(1.0))
    assert largest_container(service)[0] <= 1_000


@FUZZ
@given(
    opcode=st.sampled_from((23, 31, 23, 31, 22, 99)),
    body=st.one_of(hostile_bodies({"transition_id": 1}), HOSTILE_JSON),
    user_id=st.sampled_from((1, 77)),
)
def test_no_text_message_breaks_the_delivery_service(opcode: int, body: object, user_id: int) -> None:
    service = DaveDeliveryService(CHANNEL)
    service.connect(1, 1, 10.0)
    service.describe(1, 10.0)
    found = attempt(Refusal, service.receive_text, user_id, opcode, body, 10.0)
    if isinstance(found, Refusal):
        assert found.code is CloseCode.BAD_REQUEST
    else:
        assert found == (opcode in {23, 31})


def test_ten_thousand_messages_leave_the_delivery_service_small() -> None:
    number = random.Random(7)
    call, seeds = a_call()
    service = call.service
    for index in range(10_000):
        opcode, payload = number.choice(seeds)
        service.receive_binary(1 + index % 3, opcode, random_damage([payload], number), call.clock())
        if index % 5 == 0:
            service.receive_text(
                1 + index % 3, 23 if index % 2 else 31, {"transition_id": index}, call.clock()
            )
        service.outgoing()
    assert largest_container(service)[0] <= 1_000, largest_container(service)
    assert 0 < len(service.complaints()) <= 1_000
    assert service.complaints() == []
