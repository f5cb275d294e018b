"""The matrix of calls, with the real MLS library and the stand-in's delivery service."""

from __future__ import annotations

import pytest

from tests.fakes.dave_call import EncryptedCall
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.events import (
    DaveRecovered,
    DaveRecovering,
    EncryptionChanged,
    GroupChanged,
)
from voicepool.workers.dave.holding import HOLD_LIMIT_S
from voicepool.workers.dave.states import DaveState


@pytest.fixture(params=[False, True], ids=["once", "each message twice"])
def call(request: pytest.FixtureRequest) -> EncryptedCall:
    return EncryptedCall(repeat=request.param)


def test_nobody_hears_a_bot_that_is_alone(call: EncryptedCall) -> None:
    bot = call.join(1)

    assert bot.protocol.state is DaveState.PENDING
    assert bot.opcodes_sent() == [26]
    assert bot.say()[1] is None
    assert bot.sealer.withheld == 1
    assert bot.sealer.seal(SILENCE) == SILENCE


def test_one_listener(call: EncryptedCall) -> None:
    call.join(1)
    call.join(2)

    assert call.is_sound()
    assert not call.service.complaints()


def test_more_come_and_one_leaves_and_comes_again(call: EncryptedCall) -> None:
    for user_id in (1, 2, 3):
        call.join(user_id)
        assert user_id == 1 or call.is_sound()
    for _ in range(3):
        call.leave(3)
        assert call.is_sound()
        call.join(3)
        assert call.is_sound()
    assert all(client.protocol.recoveries == 0 for client in call.clients.values())
    assert not call.service.complaints()


def test_the_last_listener_leaves_and_comes_again(call: EncryptedCall) -> None:
    bot = call.join(1)
    for _ in range(3):
        call.join(2)
        assert call.is_sound()
        call.leave(2)
        assert bot.protocol.state is DaveState.PENDING
        assert bot.say()[1] is None, "the old group's key is nobody's any more"
    assert bot.protocol.recoveries == 0
    assert not call.service.complaints()


@pytest.mark.parametrize("overlap", [False, True])
def test_ten_come_at_once(*, overlap: bool) -> None:
    call = EncryptedCall(overlap=overlap)
    for user_id in range(1, 11):
        call.join(user_id, settle=False)
    call.pump()

    assert call.is_sound()
    assert all(client.protocol.recoveries == 0 for client in call.clients.values())


def test_ten_come_one_after_the_other_with_transitions_that_overlap() -> None:
    call = EncryptedCall(overlap=True)
    call.join(1)
    call.join(2)
    call.slow_down(2)
    for user_id in range(3, 11):
        call.join(user_id)
    call.catch_up(2)
    call.advance(5)

    assert call.is_sound()


def test_somebody_without_dave_comes_and_goes(call: EncryptedCall) -> None:
    bot = call.join(1)
    call.join(2)
    call.join_without_dave(3)

    assert bot.protocol.protocol_version == 0
    opus, sent = bot.say()
    assert sent == opus
    assert call.hears(1, 2)

    call.leave(3)
    assert bot.protocol.protocol_version == 1
    assert call.is_sound()
    versions = [event.protocol_version for event in bot.events if isinstance(event, EncryptionChanged)]
    assert versions[0] == 1
    assert 0 in versions
    assert versions[-1] == 1


def test_a_call_that_was_never_encrypted() -> None:
    call = EncryptedCall(max_version=0)
    bot = call.join(1)

    assert bot.protocol.state is DaveState.NO_GROUP
    opus, sent = bot.say()
    assert sent == opus
    assert bot.opcodes_sent() == []


def test_frames_in_the_clear_pass_for_ten_seconds_after_an_upgrade() -> None:
    call = EncryptedCall()
    bot = call.join(1)
    call.join(2)
    call.join_without_dave(3)
    call.leave(3)

    assert bot.opener.open(2, b"late, in the clear", call.clock()) is not None
    call.advance(10)
    assert bot.opener.open(2, b"far too late", call.clock()) is None
    assert bot.opener.lost["in_the_clear"] == 1


@pytest.mark.parametrize("kind", ["commit", "welcome"])
@pytest.mark.parametrize("founding", [False, True])
def test_a_bad_commit_or_welcome(kind: str, *, founding: bool, call: EncryptedCall) -> None:
    call.join(1)
    if not founding:
        call.join(2)
    newcomer = 2 if founding else 3
    victim = newcomer if kind == "welcome" else 1
    call.service.spoil_next(victim, kind)  # type: ignore[arg-type]  # a Literal there
    call.service.spoil_next(newcomer, kind)  # type: ignore[arg-type]
    call.join(newcomer)
    call.advance(1)
    call.advance(5)

    assert call.is_sound()
    hurt = [client for client in call.clients.values() if client.protocol.recoveries]
    for client in hurt:
        assert client.protocol.recoveries == client.opcodes_sent().count(31) == 1
        kinds = [type(event) for event in client.events]
        assert kinds.index(DaveRecovering) < kinds.index(DaveRecovered)
    if kind == "welcome" or not founding:
        assert hurt


