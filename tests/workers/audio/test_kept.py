"""Frames that may be asked for again, by number."""

from __future__ import annotations

import numpy as np
import pytest

from voicepool.workers.audio.kept import KeptFrames
from voicepool.workers.audio.opus import PcmFrame


def frame(value: float) -> PcmFrame:
    return np.full((960, 2), value, np.float32)


def kept(count: int, *, begin: int = 0) -> KeptFrames:
    """Frames that know their number, each 960 samples after the one before."""
    frames = KeptFrames()
    frames.begin_at(begin)
    for number in range(begin, begin + count):
        frames.append(frame(number), 960.0 * number)
    return frames


def numbers(frames: KeptFrames) -> list[int]:
    found = [int(frames.pcm(number)[0, 0]) for number in range(frames.first, frames.end)]
    assert [frames.place_samples(number) for number in found] == [960.0 * number for number in found]
    return found


def test_frames_are_found_by_their_numbers() -> None:
    frames = kept(3, begin=7)
    assert (frames.first, frames.end, len(frames)) == (7, 10, 3)
    assert numbers(frames) == [7, 8, 9]


def test_the_same_array_comes_back() -> None:
    frames = KeptFrames()
    pcm = frame(1.0)
    frames.append(pcm, 0.0)
    assert frames.pcm(0) is pcm


def test_the_oldest_goes_first_and_the_others_keep_their_numbers() -> None:
    frames = kept(4)
    frames.drop_oldest()
    frames.drop_oldest()
    assert (frames.first, frames.end) == (2, 4)
    assert numbers(frames) == [2, 3]


@pytest.mark.parametrize(("end", "left"), [(9, [5, 6, 7, 8]), (7, [5, 6]), (5, [])])
def test_what_follows_a_number_is_forgotten(end: int, left: list[int]) -> None:
    frames = kept(4, begin=5)
    frames.cut(end)
    assert numbers(frames) == left
    assert frames.first == 5


def test_after_a_cut_others_take_the_numbers() -> None:
    frames = kept(4)
    frames.cut(2)
    frames.append(frame(2.0), 1920.0)
    assert numbers(frames) == [0, 1, 2]


def test_emptied_it_may_begin_anywhere() -> None:
    frames = kept(4)
    frames.clear()
    assert len(frames) == 0
    frames.begin_at(30)
    assert frames.first == frames.end == 30
    frames.append(frame(30.0), 960.0 * 30)
    assert numbers(frames) == [30]
