"""What a player knows of one track."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from voicepool.ipc.commands import ChangeTrack, Play
from voicepool.ipc.events import MediaInfo, TrackFigures, TrackPlace
from voicepool.ipc.sources import StationSource
from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.audio.gap import GapMeter
from voicepool.workers.audio.playback import Playback
from voicepool.workers.audio.shape import check_shape, pace
from voicepool.workers.sourcing import Loudness, Sourced

__all__ = ["Track"]


@dataclass(slots=True, eq=False)
class Track:
    """One track of a call, from when it is ready to when its end is reported.

    Attributes
    ----------
    command
        How it is played now: its options are kept up to date.
    attachments
        Of the command; needed again to go elsewhere in them.
    sourced
        What is open.
    deck
        Its place in the deck.
    waits
        Whether it has not begun: it follows the main one.
    missed
        How much of it was missed in a gap that it is to leave out.
    skipping
        Whether it is leaving that out, or is on its way to the place where it went on elsewhere.
    started
        Whether the bot was told that it is heard.
    stopping
        Whether it was asked to end, and is fading out.
    unwanted
        Whether it was stopped when it had entered the deck, and was not ready.
    over
        Whether its end was reported.
    seeking
        Settled when a newer seek overtakes the one under way.
    early
        What the threads have said of it before the bot was told that it is ready; None once it was.
    ended_early
        Whether its end is among that.
    """

    command: Play
    attachments: list[bytes]
    sourced: Sourced
    deck: DeckTrack
    waits: bool = False
    missed: GapMeter = field(default_factory=GapMeter)
    skipping: bool = False
    started: bool = False
    stopping: bool = False
    unwanted: bool = False
    over: bool = False
    seeking: asyncio.Future[None] | None = None
    early: list[Callable[[], object]] | None = field(default_factory=list)
    ended_early: bool = False

    @property
    def info(self) -> MediaInfo:
        """What the source says of itself."""
        return self.sourced.info

    @property
    def skips_gaps(self) -> bool:
        """Whether it leaves out what would have been heard in a gap."""
        return self.command.on_gap == "skip" and not self.is_station

    @property
    def is_station(self) -> bool:
        """Whether it is what other calls hear, too, at the same moment."""
        return isinstance(self.command.source, StationSource)

    def place_heard(self, playback: Playback | None) -> TrackPlace:
        """Return the place of the frame that is heard next."""
        number = 0 if self.waits or playback is None else playback.heard_frames(self.deck)
        return self.place(number, self.sourced.feed.source_position_s(number))

    def place(self, number: int, position_s: float) -> TrackPlace:
        """Return the place of a frame, from its number in the feed and its position in the source."""
        repeats = self._repeats_left(number, position_s)
        return TrackPlace(playback=self.command.playback, position_s=position_s, repeats=repeats)

    def _repeats_left(self, number: int, position_s: float) -> int | None:
        """Return how many rounds follow that of a frame; as at first, if its length is unknown."""
        options, duration_s, length = self.command.options, self.info.duration_s, self.deck.length_frames
        if not options.repeats or duration_s is None or length is None:
            return options.repeats
        end_s = duration_s if options.end_s is None else min(duration_s, options.end_s)
        round_s = end_s - options.start_s
        if round_s <= 0.0:
            return options.repeats
        left_s = (length - number) * pace(options) / FRAMES_PER_S
        round_left_s = end_s - position_s
        return min(options.repeats, max(0, round((left_s - round_left_s) / round_s)))

    def figures(self, playback: Playback | None) -> TrackFigures:
        """Return where it is, as the playback has it."""
        number = 0 if self.waits or playback is None else playback.heard_frames(self.deck)
        return TrackFigures(
            playback=self.command.playback,
            position_s=self.sourced.feed.source_position_s(number),
            frames_sent=max(0, self.deck.frames_before + number),
        )

    def tell_early(self) -> None:
        """Tell what the threads have said, now that the bot knows that it is ready."""
        early, self.early = self.early or (), None
        for report in early:
            report()

    def change(self, command: ChangeTrack) -> Callable[[Deck], object]:
        """Take note of how it is to be played from now on.

        Returns
        -------
        Callable
            What has it played like that, where the deck is.

        Raises
        ------
        SourceError
            A filter is refused, and nothing has changed.
        """
        shape = (command.filters, command.speed, command.loudness_lufs)
        before = self.command.options
        reshaped = shape != (before.filters, before.speed, before.loudness_lufs)
        if reshaped:
            check_shape(*shape)
        options = msgspec.structs.replace(
            before,
            volume=command.volume,
            filters=command.filters,
            speed=command.speed,
            loudness_lufs=command.loudness_lufs,
        )
        self.command = msgspec.structs.replace(self.command, options=options)

        def change(deck: Deck) -> None:
            loudness = Loudness.of(self.info, command.loudness_lufs)
            volume = min(command.volume * loudness.gain, LOUDEST)
            if volume != self.deck.volume:
                deck.set_volume(self.deck, volume)
            if reshaped:
                self.sourced.feed.shape(command.filters, command.speed, loudness.measured_lufs)
                deck.stretch(self.deck, pace(before) / pace(options))

        return change
