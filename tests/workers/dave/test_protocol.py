from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes import dave_mls
from tests.fakes.clock import ManualClock
from tests.fakes.dave_group import BAD, ScriptedGroup, key_of
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.events import (
    DaveFailed,
    DaveRecovered,
    DaveRecovering,
    EncryptionChanged,
    GroupChanged,
)
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.dave.mls import key_package_ref, read_proposals
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S
from voicepool.workers.dave.protocol import (
    EARLY_MAX,
    FAILING_COOLDOWN_S,
    HOLD_LIMIT_S,
    RECOVERY_LIMIT,
    RECOVERY_TIMEOUT_S,
    DaveProtocol,
)
from voicepool.workers.dave.states import DaveState
from voicepool.workers.gateway.events import DaveMessage

GROUP = 99
US, THEM, THIRD = 1, 2, 3
OPUS = b"some opus"


class Member:
    """The protocol around a scripted group; one word for each thing the server says."""

    def __init__(self, **group: Any) -> None:
        self.clock = ManualClock()
        self.group = ScriptedGroup(US, GROUP, **group)
        self.sealer = FrameSealer()
        self.core = DaveProtocol(self.group, self.sealer)
        self.core.members_changed(joined=[THEM])

    # The server.

    def described(self, version: int = 1) -> Member:
        self.core.session_description(version, self.clock())
        return self

    def gets(self, opcode: int, body: bytes | dict[str, int], seq: int | None = None) -> list[DaveReply]:
        binary = isinstance(body, bytes)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = DaveMessage(opcode=opcode, payload=payload, seq=seq, binary=binary)
        self.core.receive(message, self.clock())
        return self.core.outgoing()

    def prepares(self, transition_id: int, version: int) -> list[DaveReply]:
        return self.gets(21, {"transition_id": transition_id, "protocol_version": version})

    def executes(self, transition_id: int) -> list[DaveReply]:
        return self.gets(22, {"transition_id": transition_id})

    def new_group(self, version: int = 1) -> list[DaveReply]:
        return self.gets(24, {"protocol_version": version, "epoch": 1})

    def proposes(self, *messages: bytes) -> list[DaveReply]:
        return self.gets(27, dave_mls.append(messages))

    def commits(self, transition_id: int, commit: bytes) -> list[DaveReply]:
        return self.gets(29, transition_id.to_bytes(2) + commit)

    def welcomes(
        self, transition_id: int, note: bytes = b"", package: bytes | None = None
    ) -> list[DaveReply]:
        named = key_package_ref(self.group.packages[-1] if package is None else package)
        return self.gets(30, transition_id.to_bytes(2) + dave_mls.welcome([named], note))

    # How it stands.

    @property
    def key(self) -> bytes | None:
        return key_of(self.sealer.seal(OPUS))

    @property
    def epoch(self) -> int:
        return self.group.epoch or 0

    def events(self, kind: type | None = None) -> list[Any]:
        return [event for event in self.core.events() if kind is None or isinstance(event, kind)]

    def a_commit(self, note: bytes = b"", **options: Any) -> bytes:
        return dave_mls.commit(GROUP, self.epoch, note=note, **options)


def ready(transition_id: int) -> str:
    return json.dumps({"op": 23, "d": {"transition_id": transition_id}}, separators=(",", ":"))


def invalid(transition_id: int) -> str:
    return json.dumps({"op": 31, "d": {"transition_id": transition_id}}, separators=(",", ":"))


def frames(replies: list[DaveReply]) -> list[str | bytes]:
    return [reply.data for reply in replies]


def package(member: Member) -> bytes:
    return bytes((26,)) + member.group.packages[-1]


def pending(**group: Any) -> Member:
    member = Member(**group)
    member.gets(25, dave_mls.EXTERNAL_SENDER)
    member.described()
    member.core.outgoing()
    member.events()
    return member


def sending(**group: Any) -> Member:
    """In the group, and sending under the key of its first epoch."""
    member = pending(**group)
    assert frames(member.welcomes(5)) == [ready(5)]
    assert member.key is None
    member.executes(5)
    assert member.key == b"key 1"
    member.events()
    return member


# The beginning.


def test_a_session_with_dave_begins_with_a_key_package_and_no_audio() -> None:
    member = Member().described()

    assert frames(member.core.outgoing()) == [package(member)]
    assert member.core.state is DaveState.PENDING
    assert member.core.protocol_version == 1
    assert member.sealer.seal(OPUS) is None
    assert member.events(EncryptionChanged) == [EncryptionChanged(protocol_version=1, is_sending=False)]


