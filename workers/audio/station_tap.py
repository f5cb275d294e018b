"""What one call hears of a station: a place in its log that goes forward as the call takes packets.

A call that joins begins at the live edge, which is what the others hear at that moment. So that it hears it
with them, the tap is told how long the call will take to send what it holds already. One that could not send
for a while has fallen behind, and is moved to the live edge. Nothing is done for the first packet after such
a jump: an Opus decoder takes any packet and converges by itself within 80 ms (RFC 7845 §4.6), as after lost
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.station_log import PacketLog, Title
from voicepool.workers.errors import SourceError

__all__ = ["BEHIND_LIMIT_PACKETS", "StationTap"]

BEHIND_LIMIT_PACKETS: Final = 5
"""How far a call may be behind the live edge before it is moved there: 100 ms."""
NEAR_ENOUGH_PACKETS: Final = 2
"""Calls that are no further apart hear the same moment, as far as anybody can tell."""
_NOT_BEGUN: Final = -1


class StationTap:
    """A `FeedSource` of Opus packets that other calls have too.

    Made by `Stations.tap`. One thread at a time takes from it, an encoder thread; any may `close` it.

    Parameters
    ----------
    log
        The station's packets.
    info
        What the source said of itself when it was opened.
    now_ns
        Monotonic time in nanoseconds.
    heard_in_ns
        Returns how long until the packet that is taken next will be heard, in nanoseconds: what the call
        holds and will send before it.
    on_start
        Told when this tap has started the station's clock, or woken the station, from the thread that takes.
    on_close
        Told once that nothing more will be taken, from the thread that closes.

    Attributes
    ----------
    kind
        Always ``"opus"``.
    packets_skipped_over
        How many packets were left out on the way to the live edge.
    """

    kind: Final = "opus"

    def __init__(
        self,
        log: PacketLog,
        *,
        info: MediaInfo,
        now_ns: Callable[[], int],
        heard_in_ns: Callable[[], int],
        on_start: Callable[[], object],
        on_close: Callable[[], object],
    ) -> None:
        self.info: Final = info
        self.packets_skipped_over = 0
        self._log = log
        self._now_ns = now_ns
        self._heard_in_ns = heard_in_ns
        self._on_start = on_start
        self._on_close = on_close
        self._skipped_before = log.skipped_packets
        self._next = _NOT_BEGUN
        """Number of the packet to hand out next."""
        self._joined_at = 0
        """Where it began, or has jumped to last."""
        self._titles_seen = 0
        self._failure_told = False
        self._closed = False

    @property
    def skipped_packets(self) -> int:
        """Packets that the station's source could not decode since this tap is there."""
        return self._log.skipped_packets - self._skipped_before

    @property
    def position_s(self) -> float:
        """Where in the source the packet handed out last began, in seconds; at first, where it will."""
        return self._log.position_s(max(self._joined_at, self._next - 1))

    def look(self) -> bytes | NotYet | None:
        """Return what `poll` would at first, without joining the station or starting its clock.

        Returns
        -------
        bytes or NotYet or None
            Any packet if there will be one, `NOT_YET` if nothing is made yet; `None` if `poll` is to say why
            there is nothing to be heard, or this tap has joined.
        """
        log = self._log
        if self._closed or self._next != _NOT_BEGUN or log.ended:
            return None
        return SILENCE if log.made else NOT_YET

    def take_packets(self, most: int) -> list[bytes]:
        """Hand out up to `most` packets that are there; if there are none, `poll` says why."""
        if self._closed or not self._is_in_place():
            return []
        packets = self._log.read(self._next, most)
        self._next += len(packets)
        return packets

    def poll(self) -> bytes | NotYet | None:
        """Return the next packet without waiting.

        Returns
        -------
        bytes or NotYet or None
            `NOT_YET` if it is not made yet, `None` when the station has ended or this tap is closed.

        Raises
        ------
        SourceError
            Once, after all packets before it: why the station ended.
        """
        packets = self.take_packets(1)
        if packets:
            return packets[0]
        if self._closed:
            return None
        # Asked first: no packet comes after the end.
        if not self._log.ended or self._next < self._log.made:
            return NOT_YET
        failure = self._log.failure
        if failure is not None and not self._failure_told:
            self._failure_told = True
            # A new one for each tap, since each raise adds to what a traceback holds.
            raise SourceError(failure.code, failure.text, **failure.data)
        return None

    def to_live_edge(self) -> None:
        """Go to what the other calls will hear when the packet that is taken next is heard here.

        A call that has taken packets ahead of time and threw them away gets them again.
        """
        now_ns, log, heard_in_ns = self._now_ns(), self._log, self._heard_in_ns()
        if log.ask(now_ns):
            self._on_start()
        if not log.runs and not self._start(now_ns + heard_in_ns):
            return
        edge = log.edge(now_ns, heard_in_ns)
        if self._next == _NOT_BEGUN or abs(edge - self._next) > NEAR_ENOUGH_PACKETS:
            self._jump(edge)

    def take_titles(self) -> list[Title]:
        """Return what the source has said of itself for the packets that were handed out, and not yet here.

        Of what was said before this tap came, only the last.
        """
        # Looked at once, since the station goes on.
        titles = self._log.titles
        if not titles or titles[-1][0] <= self._titles_seen:
            return []
        before: list[Title] = []
        since: list[Title] = []
        for serial, number, title in titles:
            if number >= self._next:
                break
            if serial > self._titles_seen:
                self._titles_seen = serial
                (before if number <= self._joined_at else since).append(title)
        return before[-1:] + since

    def close(self) -> None:
        """Take nothing any more. From any thread; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._on_close()

    def _is_in_place(self) -> bool:
        """See to it that it begins where it should, and does not fall behind; return whether it has begun."""
        if self._next == _NOT_BEGUN:
            self.to_live_edge()
            return self._next != _NOT_BEGUN
        now_ns, log = self._now_ns(), self._log
        if log.ask(now_ns):
            self._on_start()
        # Not beyond what was made: one whose ring is still being filled is not behind for that.
        edge = min(log.edge(now_ns, self._heard_in_ns()), log.made)
        if self._next < max(log.first, edge - BEHIND_LIMIT_PACKETS):
            self._jump(edge)
        return True

    def _start(self, first_heard_ns: int) -> bool:
        """Start the station's clock, if it has anything to be heard."""
        if not self._log.made and not self._log.ended:
            return False
        self._log.start(first_heard_ns)
        self._on_start()
        return True

    def _jump(self, number: int) -> None:
        if self._next != _NOT_BEGUN:
            self.packets_skipped_over += max(0, number - self._next)
        self._next = self._joined_at = number
