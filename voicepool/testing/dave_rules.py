"""[pure] The rules by which the voice gateway leads one call's MLS group.

The rules, in the order in which they take effect:

1.  The call has the highest version that every member supports. If that becomes 0, a transition to 0 is
    announced (op 21) and the group forgotten; if it stops being 0, everybody creates a group anew (op 24 with
    epoch 1).
2.  An established group of which one connected member is left is dissolved: op 24, then op 21 with transition
    0. If everybody in it has lost it, it is forgotten without a word: they and the newcomers create another.
3.  What ought to change is compared with what was proposed. The group's members (before there is a group: all
    who sent a key package, each without the proposal to add itself) get the difference as op 27.
4.  The first valid commit on exactly the open proposals wins: op 29 to those who stay, op 30 to those who are
    added, and a transition waits for their op 23.

Unless `overlap` is set, rule 3 waits until the last commit's transition is carried out: by then every member
is in the new epoch, or has said that it is not. "The voice gateway may delay" proposals; members that find
themselves in the wrong epoch would fail on them. If no valid commit comes in time, the proposals are taken
back and made anew, and after several times the group is created anew.

Source: DAVE whitepaper, "Protocol Version Negotiation" to "Recovery from Invalid Commit or Welcome".
"""

from __future__ import annotations

__all__ = ("MAX_VERSION", "SPOILABLE", "DaveCounts", "DaveRules", "Spoilable")

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from voicepool.testing.dave_group import Change, CommitRefused, DaveGroup
from voicepool.testing.dave_messages import (
    INITIAL_TRANSITION,
    DaveMessage,
    announce_commit,
    execute_transition,
    external_sender,
    prepare_epoch,
    prepare_transition,
    welcome,
)
from voicepool.testing.dave_offers import OfferBook
from voicepool.testing.dave_roster import RosterMember
from voicepool.testing.dave_transitions import Transition, TransitionQueue
from voicepool.testing.mls_framing import ExternalSender

Spoilable: TypeAlias = Literal["commit", "welcome"]
"""What a test can have damaged."""
SPOILABLE: Final[tuple[str, ...]] = get_args(Spoilable)

MAX_VERSION: Final = 1
"""Newest DAVE protocol version there is."""

_MAX_COMPLAINTS: Final = 1_000
_TRIES_BEFORE_NEW_GROUP: Final = 3
_LONGEST_BACKOFF: Final = 16


@dataclass(slots=True)
class DaveCounts:
    """What has happened in the call so far."""

    commits: int = 0
    """Commits that won an epoch."""
    late_commits: int = 0
    """Commits that came second, or crossed a change on the way."""
    refused_commits: int = 0
    """Commits that were invalid in themselves."""
    invalid_reports: int = 0
    """Opcode 31 received."""
    new_groups: int = 0
    """Opcode 24 with epoch 1, counted once for all who got it."""
    transitions: int = 0
    """Transitions carried out with opcode 22."""
    retried_proposals: int = 0
    """Times that proposals were made anew because no valid commit came."""


