from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode, opus
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.media import Frame, MediaInfo, MediaKind, open_media
from voicepool.workers.audio.readahead import NOT_YET, ReadAhead
from voicepool.workers.audio.region import Region
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

SAFETY_S = 20.0
INFO = MediaInfo("t", None, None, "opus", "ogg", 48_000, 2)


class ScriptedReader:
    """Hands out numbered packets as fast as the test allows."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.info = INFO
        self.kind: MediaKind = "opus"
        self.skipped_packets = 3
        self.preroll_packets: tuple[bytes, ...] = ()
        self.padding_samples = 0
        self.seeks: list[float] = []
        self.seek_error: SourceError | None = None
        self.allowed = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        """Released at each read, before it waits."""
        self.interrupted = threading.Event()
        self.closed_by: list[str] = []
        self.reads = 0
        self._count = count
        self._error = error

    def take_packets(self, most: int) -> list[bytes]:
        raise NotImplementedError

    def take_titles(self) -> list[TitleChange]:
        """Say something new with every second packet."""
        return [] if self.reads % 2 else [TitleChange(self.position_s, str(self.reads), None)]

    def read(self) -> Frame | None:
        self.asked.release()
        assert self.allowed.acquire(timeout=SAFETY_S)
        if self.interrupted.is_set():
            return None
        if self.reads == self._count:
            if self._error is not None:
                raise self._error
            return None
        self.reads += 1
        return self.reads.to_bytes(2, "big")

    @property
    def position_s(self) -> float:
        return max(0, self.reads - 1) / 50

    def seek(self, position_s: float) -> float:
        self.seeks.append(position_s)
        if self.seek_error is not None:
            raise self.seek_error
        self.reads = round(position_s * 50)
        return position_s

    def allow(self, count: int) -> None:
        for _ in range(count):
            self.allowed.release()

    def wait_asked(self, count: int) -> None:
        for _ in range(count):
            assert self.asked.acquire(timeout=SAFETY_S)

    def interrupt(self) -> None:
        self.interrupted.set()
        self.allowed.release()

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def number(frame: object) -> int:
    assert isinstance(frame, bytes)
    return int.from_bytes(frame, "big")


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SAFETY_S
    while not met():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def wait_ended(ahead: ReadAhead) -> None:
    wait_until(lambda: ahead.ended)


def finish(ahead: ReadAhead) -> None:
    ahead.close()
    assert ahead.wait_until_over(SAFETY_S)


def test_hands_out_what_was_read_in_order_and_then_the_end() -> None:
    reader = ScriptedReader(5)
    reader.allow(6)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    assert (ahead.info, ahead.kind, ahead.skipped_packets) == (INFO, "opus", 3)
    assert ahead.buffered_s == pytest.approx(0.1)
    assert [number(ahead.poll()) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert ahead.position_s == pytest.approx(0.08)
    assert ahead.poll() is None
    assert ahead.poll() is None
    finish(ahead)


def test_says_not_yet_while_the_source_is_slow() -> None:
    reader = ScriptedReader(2)
    ahead = ReadAhead(reader)
    assert ahead.poll() is NOT_YET
    reader.allow(1)
    reader.wait_asked(2)  # the second read: the first packet is in the buffer
    assert number(ahead.poll()) == 1
    assert ahead.poll() is NOT_YET
    finish(ahead)


def test_never_holds_more_than_its_capacity_and_refills_by_half() -> None:
    reader = ScriptedReader(100)
    reader.allow(100)
    ahead = ReadAhead(reader, capacity_s=0.2)
    reader.wait_asked(10)
    # The eleventh read comes only once half has been taken.
    for expected in range(1, 5):
        assert number(ahead.poll()) == expected
    assert reader.reads == 10
    assert number(ahead.poll()) == 5
    reader.wait_asked(5)
    for expected in range(6, 60):
        frame = ahead.poll()
        while frame is NOT_YET:
            reader.wait_asked(1)
            frame = ahead.poll()
        assert number(frame) == expected
        assert ahead.buffered_s <= 0.2
        assert reader.reads <= expected + 10
    finish(ahead)


def test_smallest_capacity_is_one_frame() -> None:
    reader = ScriptedReader(3)
    reader.allow(4)
    ahead = ReadAhead(reader, capacity_s=0.001)
    heard = []
    while (frame := ahead.poll()) is not None:
        if frame is not NOT_YET:
            heard.append(number(frame))
    assert heard == [1, 2, 3]
    finish(ahead)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="capacity_s"):
            ReadAhead(reader, capacity_s=wrong)


@pytest.mark.parametrize("error", [SourceError(ErrorCode.SOURCE_TIMEOUT, "slow"), RuntimeError("defect")])
def test_error_comes_once_and_after_what_was_read(error: Exception) -> None:
    reader = ScriptedReader(2, error)
    reader.allow(3)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    assert [number(ahead.poll()) for _ in range(2)] == [1, 2]
    with pytest.raises(type(error)) as caught:
        ahead.poll()
    assert caught.value is error
    assert ahead.poll() is None
    finish(ahead)


@pytest.mark.parametrize("when", ["waiting for the source", "waiting for room", "over"])
def test_close_ends_the_thread_which_closes_the_reader(when: str) -> None:
    reader = ScriptedReader(50)
    ahead = ReadAhead(reader, capacity_s=0.1)
    if when == "waiting for the source":
        reader.wait_asked(1)
    else:
        reader.allow(51)
        reader.wait_asked(5)
    if when == "over":
        while ahead.poll() is not None:
            pass
    ahead.close()
    ahead.close()
    assert ahead.wait_until_over(SAFETY_S)
    assert reader.closed_by == ["voicepool-readahead"]
    assert ahead.poll() is None or ahead.buffered_s == 0.0


def test_poll_after_close_is_the_end_even_if_the_network_holds_the_thread() -> None:
    reader = ScriptedReader(5)
    ahead = ReadAhead(reader)
    reader.wait_asked(1)
    reader.interrupt = lambda: None  # type: ignore[method-assign]  # as FFmpeg, inside a system call
    ahead.close()
    assert ahead.poll() is None
    assert not ahead._over.is_set()
    ScriptedReader.interrupt(reader)
    assert ahead.wait_until_over(SAFETY_S)


def test_reader_that_fails_to_close_still_ends() -> None:
    reader = ScriptedReader(0)

    def fail() -> None:
        raise OSError("close failed")

    reader.close = fail  # type: ignore[method-assign]
    seen: list[threading.ExceptHookArgs] = []
    previous, threading.excepthook = threading.excepthook, seen.append
    try:
        reader.allow(1)
        ahead = ReadAhead(reader)
        finish(ahead)
    finally:
        threading.excepthook = previous
    assert ahead.poll() is None
    assert [str(args.exc_value) for args in seen] == ["close failed"]


@pytest.mark.parametrize("name", ["song.mp3", "song.webm"])
def test_a_url_played_through_it_is_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    site = Site({"song.mp3": encode("libmp3lame", "mp3", bitrate_bps=128_000), "song.webm": opus("webm")})
    direct = open_media(site.files[name], open_timeout_s=5.0, read_timeout_s=5.0)
    with serving(site):
        reader = open_media(site.url(f"/file/{name}"), open_timeout_s=5.0, read_timeout_s=5.0)
        ahead = ReadAhead(reader, capacity_s=0.3)
        assert ahead.kind == direct.kind
        while (expected := direct.poll()) is not None:
            frame = ahead.poll()
            while frame is NOT_YET:
                frame = ahead.poll()
            assert np.array_equal(frame, expected)  # type: ignore[arg-type]
        while (frame := ahead.poll()) is NOT_YET:
            pass
        assert frame is None
        finish(ahead)
    direct.close()
    assert not [t for t in threading.enumerate() if t.name == "voicepool-readahead"]


def test_a_stalled_url_is_left_within_its_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    site = Site({"song.mp3": encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=8.0)})
    with serving(site):
        reader = open_media(site.url("/stall/song.mp3"), open_timeout_s=5.0, read_timeout_s=0.3)
        ahead = ReadAhead(reader, capacity_s=10.0)
        finish(ahead)


# Titles.


def test_titles_come_with_what_is_heard() -> None:
    reader = ScriptedReader(6)
    reader.allow(7)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    found = []
    while (packet := ahead.poll()) is not None:
        found.append((number(packet), [said.title for said in ahead.take_titles()]))
    assert found == [(1, []), (2, ["2"]), (3, []), (4, ["4"]), (5, []), (6, ["6"])]
    finish(ahead)


def test_titles_that_nobody_takes_are_bounded() -> None:
    reader = ScriptedReader(100)
    reader.allow(101)
    ahead = ReadAhead(reader, capacity_s=3.0)
    wait_ended(ahead)
    while ahead.poll() is not None:
        pass
    assert [said.title for said in ahead.take_titles()] == [str(n) for n in range(70, 101, 2)]
    finish(ahead)


# Packets in groups.


def test_takes_as_many_packets_as_are_there_and_wanted() -> None:
    reader = ScriptedReader(5)
    reader.allow(6)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    assert [number(packet) for packet in ahead.take_packets(3)] == [1, 2, 3]
    assert ahead.position_s == pytest.approx(0.04)
    assert ahead.take_packets(0) == []
    assert [number(packet) for packet in ahead.take_packets(24)] == [4, 5]
    assert ahead.position_s == pytest.approx(0.08)
    assert ahead.take_packets(24) == []
    assert ahead.poll() is None
    finish(ahead)


class MixedReader(ScriptedReader):
    """Every third frame is PCM."""

    def read(self) -> Frame | None:
        packet = super().read()
        return np.zeros((960, 2), np.float32) if packet is not None and self.reads % 3 == 0 else packet


def test_pcm_ends_a_group_and_stays_in_its_place() -> None:
    reader = MixedReader(7)
    reader.allow(8)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    for first in (1, 4):
        assert [number(packet) for packet in ahead.take_packets(24)] == [first, first + 1]
        assert ahead.position_s == pytest.approx(first / 50)
        assert ahead.take_packets(24) == []
        assert isinstance(ahead.poll(), np.ndarray)
        assert ahead.position_s == pytest.approx((first + 1) / 50)
    assert [number(packet) for packet in ahead.take_packets(24)] == [7]
    finish(ahead)


def test_groups_make_room_and_are_read_on() -> None:
    reader = ScriptedReader(100)
    reader.allow(101)
    ahead = ReadAhead(reader, capacity_s=0.2)
    heard: list[int] = []

    def all_heard() -> bool:
        packets = ahead.take_packets(4)
        heard.extend(map(number, packets))
        return len(heard) == 100

    wait_until(all_heard)
    assert heard == list(range(1, 101))
    finish(ahead)


def test_no_group_while_a_seek_goes_on() -> None:
    reader = ScriptedReader(100)
    ahead = ReadAhead(reader)
    reader.allow(2)
    reader.wait_asked(3)
    ahead.seek(1.0)
    assert ahead.take_packets(24) == []
    reader.allow(10)
    assert polled(ahead) == 51
    finish(ahead)


# Seeking.


def polled(ahead: ReadAhead) -> int | None:
    """The next packet's number, once it is there; `None` at the end."""
    frame: object = NOT_YET

    def came() -> bool:
        nonlocal frame
        frame = ahead.poll()
        return frame is not NOT_YET

    wait_until(came)
    return None if frame is None else number(frame)