def test_a_session_without_dave_passes_audio_and_says_nothing() -> None:
    member = Member().described(0)

    assert member.core.outgoing() == []
    assert member.core.state is DaveState.NO_GROUP
    assert member.sealer.seal(OPUS) == OPUS
    assert member.events() == [EncryptionChanged(protocol_version=0, is_sending=True)]


def test_no_frame_leaves_before_the_session_description() -> None:
    member = Member()
    assert member.sealer.seal(OPUS) is None
    member.prepares(0, 0)
    assert member.sealer.seal(OPUS) is None, "and no transition counts before it"


def test_the_external_sender_may_come_before_and_the_rest_is_kept() -> None:
    member = Member()
    member.gets(25, dave_mls.EXTERNAL_SENDER)
    assert member.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    member.described()

    assert [reply.opcode for reply in member.core.outgoing()] == [26, 28]


def test_what_comes_too_early_is_kept_up_to_a_bound() -> None:
    member = Member()
    for transition_id in range(EARLY_MAX + 3):
        member.prepares(transition_id + 1, 1)

    assert member.core.dropped["too_early"] == 3


def test_a_version_beyond_ours_is_given_up() -> None:
    member = Member().described(2)

    assert member.core.state is DaveState.BROKEN
    assert member.sealer.seal(OPUS) is None
    assert "2 is beyond ours" in member.events(DaveFailed)[0].reason
    member.core.outgoing()
    assert frames(member.new_group()) == [package(member)], "but the server can offer another"


def test_a_library_that_cannot_start_is_given_up() -> None:
    member = Member()
    member.group.refuses_to_start = True
    member.described()

    assert member.core.state is DaveState.BROKEN
    assert member.events(DaveFailed)


def test_another_external_sender_is_taken_while_pending() -> None:
    member = Member().described()
    member.core.outgoing()
    other = dave_mls.EXTERNAL_SENDER.replace(b"server", b"SERVER")

    assert member.gets(25, dave_mls.EXTERNAL_SENDER) == []
    assert member.gets(25, dave_mls.EXTERNAL_SENDER) == []
    member.proposes(dave_mls.add(GROUP, 0, THEM))
    assert frames(member.gets(25, other)) == [package(member)], "the group begins anew for it"
    assert member.core.state is DaveState.PENDING


def test_another_external_sender_waits_while_a_member() -> None:
    member = sending()
    other = dave_mls.EXTERNAL_SENDER.replace(b"server", b"SERVER")

    assert member.gets(25, other) == []
    assert member.key == b"key 1"


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


# Proposals.


def test_only_users_who_were_announced_are_added() -> None:
    member = pending()
    assert member.proposes(dave_mls.add(GROUP, 0, THEM), dave_mls.add(GROUP, 0, THIRD)) == []
    assert [proposal.user_id for proposal in member.group.cached.values()] == [THEM]

    member.core.members_changed(joined=[THIRD])
    assert [reply.opcode for reply in member.core.outgoing()] == [28], "now the commit covers both"
    assert len(member.group.cached) == 2


def test_who_has_left_is_not_added() -> None:
    member = pending()
    member.core.members_changed(left=[THEM])

    assert member.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    assert not member.group.cached


def test_proposals_of_members_and_other_epochs_and_groups_are_not_taken() -> None:
    member = pending()
    for message in (
        dave_mls.add(GROUP, 0, THEM, by_member=True),
        dave_mls.add(GROUP, 3, THEM),
        dave_mls.add(GROUP + 1, 0, THEM),
    ):
        assert member.proposes(message) == []
    assert not member.group.cached
    assert member.core.membership.proposals_dropped == 3


def test_a_revocation_leaves_a_commit_to_the_rest_or_none() -> None:
    member = pending()
    member.core.members_changed(joined=[THIRD])
    both = [dave_mls.add(GROUP, 0, THEM), dave_mls.add(GROUP, 0, THIRD)]
    member.proposes(*both)
    first, second = (proposal.reference for proposal in read_proposals(dave_mls.append(both)[1:]))

    assert [reply.opcode for reply in member.gets(27, dave_mls.revoke([first]))] == [28]
    assert member.gets(27, dave_mls.revoke([second])) == []
    assert member.gets(27, dave_mls.revoke([second])) == []
    assert member.core.membership.proposals_dropped == 1