class DaveRules:
    """Base of `DaveDeliveryService`, which lets events in and messages out; never used by itself."""

    def __init__(
        self,
        channel_id: int,
        *,
        sender: ExternalSender | None = None,
        max_version: int = MAX_VERSION,
        transition_timeout_s: float = 2.0,
        commit_timeout_s: float = 4.0,
        overlap: bool = False,
        first_transition_id: int = 1,
        spoiled: set[tuple[int, Spoilable]] | None = None,
    ) -> None:
        if not 0 <= max_version <= MAX_VERSION:
            raise ValueError(f"max_version must be from 0 to {MAX_VERSION}; it was {max_version}")
        self.version = max_version
        self.counts = DaveCounts()
        self._max_version = max_version
        self._sender = ExternalSender() if sender is None else sender
        self._overlap = overlap
        self._group = DaveGroup(channel_id, self._sender)
        self._offers = OfferBook(self._group)
        self._transitions = TransitionQueue(transition_timeout_s, first_transition_id)
        self._commit_timeout_s = commit_timeout_s
        self._commit_due_s: float | None = None
        self._tries = 0
        self._members: dict[int, RosterMember] = {}
        self._spoiled = set() if spoiled is None else spoiled
        self._outgoing: list[tuple[int, DaveMessage]] = []
        self._complaints: deque[tuple[int, str]] = deque(maxlen=_MAX_COMPLAINTS)

    def _proceed(self, now: float) -> None:
        """Apply the module's rules until nothing is left to do."""
        self._negotiate(now)
        self._dissolve()
        self._execute(self._transitions.take_due(now))
        self._propose(now)

    def _negotiate(self, now: float) -> None:
        versions = [member.max_version for member in self._members.values()]
        version = min([*versions, self._max_version])
        if version == self.version:
            return
        previous, self.version = self.version, version
        if version:
            if versions:
                self._create_group(self._listening(), alone=len(versions) == 1)
            return
        self._forget_group()
        audience = [member for member in self._listening() if member.max_version >= previous]
        for member in self._members.values():
            member.package = None
        if audience:
            transition_id = self._transitions.announce((member.user_id for member in audience), now)
            for member in audience:
                self._send(member, prepare_transition(version, transition_id))

    def _dissolve(self) -> None:
        if not self._group.established:
            return
        holders = [member for user, member in self._members.items() if user in self._group.leaves]
        if not all(member.lost for member in holders):
            if len(holders) == 1:
                self._create_group(holders, alone=True)
        elif any(member.rekeyed for member in holders):
            self._create_group(holders, alone=False)
        else:
            self._forget_group()

    def _propose(self, now: float) -> None:
        if not self.version or (self._transitions and not self._overlap):
            return
        wanted = self._wanted_changes()
        messages = self._offers.update([member.user_id for member in self._committers()], wanted)
        for user_id, message in messages:
            self._send(self._members[user_id], message)
        if messages:
            self._wait_for_commit(now)
        if not self._offers:
            self._commit_due_s = None

    def _wanted_changes(self) -> list[Change]:
        changes = []
        for user_id in self._group.leaves:
            member = self._members.get(user_id)
            if member is None or member.lost:
                changes.append(Change(user_id))
        for user_id, member in self._members.items():
            if member.package is not None and (user_id not in self._group.leaves or member.lost):
                changes.append(Change(user_id, member.package))
        return changes

    def _committers(self) -> list[RosterMember]:
        """Return who may commit: the group's members; without a group, whoever can create one."""
        if self._group.established:
            return [m for u, m in self._members.items() if u in self._group.leaves and not m.lost]
        return [m for m in self._members.values() if m.package is not None and m.introduced]

    def _retry(self, now: float) -> None:
        self._tries += 1
        self.counts.retried_proposals += 1
        if self._tries % _TRIES_BEFORE_NEW_GROUP == 0:
            self._create_group(self._listening(), alone=False)
            return
        for user_id, message in self._offers.withdraw_all():
            self._send(self._members[user_id], message)
        self._wait_for_commit(now)

    def _wait_for_commit(self, now: float) -> None:
        self._commit_due_s = now + self._commit_timeout_s * min(2**self._tries, _LONGEST_BACKOFF)

    def _take_key_package(self, member: RosterMember, payload: bytes) -> None:
        if not self.version:
            # Sent before the client heard of the downgrade; an upgrade asks for another one.
            return
        user_id = member.user_id
        if user_id in self._group.leaves and member.repeats(payload):
            return
        others = {other.signature_key for other in self._members.values() if other is not member}
        others.update(self._group.signature_key(user) for user in self._group.leaves if user != user_id)
        problem = member.take_key_package(payload, others)
        if problem is not None:
            self._complain(user_id, problem)
        elif user_id in self._group.leaves and not member.lost:
            # "About to be re-added with a different key package" (whitepaper, "Member Remove").
            member.lost = member.rekeyed = True
            self._offers.forget(user_id)

    def _take_commit(self, member: RosterMember, payload: bytes, now: float) -> None:
        user_id = member.user_id
        if not self.version or member not in self._committers():
            self.counts.late_commits += 1
            return
        creates = not self._group.established
        try:
            accepted = self._group.take_commit(
                user_id, member.signature_key, payload, self._offers.of(user_id)
            )
        except CommitRefused as refusal:
            if refusal.late:
                self.counts.late_commits += 1
            else:
                self.counts.refused_commits += 1
                self._complain(user_id, refusal.sentence)
            return
        self.counts.commits += 1
        self._tries = 0
        self._commit_due_s = None
        if creates:
            member.use_package()
        staying = [
            self._members[user]
            for user in self._group.leaves
            if user not in accepted.added and user in self._members
        ]
        joining = [self._members[user] for user in accepted.added]
        self._offers.clear()
        transition_id = self._transitions.announce((m.user_id for m in (*staying, *joining)), now)
        for other in staying:
            message = self._spoil(other, "commit", accepted.message)
            self._send(other, announce_commit(transition_id, message))
        for other in joining:
            other.use_package()
            message = self._spoil(other, "welcome", accepted.welcomes[other.user_id])
            self._send(other, welcome(transition_id, message))

    def _lose(self, member: RosterMember) -> None:
        """Take a member for out of step: it has reset itself and will send a new key package."""
        member.lose(in_group=member.user_id in self._group.leaves)
        self._offers.forget(member.user_id)
        self._transitions.excuse(member.user_id)

    def _forget_group(self) -> None:
        self._group.reset()
        self._commit_due_s = None
        self._offers.clear()
        for member in self._members.values():
            member.lost = member.rekeyed = False

    def _create_group(self, members: Iterable[RosterMember], *, alone: bool) -> None:
        """Have `members` create a group anew; what they were to change to before is carried out first.

        One that is `alone` changes over at once: nobody else will commit, and so announce a transition.
        """
        self._execute(self._transitions.take_all())
        self._forget_group()
        self.counts.new_groups += 1
        transition_id = INITIAL_TRANSITION if alone else self._transitions.next_id
        for member in members:
            member.package = None
            self._send(member, prepare_epoch(self.version, transition_id))
            if not member.introduced:
                self._introduce(member)
            if alone:
                self._send(member, prepare_transition(self.version, INITIAL_TRANSITION))

    def _execute(self, transitions: Iterable[Transition]) -> None:
        for transition in transitions:
            self.counts.transitions += 1
            for user_id in transition.audience:
                self._send(self._members[user_id], execute_transition(transition.transition_id))

    # Small steps.

    def _listening(self) -> list[RosterMember]:
        return [member for member in self._members.values() if member.described]

    def _introduce(self, member: RosterMember) -> None:
        member.introduced = True
        self._send(member, external_sender(self._sender.package))

    def _spoil(self, member: RosterMember, kind: Spoilable, message: bytes) -> bytes:
        if (member.user_id, kind) not in self._spoiled:
            return message
        self._spoiled.discard((member.user_id, kind))
        return message[:-1] + bytes((message[-1] ^ 1,))

    def _complain(self, user_id: int, sentence: str) -> None:
        self._complaints.append((user_id, sentence))

    def _send(self, member: RosterMember, message: DaveMessage) -> None:
        self._outgoing.append((member.user_id, message))
