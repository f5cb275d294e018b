from __future__ import annotations

from tests.testing.mls_builder import CHANNEL, key_package
from voicepool.testing.dave_group import Change, DaveGroup
from voicepool.testing.dave_messages import DaveBinary, append_proposals, revoke_proposals
from voicepool.testing.dave_offers import OfferBook
from voicepool.testing.mls_framing import ExternalSender

ADDS = [Change(user, key_package(user)) for user in range(4)]
REMOVE = Change(5)


def book() -> tuple[OfferBook, DaveGroup]:
    group = DaveGroup(CHANNEL, ExternalSender())
    group.leaves = {5: 1}
    return OfferBook(group), group


def append(group: DaveGroup, *changes: Change) -> DaveBinary:
    return append_proposals([group.proposal(change).message for change in changes])


def revoke(group: DaveGroup, *changes: Change) -> DaveBinary:
    return revoke_proposals([group.proposal(change).ref for change in changes])


def test_what_is_new_is_appended_without_ones_own() -> None:
    offers, group = book()
    assert not offers
    assert offers.update([0, 1], ADDS[:2]) == [(0, append(group, ADDS[1])), (1, append(group, ADDS[0]))]
    assert offers.update([0, 1], ADDS[:2]) == []
    assert offers.update([0, 1], ADDS) == [(0, append(group, *ADDS[2:])), (1, append(group, *ADDS[2:]))]
    assert list(offers.of(0)) == ADDS[1:]
    assert offers.all() == set(ADDS)
    assert offers.users() == {0, 1}
    assert offers


def test_who_comes_later_gets_the_same_proposals() -> None:
    offers, group = book()
    offers.update([0], ADDS[:2])
    assert offers.update([0, 1, 2], ADDS[:2]) == [(1, append(group, ADDS[0])), (2, append(group, *ADDS[:2]))]


def test_what_is_obsolete_is_taken_back_with_all_the_rest() -> None:
    offers, group = book()
    offers.update([0, 3], ADDS)
    taken_back = [(0, revoke(group, *ADDS[1:])), (3, revoke(group, *ADDS[:3]))]
    messages = offers.update([0, 3], [*ADDS[2:], REMOVE])
    assert messages[:2] == taken_back
    assert messages[2:] == [
        (0, append(group, ADDS[2], ADDS[3], REMOVE)),
        (3, append(group, ADDS[2], REMOVE)),
    ]
    taken_back = [(0, revoke(group, ADDS[2], ADDS[3], REMOVE)), (3, revoke(group, ADDS[2], REMOVE))]
    assert offers.update([0, 3], []) == taken_back
    assert not offers


def test_what_is_proposed_again_has_another_reference() -> None:
    offers, group = book()
    offers.update([0], ADDS)
    before = group.proposal(ADDS[3]).ref
    offers.update([0], ADDS[2:])
    assert group.proposal(ADDS[3]).ref != before


def test_a_remove_that_joins_adds_makes_them_come_anew() -> None:
    offers, group = book()
    offers.update([0], ADDS[1:3])
    taken_back = revoke(group, *ADDS[1:3])
    assert offers.update([0], [*ADDS[1:3], REMOVE]) == [
        (0, taken_back),
        (0, append(group, *ADDS[1:3], REMOVE)),
    ]
    # An add that joins a remove needs nothing of the kind.
    offers.clear()
    offers.update([0], [REMOVE])
    assert offers.update([0], [REMOVE, ADDS[1]]) == [(0, append(group, ADDS[1]))]


def test_everything_can_be_taken_back() -> None:
    offers, group = book()
    offers.update([0, 1], ADDS[:2])
    expected = [(0, revoke(group, ADDS[1])), (1, revoke(group, ADDS[0]))]
    assert offers.withdraw_all() == expected
    assert not offers
    assert offers.withdraw_all() == []


def test_who_is_forgotten_is_offered_all_again() -> None:
    offers, group = book()
    offers.update([0], ADDS[:2])
    offers.forget(0)
    offers.forget(0)
    assert list(offers.of(0)) == []
    assert offers.update([0], ADDS[:2]) == [(0, append(group, ADDS[1]))]
