"""The playbacks of one call that have not ended: their order, and what concerns all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from voicepool._playing.playback import Playback
from voicepool._playing.position import Hold
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.ids import PlaybackId
from voicepool.track import Track

__all__ = ["Roster"]


class Roster:
    """All playbacks of one call, in the order in which they began or came to be heard.

    Parameters
    ----------
    make_track
        Makes what the bot author holds of a playback.
    now
        The clock, in seconds.

    Attributes
    ----------
    holds
        Whether the worker holds what plays. A new main track that is not held itself releases all, but only
        once it is ready: if nothing comes of it, they stay held.
    silent
        Set while there are none; see `settle`.
    """

    def __init__(self, make_track: Callable[[Playback], Track], now: Callable[[], float]) -> None:
        self.holds = False
        self.silent: Final = asyncio.Event()
        self.silent.set()
        self._make_track = make_track
        self._now = now
        self._interrupted = False
        self._active: dict[PlaybackId, Playback] = {}
        self._tracks: dict[PlaybackId, Track] = {}

    @property
    def playbacks(self) -> tuple[Playback, ...]:
        """All of them, the newest last."""
        return tuple(self._active.values())

    @property
    def held(self) -> bool:
        """Whether what is to be heard next is held: a main track that is being opened, or else what plays."""
        opening = [each for each in self._active.values() if _is_to_come(each)]
        return opening[-1].paused if opening else self.holds

    @property
    def main(self) -> Playback | None:
        """The newest main one; one that waits for its turn is none yet."""
        return next((each for each in reversed(self._active.values()) if each.role is TrackRole.MAIN), None)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The track of each, the main one first."""
        main = self.main
        rest = [each for each in self._active.values() if each is not main]
        return tuple(self._tracks[each.ident] for each in ([main, *rest] if main is not None else rest))

    def get(self, ident: PlaybackId) -> Playback | None:
        """Return the one of that name."""
        return self._active.get(ident)

    def track_of(self, playback: Playback) -> Track:
        """Return what the bot author holds of a playback."""
        track = self._tracks.get(playback.ident)
        return self._make_track(playback) if track is None else track

    def add(self, playback: Playback) -> list[Playback]:
        """Take in a new one.

        Returns
        -------
        list of Playback
            Older ones that are to end: found out later than this one, they would take its place.
        """
        is_main = playback.role is TrackRole.MAIN
        late = [each for each in self._active.values() if each.role is TrackRole.MAIN and each.resolving]
        self._active[playback.ident] = playback
        self._tracks[playback.ident] = self._make_track(playback)
        self.silent.clear()
        now = self._now()
        # A new main track is heard, whatever was held before.
        playback.pause(now, paused=self.holds and not is_main)
        if self._interrupted:
            playback.position.hold(Hold.INTERRUPTED, now)
        return late if is_main else []

    def remove(self, playback: Playback) -> Track:
        """Take out one that has ended; return its track."""
        del self._active[playback.ident]
        self.holds = self.holds and bool(self._active)
        return self._tracks.pop(playback.ident)

    def settle(self) -> None:
        """Say that all is silent, if it is."""
        if not self._active:
            self.silent.set()

    def on_ready(self, playback: Playback) -> None:
        """Take note that one is ready; what was held before a new main track was wanted goes on with it."""
        # Unless it was held as well, since it was asked for.
        if self.holds and playback.role is TrackRole.MAIN and not playback.paused:
            self.hold(paused=False)

    def on_started(self, playback: Playback) -> None:
        """Take note that one is heard; one that waited is the main one from now on."""
        if playback.role is TrackRole.OVERLAY:
            return
        playback.role = TrackRole.MAIN
        self._active[playback.ident] = self._active.pop(playback.ident)

    def hold(self, *, paused: bool) -> None:
        """Take note that all are held, or go on."""
        self.holds = paused
        now = self._now()
        for playback in self._active.values():
            playback.pause(now, paused=paused)

    def on_interrupted(self, since_s: float = 0.0) -> None:
        """Take note that the connection is lost; whether sound still leaves is told by the end of it.

        Parameters
        ----------
        since_s
            How long ago it was lost, if that is known better than by this call.
        """
        self._interrupted = True
        now = self._now()
        for playback in self._active.values():
            playback.position.hold(Hold.INTERRUPTED, now, since_s=since_s)

    def catch_up(self) -> None:
        """Move on what goes through a time in which the call could not send: it begins where it would be."""
        if not self._interrupted:
            return
        now = self._now()
        for playback in self._active.values():
            if playback.skips_gaps:
                heard_s = playback.position.since_s(now)
                playback.position.release(Hold.INTERRUPTED, now, heard_s=heard_s)
                playback.position.hold(Hold.INTERRUPTED, now)

    def on_restored(self, gap_s: float) -> None:
        """Take note that sound can be sent again, after so many seconds in which it could not."""
        self._interrupted = False
        now = self._now()
        for playback in self._active.values():
            lost_s = 0.0 if playback.skips_gaps else gap_s
            heard_s = max(playback.position.since_s(now) - lost_s, 0.0)
            playback.position.release(Hold.INTERRUPTED, now, heard_s=heard_s)


def _is_to_come(playback: Playback) -> bool:
    """Tell whether a playback is a main one of which it is not known yet whether it can be heard."""
    return playback.role is TrackRole.MAIN and playback.info is None