def test_seek_drops_what_was_read_and_goes_on_from_there() -> None:
    reader = ScriptedReader(100)
    reader.allow(1_000)
    ahead = ReadAhead(reader, capacity_s=0.2)
    outcomes: list[SourceError | None] = []
    assert polled(ahead) == 1
    ahead.seek(1.0, outcomes.append)
    assert [polled(ahead) for _ in range(3)] == [51, 52, 53]
    assert ahead.position_s == pytest.approx(1.04)
    assert outcomes == [None]
    ahead.seek(0.1)
    assert polled(ahead) == 6
    assert reader.seeks == [1.0, 0.1]
    finish(ahead)


def test_nothing_is_handed_out_between_the_wish_and_the_seek() -> None:
    reader = ScriptedReader(100)
    ahead = ReadAhead(reader)
    reader.allow(2)
    reader.wait_asked(3)  # two are in the buffer, and the network holds the thread
    ahead.seek(1.0)
    assert ahead.poll() is NOT_YET
    reader.allow(10)
    assert polled(ahead) == 51
    finish(ahead)


@pytest.mark.parametrize("error", [None, SourceError(ErrorCode.SOURCE_TIMEOUT, "slow")])
def test_there_is_a_way_back_from_the_end_and_from_an_error(error: Exception | None) -> None:
    reader = ScriptedReader(5, error)
    reader.allow(1_000)
    ahead = ReadAhead(reader)
    wait_ended(ahead)
    ahead.seek(0.06)
    assert [polled(ahead) for _ in range(2)] == [4, 5]
    if error is None:
        assert polled(ahead) is None
    else:
        with pytest.raises(SourceError):
            polled(ahead)
    ahead.seek(0.0)
    assert polled(ahead) == 1
    finish(ahead)


