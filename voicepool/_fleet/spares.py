"""Which of the running workers take calls, which are kept warm to take over, and which are on their way out.

Each slot has one of these parts. A spare takes over from a slot whose worker is lost by taking its part, and
its core: nothing has to be started for that. What the lost one's slot starts next is the new spare.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final

from voicepool._process.slot import Slot
from voicepool.stats import WorkerState

__all__ = ["Crew", "Member", "Part"]


class Part(enum.Enum):
    """What a slot is there for."""

    ACTIVE = "active"
    """It takes calls."""
    SPARE = "spare"
    """It takes over when an active one is lost or asked to leave."""
    LEAVING = "leaving"
    """It takes no further calls, and ends when those it has have moved."""


class Member:
    """A slot and its part.

    Parameters
    ----------
    slot
        Whose process it is.
    part
        What it is there for, to begin with.
    """

    def __init__(self, slot: Slot, part: Part) -> None:
        self.slot: Final = slot
        self.part = part

    @property
    def is_up(self) -> bool:
        """Whether its process is ready."""
        return self.slot.worker is not None

    @property
    def state(self) -> WorkerState:
        """Where it stands, its part considered."""
        state = self.slot.state
        if state is WorkerState.READY and self.part is Part.SPARE:
            return WorkerState.SPARE
        if state is WorkerState.READY and self.part is Part.LEAVING:
            return WorkerState.DRAINING
        return state


class Crew:
    """All slots of a pool, each with its part.

    Parameters
    ----------
    on_core
        Told of a member that has come to another core while its process runs.
    free_core
        Returns the core that the fewest active members have; None for any.

    Attributes
    ----------
    wanted
        How many are to be active.
    """

    def __init__(
        self, on_core: Callable[[Member], None], free_core: Callable[[], int | None] = lambda: None
    ) -> None:
        self.wanted = 0
        self._on_core = on_core
        self._free_core = free_core
        self._members: list[Member] = []

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def of(self, part: Part) -> list[Member]:
        """Return those of a part."""
        return [member for member in self._members if member.part is part]

    @property
    def staying(self) -> int:
        """How many there are without those that leave."""
        return len(self._members) - len(self.of(Part.LEAVING))

    def free_index(self) -> int:
        """Return the lowest index that none of those has that stay."""
        taken = {member.slot.index for member in self._members if member.part is not Part.LEAVING}
        return next(index for index in range(len(taken) + 1) if index not in taken)

    def add(self, member: Member) -> None:
        """Take in a new one."""
        self._members.append(member)
        self._members.sort(key=lambda each: (each.slot.index, each.part is not Part.LEAVING))

    def remove(self, member: Member) -> None:
        """Forget one that has ended."""
        self._members.remove(member)

    def balance(self) -> None:
        """Let spares that are up take over from active ones that are not, or fill up to `wanted`."""
        spares = [member for member in self.of(Part.SPARE) if member.is_up]
        while spares:
            active = self.of(Part.ACTIVE)
            lost = [member for member in active if _is_lost(member)]
            if lost:
                self._relieve(lost[0], spares.pop(0))
            elif len(active) < self.wanted:
                self._activate(spares.pop(0))
            else:
                return

    def _relieve(self, lost: Member, spare: Member) -> None:
        lost.part, spare.part = Part.SPARE, Part.ACTIVE
        lost.slot.core, spare.slot.core = spare.slot.core, lost.slot.core
        self._on_core(spare)

    def _activate(self, spare: Member) -> None:
        if spare.slot.core is None:
            spare.slot.core = self._free_core()
        spare.part = Part.ACTIVE
        self._on_core(spare)


def _is_lost(member: Member) -> bool:
    # One that is being started for the first time is waited for by whoever wants it.
    return not member.is_up and member.slot.state is not WorkerState.STARTING
