"""The packets of a station, numbered, and the clock that says which of them is heard now.

The log is a ring of slots that one thread writes and others read without a lock. A reader takes a slice,
which is one step to the interpreter, and looks afterwards whether the writer has meanwhile begun to overwrite
what it took; the writer moves `first` before it touches a slot.

Packet n is due at ``origin + n * 20 ms``. Should a packet be made after it was due, all have had to wait for
it, and the origin moves by as much: nothing is left out for being late. So a broadcast that comes with jitter
settles at its largest delay.

While nobody takes anything the log rests, and so does who writes. It is woken by the next who takes: the
packets of a file are due as much later as it rested, while a broadcast, which has gone on, leaves out what it
had, and is heard from the next packet on.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from operator import itemgetter
from typing import Final, Protocol

from voicepool.workers.audio.frame import FRAME_NS, FRAMES_PER_S
from voicepool.workers.errors import SourceError

__all__ = ["LEAD_PACKETS", "PacketLog", "Title"]

LEAD_PACKETS: Final = 2
"""From where a call joins to what is heard now: about as long as its first packets take to be sent."""
_BEHIND_PACKETS: Final = 75
"""How many packets stay that are over. A tap falls out of the log after that, and is moved on well before."""
_PATIENCE_NS: Final = 2_000_000_000
"""For how long nobody may ask for anything. Who plays does so twice a second at least."""
_TITLES_KEPT: Final = 16
_SAME_PLACE_S: Final = 0.5 / FRAMES_PER_S
"""A source whose position is nearer than this to where it was expected has not jumped."""
_ROUNDING: Final = 1e-6
"""What float positions may be off, in packets."""

_NUMBER: Final = itemgetter(0)


class Title(Protocol):
    """What a source says of itself from a place on."""

    @property
    def position_s(self) -> float:
        """Where in the source that is, in seconds."""

    @property
    def title(self) -> str | None:
        """What is heard."""

    @property
    def artist(self) -> str | None:
        """By whom."""

    @property
    def tags(self) -> dict[str, str]:
        """All that was said."""


class PacketLog:
    """The last packets of a station. One thread at a time writes; any may read.

    Parameters
    ----------
    ahead_packets
        How many packets of 20 ms to hold that are not yet due, at least 1.

    Attributes
    ----------
    first
        Number of the oldest packet kept.
    made
        How many packets were made, and so the number of the next.
    skipped_packets
        How many the source could not decode, so far.
    titles
        What the source said of itself lately: a serial number, the packet it begins with, and what it said.
    failure
        Why it ended, if that was too early; to be looked at once it has `ended`.
    rests
        Whether nothing is made until somebody asks for packets.
    """

    def __init__(self, ahead_packets: int) -> None:
        if ahead_packets < 1:
            raise ValueError(f"ahead_packets must be 1 or more, not {ahead_packets}")
        self._ahead = ahead_packets
        self._capacity = ahead_packets + _BEHIND_PACKETS
        self._slots = [b""] * self._capacity
        self._origin_ns: int | None = None
        # Replaced as a whole, so that a reader never finds one half done.
        self._places: tuple[tuple[int, float], ...] = ()
        self._serial = 0
        self.first = 0
        self.made = 0
        self.skipped_packets = 0
        self.titles: tuple[tuple[int, int, Title], ...] = ()
        self.ended = False
        self.failure: SourceError | None = None
        self.rests = False
        self._asked_ns = 0
        """When anybody asked for packets last."""
        self._rests_since_ns = 0
        self._wakes_afresh = False
        self._waking = threading.Lock()
        """Held for a moment, so that of several who wake it one does."""

    @property
    def runs(self) -> bool:
        """Whether its clock runs."""
        return self._origin_ns is not None

    def start(self, now_ns: int) -> None:
        """Let the clock run, so that the first packet is heard by who joins at `now_ns`; once is enough."""
        if self._origin_ns is None:
            self._asked_ns = now_ns
            self._origin_ns = now_ns + LEAD_PACKETS * FRAME_NS

    # By the thread that writes.

    def append(self, packet: bytes, position_s: float, now_ns: int) -> None:
        """Add the next packet.

        Parameters
        ----------
        packet
            Opus, 20 ms.
        position_s
            Where in the source it begins, in seconds.
        now_ns
            Monotonic time in nanoseconds.
        """
        number = self.made
        expected_s = self.position_s(number) if self._places else None
        if expected_s is None or abs(position_s - expected_s) > _SAME_PLACE_S:
            kept = max(0, bisect_right(self._places, self.first, key=_NUMBER) - 1)
            self._places = (*self._places[kept:], (number, position_s))
        if number - self.first == self._capacity:
            self.first += 1
        self._slots[number % self._capacity] = packet
        self.made = number + 1
        if self._origin_ns is not None:
            late_ns = now_ns - self._origin_ns - number * FRAME_NS
            if late_ns > 0:
                self._origin_ns += late_ns

    def room(self, now_ns: int) -> int:
        """Return how many packets are to be made now, 0 or more."""
        clock = 0 if self._origin_ns is None else self._clock(now_ns, self._origin_ns)
        return max(0, min(self._ahead - (self.made - clock), self._ahead))

    def due_ns(self, number: int) -> int:
        """Return when a packet is due, in monotonic nanoseconds; the clock must run."""
        assert self._origin_ns is not None
        return self._origin_ns + number * FRAME_NS

    def rest(self, now_ns: int, *, afresh: bool) -> bool:
        """Rest if nobody has asked for anything for a while; return whether it does.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.
        afresh
            Whether what is made now will be too old to be heard later.
        """
        if self.runs and not (self.ended or self.rests) and now_ns - self._asked_ns > _PATIENCE_NS:
            self._rests_since_ns, self._wakes_afresh = now_ns, afresh
            self.rests = True
        return self.rests

    def announce(self, title: Title) -> None:
        """Write down what the source says of itself from `title.position_s` on; the oldest is forgotten."""
        number = self.made
        if self.made:
            since_s = self.position_s(self.made) - title.position_s
            number = max(self.first, self.made - max(0, int(since_s * FRAMES_PER_S + _ROUNDING)))
        self._serial += 1
        self.titles = (*self.titles[1 - _TITLES_KEPT :], (self._serial, number, title))

    def finish(self, failure: SourceError | None = None) -> None:
        """End after the last packet; the first end counts."""
        if not self.ended:
            self.failure = failure
            self.ended = True

    # By any thread.

    def read(self, start: int, most: int) -> list[bytes]:
        """Return up to `most` packets from number `start` on, at least `first`; [] if it is not made yet."""
        stop = min(start + most, self.made)
        if stop <= start:
            return []
        place, capacity = start % self._capacity, self._capacity
        over = place + stop - start - capacity
        packets = self._slots[place : place + stop - start]
        if over > 0:
            packets += self._slots[:over]
        # By now some may have been overwritten: then the reader is far behind, and finds that out next time.
        return packets if start >= self.first else []

    def ask(self, now_ns: int) -> bool:
        """Take note that somebody asks for packets; return whether that ends a rest."""
        self._asked_ns = now_ns
        if not self.rests:
            return False
        with self._waking:
            if not self.rests or self._origin_ns is None:
                return False
            if self._wakes_afresh:
                self.first = self.made
                self._origin_ns = now_ns + (LEAD_PACKETS - self.made) * FRAME_NS
            else:
                self._origin_ns += now_ns - self._rests_since_ns
            self.rests = False
            return True

    def edge(self, now_ns: int, heard_in_ns: int = 0) -> int:
        """Return the number of the packet that who joins now is to have first.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.
        heard_in_ns
            How much is still to be heard before it, in nanoseconds.
        """
        if self._origin_ns is None:
            return self.first
        number = min(self._clock(now_ns, self._origin_ns), self.made) + heard_in_ns // FRAME_NS
        if self.ended:
            number = min(number, self.made)
        return max(self.first, number)

    def position_s(self, number: int) -> float:
        """Return where in the source a packet begins, in seconds; 0.0 before the first was made."""
        places = self._places
        if not places:
            return 0.0
        since, position_s = places[max(0, bisect_right(places, number, key=_NUMBER) - 1)]
        return position_s + (number - since) / FRAMES_PER_S

    def _clock(self, now_ns: int, origin_ns: int) -> int:
        return (now_ns - origin_ns) // FRAME_NS + LEAD_PACKETS
