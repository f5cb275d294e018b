"""Versions and epochs that change: announced, executed, up, down and alone."""

from __future__ import annotations

from tests.fakes import dave_mls
from tests.fakes.dave_group import BAD
from tests.workers.dave.scripted_member import GROUP, OPUS, THEM, frames, package, pending, ready, sending
from voicepool.workers.dave.events import EncryptionChanged, GroupChanged
from voicepool.workers.dave.holding import HOLD_LIMIT_S
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S
from voicepool.workers.dave.states import DaveState

# Transitions.


def test_the_key_changes_at_the_execution_and_not_before() -> None:
    member = sending()

    assert frames(member.commits(6, member.a_commit())) == [ready(6)]
    assert member.key == b"key 1"
    assert member.executes(6) == []
    assert member.key == b"key 2"


def test_a_library_that_does_not_switch_by_itself_merges_at_once() -> None:
    member = sending(switches_on_merge=False)

    assert frames(member.commits(6, member.a_commit())) == [ready(6)]
    assert member.group.merged
    assert member.key == b"key 1"
    member.executes(6)
    assert member.key == b"key 2"


def test_several_transitions_wait_and_are_executed_in_any_order() -> None:
    member = sending(switches_on_merge=False)
    assert frames(member.commits(6, member.a_commit(b"a"))) == [ready(6)]
    assert frames(member.commits(7, member.a_commit(b"b"))) == [ready(7)]
    assert frames(member.prepares(8, 0)) == [ready(8)]

    member.executes(7)
    assert member.key == b"key 3"
    member.executes(6)
    assert member.key == b"key 3"
    member.executes(8)
    assert member.sealer.seal(OPUS) == OPUS


def test_a_commit_that_waits_is_merged_when_the_next_one_comes() -> None:
    member = sending()
    member.commits(6, member.a_commit(b"a"))
    following = dave_mls.commit(GROUP, member.epoch + 1)
    assert frames(member.commits(7, following)) == [ready(7)]

    assert len(member.group.merged) == 1
    member.executes(7)
    assert len(member.group.merged) == 2
    assert member.key == b"key 3"


def test_a_commit_that_waits_is_merged_for_the_proposals_of_its_epoch() -> None:
    member = sending()
    member.commits(6, member.a_commit())
    replies = member.proposes(dave_mls.add(GROUP, member.epoch + 1, THEM))

    assert [reply.opcode for reply in replies] == [28]


def test_a_commit_waits_no_longer_than_its_limit() -> None:
    member = sending()
    member.commits(6, member.a_commit())
    deadline = member.core.next_deadline()
    assert deadline == member.clock() + HOLD_LIMIT_S

    member.clock.advance(HOLD_LIMIT_S - 0.1)
    member.core.tick(member.clock())
    assert not member.group.merged
    member.clock.advance(0.1)
    member.core.tick(member.clock())
    assert member.group.merged
    assert member.core.next_deadline() is None
    assert member.executes(6) == []
    assert member.core.state is DaveState.MEMBER


def test_frames_may_fail_for_a_while_after_an_execution() -> None:
    member = sending()
    member.prepares(6, 1)
    member.clock.advance(TRANSITION_S)
    assert member.core.window.is_settled(member.clock())
    member.executes(6)
    assert not member.core.window.is_settled(member.clock())


def test_id_zero_is_executed_at_once_and_not_answered() -> None:
    member = pending()
    assert member.welcomes(0) == []
    assert member.key == b"key 1"
    assert member.commits(0, member.a_commit()) == []
    assert member.key == b"key 2"
    assert member.prepares(0, 0) == []
    assert member.sealer.seal(OPUS) == OPUS


def test_the_same_announcement_is_answered_once() -> None:
    member = pending()
    assert frames(member.prepares(4, 1)) == [ready(4)]
    assert member.prepares(4, 1) == []
    member.executes(4)
    assert frames(member.prepares(4, 1)) == [ready(4)], "ids come round again"


def test_an_execution_nobody_announced_changes_nothing() -> None:
    member = sending()
    member.executes(77)

    assert member.core.dropped["unknown_transition"] == 1
    assert member.key == b"key 1"


