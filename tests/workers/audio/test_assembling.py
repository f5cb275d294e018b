"""Which readers there are around a source, and where they begin: real files and servers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.breaking_server import Answer, Breaking, breaking
from tests.workers.audio.media_files import encode, opus, wav
from tests.workers.audio.test_readahead import wait_until
from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import BytesSource, FileSource, SilenceSource, UrlSource
from voicepool.workers.audio import assembling
from voicepool.workers.audio.assembling import Assembler, ConcreteSource, OpenedTrack
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.readahead import NOT_YET, ReadAhead
from voicepool.workers.audio.region import Region
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.audio.silence import SilenceReader
from voicepool.workers.errors import SourceError

SAFETY_S = 20.0
OPUS = opus(seconds=2.0)
FLAC = encode("flac", "flac", seconds=2.0, tags=(("title", "Song"), ("artist", "Us"), ("album", "First")))
TONE = wav((np.arange(96_000) % 251).astype(np.int16)[:, None].repeat(2, axis=1))
WHOLE = TrackOptions()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def opened(
    source: ConcreteSource,
    options: TrackOptions = WHOLE,
    *attachments: bytes,
    position_s: float | None = None,
) -> OpenedTrack:
    return Assembler(10.0, 10.0, 1.0).open(source, options, attachments, position_s=position_s)


def in_memory(data: bytes, options: TrackOptions = WHOLE, *, position_s: float | None = None) -> OpenedTrack:
    return opened(BytesSource(len(data)), options, data, position_s=position_s)


def all_of(track: OpenedTrack) -> list[Any]:
    """Read a track to its end and close it, waiting for what is read ahead."""
    frames: list[Any] = []

    def over() -> bool:
        while (frame := track.reader.poll()) is not NOT_YET:
            if frame is None:
                return True
            frames.append(frame)
        return False

    try:
        wait_until(over)
    finally:
        close(track)
    return frames


def close(track: OpenedTrack) -> None:
    track.close()
    if isinstance(track.reader, ReadAhead):
        assert track.reader.wait_until_over(SAFETY_S)


def direct(data: bytes) -> list[Any]:
    reader = open_media(data, open_timeout_s=5.0, read_timeout_s=5.0)
    frames = []
    while (frame := reader.read()) is not None:
        frames.append(frame)
    reader.close()
    return frames


def samples(frames: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate(frames)


# Files, bytes, silence.


def test_a_plain_file_has_nothing_around_it(tmp_path: Path) -> None:
    path = tmp_path / "song.opus"
    path.write_bytes(OPUS)
    track = opened(FileSource(str(path)))
    assert isinstance(track.reader, MediaReader)
    assert (track.begins_s, track.source) == (0.0, FileSource(str(path)))
    assert track.info.passthrough
    assert not track.info.live
    assert len(track.reader.take_packets(24)) == 24
    assert track.reader.position_s == pytest.approx(23 / 50)
    close(track)


def test_a_file_named_like_a_url_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "http:" / "127.0.0.1:1"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(TONE)
    monkeypatch.chdir(tmp_path)
    track = opened(FileSource("http:/127.0.0.1:1/a.wav"))
    close(track)
    assert track.info.codec == "pcm_s16le"


def test_what_it_says_of_itself() -> None:
    track = in_memory(FLAC)
    close(track)
    info = track.info
    assert (info.codec, info.container, info.sample_rate_hz, info.channels) == ("flac", "flac", 48_000, 2)
    assert (info.title, info.artist, info.passthrough, info.live) == ("Song", "Us", False, False)
    assert info.tags["album"] == "First"
    assert info.duration_s == pytest.approx(2.0, abs=0.05)


def test_a_place_alone_needs_no_region() -> None:
    expected = direct(OPUS)
    track = in_memory(OPUS, position_s=1.01)
    assert isinstance(track.reader, MediaReader)
    assert track.begins_s == 1.0
    assert all_of(track) == expected[50:]
    behind = in_memory(OPUS, position_s=99.0)
    assert all_of(behind) == []


@pytest.mark.parametrize(
    ("options", "position_s", "begins_s", "parts"),
    [
        (TrackOptions(start_s=0.5), None, 0.5, [(0.5, 2.0)]),
        (TrackOptions(end_s=0.5), None, 0.0, [(0.0, 0.5)]),
        (TrackOptions(start_s=0.5, end_s=1.5, repeats=2), None, 0.5, [(0.5, 1.5)] * 3),
        (TrackOptions(start_s=0.5, end_s=1.5, repeats=1), 1.1234, 1.1234, [(1.1234, 1.5), (0.5, 1.5)]),
        (TrackOptions(start_s=0.5), 0.1, 0.5, [(0.5, 2.0)]),
        (TrackOptions(start_s=0.5, end_s=1.5), 7.0, 1.5, []),
        (TrackOptions(start_s=0.5, repeats=1), 7.0, 7.0, [(0.5, 2.0)]),
        (TrackOptions(start_s=5.0, repeats=None), None, 5.0, []),
        (TrackOptions(repeats=1), None, 0.0, [(0.0, 2.0)] * 2),
    ],
)
def test_parts_and_rounds(
    options: TrackOptions, position_s: float | None, begins_s: float, parts: list[tuple[float, float]]
) -> None:
    source = samples(direct(TONE))
    track = in_memory(TONE, options, position_s=position_s)
    assert isinstance(track.reader, Region)
    assert track.begins_s == pytest.approx(begins_s, abs=1e-4)
    assert track.reader.position_s == pytest.approx(begins_s, abs=1e-4)
    expected = [source[round(start * 48_000) : round(end * 48_000)] for start, end in parts]
    found = all_of(track)
    assert len(found) == -(-sum(map(len, expected)) // 960)
    if expected:
        whole = np.concatenate(expected)
        assert np.array_equal(samples(found)[: len(whole)], whole)


def test_silence() -> None:
    track = opened(SilenceSource(1.0), TrackOptions(repeats=1), position_s=0.9)
    assert (track.begins_s, track.info.codec, track.info.duration_s) == (0.9, "silence", 1.0)
    frames = all_of(track)
    assert len(frames) == 55
    assert not samples(frames).any()
    plain = opened(SilenceSource())
    assert isinstance(plain.reader, SilenceReader)
    assert (plain.info.passthrough, plain.info.duration_s) == (False, None)
    close(plain)


@pytest.mark.parametrize(
    ("options", "position_s", "words"),
    [
        (TrackOptions(start_s=1.0, end_s=0.5), None, "nothing in it"),
        (TrackOptions(repeats=-1), None, "repeats"),
        (WHOLE, -1.0, "0 s or more"),
        (WHOLE, float("nan"), "0 s or more"),
        (TrackOptions(start_s=float("inf")), None, "0 s or more"),
    ],
)
def test_senseless_wishes_are_refused(options: TrackOptions, position_s: float | None, words: str) -> None:
    with pytest.raises(SourceError, match=f"bytes in memory.*{words}") as caught:
        in_memory(FLAC, options, position_s=position_s)
    assert caught.value.code is ErrorCode.SOURCE_REFUSED
    with pytest.raises(SourceError, match="silence: silence must last"):
        opened(SilenceSource(-1.0))


@pytest.fixture
def unseekable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all sources such that FFmpeg finds no way in them."""

    def seek(_reader: MediaReader, _position_s: float) -> float:
        raise UnseekableError("it", "it is a test")

    monkeypatch.setattr(MediaReader, "seek", seek)