def test_a_slow_listener_loses_nothing_while_somebody_joins() -> None:
    call = EncryptedCall(transition_timeout_s=60)
    bot = call.join(1)
    call.join(2)
    call.slow_down(2)
    call.join(3)

    assert bot.opcodes_sent()[-1] == 23, "ready"
    for _ in range(20):
        assert call.hears(1, 2), "under the key that the slow one has"
    call.catch_up(2)
    assert call.is_sound()


def test_a_frame_under_the_new_key_ends_the_wait_for_the_execution() -> None:
    call = EncryptedCall(transition_timeout_s=60)
    call.join(1)
    call.join(2)
    call.slow_down(1)
    call.join(3)
    call.catch_up(1, messages=2)
    call.clients[2].replies()

    assert call.clients[1].protocol.next_deadline() is not None
    before = call.clients[1].protocol.membership.epoch
    call.clients[2].protocol.settle(call.clock())
    assert call.hears(2, 1)
    assert call.clients[1].protocol.membership.epoch == (before or 0) + 1
    call.catch_up(1)
    assert call.is_sound()


def test_a_commit_is_not_held_for_ever() -> None:
    call = EncryptedCall(transition_timeout_s=60)
    bot = call.join(1)
    call.join(2)
    call.slow_down(2)
    call.join(3)
    epoch = bot.protocol.membership.epoch
    call.clock.advance(HOLD_LIMIT_S)
    bot.protocol.tick(call.clock())

    assert bot.protocol.next_deadline() is None
    assert bot.protocol.membership.epoch == (epoch or 0) + 1


def test_an_add_and_a_remove_in_one_epoch_give_the_newcomer_its_welcome() -> None:
    call = EncryptedCall()
    for user_id in (1, 2, 3):
        call.join(user_id)
    # While the commit to the Add is on its way to the server, one leaves.
    call.join(4, settle=False)
    for user_id, message in call.service.outgoing():
        call.clients[user_id].take(message)
    call.leave(3)
    call.advance(5)

    assert call.is_sound()
    assert call.service.counts.refused_commits == 0


def test_codes_are_the_same_on_both_sides_and_change_with_the_group() -> None:
    call = EncryptedCall()
    one, two = call.join(1), call.join(2)

    pairs = [one.protocol.membership.verification_pair(2), two.protocol.membership.verification_pair(1)]
    assert any(pairs), "whoever committed the other's Add knows the key"
    by_library = one.group.verification_code(2)
    assert {pair.code() for pair in pairs if pair} == {by_library}

    codes = []
    for step in (lambda: call.join(3), lambda: call.leave(3)):
        step()
        changed = [event for event in one.events if isinstance(event, GroupChanged)][-1]
        codes.append(changed.privacy_code)
        assert changed.privacy_code == one.protocol.membership.privacy_code
    assert len({*codes}) == 2
    changes = [event for event in one.events if isinstance(event, GroupChanged)]
    assert [(event.joined, event.left) for event in changes][-2:] == [({3}, frozenset()), (frozenset(), {3})]


def test_frames_that_cannot_be_decrypted_lead_back_into_the_group() -> None:
    call = EncryptedCall()
    bot = call.join(1)
    call.join(2)
    call.advance(11)
    _, frame = call.clients[2].say()
    assert frame is not None
    broken = bytes((frame[0] ^ 1,)) + frame[1:]
    for _ in range(36):
        assert bot.opener.open(2, broken, call.clock()) is None
    call.pump()
    call.advance(5)

    assert bot.protocol.recoveries == 1
    assert call.is_sound()


def test_after_a_resume_what_may_be_lost_is_said_again() -> None:
    call = EncryptedCall(transition_timeout_s=60)
    bot = call.join(1)
    assert [reply.opcode for reply in bot.sent] == [26]
    bot.protocol.resumed()
    assert bot.replies() == bot.sent[:1]

    call.join(2)
    call.slow_down(2)
    call.join(3)
    ready = bot.sent[-1]
    bot.protocol.resumed()
    assert bot.replies() == [ready]
    call.catch_up(2)
    bot.protocol.resumed()
    assert bot.replies() == []
    assert call.is_sound()
