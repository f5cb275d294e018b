"""A shape is one chain; a line makes frames from any place in the source on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import Listed, cut, error_db, feed_of, shaped
from voicepool.ipc.commands import TrackOptions
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.filters import FilterChain, FilterError
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.shape import Line, Shape, check_shape, faded, pace
from voicepool.workers.audio.tape import Tape
from voicepool.workers.errors import SourceError

SWEEP = signal(seconds=1.0)


def line_of(chain: str | None, place_samples: float) -> Line:
    tape = Tape(feed_of(Listed([*cut(SWEEP)])))
    return Line(tape, None if chain is None else FilterChain(chain), place_samples)


def made(line: Line) -> PcmFrame:
    found = []
    while (frame := line.make()) is not None:
        assert frame is not NOT_YET
        found.append(frame)
    return np.concatenate(found)


def test_nothing_to_do_is_no_chain() -> None:
    assert Shape().chain() is None
    assert Shape(loudness_lufs=-14.0).chain() is None
    assert Shape(None, 1.0, None) == Shape()


@pytest.mark.parametrize("speed", [0.25, 0.4, 0.5, 0.9, 1.1, 2.0, 3.0, 4.0])
def test_the_speed_is_the_chains(speed: float) -> None:
    chain = Shape(speed=speed).chain()
    assert chain is not None
    assert chain.speed == pytest.approx(speed)


def test_filters_that_change_the_speed_are_counted_in() -> None:
    chain = Shape("asetrate=60000", 2.0).chain()
    assert chain is not None
    assert chain.speed == pytest.approx(2.5)


def test_of_filters_and_speed_the_filters_are_blamed_for_what_they_are() -> None:
    with pytest.raises(FilterError, match=r"^bass"):
        Shape("bass=g=99999", 2.0).chain()


@pytest.mark.parametrize("place_samples", [0.0, 960.0, 1_000.4, 9_599.0])
def test_a_chain_begins_at_any_sample(place_samples: float) -> None:
    line = line_of("volume=0.5", place_samples)
    expected = 0.5 * SWEEP[round(place_samples) :]
    heard = made(line)
    assert error_db(heard[: len(expected)], expected) < -120.0
    assert 0 <= len(heard) - len(expected) < 960
    assert not heard[len(expected) :].any()


@pytest.mark.parametrize(("place_samples", "number"), [(0.0, 0), (1_430.0, 1), (1_450.0, 2), (9_600.0, 10)])
def test_frames_as_they_are_begin_at_the_nearest(place_samples: float, number: int) -> None:
    line = line_of(None, place_samples)
    assert line.read_number == number
    assert line.place_samples == number * 960
    assert np.array_equal(made(line), SWEEP[number * 960 :])
    assert line.read_number == 50


def test_the_place_goes_on_at_the_chains_speed() -> None:
    line = line_of("atempo=1.5", 480.0)
    for number in range(10):
        assert line.place_samples == pytest.approx(480 + number * 960 * 1.5)
        assert isinstance(line.make(), np.ndarray)


def test_a_starving_source_takes_nothing_from_the_place() -> None:
    tape = Tape(feed_of(Listed([NOT_YET, *cut(SWEEP)])))
    line = Line(tape, FilterChain("volume=0.5"), 0.0)
    assert line.make() is NOT_YET
    assert line.place_samples == 0.0
    assert error_db(made(line), 0.5 * SWEEP) < -120.0


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (("bass=foo=1", 1.0, None), "No such option: foo"),
        (("nonsense=1", 1.0, None), "FFmpeg has no filter of this name"),
        (("amovie=x", 1.0, None), "reads a file"),
        (("", 1.0, None), "empty"),
        (("bass=g=99999", 2.0, -14.0), "out of range"),
        (("atempo=9", 4.0, None), "times as fast"),
        ((None, 0.2, None), "a speed must be 0.25 to 4"),
        ((None, 4.1, None), "a speed must be 0.25 to 4"),
        ((None, float("nan"), None), "a speed must be 0.25 to 4"),
        ((None, 1.0, -80.0), "a loudness must be -70 to -5 LUFS"),
        ((None, 1.0, 0.0), "a loudness must be"),
        ((None, 1.0, float("nan")), "a loudness must be"),
    ],
)
def test_what_cannot_be_is_refused_beforehand(shape: Any, reason: str) -> None:
    with pytest.raises(FilterError, match=reason) as caught:
        check_shape(*shape)
    assert caught.value.code is ErrorCode.FILTER_REFUSED
    assert isinstance(caught.value, SourceError)
    with pytest.raises(FilterError, match=reason):
        shaped([]).shape(*shape)


@pytest.mark.parametrize(
    "shape", [(None, 1.0, None), (None, 0.25, -70.0), ("bass=g=3", 4.0, -5.0), ("loudnorm", 1, None)]
)
def test_what_can_be_is_let_through(shape: Any) -> None:
    check_shape(*shape)
    shaped([]).shape(*shape)


def test_a_change_fades_from_the_old_to_the_new() -> None:
    old, new = np.full((960, 2), 0.5, np.float32), np.full((960, 2), -0.25, np.float32)
    mixed = faded(old, new)
    assert np.array_equal(mixed[0], old[0])
    assert np.array_equal(mixed[-1], new[-1])
    assert np.array_equal(mixed[:, 0], mixed[:, 1])
    steps = np.abs(np.diff(mixed[:, 0]))
    assert max(steps[0], steps[-1]) < steps.max() / 100


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TrackOptions(), 1.0),
        (TrackOptions(speed=2.0), 2.0),
        (TrackOptions(filters="bass=g=3"), 1.0),
        (TrackOptions(filters="asetrate=48000*1.25,aresample=48000"), 1.25),
        (TrackOptions(filters="atempo=0.5", speed=1.5), 0.75),
    ],
)
def test_the_pace_is_that_of_speed_and_filters_together(options: TrackOptions, expected: float) -> None:
    assert pace(options) == pytest.approx(expected)
