"""How a worker is told what a call plays, and how another one goes on with it.

Between `Relaying.depart` and `Relaying.go_on` there is no worker: what is wanted then changes what is known
here, and holds from the first sound on. What is heard goes on first, and what is to follow it is sent once
that is there, or over; see `voicepool._playing.snapshot`.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from voicepool._playing.line import Line, described
from voicepool._playing.playback import EndReason, Playback
from voicepool._playing.roster import Roster
from voicepool._playing.snapshot import Snapshot, is_live, lineup_of, options_again, snapshot_of
from voicepool._playing.suspicion import Suspicion
from voicepool._process.link import Link, Request
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.errors import (
    FilterRefusedError,
    SupersededError,
    VoicePoolError,
    WorkerError,
    WorkerLostError,
)
from voicepool.ipc import commands
from voicepool.ipc.commands import TrackOptions, TrackRole
from voicepool.ipc.events import Done, MediaInfo, TrackPlace, TrackReady
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.ipc.sources import StationSource
from voicepool.track import Track

__all__ = ["Adopted", "Relaying", "Spawn"]

_LOGGER: Final = logging.getLogger("voicepool.player")


class Spawn(Protocol):
    """Starts a task."""

    def __call__(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Start one."""


class Adopted(NamedTuple):
    """What a worker was told of before it held the call.

    Attributes
    ----------
    request
        The `Play` it was told by.
    info
        What it said of the source.
    command
        How it was told.
    """

    request: Request[TrackReady]
    info: MediaInfo
    command: commands.Play


