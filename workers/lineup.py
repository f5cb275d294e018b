"""The tracks of one call that are ready: who is the main one, who waits, and how each of them ends."""

from __future__ import annotations

from collections.abc import Iterator

from voicepool.ipc.commands import StreamAudio
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason
from voicepool.ipc.ids import PlaybackId
from voicepool.ipc.sources import StreamSource
from voicepool.workers.errors import SourceError
from voicepool.workers.settling import settle
from voicepool.workers.sound import Sound
from voicepool.workers.track import Track
from voicepool.workers.tracknews import TrackNews

__all__ = ["Lineup"]


class Lineup:
    """The tracks of one call. On the control loop.

    Parameters
    ----------
    news
        Told of each end, once.
    sound
        Knows how much of a track was heard.

    Attributes
    ----------
    tracks
        Those that are ready, until their end is reported.
    main
        The main one.
    next
        The one that waits for the main one's end.
    """

    def __init__(self, news: TrackNews, sound: Sound) -> None:
        self._news = news
        self._sound = sound
        self.tracks: dict[PlaybackId, Track] = {}
        self.main: Track | None = None
        self.next: Track | None = None
        self._ended: list[tuple[Track, ErrorInfo | None]] = []
        """Ends to be reported when the silence after them has been sent."""

    def __getitem__(self, playback: PlaybackId) -> Track:
        """Return a track by its name.

        Raises
        ------
        SourceError
            It is over.
        """
        try:
            return self.tracks[playback]
        except KeyError:
            raise SourceError(ErrorCode.NO_SUCH_TRACK, "the track does not play any more") from None

    @property
    def is_ready(self) -> bool:
        """Whether there is something to be heard, and all of it is where it is to go on."""
        tracks = self.tracks.values()
        plays = any(not track.waits for track in tracks) or self.next is not None
        return plays and not any(track.skipping for track in tracks)

    def playing(self) -> Iterator[Track]:
        """Return the tracks that are heard, or will be after a pause; the main one first."""
        if self.main is not None:
            yield self.main
        yield from [track for track in self.tracks.values() if track is not self.main and not track.waits]

    def waiting(self) -> tuple[Track, ...]:
        """Return the track that waits, if there is one."""
        return () if self.next is None else (self.next,)

    def take_main(self, track: Track) -> None:
        """Have a track be the main one; the one before it is replaced."""
        before, self.main = self.main, track
        track.waits = False
        if self.next is track:
            self.next = None
        if before is not None and before is not track:
            self.end(before, EndReason.REPLACED)

    def take_next(self, track: Track) -> None:
        """Have a track wait; the one that waited before is replaced."""
        before, self.next = self.next, track
        if before is not None and before.deck.entry is None:
            # Else it has begun, and is about to be heard: this one follows it.
            self.end(before, EndReason.REPLACED)

    def begin(self, track: Track) -> None:
        """Have the track that waited be the main one; what was before it tells of its end by itself."""
        self.main, track.waits = track, False
        if self.next is track:
            self.next = None

    def stream_audio(self, command: StreamAudio, attachments: list[bytes]) -> None:
        """Take a piece of pushed audio; one for a stream that nobody plays any more is dropped."""
        for track in self.tracks.values():
            source, stream = track.command.source, track.sourced.stream
            if isinstance(source, StreamSource) and source.stream == command.stream and stream is not None:
                stream.push(attachments, ends=command.ends)

    def let_go(self, track: Track) -> None:
        """Have a track be neither the main one nor the one that waits."""
        if self.main is track:
            self.main = None
        if self.next is track:
            self.next = None

    # How tracks end.

    def end(self, track: Track, reason: EndReason, error: ErrorInfo | None = None) -> None:
        """Report the end of a track, once."""
        self._forget(track)
        frames_sent = track.figures(self._sound.playback).frames_sent
        self._news.ended(track, reason, error, frames_sent=frames_sent)

    def end_by_itself(self, track: Track, error: ErrorInfo | None) -> None:
        """Report the end of a track that came to it, or that fell silent as it was asked to."""
        if track.stopping or track.unwanted:
            reason = EndReason.STOPPED
        elif track.deck.is_cut:
            # Another has its place in the deck, of which the bot has not been told yet.
            reason = EndReason.REPLACED
        else:
            reason = EndReason.FINISHED if error is None else EndReason.FAILED
        self.end(track, reason, error)

    def end_later(self, track: Track, error: ErrorInfo | None) -> None:
        """Have the end of the last track reported by `report_ended`."""
        self._ended.append((track, error))

    def report_ended(self) -> None:
        """Report what ends as nothing is heard any more."""
        for track in list(self.tracks.values()):
            if track.stopping and not self._sound.is_heard:
                self.end(track, EndReason.STOPPED)
        ended, self._ended = self._ended, []
        for track, error in ended:
            if not track.over:
                self.end_by_itself(track, error)

    def end_all(self, reason: EndReason, error: ErrorInfo | None) -> None:
        """Report the end of all."""
        for track in list(self.tracks.values()):
            self.end(track, reason, error)

    def forget_all(self) -> None:
        """Let all go without a word: they go on elsewhere."""
        for track in list(self.tracks.values()):
            self._forget(track)

    def _forget(self, track: Track) -> None:
        track.over = True
        track.deck.let_go()
        if track.seeking is not None:
            settle(track.seeking, None)
        self.tracks.pop(track.command.playback, None)
        self.let_go(track)