def test_a_revocation_of_what_we_refused_lets_our_commit_go() -> None:
    member = pending()
    both = [dave_mls.add(GROUP, 0, THEM), dave_mls.add(GROUP, 0, THIRD)]
    assert member.proposes(*both) == [], "a commit has to cover both"
    _, refused = (proposal.reference for proposal in read_proposals(dave_mls.append(both)[1:]))

    (reply,) = member.gets(27, dave_mls.revoke([refused]))
    assert frames([reply]) == [bytes((28,)) + member.group.made[-1] + dave_mls.welcome([b"them"])]
    assert member.gets(27, dave_mls.revoke([refused])) == [], "it is sent once"
    assert frames(member.commits(5, member.group.made[-1])) == [ready(5)]


def test_a_revocation_of_what_was_never_proposed_leaves_our_commit_alone() -> None:
    member = pending()
    member.proposes(dave_mls.add(GROUP, 0, THEM))
    (ours,) = member.group.made

    assert member.gets(27, dave_mls.revoke([b"never proposed"])) == []
    assert member.core.membership.proposals_dropped == 1
    assert frames(member.commits(5, ours)) == [ready(5)]


def test_a_group_that_refuses_proposals_is_only_counted() -> None:
    member = pending()
    member.group.refuses_proposals = True

    assert member.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    assert member.core.membership.proposals_dropped == 1
    assert member.core.state is DaveState.PENDING


def test_proposals_without_a_group_are_ignored() -> None:
    member = Member().described()
    member.core.outgoing()
    assert member.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    plain = Member().described(0)
    assert plain.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    assert plain.core.dropped["ignored"] == 1


# Recovery.


@pytest.mark.parametrize("spoil", ["bad", "unreadable", "inline", "future"])
def test_an_invalid_commit_is_reported_once_and_another_key_package_sent(spoil: str) -> None:
    member = sending()
    commit = {
        "bad": member.a_commit(BAD),
        "unreadable": b"\x00\x01\x00\x01\xff",
        "inline": member.a_commit(inline=True),
        "future": dave_mls.commit(GROUP, member.epoch + 1),
    }[spoil]
    replies = member.commits(6, commit)
    if spoil == "bad":
        assert frames(replies) == [ready(6)], "held: its fault shows when it is merged"
        replies = member.executes(6)
        assert member.sealer.seal(OPUS) is None, "the others have executed it"

    assert frames(replies) == [invalid(6), package(member)]
    assert member.core.state is DaveState.RECOVERING
    member.core.resumed()
    assert frames(member.core.outgoing()) == [package(member)], "ready for anything but that one"
    assert [event.transition_id for event in member.events(DaveRecovering)] == [6]


def test_while_recovering_nothing_is_reported_again() -> None:
    member = sending()
    stale = member.a_commit(b"other")
    old_package = member.group.packages[-1]
    member.commits(6, b"unreadable")
    for replies in (
        member.commits(7, stale),
        member.commits(8, b"unreadable"),
        member.welcomes(9, BAD, package=old_package),
        member.gets(30, b"\x00\x0aunreadable"),
        member.welcomes(11, package=b"somebody else's"),
    ):
        assert replies == []
    assert member.core.recoveries == 1

    member.clock.advance(1.5)
    assert frames(member.welcomes(12)) == [ready(12)]
    assert member.events(DaveRecovered) == [DaveRecovered(gap_s=1.5)]
    assert member.core.next_deadline() is None
    member.executes(12)
    assert member.key == b"key 2"


def test_the_welcome_that_answers_a_report_is_answered_although_its_commit_came_before() -> None:
    member = sending()
    epoch = member.epoch
    member.commits(6, b"unreadable")
    # The commit that removes and adds us goes to all, and the welcome to us has the same transition.
    assert member.commits(7, dave_mls.commit(GROUP, epoch)) == []

    assert frames(member.welcomes(7)) == [ready(7)]
    assert member.key == b"key 1"
    member.executes(7)
    assert member.key == b"key 2"


def test_the_old_key_serves_until_the_others_go_on() -> None:
    member = sending()
    member.commits(6, b"unreadable")
    assert member.key == b"key 1", "those who keep old keys still hear us"

    member.executes(6)
    assert member.sealer.seal(OPUS) is None


def test_the_old_key_ends_when_the_others_go_on_without_us() -> None:
    member = sending()
    epoch = member.epoch
    member.commits(6, b"unreadable")
    member.commits(7, dave_mls.commit(GROUP, epoch))
    member.executes(7)

    assert member.sealer.seal(OPUS) is None


