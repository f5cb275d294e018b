"""Who is in a call besides us, and by which RTP stream each one speaks [pure].

The voice server names everybody at the beginning of a voice session (opcode 11), and later who comes (11),
goes (13) and speaks (5). A new session in the *same* channel, after a crash or a region change, finds most
of them still there: so everybody is kept until `settled`, and whoever the new session has not named by then
has left. In *another* channel nobody is kept.

What the bot is told are differences: `changes` gives them since the last time, so that who went and came back
in between is no news at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["MEMBERS_MAX", "Changes", "Members", "Stream"]

MEMBERS_MAX: Final = 10_000
"""Users that a channel of Discord's holds at most; beyond it, nobody new is noted."""


@dataclass(frozen=True, slots=True)
class Stream:
    """How a member speaks.

    Attributes
    ----------
    user_id
        The member.
    ssrc
        Of the member's RTP packets.
    flags
        Bits 0 to 2: microphone, soundshare, priority (Voice Connections, Speaking).
    """

    user_id: int
    ssrc: int
    flags: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different since the last time: who came, who went, who speaks otherwise than before."""

    joined: list[int]
    left: list[int]
    streams: list[Stream]


class Members:
    """The members of one call, over all its voice sessions."""

    def __init__(self) -> None:
        self._user_id = 0
        self._channel_id = 0
        self._named: set[int] = set()
        self._kept: set[int] = set()
        self._streams: dict[int, Stream] = {}
        self._told: set[int] = set()
        self._told_streams: dict[int, Stream] = {}
        self._changed: set[int] = set()
        self.left_out = 0
        """Users not noted because there were too many."""

    @property
    def present(self) -> frozenset[int]:
        """Everybody in the call but us."""
        return frozenset(self._named | self._kept)

    @property
    def is_settled(self) -> bool:
        """Whether everybody has been named by the present session."""
        return not self._kept

    def begin(self, user_id: int, channel_id: int) -> None:
        """Note that a voice session begins: of this user, in this channel."""
        is_same = (user_id, channel_id) == (self._user_id, self._channel_id)
        self._user_id, self._channel_id = user_id, channel_id
        before = self._named | self._kept
        self._named, self._kept = set(), before if is_same else set()
        # SSRCs belong to the session.
        self._streams.clear()
        self._told_streams.clear()
        for user in before:
            self._compare(user)

    def settled(self) -> None:
        """Note that the session has had the time to name everybody."""
        kept, self._kept = self._kept, set()
        for user_id in kept:
            self._compare(user_id)

    def connected(self, user_ids: Iterable[int]) -> None:
        """Note that these are in the call."""
        for user_id in user_ids:
            self._name(user_id)

    def disconnected(self, user_id: int) -> None:
        """Note that a user is not in the call any more."""
        self._named.discard(user_id)
        self._kept.discard(user_id)
        self._streams.pop(user_id, None)
        self._compare(user_id)

    def speaks(self, user_id: int, ssrc: int, flags: int) -> None:
        """Note how a user speaks; who does is in the call, though nobody may have said so yet."""
        if self._name(user_id):
            self._streams[user_id] = Stream(user_id, ssrc, flags)
            self._compare(user_id)

    def changes(self) -> Changes:
        """Return the differences to what has been returned before, in the order of the IDs."""
        changes = Changes([], [], [])
        for user_id in sorted(self._changed):
            if not self._is_in(user_id):
                changes.left.append(user_id)
                self._told.discard(user_id)
                self._told_streams.pop(user_id, None)
                continue
            if user_id not in self._told:
                changes.joined.append(user_id)
                self._told.add(user_id)
            stream = self._streams.get(user_id)
            if stream is not None and stream != self._told_streams.get(user_id):
                changes.streams.append(stream)
                self._told_streams[user_id] = stream
        self._changed.clear()
        return changes

    def _name(self, user_id: int) -> bool:
        if user_id == self._user_id:
            return False
        if not self._is_in(user_id) and len(self._named) + len(self._kept) >= MEMBERS_MAX:
            self.left_out += 1
            return False
        self._kept.discard(user_id)
        self._named.add(user_id)
        self._compare(user_id)
        return True

    def _is_in(self, user_id: int) -> bool:
        return user_id in self._named or user_id in self._kept

    def _compare(self, user_id: int) -> None:
        """Remember whether there is something to tell of a user: only of who is, or was told to be, in."""
        is_in = self._is_in(user_id)
        stream = self._streams.get(user_id)
        if is_in is not (user_id in self._told) or stream != self._told_streams.get(user_id):
            self._changed.add(user_id)
        else:
            self._changed.discard(user_id)
