from __future__ import annotations

from tests.fakes import dave_mls
from voicepool.workers.dave.mls import Proposal, read_proposals
from voicepool.workers.dave.proposals import RECOGNISED_MAX, REFUSED_MAX, ProposalDesk

GROUP = 99
GROUP_ID = GROUP.to_bytes(8)


def read(*messages: bytes) -> tuple[Proposal, ...]:
    return read_proposals(dave_mls.append(messages)[1:])


def test_we_are_always_expected() -> None:
    desk = ProposalDesk(1)
    assert desk.is_alone
    desk.members_changed([2, 3], [1, 3])
    assert desk.recognised == {1, 2}
    assert not desk.is_alone


def test_an_add_waits_for_its_user_and_no_longer_than_its_epoch() -> None:
    desk = ProposalDesk(1)
    (add,) = read(dave_mls.add(GROUP, 4, 2))
    assert desk.sort([add], GROUP_ID, 4) == ([], 1)
    assert desk.has_refused
    assert desk.take_recognised() == []
    desk.members_changed([2], [])
    assert desk.take_recognised() == [add]
    assert not desk.has_refused
    assert desk.keys_of([add.reference, b"unknown"]) == {2: b"identity of 2"}

    desk.forget()
    desk.members_changed([], [2])
    desk.sort([add], GROUP_ID, 4)
    desk.forget()
    desk.members_changed([2], [])
    assert desk.take_recognised() == []
    assert desk.keys_of([add.reference]) == {}


def test_what_is_delivered_twice_is_taken_once() -> None:
    desk = ProposalDesk(1)
    desk.members_changed([2], [])
    add, remove = read(dave_mls.add(GROUP, 4, 2), dave_mls.remove(GROUP, 4, 3))
    assert desk.sort([add, remove, add, remove], GROUP_ID, 4) == ([add, remove], 2)


def test_a_members_own_proposal_spoils_the_epoch() -> None:
    desk = ProposalDesk(1)
    desk.members_changed([2], [])
    assert desk.sort(read(dave_mls.add(GROUP, 4, 2, by_member=True)), GROUP_ID, 4) == ([], 1)
    assert desk.has_refused


def test_a_remove_needs_no_recognition() -> None:
    desk = ProposalDesk(1)
    (remove,) = read(dave_mls.remove(GROUP, 4, 3))
    assert desk.sort([remove], GROUP_ID, 4) == ([remove], 0)


def test_what_is_revoked_is_dropped_where_it_is() -> None:
    desk = ProposalDesk(1)
    desk.members_changed([2], [])
    messages = dave_mls.add(GROUP, 4, 2), dave_mls.remove(GROUP, 4, 4), dave_mls.add(GROUP, 4, 3)
    taken, remove, refused = read(*messages)
    desk.sort([taken, remove, refused], GROUP_ID, 4)
    assert desk.revoke([refused.reference, b"never proposed"]) == []
    assert not desk.has_refused
    assert desk.keys_of([taken.reference, remove.reference]) == {2: b"identity of 2"}
    assert desk.revoke([taken.reference, remove.reference]) == [taken.reference, remove.reference]
    assert desk.revoke([taken.reference]) == []
    assert desk.keys_of([taken.reference]) == {}


def test_the_bounds() -> None:
    desk = ProposalDesk(1)
    desk.members_changed(range(10, 10 + 2 * RECOGNISED_MAX), [])
    assert len(desk.recognised) == RECOGNISED_MAX
    adds = [read(dave_mls.add(GROUP, 4, 2, number))[0] for number in range(REFUSED_MAX + 1)]
    desk.sort(adds, GROUP_ID, 4)
    desk.members_changed([], [10])
    desk.members_changed([2], [])
    assert len(desk.take_recognised()) == REFUSED_MAX
    assert desk.has_refused, "one was forgotten, so a commit of ours would lack it"
