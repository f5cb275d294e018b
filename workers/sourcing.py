"""From what `Play` names to a feed: whatever kind of source it is, at whatever place it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import Source, StationSource, StreamSource, UrlSource
from voicepool.workers.audio.assembling import OpenedTrack, wire_info
from voicepool.workers.audio.blocking import DaemonThreads
from voicepool.workers.audio.feed import Feed, FeedSource
from voicepool.workers.audio.filters import looks_far_ahead
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.gain import db_to_gain
from voicepool.workers.audio.loudness import loudness_gain_db
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.playback import PASSING_FRAMES
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.shape import check_shape, pace
from voicepool.workers.audio.shaping import ShapedFeed
from voicepool.workers.audio.station_feed import StationFeed
from voicepool.workers.audio.station_log import Title
from voicepool.workers.audio.station_sharing import Stations
from voicepool.workers.audio.station_tap import StationTap
from voicepool.workers.audio.streams import StreamReader
from voicepool.workers.audio.title_drain import TitleDrain
from voicepool.workers.errors import SourceError

__all__ = ["Loudness", "Sourced", "Sourcing"]

_TITLED: Final = "ogg"
"""The container of files that may change their title on the way, being several put end to end."""
_FILTERS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Loudness:
    """How a source is brought to a loudness: by what it says of itself, or else by measuring it.

    Attributes
    ----------
    gain
        Linear, to be part of the track's volume.
    measured_lufs
        What the feed brings it to while it plays; None leaves it.
    """

    gain: float = 1.0
    measured_lufs: float | None = None

    @classmethod
    def of(cls, info: MediaInfo, wanted_lufs: float | None) -> Self:
        """Return the way to a loudness; None leaves the source as it is."""
        if wanted_lufs is None:
            return cls()
        gain_db = loudness_gain_db(info.tags, wanted_lufs)
        return cls(measured_lufs=wanted_lufs) if gain_db is None else cls(gain=db_to_gain(gain_db))


@dataclass(frozen=True, slots=True)
class Sourced:
    """A source that is open, ready to be put into a deck.

    Attributes
    ----------
    feed
        Its frames, shaped as the options want it.
    info
        What it says of itself.
    source
        What to open for another place of it: of a resolver, what it found.
    begins_s
        Where in the source the first frame is, in seconds.
    length_frames
        How many frames it will have, in all rounds; None if that is unknown or endless.
    stream
        The reader to be given what the bot pushes.
    take_titles
        Returns what a stream has said since the last call of what is heard; None if it never does.
    """

    feed: ShapedFeed
    info: MediaInfo
    source: Source
    begins_s: float
    length_frames: float | None
    stream: StreamReader | None = None
    take_titles: Callable[[], Sequence[Title]] | None = None


class Sourcing:
    """Makes feeds for all calls of a worker.

    Parameters
    ----------
    opener, stations
        What opens what it can.
    ring_frames
        How many encoded frames a call is ahead.
    early_samples
        The encoder's lookahead.
    """

    def __init__(self, opener: Opener, stations: Stations, *, ring_frames: int, early_samples: int) -> None:
        self._opener = opener
        self._stations = stations
        self._kept_frames = Program.kept_frames(ring_frames)
        self._kept_packets = Program.kept_frames(max(ring_frames, PASSING_FRAMES))
        self._early_samples = early_samples
        self._filters = DaemonThreads("voicepool-filters", at_once=_FILTERS_AT_ONCE)

    async def source(
        self,
        source: Source,
        options: TrackOptions,
        attachments: Sequence[bytes],
        *,
        position_s: float | None = None,
        on_credit: Callable[[StreamId, int], object],
        heard_in_ns: Callable[[], int],
    ) -> Sourced:
        """Open a source.

        Parameters
        ----------
        source, attachments
            As `Play` has them.
        options
            How it is played. `repeats` is how many rounds follow the first.
        position_s
            Where to begin, instead of what the options say.
        on_credit
            Told how many milliseconds more a pushed stream may send; on any thread.
        heard_in_ns
            Returns how long, in nanoseconds, until a frame that is made now will be heard; on any thread.

        Raises
        ------
        SourceError
            It cannot be played, or not from there, or not with these filters.
        """
        check_shape(options.filters, options.speed, options.loudness_lufs)
        _check_place(source, options, position_s)
        reader: FeedSource
        stream: StreamReader | None = None
        take_titles: Callable[[], Sequence[Title]] | None = None
        begins_s = 0.0
        preroll: Sequence[bytes] = ()
        if isinstance(source, StreamSource):
            name = source.stream
            reader = stream = StreamReader(source, on_credit=lambda credit_ms: on_credit(name, credit_ms))
            info = wire_info(stream.info, passthrough=stream.kind == "opus", live=True)
        elif isinstance(source, StationSource):
            station = source

            async def open_station() -> OpenedTrack:
                return await self._opener.open(station.source, TrackOptions(), ())

            tap = await self._stations.tap(source, open_station, heard_in_ns=heard_in_ns)
            reader, info, take_titles = tap, tap.info, tap.take_titles
        else:
            opened = await self._opener.open(source, options, attachments, position_s=position_s)
            reader, info, source, begins_s = opened.reader, opened.info, opened.source, opened.begins_s
            preroll = opened.reader.preroll_packets
            if isinstance(source, UrlSource):
                take_titles = opened.reader.take_titles
            elif opened.info.container == _TITLED:
                reader = drain = TitleDrain(opened.reader)
                take_titles = drain.take_titles
        feed = ShapedFeed(self._feed(reader, preroll), kept_frames=self._kept_frames)
        loudness = Loudness.of(info, options.loudness_lufs)
        return Sourced(
            feed=await self._shaped(feed, options, loudness),
            info=info,
            source=source,
            begins_s=begins_s,
            length_frames=_length_frames(info, options, begins_s),
            stream=stream,
            take_titles=take_titles,
        )

    async def _shaped(self, feed: ShapedFeed, options: TrackOptions, loudness: Loudness) -> ShapedFeed:
        def shape() -> ShapedFeed:
            try:
                feed.shape(options.filters, options.speed, loudness.measured_lufs)
                if looks_far:
                    feed.prepare()
            except BaseException:
                feed.close()
                raise
            return feed

        looks_far = options.filters is not None and looks_far_ahead(options.filters)
        if not looks_far:
            return shape()
        # It is built in 8 ms and gives its first frame after 20 ms of work, which nobody else is to wait for.
        return await self._filters.run(shape, discard=ShapedFeed.close)

    def _feed(self, reader: FeedSource, preroll_packets: Sequence[bytes]) -> Feed:
        if isinstance(reader, StationTap):
            return StationFeed(
                reader,
                make_decoder=OpusPacketDecoder,
                kept_frames=self._kept_frames,
                kept_packets=self._kept_packets,
                early_samples=self._early_samples,
            )
        return Feed(
            reader,
            make_decoder=OpusPacketDecoder,
            kept_frames=self._kept_frames,
            kept_packets=self._kept_packets,
            early_samples=self._early_samples,
            preroll_packets=preroll_packets,
        )


def _check_place(source: Source, options: TrackOptions, position_s: float | None) -> None:
    """Refuse a place in what has none: pushed audio and stations."""
    if not isinstance(source, StreamSource | StationSource):
        return
    elsewhere = options.position_s or options.start_s or options.end_s or options.repeats != 0
    # The start is elsewhere too: a second reader of a stream would be granted credit of its own.
    if elsewhere or position_s is not None:
        what = "a station" if isinstance(source, StationSource) else "pushed audio"
        text = f"{what} is heard as it comes: it has no start, end, position or repeats"
        raise SourceError(ErrorCode.UNSEEKABLE, text)


def _length_frames(info: MediaInfo, options: TrackOptions, begins_s: float) -> float | None:
    if info.duration_s is None or options.repeats is None:
        return None
    end_s = info.duration_s if options.end_s is None else min(info.duration_s, options.end_s)
    rounds_s = max(0.0, end_s - options.start_s) * options.repeats
    return (max(0.0, end_s - begins_s) + rounds_s) / pace(options) * FRAMES_PER_S
