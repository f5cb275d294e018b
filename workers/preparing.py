"""Tracks on their way into a call: opened, given up for newer ones, or sent elsewhere in their source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from voicepool.ipc.commands import Play, StreamAudio, TrackRole
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import TrackPlace
from voicepool.ipc.ids import PlaybackId, StreamId
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.frame import SAMPLE_RATE_HZ
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.errors import SourceError
from voicepool.workers.lineup import Lineup
from voicepool.workers.settling import settle
from voicepool.workers.sound import Sound
from voicepool.workers.sourcing import Loudness, Sourced, Sourcing
from voicepool.workers.track import Track

__all__ = ["Preparing", "TrackReports"]

_ENTER: Final[dict[TrackRole, Callable[[Deck, DeckTrack], object]]] = {
    TrackRole.MAIN: Deck.start,
    TrackRole.NEXT: Deck.follow,
    TrackRole.OVERLAY: Deck.overlay,
}


class TrackReports(Protocol):
    """Who is told what becomes of tracks; on the control loop."""

    def on_started(self, track: Track) -> None:
        """Take note that its first frame is about to be sent."""

    def on_ended(self, track: Track, error: ErrorInfo | None) -> None:
        """Take note that its last frame was sent, and of what it failed with."""

    def on_credit(self, stream: StreamId, credit_ms: int) -> None:
        """Take note that the bot may push more. On any thread."""


@dataclass(slots=True, eq=False)
class _Opening:
    """A track on its way.

    Attributes
    ----------
    superseded
        Done when a newer command came first.
    dropped
        Done when nothing more will come of it: the call goes.
    settled
        Done when it is ready, or will not be.
    turn
        Whoever takes what is in it decides: the deck that lets the track in, or who gives it up.
    unwanted
        Whether it was stopped.
    """

    command: Play
    superseded: asyncio.Future[None]
    dropped: asyncio.Future[None]
    settled: asyncio.Future[None]
    turn: list[None] = field(default_factory=lambda: [None])
    unwanted: bool = False
    sourced: Sourced | None = None
    deck: DeckTrack | None = None

    def take_turn(self) -> bool:
        """Decide what becomes of it, unless that is decided; from any thread."""
        try:
            self.turn.pop()
        except IndexError:
            return False
        return True


class _EarlyCredit:
    """Holds back what a pushed stream is granted until there is somebody to take what comes of it.

    Parameters
    ----------
    tell
        Told of each grant from `let_go` on, and of those before; on any thread.
    """

    def __init__(self, tell: Callable[[StreamId, int], object]) -> None:
        self._tell = tell
        self._held: list[tuple[StreamId, int]] | None = []

    def grant(self, stream: StreamId, credit_ms: int) -> None:
        """Take a grant; on any thread, but before `let_go` on the control loop alone."""
        if self._held is None:
            self._tell(stream, credit_ms)
        else:
            self._held.append((stream, credit_ms))

    def let_go(self) -> None:
        """Hold nothing back any more."""
        held, self._held = self._held or [], None
        for stream, credit_ms in held:
            self._tell(stream, credit_ms)


class Preparing:
    """The tracks of one call that are being opened. On the control loop.

    Parameters
    ----------
    sourcing
        What opens sources.
    sound
        Where tracks go.
    reports
        Who is told what becomes of them.
    lineup
        Where they will be.
    """

    def __init__(self, sourcing: Sourcing, sound: Sound, reports: TrackReports, lineup: Lineup) -> None:
        self._sourcing = sourcing
        self._sound = sound
        self._reports = reports
        self._lineup = lineup
        self._loop = asyncio.get_running_loop()
        self._opening: dict[PlaybackId, _Opening] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anything is being opened that was not given up."""
        return any(not opening.superseded.done() for opening in self._opening.values())

    async def prepare(self, command: Play, attachments: list[bytes]) -> Track:
        """Open a source and put it into the deck, in the role that the command says.

        A newer main track takes the place of one that is being opened, and so does a newer one to follow.

        Returns
        -------
        Track
            Once its first frames are encoded.

        Raises
        ------
        SourceError
            It cannot be played, or (``SUPERSEDED``) a newer command came first.
        """
        for before in self._opening.values():
            if before.command.role is command.role is not TrackRole.OVERLAY:
                settle(before.superseded, None)
        future = self._loop.create_future
        opening = self._opening[command.playback] = _Opening(command, future(), future(), future())
        preparing = self._loop.create_task(self._prepare(opening, attachments))
        given_up = opening.superseded
        try:
            await _first_of(preparing, given_up)
            if given_up.done() and not opening.take_turn():
                # It is in the deck, and what it takes the place of is cut: the newer command finds it there.
                self._silence(opening)
                given_up = opening.dropped
                await _first_of(preparing, given_up)
        except asyncio.CancelledError:
            await self._let_go(preparing)
            raise
        finally:
            self._opening.pop(command.playback, None)
            # Once whoever called has taken it over.
            self._loop.call_soon(settle, opening.settled, None)
        if given_up.done():
            await self._let_go(preparing)
            msg = "a newer play() or stop() came before this source was ready"
            raise SourceError(ErrorCode.SUPERSEDED, msg)
        track = preparing.result()
        track.unwanted = opening.unwanted
        return track

    def stop(self, playback: PlaybackId | None) -> None:
        """Give up what is being opened: one playback, or all.

        What has entered the deck already gets ready all the same, as a track that is `Track.unwanted`.
        """
        for ident, opening in self._opening.items():
            if playback in (None, ident):
                opening.unwanted = True
                if opening.superseded.done():
                    self._silence(opening)
                settle(opening.superseded, None)

    def drop(self) -> None:
        """Give up all that is being opened, for good."""
        for opening in self._opening.values():
            settle(opening.superseded, None)
            settle(opening.dropped, None)

    def stream_audio(self, command: StreamAudio, attachments: list[bytes]) -> None:
        """Take a piece of audio that is pushed before its track is ready."""
        for opening in self._opening.values():
            source, sourced = opening.command.source, opening.sourced
            is_it = isinstance(source, StreamSource) and source.stream == command.stream
            if is_it and sourced is not None and sourced.stream is not None:
                sourced.stream.push(attachments, ends=command.ends)

    async def go_elsewhere(self, track: Track, place: TrackPlace, *, joins: bool = False) -> None:
        """Go on at another place of a track's source; the newest of several wishes counts.

        Parameters
        ----------
        track
            Which.
        place
            Where its first frame is to come from.
        joins
            Whether that follows what was heard elsewhere, and is not to be faded in.

        Raises
        ------
        SourceError
            It cannot be done, and the track plays on as it was.
        """
        if track.seeking is not None:
            settle(track.seeking, None)
        overtaken = track.seeking = self._loop.create_future()
        moving = self._loop.create_task(self._go_elsewhere(track, place, joins=joins))
        try:
            await asyncio.wait({moving, overtaken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if track.seeking is overtaken:
                track.seeking = None
            if not moving.done():
                moving.cancel()
                await asyncio.wait({moving})
        if track.over:
            raise SourceError(ErrorCode.NO_SUCH_TRACK, "the track ended before the other place was open")
        if not moving.cancelled():
            moving.result()

    async def _prepare(self, opening: _Opening, attachments: list[bytes]) -> Track:
        command = opening.command
        options = command.options
        credit = _EarlyCredit(self._reports.on_credit)
        opening.sourced = sourced = await self._sourcing.source(
            command.source,
            options,
            attachments,
            on_credit=credit.grant,
            heard_in_ns=lambda: self._sound.ahead_ns,
        )
        # A stream grants when it is made. Its filters may take longer, and the bot does not wait for them.
        credit.let_go()
        loudness = Loudness.of(sourced.info, options.loudness_lufs)
        deck_track = DeckTrack(
            sourced.feed,
            volume=min(options.volume * loudness.gain, LOUDEST),
            duck=Duck(command.duck_db) if command.duck_db < 0.0 else None,
            fade_in_samples=round(options.fade_in_s * SAMPLE_RATE_HZ),
            fade_out_samples=round(options.fade_out_s * SAMPLE_RATE_HZ),
            crossfade_samples=round(command.crossfade_s * SAMPLE_RATE_HZ),
            length_frames=sourced.length_frames,
            on_started=lambda: self._loop.call_soon_threadsafe(self._reports.on_started, track),
            on_ended=lambda error: self._loop.call_soon_threadsafe(self._reports.on_ended, track, error),
        )
        command = msgspec.structs.replace(command, source=sourced.source)
        track = Track(command, attachments, sourced, deck_track, waits=command.role is TrackRole.NEXT)
        opening.deck = deck_track
        enter = _ENTER[command.role]

        def enter_deck(deck: Deck) -> None:
            if opening.take_turn():
                enter(deck, deck_track)
            else:
                sourced.feed.close()

        if track.waits:
            await self._until_it_can_follow(sourced)
        try:
            await self._sound.arrive(sourced.feed, enter_deck)
        except asyncio.CancelledError:
            # Nobody was told that it is ready, so nobody is to be told of its end.
            track.over = True
            self._sound.wish(lambda deck: deck.end(deck_track))
            raise
        return track

    async def _go_elsewhere(self, track: Track, place: TrackPlace, *, joins: bool) -> None:
        options = track.command.options
        sourced = await self._sourcing.source(
            track.command.source,
            msgspec.structs.replace(options, repeats=place.repeats),
            track.attachments,
            position_s=place.position_s,
            on_credit=self._reports.on_credit,
            heard_in_ns=lambda: self._sound.ahead_ns,
        )

        def enter(deck: Deck) -> None:
            deck.replace_feed(track.deck, sourced.feed, length_frames=sourced.length_frames, joins=joins)

        await self._sound.arrive(sourced.feed, enter)
        track.sourced = sourced
        now = track.command.options
        if now != options:
            # It was changed while the other place was being opened.
            measured_lufs = Loudness.of(sourced.info, now.loudness_lufs).measured_lufs
            self._sound.wish(lambda _: sourced.feed.shape(now.filters, now.speed, measured_lufs))

    async def _until_it_can_follow(self, sourced: Sourced) -> None:
        """Wait for the main track that is being opened: without one, who is to follow would begin at once."""
        try:
            while self._lineup.main is None:
                mains = [each for each in self._opening.values() if each.command.role is TrackRole.MAIN]
                if not mains:
                    return
                await asyncio.wait({each.settled for each in mains})
        except BaseException:
            sourced.feed.close()
            raise

    def _silence(self, opening: _Opening) -> None:
        deck_track = opening.deck
        if opening.unwanted and deck_track is not None:
            self._sound.wish(lambda deck: deck.end(deck_track))

    async def _let_go(self, preparing: asyncio.Task[Track]) -> None:
        preparing.cancel()
        await asyncio.wait({preparing})
        if not preparing.cancelled() and preparing.exception() is None:
            track = preparing.result()
            track.over = True
            self._sound.wish(lambda deck: deck.end(track.deck))


async def _first_of(*either: asyncio.Future[Any]) -> None:
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
