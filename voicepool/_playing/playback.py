"""What the bot knows of one playback: what was asked for, and what the worker has said of it so far.

::

    opening ── TrackReady ──> waiting ── TrackStarted ──> playing <── pause, resume ──> paused
       └──────────────────────────┴────────── TrackEnded ────┴──────────> over

Only `voicepool.player.Player` writes to it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from voicepool._playing.options import PlaySettings
from voicepool._playing.position import Hold, Position
from voicepool._playing.tempo import rate_of
from voicepool._process.link import Request
from voicepool.errors import VoicePoolError
from voicepool.ipc.commands import TrackOptions, TrackRole
from voicepool.ipc.events import MediaInfo, TrackReady
from voicepool.ipc.ids import PlaybackId, new_playback_id
from voicepool.source import AudioSource, Pushed

__all__ = ["EndReason", "Playback", "TrackInfo", "TrackState", "Watcher"]


class TrackState(enum.StrEnum):
    """Where a track stands."""

    OPENING = "opening"
    """Its source is being resolved or opened."""
    WAITING = "waiting"
    """It can be heard at once, and waits for its turn."""
    PLAYING = "playing"
    PAUSED = "paused"
    OVER = "over"


class EndReason(enum.StrEnum):
    """Why a track is over."""

    FINISHED = "finished"
    """It was heard to its end."""
    STOPPED = "stopped"
    """The bot stopped it, or left the call."""
    REPLACED = "replaced"
    """Another track took its place."""
    FAILED = "failed"
    """It could not be played, broke off, or the call did."""
    WORKER_LOST = "worker lost"
    """The worker process that played it is gone, or does not answer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrackInfo:
    """What is known of a source; what its description says comes before what is embedded in it.

    Attributes
    ----------
    title, artist
        None if not known. Of a station they are those of what is heard now.
    duration_s
        Seconds; None if not known, and of a broadcast.
    tags
        What else is embedded, names in lower case.
    codec, container, sample_rate_hz, channels
        Of the audio in it.
    live
        Whether it is a stream without a length, which cannot seek.
    passthrough
        Whether its Opus packets can be sent as they are.
    """

    title: str | None = None
    artist: str | None = None
    duration_s: float | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    codec: str = ""
    container: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    live: bool = False
    passthrough: bool = False


