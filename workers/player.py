"""What one call plays: what the bot asks for, and what follows from what the threads report.

All methods run on the control loop. The two threads report back through `call_soon_threadsafe` only.
A track that replaces another takes over at the moment it is ready, so nothing falls silent in between.

A gap is the time from `unbind` to `bind`. A track with ``on_gap="continue"`` goes on where it stopped. One
with ``"skip"`` stays with the wall clock: once there is another transport, it leaves out what would have been
heard meanwhile, counted from when it took over if that was within the gap, and without the bot's own pauses.

The end of the last track is reported when the silence after it has been sent, since a bot that is told may
leave at once.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator

from voicepool.ipc.commands import ChangeTrack, Encoding, Play, Seek, StreamAudio, TrackRole
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallStats, EndReason, Event, MediaInfo
from voicepool.ipc.ids import CallId, PlaybackId, StreamId
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.deck import Deck
from voicepool.workers.audio.frame import SAMPLE_RATE_HZ
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.catchup import CatchUp
from voicepool.workers.errors import SourceError
from voicepool.workers.pacing.lane import Lane, silent_tail
from voicepool.workers.preparing import Preparing
from voicepool.workers.sound import Sound, Studio
from voicepool.workers.track import Track
from voicepool.workers.tracknews import TrackNews

__all__ = ["Player"]


class Player:
    """One call's player.

    Parameters
    ----------
    call
        Whose player it is.
    studio
        The worker's threads and settings.
    report
        Takes the events to send to the bot.
    on_failure
        Told when sending broke in a way that ends the call.
    now_ns
        Monotonic time in nanoseconds, to measure gaps.
    """

    def __init__(
        self,
        call: CallId,
        studio: Studio,
        *,
        report: Callable[[Event], None],
        on_failure: Callable[[Exception], object],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._call = call
        self._pacer = studio.pacer
        self._news = TrackNews(call, report)
        self._loop = asyncio.get_running_loop()
        self._lane = Lane(lambda error: self._loop.call_soon_threadsafe(on_failure, error))
        self._sound = Sound(studio, self._lane, on_silent=self._on_silent, on_stuck=self._on_stuck)
        self._preparing = Preparing(studio.sourcing, self._sound, self)
        self._catch_up = CatchUp(
            self._sound,
            tracks=self._playing,
            waiting=lambda: () if self._next is None else (self._next,),
            on_done=self._run_lane,
            now_ns=now_ns,
        )
        self._tracks: dict[PlaybackId, Track] = {}
        """Those that are ready, until their end is reported."""
        self._main: Track | None = None
        self._next: Track | None = None
        self._ended: list[tuple[Track, ErrorInfo | None]] = []
        """Ends to be reported when the silence after them has been sent."""
        self._paused = False
        self._start_paused = False
        self._bound = False

    # The transport below.

    def bind(self, seal: Callable[[bytes, bytes], bytes], send: Callable[[bytes], object], ssrc: int) -> None:
        """Send through this transport; what plays goes on, or skips what was missed."""
        self._pacer.remove(self._lane)
        self._lane.bind(seal, send, ssrc)
        self._bound, self._catch_up.in_gap = True, False
        self._catch_up.begin()
        if not self._paused:
            self._catch_up.rejoin()
        self._run_lane()

    def unbind(self) -> None:
        """Send nothing until the next `bind`; what plays is held."""
        self._catch_up.in_gap = self._catch_up.in_gap or self._bound
        self._bound = False
        self._pacer.remove(self._lane)
        self._sound.make_anew()
        self._report_ended()
        self._catch_up.count()

    # What the bot asks for.

    async def play(self, command: Play, attachments: list[bytes]) -> MediaInfo:
        """Open a source and play it, in the role that the command says.

        Returns
        -------
        MediaInfo
            Once its first frames are encoded.

        Raises
        ------
        SourceError
            It cannot be played, or (``SUPERSEDED``) a newer command came first.
        """
        if command.role is TrackRole.MAIN:
            self._start_paused = command.paused
            self.set_volume(command.volume)
        try:
            track = await self._preparing.prepare(command, attachments)
        except SourceError:
            self._drop_if_broken()
            raise
        self._take_over(track)
        return track.info

    def stop(self, playback: PlaybackId | None = None, *, fade_out_s: float = 0.0) -> None:
        """End what plays and what is being opened, or one playback alone if it is one of them.

        Parameters
        ----------
        playback
            By None, whatever there is. One that is over already leaves the others alone.
        fade_out_s
            How long it takes to fall silent, and to be reported as ended.
        """
        self._preparing.give_up(playback)
        ending = [track for ident, track in self._tracks.items() if playback in (None, ident)]
        fades = fade_out_s > 0.0 and self._sound.is_heard
        if ending and len(ending) == len(self._tracks) and not fades:
            # All at once, so nothing that was made is heard any more.
            self._fall_silent()
            self._sound.wish(Deck.cut)
        else:
            fade_samples = round(fade_out_s * SAMPLE_RATE_HZ)
            for track in ending:
                self._sound.wish(functools.partial(Deck.end, track=track.deck, fade_out_samples=fade_samples))
        for track in ending:
            if fades and not track.waits:
                track.stopping = True
            else:
                self._end(track, EndReason.STOPPED)

    def skip(self, playback: PlaybackId) -> None:
        """Have the track that waits take over from the main one, if that is the one named.

        Raises
        ------
        SourceError
            No track waits.
        """
        if self._main is None or self._main.command.playback != playback:
            return
        if self._next is None:
            raise SourceError(ErrorCode.NO_SUCH_TRACK, "no track waits that could take over")
        self._sound.wish(Deck.skip)
        self._take_main(self._next)

    async def seek(self, command: Seek) -> None:
        """Go on elsewhere in a track's source; the newest of several seeks counts.

        Raises
        ------
        SourceError
            It cannot be done, and the track plays on as it was; or the track is over.
        """
        await self._preparing.go_elsewhere(self._track(command.playback), command.position_s)

    def change_track(self, command: ChangeTrack) -> None:
        """Play a track otherwise from now on.

        Raises
        ------
        SourceError
            A filter is refused, and nothing has changed; or the track is over.
        """
        track = self._track(command.playback)
        self._sound.wish(track.change(command))

    def set_encoding(self, encoding: Encoding) -> None:
        """Encode what is made from now on like this."""
        self._sound.set_encoding(encoding)

    def stream_audio(self, command: StreamAudio, attachments: list[bytes]) -> None:
        """Take a piece of pushed audio; one for a stream that nobody plays any more is dropped."""
        for track in self._tracks.values():
            source, stream = track.command.source, track.sourced.stream
            if isinstance(source, StreamSource) and source.stream == command.stream and stream is not None:
                stream.push(attachments, ends=command.ends)
        self._preparing.stream_audio(command, attachments)

    def pause(self) -> None:
        """Hold what plays, after five frames of silence."""
        self._set_paused(paused=True)
        self._fall_silent()
        self._report_ended()

    def resume(self) -> None:
        """Go on with what is held."""
        was_paused = self._paused
        self._set_paused(paused=False)
        if was_paused:
            self._catch_up.rejoin()
        self._run_lane()

    def set_volume(self, volume: float) -> None:
        """Use another linear gain, heard after three frames at most."""
        self._sound.set_volume(volume)

    def close(self, error: ErrorInfo | None = None) -> None:
        """End for good, without silence; with an error, what plays has failed with it."""
        self._preparing.give_up()
        self.unbind()
        self._end_all(EndReason.STOPPED if error is None else EndReason.FAILED, error)
        self._sound.close()

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        lane = self._lane
        return CallStats(
            call=self._call,
            frames_sent=lane.frames,
            silence_sent=lane.silence,
            frames_nulled=lane.nulled,
            send_errors=lane.send_errors,
            ring_low=lane.take_ring_low(),
            tracks=[track.figures(self._sound.playback) for track in self._playing()],
        )

    def report_titles(self) -> None:
        """Tell the bot what streams have said of themselves since the last time."""
        self._news.titles(self._playing())

    # What the threads say, by way of the loop.

    def on_started(self, track: Track) -> None:
        """Take note that a track's first frame is about to be sent."""
        if track.over:
            return
        if track.early is not None:
            # The loop was held up, and what was asked for comes before what became of it.
            track.early.append(functools.partial(self.on_started, track))
            return
        if track.waits:
            # The main one before it has told of its end already, or is fading out.
            self._main, track.waits = track, False
            if self._next is track:
                self._next = None
            self._catch_up.count()
        self._news.started(track)

    def on_ended(self, track: Track, error: ErrorInfo | None) -> None:
        """Take note that a track's last frame has been sent."""
        if track.over:
            return
        if track.early is not None:
            track.ended_early = True
            track.early.append(functools.partial(self.on_ended, track, error))
            return
        if track.ended_early or any(other is not track for other in self._tracks.values()):
            self._end_by_itself(track, error)
        else:
            self._ended.append((track, error))

    def on_credit(self, stream: StreamId, credit_ms: int) -> None:
        """Tell the bot that it may push more. On any thread."""
        self._loop.call_soon_threadsafe(self._news.credit, stream, credit_ms)

    def _on_silent(self) -> None:
        """Take note that all there was to send has been sent."""
        if any(track.early is not None for track in self._tracks.values()):
            # What is about to be told of it comes first.
            self._loop.call_soon(self._on_silent)
            return
        self._report_ended()
        if self._drop_if_broken():
            return
        if self._tracks and any(self._playing()):
            # Something began in the moment.
            self._run_lane()
        elif self._sound.is_heard:
            # A resume or a bind, just when the end was on its way here, has put an empty ring into the wheel.
            self._pacer.remove(self._lane)
        self._sound.hurry()

    def _on_stuck(self, stuck: Stuck) -> None:
        for track in self._playing():
            if track.deck is stuck.track:
                self._news.stuck(track, stuck)

    # How it is done.

    def _take_over(self, track: Track) -> None:
        """Take note that a track is in the deck, and that the bot is about to be told so."""
        if not track.ended_early:
            self._tracks[track.command.playback] = track
        # After whoever called has reported that it is ready.
        self._loop.call_soon(self._tell_early, track)
        if track.command.role is TrackRole.MAIN:
            was_paused = self._paused
            self._set_paused(paused=self._start_paused)
            if self._paused:
                self._fall_silent()
            self._take_main(track)
            if was_paused and not self._paused:
                self._catch_up.rejoin()
        elif track.waits:
            before, self._next = self._next, track
            if before is not None and before.deck.entry is None:
                # Else it has begun, and is about to be heard: this one follows it.
                self._end(before, EndReason.REPLACED)
        if track.ended_early:
            # There is nothing of it left to be sent.
            self._main = None if self._main is track else self._main
            self._next = None if self._next is track else self._next
        self._report_ended()
        self._catch_up.count()
        self._run_lane()

    def _tell_early(self, track: Track) -> None:
        early, track.early = track.early or (), None
        for report in early:
            report()

    def _take_main(self, track: Track) -> None:
        before, self._main = self._main, track
        track.waits = False
        if self._next is track:
            self._next = None
        if before is not None and before is not track:
            self._end(before, EndReason.REPLACED)

    def _playing(self) -> Iterator[Track]:
        """Return the tracks that are heard, or will be after a pause; the main one first."""
        if self._main is not None:
            yield self._main
        yield from [track for track in self._tracks.values() if track is not self._main and not track.waits]

    def _set_paused(self, *, paused: bool) -> None:
        self._paused = self._start_paused = self._catch_up.paused = paused
        self._catch_up.count()

    def _fall_silent(self) -> None:
        if self._sound.is_heard:
            self._pacer.switch(self._lane, deque(silent_tail()))
            self._sound.make_anew()

    def _run_lane(self) -> None:
        tracks = list(self._tracks.values())
        plays = any(not track.waits for track in tracks) or self._next is not None
        skipping = any(track.skipping for track in tracks)
        if plays and self._bound and not (self._paused or skipping):
            self._sound.send()

    def _drop_if_broken(self) -> bool:
        """Give up a playback that failed inside voicepool; return whether it did."""
        playback = self._sound.playback
        if playback is None or playback.error is None:
            return False
        self._pacer.remove(self._lane)
        self._end_all(EndReason.FAILED, playback.error)
        self._sound.drop()
        return True

    def _report_ended(self) -> None:
        for track in list(self._tracks.values()):
            if track.stopping and not self._sound.is_heard:
                self._end(track, EndReason.STOPPED)
        ended, self._ended = self._ended, []
        for track, error in ended:
            if not track.over:
                self._end_by_itself(track, error)

    def _end_by_itself(self, track: Track, error: ErrorInfo | None) -> None:
        reason = EndReason.FINISHED if error is None else EndReason.FAILED
        self._end(track, EndReason.STOPPED if track.stopping else reason, error)

    def _end_all(self, reason: EndReason, error: ErrorInfo | None) -> None:
        for track in list(self._tracks.values()):
            self._end(track, reason, error)

    def _end(self, track: Track, reason: EndReason, error: ErrorInfo | None = None) -> None:
        """Report the end of a track, once."""
        track.over = True
        if track.seeking is not None and not track.seeking.done():
            track.seeking.set_result(None)
        self._tracks.pop(track.command.playback, None)
        if self._main is track:
            self._main = None
        if self._next is track:
            self._next = None
        frames_sent = track.figures(self._sound.playback).frames_sent
        self._news.ended(track, reason, error, frames_sent=frames_sent)

    def _track(self, playback: PlaybackId) -> Track:
        try:
            return self._tracks[playback]
        except KeyError:
            raise SourceError(ErrorCode.NO_SUCH_TRACK, "the track does not play any more") from None
