from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.testing.mls_builder import commit_bytes, key_package, leaf_node, path, welcome_bytes
from voicepool.testing.dave_group import AcceptedCommit, Change, CommitRefused, DaveGroup
from voicepool.testing.mls_codec import u32, u64, vector
from voicepool.testing.mls_crypto import Signer
from voicepool.testing.mls_framing import ExternalSender
from voicepool.testing.mls_key_package import KeyPackage

CHANNEL = 99
SIGNERS = {user: Signer() for user in range(1, 8)}


def package(user: int) -> KeyPackage:
    return key_package(user, SIGNERS[user])


class Group(DaveGroup):
    """A group whose members commit whatever a test wants."""

    def __init__(self) -> None:
        super().__init__(CHANNEL, ExternalSender())

    def refs(self, changes: Sequence[Change]) -> list[bytes]:
        return [self.proposal(change).ref for change in changes]

    def own_path(self, user: int, *, signer: Signer | None = None, **options: object) -> bytes:
        context = vector(u64(CHANNEL)) + u32(self.leaves.get(user, 0))
        signer = signer or SIGNERS[user]
        return path(leaf_node(user, signer, source=3, context=context, **options))  # type: ignore[arg-type]

    def commit(self, user: int, changes: Sequence[Change], **options: object) -> set[int]:
        """Commit rightly, but for what `options` change; return who is added."""
        encoded = self.own_path(user) if any(change.package is None for change in changes) else b"\0"
        defaults: dict[str, object] = {
            "epoch": self.epoch,
            "leaf_index": self.leaves.get(user, 0),
            "encoded_path": encoded,
        }
        payload = commit_bytes(self.refs(changes), **{**defaults, **options})  # type: ignore[arg-type]
        added = [change.package.ref for change in changes if change.package is not None]
        payload += welcome_bytes(added) if added else b""
        return set(self.take(user, payload, changes).welcomes)

    def take(self, user: int, payload: bytes, offered: Sequence[Change]) -> AcceptedCommit:
        return self.take_commit(user, SIGNERS[user].public_key, payload, offered)


def established(*users: int) -> Group:
    group = Group()
    group.commit(users[0], [Change(user, package(user)) for user in users[1:]])
    return group


def refusal(group: Group, user: int, changes: Sequence[Change], **options: object) -> CommitRefused:
    before = group.epoch, dict(group.leaves)
    with pytest.raises(CommitRefused) as caught:
        group.commit(user, changes, **options)
    assert (group.epoch, group.leaves) == before
    return caught.value


def test_the_first_commit_establishes_the_group() -> None:
    group = Group()
    assert not group.established
    added = group.commit(1, [Change(3, package(3)), Change(2, package(2))])
    assert added == {2, 3}
    assert group.established
    assert group.epoch == 1
    # Leaves are taken in the order of the commit.
    assert group.leaves == {1: 0, 3: 1, 2: 2}
    assert group.signature_key(2) == SIGNERS[2].public_key


def test_an_add_takes_the_leftmost_free_leaf() -> None:
    group = established(1, 2, 3, 4)
    group.commit(1, [Change(2), Change(3)])
    assert group.leaves == {1: 0, 4: 3}
    group.commit(4, [Change(5, package(5)), Change(1), Change(6, package(6)), Change(7, package(7))])
    assert group.leaves == {4: 3, 5: 0, 6: 1, 7: 2}
    assert group.epoch == 3


def test_a_member_may_be_removed_and_added_by_one_commit() -> None:
    group = established(1, 2)
    renewed = key_package(2)
    group.commit(1, [Change(2), Change(2, renewed)])
    assert group.leaves == {1: 0, 2: 1}
    assert group.signature_key(2) == renewed.leaf.signature_key


def test_each_welcome_is_for_one() -> None:
    group = Group()
    two, three = package(2), package(3)
    changes = [Change(2, two), Change(3, three)]
    payload = commit_bytes(group.refs(changes)) + welcome_bytes([three.ref, two.ref])
    accepted = group.take(1, payload, changes)
    assert accepted.message == commit_bytes([], epoch=0)[:0] + payload[: len(accepted.message)]
    assert two.ref in accepted.welcomes[2]
    assert three.ref not in accepted.welcomes[2]


