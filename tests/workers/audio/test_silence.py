from __future__ import annotations

import numpy as np
import pytest

from voicepool.workers.audio.region import Region
from voicepool.workers.audio.silence import SilenceReader


def test_is_as_long_as_it_says_and_tells_its_padding() -> None:
    reader = SilenceReader(0.05)
    found = []
    while (frame := reader.poll()) is not None:
        assert frame.shape == (960, 2)
        assert frame.dtype == np.float32
        assert not frame.any()
        found.append((round(reader.position_s, 6), reader.padding_samples))
    assert found == [(0.0, 0), (0.02, 0), (0.04, 480)]
    assert reader.poll() is None
    assert (reader.kind, reader.info.duration_s, reader.skipped_packets) == ("pcm", 0.05, 0)
    assert reader.take_packets(24) == []


def test_all_frames_are_one_that_nobody_can_change() -> None:
    frame = SilenceReader().read()
    assert frame is not None
    assert frame is SilenceReader(1.0).read()
    with pytest.raises(ValueError, match="read-only"):
        frame[0, 0] = 1.0


def test_without_end() -> None:
    reader = SilenceReader()
    assert all(reader.read() is not None for _ in range(1_000))
    assert reader.position_s == pytest.approx(999 / 50)
    assert (reader.info.duration_s, reader.padding_samples) == (None, 0)
    reader.close()
    assert reader.read() is None


def test_seeks() -> None:
    reader = SilenceReader(1.0)
    assert reader.seek(0.97) == 0.97
    assert reader.position_s == pytest.approx(0.97)
    assert reader.padding_samples == 0
    assert [reader.read() is None for _ in range(3)] == [False, False, True]
    assert reader.padding_samples == 480
    reader.seek(5.0)
    assert reader.read() is None
    reader.seek(0.0)
    assert reader.read() is not None
    reader.interrupt()
    assert reader.read() is None


def test_is_played_in_parts_and_again() -> None:
    region = Region(SilenceReader(1.0), start_s=0.5, end_s=0.55, repeats=3)
    # 2 400 samples a round are two and a half frames.
    count = 0
    while region.poll() is not None:
        count += 1
    assert count == 10
    region.close()


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_lasts_for_some_time(wrong: float) -> None:
    with pytest.raises(ValueError, match="more than 0 s"):
        SilenceReader(wrong)
    with pytest.raises(ValueError, match=r"0 s or more|more than"):
        SilenceReader(1.0).seek(wrong or -0.5)