@pytest.mark.usefixtures("unseekable")
def test_a_file_that_cannot_seek() -> None:
    expected = samples(direct(TONE))[24_000:]
    # Read over, on a thread of its own.
    track = in_memory(TONE, TrackOptions(start_s=0.5, repeats=1))
    assert isinstance(track.reader, ReadAhead)
    assert track.begins_s == 0.5
    assert np.array_equal(samples(all_of(track)), np.concatenate([expected] * 2))
    for options in (WHOLE, TrackOptions(start_s=0.5)):
        with pytest.raises(SourceError, match="cannot be played from 1 s on") as caught:
            in_memory(TONE, options, position_s=1.0)
        assert caught.value.code is ErrorCode.UNSEEKABLE
    assert len(all_of(in_memory(TONE, position_s=0.0))) == 100


# Servers.


def whole(_start: int) -> Answer:
    return Answer()


def test_a_url_is_read_ahead_and_may_be_played_in_parts() -> None:
    packets = direct(OPUS)
    with breaking(Breaking(OPUS, whole)) as site:
        track = opened(UrlSource(site.url))
        assert isinstance(track.reader, ReadAhead)
        assert track.info.passthrough
        assert all_of(track) == packets
        part = opened(UrlSource(site.url), TrackOptions(start_s=0.5, end_s=1.0, repeats=1), position_s=0.8)
        assert part.begins_s == pytest.approx(0.8)
        assert all_of(part) == packets[40:50] + packets[25:50]


def test_headers_are_sent_and_shown_nowhere() -> None:
    with breaking(Breaking(OPUS, whole)) as site:
        track = opened(UrlSource(site.url, headers={"Cookie": "secret"}))
        assert len(all_of(track)) == len(direct(OPUS))
        assert all(sent["Cookie"] == "secret" for sent in site.headers)
    with pytest.raises(SourceError) as caught:
        opened(UrlSource("http://127.0.0.1:1/a?key=secret", headers={"Cookie": "secret\n"}))
    assert caught.value.code is ErrorCode.SOURCE_REFUSED
    assert "secret" not in str(caught.value)


