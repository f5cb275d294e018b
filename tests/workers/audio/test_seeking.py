"""The arithmetic of a seek; that it meets the sample in real files is shown in `test_reader`."""

from __future__ import annotations

from fractions import Fraction
from math import inf

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.seeking import (
    Approach,
    SeekPlan,
    SkippingCutter,
    latest_landing_s,
    plan_seek,
    without_start,
)

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)


@given(st.floats(0, 36_000), st.sampled_from(RATES_HZ))
def test_plan_begins_on_both_grids_and_meets_the_target(position_s: float, rate_hz: int) -> None:
    plan = plan_seek(position_s, rate_hz)
    begin_out = Fraction(plan.begin * 48_000, rate_hz)
    assert begin_out.denominator == 1
    assert begin_out + plan.skip_samples == plan.target_samples == round(position_s * 48_000)
    assert plan.begin >= 0
    if rate_hz == 48_000:
        assert plan.skip_samples == 0
    elif plan.begin:
        # 10 ms for the converter's filter, and no more than one step of the grid besides.
        assert 480 <= plan.skip_samples < 480 + 640


def frame(first: int, count: int, fmt: str = "s16", layout: str = "stereo") -> AudioFrame:
    channels = av.AudioLayout(layout).nb_channels
    one = np.arange(first, first + count)
    planar = fmt.endswith("p")
    array = np.tile(one, (channels, 1)) if planar else np.repeat(one, channels)[np.newaxis]
    kind = {"s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64, "u8": np.uint8}
    made = AudioFrame.from_ndarray(
        np.ascontiguousarray(array.astype(kind[fmt.removesuffix("p")])), format=fmt, layout=layout
    )
    made.sample_rate, made.pts = 48_000, first
    return made


@pytest.mark.parametrize("fmt", ["s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp", "u8", "u8p"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7 channels"])
def test_frame_without_its_start_is_of_the_same_kind(fmt: str, layout: str) -> None:
    whole = frame(0, 100, fmt, layout)
    rest = without_start(whole, 30)
    assert (rest.samples, rest.sample_rate, rest.format.name) == (70, 48_000, fmt)
    assert rest.layout.name == whole.layout.name
    step = 1 if whole.format.is_planar else whole.layout.nb_channels
    assert np.array_equal(rest.to_ndarray(), whole.to_ndarray()[:, 30 * step :])


def approach(*, begin: int, from_start: bool = False, origin_pts: int = 0) -> Approach:
    plan = SeekPlan(begin, begin, 0, 48_000)
    return Approach(plan, origin_pts=origin_pts, time_base=Fraction(1, 48_000), from_start=from_start)


def test_frames_before_the_target_are_dropped_and_the_one_with_it_is_cut() -> None:
    going = approach(begin=250, origin_pts=1_000)
    assert going.reached_s is None
    assert going.take(frame(1_000, 100)) is None
    assert going.take(frame(1_100, 100)) is None
    assert going.reached_s == 200 / 48_000
    rest = going.take(frame(1_200, 100))
    assert rest is not None
    assert rest.to_ndarray()[0, ::2].tolist() == list(range(1_250, 1_300))
    assert (going.landed, going.late) == (250, False)


def test_frame_that_begins_with_the_target_goes_through_as_it_is() -> None:
    going = approach(begin=100)
    assert going.take(frame(0, 100)) is None
    whole = frame(100, 100)
    assert going.take(whole) is whole


def test_landing_behind_the_target_is_late_except_at_the_very_start() -> None:
    late = approach(begin=50)
    assert late.take(frame(100, 100)) is None
    assert late.late
    start = approach(begin=50, from_start=True)
    assert start.take(frame(100, 100)) is not None
    assert (start.landed, start.late) == (100, False)


def test_frames_without_timestamps_follow_the_one_before() -> None:
    nameless = frame(0, 100)
    nameless.pts = None
    going = approach(begin=150, from_start=True)
    assert going.take(nameless) is None
    assert going.take(nameless) is not None
    assert going.landed == 150
    lost = approach(begin=150)
    assert lost.take(nameless) is None
    assert lost.late


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5_000), st.integers(1, 6_000))
def test_cutter_skips_and_says_what_it_filled_up(skip: int, count: int) -> None:
    cutter = SkippingCutter(skip)
    cutter.push(frame(0, count, "s16"))
    frames = []
    while (made := cutter.take()) is not None:
        assert cutter.padding_samples == 0
        frames.append(made)
    cutter.finish()
    paddings = []
    while (made := cutter.take()) is not None:
        frames.append(made)
        paddings.append(cutter.padding_samples)
    left = max(0, count - skip)
    assert len(frames) == -(-left // 960)
    assert sum(paddings) == -left % 960
    assert not any(paddings[:-1])
    if frames:
        heard = np.concatenate(frames)
        assert np.allclose(heard[:left, 0] * 32_768, np.arange(skip, count), atol=0.01)
        assert not heard[left:].any()


def test_last_place_to_send_ffmpeg_to() -> None:
    def info(container: str, duration_s: float | None) -> MediaInfo:
        return MediaInfo(None, None, duration_s, "x", container, 48_000, 2)

    assert latest_landing_s(info("wav", 10.0), 10.0) == 10.0
    assert latest_landing_s(info("mp3", 10.0), None) == inf
    # Before any page that can be the last.
    assert latest_landing_s(info("ogg", 100.0), None) == 69.0
    assert latest_landing_s(info("ogg", None), None) == -inf
