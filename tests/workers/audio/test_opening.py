"""The opener: what is opened where, with real sources; then a gated stand-in for opening, for its bounds."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio import resolvers
from tests.workers.audio.breaking_server import Answer, Breaking, breaking
from tests.workers.audio.media_files import encode, wav
from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import (
    BytesSource,
    FileSource,
    ResolverSource,
    SilenceSource,
    Source,
    StationSource,
    StreamSource,
    UrlSource,
)
from voicepool.workers.audio.assembling import Assembler, OpenedTrack
from voicepool.workers.audio.media import MediaReader
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.readahead import ReadAhead
from voicepool.workers.audio.silence import SilenceReader
from voicepool.workers.errors import SourceError

SHORT = wav(np.zeros((9_600, 2), np.int16))
WHOLE = TrackOptions()


def opener() -> Opener:
    return Opener(open_timeout_s=20.0, read_timeout_s=20.0, read_ahead_s=1.0)


# Real sources.


@asyncio_test
async def test_a_file_and_bytes_are_read_directly(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(SHORT)
    sources: list[Source] = [FileSource(str(path)), BytesSource(len(SHORT))]
    for source, attachments in zip(sources, ((), [SHORT]), strict=True):
        opened = await opener().open(source, WHOLE, attachments)
        try:
            assert isinstance(opened.reader, MediaReader)
            assert [opened.reader.poll() is None for _ in range(11)] == [False] * 10 + [True]
        finally:
            opened.close()


@asyncio_test
async def test_a_url_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with breaking(Breaking(SHORT, lambda _: Answer())) as site:
        opened = await opener().open(UrlSource(site.url), WHOLE, ())
        opened.close()
        assert isinstance(opened.reader, ReadAhead)
        assert await asyncio.to_thread(opened.reader.wait_until_over, SAFETY_S)


@asyncio_test
async def test_silence_is_opened_too() -> None:
    opened = await opener().open(SilenceSource(1.0), WHOLE, ())
    assert isinstance(opened.reader, SilenceReader)
    opened.close()


@asyncio_test
async def test_the_place_is_that_of_the_call_before_that_of_the_options() -> None:
    options = TrackOptions(position_s=0.1)
    for position_s, begins_s in ((None, 0.1), (0.04, 0.04), (0.0, 0.0)):
        opened = await opener().open(BytesSource(len(SHORT)), options, [SHORT], position_s=position_s)
        assert opened.begins_s == begins_s
        opened.close()


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, ErrorCode.SOURCE_NOT_FOUND), (b"no music at all\n" * 40, ErrorCode.SOURCE_UNREADABLE)],
)
def test_what_cannot_be_played_says_why(tmp_path: Path, content: bytes | None, code: ErrorCode) -> None:
    @asyncio_test
    async def scenario() -> None:
        path = tmp_path / "song.mp3"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SourceError, match=r"song\.mp3") as caught:
            await opener().open(FileSource(str(path)), WHOLE, ())
        assert caught.value.code is code

    scenario()


@pytest.mark.parametrize(
    "source", [StreamSource(StreamId("1"), "s16"), StationSource("radio", UrlSource("http://a.invalid/"))]
)
def test_streams_and_stations_are_not_opened_here(source: Source) -> None:
    @asyncio_test
    async def scenario() -> None:
        with pytest.raises(TypeError, match=type(source).__name__):
            await opener().open(source, WHOLE, ())

    scenario()


# Resolvers.


@asyncio_test
async def test_a_resolver_is_asked_once_and_what_it_says_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = encode("flac", "flac", seconds=0.5, tags=(("title", "Song"), ("artist", "Us")))
    path = tmp_path / "song.flac"
    path.write_bytes(song)
    monkeypatch.setitem(resolvers.answers, "a song", {"url": str(path), "title": "Told", "duration_s": 7.0})
    source = ResolverSource("tests.workers.audio.resolvers:by_name", "a song")
    opened = await opener().open(source, TrackOptions(start_s=0.1), (), position_s=0.2)
    opened.close()
    assert opened.source == FileSource(str(path))
    assert opened.begins_s == 0.2
    assert (opened.info.title, opened.info.artist, opened.info.duration_s) == ("Told", "Us", 7.0)
    assert opened.info.tags["title"] == "Song"


@asyncio_test
async def test_a_resolver_that_fails_and_one_that_finds_what_is_not_there() -> None:
    with pytest.raises(SourceError) as caught:
        await opener().open(ResolverSource("tests.workers.audio.resolvers:failing", "q"), WHOLE, ())
    assert caught.value.code is ErrorCode.RESOLVER_FAILED
    with pytest.raises(SourceError) as caught:
        await opener().open(ResolverSource("tests.workers.audio.resolvers:echo", "/no/such"), WHOLE, ())
    assert caught.value.code is ErrorCode.SOURCE_NOT_FOUND


# Bounds.


class Gate:
    """Stands for opening: all wait until they may go on."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.files_may_go_on = threading.Event()
        self._waiting = 0
        self._changed = threading.Condition()

    def open(
        self, source: Any, _options: TrackOptions, _attachments: object, *, position_s: float | None
    ) -> OpenedTrack:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
        gate = self.may_go_on if isinstance(source, UrlSource) else self.files_may_go_on
        assert gate.wait(SAFETY_S)
        info = MediaInfo(codec="pcm", container="wav", sample_rate_hz=48_000, channels=2)
        return OpenedTrack(SilenceReader(), info, source, position_s or 0.0)

    async def wait_for(self, count: int) -> None:
        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: self._waiting >= count, SAFETY_S)

        await asyncio.to_thread(wait)


@asyncio_test
async def test_dead_servers_hold_up_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(Assembler, "open", lambda _self, *args, **options: gate.open(*args, **options))
    shared = opener()
    try:
        urls = [
            asyncio.create_task(shared.open(UrlSource(f"https://dead.invalid/{n}"), WHOLE, ()))
            for n in range(100)
        ]
        await gate.wait_for(64)
        gate.files_may_go_on.set()
        alive = FileSource("/music/alive")
        assert (await shared.open(alive, WHOLE, ())).source == alive
        assert not any(task.done() for task in urls)
        gate.may_go_on.set()
        assert len(await asyncio.gather(*urls)) == 100
    finally:
        gate.may_go_on.set()
        gate.files_may_go_on.set()