def test_private_addresses_are_refused_where_wanted() -> None:
    with breaking(Breaking(OPUS, whole)) as site:
        with pytest.raises(SourceError) as caught:
            opened(UrlSource(site.url, public_only=True))
        assert caught.value.code is ErrorCode.SOURCE_REFUSED
        assert site.starts == []


def test_a_recording_goes_on_after_a_break() -> None:
    data = opus(seconds=20.0)
    half = len(data) // 2
    faults = [Answer("end", half), *[Answer("half a header")] * 2]

    def answer(start: int) -> Answer:
        # FFmpeg looks at the end for the length first.
        return faults.pop(0) if start <= half and faults else Answer()

    with breaking(Breaking(data, answer)) as site:
        assert all_of(opened(UrlSource(site.url))) == direct(data)
    assert not faults


def test_a_broadcast_is_opened_anew_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembling, "_BROADCAST_ATTEMPTS", 1)
    packets = direct(OPUS)
    with breaking(Breaking(OPUS, whole, length=False)) as site:
        track = opened(UrlSource(site.url, live=True))
        assert track.info.live
        assert isinstance(track.reader, ReadAhead)
        heard: list[bytes] = []

        def enough() -> bool:
            heard.extend(track.reader.take_packets(24))
            return len(heard) >= 2 * len(packets)

        wait_until(enough)
        assert heard[: 2 * len(packets)] == packets * 2
        close(track)


def test_a_broadcast_is_late_by_so_much_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembling, "_BROADCAST_ATTEMPTS", 0)
    packets = direct(OPUS)
    with breaking(Breaking(OPUS, whole, length=False)) as site:
        track = opened(UrlSource(site.url, live=True, max_latency_s=0.2))
        reader = track.reader
        assert isinstance(reader, ReadAhead)
        wait_until(lambda: reader.ended)
        assert reader.take_packets(24) == packets[-10:]
        assert reader.dropped_frames == len(packets) - 10
        close(track)
        # Nothing is dropped without a limit: the server waits.
        patient = opened(UrlSource(site.url, live=True))
        assert all_of(patient) == packets


def test_a_broadcast_may_be_left_early() -> None:
    with breaking(Breaking(OPUS, whole, length=False)) as site:
        track = opened(UrlSource(site.url, live=True), TrackOptions(end_s=0.5))
        assert all_of(track) == direct(OPUS)[:25]


@pytest.mark.parametrize(
    ("options", "position_s", "words"),
    [
        (TrackOptions(start_s=1.0), None, "from 1 s on: it is a broadcast"),
        (WHOLE, 1.0, "from 1 s on: it is a broadcast"),
        (TrackOptions(repeats=1), None, "cannot be played again"),
        (TrackOptions(repeats=None), None, "cannot be played again"),
    ],
)
def test_a_broadcast_has_no_other_place(options: TrackOptions, position_s: float | None, words: str) -> None:
    source = UrlSource("http://user:secret@127.0.0.1:1/radio?key=secret", live=True)
    with pytest.raises(SourceError, match=f"http://127.0.0.1:1/radio .*{words}") as caught:
        opened(source, options, position_s=position_s)
    assert caught.value.code is ErrorCode.UNSEEKABLE
    assert "secret" not in str(caught.value)


def test_an_endless_url_that_is_not_said_to_be_live() -> None:
    packets = direct(OPUS)
    with breaking(Breaking(OPUS, lambda _: Answer(ranges=False), length=False)) as site:
        with pytest.raises(SourceError, match="sends it from the start only") as caught:
            opened(UrlSource(site.url), position_s=1.0)
        assert caught.value.code is ErrorCode.UNSEEKABLE
        assert all_of(opened(UrlSource(site.url), TrackOptions(start_s=1.0))) == packets[50:]


def test_nothing_is_left_open_where_opening_fails() -> None:
    # The fixture for all tests finds sockets and threads.
    with breaking(Breaking(OPUS, whole)) as site, pytest.raises(SourceError):
        opened(UrlSource(site.url), TrackOptions(start_s=1.0, end_s=0.5))
    assert not [thread for thread in threading.enumerate() if thread.name == "voicepool-readahead"]


def test_close_does_not_wait_for_a_server_that_stalls() -> None:
    data = opus(seconds=20.0)
    half = len(data) // 2
    with breaking(Breaking(data, lambda start: Answer("stall", half) if start <= half else Answer())) as site:
        assembler = Assembler(open_timeout_s=10.0, read_timeout_s=0.5, read_ahead_s=30.0)
        track = assembler.open(UrlSource(site.url), WHOLE, (), position_s=None)
        close(track)
