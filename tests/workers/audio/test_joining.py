from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from voicepool.workers.audio.joining import FrameJoiner


def numbered(first: int, count: int) -> npt.NDArray[np.float32]:
    return np.repeat(np.arange(first, first + count, dtype=np.float32)[:, np.newaxis], 2, axis=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2_500), max_size=12))
def test_pieces_come_out_end_to_end_with_their_places(counts: list[int]) -> None:
    joiner = FrameJoiner()
    out, at = [], 0
    for count in counts:
        joiner.push(numbered(at, count), 10_000 + at)
        at += count
        while (taken := joiner.take()) is not None:
            out.append(taken)
        assert joiner.held_samples == at % 960
    joiner.finish()
    while (taken := joiner.take()) is not None:
        out.append(taken)
    assert [place for _, place in out] == [10_000 + 960 * n for n in range(len(out))]
    joined = np.concatenate([frame for frame, _ in out]) if out else np.empty((0, 2))
    assert len(joined) == -(-at // 960) * 960
    assert np.array_equal(joined[:at], numbered(0, at))
    assert not joined[at:].any()
    assert joiner.held_samples == 0


def test_whole_frames_are_not_copied() -> None:
    joiner = FrameJoiner()
    piece = numbered(0, 960)
    joiner.push(piece, 0)
    taken = joiner.take()
    assert taken is not None
    assert taken[0] is piece


def test_place_of_a_frame_over_a_joint_is_that_of_its_first_sample() -> None:
    joiner = FrameJoiner()
    joiner.push(numbered(0, 500), 70_000)
    joiner.push(numbered(0, 1_420), 100)
    assert [place for _, place in (joiner.take(), joiner.take())] == [70_000, 560]  # type: ignore[misc]


def test_after_the_end_there_may_be_more() -> None:
    joiner = FrameJoiner()
    joiner.push(numbered(0, 10), 0)
    joiner.finish()
    assert joiner.take() is not None
    assert joiner.take() is None
    joiner.push(numbered(0, 10), 0)
    assert joiner.take() is None