def test_an_invalid_welcome_for_the_new_key_package_is_another_failure() -> None:
    member = pending()
    for attempt in range(1, RECOVERY_LIMIT + 1):
        assert frames(member.welcomes(attempt, BAD)) == [invalid(attempt), package(member)]
    assert [event.attempt for event in member.events(DaveRecovering)] == [1, 2, 3, 4, 5]

    assert member.welcomes(6, BAD) == []
    assert member.core.state is DaveState.BROKEN
    assert member.events(DaveFailed)
    assert member.core.next_deadline() is None


def test_recoveries_that_succeed_are_not_added_up() -> None:
    member = sending(switches_on_merge=False)
    for _ in range(2 * RECOVERY_LIMIT):
        member.commits(6, member.a_commit(BAD))
        member.welcomes(7)
        member.executes(7)
    assert member.core.state is DaveState.MEMBER
    assert member.core.recoveries == 2 * RECOVERY_LIMIT


def test_a_commit_is_held_only_for_the_group_we_send_in() -> None:
    member = sending()
    member.new_group()
    member.welcomes(7)
    assert frames(member.commits(8, member.a_commit())) == [ready(8)]
    assert member.group.merged
    assert member.key == b"key 1"
    member.executes(8)
    assert member.key == b"key 3"


def test_an_invalid_commit_of_id_zero_takes_the_key_at_once() -> None:
    member = sending()
    assert frames(member.commits(0, member.a_commit(BAD))) == [invalid(0), package(member)]
    assert member.sealer.seal(OPUS) is None


def test_a_server_that_does_not_add_us_again_is_asked_again() -> None:
    member = sending()
    member.commits(6, b"unreadable")
    member.clock.advance(RECOVERY_TIMEOUT_S)
    member.core.tick(member.clock())

    assert frames(member.core.outgoing()) == [invalid(6), package(member)]
    assert member.sealer.seal(OPUS) is None


def test_alone_nobody_is_asked_again() -> None:
    member = sending()
    member.commits(6, b"unreadable")
    member.core.members_changed(left=[THEM])
    for _ in range(20):
        member.clock.advance(RECOVERY_TIMEOUT_S)
        member.core.tick(member.clock())

    waiting = member.core.state
    assert member.core.outgoing() == []
    assert waiting is DaveState.RECOVERING
    member.new_group()
    assert member.core.state is DaveState.PENDING
    assert member.core.next_deadline() is None


def test_frames_that_fail_are_reported_once_a_while() -> None:
    member = sending()
    for _ in range(3):
        member.core.cannot_decrypt(member.clock())
        member.core.cannot_decrypt(member.clock())
        assert frames(member.core.outgoing()) == [invalid(5), package(member)]
        member.executes(5)
        assert member.key is not None, "that was executed long ago"
        member.welcomes(7)
        member.core.cannot_decrypt(member.clock())
        assert member.core.outgoing() == [], "not so soon"
        member.clock.advance(FAILING_COOLDOWN_S)
        member.executes(7)
        member.prepares(5, 1)
        member.executes(5)


def test_an_own_commit_that_a_newer_one_replaced_is_not_taken_for_it() -> None:
    member = pending()
    member.core.members_changed(joined=[THIRD])
    member.proposes(dave_mls.add(GROUP, 0, THEM))
    first = member.group.made[0]
    member.proposes(dave_mls.add(GROUP, 0, THIRD))

    assert frames(member.commits(1, first))[0] == invalid(1)


def test_who_founds_a_group_reports_a_commit_that_is_not_its_own() -> None:
    member = pending()
    member.proposes(dave_mls.add(GROUP, 0, THEM))

    assert frames(member.commits(1, member.a_commit(BAD))) == [invalid(1), package(member)]


def test_commits_that_are_not_for_us_are_ignored() -> None:
    member = pending()
    assert member.commits(1, member.a_commit()) == [], "nothing was proposed to us"
    assert member.commits(1, dave_mls.commit(GROUP, 5)) == [], "of a group we are not in yet"
    member.welcomes(0)
    assert member.commits(2, dave_mls.commit(GROUP + 1, 7)) == [], "another channel's"
    assert member.commits(2, dave_mls.commit(GROUP, 3)) == [], "of an epoch we have left"
    assert member.core.dropped["ignored"] == 4
    assert member.core.recoveries == 0


# Repetition and rubbish.


