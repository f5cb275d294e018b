"""Leaving out what was missed, for tracks that keep to the wall clock.

Those are the tracks that skip gaps, which leave out as much as was missed of them, and stations, which come
back from gaps and pauses alike to what the other calls hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from voicepool.workers.audio.skipping import LIVE_PATIENCE_NS, RECORDING_PATIENCE_NS
from voicepool.workers.sound import Sound
from voicepool.workers.track import Track

__all__ = ["NEAR_ENOUGH_FRAMES", "CatchUp"]

NEAR_ENOUGH_FRAMES: Final = 5
"""Skipping takes time itself, some frames of which may be left for the next gap."""


class CatchUp:
    """Counts what tracks miss in gaps, and has them leave it out. On the control loop.

    Parameters
    ----------
    sound
        Of the call.
    tracks
        Returns those that play.
    waiting
        Returns those that do not yet.
    on_done
        Told when a track has left out what it had missed, and can be sent.
    now_ns
        Monotonic time in nanoseconds.
    """

    def __init__(
        self,
        sound: Sound,
        *,
        tracks: Callable[[], Iterable[Track]],
        waiting: Callable[[], Iterable[Track]],
        on_done: Callable[[], object],
        now_ns: Callable[[], int],
    ) -> None:
        self._sound = sound
        self._tracks = tracks
        self._waiting = waiting
        self._on_done = on_done
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self.in_gap = False
        """Whether the call has lost its transport. Say `count` after a change."""
        self.paused = False
        """Whether the bot has paused, which no track misses anything of. Likewise."""
        self._under_way: set[object] = set()

    @property
    def is_busy(self) -> bool:
        """Whether anything is being left out, be it of a track that is over: nothing may be sent."""
        return bool(self._under_way)

    def count(self) -> None:
        """Begin or end the count of what tracks miss, after anything that it depends on has changed."""
        for track in self._tracks():
            if track.skips_gaps:
                missing = (self.in_gap or track.skipping) and not self.paused
                track.missed.run(missing=missing, now_ns=self._now_ns())

    def begin(self) -> None:
        """Have tracks leave out what they have missed; until that is done, nothing may be sent."""
        for track in list(self._tracks()):
            if track.skipping or not track.skips_gaps:
                continue
            frames = track.missed.take_frames(self._now_ns())
            track.skipping = frames > 0
            if track.skipping:
                self._leave_out(track, frames)
        self.count()

    def rejoin(self) -> None:
        """Have stations go to where the other calls are. Only while nobody takes frames.

        Until that is done, nothing may be sent.
        """
        # One that waits may have begun in frames that were not sent.
        for track in (*self._tracks(), *self._waiting()):
            if track.is_station and not track.skipping:
                track.skipping = True
                self._leave_out(track, 1)

    def leave_out(self, track: Track, frames: int, then: Callable[[bool], object]) -> None:
        """Have a track leave out frames of 20 ms; until that is done, nothing may be sent.

        Parameters
        ----------
        track, frames
            Which, and how many.
        then
            Called on the control loop when that is done; with False if the source had not as much.
        """
        playback = self._sound.playback
        assert playback is not None, "a track that plays has one"
        patience_ns = LIVE_PATIENCE_NS if track.info.duration_s is None else RECORDING_PATIENCE_NS
        skip = object()
        self._under_way.add(skip)

        def finish(caught_up: bool) -> None:  # noqa: FBT001  # called by position
            self._under_way.discard(skip)
            then(caught_up)

        def on_done(caught_up: bool) -> None:  # noqa: FBT001  # the one thing it tells
            self._loop.call_soon_threadsafe(finish, caught_up)

        playback.skip(track.deck, frames, patience_ns, on_done)
        self._sound.hurry()

    def settle(self) -> None:
        """Take note that a track has come to where it is to go on, and can be sent."""
        if not self.in_gap:
            self.begin()
        self._on_done()

    def forget(self) -> None:
        """Wait for nothing: the playback is dropped."""
        self._under_way.clear()

    def _leave_out(self, track: Track, frames: int) -> None:
        self.leave_out(track, frames, lambda caught_up: self._on_skipped(track, caught_up))

    def _on_skipped(self, track: Track, caught_up: bool) -> None:  # noqa: FBT001  # called by position
        track.skipping = False
        if not track.over:
            if not caught_up:
                # It plays from where it has come to; there is no use in trying the same after the next gap.
                track.missed.take_frames(self._now_ns())
            elif not self.in_gap and track.missed.frames(self._now_ns()) > NEAR_ENOUGH_FRAMES:
                self.begin()
            self.count()
        self._on_done()