def test_a_group_founded_by_our_own_commit() -> None:
    member = pending()
    replies = member.proposes(dave_mls.add(GROUP, 0, THEM))
    made = member.group.made[-1]
    assert frames(replies) == [bytes((28,)) + made + dave_mls.welcome([b"them"])], "no lengths between"

    assert frames(member.commits(1, made)) == [ready(1)]
    member.executes(1)
    assert member.key == b"key 1"


# Up, down, alone.


def test_a_downgrade_lets_the_clear_in_when_announced_and_out_when_executed() -> None:
    member = sending()
    window = member.core.window
    assert not window.is_open(member.clock())
    assert frames(member.prepares(9, 0)) == [ready(9)]

    assert window.is_open(member.clock())
    assert not window.is_open(member.clock() + ANNOUNCED_DOWNGRADE_S)
    assert member.key == b"key 1", "not before it is executed"
    member.executes(9)
    assert member.sealer.seal(OPUS) == OPUS
    assert window.is_open(member.clock() + 1e6)
    assert member.events(EncryptionChanged) == [EncryptionChanged(protocol_version=0, is_sending=True)]


def test_a_downgrade_that_was_announced_and_never_came_ends_with_the_next_transition() -> None:
    member = sending()
    window = member.core.window
    member.prepares(9, 0)
    member.commits(10, member.a_commit())
    member.executes(10)
    assert window.is_open(member.clock() + TRANSITION_S), "it is still to come"

    member.prepares(9, 1)
    member.executes(9)
    assert window.is_open(member.clock() + TRANSITION_S - 0.1)
    assert not window.is_open(member.clock() + TRANSITION_S)


def test_an_upgrade_stays_in_the_clear_until_executed() -> None:
    member = sending()
    member.prepares(9, 0)
    member.executes(9)
    assert frames(member.new_group()) == [package(member)]
    assert frames(member.welcomes(10)) == [ready(10)]

    assert member.sealer.seal(OPUS) == OPUS
    member.executes(10)
    assert member.key == b"key 2"
    assert member.core.window.is_open(member.clock() + TRANSITION_S - 0.1)
    assert not member.core.window.is_open(member.clock() + TRANSITION_S)


def test_a_commit_from_before_a_downgrade_does_not_undo_it() -> None:
    member = sending()
    member.prepares(9, 0)
    member.commits(10, member.a_commit())
    member.executes(9)
    member.executes(10)

    assert member.sealer.seal(OPUS) == OPUS


def test_the_last_member_starts_anew_and_withholds() -> None:
    member = sending()
    assert frames(member.new_group()) == [package(member)]
    assert member.key == b"key 1", "until it is executed"
    assert member.prepares(0, 1) == []

    assert member.sealer.seal(OPUS) is None
    assert member.core.state is DaveState.PENDING
    gone = member.events(GroupChanged)
    assert gone == [
        GroupChanged(
            epoch=None, privacy_code=None, user_ids=frozenset(), joined=frozenset(), left=frozenset({1, 2})
        )
    ]


def test_a_transition_of_the_group_before_leaves_the_old_key_alone() -> None:
    member = sending(switches_on_merge=False)
    member.commits(6, member.a_commit())
    member.new_group()
    member.executes(6)

    assert member.key == b"key 1"
    member.welcomes(7)
    member.executes(7)
    assert member.key == b"key 3"


def test_a_commit_that_waits_is_followed_before_a_new_group_begins() -> None:
    member = sending()
    commit = member.a_commit()
    member.commits(6, commit)
    assert member.key == b"key 1"

    assert frames(member.new_group()) == [package(member)]
    assert member.group.merged == [commit], "the others send under its keys until the new group is there"
    member.executes(6)
    assert member.key == b"key 2"

    other = sending()
    other.commits(6, other.a_commit(BAD))
    assert frames(other.new_group()) == [package(other)], "the new group mends it"


def test_a_version_change_that_keeps_the_group_is_only_answered() -> None:
    member = sending()
    body = {"protocol_version": 1, "epoch": 7, "transition_id": 12}

    assert frames(member.gets(24, body)) == [ready(12)]
    member.executes(12)
    assert member.key == b"key 1"
    member.gets(24, {"protocol_version": 1, "epoch": 7})
    member.gets(24, {"protocol_version": 0, "epoch": 1})
    assert member.core.dropped["ignored"] == 2


def test_a_change_to_a_version_beyond_ours_withholds() -> None:
    member = sending()
    member.prepares(12, 2)
    member.executes(12)

    assert member.sealer.seal(OPUS) is None
