"""What the bot hears of its tracks, from the start of each to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voicepool.ipc.errors import ErrorInfo
from voicepool.ipc.events import (
    EndReason,
    Event,
    StreamCredit,
    TrackChanged,
    TrackEnded,
    TrackStarted,
    TrackStuck,
)
from voicepool.ipc.ids import CallId, StreamId
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.track import Track

__all__ = ["TrackNews"]


class TrackNews:
    """Reports on the tracks of one call. On the control loop.

    Parameters
    ----------
    call
        Whose tracks they are.
    report
        Takes events for the bot.
    """

    def __init__(self, call: CallId, report: Callable[[Event], object]) -> None:
        self._call = call
        self._report = report

    def started(self, track: Track) -> None:
        """Tell that a track's first frame is about to be sent."""
        playback, position_s = track.command.playback, track.sourced.begins_s
        self._report(TrackStarted(call=self._call, playback=playback, position_s=position_s))

    def stuck(self, tracks: Iterable[Track], stuck: Stuck) -> None:
        """Tell that nothing could be sent of one of the tracks for a time."""
        for track in tracks:
            if track.deck is stuck.track:
                ident, waited_ms = track.command.playback, stuck.waited_ms
                event = TrackStuck(call=self._call, playback=ident, waited_ms=waited_ms, part=stuck.part)
                self._report(event)

    def titles(self, tracks: Iterable[Track]) -> None:
        """Tell what streams have said of themselves since the last time: the newest of each."""
        for track in tracks:
            titles = track.sourced.take_titles() if track.sourced.take_titles is not None else ()
            if titles:
                last = titles[-1]
                self._report(
                    TrackChanged(
                        call=self._call,
                        playback=track.command.playback,
                        title=last.title,
                        artist=last.artist,
                        tags=last.tags,
                    )
                )

    def credit(self, stream: StreamId, credit_ms: int) -> None:
        """Tell that more may be pushed, in milliseconds of audio."""
        self._report(StreamCredit(call=self._call, stream=stream, credit_ms=credit_ms))

    def ended(self, track: Track, reason: EndReason, error: ErrorInfo | None, *, frames_sent: int) -> None:
        """Tell that a track is over.

        Parameters
        ----------
        track
            Which.
        reason, error
            Why; an error if it failed.
        frames_sent
            How many frames of 20 ms were sent of it.
        """
        self._report(
            TrackEnded(
                call=self._call,
                playback=track.command.playback,
                reason=reason,
                frames_sent=frames_sent,
                error=error,
                skipped_packets=track.sourced.feed.skipped_packets,
            )
        )
