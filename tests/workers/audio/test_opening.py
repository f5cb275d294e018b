"""The opener: real sources once each, then a gated stand-in for `open_media` for bounds and cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio import http_server
from tests.workers.audio.media_files import encode, opus, wav
from voicepool.ipc.commands import BytesSource, FileSource, Source, UrlSource
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import opening
from voicepool.workers.audio.media import MediaInfo, MediaReader
from voicepool.workers.audio.opening import Opener, wire_info
from voicepool.workers.audio.readahead import ReadAhead
from voicepool.workers.errors import SourceError

SHORT = wav(np.zeros((9_600, 2), np.int16))


def opener() -> Opener:
    return Opener(open_timeout_s=20.0, read_timeout_s=20.0, read_ahead_s=1.0)


# Real sources.


@asyncio_test
async def test_a_file_and_bytes_are_read_directly(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(SHORT)
    sources: list[Source] = [FileSource(str(path)), BytesSource(len(SHORT))]
    for source, attachments in zip(sources, ([], [SHORT]), strict=True):
        opened = await opener().open(source, attachments)
        try:
            assert isinstance(opened, MediaReader)
            assert [opened.poll() is None for _ in range(11)] == [False] * 10 + [True]
        finally:
            opened.close()


@asyncio_test
async def test_a_url_is_read_ahead() -> None:
    with http_server.serving(http_server.Site(files={"short.wav": SHORT})) as site:
        opened = await opener().open(UrlSource(site.url("/file/short.wav")), [])
        opened.close()
        assert isinstance(opened, ReadAhead)
        assert await asyncio.to_thread(opened.wait_until_over, SAFETY_S)


@asyncio_test
async def test_a_file_named_like_a_url_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "http:" / "127.0.0.1:1"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(SHORT)
    monkeypatch.chdir(tmp_path)
    opened = await opener().open(FileSource("http:/127.0.0.1:1/a.wav"), [])
    opened.close()
    assert opened.info.codec == "pcm_s16le"


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
            await opener().open(FileSource(str(path)), [])
        assert caught.value.code is code

    scenario()


@asyncio_test
async def test_what_a_source_says_of_itself_goes_over_the_wire() -> None:
    song = encode("flac", "flac", seconds=0.5, rate_hz=44_100, tags=(("title", "Song"), ("artist", "Us")))
    opened = await opener().open(BytesSource(len(song)), [song])
    info = wire_info(opened)
    opened.close()
    assert (info.codec, info.container, info.sample_rate_hz, info.channels) == ("flac", "flac", 44_100, 2)
    assert (info.title, info.artist, info.passthrough) == ("Song", "Us", False)
    assert info.duration_s == pytest.approx(0.5, abs=0.05)
    packets = opus(seconds=0.2)
    opened = await opener().open(BytesSource(len(packets)), [packets])
    assert wire_info(opened).passthrough
    opened.close()


# Bounds and cancellation.


class Reader:
    """What the gated `open_media` returns."""

    info = MediaInfo(None, None, None, "pcm", "wav", 48_000, 2)
    kind = "pcm"
    skipped_packets = 0
    position_s = 0.0
    preroll_packets: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.closed = threading.Event()

    def read(self) -> None:
        return None

    poll = read

    def interrupt(self) -> None:
        """Nothing blocks here."""

    def close(self) -> None:
        self.closed.set()


class Gated:
    """Stands for `open_media`: each call waits for its turn."""

    def __init__(self) -> None:
        self.waiting: dict[str, threading.Event] = {}
        self.readers: dict[str, Reader] = {}
        self.errors: dict[str, Exception] = {}
        self.open_for_all = False
        self.at_once = self.most_at_once = 0
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()

    def __call__(self, location: str | bytes, **_: Any) -> Reader:
        name = str(location).rpartition("/")[2]
        gate = threading.Event()
        with self._changed:
            self.waiting[name] = gate
            self.readers[name] = Reader()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.open_for_all:
                gate.set()
            self._changed.notify_all()
        assert gate.wait(SAFETY_S)
        with self._changed:
            self.at_once -= 1
        if name in self.errors:
            raise self.errors[name]
        return self.readers[name]

    async def wait_for(self, count: int) -> None:
        """Wait until so many openings have begun."""

        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self.waiting) >= count, SAFETY_S)

        await asyncio.to_thread(wait)

    def open(self, name: str) -> None:
        self.waiting[name].set()

    def open_all(self) -> None:
        with self._changed:
            self.open_for_all = True
            for gate in self.waiting.values():
                gate.set()


@contextlib.asynccontextmanager
async def gated(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gated]:
    gate = Gated()
    monkeypatch.setattr(opening, "open_media", gate)
    try:
        yield gate
    finally:
        gate.open_all()


def files(count: int, first: int = 0) -> list[Source]:
    return [FileSource(f"/music/{number}") for number in range(first, first + count)]


def start(opener: Opener, sources: list[Source]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(opener.open(source, [])) for source in sources]


@asyncio_test
async def test_only_so_many_files_are_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        tasks = start(opener(), files(20))
        await gate.wait_for(8)
        gate.open_all()
        await asyncio.gather(*tasks)
        assert gate.most_at_once == 8
        assert len(gate.readers) == 20


@asyncio_test
async def test_dead_servers_hold_up_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        shared = opener()
        urls = start(shared, [UrlSource(f"https://dead.invalid/{number}") for number in range(100)])
        await gate.wait_for(64)
        [file] = start(shared, [FileSource("/music/alive")])
        await gate.wait_for(65)
        gate.open("alive")
        assert await file is gate.readers["alive"]
        assert gate.at_once == 64
        gate.open_all()
        for opened in await asyncio.gather(*urls):
            opened.close()
            assert await asyncio.to_thread(opened.wait_until_over, SAFETY_S)


@asyncio_test
async def test_cancelled_it_is_closed_when_it_has_opened_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        [task] = start(opener(), files(1))
        await gate.wait_for(1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        gate.open("0")
        assert await asyncio.to_thread(gate.readers["0"].closed.wait, SAFETY_S)


@asyncio_test
async def test_what_hangs_after_its_cancellation_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        shared = opener()
        hanging = start(shared, files(8))
        await gate.wait_for(8)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        [late] = start(shared, files(1, first=8))
        # One full round of the loop would be enough to start its thread.
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(gate.waiting) == 8
        gate.open("3")
        await gate.wait_for(9)
        gate.open("8")
        reader: object = await late
        assert reader is gate.readers["8"]


@asyncio_test
async def test_cancelled_while_it_waits_for_its_turn_it_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        tasks = start(opener(), files(9))
        await gate.wait_for(8)
        tasks[8].cancel()
        await asyncio.wait({tasks[8]})
        gate.open_all()
        await asyncio.gather(*tasks[:8])
        assert "8" not in gate.waiting


@asyncio_test
async def test_cancelled_in_the_moment_it_opens_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        loop = asyncio.get_running_loop()
        [task] = start(opener(), files(1))
        await gate.wait_for(1)
        hand_over = loop.call_soon_threadsafe
        delivered = threading.Event()

        def deliver_then_cancel(callback: Any, *args: Any) -> Any:
            def both() -> None:
                callback(*args)
                # The result is there, and the task has not run since.
                task.cancel()
                delivered.set()

            return hand_over(both)

        monkeypatch.setattr(loop, "call_soon_threadsafe", deliver_then_cancel)
        gate.open("0")
        await asyncio.wait({task})
        monkeypatch.undo()
        assert delivered.is_set()
        assert task.cancelled()
        assert gate.readers["0"].closed.is_set()


@asyncio_test
async def test_errors_go_through_as_they_are_and_free_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        gate.open_for_all = True
        shared = opener()
        for number, error in enumerate(
            [SourceError(ErrorCode.SOURCE_TIMEOUT, "slow"), ZeroDivisionError()] * 8
        ):
            gate.errors[str(number)] = error
            with pytest.raises(type(error)) as caught:
                await shared.open(FileSource(f"/music/{number}"), [])
            assert caught.value is error
        reader: object = await shared.open(FileSource("/music/fine"), [])
        assert reader is gate.readers["fine"]


@asyncio_test
async def test_a_thread_that_cannot_start_frees_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(monkeypatch) as gate:
        gate.open_for_all = True
        shared = opener()
        with monkeypatch.context() as patch:

            def refuse(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(9):
                with pytest.raises(RuntimeError, match="new thread"):
                    await shared.open(FileSource("/music/0"), [])
        reader: object = await shared.open(FileSource("/music/0"), [])
        assert reader is gate.readers["0"]


def test_what_opens_after_the_loop_has_closed_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    gates: list[Gated] = []

    async def leave() -> None:
        gates.append(Gated())
        monkeypatch.setattr(opening, "open_media", gates[0])
        [task] = start(opener(), files(1))
        await gates[0].wait_for(1)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(leave())
    [gate] = gates
    [thread] = [thread for thread in threading.enumerate() if thread.name == "voicepool-opener"]
    gate.open("0")
    thread.join(SAFETY_S)
    assert gate.readers["0"].closed.is_set()
