"""Taking up again: stand-ins for the order of events, then real files from servers that break off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.breaking_server import Answer, Breaking, breaking
from tests.workers.audio.media_files import encode, opus
from tests.workers.audio.test_reconnecting import BROKEN, REFUSED, SAFETY_S
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.media import Frame, MediaInfo, MediaKind, open_media
from voicepool.workers.audio.region import Region, SeekableReader
from voicepool.workers.audio.resuming import Resuming
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

LENGTH: Final = 40
"""Of the stand-in's source, in frames."""
STALLED = SourceError(ErrorCode.SOURCE_TIMEOUT, "sent nothing")
GONE = SourceError(ErrorCode.SOURCE_REFUSED, "not any more", http_status=403)
BUSY = SourceError(ErrorCode.SOURCE_REFUSED, "not now", http_status=429)
MISSING = SourceError(ErrorCode.SOURCE_NOT_FOUND, "not there", http_status=404)
LIVE = UnseekableError("it", "it is a live stream")


class Connection:
    """Gives numbered packets up to a place, and then ends or fails."""

    kind: MediaKind = "opus"
    skipped_packets = 1
    preroll_packets: tuple[bytes, ...] = (b"before",)

    def __init__(
        self,
        until: int = LENGTH,
        error: SourceError | None = None,
        *,
        rate_hz: int = 48_000,
        live: bool = False,
        seek_error: SourceError | None = None,
        padding: int = 0,
        duration_s: float = 0.8,
    ) -> None:
        self.info = MediaInfo("", None, duration_s, "opus", "ogg", rate_hz, 2, live=live)
        self.closed = self.interrupted = False
        self.sought: list[float] = []
        self.position_s = 0.0
        self.padding_samples = 0
        self._next = 0
        self._until, self._error, self._seek_error, self._padding = until, error, seek_error, padding

    def read(self) -> Frame | None:
        assert not self.closed
        if self._next < self._until and not self.interrupted:
            self.position_s = self._next / 50
            self._next += 1
            self.padding_samples = self._padding if self._next == self._until else 0
            return bytes([(self._next - 1) % 256])
        if self._error is not None and not self.interrupted:
            raise self._error
        return None

    def take_packets(self, most: int) -> list[bytes]:
        raise NotImplementedError

    def take_titles(self) -> list[TitleChange]:
        return []

    def seek(self, position_s: float) -> float:
        assert not self.closed
        self.sought.append(round(position_s, 6))
        if self._seek_error is not None:
            raise self._seek_error
        self._next = round(position_s * 50)
        self.position_s = position_s
        return position_s

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        self.closed = True


class Servers:
    """What opening anew meets, in turn; nobody listens after the last."""

    def __init__(self, *answers: Connection | SourceError) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Connection:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else REFUSED
        if isinstance(answer, SourceError):
            raise answer
        return answer


def resuming(first: SeekableReader, servers: Callable[[], SeekableReader], *, attempts: int = 3) -> Resuming:
    return Resuming(first, reopen=servers, attempts=attempts, first_delay_s=0.0)


def numbers(source: Resuming) -> list[int]:
    found = []
    while (frame := source.read()) is not None:
        assert isinstance(frame, bytes)
        assert source.position_s == pytest.approx(frame[0] / 50)
        found.append(frame[0])
    return found


def test_goes_on_with_what_comes_next() -> None:
    first, second = Connection(20, BROKEN), Connection()
    source = resuming(first, Servers(REFUSED, second))
    assert numbers(source) == list(range(LENGTH))
    assert (source.resumptions, source.skipped_packets, source.kind) == (1, 2, "opus")
    assert first.closed
    # What was read last before the break is read again: it may be half of what it should be.
    assert second.sought == [0.3]
    assert source.read() is None
    assert source.take_packets(24) == []
    source.close()
    assert second.closed


def test_whole_source_is_read_without_asking_again() -> None:
    servers = Servers()
    source = resuming(Connection(padding=100), servers)
    assert numbers(source) == list(range(LENGTH))
    assert source.padding_samples == 100
    assert servers.asked == 0
    source.close()


def test_a_break_before_the_first_frame() -> None:
    source = resuming(Connection(0, BROKEN), Servers(Connection()))
    assert numbers(source) == list(range(LENGTH))
    source.close()


