"""What was meant for us and is invalid is reported, and we are added again."""

from __future__ import annotations

import pytest

from tests.fakes import dave_mls
from tests.fakes.dave_group import BAD
from tests.workers.dave.scripted_member import (
    GROUP,
    OPUS,
    THEM,
    THIRD,
    frames,
    invalid,
    package,
    pending,
    ready,
    sending,
)
from voicepool.workers.dave.events import DaveFailed, DaveRecovered, DaveRecovering
from voicepool.workers.dave.recovery import FAILING_COOLDOWN_S, RECOVERY_LIMIT, RECOVERY_TIMEOUT_S
from voicepool.workers.dave.states import DaveState


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
