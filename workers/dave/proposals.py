"""Which proposals we take: the server's, of this epoch, and of users whom it has announced [pure].

Members refuse an Add of a user they do not expect in the call (DAVE protocol, Member Add): whoever was in no
clients_connect (opcode 11), or has left by a client_disconnect (13). A refused Add is kept for the rest of
its epoch, and taken when the user is announced after all. As long as one is refused we commit to nothing,
because a commit has to cover every proposal of its epoch (DAVE protocol, Voice Gateway Commit Validity).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from voicepool.workers.dave.mls import Proposal, ProposalKind

__all__ = ["RECOGNISED_MAX", "REFUSED_MAX", "TAKEN_MAX", "ProposalDesk"]

RECOGNISED_MAX: Final = 4_096
"""Users in one call; a voice channel holds far fewer. Beyond it nobody new is recognised."""
REFUSED_MAX: Final = 256
"""Refused proposals kept; beyond it the oldest is forgotten."""
TAKEN_MAX: Final = 4_096
"""Proposals taken in one epoch; beyond it they are dropped, and the commit is left to others."""


class ProposalDesk:
    """Knows who is expected, and sorts what is proposed.

    Parameters
    ----------
    user_id
        Ours: always expected.
    """

    def __init__(self, user_id: int) -> None:
        self._user_id = user_id
        self._recognised = {user_id}
        self._refused: dict[bytes, Proposal] = {}
        self._taken: dict[bytes, Proposal] = {}
        self._is_incomplete = False

    @property
    def recognised(self) -> frozenset[int]:
        """Who may be added, us included."""
        return frozenset(self._recognised)

    @property
    def is_alone(self) -> bool:
        """Whether nobody but us is in the call."""
        return self._recognised == {self._user_id}

    @property
    def has_refused(self) -> bool:
        """Whether something proposed in this epoch was not taken, so that a commit of ours would not do."""
        return self._is_incomplete or bool(self._refused)

    def keys_of(self, references: Iterable[bytes]) -> dict[int, bytes]:
        """Return the signature keys of those who these Adds add, by user id; for Adds that were taken."""
        keys = {}
        for reference in references:
            proposal = self._taken.get(reference)
            if proposal is not None and proposal.user_id is not None:
                keys[proposal.user_id] = proposal.signature_key
        return keys

    def members_changed(self, joined: Iterable[int], left: Iterable[int]) -> None:
        """Note who has come and gone."""
        for user_id in joined:
            if len(self._recognised) < RECOGNISED_MAX:
                self._recognised.add(user_id)
        self._recognised.difference_update(left)
        self._recognised.add(self._user_id)

    def sort(self, proposals: Iterable[Proposal], group_id: bytes, epoch: int) -> tuple[list[Proposal], int]:
        """Return those to take, and how many were not.

        Parameters
        ----------
        proposals
            As they came.
        group_id, epoch
            Of our group.
        """
        taken = []
        dropped = 0
        for proposal in proposals:
            if proposal.group_id != group_id or proposal.epoch != epoch:
                dropped += 1
            elif not proposal.is_external:
                self._is_incomplete = True
                dropped += 1
            elif proposal.reference in self._taken:
                # Delivered twice; the group must not hold it twice.
                dropped += 1
            elif proposal.kind is ProposalKind.ADD and proposal.user_id not in self._recognised:
                if len(self._refused) >= REFUSED_MAX:
                    del self._refused[next(iter(self._refused))]
                    self._is_incomplete = True
                self._refused[proposal.reference] = proposal
                dropped += 1
            elif len(self._taken) >= TAKEN_MAX:
                self._is_incomplete = True
                dropped += 1
            else:
                self._taken[proposal.reference] = proposal
                taken.append(proposal)
        return taken, dropped

    def take_recognised(self) -> list[Proposal]:
        """Return the refused Adds of users who are recognised now."""
        taken = [proposal for proposal in self._refused.values() if proposal.user_id in self._recognised]
        del taken[TAKEN_MAX - len(self._taken) :]
        for proposal in taken:
            self._taken[proposal.reference] = self._refused.pop(proposal.reference)
        return taken

    def revoke(self, references: Sequence[bytes]) -> list[bytes]:
        """Return the references that the group has to drop: those it was given."""
        to_drop = []
        for reference in references:
            self._refused.pop(reference, None)
            if self._taken.pop(reference, None) is not None:
                to_drop.append(reference)
        return to_drop

    def forget(self) -> None:
        """Begin an epoch: its proposals are all to come."""
        self._refused.clear()
        self._taken.clear()
        self._is_incomplete = False
