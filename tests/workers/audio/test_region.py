from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.media_files import encode, opus
from tests.workers.audio.test_media import opened
from tests.workers.audio.test_reader import samples
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.media import Frame, MediaReader
from voicepool.workers.audio.region import Region, SeekableReader
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.errors import SourceError

SECONDS: Final = 2.0
NO_NOISE = (("aac_pns", "0"),)
FORMATS: dict[str, bytes] = {
    "wav": encode("pcm_s16le", "wav"),
    "flac": encode("flac", "flac"),
    "wav 44.1 kHz": encode("pcm_s16le", "wav", rate_hz=44_100),
    "mp3": encode("libmp3lame", "mp3", bitrate_bps=128_000),
    "ogg vorbis": encode("vorbis", "ogg", codec_options=(("strict", "-2"),)),
}
OPUS = opus()


def whole(data: bytes) -> npt.NDArray[np.float32]:
    reader = opened(data)
    heard = samples(reader)
    reader.close()
    return heard


def heard(region: Region, *, at_most: int = 10_000) -> npt.NDArray[np.float32]:
    frames: list[npt.NDArray[np.float32]] = []
    while len(frames) < at_most and (frame := region.read()) is not None:
        assert not isinstance(frame, bytes)
        assert frame.shape == (960, 2)
        frames.append(frame)
    region.close()
    return np.concatenate(frames)


