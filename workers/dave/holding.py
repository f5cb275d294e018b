"""A commit that is held back until it is executed [pure].

**Keys change at the execution.** The whitepaper has members process a commit, report ready, and send under
the new key when told to execute (opcode 22). A library whose sender changes key as it merges the commit
(`DaveGroup.switches_on_merge`) cannot do all three, and frames under the new key are lost on everybody who
is slower than we are. So while we send, such a commit is looked at, reported ready, and merged when it is
executed; or before that, if something else needs the new epoch, if a frame arrives that only the new epoch
can open (`DaveProtocol.settle`), or after `HOLD_LIMIT_S`. Should it turn out invalid only then, the recovery
is the same.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HOLD_LIMIT_S", "Holding"]

HOLD_LIMIT_S: Final = 10.0
"""How long a commit is held back for its execution; servers execute within about 2 s."""


class Holding:
    """The one commit that may be held back.

    Attributes
    ----------
    commit
        The commit; None if none is held back.
    deadline
        Until when, in seconds, monotonic; None if none is.
    """

    __slots__ = ("_transition_id", "commit", "deadline")

    def __init__(self) -> None:
        self._transition_id = 0
        self.commit: bytes | None = None
        self.deadline: float | None = None

    def hold(self, transition_id: int, commit: bytes, now: float) -> None:
        """Hold a commit back for its transition."""
        self._transition_id, self.commit = transition_id, commit
        self.deadline = now + HOLD_LIMIT_S

    def is_due(self, now: float) -> bool:
        """Whether it has been held back for too long."""
        return self.deadline is not None and now >= self.deadline

    def is_for(self, transition_id: int) -> bool:
        """Whether one is held back for this transition."""
        return self.commit is not None and self._transition_id == transition_id

    def release(self) -> tuple[int, bytes] | None:
        """Hold nothing back any more; return what was, with its transition."""
        commit, self.commit, self.deadline = self.commit, None, None
        return None if commit is None else (self._transition_id, commit)
