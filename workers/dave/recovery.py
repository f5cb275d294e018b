"""How often, and how soon again, we may ask to be added to the group anew [pure].

A recovery begins with opcode 31 and ends with the welcome for the key package that went with it (DAVE
protocol, Recovery from Invalid Commit or Welcome). One that is not answered is begun again after
`RECOVERY_TIMEOUT_S`; a group that cannot be entered after `RECOVERY_LIMIT` of them is given up.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FAILING_COOLDOWN_S", "RECOVERY_LIMIT", "RECOVERY_TIMEOUT_S", "Recovery"]

RECOVERY_TIMEOUT_S: Final = 10.0
"""How long the server may take to add us again, while anybody else is in the call."""
RECOVERY_LIMIT: Final = 5
"""Recoveries without having been in the group between them, before we give up."""
FAILING_COOLDOWN_S: Final = 60.0
"""Shortest time between two recoveries because of frames that cannot be decrypted."""


class Recovery:
    """The recoveries of one voice session; times in seconds, monotonic.

    Attributes
    ----------
    attempts
        How many were begun since we were in a group last, or a new one was founded.
    reported_id
        The transition that was reported last.
    deadline
        When the present one has gone unanswered for too long; None if there is none.
    """

    __slots__ = ("_not_failing_before", "_since", "attempts", "deadline", "reported_id")

    def __init__(self) -> None:
        self.attempts = 0
        self.reported_id = 0
        self.deadline: float | None = None
        self._since: float | None = None
        self._not_failing_before = 0.0

    def is_due(self, now: float) -> bool:
        """Whether the present one is to be begun again."""
        return self.deadline is not None and now >= self.deadline

    def begin(self, transition_id: int, now: float) -> bool:
        """Begin one, or the present one again; return False if there were too many."""
        self.attempts += 1
        if self.attempts > RECOVERY_LIMIT:
            return False
        self.reported_id = transition_id
        self.put_off(now)
        if self._since is None:
            self._since = now
        return True

    def put_off(self, now: float) -> None:
        """Wait once more as long."""
        self.deadline = now + RECOVERY_TIMEOUT_S

    def end(self) -> None:
        """Have none under way."""
        self._since = self.deadline = None

    def succeed(self, now: float) -> float | None:
        """Note that we are in the group; return how long the recovery took, None if there was none."""
        since = self._since
        self.attempts = 0
        self.end()
        return None if since is None else now - since

    def may_follow_failures(self, now: float) -> bool:
        """Whether frames that fail may begin one; if so, they may not for a while from now on."""
        if now < self._not_failing_before:
            return False
        self._not_failing_before = now + FAILING_COOLDOWN_S
        return True
