"""What one call plays: what the bot asks for, and what follows from what the threads report.

All methods run on the control loop. The two threads report back through `call_soon_threadsafe` only.
A track that replaces another takes over at the moment it is ready, so nothing falls silent in between.

A gap is the time from `unbind` to `bind`; of a call that was up elsewhere, from `expect_transport` on. A
track with ``on_gap="continue"`` goes on where it stopped. One with ``"skip"`` stays with the wall clock: once
there is another transport, it leaves out what would have been heard meanwhile, counted from when it took over
if that was within the gap, and without the bot's own pauses.

The end of the last track is reported when the silence after it has been sent, since a bot that is told may
leave at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections import deque
from collections.abc import Callable, Sequence

from voicepool.ipc.commands import ChangeTrack, Encoding, Play, Seek, StreamAudio, TrackRole
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallStats, EndReason, Event, MediaInfo, TrackPlace
from voicepool.ipc.ids import CallId, PlaybackId, StreamId
from voicepool.workers.audio.deck import Deck
from voicepool.workers.audio.frame import SAMPLE_RATE_HZ
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.catchup import CatchUp
from voicepool.workers.errors import SourceError
from voicepool.workers.handover import Handover
from voicepool.workers.lineup import Lineup
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
        # The pacing thread is in no call's context, and what it tells is followed by lines about this one.
        context = contextvars.copy_context()
        self._lane = Lane(lambda error: self._loop.call_soon_threadsafe(on_failure, error, context=context))
        self._sound = Sound(studio, self._lane, on_silent=self._on_silent, on_stuck=self._on_stuck)
        self._lineup = lineup = Lineup(self._news, self._sound)
        self._preparing = Preparing(studio.sourcing, self._sound, self, lineup)
        self._catch_up = CatchUp(
            self._sound,
            tracks=lineup.playing,
            waiting=lineup.waiting,
            on_done=self._run_lane,
            now_ns=now_ns,
        )
        self._handover = Handover(
            self._sound, lineup, self._preparing, self._catch_up, on_started=self.on_started
        )
        self._paused = False
        self._start_paused: dict[PlaybackId, bool] = {}
        """Of what is being opened: whether all is held once it takes over, if it is a main track."""
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

    def expect_transport(self) -> None:
        """Count from now on as a gap that there is none: the call was up elsewhere."""
        self._catch_up.in_gap = not self._bound
        self._catch_up.count()

    def unbind(self) -> None:
        """Send nothing until the next `bind`; what plays is held."""
        self._catch_up.in_gap = self._catch_up.in_gap or self._bound
        self._bound = False
        self._pacer.remove(self._lane)
        self._sound.make_anew()
        self._lineup.report_ended()
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
        is_first = not (self._lineup.tracks or self._preparing.is_busy)
        if command.role is TrackRole.MAIN or is_first:
            self.set_volume(command.volume)
        if is_first:
            # What goes on from elsewhere need not come with a main track, nor that come first.
            self._set_paused(paused=command.paused)
        self._start_paused[command.playback] = command.paused
        try:
            track = await self._preparing.prepare(command, attachments)
            self._take_over(track)
        except SourceError:
            self._drop_if_broken()
            raise
        finally:
            self._start_paused.pop(command.playback, None)
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
        self._preparing.stop(playback)
        ending = [track for ident, track in self._lineup.tracks.items() if playback in (None, ident)]
        fades = fade_out_s > 0.0 and self._sound.is_heard
        if ending and len(ending) == len(self._lineup.tracks) and not fades:
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
                self._lineup.end(track, EndReason.STOPPED)

    def skip(self, playback: PlaybackId) -> None:
        """Have the track that waits take over from the main one, if that is the one named.

        Raises
        ------
        SourceError
            No track waits.
        """
        if self._lineup.main is None or self._lineup.main.command.playback != playback:
            return
        if self._lineup.next is None:
            raise SourceError(ErrorCode.NO_SUCH_TRACK, "no track waits that could take over")
        self._sound.wish(Deck.skip)
        self._lineup.take_main(self._lineup.next)

    async def seek(self, command: Seek) -> None:
        """Go on elsewhere in a track's source; the newest of several seeks counts.

        Raises
        ------
        SourceError
            It cannot be done, and the track plays on as it was; or the track is over.
        """
        track = self._lineup[command.playback]
        # The round that begins is the one that is heard: those before it are over.
        repeats = track.place_heard(self._sound.playback).repeats
        place = TrackPlace(playback=command.playback, position_s=command.position_s, repeats=repeats)
        await self._preparing.go_elsewhere(track, place)

    def change_track(self, command: ChangeTrack) -> None:
        """Play a track otherwise from now on.

        Raises
        ------
        SourceError
            A filter is refused, and nothing has changed; or the track is over.
        """
        track = self._lineup[command.playback]
        self._sound.wish(track.change(command))

    def set_encoding(self, encoding: Encoding) -> None:
        """Encode what is made from now on like this."""
        self._sound.set_encoding(encoding)

    def stream_audio(self, command: StreamAudio, attachments: list[bytes]) -> None:
        """Take a piece of pushed audio; one for a stream that nobody plays any more is dropped."""
        self._lineup.stream_audio(command, attachments)
        self._preparing.stream_audio(command, attachments)

    def pause(self) -> None:
        """Hold what plays, after five frames of silence."""
        self._set_paused(paused=True, also_later=True)
        self._fall_silent()
        self._lineup.report_ended()

    def resume(self) -> None:
        """Go on with what is held."""
        was_paused = self._paused
        self._set_paused(paused=False, also_later=True)
        if was_paused:
            self._catch_up.rejoin()
        self._run_lane()

    def set_volume(self, volume: float) -> None:
        """Use another linear gain, heard after three frames at most."""
        self._sound.set_volume(volume)

    async def align(self, places: Sequence[TrackPlace]) -> None:
        """Have what is prepared go on where it was left elsewhere; see `Handover.align`.

        What is heard here already is left alone.
        """
        if not self._bound:
            self.expect_transport()
            await self._handover.align(places)

    async def release(self) -> list[TrackPlace]:
        """Let go of all without silence, and without a word of ends: it goes on elsewhere.

        Nothing is sent any more when this begins to wait.

        Returns
        -------
        list
            Where each track has to go on, behind the last frame that was sent.
        """
        self._preparing.drop()
        self.unbind()
        places = [] if self._drop_if_broken() else await self._handover.places()
        self.close(silently=True)
        return places

    def close(self, error: ErrorInfo | None = None, *, silently: bool = False) -> None:
        """End for good, without silence; with an error, what plays has failed with it; or without a word."""
        self._preparing.drop()
        self.unbind()
        if silently:
            self._lineup.forget_all()
        self._lineup.end_all(EndReason.STOPPED if error is None else EndReason.FAILED, error)
        self._sound.close()
        self._lane.let_go()

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        lane = self._lane
        return CallStats(
            call=self._call,
            frames_sent=lane.frames,
            silence_sent=lane.silence,
            frames_nulled=lane.nulled,
            nulled_by_source=lane.nulled_by_source,
            nulled_by_encoder=lane.nulled_by_encoder,
            send_errors=lane.send_errors,
            ring_low=lane.take_ring_low(),
            tracks=[track.figures(self._sound.playback) for track in self._lineup.playing()],
        )

    def report_titles(self) -> None:
        """Tell the bot what streams have said of themselves since the last time."""
        self._news.titles(self._lineup.playing())

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
            self._lineup.begin(track)
            self._catch_up.count()
        if not track.started:
            track.started = True
            self._news.started(track)

    def on_ended(self, track: Track, error: ErrorInfo | None) -> None:
        """Take note that a track's last frame has been sent."""
        if track.over:
            return
        if track.early is not None:
            track.ended_early = True
            track.early.append(functools.partial(self.on_ended, track, error))
            return
        if track.ended_early or any(other is not track for other in self._lineup.tracks.values()):
            self._lineup.end_by_itself(track, error)
        else:
            self._lineup.end_later(track, error)

    def on_credit(self, stream: StreamId, credit_ms: int) -> None:
        """Tell the bot that it may push more. On any thread."""
        self._loop.call_soon_threadsafe(self._news.credit, stream, credit_ms)

    def _on_silent(self) -> None:
        """Take note that all there was to send has been sent."""
        if any(track.early is not None for track in self._lineup.tracks.values()):
            # What is about to be told of it comes first.
            self._loop.call_soon(self._on_silent)
            return
        self._lineup.report_ended()
        if self._drop_if_broken():
            return
        if self._lineup.tracks and any(self._lineup.playing()):
            # Something began in the moment.
            self._run_lane()
        elif self._sound.is_heard:
            # A resume or a bind, just when the end was on its way here, has put an empty ring into the wheel.
            self._pacer.remove(self._lane)
        self._sound.hurry()

    def _on_stuck(self, stuck: Stuck) -> None:
        self._news.stuck(self._lineup.playing(), stuck)

    # How it is done.

    def _take_over(self, track: Track) -> None:
        """Take note that a track is in the deck, and that the bot is about to be told so."""
        if not track.ended_early:
            self._lineup.tracks[track.command.playback] = track
        # After whoever called has reported that it is ready.
        self._loop.call_soon(track.tell_early)
        if track.unwanted:
            self._loop.call_soon(self.stop, track.command.playback)
        if track.command.role is TrackRole.MAIN:
            was_paused = self._paused
            if not track.unwanted:
                # Else nothing came of it, to the bot.
                self._set_paused(paused=self._start_paused[track.command.playback])
            if self._paused:
                self._fall_silent()
            self._lineup.take_main(track)
            if was_paused and not self._paused:
                self._catch_up.rejoin()
        elif track.waits:
            self._lineup.take_next(track)
        if track.ended_early:
            # There is nothing of it left to be sent.
            self._lineup.let_go(track)
        self._lineup.report_ended()
        self._catch_up.count()
        self._run_lane()

    def _set_paused(self, *, paused: bool, also_later: bool = False) -> None:
        if also_later:
            self._start_paused = dict.fromkeys(self._start_paused, paused)
        self._paused = self._catch_up.paused = paused
        self._catch_up.count()

    def _fall_silent(self) -> None:
        if self._sound.is_heard:
            self._pacer.switch(self._lane, deque(silent_tail()))
            self._sound.make_anew()

    def _run_lane(self) -> None:
        may_send = self._bound and not (self._paused or self._catch_up.is_busy)
        if may_send and self._lineup.is_ready:
            self._sound.send()

    def _drop_if_broken(self) -> bool:
        """Give up a playback that failed inside voicepool; return whether it did."""
        playback = self._sound.playback
        if playback is None or playback.error is None:
            return False
        self._pacer.remove(self._lane)
        self._lineup.end_all(EndReason.FAILED, playback.error)
        self._sound.drop()
        self._catch_up.forget()
        return True
