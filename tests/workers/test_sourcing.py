"""From a source's description to a feed, for each kind, and what is refused before anything is opened."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio.media_files import encode, opus
from tests.workers.audio.test_titles import relinked
from tests.workers.hand_studio import HandOpener, HandSource, tone
from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import BytesSource, FileSource, SilenceSource, Source, StationSource, StreamSource
from voicepool.workers.audio.opening import Opener
from voicepool.workers.errors import SourceError
from voicepool.workers.sourcing import Loudness, Sourced, Sourcing

STREAM = StreamSource(StreamId("s"), "opus")
STATION = StationSource("radio", FileSource("a"))


async def source(
    opener: Opener, what: Source, attachments: list[bytes] | None = None, **options: Any
) -> Sourced:
    stations: Any = None
    sourcing = Sourcing(opener, stations, ring_frames=8, early_samples=312)
    position_s = options.pop("position", None)
    return await sourcing.source(
        what,
        TrackOptions(**options),
        attachments or [],
        position_s=position_s,
        on_credit=lambda *_: None,
        heard_in_ns=lambda: 0,
    )


def hand_opener(duration_s: float | None = 10.0, **tags: str) -> HandOpener:
    opener = HandOpener()
    found = opener.sources["a"] = HandSource("a", 5)
    found.info = msgspec.structs.replace(found.info, duration_s=duration_s, tags=tags)
    return opener


def real_opener() -> Opener:
    return Opener(open_timeout_s=10.0, read_timeout_s=10.0, read_ahead_s=1.0)


@asyncio_test
async def test_a_file_and_bytes_are_opened_with_what_they_say_of_themselves(tmp_path: Path) -> None:
    song = opus(seconds=1.0)
    path = tmp_path / "song.ogg"
    await asyncio.to_thread(path.write_bytes, song)
    for what, attachments in ((FileSource(str(path)), []), (BytesSource(len(song)), [song])):
        sourced = await source(real_opener(), what, attachments)
        assert (sourced.info.codec, sourced.info.passthrough) == ("opus", True)
        assert sourced.source == what
        assert isinstance(sourced.feed.peek(), bytes)
        sourced.feed.close()


@asyncio_test
async def test_silence_lasts_as_long_as_it_was_asked_for() -> None:
    sourced = await source(real_opener(), SilenceSource(0.1))
    assert sourced.length_frames == pytest.approx(5.0)
    frames = 0
    while sourced.feed.peek() is not None:
        sourced.feed.go_on()
        frames += 1
    assert frames == 5
    sourced.feed.close()


@asyncio_test
async def test_a_stream_is_there_at_once_and_has_no_end_known() -> None:
    sourced = await source(HandOpener(), STREAM)
    assert sourced.stream is not None
    assert (sourced.info.live, sourced.info.passthrough, sourced.length_frames) == (True, True, None)
    sourced.feed.close()


@pytest.mark.parametrize("what", [STREAM, STATION])
@pytest.mark.parametrize(
    "place",
    [
        {"position": 1.0},
        {"position": 0.0},
        {"position_s": 1.0},
        {"start_s": 1.0},
        {"end_s": 1.0},
        {"repeats": 1},
        {"repeats": None},
    ],
)
def test_what_is_heard_as_it_comes_has_no_place_to_go_to(what: Source, place: dict[str, Any]) -> None:
    @asyncio_test
    async def scenario() -> None:
        with pytest.raises(SourceError) as caught:
            await source(HandOpener(), what, **place)
        assert caught.value.code is ErrorCode.UNSEEKABLE

    scenario()


@asyncio_test
async def test_a_filter_that_is_refused_opens_nothing() -> None:
    opener = hand_opener()
    with pytest.raises(SourceError) as caught:
        await source(opener, FileSource("a"), filters="nosuchfilter")
    assert caught.value.code is ErrorCode.FILTER_REFUSED
    assert opener.places == []


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, 500.0),
        ({"start_s": 2.0, "position": 2.0}, 400.0),
        ({"end_s": 4.0}, 200.0),
        ({"end_s": 40.0}, 500.0),
        ({"speed": 2.0}, 250.0),
        ({"repeats": 2}, 1_500.0),
        ({"repeats": 1, "position": 9.0}, 550.0),
        ({"repeats": None}, None),
        ({"filters": "atempo=2"}, 250.0),
    ],
)
def test_how_many_frames_there_will_be(options: dict[str, Any], frames: float | None) -> None:
    @asyncio_test
    async def scenario() -> None:
        sourced = await source(hand_opener(), FileSource("a"), **options)
        assert sourced.length_frames == (None if frames is None else pytest.approx(frames))
        assert sourced.begins_s == options.get("position", 0.0)
        sourced.feed.close()

    scenario()


@asyncio_test
async def test_without_a_duration_its_length_is_unknown() -> None:
    sourced = await source(hand_opener(duration_s=None), FileSource("a"))
    assert sourced.length_frames is None
    sourced.feed.close()


def test_loudness_comes_from_what_the_source_says_or_is_measured() -> None:
    plain = HandSource.info
    assert Loudness.of(plain, None) == Loudness()
    assert Loudness.of(plain, -14.0) == Loudness(measured_lufs=-14.0)
    tagged = msgspec.structs.replace(plain, tags={"replaygain_track_gain": "-6.00 dB"})
    # ReplayGain 2.0 brings to -18 LUFS.
    loudness = Loudness.of(tagged, -18.0)
    assert loudness.measured_lufs is None
    assert loudness.gain == pytest.approx(10 ** (-6 / 20), rel=1e-3)


@asyncio_test
async def test_a_file_of_several_songs_tells_their_titles() -> None:
    links = [
        encode("libopus", "ogg", seconds=1.0, tags=(("title", title),)) for title in ("One", "Two", "Three")
    ]
    song = b"".join(relinked(link, serial) for serial, link in enumerate(links))
    sourced = await source(real_opener(), BytesSource(len(song)), [song])
    assert sourced.info.title == "One"
    assert sourced.take_titles is not None
    titles: list[str | None] = []
    while sourced.feed.take_packets(10) or sourced.feed.peek() is not None:
        titles += [change.title for change in sourced.take_titles()]
    assert titles == ["Two", "Three"]
    sourced.feed.close()


@asyncio_test
async def test_a_file_of_another_kind_has_no_titles_to_be_asked_for() -> None:
    song = encode("flac", "flac", seconds=0.2, tags=(("title", "One"),))
    sourced = await source(real_opener(), BytesSource(len(song)), [song])
    assert sourced.take_titles is None
    sourced.feed.close()


@asyncio_test
async def test_filters_that_look_far_ahead_are_given_it_on_a_thread_of_their_own() -> None:
    song = encode("flac", "flac", seconds=5.0)
    sourced = await source(real_opener(), BytesSource(len(song)), [song], filters="loudnorm")
    assert isinstance(sourced.feed.peek(), np.ndarray)
    sourced.feed.close()


@asyncio_test
async def test_a_play_that_is_given_up_while_its_filters_are_prepared_leaves_nothing_open() -> None:
    begun, may_go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(HandSource):
        def poll(self) -> Any:
            begun.set()
            assert may_go_on.wait(SAFETY_S)
            return super().poll()

        def take_packets(self, most: int) -> list[bytes]:
            return []

        def close(self) -> None:
            super().close()
            closed.set()

    opener = HandOpener()
    slow = opener.sources["a"] = Slow("a", steps=tone(400, 200))
    task = asyncio.create_task(source(opener, FileSource("a"), filters="loudnorm"))
    await asyncio.to_thread(begun.wait, SAFETY_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go_on.set()
    assert await asyncio.to_thread(closed.wait, SAFETY_S)
    assert slow.closes == 1