class Relaying(abc.ABC):
    """The half of a `voicepool.player.Player` that is about workers.

    Parameters
    ----------
    call, config, place, spawn, now, suspicion
        As for `Player`.

    Attributes
    ----------
    roster
        The playbacks that have not ended.
    line
        To the worker.
    """

    def __init__(
        self,
        call: CallId,
        config: PoolConfig,
        *,
        place: str,
        spawn: Spawn,
        now: Callable[[], float] = time.monotonic,
        suspicion: Suspicion,
    ) -> None:
        self.spawn: Final = spawn
        self.now: Final = now
        self.line: Final = Line(call, config, place=place, suspicion=suspicion, now=now)
        self.roster: Final = Roster(self._make_track, now)
        self._volume = 1.0
        self._encoding: commands.Encoding | None = None
        self._front: Playback | None = None
        """What is heard first at a worker that goes on; what is to follow it is sent after it."""

    @abc.abstractmethod
    async def stop_one(self, playback: Playback, fade_out_s: float = 0.0) -> None:
        """End one playback."""

    @abc.abstractmethod
    def cancel(
        self, playback: Playback, error: VoicePoolError | None = None, *, quietly: bool = False
    ) -> None:
        """End a playback that the worker does not know to be over, without waiting for it."""

    @abc.abstractmethod
    def _end(
        self,
        playback: Playback,
        reason: EndReason,
        error: VoicePoolError | None = None,
        *,
        quietly: bool = False,
    ) -> None:
        """Take note that a playback is over."""

    @property
    def station(self) -> str | None:
        """Name of the station that is its main track; None if that is something else."""
        main = self.roster.main
        source = None if main is None else described(main.source, self.line.config)[0]
        return source.station if isinstance(source, StationSource) else None

    def snapshot(self) -> Snapshot:
        """Return all that another worker needs to go on from here."""
        return snapshot_of(
            self.roster.playbacks,
            self.line,
            volume=self._volume,
            paused=self.roster.held,
            encoding=self._encoding,
            now=self.now(),
        )

    # Another worker.

    def depart(self, since_s: float = 0.0) -> bool:
        """Take note that there is no worker to send sound, and that another will go on.

        Parameters
        ----------
        since_s
            How long ago the last sound left, if that is known better than by this call.

        Returns
        -------
        bool
            Whether a source was just being opened.
        """
        opening = any(
            each.request is not None and not each.present.is_set() for each in self.roster.playbacks
        )
        self.line.leave()
        self.roster.on_interrupted(since_s)
        self._front = None
        for playback in self.roster.playbacks:
            if playback.request is not None:
                playback.request.fail(WorkerLostError("the call goes on at another worker"))
            playback.depart(self.now())
            if (suspend := getattr(playback.source, "suspend", None)) is not None and playback.sent:
                suspend(self.line.place)
        for playback in self.roster.playbacks:
            if playback.stopping:
                self._end(playback, EndReason.STOPPED)
            elif playback.skipped:
                self._end(playback, EndReason.REPLACED)
        self._end_overtaken()
        return opening

    def go_on(self, link: Link, adopted: Mapping[PlaybackId, Adopted] | None = None) -> None:
        """Have another worker go on with all there is.

        Parameters
        ----------
        link
            To that worker, which knows the call.
        adopted
            What it has been told of already.

        Raises
        ------
        WorkerError
            It cannot be reached.
        """
        self.line.use(link)
        self.roster.catch_up()
        if self._encoding is not None:
            self.line.set_encoding(self._encoding)
        for ident, prepared in (adopted or {}).items():
            self._adopt(ident, prepared)
        self._end_overtaken()
        lineup = lineup_of(self.roster.playbacks)
        self.tell_state(again=adopted is not None)
        self._front = lineup.front
        if self._front is not None and self._front.request is None:
            self._send_again(self._front)
        for playback in lineup.beside:
            if playback.request is None:
                self._send_again(playback)
        self._let_follow()

    def tell_state(self, *, again: bool = True) -> None:
        """Tell the worker what concerns all that it plays; `again` if it may know something else."""
        if again or self._volume != 1.0:
            self.line.set_volume(self._volume)
        # Before what is to be played: a main track that is not held goes on with all.
        if again or self.roster.holds:
            self.line.hold(paused=self.roster.holds)

    def take_places(self, places: Iterable[TrackPlace]) -> None:
        """Take in where the worker that was left has come to, except of what was sought since."""
        now = self.now()
        for place in places:
            playback = self.roster.get(place.playback)
            if playback is not None and playback.left_at_s == playback.position.at(now):
                playback.position.move(place.position_s, now)
                playback.position.repeats_left = place.repeats

    def places(self) -> list[TrackPlace]:
        """Return where each track goes on that has a place and was heard, or sought."""
        now = self.now()
        return [
            TrackPlace(
                playback=each.ident,
                position_s=each.position.at(now),
                repeats=each.position.repeats_left,
            )
            for each in self.roster.playbacks
            if (each.started or each.position.at(now) != each.settings.first_s)
            and each.resolving is None
            and not is_live(each, described(each.source, self.line.config)[0])
        ]

    # How it is done.

    def _may_send(self, playback: Playback) -> bool:
        """Tell whether the worker may be asked for a playback now, or is so later."""
        # A main one overtakes the front one, which nobody hears yet.
        return not self.line.away and (playback.role is not TrackRole.NEXT or self._front is None)

    def _send(self, playback: Playback, options: TrackOptions | None = None) -> None:
        playback.request = self.line.play(
            playback, volume=self._volume, paused=playback.paused, options=options
        )
        playback.sent = True

    def _send_again(self, playback: Playback) -> None:
        """Have a worker go on with a playback, or begin what was wanted while there was none."""
        if playback.sent and getattr(playback.source, "exhausted", False):
            self._end(playback, EndReason.FINISHED)
            return
        try:
            self.line.check(playback.source)
            source, _ = described(playback.source, self.line.config)
            self._send(playback, options_again(playback, source, self.now()))
        except WorkerError:
            raise
        except VoicePoolError as error:
            self._end(playback, EndReason.FAILED, error)
            return
        self.roster.track_of(playback).on_sent()
        assert playback.request is not None
        self._watch(playback, self._await_opening(playback, playback.request))

    def _let_follow(self) -> None:
        """Send what was held back, once the front one is there, or over."""
        front = self._front
        if not self.line.up or (front is not None and not front.present.is_set()):
            return
        self._front = None
        lineup = lineup_of(self.roster.playbacks)
        # If the front one is over, one from behind has its place.
        front_now = () if lineup.front is None else (lineup.front,)
        for playback in (*front_now, *lineup.behind):
            if playback.request is None and not playback.over.is_set():
                self._send_again(playback)

    def _end_overtaken(self) -> None:
        """End what no worker knows and would be told only to be replaced."""
        for playback in lineup_of(self.roster.playbacks).overtaken:
            if playback.request is None:
                self._end(playback, EndReason.REPLACED)

    def _adopt(self, ident: PlaybackId, prepared: Adopted) -> None:
        """Take over what a worker was told of before it held the call."""
        playback = self.roster.get(ident)
        if playback is None:
            self.line.stop(ident).abandon()
            return
        playback.request, playback.sent = prepared.request, True
        track = self.roster.track_of(playback)
        told = prepared.command.options
        track.on_sent(told.volume)
        self.line.adopt(playback)
        if _sound_of(told) == _sound_of(playback.options):
            playback.open(prepared.info)
            self.roster.on_ready(playback)
            track.tell_volume()
        else:
            change = self.line.change(ident, playback.options)
            self._watch(playback, self._await_change(playback, prepared, change))

    async def _await_change(self, playback: Playback, prepared: Adopted, change: Request[Done]) -> None:
        """Wait until a worker plays it as was wanted after it had been told of it."""
        wanted = playback.options
        try:
            if not await self.line.carried_out(change):
                return
        except FilterRefusedError as error:
            playback.fall_back(error, self.now())
        except VoicePoolError as error:
            label = playback.source.label
            _LOGGER.warning(
                "%s: %s is not played as it was wanted: %s",
                self.line.place,
                label,
                error,
                extra=about(place=self.line.place),
            )
        if playback.request is prepared.request and not playback.over.is_set():
            track = self.roster.track_of(playback)
            track.on_sent(wanted.volume)
            playback.open(prepared.info)
            self.roster.on_ready(playback)
            track.tell_volume()
            if playback is self._front:
                self._let_follow()

    def _watch(self, playback: Playback, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self.spawn(work, name="open")
        # One that is cancelled before its first step never enters the work.
        task.add_done_callback(lambda task: self.cancel(playback) if task.cancelled() else None)
        return task

    async def _fail(self, playback: Playback, failure: VoicePoolError) -> None:
        """End a playback that could not even begin, once whoever began it has taken note of it."""
        if isinstance(failure, WorkerError):
            self.cancel(playback, failure)
        else:
            self._end(playback, EndReason.FAILED, failure)

    async def _await_opening(self, playback: Playback, request: Request[TrackReady]) -> None:
        try:
            await request.answer()
        except VoicePoolError as error:
            if playback.request is not request:
                # Another worker is asked for it, or will be.
                return
            self._on_not_opened(playback, error)

    def _on_not_opened(self, playback: Playback, error: VoicePoolError) -> None:
        match error:
            case SupersededError():
                # A newer play or stop overtook it, which is a normal end.
                self._end(playback, EndReason.REPLACED)
            case WorkerLostError() if not self.line.gone:
                # Its worker is gone, which the connection is about to learn.
                return
            case WorkerError():
                self.cancel(playback, error)
            case FilterRefusedError() if playback.fall_back(error, self.now()):
                playback.request = None
                self._send_again(playback)
            case _:
                self._end(playback, EndReason.FAILED, error)

    def _make_track(self, playback: Playback) -> Track:
        return Track(playback, self.line, now=self.now, stop=self.stop_one)


def _sound_of(options: TrackOptions) -> tuple[float, str | None, float | None]:
    return options.speed, options.filters, options.loudness_lufs
