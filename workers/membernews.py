"""What the bot hears of who is in a call: the newest, and not more than it can be expected to read [pure].

A voice server that is broken, or means ill, can say thousands of times a second that somebody speaks or
comes or goes. Each such message is taken into `Members`; what the bot is told is drawn from there, so that
what changes to and fro meanwhile is no news, and nothing of how it is in the end is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from voicepool.ipc.events import Event, MembersChanged, Speaking
from voicepool.ipc.ids import CallId
from voicepool.workers.members import Members, Stream

__all__ = ["EVENTS_PER_S", "IDS_PER_EVENT", "MemberNews"]

EVENTS_PER_S: Final = 50
"""Events of one call that a second may bring in the long run, and at once after a quiet one."""
IDS_PER_EVENT: Final = 50
"""A `MembersChanged` counts as one event for each so many users."""


class MemberNews:
    """Tells what has changed in the members of one call.

    Parameters
    ----------
    call
        Its name.
    members
        Who is in it.
    report
        Takes the events.
    """

    def __init__(self, call: CallId, members: Members, report: Callable[[Event], object]) -> None:
        self._call = call
        self._members = members
        self._report = report
        self._streams: dict[int, Stream] = {}
        """How users speak, the newest of each, still to be told."""
        self._allowed = float(EVENTS_PER_S)
        self._allowed_at: float | None = None

    def begin(self) -> None:
        """Note that a voice session begins: what was said of streams is void."""
        self._streams.clear()

    def tell(self, now: float) -> float | None:
        """Tell what has changed, as far as that may be told now.

        Parameters
        ----------
        now
            Seconds, monotonic.

        Returns
        -------
        float or None
            When to be called again, in the same clock; None if all is told.
        """
        if self._allowed_at is not None:
            earned = (now - self._allowed_at) * EVENTS_PER_S
            self._allowed = min(float(EVENTS_PER_S), self._allowed + earned)
        self._allowed_at = now
        if self._allowed >= 1.0:
            self._tell_members()
        while self._streams and self._allowed >= 1.0:
            stream = self._streams.pop(next(iter(self._streams)))
            self._say(Speaking(call=self._call, user=stream.user_id, ssrc=stream.ssrc, flags=stream.flags))
        if self._allowed >= 1.0:
            return None
        # At least some time, whatever numbers are rounded to.
        return now + max(1.0 - self._allowed, 0.5) / EVENTS_PER_S

    def _tell_members(self) -> None:
        changes = self._members.changes()
        if changes.joined or changes.left:
            count = len(changes.joined) + len(changes.left)
            event = MembersChanged(call=self._call, joined=changes.joined, left=changes.left)
            self._say(event, counts=-(-count // IDS_PER_EVENT))
        for user_id in changes.left:
            self._streams.pop(user_id, None)
        for stream in changes.streams:
            self._streams[stream.user_id] = stream

    def _say(self, event: Event, *, counts: int = 1) -> None:
        self._allowed -= counts
        self._report(event)
