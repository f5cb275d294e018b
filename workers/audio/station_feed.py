"""The frames of a station on their way into one call: those that are heard by all at the same moment.

A call makes its frames ahead of time. What it holds of a station when it is paused, has lost its transport,
or is not yet where the station begins will be old by the time it is sent. So a station's feed leaves nothing
for later: when it begins, and when it is told to skip what was missed, it drops what it holds and goes on at
the live edge. Its frames are numbered on as if nothing had been left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from voicepool.workers.audio.feed import Feed, FeedDecoder
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NotYet
from voicepool.workers.audio.station_tap import StationTap

__all__ = ["StationFeed"]


class StationFeed(Feed):
    """A `Feed` that keeps to a station's clock.

    Parameters
    ----------
    tap
        Owned from now on.
    make_decoder, kept_frames, kept_packets, early_samples
        As for `Feed`.
    """

    def __init__(
        self,
        tap: StationTap,
        *,
        make_decoder: Callable[[], FeedDecoder],
        kept_frames: int,
        early_samples: int,
        kept_packets: int | None = None,
    ) -> None:
        super().__init__(
            tap,
            make_decoder=make_decoder,
            kept_frames=kept_frames,
            kept_packets=kept_packets,
            early_samples=early_samples,
        )
        self._tap: Final = tap
        self._is_stale = False
        """Whether it has been taken back to its start, to begin again at some later time."""

    def last_sounding_samples(self) -> int | None:
        """Return None: a broadcast has no end that a track could be joined to."""
        return None

    def begin_late(self, samples: int) -> bool:  # noqa: ARG002  # as every feed has it
        """Return False: its frames are those of all its calls."""
        return False

    def peek(self) -> bytes | PcmFrame | NotYet | None:
        """Return a frame like the next; before the first, without joining the station yet."""
        if self._next == 0 and not self._frames and (seen := self._tap.look()) is not None:
            return seen
        return super().peek()

    def take_packets(self, most: int) -> list[bytes]:
        """Hand out up to `most` packets at once; the first of all are those that others hear with them."""
        self._begin()
        return super().take_packets(most)

    def next_frame(self) -> PcmFrame | NotYet | None:
        """Return the next 20 ms as PCM, as `Feed.next_frame` does; the first is what others hear with it."""
        self._begin()
        return super().next_frame()

    def skip(self, frames: int) -> int:  # noqa: ARG002  # all that was missed, however much that is
        """Go to the live edge; return 0, for none of what follows is to be left out."""
        # Before the first frame nobody knows yet when that will be heard.
        self._is_stale = self._next == 0
        self._drop_ahead()
        self._tap.to_live_edge()
        return 0

    def rewind(self, frames: int) -> None:
        """Hand out the last frames again, unless those are all: then it is to begin anew."""
        super().rewind(frames)
        self._is_stale = self._next == 0

    def _begin(self) -> None:
        if self._is_stale:
            self.skip(0)
            self._is_stale = False

    def _drop_ahead(self) -> None:
        """Forget the frames that were not handed out, or were taken back."""
        while len(self._frames) > self._next - self._first:
            self._frames.pop()
        while self._places and self._places[-1][0] >= self._next:
            self._places.pop()
        for number in [number for number in self._decoded if number >= self._next]:
            del self._decoded[number]
        self._decoder_at = -1