def test_proposals_are_signed_once_an_epoch() -> None:
    group = established(1, 2)
    first = group.proposal(Change(2))
    assert group.proposal(Change(2)) is first
    group.renew_proposals()
    assert group.proposal(Change(2)).ref != first.ref


def test_what_only_came_too_late_is_no_fault() -> None:
    group = established(1, 2, 3)
    assert refusal(group, 1, [Change(2)], epoch=0).late
    old = group.refs([Change(2)])
    group.renew_proposals()
    group.refs([Change(2)])
    with pytest.raises(CommitRefused, match="0 of the 1 open") as caught:
        group.take(1, commit_bytes(old, epoch=1, encoded_path=group.own_path(1)), [Change(2)])
    assert caught.value.late


def test_a_commit_takes_exactly_the_open_proposals() -> None:
    group = established(1, 2, 3)
    both = [Change(2), Change(3)]
    own = group.own_path(1)
    one = group.refs(both)[:1]
    cases = {
        "1 of the 2 open": one,
        "0 of the 2 open": [],
        "and 1 others": [*group.refs(both), b"x" * 32],
        "names a proposal twice": one * 2,
    }
    for text, refs in cases.items():
        with pytest.raises(CommitRefused, match=text) as caught:
            group.take(1, commit_bytes(refs, epoch=1, encoded_path=own), both)
        assert caught.value.late == (text == "1 of the 2 open")


def test_a_commit_is_for_this_group_and_from_its_senders_leaf() -> None:
    group = established(1, 2, 3)
    assert "another group" in refusal(group, 1, [Change(2)], group_id=u64(98)).sentence
    assert "came as leaf 2; that user has leaf 0" in refusal(group, 1, [Change(2)], leaf_index=2).sentence
    assert not refusal(group, 1, [Change(2)], leaf_index=2).late


def test_removing_takes_a_path_of_the_sender() -> None:
    group = established(1, 2, 3)
    changes = [Change(2)]
    assert "has no path" in refusal(group, 1, changes, encoded_path=b"\0").sentence
    other = group.own_path(1, identity=u64(3))
    assert "changes the credential" in refusal(group, 1, changes, encoded_path=other).sentence
    rekeyed = group.own_path(1, signer=Signer())
    assert "changes the signature key" in refusal(group, 1, changes, encoded_path=rekeyed).sentence
    unsigned = group.own_path(1, spoil=True)
    assert "not signed by that user" in refusal(group, 1, changes, encoded_path=unsigned).sentence
    group.commit(1, changes)


def test_the_welcome_is_for_those_who_are_added() -> None:
    two, three = package(2), package(3)
    changes = [Change(2, two), Change(3, three)]
    group = Group()
    begin = commit_bytes(group.refs(changes))
    cases = {
        "has no welcome": b"",
        "not for exactly": welcome_bytes([two.ref]),
        "ciphersuite 1": welcome_bytes([two.ref, three.ref], ciphersuite=1),
        "ends within": welcome_bytes([two.ref, three.ref])[:-1],
    }
    for text, rest in cases.items():
        with pytest.raises(CommitRefused, match=text) as caught:
            group.take(1, begin + rest, changes)
        assert not caught.value.late
    later = established(1, 2, 3)
    whole = commit_bytes(later.refs([Change(2)]), epoch=1, encoded_path=later.own_path(1))
    with pytest.raises(CommitRefused, match="goes on after a commit that adds nobody"):
        later.take(1, whole + b"\0", [Change(2)])


def test_a_reset_forgets_everything() -> None:
    group = established(1, 2)
    group.reset()
    assert (group.epoch, group.leaves, group.established) == (0, {}, False)
    group.commit(2, [Change(1, package(1))])
    assert group.leaves == {2: 0, 1: 1}


def test_changes_show_no_keys() -> None:
    assert repr([Change(1), Change(2, package(2))]) == "[remove(1), add(2)]"
