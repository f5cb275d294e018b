"""Announced changes that wait for their execution, by id [pure].

Several can wait at once, and they need not be executed in the order in which they were announced. Id 0 never
waits (DAVE protocol, dave_protocol_prepare_transition).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

__all__ = ["PENDING_MAX", "PendingTransitions", "Transition"]

PENDING_MAX: Final = 64
"""More than a server has reason to announce; beyond it the oldest is forgotten."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """What will hold once it is executed.

    Attributes
    ----------
    group
        Which of our groups it was announced for: `Membership.generation` numbers them.
    version
        The protocol version of opcode 21 or 24. None for a commit or welcome: the one that is announced.
    is_sound
        False if we could not process what it brings: once the others execute it, we have no key.
    is_answered
        False if we have nothing to say about it, neither that we are ready nor that it is invalid.
    """

    group: int
    version: int | None = None
    is_sound: bool = True
    is_answered: bool = True


class PendingTransitions:
    """The waiting ones, at most `PENDING_MAX`."""

    __slots__ = ("_waiting", "forgotten")

    def __init__(self) -> None:
        self._waiting: dict[int, Transition] = {}
        self.forgotten = 0
        """How many were pushed out."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transition_id: int) -> bool:
        return transition_id in self._waiting

    def __iter__(self) -> Iterator[tuple[int, Transition]]:
        return iter(self._waiting.items())

    @property
    def has_downgrade(self) -> bool:
        """Whether one of them ends the encryption."""
        return any(transition.version == 0 for transition in self._waiting.values())

    def put(self, transition_id: int, transition: Transition) -> bool:
        """Let it wait, in place of another of the same id; return whether none of that id was answered."""
        before = self._waiting.pop(transition_id, None)
        was_answered = before is not None and before.is_answered
        if was_answered:
            transition = dataclasses.replace(transition, is_answered=True)
        if len(self._waiting) >= PENDING_MAX:
            del self._waiting[next(iter(self._waiting))]
            self.forgotten += 1
        self._waiting[transition_id] = transition
        return not was_answered

    def take(self, transition_id: int) -> Transition | None:
        """Return it and let it wait no more; None if it does not wait."""
        return self._waiting.pop(transition_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
