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

    def clear(self) -> None:
        """Forget all: the epoch is over."""
        self._open.clear()

    def forget(self, user_id: int) -> None:
        """Forget what a user was offered: it has left, or lost its state."""
        self._open.pop(user_id, None)

    def match(self, user_id: int, wanted: Sequence[Change]) -> list[DaveMessage]:
        """Return the messages after which just the wanted changes, but its own, stand open for a user."""
        wanted = [change for change in wanted if change.user_id != user_id]
        present = self.of(user_id)
        new = [change for change in wanted if change not in present]
        obsolete = [change for change in present if change not in wanted]
        messages: list[DaveMessage] = []
        # davey gives a welcome only with a commit made just after an add was appended. So that any client can
        # commit what is left, everything is taken back first and what is left comes in one message.
        if obsolete or (new and _adds(present) and not _adds(new)):
            messages.append(self.withdraw(user_id))
            new = wanted
        if new:
            self._open.setdefault(user_id, {}).update(dict.fromkeys(new))
            messages.append(append_proposals(self._group.proposal(change).message for change in new))
        return messages

    def withdraw(self, user_id: int) -> DaveMessage:
        """Return the message that takes everything back from a user who was offered something."""
        changes = self._open.pop(user_id)
        return revoke_proposals(self._group.proposal(change).ref for change in changes)

    def withdraw_all(self) -> list[tuple[int, DaveMessage]]:
        """Return the messages that take everything back from everybody: user and message."""
        return [(user_id, self.withdraw(user_id)) for user_id in tuple(self._open)]


def _adds(changes: Collection[Change]) -> bool:
    return any(change.package is not None for change in changes)
