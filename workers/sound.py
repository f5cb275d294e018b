"""What one call has of the encoder threads: a playback and its encoder, made for the first track."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from voicepool.ipc.commands import Encoding, WorkerSettings
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.arrivals import Arrival
from voicepool.workers.audio.deck import Deck
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.frame import CHANNELS, FRAME_NS, FRAME_SAMPLES
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.audio.opus_encoder import Ceiling, Encoder
from voicepool.workers.audio.playback import Playback
from voicepool.workers.errors import SourceError
from voicepool.workers.nobody import tell_nobody
from voicepool.workers.pacing.lane import Ended, Lane, silent_tail
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.settling import settle
from voicepool.workers.sourcing import Sourcing

__all__ = ["Sound", "Studio"]


@dataclass(frozen=True, slots=True)
class Studio:
    """What all players of a worker share."""

    settings: WorkerSettings
    sourcing: Sourcing
    encoders: EncoderThreads
    pacer: Pacer
    ceiling: Ceiling = field(default_factory=Ceiling)
    """Of the complexity of all encoders."""


class Sound:
    """One call's playback, and what is wanted of it while there is none. On the control loop.

    Parameters
    ----------
    studio
        The worker's threads and settings.
    lane
        Where the frames go.
    on_silent
        Told when the silence after the last track has been sent.
    on_stuck
        Told of times in which nothing could be sent.
    """

    def __init__(
        self,
        studio: Studio,
        lane: Lane,
        *,
        on_silent: Callable[[], object],
        on_stuck: Callable[[Stuck], object],
    ) -> None:
        self._studio = studio
        self._lane = lane
        self._on_silent = on_silent
        self._on_stuck = on_stuck
        self._loop = asyncio.get_running_loop()
        self._volume = 1.0
        settings = studio.settings
        self._encoding = Encoding(bitrate_bps=settings.bitrate_bps, complexity=settings.complexity)
        self._encoder: Encoder | None = None
        self._closed = False
        self.playback: Playback | None = None
        """None until something is played, and after it has failed."""

    @property
    def ahead_ns(self) -> int:
        """How much waits to be sent, in nanoseconds; from any thread, right to a frame or two."""
        return 0 if self.playback is None else self.playback.program.frames.frames_waiting * FRAME_NS

    @property
    def is_heard(self) -> bool:
        """Whether what the playback makes is being sent."""
        return self._lane.active and self.playback is not None and self._lane.queue is self.playback.ring

    def send(self) -> None:
        """Send what the playback makes from now on."""
        if self.playback is not None:
            self._studio.pacer.switch(self._lane, self.playback.ring)
            self._studio.encoders.nudge(self.playback)

    def wish(self, wish: Callable[[Deck], object]) -> None:
        """Have something changed as soon as it can be heard; without a playback there is nothing."""
        if self.playback is not None:
            self.playback.wish(wish)
            self.hurry()

    def make_anew(self) -> None:
        """Make again what is not sent yet: for a decoder that has heard something else, or nothing, since."""
        self.wish(lambda _: None)

    def hurry(self) -> None:
        """Have the encoder threads look at it soon."""
        if self.playback is not None:
            self._studio.encoders.hurry(self.playback)

    def set_volume(self, volume: float) -> None:
        """Use another linear gain for all that plays."""
        self._volume = min(volume, LOUDEST)
        if self.playback is not None and self.playback.set_gain(self._volume):
            self.hurry()

    def set_encoding(self, encoding: Encoding) -> None:
        """Encode what is made from now on like this."""
        self._encoding = encoding
        encoder = self._encoder
        if encoder is not None:
            self.wish(lambda _: _apply(encoding, encoder))

    async def arrive(self, feed: TrackFeed, enter: Callable[[Deck], object]) -> None:
        """Put a feed into the deck; return when it can be heard.

        Parameters
        ----------
        feed
            Owned from now on, and closed if this raises.
        enter
            Puts it there.

        Raises
        ------
        SourceError
            There is nothing to be heard but this.
        """
        playback = self._require_playback(feed)
        ready: asyncio.Future[ErrorInfo | None] = self._loop.create_future()
        arrival = Arrival(
            feed,
            enter,
            on_ready=lambda: self._loop.call_soon_threadsafe(settle, ready, None),
            on_refused=lambda error: self._loop.call_soon_threadsafe(settle, ready, error),
        )
        playback.arrive(arrival)
        self._studio.encoders.hurry(playback)
        try:
            error = await ready
        except asyncio.CancelledError:
            arrival.cancelled = True
            self._studio.encoders.hurry(playback)
            raise
        if error is not None:
            raise SourceError(error.code, error.text, **error.data)

    def drop(self) -> None:
        """Have the encoder threads close the playback; the next track gets another."""
        playback, self.playback, self._encoder = self.playback, None, None
        if playback is not None:
            playback.cancelled = True
            self._studio.encoders.hurry(playback)

    def close(self) -> None:
        """Drop the playback, and make none for those that are on their way."""
        self._closed = True
        self.drop()
        self._on_silent = self._on_stuck = tell_nobody

    def _require_playback(self, feed: TrackFeed) -> Playback:
        if self._closed:
            feed.close()
            raise SourceError(ErrorCode.SUPERSEDED, "the call was closed before this source was ready")
        if self.playback is None:
            try:
                self.playback = self._make()
            except BaseException:
                feed.close()
                raise
            self._studio.encoders.submit(self.playback)
        return self.playback

    def _make(self) -> Playback:
        buffer = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
        self._encoder = encoder = Encoder(complexity=self._encoding.complexity, ceiling=self._studio.ceiling)
        try:
            _apply(self._encoding, encoder)
            encoder.bind(buffer)
        except BaseException:
            self._encoder = None
            encoder.close()
            raise
        return Playback(
            encoder=encoder,
            buffer=buffer,
            outlet=self._lane,
            capacity_frames=self._studio.settings.ring_frames,
            gain=self._volume,
            end=lambda: silent_tail(Ended(lambda: self._loop.call_soon_threadsafe(self._on_silent))),
            on_stuck=lambda stuck: self._loop.call_soon_threadsafe(self._on_stuck, stuck),
        )


def _apply(encoding: Encoding, encoder: Encoder) -> None:
    encoder.bitrate_bps = encoding.bitrate_bps
    encoder.complexity = encoding.complexity
    encoder.fec = encoding.fec
    encoder.packet_loss_percent = encoding.expected_loss_percent
    encoder.dtx = encoding.dtx
    encoder.forced_channels = 1 if encoding.mono else None
    encoder.signal = "voice" if encoding.mono else "auto"
