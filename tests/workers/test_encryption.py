"""The DAVE machine of a call between its websocket, its clock and its frames, with the stand-in's server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.fakes import dave_mls
from tests.fakes.dave_call import CHANNEL, DaveClient
from tests.fakes.dave_group import BAD, ScriptedGroup
from tests.fakes.running import asyncio_test
from voicepool.ipc.errors import ErrorCode
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_messages import DaveMessage as ServerMessage
from voicepool.testing.dave_messages import DaveText
from voicepool.workers import encryption as encryption_module
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.contract import GroupError
from voicepool.workers.dave.events import (
    DaveEvent,
    DaveFailed,
    DaveRecovering,
    EncryptionChanged,
    GroupChanged,
)
from voicepool.workers.dave.frames import is_protocol_frame
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.dave.recovery import RECOVERY_TIMEOUT_S
from voicepool.workers.encryption import CallEncryption
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import ClientDisconnected, ClientsConnected, DaveMessage
from voicepool.workers.gateway.opcodes import DAVE_OPCODES, VoiceOpcode

US, THEM = 1, 2
OPUS = b"\x78" + bytes(range(60))


class Timers:
    """In place of the loop's `call_later`: what is set now, and how far away."""

    def __init__(self) -> None:
        self.pending: list[tuple[float, Any]] = []

    def call_later(self, delay_s: float, callback: Any) -> Timer:
        entry = (delay_s, callback)
        self.pending.append(entry)
        return Timer(self, entry)


class Timer:
    def __init__(self, timers: Timers, entry: tuple[float, Any]) -> None:
        self._timers, self._entry = timers, entry

    def cancel(self) -> None:
        self._timers.pending = [entry for entry in self._timers.pending if entry is not self._entry]


class Bench:
    """A `CallEncryption` with the real library, in a call of the stand-in's delivery service."""

    def __init__(self, group: ScriptedGroup | None = None) -> None:
        self.now = 1_000.0
        self.events: list[DaveEvent] = []
        self.sent: list[DaveReply] = []
        self.timers = Timers()
        self.service = DaveDeliveryService(CHANNEL)
        self.others: dict[int, DaveClient] = {}
        self._seq = 0
        self._passed = 0
        with pytest.MonkeyPatch.context() as patch:
            if group is not None:
                patch.setattr(encryption_module, "DaveyGroup", lambda *_: group)
            self.ours = CallEncryption(
                US, CHANNEL, send=self.sent.append, on_event=self.events.append, clock=lambda: self.now
            )
        self.ours._loop = self.timers  # type: ignore[assignment]  # a loop whose time the test moves
        self.seal = self.ours.around(lambda header, frame: header + frame)

    def frame(self, opus: bytes = OPUS) -> bytes:
        """What leaves for a frame, without its header."""
        packet = self.seal(b"header", opus)
        assert packet.startswith(b"header")
        return packet[6:]

    def receive(self, opcode: VoiceOpcode, payload: bytes, *, binary: bool = True) -> None:
        self._seq += 1
        self.ours.received(DaveMessage(opcode=opcode, payload=payload, seq=self._seq, binary=binary))

    def join(self) -> None:
        """Let us join the stand-in's call."""
        self.service.connect(US, 1, self.now)
        self.ours.described(self.service.describe(US, self.now))
        self.pump()

    def come(self, user_id: int) -> DaveClient:
        """Let another member join it."""
        client = DaveClient(user_id, lambda: self.now)  # type: ignore[arg-type]  # only ever called
        self.ours.received(ClientsConnected((user_id,)))
        client.protocol.members_changed(joined={US, *self.others})
        self.others[user_id] = client
        self.service.connect(user_id, 1, self.now)
        client.protocol.session_description(self.service.describe(user_id, self.now), self.now)
        self.pump()
        return client

    def pump(self) -> None:
        """Pass messages on until nobody has any, then let the server execute what is due."""
        for _ in range(1_000):
            moved = self._from_us()
            for user_id, client in self.others.items():
                for reply in client.replies():
                    moved = True
                    self._to_server(user_id, reply)
            for user_id, message in self.service.outgoing():
                moved = True
                self._to_client(user_id, message)
            if not moved:
                return
        raise AssertionError("they never stop talking")

    def _from_us(self) -> bool:
        new, self._passed = self.sent[self._passed :], len(self.sent)
        for reply in new:
            self._to_server(US, reply)
        return bool(new)

    def _to_server(self, user_id: int, reply: DaveReply) -> None:
        if isinstance(reply.data, str):
            message = json.loads(reply.data)
            self.service.receive_text(user_id, message["op"], message["d"], self.now)
        else:
            self.service.receive_binary(user_id, reply.data[0], reply.data[1:], self.now)

    def _to_client(self, user_id: int, message: ServerMessage) -> None:
        if user_id != US:
            self.others[user_id].take(message)
        elif isinstance(message, DaveText):
            self.receive(VoiceOpcode(message.opcode), json.dumps(message.data).encode(), binary=False)
        else:
            self.receive(VoiceOpcode(message.opcode), message.payload)

    def let_pass(self, seconds: float) -> None:
        """Let time pass, and the timer with it."""
        self.now += seconds
        due = [entry for entry in self.timers.pending if entry[0] <= seconds]
        self.timers.pending = [entry for entry in self.timers.pending if entry[0] > seconds]
        for _, callback in due:
            callback()

    @property
    def told(self) -> list[tuple[int, bool]]:
        return [
            (event.protocol_version, event.is_sending)
            for event in self.events
            if isinstance(event, EncryptionChanged)
        ]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def is_settled(encryption: CallEncryption) -> bool:
    return encryption._settled.is_set()


