"""[pure] Transitions that were announced and wait for the members: op 23 from each, then op 22 to all.

They are carried out in the order they were announced, also if members are ready for a later one sooner: a
client that executed an older transition after a newer one would fall back to old keys or an old version.

Source: whitepaper, "Protocol Version Changes" and "Commit Handling".
"""

from __future__ import annotations

__all__ = ("Transition", "TransitionQueue")

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_PENDING: Final = 32
"""More announced transitions than this are not kept waiting; the oldest is carried out."""

_IDS: Final = 2**16


@dataclass(slots=True)
class Transition:
    """One announced transition.

    Attributes
    ----------
    transition_id : int
        1 to 65535.
    audience : set[int]
        Users it was announced to.
    awaited : set[int]
        Those of them that have not answered with opcode 23.
    deadline_s : float
        Monotonic time, in seconds, after which nobody is waited for.
    """

    transition_id: int
    audience: set[int]
    awaited: set[int]
    deadline_s: float


class TransitionQueue:
    """Gives out transition ids, collects answers, says what is due.

    Parameters
    ----------
    timeout_s : float
        How long a transition waits for its members, in seconds.
    first_id : int
        Id of the first one, 1 to 65535; after 65535 comes 1, as 0 has a meaning of its own.
    """

    def __init__(self, timeout_s: float, first_id: int = 1) -> None:
        if not 1 <= first_id < _IDS:
            raise ValueError(f"first_id must be from 1 to {_IDS - 1}; it was {first_id}")
        self.timed_out = 0
        """Transitions carried out although somebody had not answered."""
        self._timeout_s = timeout_s
        self._next_id = first_id
        self._given = 0
        self._queue: deque[Transition] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def next_id(self) -> int:
        """Id that the next announced transition will have."""
        return self._next_id

    def announce(self, audience: Iterable[int], now: float) -> int:
        """Begin to wait for `audience`; return the transition's id, to be sent to each of them."""
        transition_id = self._next_id
        self._next_id = transition_id % (_IDS - 1) + 1
        self._given += 1
        users = set(audience)
        self._queue.append(Transition(transition_id, users, set(users), now + self._timeout_s))
        return transition_id

    def was_announced(self, transition_id: int) -> bool:
        """Return whether a transition had that id (within the last 65,535)."""
        age = (self._next_id - 1 - transition_id) % (_IDS - 1) + 1
        return transition_id != 0 and age <= self._given

    def ready(self, user_id: int, transition_id: int) -> None:
        """Note an opcode 23; too late or for nothing, it has no effect."""
        for transition in self._queue:
            if transition.transition_id == transition_id:
                transition.awaited.discard(user_id)

    def excuse(self, user_id: int) -> None:
        """Wait for a user no longer: it cannot get ready for what is pending."""
        for transition in self._queue:
            transition.awaited.discard(user_id)

    def forget(self, user_id: int) -> None:
        """Neither await nor tell a user who left."""
        for transition in self._queue:
            transition.awaited.discard(user_id)
            transition.audience.discard(user_id)

    def take_due(self, now: float) -> list[Transition]:
        """Remove and return what can be carried out: everybody is ready, or was waited for long enough."""
        due: list[Transition] = []
        while self._queue:
            head = self._queue[0]
            if head.awaited and now < head.deadline_s and len(self._queue) <= MAX_PENDING:
                break
            self.timed_out += bool(head.awaited)
            due.append(self._queue.popleft())
        return due

    def take_all(self) -> list[Transition]:
        """Remove and return every pending transition, ready or not."""
        pending = list(self._queue)
        self._queue.clear()
        return pending

    def next_deadline(self) -> float | None:
        """Return the monotonic time, in seconds, when `take_due` has something for sure; None for never."""
        return self._queue[0].deadline_s if self._queue else None