class Playback:
    """One source that is played once.

    Parameters
    ----------
    source
        What is played.
    settings
        How.
    role
        What it does to those that play.
    duck_db
        By how much an overlay lets the others sink.
    queued
        Whether it comes from the queue.

    Attributes
    ----------
    ident
        Its name on the wire.
    options
        How it is played now; what is changed later is changed here.
    position
        Where it is.
    info
        What is known of it; None while it is being opened.
    request
        The `Play` on its way; None before it was sent.
    started
        Whether it has been heard.
    settled
        Set once it is ready, or over.
    over
        Set once it has ended.
    reason, error
        Why; None before, and the error None unless it failed.
    skipped_packets
        Packets of the source that could not be decoded; known when it is over.
    watchers
        How many wait for its end, and so learn of a failure.
    resolving
        What finds out what is to be played, while it does.
    changing
        Held while a change of `options` is under way.
    sent
        Whether a worker was ever asked for it.
    present
        Set while it is ready at the worker that holds the call, and once it is over.
    stopping, skipped
        Whether the worker was asked to end it, or to let another take its place.
    sought_s
        Where it was asked to go, until it is there.
    asked
        How the worker was asked to play it, until it does.
    fallback
        How it was played before filters that no worker has seen yet; None when all of them have been.
    refusal
        Why those filters were refused.
    left_at_s
        Where it was when its worker was lost or left.
    stuck
        Whether it waits for its source, as far as was told.
    """

    def __init__(
        self,
        source: AudioSource | Pushed,
        settings: PlaySettings,
        *,
        role: TrackRole,
        duck_db: float = 0.0,
        queued: bool = False,
    ) -> None:
        self.ident: Final[PlaybackId] = new_playback_id()
        self.source = source
        self.settings: Final = settings
        self.options: TrackOptions = settings.track
        self.role = role
        self.duck_db: Final = duck_db
        self.queued: Final = queued
        self.position: Final = Position(
            start_s=settings.track.start_s,
            end_s=settings.track.end_s,
            repeats=settings.track.repeats,
            first_s=settings.first_s,
            speed=rate_of(settings.track),
        )
        self.info: TrackInfo | None = None
        self.request: Request[TrackReady] | None = None
        self.resolving: asyncio.Task[None] | None = None
        self.started = False
        self.paused = False
        self.settled: Final = asyncio.Event()
        self.over: Final = asyncio.Event()
        self.reason: EndReason | None = None
        self.error: VoicePoolError | None = None
        self.skipped_packets = 0
        self.watchers = 0
        self.changing: Final = asyncio.Lock()
        self.sent = False
        self.present: Final = asyncio.Event()
        self.stopping = False
        self.skipped = False
        self.sought_s: float | None = None
        self.asked: TrackOptions | None = None
        self.fallback: TrackOptions | None = None
        self.refusal: VoicePoolError | None = None
        self.left_at_s: float | None = None
        self.stuck = False

    @property
    def state(self) -> TrackState:
        """Where it stands."""
        if self.over.is_set():
            return TrackState.OVER
        if self.info is None:
            return TrackState.OPENING
        if not self.started:
            return TrackState.WAITING
        return TrackState.PAUSED if self.paused else TrackState.PLAYING

    @property
    def skips_gaps(self) -> bool:
        """Whether it goes on through a time in which the call could not send."""
        return self.settings.on_gap == "skip"

    def open(self, media: MediaInfo) -> None:
        """Take note that it is ready, and of what the source says of itself."""
        known = self.source
        duration_s: float | None = getattr(known, "duration_s", None)
        self.info = TrackInfo(
            title=getattr(known, "title", None) or media.title,
            artist=getattr(known, "artist", None) or media.artist,
            duration_s=media.duration_s if duration_s is None else duration_s,
            tags=dict(media.tags),
            codec=media.codec,
            container=media.container,
            sample_rate_hz=media.sample_rate_hz,
            channels=media.channels,
            live=media.live,
            passthrough=media.passthrough,
        )
        if self.position.end_s is None and not media.live:
            self.position.end_s = media.duration_s
        self.fallback = None
        self.present.set()
        self.settled.set()

    def start(self, place_s: float, now: float) -> None:
        """Take note that it is heard from now on."""
        self.started = True
        self.position.start(place_s, now)

    def pause(self, now: float, *, paused: bool) -> None:
        """Take note that it is held, or that it goes on."""
        self.paused = paused
        if paused:
            self.position.hold(Hold.PAUSED, now)
        else:
            self.position.release(Hold.PAUSED, now)

    def depart(self, now: float) -> None:
        """Take note that no worker plays it now. What one was asked to do with it counts as done."""
        self.present.clear()
        self.request = None
        sought_s, self.sought_s = self.sought_s, None
        self.left_at_s = None if sought_s is not None else self.position.at(now)
        if sought_s is not None:
            self.position.move(sought_s, now)
        asked, self.asked = self.asked, None
        if asked is not None:
            self.adopt(asked, now)

    def adopt(self, options: TrackOptions, now: float) -> None:
        """Be played like this from the next worker on, the volume left as it is."""
        before = self.options
        if options.filters != before.filters and options.filters is not None and self.fallback is None:
            self.fallback = before
        self.options = msgspec.structs.replace(options, volume=before.volume)
        self.position.set_speed(rate_of(options), now)

    def fall_back(self, refusal: VoicePoolError, now: float) -> bool:
        """Be played as before its last filters, which were refused; return whether there is such a way."""
        fallback, self.fallback = self.fallback, None
        if fallback is None:
            return False
        self.refusal = refusal
        self.options = msgspec.structs.replace(fallback, volume=self.options.volume)
        self.position.set_speed(rate_of(fallback), now)
        return True

    def end(self, reason: EndReason, error: VoicePoolError | None, now: float) -> None:
        """Take note that it is over; it stays where it was."""
        self.position.hold(Hold.OVER, now)
        self.reason, self.error = reason, error
        self.over.set()
        self.present.set()
        self.settled.set()


class Watcher(Protocol):
    """Who is told what happens to playbacks; it may begin others. See `voicepool._playing.queueing`."""

    def on_started(self, playback: Playback) -> None:
        """Take note that one is heard."""

    def on_ended(self, playback: Playback) -> None:
        """Take note that one is over."""

    def on_report(self) -> None:
        """Take note that positions are sure again."""

    def halt(self) -> None:
        """Begin nothing any more: the call has ended."""