@pytest.mark.parametrize("error", [BROKEN, STALLED])
def test_attempts_are_bounded_and_the_reason_is_why_it_broke_off(error: SourceError) -> None:
    servers = Servers()
    source = resuming(Connection(20, error), servers, attempts=4)
    found = []
    with pytest.raises(SourceError) as caught:  # noqa: PT012 - after all that it gave
        while (frame := source.read()) is not None:
            found.append(frame)
    assert len(found) == 20
    assert caught.value is error
    assert servers.asked == 4
    assert source.read() is None
    assert servers.asked == 4
    source.close()


@pytest.mark.parametrize(
    "answer", [GONE, MISSING, Connection(live=True, seek_error=LIVE), Connection(rate_hz=8_000)]
)
def test_what_is_no_use_is_not_tried_again(answer: Connection | SourceError) -> None:
    servers = Servers(answer, Connection())
    source = resuming(Connection(20, BROKEN), servers)
    with pytest.raises(SourceError) as caught:
        numbers(source)
    assert caught.value is BROKEN
    assert servers.asked == 1
    if isinstance(answer, Connection):
        assert answer.closed
    source.close()


@pytest.mark.parametrize("answer", [BUSY, STALLED, Connection(seek_error=STALLED)])
def test_what_may_pass_is_tried_again(answer: Connection | SourceError) -> None:
    source = resuming(Connection(20, BROKEN), Servers(answer, Connection()))
    assert numbers(source) == list(range(LENGTH))
    if isinstance(answer, Connection):
        assert answer.closed
    source.close()


def test_a_live_stream_is_not_asked_again() -> None:
    servers = Servers(Connection())
    source = resuming(Connection(20, BROKEN, live=True), servers)
    with pytest.raises(SourceError):
        numbers(source)
    assert servers.asked == 0
    source.close()


def test_a_file_that_is_short_ends_soon() -> None:
    servers = Servers(*(Connection(20, BROKEN) for _ in range(100)))
    source = resuming(Connection(20, BROKEN), servers, attempts=50)
    with pytest.raises(SourceError) as caught:
        numbers(source)
    assert caught.value is BROKEN
    assert servers.asked == 2
    source.close()


def early_end() -> Connection:
    """A connection that ends without a word, 12 s before the source does."""
    return Connection(400, duration_s=20.0)


def test_an_end_that_comes_too_early_is_a_break() -> None:
    source = resuming(early_end(), Servers(Connection(1_000, duration_s=20.0)))
    count = 0
    while source.read() is not None:
        count += 1
    assert count == 1_000
    source.close()


def test_an_early_end_is_one_if_the_server_has_no_more() -> None:
    servers = Servers(early_end(), early_end(), early_end())
    source = resuming(early_end(), servers)
    count = 0
    while source.read() is not None:
        count += 1
    assert (count, servers.asked) == (400, 2)
    source.close()


def test_an_early_end_says_why_the_server_is_not_there_any_more() -> None:
    source = resuming(early_end(), Servers())
    with pytest.raises(SourceError) as caught:  # noqa: PT012 - after all that it gave
        while source.read() is not None:
            pass
    assert caught.value is REFUSED
    assert source.read() is None
    source.close()


def test_a_server_that_stalls_again_and_again_is_given_up_after_three_times() -> None:
    servers = Servers(*(Connection(20, STALLED) for _ in range(100)))
    source = resuming(Connection(20, STALLED), servers, attempts=7)
    with pytest.raises(SourceError):
        numbers(source)
    assert servers.asked == 3
    source.close()


def test_seeks_and_finds_the_way_back_after_it_gave_up() -> None:
    first, second = Connection(20, BROKEN), Connection()
    servers = Servers(REFUSED, second)
    source = resuming(first, servers, attempts=1)
    with pytest.raises(SourceError):
        numbers(source)
    assert source.seek(0.7) == 0.7
    assert source.position_s == 0.7
    assert source.preroll_packets == (b"before",)
    assert numbers(source) == list(range(35, LENGTH))
    source.seek(0.0)
    assert numbers(source) == list(range(LENGTH))
    source.close()
    late = resuming(Connection(20, BROKEN), Servers(), attempts=0)
    with pytest.raises(SourceError):
        numbers(late)
    with pytest.raises(SourceError) as caught:
        late.seek(0.0)
    assert caught.value is REFUSED
    late.close()


def test_interrupt_ends_the_wait() -> None:
    servers = Servers(Connection())
    source = Resuming(Connection(0, BROKEN), reopen=servers, first_delay_s=600.0, longest_delay_s=600.0)
    found: list[Frame | None] = []
    thread = threading.Thread(target=lambda: found.append(source.read()))
    thread.start()
    source.interrupt()
    thread.join(SAFETY_S)
    assert found == [None]
    assert servers.asked == 0
    source.close()


