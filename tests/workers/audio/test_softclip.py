from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.workers.audio.reference import FRAME, difference_db, in_frames, soft_clipped
from voicepool.workers.audio.softclip import SOFT_CLIP_THRESHOLD, SoftClip

SPARE = np.empty((2, FRAME, 2), dtype=np.float32)


def clipped(clip: SoftClip, frame: np.ndarray, *, bends: bool = True) -> np.ndarray:
    out = frame.astype(np.float32)
    clip.apply(out, SPARE[0], SPARE[1], bends=bends)
    return out


def bending() -> SoftClip:
    clip = SoftClip()
    clipped(clip, np.zeros((FRAME, 2)))
    return clip


def test_up_to_the_threshold_nothing_changes() -> None:
    frame = np.linspace(-SOFT_CLIP_THRESHOLD, SOFT_CLIP_THRESHOLD, 2 * FRAME, dtype=np.float32).reshape(-1, 2)
    assert np.array_equal(clipped(bending(), frame), frame)
    # The same samples in a frame that has to be bent elsewhere.
    louder = frame.copy()
    louder[0, 0] = -3.0
    assert np.array_equal(clipped(bending(), louder).ravel()[1:], frame.ravel()[1:])


def test_above_it_is_tanh() -> None:
    frame = np.linspace(-4.0, 4.0, 2 * FRAME, dtype=np.float32).reshape(-1, 2)
    assert difference_db(clipped(bending(), frame), soft_clipped(frame)) < -120


@settings(deadline=None, max_examples=60)
@given(
    values=arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    bends=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_never_beyond_full_scale_nor_turned_round(values: np.ndarray, bends: list[bool]) -> None:
    frame = np.resize(values, (FRAME, 2))
    clip = SoftClip()
    for bend in bends:
        got = clipped(clip, frame, bends=bend)
        assert np.max(np.abs(got)) <= 1.0
        assert np.array_equal(np.sign(got), np.sign(frame))
    quiet = np.abs(frame) <= SOFT_CLIP_THRESHOLD
    assert np.array_equal(got[quiet], frame[quiet])


def test_louder_stays_louder_up_to_full_scale() -> None:
    frame = np.linspace(0.0, 1.3, 2 * FRAME, dtype=np.float32).reshape(-1, 2)
    steps = np.diff(clipped(bending(), frame).ravel())
    assert np.min(steps) > 0.0
    # No corner: from one sample to the next the slope changes by less than a hundredth.
    assert np.max(np.abs(np.diff(steps))) < 0.01 * steps[0]


def test_played_as_it_is_it_is_cut_at_full_scale_only() -> None:
    frame = np.linspace(-1.2, 1.2, 2 * FRAME, dtype=np.float32).reshape(-1, 2)
    assert np.array_equal(clipped(SoftClip(), frame, bends=False), np.clip(frame, -1, 1))


def test_from_cut_to_curve_and_back_takes_a_frame_each() -> None:
    signal = np.full((6 * FRAME, 2), 1.0, dtype=np.float32)
    bent = float(soft_clipped(np.array([1.0]))[0])
    clip = SoftClip()
    got = np.concatenate(
        [
            clipped(clip, frame, bends=bends)
            for frame, bends in zip(in_frames(signal), [False, True, True, False, False, True], strict=True)
        ]
    )[:, 0]
    way = np.arange(FRAME) / FRAME
    down = 1.0 + (bent - 1.0) * way
    up = bent + (1.0 - bent) * way
    want = np.concatenate([np.ones(FRAME), down, np.full(FRAME, bent), up, np.ones(FRAME), down])
    assert difference_db(got, want) < -120
    assert np.max(np.abs(np.diff(got))) < 1e-4


def test_a_frame_that_passed_by_was_not_bent() -> None:
    loud = np.ones((FRAME, 2))
    clip = bending()
    clip.pass_frame()
    assert clipped(clip, loud)[0, 0] == 1.0
