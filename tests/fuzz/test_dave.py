"""End-to-end encryption against a server, and members, that send anything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes import dave_mls
from tests.fakes.clock import ManualClock
from tests.fakes.dave_call import EncryptedCall
from tests.fakes.dave_group import ScriptedGroup
from tests.fuzz import FUZZ, attempt, hostile_bodies, largest_container, mutants, random_damage
from voicepool.workers.dave.frames import FrameSealer, is_protocol_frame
from voicepool.workers.dave.inbox import EARLY_MAX
from voicepool.workers.dave.messages import (
    BodyError,
    DaveReply,
    read_execute_transition,
    read_mls_transition,
    read_prepare_epoch,
    read_prepare_transition,
    read_proposals_operation,
)
from voicepool.workers.dave.mls import (
    MlsFormatError,
    key_package_ref,
    read_commit,
    read_external_sender,
    read_key_package,
    read_proposals,
    read_references,
    read_welcome_references,
)
from voicepool.workers.dave.proposals import TAKEN_MAX
from voicepool.workers.dave.protocol import DaveProtocol
from voicepool.workers.dave.transitions import PENDING_MAX
from voicepool.workers.gateway.events import DaveMessage

GROUP, US, THEM = 99, 1, 2
OPUS = b"\x78some opus"
BOUND = 1_024
"""More than any of the bounds of `workers.dave` but one: users of a channel, who are not fed here."""

ADDS = [dave_mls.add(GROUP, epoch, THEM, number) for epoch in (0, 1) for number in range(2)]
PROPOSALS = [
    *ADDS,
    dave_mls.remove(GROUP, 1, 1),
    dave_mls.add(GROUP, 0, 3),
    dave_mls.add(GROUP, 0, 2, by_member=True),
]
REFERENCES = [proposal.reference for proposal in read_proposals(dave_mls.append(PROPOSALS)[1:])]
PACKAGES = [dave_mls.key_package(US, number) for number in range(3)]
COMMITS = [
    dave_mls.commit(GROUP, 0),
    dave_mls.commit(GROUP, 1, REFERENCES, committer=THEM),
    dave_mls.commit(GROUP, 0, REFERENCES[:1], inline=True),
]
WELCOMES = [dave_mls.welcome([key_package_ref(package)]) for package in PACKAGES]

TEXT_BODIES: dict[int, dict[str, object]] = {
    21: {"transition_id": 1, "protocol_version": 1},
    22: {"transition_id": 1},
    24: {"protocol_version": 1, "epoch": 1, "transition_id": 2},
}
BINARY_SEEDS = {
    25: [dave_mls.EXTERNAL_SENDER],
    27: [dave_mls.append(PROPOSALS[:2]), dave_mls.append(PROPOSALS), dave_mls.revoke(REFERENCES)],
    29: [number.to_bytes(2) + commit for number in (0, 1) for commit in COMMITS],
    30: [number.to_bytes(2) + welcome for number in (0, 1) for welcome in WELCOMES],
}


@st.composite
def _messages(draw: st.DrawFn) -> DaveMessage:
    seq = draw(st.one_of(st.none(), st.integers(0, 0xFFFF)))
    opcode = draw(st.sampled_from((*TEXT_BODIES, *BINARY_SEEDS, 23, 26, 28, 31, 0, 255)))
    binary = draw(st.sampled_from((opcode in BINARY_SEEDS,) * 7 + (opcode not in BINARY_SEEDS,)))
    if opcode in TEXT_BODIES:
        payload = json.dumps(draw(hostile_bodies(TEXT_BODIES[opcode]))).encode()
    else:
        seeds = BINARY_SEEDS.get(opcode, [b"{}"])
        payload = draw(st.one_of(st.sampled_from(seeds), mutants(seeds)))
    return DaveMessage(opcode=opcode, payload=payload, seq=seq, binary=binary)


def scripted(**options: Any) -> tuple[DaveProtocol, FrameSealer]:
    sealer = FrameSealer()
    core = DaveProtocol(ScriptedGroup(US, GROUP, **options), sealer)
    core.members_changed(joined=[THEM])
    return core, sealer


def check(core: DaveProtocol, sealer: FrameSealer) -> None:
    """What holds after whatever was received; takes what waits, as the session does."""
    core.events()
    assert all(isinstance(reply, DaveReply) and reply.opcode in {23, 26, 28, 31} for reply in core.outgoing())
    assert core.protocol_version == 0 or sealer.seal(OPUS) != OPUS, "in the clear"


@pytest.mark.parametrize("switches_on_merge", [True, False])
@pytest.mark.parametrize("version", [None, 0, 1, 9])
@FUZZ
@given(messages=st.lists(_messages(), max_size=12), passing_s=st.sampled_from((0.0, 3.0, 11.0)))
def test_no_message_breaks_the_protocol(
    version: int | None, messages: list[DaveMessage], passing_s: float, *, switches_on_merge: bool
) -> None:
    clock = ManualClock()
    core, sealer = scripted(switches_on_merge=switches_on_merge)
    if version is not None:
        core.session_description(version, clock())
    for message in messages:
        core.receive(message, clock())
        check(core, sealer)
        core.tick(clock.advance(passing_s))
        check(core, sealer)
    core.resumed()
    core.cannot_decrypt(clock())
    core.session_description(1, clock())
    check(core, sealer)


@FUZZ
@given(opcode=st.integers(0, 255), payload=st.binary(max_size=40), binary=st.booleans())
@example(opcode=21, payload=b"[" * 100_000, binary=False)
@example(opcode=24, payload=b'{"x":' * 100_000, binary=False)
def test_what_has_no_effect_is_counted(opcode: int, payload: bytes, *, binary: bool) -> None:
    core, sealer = scripted()
    core.session_description(1, 1.0)
    check(core, sealer)
    core.receive(DaveMessage(opcode=opcode, payload=payload, seq=None, binary=binary), 1.0)
    # Of all that is so short, only a list of no proposals is anything at all. What should have been our way
    # into the group and cannot be read is answered with opcode 31.
    assert core.dropped.total() + core.recoveries == 1 or (opcode == 27 and payload in {b"\0\0", b"\1\0"})


@pytest.mark.parametrize("described", [True, False])
def test_ten_thousand_messages_leave_nothing_behind(*, described: bool) -> None:
    number = random.Random(7)
    clock = ManualClock()
    core, sealer = scripted()
    if described:
        core.session_description(1, clock())
    texts = {opcode: [json.dumps(body).encode()] for opcode, body in TEXT_BODIES.items()}
    kinds = [
        *((op, seeds, False) for op, seeds in texts.items()),
        *((op, s, True) for op, s in BINARY_SEEDS.items()),
    ]
    for index in range(10_000):
        opcode, seeds, binary = number.choice(kinds)
        payload = number.choice(seeds) if index % 4 == 0 else random_damage(seeds, number)
        core.receive(DaveMessage(opcode=opcode, payload=payload, seq=index & 0xFFFF, binary=binary), clock())
        check(core, sealer)
        if index % 50 == 0:
            core.tick(clock.advance(1.0))
    assert core.dropped.total() > 5_000
    size, path = largest_container(core)
    assert size <= max(EARLY_MAX, PENDING_MAX), path


def test_endless_different_proposals_are_bounded() -> None:
    core, sealer = scripted()
    core.session_description(1, 1.0)
    core.receive(DaveMessage(opcode=25, payload=dave_mls.EXTERNAL_SENDER, seq=None, binary=True), 1.0)
    for batch in range(100):
        numbers = range(batch * 100, batch * 100 + 100)
        proposals = [dave_mls.add(GROUP, 0, THEM if n % 2 else 1_000 + n, n) for n in numbers]
        payload = dave_mls.append([*proposals, *(dave_mls.remove(GROUP, 0, n) for n in numbers)])
        core.receive(DaveMessage(opcode=27, payload=payload, seq=None, binary=True), 1.0)
        core.outgoing()
    check(core, sealer)
    assert core.membership.proposals_dropped == 20_000 - TAKEN_MAX
    size, path = largest_container(core)
    assert size <= TAKEN_MAX, path


# The readers alone.

READERS: list[tuple[Callable[[bytes], object], list[bytes]]] = [
    (read_proposals, [payload[1:] for payload in BINARY_SEEDS[27][:2]]),
    (read_references, [BINARY_SEEDS[27][2][1:]]),
    (read_commit, COMMITS),
    (read_external_sender, BINARY_SEEDS[25]),
    (read_key_package, PACKAGES),
    (read_welcome_references, WELCOMES),
]
BODY_READERS: list[tuple[Callable[[bytes], object], list[bytes]]] = [
    (read_prepare_transition, [json.dumps(TEXT_BODIES[21]).encode()]),
    (read_execute_transition, [json.dumps(TEXT_BODIES[22]).encode()]),
    (read_prepare_epoch, [json.dumps(TEXT_BODIES[24]).encode()]),
    (read_proposals_operation, BINARY_SEEDS[27]),
    (read_mls_transition, BINARY_SEEDS[29]),
]


@pytest.mark.parametrize(
    ("read", "seeds", "refusal"),
    [
        *((read, seeds, MlsFormatError) for read, seeds in READERS),
        *((read, seeds, BodyError) for read, seeds in BODY_READERS),
    ],
)
@FUZZ
@given(data=st.data())
def test_a_reader_reads_or_refuses(
    read: Callable[[bytes], object], seeds: list[bytes], refusal: type[Exception], data: st.DataObject
) -> None:
    for seed in seeds:
        read(seed)
    found = attempt(refusal, read, data.draw(mutants(seeds)))
    assert found is not None
    assert not isinstance(found, refusal) or str(found)


# The real library.


@pytest.fixture(scope="module")
def call() -> EncryptedCall:
    call = EncryptedCall()
    for user_id in (1, 2, 3):
        call.join(user_id)
        call.advance(3.0)
    assert call.is_sound()
    return call


@FUZZ
@given(data=st.data())
def test_no_damaged_frame_gives_noise(call: EncryptedCall, data: st.DataObject) -> None:
    opus, frame = call.clients[1].say()
    assert frame is not None
    opener = call.clients[2].opener
    before = opener.decrypted + opener.passed + opener.lost.total()
    damaged = data.draw(mutants([frame]))
    user_id = data.draw(st.sampled_from((1, 1, 3, 77)))
    heard = opener.open(user_id, damaged, call.clock())
    assert heard in {None, opus}
    assert heard is None or is_protocol_frame(damaged)
    assert opener.decrypted + opener.passed + opener.lost.total() == before + 1
    assert set(opener.lost) <= {"in_the_clear", "unknown_member", "undecryptable"}


def test_the_call_outlives_ten_thousand_damaged_frames(call: EncryptedCall) -> None:
    number = random.Random(7)
    _, frame = call.clients[1].say()
    assert frame is not None
    client = call.clients[3]
    for _ in range(10_000):
        client.opener.open(1, random_damage([frame[:-2], frame[:20] + frame[-12:]], number), call.clock())
    assert largest_container(client.opener)[0] <= BOUND
    assert call.hears(1, 3)


@FUZZ
@given(data=st.data())
def test_the_library_survives_damaged_messages(data: st.DataObject) -> None:
    call = EncryptedCall()
    call.join(1)
    client = call.join(2)
    call.advance(3.0)
    seeds = [message for message in client.got if message.binary]
    for _ in range(data.draw(st.integers(1, 6))):
        message = data.draw(st.sampled_from(seeds))
        payload = data.draw(mutants([message.payload]))
        received = DaveMessage(opcode=message.opcode, payload=payload, seq=None, binary=True)
        client.protocol.receive(received, call.clock())
        check(client.protocol, client.sealer)
    assert largest_container(client.protocol)[0] <= BOUND
