"""A call that goes on at another worker: where its tracks are when it leaves, and how they go on there.

The worker that lets go says where the next frame to be heard of each track would have come from. The one that
goes on has prepared the same tracks for an earlier place, since its own sources took time to open. So it
leaves out what was heard meanwhile: whole frames as after a gap, and of PCM the rest to the sample. Where
that is not possible (the place is behind it, or far ahead, or in another round) it seeks there.

Filters and tempo are started anew, and move the sound by up to 20 ms; all else goes on to the sample.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from voicepool.ipc.events import TrackPlace
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.frame import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.shape import pace
from voicepool.workers.catchup import CatchUp
from voicepool.workers.errors import SourceError
from voicepool.workers.lineup import Lineup
from voicepool.workers.preparing import Preparing
from voicepool.workers.settling import settle
from voicepool.workers.sound import Sound
from voicepool.workers.track import Track

__all__ = ["AHEAD_MAX_S", "Handover"]

_LOGGER: Final = logging.getLogger("voicepool.worker.call")

AHEAD_MAX_S: Final = 5.0
"""How far ahead a place is reached by leaving out what is before it: decoding that takes some 30 ms."""
_PATIENCE_S: Final = 1.0
"""How long the encoder threads may take to look up from their work before an estimate has to do."""
_T = TypeVar("_T")


class Handover:
    """Gives and takes the places of one call's tracks. On the control loop.

    Parameters
    ----------
    sound, lineup, preparing, catch_up
        Of the call.
    on_started
        Told of a track that has begun, if the news of it is still on its way.
    """

    def __init__(
        self,
        sound: Sound,
        lineup: Lineup,
        preparing: Preparing,
        catch_up: CatchUp,
        *,
        on_started: Callable[[Track], object],
    ) -> None:
        self._sound = sound
        self._lineup = lineup
        self._preparing = preparing
        self._catch_up = catch_up
        self._on_started = on_started
        self._loop = asyncio.get_running_loop()

    async def places(self) -> list[TrackPlace]:
        """Return where each track has to go on; while nothing is sent, and nothing will be.

        Those that have ended, and whose end is on its way to be told, are told of here.
        """
        found = await self._ask(_whereabouts)
        if found is None:
            found = self._estimate()
        places = []
        for track in list(self._lineup.tracks.values()):
            if track.deck not in found:
                entry = track.deck.entry
                self._lineup.end_by_itself(track, None if entry is None else entry.error)
                continue
            number, position_s = found[track.deck]
            if number and not track.started:
                self._on_started(track)
            places.append(track.place(number, position_s))
        return places

    async def align(self, places: Sequence[TrackPlace]) -> None:
        """Have tracks of which nothing was heard yet go on at other places; return when they are there.

        Until then nothing is sent. Tracks that are not known, or cannot go there, are left alone.
        """
        known = [(track, place) for place in places if (track := self._lineup.tracks.get(place.playback))]
        movable = [each for each in known if _has_places(each[0]) and not each[0].skipping]
        await asyncio.gather(*(self._align(track, place) for track, place in movable))

    async def _align(self, track: Track, place: TrackPlace) -> None:
        track.skipping = True
        try:
            begins_s: float | None = place.position_s
            frames = await self._ask(lambda _: _approach(track, place))
            if frames is None:
                await self._preparing.go_elsewhere(track, place, joins=True)
            elif frames and not await self._leave_out(track, frames):
                # Its source is slower than that; it begins where it has come to.
                begins_s = await self._ask(lambda _: _position_s(track.deck))
            if begins_s is not None:
                track.sourced = dataclasses.replace(track.sourced, begins_s=begins_s)
        except SourceError as error:
            _LOGGER.info("a track goes on near the place where it was: %s", error)
        finally:
            track.skipping = False
            self._catch_up.settle()

    async def _leave_out(self, track: Track, frames: int) -> bool:
        """Leave out frames; return whether the source had as many in good time, and the track did not end."""
        left_out: asyncio.Future[bool] = self._loop.create_future()
        if track.seeking is not None:
            settle(track.seeking, None)
        # With the track its playback may end, and with that whoever would tell of the frames.
        ended = track.seeking = self._loop.create_future()
        self._catch_up.leave_out(track, frames, left_out.set_result)
        try:
            await asyncio.wait({left_out, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if track.seeking is ended:
                track.seeking = None
        return left_out.done() and left_out.result()

    async def _ask(self, question: Callable[[Deck], _T]) -> _T | None:
        """Have the encoder threads answer, with nothing made ahead; None if they do not in good time."""
        answer: asyncio.Future[_T] = self._loop.create_future()

        def ask(deck: Deck) -> None:
            self._loop.call_soon_threadsafe(settle, answer, question(deck))

        if self._sound.playback is None:
            return None
        self._sound.wish(ask)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await answer
        except TimeoutError:
            _LOGGER.warning("the encoder threads did not answer within %g s", _PATIENCE_S)
            return None

    def _estimate(self) -> dict[DeckTrack, tuple[int, float]]:
        playback = self._sound.playback
        if playback is None:
            return {}
        tracks = [track.deck for track in self._lineup.tracks.values()]
        numbers = {track: playback.heard_frames(track) for track in tracks}
        return {track: (at, track.feed.source_position_s(at)) for track, at in numbers.items()}


def _whereabouts(deck: Deck) -> dict[DeckTrack, tuple[int, float]]:
    """Return of each track the number of its next frame, and where in its source that is. Encoder thread."""
    tracks = [each for each in (deck.main, deck.following, *deck.overlays) if each is not None]
    return {track: (track.position_frames, _position_s(track)) for track in tracks}


def _position_s(track: DeckTrack) -> float:
    return track.feed.source_position_s(track.position_frames)


def _approach(track: Track, place: TrackPlace) -> int | None:
    """Do of the way to a place what is less than a frame. Encoder thread.

    Returns
    -------
    int or None
        How many frames are left to be left out; None if it cannot be reached like that.
    """
    deck = track.deck
    number = deck.position_frames
    at_s = deck.feed.source_position_s(number)
    samples = _sample(place.position_s) - _sample(at_s)
    if track.place(number, at_s).repeats != place.repeats:
        return None
    if samples == 0:
        return 0
    # One that waits is taken back to the start of its feed whenever frames are made again.
    if not 0 < samples <= AHEAD_MAX_S * SAMPLE_RATE_HZ or track.waits:
        return None
    speed = pace(track.command.options)
    frames, rest = divmod(samples, FRAME_SAMPLES)
    if rest and speed == 1.0 and deck.feed.begin_late(FRAME_SAMPLES - rest):
        # The frame that fills up the rest is the first to be left out.
        skipped = deck.feed.skip(1)
        deck.frames_before -= skipped
        if deck.length_frames is not None:
            deck.length_frames += (FRAME_SAMPLES - rest) / FRAME_SAMPLES
        return frames + 1 - skipped
    return round(samples / FRAME_SAMPLES / speed)


def _has_places(track: Track) -> bool:
    """Return whether a track can go anywhere: what is live is heard as it comes."""
    return not (track.info.live or track.is_station or isinstance(track.command.source, StreamSource))


def _sample(position_s: float) -> int:
    return round(position_s * SAMPLE_RATE_HZ)