def assert_is(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    """The same samples, filled up with silence to a whole frame."""
    assert len(found) == -(-len(expected) // 960) * 960
    # -100 dB
    assert np.abs(found[: len(expected)] - expected).max() < 1e-5
    assert not found[len(expected) :].any()


class NoSeek:
    """A reader whose source cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._reader = opened(data)
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def seek(self, _position_s: float) -> float:
        raise UnseekableError("it", "it is a test")

    def close(self) -> None:
        self.closed = True
        self._reader.close()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, None), (0.51237, 1.3), (1.0, 1.0301), (0.7, 99.0)])
def test_rounds_are_joined_to_the_sample(name: str, start_s: float, end_s: float | None) -> None:
    data = FORMATS[name]
    source = whole(data)
    part = source[round(start_s * 48_000) : None if end_s is None else round(end_s * 48_000)]
    once = Region(opened(data), start_s=start_s, end_s=end_s)
    assert_is(heard(once), part)
    assert once.rounds == 0
    thrice = Region(opened(data), start_s=start_s, end_s=end_s, repeats=2)
    assert_is(heard(thrice), np.concatenate([part] * 3))
    assert thrice.rounds == 2
    assert thrice.skipped_packets == 0


def test_without_end() -> None:
    part = whole(FORMATS["wav"])[4_800:14_900]
    region = Region(opened(FORMATS["wav"]), start_s=0.1, end_s=14_900 / 48_000, repeats=None)
    found = heard(region, at_most=200)
    assert np.abs(found - np.resize(part, found.shape)).max() < 1e-6
    assert region.rounds == len(found) // len(part)
    assert region.read() is None


@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_source_that_cannot_seek_is_opened_anew_and_read_over(start_s: float) -> None:
    data = FORMATS["flac"]
    opened_ones: list[NoSeek] = []

    def reopen() -> NoSeek:
        opened_ones.append(NoSeek(data))
        return opened_ones[-1]

    part = whole(data)[round(start_s * 48_000) : 60_000]
    first = reopen()
    region = Region(first, start_s=start_s, end_s=1.25, repeats=2, reopen=reopen)
    assert_is(heard(region), np.concatenate([part] * 3))
    assert len(opened_ones) == 3
    assert all(one.closed for one in opened_ones)


def test_source_that_cannot_seek_plays_once_and_says_why_not_again() -> None:
    region = Region(NoSeek(FORMATS["flac"]), repeats=1)
    frames = []
    with pytest.raises(UnseekableError):  # noqa: PT012 - after all that it gave
        while (frame := region.read()) is not None:
            frames.append(frame)
    assert len(frames) == 100
    assert region.read() is None
    region.close()
    late = Region(NoSeek(FORMATS["flac"]), start_s=1.0)
    with pytest.raises(UnseekableError):
        late.read()
    late.close()


def positions(region: Region) -> list[tuple[Frame, float]]:
    found = []
    while (frame := region.read()) is not None:
        found.append((frame, region.position_s))
    return found


def test_position_of_every_frame() -> None:
    region = Region(opened(FORMATS["wav"]), start_s=0.5, end_s=0.55, repeats=1)
    assert region.position_s == 0.5
    # 2 400 samples a round: the third frame goes over the joint.
    found = [round(position_s * 1_000) for _, position_s in positions(region)]
    assert found == [500, 520, 540, 510, 530]
    region.close()


@pytest.mark.parametrize("make", [opened, NoSeek])
def test_opus_passes_through_from_packet_to_packet(make: Callable[[bytes], SeekableReader]) -> None:
    reader = opened(OPUS)
    packets = list(iter(reader.read, None))
    reader.close()
    region = Region(make(OPUS), start_s=0.51, end_s=0.61, repeats=1, reopen=lambda: make(OPUS))
    assert region.kind == "opus"
    found = positions(region)
    # 0.51 s lies in packet 25, the last sample before 0.61 s in packet 30.
    assert [frame for frame, _ in found] == packets[25:31] * 2
    assert [round(position_s * 50) for _, position_s in found] == [*range(25, 31)] * 2
    region.close()
    if make is opened:
        assert list(region.preroll_packets) == packets[21:25]


def test_seek_within_and_around_the_region() -> None:
    data = FORMATS["flac"]
    source = whole(data)
    region = Region(opened(data), start_s=0.4, end_s=1.0, repeats=1)
    region.read()
    assert region.seek(0.71234) == pytest.approx(0.71234, abs=1e-5)
    assert region.position_s == pytest.approx(0.71234, abs=1e-5)
    assert_is(
        heard(region), np.concatenate([source[round(0.71234 * 48_000) : 48_000], source[19_200:48_000]])
    )
    for asked_s, expected in ((0.0, source[19_200:48_000]), (5.0, source[:0])):
        region = Region(opened(data), start_s=0.4, end_s=1.0, repeats=0)
        while region.read() is not None:
            pass
        region.seek(asked_s)
        frames = [frame for frame, _ in positions(region)]
        assert len(frames) == len(expected) / 960
        assert all(np.allclose(f, expected[n * 960 : n * 960 + 960]) for n, f in enumerate(frames))
        region.close()


def test_start_behind_the_end_is_the_end_even_without_end() -> None:
    for data in (FORMATS["wav"], OPUS):
        region = Region(opened(data), start_s=5.0, repeats=None)
        assert region.read() is None
        assert region.read() is None
        region.close()


def test_truncated_source_is_told_once_after_what_it_gave() -> None:
    data = FORMATS["flac"]
    region = Region(opened(data[: len(data) // 2]), repeats=None)
    count = 0
    with pytest.raises(SourceError) as caught:  # noqa: PT012 - after all that it gave
        while region.read() is not None:
            count += 1
    assert caught.value.code is ErrorCode.SOURCE_TRUNCATED
    assert 40 < count < 60
    assert region.read() is None
    region.close()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"start_s": 1.0, "end_s": 1.0}, "nothing in it"),
        ({"start_s": 1.0, "end_s": 0.5}, "nothing in it"),
        ({"start_s": 1.0, "end_s": 1.000001}, "nothing in it"),
        ({"start_s": -1.0}, "0 s or more"),
        ({"start_s": float("nan")}, "0 s or more"),
        ({"end_s": float("inf")}, "number of seconds"),
        ({"repeats": -1}, "repeats"),
    ],
)
def test_empty_regions_are_refused(wrong: dict[str, Any], match: str) -> None:
    reader = opened(OPUS)
    with pytest.raises(ValueError, match=match):
        Region(reader, **wrong)
    reader.close()


# Packets in groups.


def grouped(region: Region, most: int) -> list[tuple[bytes, float]]:
    """All packets with their positions, taken in groups where that goes, else one by one."""
    found: list[tuple[bytes, float]] = []
    while True:
        if packets := region.take_packets(most):
            assert len(packets) <= most
            # The position is that of the last.
            first_s = region.position_s - (len(packets) - 1) / 50
            found.extend((packet, round(first_s + n / 50, 6)) for n, packet in enumerate(packets))
        elif (frame := region.poll()) is None:
            return found
        else:
            assert isinstance(frame, bytes)
            found.append((frame, round(region.position_s, 6)))


@pytest.mark.parametrize("most", [1, 3, 24, 1_000])
@pytest.mark.parametrize("make", [opened, NoSeek])
@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.0, None), (0.51, 0.61), (0.5, 0.6), (0.0, 0.011), (1.9, 9.0)]
)
def test_packets_in_groups_are_those_one_by_one(
    make: Callable[[bytes], SeekableReader], start_s: float, end_s: float | None, most: int
) -> None:
    def region() -> Region:
        return Region(make(OPUS), start_s=start_s, end_s=end_s, repeats=2, reopen=lambda: make(OPUS))

    one_by_one, in_groups = region(), region()
    expected = [(frame, round(position_s, 6)) for frame, position_s in positions(one_by_one)]
    assert grouped(in_groups, most) == expected
    assert in_groups.rounds == 2
    one_by_one.close()
    in_groups.close()
    assert in_groups.take_packets(most) == []


def test_a_group_ends_with_the_round() -> None:
    region = Region(opened(OPUS), start_s=0.5, end_s=0.6, repeats=1)
    region.seek(0.52)
    assert len(region.take_packets(24)) == 4
    assert region.take_packets(24) == []
    assert region.poll() is not None
    assert (region.position_s, region.rounds) == (0.5, 1)
    assert len(region.take_packets(2)) == 2
    assert region.take_packets(0) == []
    region.interrupt()
    assert region.take_packets(24) == []
    region.close()


def test_pcm_is_in_no_group() -> None:
    region = Region(opened(FORMATS["wav"]), end_s=0.5)
    assert region.poll() is not None
    assert region.take_packets(24) == []
    region.close()


def test_interrupt_and_close() -> None:
    region = Region(opened(FORMATS["wav"]), repeats=None)
    assert region.read() is not None
    region.interrupt()
    assert region.read() is None
    region.close()
    region.close()
    assert region.read() is None


def test_interrupt_reaches_the_source_that_is_opened_just_then() -> None:
    readers: list[MediaReader] = []

    def reopen() -> MediaReader:
        region.interrupt()
        readers.append(opened(FORMATS["wav"]))
        return readers[-1]

    region = Region(NoSeek(FORMATS["wav"]), repeats=None, reopen=reopen)
    while region.read() is not None:
        pass
    assert len(readers) == 1
    assert readers[0].read() is None
    region.close()
