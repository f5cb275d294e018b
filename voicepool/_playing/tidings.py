"""What the worker says of playbacks, taken into what the bot knows of them and told to whoever listens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from voicepool import events
from voicepool._playing.playback import EndReason, Playback
from voicepool._playing.position import Hold
from voicepool._playing.roster import Roster
from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import TrackEvent
from voicepool.errors import InternalError, VoicePoolError, from_info
from voicepool.events import ConnectionEvent
from voicepool.ipc import events as wire
from voicepool.ipc.events import CallStats
from voicepool.ipc.ids import StreamId
from voicepool.source import AudioSource
from voicepool.track import Track

__all__ = ["Ending", "Tidings"]

_FRAME_S: Final = 0.02
_REASONS: Final = {
    wire.EndReason.FINISHED: EndReason.FINISHED,
    wire.EndReason.STOPPED: EndReason.STOPPED,
    wire.EndReason.REPLACED: EndReason.REPLACED,
    wire.EndReason.FAILED: EndReason.FAILED,
}


class Ending(NamedTuple):
    """How a playback has ended."""

    reason: EndReason
    error: VoicePoolError | None


class Tidings:
    """Reads the worker's news.

    Parameters
    ----------
    roster
        The playbacks that have not ended.
    tell
        Takes events for whoever listens.
    now
        The clock, in seconds.
    suspicion
        Told what has been opened and heard.
    """

    def __init__(
        self,
        roster: Roster,
        tell: Callable[[Iterable[ConnectionEvent]], None],
        now: Callable[[], float],
        suspicion: Suspicion,
    ) -> None:
        self._suspicion = suspicion
        self._roster = roster
        self._tell = tell
        self._now = now

    def playback_of(self, event: TrackEvent) -> Playback | None:
        """Return the playback that an event is about; None if it has ended."""
        if isinstance(event, wire.StreamCredit):
            playbacks = self._roster.playbacks
            return next((each for each in playbacks if _stream_of(each) == event.stream), None)
        return self._roster.get(event.playback)

    def take(self, event: TrackEvent, playback: Playback) -> Ending | None:
        """Take in an event.

        Returns
        -------
        Ending or None
            How it says that the playback has ended, which is for the player to carry out; None if it has not.
        """
        track = self._roster.track_of(playback)
        match event:
            case wire.TrackReady():
                self._suspicion.on_opened(playback.ident, self._now())
                playback.open(event.info)
                self._roster.on_ready(playback)
                track.tell_volume()
            case wire.TrackStarted():
                self._suspicion.on_opened(playback.ident, self._now())
                self._started(event, playback, track)
            case wire.TrackStuck():
                self._stuck(event, playback, track)
            case wire.TrackChanged():
                self._changed(event, playback, track)
            case wire.StreamCredit():
                playback.source.grant(event.credit_ms)  # type: ignore[union-attr]  # else it had no stream
            case wire.TrackEnded():
                playback.skipped_packets = event.skipped_packets
                return _ending(event, playback)
        return None

    def report(self, stats: CallStats) -> None:
        """Take in where the tracks of the call are."""
        now = self._now()
        told: list[ConnectionEvent] = []
        for figures in stats.tracks:
            if (playback := self._roster.get(figures.playback)) is not None:
                heard_s = figures.frames_sent * _FRAME_S
                playback.position.report(figures.position_s, now, heard_s=heard_s)
                self._suspicion.on_heard(playback.ident, heard_s, now)
                told.append(events.TrackPosition(self._roster.track_of(playback), figures.position_s))
        self._tell(told)

    def _started(self, event: wire.TrackStarted, playback: Playback, track: Track) -> None:
        goes_on = playback.started
        playback.start(event.position_s, self._now())
        if not goes_on:
            self._tell([events.TrackStarted(track, event.position_s)])
        elif playback.stuck:
            # The worker for which it waited would have said so.
            self._unstuck(playback, track)

    def _unstuck(self, playback: Playback, track: Track) -> None:
        playback.stuck = False
        playback.position.release(Hold.STUCK, self._now())
        self._tell([events.TrackUnstuck(track)])

    def _stuck(self, event: wire.TrackStuck, playback: Playback, track: Track) -> None:
        if event.waited_ms:
            playback.stuck = True
            playback.position.hold(Hold.STUCK, self._now(), since_s=event.waited_ms / 1_000)
            self._tell([events.TrackStuck(track, event.waited_ms, event.part)])
        else:
            self._unstuck(playback, track)

    def _changed(self, event: wire.TrackChanged, playback: Playback, track: Track) -> None:
        tags = dict(event.tags)
        if playback.info is not None:
            playback.info = dataclasses.replace(
                playback.info, title=event.title, artist=event.artist, tags={**playback.info.tags, **tags}
            )
        self._tell([events.TrackChanged(track, event.title, event.artist, tags)])


def _ending(event: wire.TrackEnded, playback: Playback) -> Ending:
    error: VoicePoolError | None = None
    if event.reason is wire.EndReason.FAILED:
        label = playback.source.label
        error = InternalError(f"{label} broke off for no reason given")
        if event.error is not None:
            error = from_info(event.error)
    return Ending(_REASONS[event.reason], error)


def _stream_of(playback: Playback) -> StreamId | None:
    """Return the name of the stream that a playback takes its audio from, if it is pushed."""
    if isinstance(playback.source, AudioSource) or not playback.sent:
        return None
    return playback.source.to_wire()[0].stream