def test_everything_delivered_twice_after_a_resume_has_no_second_effect() -> None:
    member = pending()
    named = key_package_ref(member.group.packages[-1])
    story: list[tuple[int, bytes | dict[str, int]]] = [
        (25, dave_mls.EXTERNAL_SENDER),
        (30, b"\x00\x05" + dave_mls.welcome([named])),
        (22, {"transition_id": 5}),
        (27, dave_mls.append([dave_mls.add(GROUP, 7, THEM)])),
        (29, b"\x00\x06" + dave_mls.commit(GROUP, 7)),
        (22, {"transition_id": 6}),
    ]
    first = [member.gets(opcode, body, seq=seq) for seq, (opcode, body) in enumerate(story)]
    assert [[reply.opcode for reply in replies] for replies in first] == [[], [23], [], [28], [23], []]
    key, epoch = member.key, member.epoch

    assert [member.gets(opcode, body, seq=seq) for seq, (opcode, body) in enumerate(story)] == [[]] * 6
    assert member.core.dropped["repeated"] == 6
    assert [member.gets(opcode, body) for opcode, body in story] == [[]] * 6, "nor without numbers"
    assert (member.key, member.epoch) == (key, epoch)
    assert member.core.recoveries == 0


def test_a_commit_delivered_twice_while_it_waits_is_taken_once() -> None:
    member = sending()
    commit = member.a_commit()
    member.commits(6, commit)

    assert member.commits(6, commit) == []
    member.executes(6)
    assert member.group.merged == [commit]


def test_the_same_number_on_another_message_is_no_repetition() -> None:
    member = pending()
    assert member.gets(21, {"transition_id": 1, "protocol_version": 1}, seq=9)
    assert member.gets(21, {"transition_id": 2, "protocol_version": 1}, seq=9)


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (21, {"transition_id": 1}),
        (21, {"transition_id": 70_000, "protocol_version": 0}),
        (22, {}),
        (24, {"epoch": 1}),
        (21, b"binary"),
        (25, b""),
        (25, b"\x01k\x00\x02\x00"),
        (27, b""),
        (27, b"\x02\x00"),
        (27, b"\x00\xff"),
        (27, b"\x01\x02\x40"),
        (29, b"\x00"),
        (30, b""),
        (27, {"transition_id": 1}),
    ],
)
def test_what_cannot_be_read_is_counted(opcode: int, body: bytes | dict[str, int]) -> None:
    member = pending()
    assert member.gets(opcode, body) == []
    assert member.core.dropped == {"malformed": 1}
    assert member.events() == []


@pytest.mark.parametrize("opcode", [0, 23, 26, 28, 31, 99])
def test_opcodes_no_server_sends_are_counted(opcode: int) -> None:
    member = pending()
    assert member.gets(opcode, {"transition_id": 1}) == []
    assert member.core.dropped == {"unexpected_opcode": 1}


# What can be looked at.


def test_codes_and_members_are_told_when_they_change() -> None:
    member = pending()
    member.welcomes(0)
    assert member.events(GroupChanged) == [
        GroupChanged(
            epoch=7,
            privacy_code=member.group.privacy_code,
            user_ids=frozenset({US, THEM}),
            joined=frozenset({US, THEM}),
            left=frozenset(),
        )
    ]
    membership = member.core.membership
    assert membership.verification_pair(THEM) is None, "only the library has seen their key"

    member.core.members_changed(joined=[THIRD])
    message = dave_mls.add(GROUP, 7, THIRD)
    member.proposes(message)
    references = [proposal.reference for proposal in read_proposals(dave_mls.append([message])[1:])]
    member.commits(0, dave_mls.commit(GROUP, 7, references, committer=THEM))
    changed = member.events(GroupChanged)[0]
    assert (changed.epoch, changed.joined) == (8, {THIRD})
    assert membership.verification_pair(THIRD) == VerificationPair(
        US, b"our identity", THIRD, b"identity of 3"
    )
    assert membership.verification_pair(THEM) == VerificationPair(US, b"our identity", THEM, b"new key of 2")
    assert membership.verification_pair(77) is None

    member.new_group()
    member.welcomes(0)
    assert membership.verification_pair(THEM) is None, "another group, another tree"


def test_who_leaves_and_comes_back_in_one_commit_is_told() -> None:
    member = pending()
    member.welcomes(0)
    member.events()
    message = dave_mls.add(GROUP, 7, THEM)
    member.proposes(dave_mls.remove(GROUP, 7, 1), message)
    references = [proposal.reference for proposal in read_proposals(dave_mls.append([message])[1:])]
    member.commits(0, dave_mls.commit(GROUP, 7, references))

    assert member.events(GroupChanged)[0].joined == {THEM}


def test_no_key_or_payload_is_shown() -> None:
    member = sending()
    shown = repr(member.core) + repr(member.sealer) + repr(member.commits(6, b"unreadable"))
    assert "identity" not in shown
    assert "<DaveProtocol member version=1 epoch=7>" in shown