# Without encryption.


@asyncio_test
async def test_before_the_description_nothing_leaves() -> None:
    bench = Bench()
    assert bench.frame() == SILENCE
    assert not is_settled(bench.ours)


@asyncio_test
async def test_version_0_lets_frames_through_as_they_are() -> None:
    bench = Bench()
    bench.ours.described(0)
    assert bench.frame() == OPUS
    assert bench.told == [(0, True)]
    assert is_settled(bench.ours)
    assert bench.sent == []
    assert bench.timers.pending == []


# With it.


@asyncio_test
async def test_who_is_alone_sends_silence_and_a_key_package() -> None:
    bench = Bench()
    bench.join()
    assert bench.sent[0].opcode == VoiceOpcode.DAVE_MLS_KEY_PACKAGE
    assert bench.frame() == SILENCE
    assert bench.ours.frames.withheld == 1
    assert bench.told == [(1, False)]
    assert not is_settled(bench.ours)


@asyncio_test
async def test_with_another_in_the_call_frames_are_encrypted_and_can_be_read_there() -> None:
    bench = Bench()
    bench.join()
    them = bench.come(THEM)
    assert bench.told == [(1, False), (1, True)]
    assert is_settled(bench.ours)
    frame = bench.frame()
    assert is_protocol_frame(frame)
    assert OPUS not in frame
    assert them.opener.open(US, frame, bench.now) == OPUS
    group = bench.of(GroupChanged)[-1]
    assert group.user_ids == {US, THEM}
    assert group.privacy_code == them.protocol.membership.privacy_code


@asyncio_test
async def test_silence_leaves_as_it_is_in_every_state() -> None:
    bench = Bench()
    assert bench.frame(SILENCE) == SILENCE
    bench.join()
    assert bench.frame(SILENCE) == SILENCE
    bench.come(THEM)
    assert bench.frame(SILENCE) == SILENCE
    assert bench.ours.frames.withheld == 0


@asyncio_test
async def test_who_leaves_is_proposed_for_removal_by_the_server_and_not_by_us() -> None:
    bench = Bench()
    bench.join()
    bench.come(THEM)
    sent = len(bench.sent)
    bench.ours.received(ClientDisconnected(THEM))
    assert len(bench.sent) == sent
    assert bench.ours.protocol.membership.is_alone


