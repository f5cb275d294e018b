"""[pure] Who was offered which proposals in this epoch, and what to send so that it is those that are wanted.

Every member has a list of its own, as nobody is asked to add itself; a commit has to carry out exactly the
list of its sender. Source: whitepaper, "Proposal Handling" and "Initial Group Creation".
"""

from __future__ import annotations

__all__ = ("OfferBook",)

from collections.abc import Collection, Sequence

from voicepool.testing.dave_group import Change, DaveGroup
from voicepool.testing.dave_messages import DaveMessage, append_proposals, revoke_proposals


class OfferBook:
    """The open proposals of each member.

    Parameters
    ----------
    group : DaveGroup
        Makes the proposals, the same one for every member.
    """

    def __init__(self, group: DaveGroup) -> None:
        self._group = group
        # Dictionaries for their order: that of the proposals in a message.
        self._open: dict[int, dict[Change, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def of(self, user_id: int) -> Collection[Change]:
        """Return what stands open for a user."""
        return self._open.get(user_id, {}).keys()

    def all(self) -> frozenset[Change]:
        """Return everything that stands open for anybody."""
        return frozenset(change for changes in self._open.values() for change in changes)

    def users(self) -> frozenset[int]:
        """Return the users for whom something stands open."""
        return frozenset(self._open)

    def clear(self) -> None:
        """Forget all: the epoch is over."""
        self._open.clear()

    def forget(self, user_id: int) -> None:
        """Forget what a user was offered: it has left, or lost its state."""
        self._open.pop(user_id, None)

    def update(self, user_ids: Collection[int], wanted: Sequence[Change]) -> list[tuple[int, DaveMessage]]:
        """Return the messages after which just what is wanted stands open for each user, but its own.

        What can be is added to what stands open. Otherwise everything is taken back from everybody and
        proposed anew, with other references: under the same ones a commit could win that its sender has
        replaced since, and davey would go on from the replacement.
        """
        messages: list[tuple[int, DaveMessage]] = []
        if any(self._needs_withdrawal(user_id, wanted) for user_id in user_ids):
            messages += self.withdraw_all()
        for user_id in user_ids:
            new = [change for change in wanted if self._is_for(user_id, change)]
            if new:
                self._open.setdefault(user_id, {}).update(dict.fromkeys(new))
                proposals = [self._group.proposal(change).message for change in new]
                messages.append((user_id, append_proposals(proposals)))
        return messages

    def withdraw_all(self) -> list[tuple[int, DaveMessage]]:
        """Return the messages that take everything back from everybody."""
        messages: list[tuple[int, DaveMessage]] = []
        for user_id, changes in self._open.items():
            refs = [self._group.proposal(change).ref for change in changes]
            messages.append((user_id, revoke_proposals(refs)))
        self._open.clear()
        self._group.renew_proposals()
        return messages

    def _is_for(self, user_id: int, change: Change) -> bool:
        return change.user_id != user_id and change not in self.of(user_id)

    def _needs_withdrawal(self, user_id: int, wanted: Collection[Change]) -> bool:
        present = self.of(user_id)
        if any(change not in wanted for change in present):
            return True
        # davey gives a welcome only with a commit made just after an add was appended. So that any client can
        # commit a remove that joins adds, they come in one message.
        new = [change for change in wanted if self._is_for(user_id, change)]
        return bool(new) and _adds(present) and not _adds(new)


def _adds(changes: Collection[Change]) -> bool:
    return any(change.package is not None for change in changes)
