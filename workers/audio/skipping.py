"""Frames of a track that are left out: those that would have been heard in a gap.

They are left out a bite at a time, so that other calls are not delayed. A source read ahead from the network
may have less than that:

* With a known length it is a recording, which comes faster than it plays. The skip waits for it, for
  `RECORDING_PATIENCE_NS` in all; after that it is played from where it has come to.
* Without, it is live, and there is no more than what was sent meanwhile and is stale in some buffer. The skip
  waits for `LIVE_PATIENCE_NS`, in which those are emptied; after that it is played from the live edge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicepool.workers.audio.deck_track import DeckTrack
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.track_feed import TrackFeed

__all__ = [
    "LIVE_PATIENCE_NS",
    "RECORDING_PATIENCE_NS",
    "SKIP_BITE_FRAMES",
    "STARVED_RETRY_NS",
    "Skip",
    "Skips",
]

RECORDING_PATIENCE_NS: Final = 2_000_000_000
"""How long a skip may wait for a recording from the network."""
LIVE_PATIENCE_NS: Final = 100_000_000
"""How long a skip may wait for a live source."""
STARVED_RETRY_NS: Final = 10_000_000
"""How soon to ask a source again that had nothing ready."""
SKIP_BITE_FRAMES: Final = 10
"""Frames of the source left out in one go: decoding them takes about as long as encoding a burst."""


@dataclass(slots=True)
class Skip:
    """Frames of a track still to be left out, and whom to tell.

    Attributes
    ----------
    frames
        20 ms each.
    patience_ns
        How long it may wait for a source that has nothing ready.
    done
        Called, on an encoder thread, when it is over; with False if the source had not as much to leave out.
    """

    track: DeckTrack
    frames: int
    patience_ns: int
    done: Callable[[bool], object]
    patience_ends_ns: int | None = None

    def leave_out(self, now_ns: int) -> int | None:
        """Leave out a bite of what is not read yet.

        Returns
        -------
        int or None
            When to go on with that, in monotonic nanoseconds; None if it is over. Less than all was left out
            if `frames` are left then.
        """
        wanted = min(self.frames, SKIP_BITE_FRAMES)
        skipped, following = _leave_out(self.track.feed, wanted)
        self.frames -= skipped
        self.track.frames_before -= skipped
        if skipped == wanted:
            # Not at once: whatever is overdue goes first.
            return now_ns if self.frames else None
        if following is not NOT_YET:
            # It ended within the gap, and says so again to who asks for a frame to encode; or is a station.
            self.frames = 0
            return None
        if self.patience_ends_ns is None:
            self.patience_ends_ns = now_ns + self.patience_ns
        return now_ns + STARVED_RETRY_NS if now_ns < self.patience_ends_ns else None


class Skips:
    """The skips of one program, in the order in which they were asked for. On an encoder thread, but `add`.

    Parameters
    ----------
    program
        Whose ring holds what is left out first.
    """

    __slots__ = ("_program", "_waiting")

    def __init__(self, program: Program) -> None:
        self._program = program
        self._waiting: deque[Skip] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, skip: Skip) -> None:
        """Ask for one; from any thread."""
        self._waiting.append(skip)

    def go_on(self, now_ns: int) -> int | None:
        """Go on with the first; return when to do so again, None if none is left."""
        skip = self._waiting[0]
        if skip.track.is_cut:
            # Another took its place meanwhile, and may be on its way out of the ring.
            self._waiting.popleft()
            skip.done(False)  # its one argument
            return now_ns if self._waiting else None
        self._program.go_back(safe_frames=0)
        again_ns = skip.leave_out(now_ns)
        if again_ns is not None:
            return again_ns
        skip.track.plan_fade_out()
        self._waiting.popleft()
        self._program.fill(changes=False)
        skip.done(not skip.frames)
        return now_ns if self._waiting else None

    def give_up(self) -> None:
        """Have all of them be over as they are."""
        while self._waiting:
            self._waiting.popleft().done(False)  # its one argument


def _leave_out(feed: TrackFeed, wanted: int) -> tuple[int, bytes | PcmFrame | NotYet | None]:
    """Leave out frames that are there; return how many, and what follows if those were not all."""
    skipped = feed.skip(wanted)
    following: bytes | PcmFrame | NotYet | None = None
    while skipped < wanted and (following := feed.peek()) is not NOT_YET and following is not None:
        # That came in the moment; a station's feed, though, has left out all there is to it.
        more = feed.skip(wanted - skipped)
        if not more:
            break
        skipped += more
    return skipped, following
