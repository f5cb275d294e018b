"""Whatever comes, in whatever order: what must always hold."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import dave_mls
from tests.fakes.clock import ManualClock
from tests.fakes.dave_call import EncryptedCall
from tests.fakes.dave_group import BAD, ScriptedGroup
from voicepool.workers.dave.events import DaveRecovering, EncryptionChanged
from voicepool.workers.dave.frames import FrameSealer, is_protocol_frame
from voicepool.workers.dave.mls import key_package_ref
from voicepool.workers.dave.protocol import DaveProtocol
from voicepool.workers.dave.states import DaveState
from voicepool.workers.dave.transitions import PENDING_MAX
from voicepool.workers.gateway.events import DaveMessage

GROUP = 99
OPUS = b"some opus"
MOVES_OF_A_WALK = 120


class Walk:
    """One member that gets a random story. `step` does one thing and looks at what must hold after it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.group = ScriptedGroup(1, GROUP, switches_on_merge=self.random.random() < 0.5)
        self.sealer = FrameSealer()
        self.core = DaveProtocol(self.group, self.sealer)
        self.was_encrypted = False
        self.waiting: dict[int, int] = {}
        self.seq = 0

    def run(self, moves: int) -> None:
        self.core.session_description(1, self.clock())
        for _ in range(moves):
            self.step()

    def step(self) -> None:
        move = self.random.choices(
            (
                self.prepare,
                self.execute,
                self.new_group,
                self.external_sender,
                self.proposals,
                self.commit,
                self.welcome,
                self.members,
                self.time,
                self.describe,
                self.failing,
                self.resume,
                self.rubbish,
            ),
            weights=(4, 8, 2, 2, 6, 8, 6, 3, 2, 0.3, 0.5, 1, 2),
        )[0]
        core = self.core
        recovering = core.state is DaveState.RECOVERING
        key, transitions, groups = self.sealer._encrypt, core.execution.count, len(self.group.packages)
        name = move()
        replies = core.outgoing()
        events = core.events()

        frame = self.sealer.seal(OPUS)
        assert (frame == OPUS) == (core.protocol_version == 0), "in the clear only when that is in force"
        if name != "describe" and self.sealer._encrypt is not key and frame is not None:
            assert core.execution.count > transitions, "a key, or none, comes into use by an execution only"
        reports = [reply for reply in replies if reply.opcode == 31]
        assert len(reports) <= 1
        assert len(reports) == sum(isinstance(event, DaveRecovering) for event in events)
        if recovering and reports:
            assert name in {"time", "own welcome"}, "no second reset while one is under way"
        if reports:
            after = [reply.opcode for reply in replies[replies.index(reports[0]) :]]
            assert after[:2] == [31, 26], "a report, and the key package that goes with it"
            assert core.state is DaveState.RECOVERING
        assert len(self.group.packages) - groups <= 1 + (name == "commit")
        if name != "resume":
            self.count_answers([json.loads(r.data)["d"]["transition_id"] for r in replies if r.opcode == 23])
        for event in events:
            if isinstance(event, EncryptionChanged):
                last = event
                assert last.protocol_version >= 0
        told = [event for event in events if isinstance(event, EncryptionChanged)]
        if told:
            assert told[-1].protocol_version == core.protocol_version
            assert told[-1].is_sending == (frame is not None)
        assert len(core.execution.pending) <= PENDING_MAX
        assert (core.next_deadline() is None) or core.next_deadline() <= self.clock() + 10  # type: ignore[operator]
        if core.state is DaveState.MEMBER:
            assert core.membership.privacy_code is not None
        else:
            assert core.membership.privacy_code is None

    def count_answers(self, answered: list[int]) -> None:
        for transition_id in answered:
            assert transition_id != 0
            self.waiting[transition_id] = self.waiting.get(transition_id, 0) + 1
            assert self.waiting[transition_id] == 1, "answered twice"

    def gets(self, opcode: int, body: bytes | dict[str, int]) -> None:
        binary = isinstance(body, bytes)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.seq = (self.seq + 1) & 0xFFFF
        message = DaveMessage(opcode=opcode, payload=payload, seq=self.seq, binary=binary)
        for _ in range(self.random.choice((1, 1, 1, 2))):
            self.core.receive(message, self.clock())

    def an_id(self) -> int:
        return self.random.randrange(6)

    def epoch(self) -> int:
        return max(0, (self.group.epoch or 0) + self.random.choice((0, 0, 0, 0, 1, -1)))

    def note(self) -> bytes:
        return self.random.choice((BAD, b"", b"", b"%d" % self.random.randrange(1_000_000)))

    # The moves; each returns its name.

    def prepare(self) -> str:
        version = self.random.choice((0, 1, 1, 1, 2))
        self.gets(21, {"transition_id": self.an_id(), "protocol_version": version})
        return "prepare"

    def execute(self) -> str:
        transition_id = self.an_id()
        self.waiting.pop(transition_id, None)
        self.gets(22, {"transition_id": transition_id})
        return "execute"

    def new_group(self) -> str:
        self.gets(24, {"protocol_version": self.random.choice((1, 1, 1, 2)), "epoch": 1})
        return "new group"

    def external_sender(self) -> str:
        self.gets(25, self.random.choice((dave_mls.EXTERNAL_SENDER, dave_mls.EXTERNAL_SENDER[:-1] + b"R")))
        return "external sender"

    def proposals(self) -> str:
        messages = [
            self.random.choice(
                (
                    dave_mls.add(GROUP, self.epoch(), self.random.randrange(1, 6), self.random.randrange(9)),
                    dave_mls.remove(GROUP, self.epoch(), self.random.randrange(4)),
                )
            )
            for _ in range(self.random.randrange(4))
        ]
        if self.random.random() < 0.2:
            self.gets(27, dave_mls.revoke([*list(self.group.cached)[:1], b"unknown"][:1]))
        else:
            self.gets(27, dave_mls.append(messages))
        return "proposals"

    def commit(self) -> str:
        made = self.group.made[-1:] if self.random.random() < 0.4 else []
        other = dave_mls.commit(GROUP, self.epoch(), list(self.group.cached), note=self.note())
        self.gets(29, self.an_id().to_bytes(2) + (made or [other])[0])
        return "commit"

    def welcome(self) -> str:
        packages = self.group.packages or [b"none"]
        package = self.random.choice((packages[-1], packages[-1], self.random.choice(packages)))
        name = "own welcome" if package is packages[-1] else "welcome"
        welcome = dave_mls.welcome([key_package_ref(package)], self.note())
        self.gets(30, self.an_id().to_bytes(2) + welcome)
        return name

    def members(self) -> str:
        user_id = self.random.randrange(2, 6)
        if self.random.random() < 0.6:
            self.core.members_changed(joined=[user_id])
        else:
            self.core.members_changed(left=[user_id])
        return "members"

    def time(self) -> str:
        self.clock.advance(self.random.choice((0.02, 1.0, 12.0)))
        self.core.tick(self.clock())
        return "time"

    def describe(self) -> str:
        self.waiting.clear()
        self.core.session_description(self.random.choice((0, 1, 1)), self.clock())
        return "describe"

    def failing(self) -> str:
        self.core.cannot_decrypt(self.clock())
        return "failing"

    def resume(self) -> str:
        self.core.resumed()
        return "resume"

    def rubbish(self) -> str:
        self.gets(self.random.randrange(20, 33), self.random.randbytes(self.random.randrange(40)))
        return "rubbish"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_story_breaks_an_invariant(seed: int) -> None:
    Walk(seed).run(MOVES_OF_A_WALK)


