"""Whom we let into the group, and what becomes of a commit that proposals overtake."""

from __future__ import annotations

from tests.fakes import dave_mls
from tests.workers.dave.scripted_member import GROUP, THEM, THIRD, Member, frames, pending, ready
from voicepool.workers.dave.mls import read_proposals
from voicepool.workers.dave.states import DaveState


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