def test_source_that_cannot_seek_plays_on() -> None:
    reader = ScriptedReader(100)
    reader.allow(1_000)
    reader.seek_error = UnseekableError("it", "it is live")
    ahead = ReadAhead(reader, capacity_s=0.2)
    outcomes: list[SourceError | None] = []
    assert polled(ahead) == 1
    ahead.seek(1.0, outcomes.append)
    assert [polled(ahead) for _ in range(30)] == list(range(2, 32))
    assert outcomes == [reader.seek_error]
    finish(ahead)


def test_of_seeks_that_wait_only_the_last_is_made() -> None:
    reader = ScriptedReader(100)
    ahead = ReadAhead(reader)
    reader.wait_asked(1)
    outcomes: list[object] = []
    for n in (20, 30, 40):
        ahead.seek(n / 50, lambda failure, n=n: outcomes.append((n, failure)))  # type: ignore[misc]
    reader.allow(10)
    assert polled(ahead) == 41
    assert reader.seeks == [0.8]
    wait_until(lambda: len(outcomes) == 3)
    assert outcomes == [(20, None), (30, None), (40, None)]
    finish(ahead)


def test_seek_to_no_position_is_refused_at_once() -> None:
    reader = ScriptedReader(1)
    ahead = ReadAhead(reader)
    with pytest.raises(ValueError, match="0 s or more"):
        ahead.seek(-1.0)
    finish(ahead)
    ahead.seek(0.0)
    assert ahead.poll() is None


