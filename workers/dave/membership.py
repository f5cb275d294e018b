"""Our place in the group: key packages, proposals, commits, welcomes, and the keys seen on the way [pure].

Says of every MLS message whether it is for us and takes it to the group. What follows from that, the answers
about transitions and the recovery, is `protocol`'s part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.contract import DaveGroup, Encrypt, GroupError
from voicepool.workers.dave.events import GroupChanged
from voicepool.workers.dave.messages import DaveReply, commit_welcome_reply, key_package_reply
from voicepool.workers.dave.mls import (
    Commit,
    MlsFormatError,
    Proposal,
    key_package_ref,
    read_commit,
    read_external_sender,
    read_proposals,
    read_references,
    read_welcome_references,
)
from voicepool.workers.dave.proposals import ProposalDesk
from voicepool.workers.dave.states import DaveInput, DaveMachine, DaveState

__all__ = ["Membership"]

_OWN_KEPT: Final = 16
"""Key packages and commits of ours that are remembered after they were replaced."""
_IN_A_GROUP: Final = frozenset({DaveState.PENDING, DaveState.MEMBER, DaveState.RECOVERING})


class Membership:
    """Owns the group and the state machine.

    Parameters
    ----------
    group
        Does the MLS.
    """

    def __init__(self, group: DaveGroup) -> None:
        self._group = group
        self._group_id = group.channel_id.to_bytes(8)
        self._machine = DaveMachine()
        self._desk = ProposalDesk(group.user_id)
        self._external_sender = b""
        self._key_package = b""
        self._old_packages: deque[bytes] = deque(maxlen=_OWN_KEPT)
        self._own_commit = b""
        self._old_commits: deque[bytes] = deque(maxlen=_OWN_KEPT)
        self._commit_reply: DaveReply | None = None
        self._incomplete_reply: DaveReply | None = None
        self._keys: dict[int, bytes] = {}
        self._library_codes: dict[int, str] = {}
        self._known: tuple[int | None, str | None] = (None, None)
        self._known_members: frozenset[int] = frozenset()
        self._added: frozenset[int] = frozenset()
        self.generation = 0
        """How many groups were started; tells what belongs to the present one."""
        self.proposals_dropped = 0
        """Proposals and revocations that we did not take, or the group refused."""

    # What can be seen.

    @property
    def state(self) -> DaveState:
        """Where we stand."""
        return self._machine.state

    @property
    def is_in_a_group(self) -> bool:
        """Whether there is a group, be it only our own of epoch 0."""
        return self.state in _IN_A_GROUP

    @property
    def is_alone(self) -> bool:
        """Whether nobody but us is in the call."""
        return self._desk.is_alone

    @property
    def user_id(self) -> int:
        """Ours."""
        return self._group.user_id

    @property
    def max_version(self) -> int:
        """Highest protocol version of the group's library."""
        return self._group.max_version

    @property
    def switches_on_merge(self) -> bool:
        """See `DaveGroup.switches_on_merge`."""
        return self._group.switches_on_merge

    @property
    def epoch(self) -> int | None:
        """Of the group we are a member of."""
        return self._group.epoch if self.state is DaveState.MEMBER else None

    @property
    def privacy_code(self) -> str | None:
        """30 digits that all members see alike; None outside of a group."""
        return self._group.privacy_code if self.state is DaveState.MEMBER else None

    @property
    def user_ids(self) -> frozenset[int]:
        """Members, us included; empty outside of a group."""
        return self._group.user_ids if self.state is DaveState.MEMBER else frozenset()

    def verification_pair(self, user_id: int) -> VerificationPair | None:
        """Return what a member's verification code is made from, if their key came by in the open."""
        key = self._keys.get(user_id)
        if key is None or user_id not in self.user_ids:
            return None
        return VerificationPair(self._group.user_id, self._group.signature_key, user_id, key)

    def verification_code(self, user_id: int) -> str:
        """Return the code for a member whose key `verification_pair` does not know.

        Those who were in the group when we were welcomed put their keys into a tree that only the library has
        read. It makes the code while it keeps the interpreter's lock (see `group` for how long), so each is
        made once, and kept for as long as the member stays: a new key of theirs would come by in the open.

        Raises
        ------
        GroupError
            It is no member, or the library cannot.
        """
        if user_id not in self.user_ids:
            raise GroupError("make a verification code", "that user is not in it")
        code = self._library_codes.get(user_id)
        if code is None:
            code = self._library_codes[user_id] = self._group.verification_code(user_id)
        return code

    def encryptor(self) -> Encrypt | None:
        """Return what encrypts under our key of the present epoch; None for anybody but a member."""
        return self._group.encryptor() if self.state is DaveState.MEMBER else None

    def news(self) -> GroupChanged | None:
        """Return the change since the last call, if epoch or privacy code are others."""
        known = (self.epoch, self.privacy_code)
        if known == self._known:
            return None
        self._known = known
        members, before, added = self.user_ids, self._known_members, self._added
        self._known_members, self._added = members, frozenset()
        return GroupChanged(
            epoch=known[0],
            privacy_code=known[1],
            user_ids=members,
            joined=(members - before) | (added & members),
            left=before - members,
        )

    # A group begins or ends.

    def move(self, received: DaveInput) -> None:
        """Change the state by the table."""
        self._machine.move(received)

    def start(self, version: int, now: float) -> DaveReply:
        """Forget the group, and return the key package for a new one.

        Raises
        ------
        GroupError
            There is no group then.
        """
        self.generation += 1
        self._forget_epoch()
        self._keys.clear()
        self._library_codes.clear()
        self._use_up_key_package()
        self._key_package = self._group.start(version, self._external_sender, now)
        return key_package_reply(self._key_package)

    def take_external_sender(self, package: bytes) -> bool:
        """Take the payload of opcode 25; return whether a pending group is to be started anew for it.

        Raises
        ------
        MlsFormatError
            If it is none.
        """
        read_external_sender(package)
        is_new, self._external_sender = package != self._external_sender, package
        if not is_new or self.state not in {DaveState.PENDING, DaveState.RECOVERING}:
            # A member keeps the sender of its group; the new one is for the next.
            return False
        try:
            self._group.set_external_sender(package)
        except GroupError:
            # Somebody has been proposed already, by the sender before.
            return True
        return False

    def unanswered(self) -> list[DaveReply]:
        """Return what the server may have missed when the websocket broke."""
        lost = [] if self._commit_reply is None else [self._commit_reply]
        return [key_package_reply(self._key_package), *lost] if self._key_package else lost

    # Proposals.

    def members_changed(self, joined: Iterable[int], left: Iterable[int]) -> DaveReply | None:
        """Note who may be added; return a commit if that lets a refused proposal pass."""
        self._desk.members_changed(joined, left)
        return self._propose(self._desk.take_recognised(), []) if self.is_in_a_group else None

    def propose(self, vector: bytes) -> DaveReply | None:
        """Take appended proposals; return our commit to all of this epoch, if there is something to commit.

        Raises
        ------
        MlsFormatError
            If they cannot be read.
        """
        proposals = read_proposals(vector)
        if not self._external_sender:
            # Without it there is no group of ours that they could be for.
            self.proposals_dropped += len(proposals)
            return None
        taken, dropped = self._desk.sort(proposals, self._group_id, self._epoch)
        self.proposals_dropped += dropped
        return self._propose(taken, [])

    def revoke(self, vector: bytes) -> DaveReply | None:
        """Drop revoked proposals; return our commit to those that are left.

        Raises
        ------
        MlsFormatError
            If they cannot be read.
        """
        references = read_references(vector)
        revoked = self._desk.revoke(references)
        self.proposals_dropped += len(references) - len(revoked)
        return self._propose([], revoked) if revoked else self._complete()

    def _propose(self, appended: Sequence[Proposal], revoked: Sequence[bytes]) -> DaveReply | None:
        if not appended and not revoked:
            return None
        if self._own_commit:
            self._old_commits.append(self._own_commit)
        self._own_commit, self._commit_reply, self._incomplete_reply = b"", None, None
        try:
            made = self._group.process_proposals(appended, revoked)
        except GroupError:
            self.proposals_dropped += len(appended) + len(revoked)
            return None
        if made is None:
            return None
        self._own_commit = made.commit
        self._incomplete_reply = commit_welcome_reply(made.commit, made.welcome)
        return self._complete()

    def _complete(self) -> DaveReply | None:
        """Return our commit, once, as soon as it covers everything that is proposed."""
        if self._incomplete_reply is None or self._desk.has_refused:
            return None
        self._commit_reply, self._incomplete_reply = self._incomplete_reply, None
        return self._commit_reply

    # Commits.

    def is_commit_for_us(self, commit: bytes) -> bool:
        """Whether we have to process it, and to report it if we cannot."""
        if not self.is_in_a_group:
            return False
        if self.state is DaveState.RECOVERING:
            # Of the group we have left, unless it founds the next one, with us.
            return bool(commit) and commit == self._own_commit
        try:
            seen = read_commit(commit)
        except MlsFormatError:
            return self.state is DaveState.MEMBER or bool(self._own_commit)
        if seen.group_id != self._group_id:
            return False
        if self.state is DaveState.MEMBER:
            # Of an epoch that we have left: delivered again.
            return seen.epoch >= self._epoch
        # Whoever is in no group yet can only be founding one.
        return bool(self._own_commit) and seen.epoch == self._epoch

    def fault_of(self, commit: bytes) -> str | None:
        """Return why this commit cannot be processed, as far as that shows without processing it."""
        try:
            seen = read_commit(commit)
        except MlsFormatError as error:
            return f"a commit that cannot be read: {error}"
        if not seen.is_from_member:
            return "a commit that is no member's"
        if seen.epoch != self._epoch:
            return "a commit for an epoch that is not ours"
        if not seen.is_by_reference:
            return "a commit with a proposal that the server has not sent"
        if commit in self._old_commits:
            # The library would take our newest in its place.
            return "a commit of ours that a newer one replaced"
        return None

    def commit_announced(self) -> None:
        """Note that the epoch has its commit: ours is not to be sent again, whichever it was."""
        self._commit_reply = self._incomplete_reply = None

    def merge(self, commit: bytes) -> None:
        """Go to the next epoch.

        Raises
        ------
        GroupError
            If it is not valid.
        """
        seen = read_commit(commit)
        self._group.merge_commit(commit)
        self._entered(self._keys_in(seen))

    def _keys_in(self, seen: Commit) -> dict[int, bytes]:
        """Return the public keys that the commit puts into the tree, now that the library has accepted it."""
        keys = self._desk.keys_of(seen.references)
        self._added = frozenset(keys)
        if seen.committer is not None:
            keys[seen.committer[0]] = seen.committer[1]
        return keys

    # Welcomes.

    def is_welcome_for_us(self, welcome: bytes) -> bool:
        """Whether we have to process it, and to report it if we cannot."""
        if self.state not in {DaveState.PENDING, DaveState.RECOVERING}:
            return False
        try:
            named = read_welcome_references(welcome)
        except MlsFormatError:
            named = frozenset()
        if key_package_ref(self._key_package) in named:
            return True
        # Not to be read, or for nobody we ever were: a pending member reports it. Who is recovering does not,
        # nor does anybody report the welcome for a key package that was replaced while it was on its way.
        return self.state is DaveState.PENDING and named.isdisjoint(self._old_packages)

    def join(self, welcome: bytes) -> None:
        """Go into the group of a welcome.

        Raises
        ------
        GroupError
            If it is not valid.
        """
        self._group.join(welcome)
        # No keys: what we saw proposed need not be what those inside have put into their tree.
        self._entered({})

    def _entered(self, keys: dict[int, bytes]) -> None:
        self._machine.move(DaveInput.ADMITTED)
        self._forget_epoch()
        self._use_up_key_package()
        members = self._group.user_ids
        known = {**self._keys, **keys}
        self._keys = {user_id: key for user_id, key in known.items() if user_id in members}
        self._library_codes = {
            user_id: code for user_id, code in self._library_codes.items() if user_id in members
        }

    @property
    def _epoch(self) -> int:
        return self._group.epoch or 0

    def _forget_epoch(self) -> None:
        self._desk.forget()
        self._own_commit, self._commit_reply, self._incomplete_reply = b"", None, None
        self._old_commits.clear()

    def _use_up_key_package(self) -> None:
        if self._key_package:
            self._old_packages.append(key_package_ref(self._key_package))
            self._key_package = b""