def test_the_walk_gets_everywhere() -> None:
    seen = set()
    for seed in range(40):
        walk = Walk(seed)
        walk.core.session_description(1, walk.clock())
        for _ in range(MOVES_OF_A_WALK):
            walk.step()
            seen.add((walk.core.state, walk.sealer.mode))

    assert {state for state, _ in seen} == set(DaveState)
    assert {mode for _, mode in seen} == {"plain", "withholding", "encrypting"}


@settings(max_examples=300, deadline=None)
@given(
    opcode=st.integers(20, 32),
    payload=st.binary(max_size=200) | st.text(max_size=60).map(str.encode),
    binary=st.booleans(),
    early=st.booleans(),
)
def test_no_bytes_raise(*, opcode: int, payload: bytes, binary: bool, early: bool) -> None:
    sealer = FrameSealer()
    core = DaveProtocol(ScriptedGroup(), sealer)
    if not early:
        core.receive(DaveMessage(opcode=25, payload=dave_mls.EXTERNAL_SENDER, seq=0, binary=True), 0.0)
        core.session_description(1, 0.0)
    core.receive(DaveMessage(opcode=opcode, payload=payload, seq=None, binary=binary), 0.0)
    core.session_description(1, 0.0)
    assert sealer.seal(OPUS) != OPUS or core.protocol_version == 0


@pytest.mark.parametrize("seed", range(12))
def test_real_calls_end_sound_whoever_comes_and_goes(seed: int) -> None:
    chance = random.Random(seed)
    call = EncryptedCall(overlap=seed % 2 == 1, repeat=seed % 3 == 0)
    call.join(1)
    for _ in range(14):
        present = sorted(set(call.clients) - {1})
        absent = sorted(set(range(2, 7)) - call.everybody)
        step = chance.random()
        if step < 0.45 and absent:
            call.join(chance.choice(absent), settle=chance.random() < 0.7)
        elif step < 0.75 and present:
            call.leave(chance.choice(present))
        elif step < 0.85:
            if call.others:
                call.leave(next(iter(call.others)))
            else:
                call.join_without_dave(77)
        elif step < 0.92 and present:
            call.service.spoil_next(chance.choice(present), chance.choice(("commit", "welcome")))
        else:
            call.advance(chance.choice((0.1, 3.0, 12.0)))
        call.clients[1].events.clear()
        opus, frame = call.clients[1].say()
        assert frame is None or is_protocol_frame(frame) or call.clients[1].protocol.protocol_version == 0
        assert (frame == opus) == (call.clients[1].protocol.protocol_version == 0)
    for user_id in list(call.others):
        call.leave(user_id)
    if len(call.clients) == 1:
        call.join(2)
    for _ in range(6):
        call.advance(6)

    assert call.is_sound()
