"""[pure] What the voice gateway knows of the MLS group: epoch, leaves, proposals; and which commits hold.

The gateway has no group secrets and no ratchet tree. From a commit it can read the group, the epoch, the
sender's leaf, the proposals and the new leaf of its path; from a welcome whom it addresses. It cannot check

* the commit's signature, which covers the group context and so the tree;
* the membership and the confirmation tag, whose keys are the members';
* the path secrets, and what the welcome says inside: extensions, external sender, tree.

Members check all of that, and report it with opcode 31.

Sources: whitepaper, "Delivery Service" and "Voice Gateway Commit Validity"; RFC 9420 §12.4.
"""

from __future__ import annotations

__all__ = ("AcceptedCommit", "Change", "CommitRefused", "DaveGroup")

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from voicepool.testing.mls_codec import MlsDecodeError, u64
from voicepool.testing.mls_framing import Commit, ExternalSender, Proposal, parse_commit
from voicepool.testing.mls_key_package import KeyPackage
from voicepool.testing.mls_welcome import Welcome, parse_welcome

_REMEMBERED_REFS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Change:
    """A member to be added, with its key package; or, without one, to be removed."""

    user_id: int
    package: KeyPackage | None = None

    def __repr__(self) -> str:
        return f"{'remove' if self.package is None else 'add'}({self.user_id})"


@dataclass(frozen=True, slots=True)
class AcceptedCommit:
    """A commit that won its epoch.

    Attributes
    ----------
    message : bytes
        The MLSMessage to announce.
    removed, added : frozenset[int]
        Users; one that is re-added is in both.
    welcomes : dict[int, bytes]
        The Welcome of each added user.
    """

    message: bytes
    removed: frozenset[int]
    added: frozenset[int]
    welcomes: dict[int, bytes]