def test_interrupt_while_it_opens_reaches_the_new_connection() -> None:
    late = Connection()

    def reopen() -> Connection:
        source.interrupt()
        return late

    source = resuming(Connection(20, BROKEN), reopen)
    while source.read() is not None:
        pass
    assert late.interrupted
    source.close()
    assert late.closed


# Real servers.

FORMATS: dict[str, Callable[[], bytes]] = {
    "wav": partial(encode, "pcm_s16le", "wav", seconds=6.0),
    "wav 44.1 kHz": partial(encode, "pcm_s16le", "wav", rate_hz=44_100, seconds=6.0),
    "mp3": partial(encode, "libmp3lame", "mp3", bitrate_bps=128_000, seconds=20.0),
    "flac": partial(encode, "flac", "flac", seconds=6.0),
    "ogg opus": partial(opus, seconds=20.0),
    "webm opus": partial(opus, "webm", seconds=20.0),
    "m4a": partial(
        encode,
        "aac",
        "ipod",
        bitrate_bps=128_000,
        seconds=20.0,
        codec_options=(("aac_pns", "0"),),
        muxer_options=(("movflags", "faststart"),),
    ),
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class Faults:
    """Answers requests for the first half with one fault after the other, and then as they should be."""

    def __init__(self, half_bytes: int, *faults: Answer, otherwise: Answer | None = None) -> None:
        self._half_bytes = half_bytes
        self._faults = list(faults)
        self._otherwise = otherwise or Answer()

    def __call__(self, start: int) -> Answer:
        return self._faults.pop(0) if start <= self._half_bytes and self._faults else self._otherwise


def fetched(
    url: str,
    *,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 10.0,
    headers: dict[str, str] | None = None,
) -> Resuming:
    reopen = partial(
        open_media, url, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s, headers=headers
    )
    return Resuming(reopen(), reopen=reopen, first_delay_s=0.0, longest_delay_s=0.05)


def all_of(reader: Any) -> list[bytes | npt.NDArray[np.float32]]:
    frames = []
    while (frame := reader.read()) is not None:
        frames.append(frame)
    reader.close()
    return frames


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    if isinstance(expected[0], bytes):
        assert found == expected
    else:
        # -80 dB: a lossy decoder may converge to the last bit only after a while.
        assert np.abs(np.concatenate(found) - np.concatenate(expected)).max() < 1e-4


def direct(data: bytes) -> list[bytes | npt.NDArray[np.float32]]:
    return all_of(open_media(data, open_timeout_s=5.0, read_timeout_s=5.0))


@pytest.mark.parametrize("name", FORMATS)
def test_a_server_that_goes_away_in_mid_file(name: str) -> None:
    data = FORMATS[name]()
    half = len(data) // 2

    with breaking(Breaking(data, Faults(half, Answer("reset", half), *[Answer("status")] * 4))) as site:
        source = fetched(site.url)
        assert_same(all_of(source), direct(data))
        assert source.resumptions >= 1
        assert source.skipped_packets <= 1
    assert max(site.starts) > 0


@pytest.mark.parametrize("way", ["stall", "half a header", "end"])
def test_other_ways_to_break(way: Any) -> None:
    data = FORMATS["flac"]()
    half = len(data) // 2

    first = Answer("end" if way == "half a header" else way, half)
    with breaking(Breaking(data, Faults(half, first, *[Answer(way, half)] * 4))) as site:
        source = fetched(site.url, open_timeout_s=0.5, read_timeout_s=0.5)
        assert_same(all_of(source), direct(data))
        assert source.resumptions >= 1


@pytest.mark.parametrize("headers", [None, {"X-Own": "client"}])
@pytest.mark.parametrize("name", ["wav", "wav 44.1 kHz", "mp3", "flac"])
def test_a_server_without_ranges_is_read_over(name: str, headers: dict[str, str] | None) -> None:
    data = FORMATS[name]()
    half = len(data) // 2
    faults = Faults(half, Answer("end", half, ranges=False), otherwise=Answer(ranges=False))
    with breaking(Breaking(data, faults)) as site:
        assert_same(all_of(fetched(site.url, headers=headers)), direct(data))


def test_a_region_goes_over_a_break() -> None:
    data = FORMATS["wav"]()
    half = len(data) // 2
    with breaking(Breaking(data, Faults(half, *[Answer("end", half)] * 3))) as site:
        found = all_of(Region(fetched(site.url), start_s=1.0, end_s=5.0, repeats=1))
        assert_same(found, [*direct(data)[50:250]] * 2)