# Waiting.


@asyncio_test
async def test_waiting_ends_with_the_key() -> None:
    bench = Bench()
    bench.join()
    waiting = asyncio.create_task(bench.ours.wait_until_settled(60.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.come(THEM)
    await waiting


@asyncio_test
async def test_waiting_ends_in_time_without_a_key() -> None:
    bench = Bench()
    bench.join()
    await bench.ours.wait_until_settled(0.0)
    assert not is_settled(bench.ours)


@asyncio_test
async def test_frames_that_are_withheld_again_unsettle_the_call() -> None:
    group = ScriptedGroup(US, CHANNEL)
    bench = Bench(group)
    enter(bench)
    assert is_settled(bench.ours)
    assert bench.frame().startswith(b"key 1:")
    commit = dave_mls.commit(CHANNEL, 1, committer=THEM, note=BAD)
    bench.receive(VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION, bytes(2) + commit)
    assert not is_settled(bench.ours)
    assert bench.frame() == SILENCE
    [recovering] = bench.of(DaveRecovering)
    assert recovering.transition_id == 0
    opcodes = [reply.opcode for reply in bench.sent[-2:]]
    assert opcodes == [VoiceOpcode.DAVE_MLS_INVALID_COMMIT_WELCOME, VoiceOpcode.DAVE_MLS_KEY_PACKAGE]


def enter(bench: Bench) -> None:
    """Bring a scripted group to epoch 1 with another in it, by a commit of ours that is executed at once."""
    bench.ours.described(1)
    bench.receive(VoiceOpcode.DAVE_MLS_EXTERNAL_SENDER, dave_mls.EXTERNAL_SENDER)
    bench.ours.received(ClientsConnected((THEM,)))
    bench.receive(VoiceOpcode.DAVE_MLS_PROPOSALS, dave_mls.append([dave_mls.add(CHANNEL, 0, THEM)]))
    reply = bench.sent[-1]
    assert reply.opcode == VoiceOpcode.DAVE_MLS_COMMIT_WELCOME
    group = bench.ours.protocol.membership._group
    assert isinstance(group, ScriptedGroup)
    bench.receive(VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION, bytes(2) + group.made[-1])
    assert bench.ours.protocol.membership.epoch == 1


# Timers, resumes, the end.


@asyncio_test
async def test_the_timer_is_the_protocols_deadline_and_there_is_one_at_most() -> None:
    bench = Bench(ScriptedGroup(US, CHANNEL))
    enter(bench)
    assert bench.timers.pending == []
    commit = dave_mls.commit(CHANNEL, 1, committer=THEM, note=BAD)
    bench.receive(VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION, bytes(2) + commit)
    [(delay_s, _)] = bench.timers.pending
    assert delay_s == RECOVERY_TIMEOUT_S
    bench.now += 4.0
    bench.ours.received(ClientsConnected((3,)))
    [(delay_s, _)] = bench.timers.pending
    assert delay_s == RECOVERY_TIMEOUT_S - 4.0
    bench.let_pass(delay_s)
    assert [event.attempt for event in bench.of(DaveRecovering)] == [1, 2]
    assert len(bench.timers.pending) == 1


@asyncio_test
async def test_recoveries_without_end_are_a_failure_that_is_told() -> None:
    bench = Bench(ScriptedGroup(US, CHANNEL))
    enter(bench)
    commit = dave_mls.commit(CHANNEL, 1, committer=THEM, note=BAD)
    bench.receive(VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION, bytes(2) + commit)
    while bench.timers.pending:
        bench.let_pass(RECOVERY_TIMEOUT_S)
    assert len(bench.of(DaveFailed)) == 1
    assert bench.frame() == SILENCE


@asyncio_test
async def test_after_a_resume_what_may_be_lost_is_said_again() -> None:
    bench = Bench()
    bench.join()
    before = len(bench.sent)
    bench.ours.resumed()
    assert [reply.opcode for reply in bench.sent[before:]] == [VoiceOpcode.DAVE_MLS_KEY_PACKAGE]
    assert bench.sent[before] == bench.sent[0]
    bench.come(THEM)
    before = len(bench.sent)
    bench.ours.resumed()
    assert bench.sent[before:] == [], "all was answered"
    assert is_protocol_frame(bench.frame()), "the key is that of before"


@asyncio_test
async def test_closed_it_has_no_timer_sends_nothing_and_tells_nothing() -> None:
    bench = Bench(ScriptedGroup(US, CHANNEL))
    enter(bench)
    commit = dave_mls.commit(CHANNEL, 1, committer=THEM, note=BAD)
    bench.receive(VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION, bytes(2) + commit)
    assert bench.timers.pending
    bench.ours.close()
    sent, events = len(bench.sent), len(bench.events)
    assert bench.timers.pending == []
    bench.ours.described(1)
    bench.ours.resumed()
    bench.ours.close()
    assert (len(bench.sent), len(bench.events), bench.timers.pending) == (sent, events, [])
    assert bench.frame() == SILENCE


@asyncio_test
async def test_what_a_server_sends_that_cannot_be_read_changes_nothing() -> None:
    bench = Bench()
    bench.join()
    them = bench.come(THEM)
    told = len(bench.events)
    # A member has to report a commit that it cannot read.
    for opcode in DAVE_OPCODES - {VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION}:
        for binary in (False, True):
            bench.receive(VoiceOpcode(opcode), b"\xff\xff\xff", binary=binary)
    assert them.opener.open(US, bench.frame(), bench.now) == OPUS
    assert len(bench.events) == told


# Verification.


@asyncio_test
async def test_a_member_who_came_after_us_is_verified_by_their_key() -> None:
    bench = Bench()
    bench.join()
    them = bench.come(THEM)
    found = bench.ours.verification(THEM)
    assert isinstance(found, VerificationPair)
    assert found.code() == them.group.verification_code(US)


@asyncio_test
async def test_a_member_who_was_there_before_us_is_verified_by_the_library_once() -> None:
    bench = Bench()
    them = bench.come(THEM)
    third = bench.come(3)
    bench.ours.received(ClientsConnected((THEM, 3)))
    for client in (them, third):
        client.protocol.members_changed(joined=[US])
    bench.join()
    membership = bench.ours.protocol.membership
    assert membership.user_ids == {US, THEM, 3}
    unseen = [user for user in (THEM, 3) if membership.verification_pair(user) is None]
    assert unseen, "whose commit brought us in is known by it, the other is not"
    for user in unseen:
        code = bench.ours.verification(user)
        assert code == bench.others[user].group.verification_code(US)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(membership._group), "verification_code", None)
            assert bench.ours.verification(user) == code


@asyncio_test
async def test_without_a_group_nobody_is_verified() -> None:
    bench = Bench()
    for version in (0, 1):
        bench.ours.described(version)
        with pytest.raises(CallError, match="no end-to-end encrypted group") as caught:
            bench.ours.verification(THEM)
        assert (caught.value.code, caught.value.data) == (ErrorCode.UNVERIFIABLE, {"user": THEM})


@pytest.mark.parametrize("user", [US, 99])
def test_who_is_no_other_member_is_not_verified(user: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = Bench()
        bench.join()
        bench.come(THEM)
        with pytest.raises(CallError, match=f"user {user} is not among the others"):
            bench.ours.verification(user)

    scenario()


@asyncio_test
async def test_a_library_that_cannot_make_a_code_says_so() -> None:
    group = ScriptedGroup(US, CHANNEL)
    bench = Bench(group)
    enter(bench)
    membership = bench.ours.protocol.membership
    membership._keys.clear()

    def refuse(user_id: int) -> str:
        raise GroupError("make a verification code", "Script")

    group.verification_code = refuse  # type: ignore[method-assign]
    with pytest.raises(CallError, match="cannot be verified"):
        bench.ours.verification(THEM)