class CommitRefused(Exception):  # noqa: N818 -- the gateway's answer, not an error of ours
    """A commit is not announced.

    Attributes
    ----------
    sentence : str
        Why, for a list of complaints.
    late : bool
        True if it only crossed something on the way: the proposals or the epoch had changed. Its sender has
        done nothing wrong.
    """

    def __init__(self, sentence: str, *, late: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.late = late


class DaveGroup:
    """The group of one call, seen from outside.

    Parameters
    ----------
    channel_id : int
        The group id is its 64-bit big-endian form.
    sender : ExternalSender
        Signs the proposals.

    Attributes
    ----------
    epoch : int
        0 until the first commit; the group is established from 1 on.
    leaves : dict[int, int]
        User to leaf index.
    """

    def __init__(self, channel_id: int, sender: ExternalSender) -> None:
        self.epoch = 0
        self.leaves: dict[int, int] = {}
        self._group_id = u64(channel_id)
        self._sender = sender
        self._signature_keys: dict[int, bytes] = {}
        self._proposals: dict[Change, Proposal] = {}
        self._past_refs: deque[bytes] = deque(maxlen=_REMEMBERED_REFS)

    @property
    def established(self) -> bool:
        """Whether a first commit was announced."""
        return self.epoch > 0

    def signature_key(self, user_id: int) -> bytes:
        """Return the signature key of a member."""
        return self._signature_keys[user_id]

    def reset(self) -> None:
        """Forget the group; members are about to create a new one."""
        self.epoch = 0
        self.leaves.clear()
        self._signature_keys.clear()
        self.renew_proposals()

    def renew_proposals(self) -> None:
        """Sign what is proposed from here on anew, under new references."""
        self._past_refs.extend(proposal.ref for proposal in self._proposals.values())
        self._proposals.clear()

    def proposal(self, change: Change) -> Proposal:
        """Return the proposal for `change` in this epoch; the same one each time."""
        proposal = self._proposals.get(change)
        if proposal is None:
            if change.package is None:
                proposal = self._sender.remove(self._group_id, self.epoch, self.leaves[change.user_id])
            else:
                proposal = self._sender.add(self._group_id, self.epoch, change.package)
            self._proposals[change] = proposal
        return proposal

    def take_commit(
        self, user_id: int, signature_key: bytes | None, payload: bytes, offered: Collection[Change]
    ) -> AcceptedCommit:
        """Judge a payload of opcode 28; if it is the epoch's valid commit, move the group on.

        Parameters
        ----------
        user_id : int
            Who sent it.
        signature_key : bytes | None
            The sender's signature key from its waiting key package; needed if it creates the group.
        payload : bytes
            Commit and, if somebody is added, Welcome.
        offered : Collection[Change]
            The proposals that stand open for this sender.

        Raises
        ------
        CommitRefused
            It is not; nothing has changed.
        """
        try:
            commit, rest = parse_commit(payload)
            changes = self._check_commit(user_id, signature_key, commit, offered)
            welcome = self._check_welcome(changes, rest)
        except MlsDecodeError as error:
            raise CommitRefused(f"op 28 from user {user_id}: {error}") from error
        return self._apply(user_id, signature_key, commit, changes, welcome)

    def _check_commit(
        self, user_id: int, signature_key: bytes | None, commit: Commit, offered: Collection[Change]
    ) -> list[Change]:
        if commit.group_id != self._group_id:
            raise CommitRefused(f"a commit of user {user_id} was for another group than this channel's")
        if commit.epoch != self.epoch:
            raise CommitRefused(
                f"a commit of user {user_id} was for epoch {commit.epoch}; the group is in {self.epoch}",
                late=True,
            )
        by_ref = {self._proposals[change].ref: change for change in offered}
        changes = [by_ref[ref] for ref in commit.refs if ref in by_ref]
        if len(set(commit.refs)) != len(commit.refs):
            raise CommitRefused(f"a commit of user {user_id} names a proposal twice")
        if len(changes) != len(by_ref) or len(changes) != len(commit.refs) or not changes:
            known = {*self._past_refs, *(proposal.ref for proposal in self._proposals.values())}
            raise CommitRefused(
                f"a commit of user {user_id} carries out {len(changes)} of the {len(by_ref)} open proposals "
                f"and {len(commit.refs) - len(changes)} others; it has to take exactly the open ones",
                late=bool(commit.refs) and known.issuperset(commit.refs),
            )
        own_leaf = self.leaves.get(user_id, 0)
        if commit.leaf_index != own_leaf:
            raise CommitRefused(
                f"a commit of user {user_id} came as leaf {commit.leaf_index}; that user has leaf {own_leaf}"
            )
        self._check_path(user_id, signature_key, commit, changes)
        return changes

    def _check_path(
        self, user_id: int, signature_key: bytes | None, commit: Commit, changes: Iterable[Change]
    ) -> None:
        leaf = commit.path_leaf
        if leaf is None:
            if any(change.package is None for change in changes):
                raise CommitRefused(
                    f"a commit of user {user_id} removes members and has no path (RFC 9420 §12.4)"
                )
            return
        if leaf.user_id != user_id:
            raise CommitRefused(f"a commit of user {user_id} changes the credential of its leaf")
        if leaf.signature_key != self._signature_keys.get(user_id, signature_key):
            raise CommitRefused(f"a commit of user {user_id} changes the signature key of its leaf")
        if not leaf.verify(self._group_id, commit.leaf_index):
            raise CommitRefused(f"the new leaf in a commit of user {user_id} is not signed by that user")

    def _check_welcome(self, changes: Iterable[Change], data: bytes) -> Welcome | None:
        refs = {change.package.ref for change in changes if change.package is not None}
        if not refs:
            if data:
                raise CommitRefused("op 28 goes on after a commit that adds nobody")
            return None
        if not data:
            raise CommitRefused("op 28 adds members and has no welcome after its commit")
        welcome = parse_welcome(data)
        if welcome.secrets.keys() != refs:
            raise CommitRefused("the welcome in op 28 is not for exactly the members that its commit adds")
        return welcome

    def _apply(
        self,
        user_id: int,
        signature_key: bytes | None,
        commit: Commit,
        changes: list[Change],
        welcome: Welcome | None,
    ) -> AcceptedCommit:
        if not self.established:
            assert signature_key is not None
            self.leaves = {user_id: 0}
            self._signature_keys = {user_id: signature_key}
        removed = frozenset(change.user_id for change in changes if change.package is None)
        for gone in removed:
            del self.leaves[gone], self._signature_keys[gone]
        welcomes: dict[int, bytes] = {}
        # Removes come before adds, and each add takes the leftmost free leaf (RFC 9420 §12.3, §12.1.1).
        taken = set(self.leaves.values())
        for change in changes:
            if change.package is None:
                continue
            assert welcome is not None
            index = next(i for i in range(len(taken) + 1) if i not in taken)
            taken.add(index)
            self.leaves[change.user_id] = index
            self._signature_keys[change.user_id] = change.package.leaf.signature_key
            welcomes[change.user_id] = welcome.for_one(change.package.ref)
        self.epoch += 1
        self.renew_proposals()
        return AcceptedCommit(commit.message, removed, frozenset(welcomes), welcomes)