# Live.


def test_live_source_drops_the_oldest_and_counts_them() -> None:
    reader = ScriptedReader(30)
    reader.allow(31)
    ahead = ReadAhead(reader, capacity_s=0.2, live=True)
    wait_ended(ahead)
    assert ahead.dropped_frames == 20
    assert ahead.buffered_s == pytest.approx(0.2)
    assert [number(ahead.poll()) for _ in range(10)] == list(range(21, 31))
    assert ahead.poll() is None
    finish(ahead)


def test_live_source_that_is_heard_in_time_loses_nothing() -> None:
    reader = ScriptedReader(30)
    ahead = ReadAhead(reader, capacity_s=0.1, live=True)
    for expected in range(1, 31):
        reader.allow(1)
        assert polled(ahead) == expected
    assert ahead.dropped_frames == 0
    finish(ahead)


def test_a_region_of_a_url_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    song = opus("webm")
    direct = open_media(song, open_timeout_s=5.0, read_timeout_s=5.0)
    packets = [direct.read() for _ in range(50)]
    direct.close()
    with serving(Site({"song.webm": song})) as site:
        reader = open_media(site.url("/ranges/song.webm"), open_timeout_s=5.0, read_timeout_s=5.0)
        ahead = ReadAhead(Region(reader, start_s=0.2, end_s=0.4, repeats=1), capacity_s=0.1)
        heard: list[tuple[object, int]] = []

        def whole() -> bool:
            frame = ahead.poll()
            if frame is not NOT_YET and frame is not None:
                heard.append((frame, round(ahead.position_s * 50)))
            return frame is None

        wait_until(whole)
        assert heard == [(packets[n], n) for n in range(10, 20)] * 2
        finish(ahead)
