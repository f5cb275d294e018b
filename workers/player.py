"""What one call plays: opens sources, hands them to the encoder threads, and the result to the pacing thread.

All methods run on the control loop. The two threads report back through `call_soon_threadsafe` only.
A track that replaces another takes over at the moment it is ready, so nothing falls silent in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from voicepool.ipc.commands import Play, WorkerSettings
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallStats, EndReason, Event, MediaInfo, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, Mark
from voicepool.workers.audio.opening import Opener, wire_info
from voicepool.workers.audio.opus import Encoder, OpusPacketDecoder
from voicepool.workers.audio.playback import Playback
from voicepool.workers.errors import SourceError
from voicepool.workers.pacing.lane import Ended, Lane, silent_tail
from voicepool.workers.pacing.loop import Pacer

__all__ = ["Player", "Studio"]

LOUDEST: Final = 1_000.0
"""Any gain above it (+60 dB) is taken for it: all is clipped long before, and float32 must not overflow."""


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
    """

    def __init__(
        self,
        call: CallId,
        studio: Studio,
        *,
        report: Callable[[Event], None],
        on_failure: Callable[[Exception], object],
    ) -> None:
        self._call = call
        self._studio = studio
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._lane = Lane(lambda error: self._loop.call_soon_threadsafe(on_failure, error))
        self._current: _Track | None = None
        self._superseded: asyncio.Future[None] | None = None
        self._volume = 1.0
        self._paused = False
        self._start_paused = False
        self._bound = False

    # The transport below.

    def bind(self, seal: Callable[[bytes, bytes], bytes], send: Callable[[bytes], object], ssrc: int) -> None:
        """Send through this transport; what plays goes on."""
        self._studio.pacer.remove(self._lane)
        self._lane.bind(seal, send, ssrc)
        self._bound = True
        self._run_lane()

    def unbind(self) -> None:
        """Send nothing until the next `bind`; what plays is held."""
        self._bound = False
        self._studio.pacer.remove(self._lane)

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
        superseded = self._superseded = self._loop.create_future()
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
        self._superseded = None
        track = preparing.result()
        self._take_over(track)
        return track.info

    def stop(self) -> None:
        """End what plays or is being opened."""
        self._give_up_opening()
        self._fall_silent()
        self._end_current(EndReason.STOPPED)

    def pause(self) -> None:
        """Hold what plays, after five frames of silence."""
        self._paused = self._start_paused = True
        self._fall_silent()

    def resume(self) -> None:
        """Go on with what is held."""
        self._paused = self._start_paused = False
        self._run_lane()

    def set_volume(self, volume: float) -> None:
        """Use another linear gain from the next frame to be encoded."""
        self._volume = min(volume, LOUDEST)
        if self._current is not None:
            self._current.playback.gain = self._volume

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
            position_frames=current.playback.frames_sent if current else 0,
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
            gain=command.volume,
            end=closing,
            primed=on_primed,
        )
        self._studio.encoders.submit(playback)
        try:
            await primed
        except asyncio.CancelledError:
            self._dismiss(playback)
            raise
        if playback.error is not None and not playback.frames_encoded:
            error = playback.error
            raise SourceError(error.code, error.text, **error.data)
        return _Track(command.playback, playback, info)

    def _take_over(self, track: _Track) -> None:
        self._paused = self._start_paused
        track.playback.gain = self._volume
        if self._paused:
            self._fall_silent()
        before, self._current = self._current, track
        self._run_lane()
        self._report_end(before, EndReason.REPLACED)

    async def _give_up(self, preparing: asyncio.Task[_Track]) -> None:
        preparing.cancel()
        await asyncio.wait({preparing})
        if not preparing.cancelled() and preparing.exception() is None:
            self._dismiss(preparing.result().playback)

    def _run_lane(self) -> None:
        if self._current is None or self._paused or not self._bound:
            return
        self._studio.pacer.switch(self._lane, self._current.playback.ring)
        self._studio.encoders.nudge(self._current.playback)

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
        if self._superseded is not None:
            _settle(self._superseded)
        self._superseded = None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
