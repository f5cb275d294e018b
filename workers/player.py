"""What one call plays: opens sources, hands them to the encoder threads, and the result to the pacing thread.

All methods run on the control loop. The two threads report back through `call_soon_threadsafe` only.
A track that replaces another takes over at the moment it is ready, so nothing falls silent in between.

A gap is the time from `unbind` to `bind`. A track with ``on_gap="continue"`` goes on where it stopped. One
with ``"skip"`` stays with the wall clock: once there is another transport, it leaves out what would have been
heard meanwhile, counted from when it took over if that was within the gap, and without the bot's own pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from voicepool.ipc.commands import Play, WorkerSettings
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallStats, EndReason, Event, MediaInfo, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, Mark
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.audio.gap import GapMeter
from voicepool.workers.audio.opening import Opener, wire_info
from voicepool.workers.audio.opus import Encoder, OpusPacketDecoder
from voicepool.workers.audio.playback import LIVE_PATIENCE_NS, RECORDING_PATIENCE_NS, Playback
from voicepool.workers.errors import SourceError
from voicepool.workers.pacing.lane import Ended, Lane, silent_tail
from voicepool.workers.pacing.loop import Pacer

__all__ = ["Player", "Studio"]

NEAR_ENOUGH_FRAMES: Final = 5
"""Skipping takes time itself, some frames of which may be left for the next gap."""


@dataclass(frozen=True, slots=True)
class Studio:
    """What all players of a worker share."""

    settings: WorkerSettings
    opener: Opener
    encoders: EncoderThreads
    pacer: Pacer


@dataclass(slots=True)
class _Track:
    playback_id: PlaybackId
    playback: Playback
    info: MediaInfo
    skips_gaps: bool
    missed: GapMeter = field(default_factory=GapMeter)
    skipping: bool = False
    """Its ring belongs to the encoder threads until the skip is done."""


@dataclass(frozen=True, slots=True)
class _Opening:
    playback_id: PlaybackId
    superseded: asyncio.Future[None]


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
        self._studio = studio
        self._report = report
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._lane = Lane(lambda error: self._loop.call_soon_threadsafe(on_failure, error))
        self._current: _Track | None = None
        self._opening: _Opening | None = None
        self._volume = 1.0
        self._paused = False
        self._start_paused = False
        self._bound = False
        self._in_gap = False

    # The transport below.

    def bind(self, seal: Callable[[bytes, bytes], bytes], send: Callable[[bytes], object], ssrc: int) -> None:
        """Send through this transport; what plays goes on, or skips what was missed."""
        self._studio.pacer.remove(self._lane)
        self._lane.bind(seal, send, ssrc)
        self._bound, self._in_gap = True, False
        self._catch_up()
        self._run_lane()

    def unbind(self) -> None:
        """Send nothing until the next `bind`; what plays is held."""
        self._in_gap = self._in_gap or self._bound
        self._bound = False
        self._studio.pacer.remove(self._lane)
        self._count_missed()

    # What the bot asks for.

    async def play(self, command: Play, attachments: list[bytes]) -> MediaInfo:
        """Open a source and play it in place of what plays.

        Returns
        -------
        MediaInfo
            Once its first frames are encoded.

        Raises
        ------
        SourceError
            It cannot be played, or (``SUPERSEDED``) a newer command came first.
        """
        self._give_up_opening()
        self._start_paused = command.paused
        self.set_volume(command.volume)
        superseded = self._loop.create_future()
        self._opening = _Opening(command.playback, superseded)
        preparing = self._loop.create_task(self._prepare(command, attachments))
        try:
            await asyncio.wait({preparing, superseded}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._give_up(preparing)
            raise
        if superseded.done():
            await self._give_up(preparing)
            msg = "a newer play() or stop() came before this source was ready"
            raise SourceError(ErrorCode.SUPERSEDED, msg)
        self._opening = None
        track = preparing.result()
        self._take_over(track)
        return track.info

    def stop(self, playback: PlaybackId | None = None) -> None:
        """End what plays and what is being opened, or one playback alone if it is one of them.

        Parameters
        ----------
        playback
            By None, whatever there is. One that is over already leaves the others alone.
        """
        if playback is None or (self._opening is not None and playback == self._opening.playback_id):
            self._give_up_opening()
        if playback is None or (self._current is not None and playback == self._current.playback_id):
            self._fall_silent()
            self._end_current(EndReason.STOPPED)

    def pause(self) -> None:
        """Hold what plays, after five frames of silence."""
        self._paused = self._start_paused = True
        self._count_missed()
        self._fall_silent()

    def resume(self) -> None:
        """Go on with what is held."""
        self._paused = self._start_paused = False
        self._count_missed()
        self._run_lane()

    def set_volume(self, volume: float) -> None:
        """Use another linear gain, heard after three frames at most."""
        self._volume = min(volume, LOUDEST)
        if self._current is not None:
            self._apply_volume(self._current.playback)

    def _apply_volume(self, playback: Playback) -> None:
        if playback.set_gain(self._volume):
            self._studio.encoders.hurry(playback)

    def close(self, error: ErrorInfo | None = None) -> None:
        """End for good, without silence; with an error, what plays has failed with it."""
        self._give_up_opening()
        self.unbind()
        self._end_current(EndReason.STOPPED if error is None else EndReason.FAILED, error)

    def stats(self) -> CallStats:
        """Return the figures of this call."""
        lane, current = self._lane, self._current
        return CallStats(
            call=self._call,
            frames_sent=lane.frames,
            silence_sent=lane.silence,
            frames_nulled=lane.nulled,
            send_errors=lane.send_errors,
            ring_low=lane.take_ring_low(),
            position_frames=current.playback.position_frames if current else 0,
            playback=current.playback_id if current else None,
        )

    # How it is done.

    async def _prepare(self, command: Play, attachments: list[bytes]) -> _Track:
        settings = self._studio.settings
        source = await self._studio.opener.open(command.source, attachments)
        try:
            info = wire_info(source)
            buffer = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
            encoder = Encoder(bitrate_bps=settings.bitrate_bps, complexity=settings.complexity)
            encoder.bind(buffer)
        except BaseException:
            source.close()
            raise
        primed: asyncio.Future[None] = self._loop.create_future()

        def on_primed() -> None:
            self._loop.call_soon_threadsafe(_settle, primed)

        def closing() -> list[bytes | Mark]:
            return silent_tail(Ended(lambda: self._loop.call_soon_threadsafe(self._on_finished, playback)))

        playback = Playback(
            source=source,
            encoder=encoder,
            buffer=buffer,
            make_decoder=OpusPacketDecoder,
            outlet=self._lane,
            capacity_frames=settings.ring_frames,
            gain=min(command.volume, LOUDEST),
            end=closing,
            primed=on_primed,
            early_samples=encoder.lookahead_samples,
            skip_patience_ns=LIVE_PATIENCE_NS if info.duration_s is None else RECORDING_PATIENCE_NS,
        )
        self._studio.encoders.submit(playback)
        try:
            await primed
        except asyncio.CancelledError:
            self._dismiss(playback)
            raise
        if playback.error is not None and not playback.frames_encoded:
            error = playback.error
            self._dismiss(playback)
            raise SourceError(error.code, error.text, **error.data)
        return _Track(command.playback, playback, info, skips_gaps=command.on_gap == "skip")

    def _take_over(self, track: _Track) -> None:
        self._paused = self._start_paused
        self._apply_volume(track.playback)
        if self._paused:
            self._fall_silent()
        before, self._current = self._current, track
        self._count_missed()
        self._run_lane()
        self._report_end(before, EndReason.REPLACED)

    async def _give_up(self, preparing: asyncio.Task[_Track]) -> None:
        preparing.cancel()
        await asyncio.wait({preparing})
        if not preparing.cancelled() and preparing.exception() is None:
            self._dismiss(preparing.result().playback)

    def _run_lane(self) -> None:
        if self._current is None or self._current.skipping or self._paused or not self._bound:
            return
        self._studio.pacer.switch(self._lane, self._current.playback.ring)
        self._studio.encoders.nudge(self._current.playback)

    def _count_missed(self) -> None:
        """Begin or end the count of what the track misses, after anything that it depends on has changed."""
        track = self._current
        if track is not None and track.skips_gaps:
            missing = (self._in_gap or track.skipping) and not self._paused
            track.missed.run(missing=missing, now_ns=self._now_ns())

    def _catch_up(self) -> None:
        """Have the track leave out what it has missed; until that is done, nothing is sent of it."""
        track = self._current
        if track is None or track.skipping:
            return
        frames = track.missed.take_frames(self._now_ns())
        track.skipping = frames > 0
        self._count_missed()
        if track.skipping:
            playback = track.playback

            def on_done(caught_up: bool) -> None:  # noqa: FBT001  # the one thing it tells
                self._loop.call_soon_threadsafe(self._on_skipped, track, caught_up)

            playback.skip(frames, on_done)
            self._studio.encoders.nudge(playback)

    def _on_skipped(self, track: _Track, caught_up: bool) -> None:  # noqa: FBT001  # called by position
        track.skipping = False
        if track is not self._current:
            return
        if not caught_up:
            # It plays from where it has come to; there is no use in trying the same again after the next gap.
            track.missed.take_frames(self._now_ns())
        elif self._bound and track.missed.frames(self._now_ns()) > NEAR_ENOUGH_FRAMES:
            self._catch_up()
        self._count_missed()
        self._run_lane()

    def _fall_silent(self) -> None:
        if self._lane.active and self._current is not None and self._sends(self._current.playback):
            self._studio.pacer.switch(self._lane, deque(silent_tail()))

    def _sends(self, playback: Playback) -> bool:
        return self._lane.queue is playback.ring

    def _on_finished(self, playback: Playback) -> None:
        if self._sends(playback):
            # A resume or a bind, just when the end was on its way here, has put an empty ring into the wheel.
            self._studio.pacer.remove(self._lane)
        if self._current is not None and self._current.playback is playback:
            reason = EndReason.FINISHED if playback.error is None else EndReason.FAILED
            self._end_current(reason, playback.error)

    def _end_current(self, reason: EndReason, error: ErrorInfo | None = None) -> None:
        ended, self._current = self._current, None
        self._report_end(ended, reason, error)

    def _report_end(self, track: _Track | None, reason: EndReason, error: ErrorInfo | None = None) -> None:
        if track is None:
            return
        self._report(
            TrackEnded(
                call=self._call,
                playback=track.playback_id,
                reason=reason,
                frames_sent=track.playback.frames_sent,
                error=error,
                skipped_packets=track.playback.skipped_packets,
            )
        )
        self._dismiss(track.playback)

    def _dismiss(self, playback: Playback) -> None:
        playback.cancelled = True
        self._studio.encoders.nudge(playback)

    def _give_up_opening(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            _settle(opening.superseded)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
