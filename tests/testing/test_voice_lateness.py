from __future__ import annotations

import random

from voicepool.testing.voice_lateness import LatenessRecorder
from voicepool.testing.voice_report import LatenessFigures

MS = 1_000_000


def test_nothing_received_gives_zeros() -> None:
    assert LatenessRecorder().figures() == LatenessFigures(0, 0.0, 0.0, 0.0, 0.0)


def test_lateness_is_relative_to_the_earliest_frame() -> None:
    recorder = LatenessRecorder()
    # The first frame is 3 ms late itself: the others show it.
    lates_ms = [3, 0, 0, 1, 0, 0, 10, 0, 0, 0]
    recorder.begin(3 * MS, 5_000)
    for index, late in enumerate(lates_ms):
        recorder.add((20 * index + late) * MS, 5_000 + 960 * index)
    figures = recorder.figures()
    assert figures == LatenessFigures(10, 0.0, 10.0, 10.0, 10.0)


def test_each_spurt_has_its_own_zero() -> None:
    recorder = LatenessRecorder()
    for spurt_ms, timestamp in ((0, 0), (12_345, 9_600)):
        recorder.begin(spurt_ms * MS, timestamp)
        for index in range(10):
            recorder.add((spurt_ms + 20 * index) * MS, timestamp + 960 * index)
    assert recorder.figures().max_ms == 0.0


def test_timestamps_set_the_grid_not_the_count_of_packets() -> None:
    recorder = LatenessRecorder()
    recorder.begin(0, 0)
    for index in (0, 1, 2, 50, 51):
        recorder.add(20 * index * MS, 960 * index)
    assert recorder.figures().max_ms == 0.0


def test_memory_is_bounded_and_the_worst_is_not_forgotten() -> None:
    recorder = LatenessRecorder(capacity=100)
    rng = random.Random(2)
    recorder.begin(0, 0)
    for index in range(10_000):
        late_us = 50_000 if index == 77 else rng.randrange(100)
        recorder.add(20 * index * MS + late_us * 1_000, 960 * index)
        if index % 500 == 499:
            recorder.begin(20 * (index + 1) * MS, 960 * (index + 1))
    assert len(recorder._deviations_us) <= 100
    assert len(recorder._spurt_starts) <= 100
    figures = recorder.figures()
    assert figures.samples == 10_000
    assert 49.9 <= figures.max_ms <= 50.0
    assert figures.p99_ms <= 0.1


def test_absurd_deviations_do_not_overflow() -> None:
    recorder = LatenessRecorder()
    recorder.begin(0, 0)
    recorder.add(0, 0)
    recorder.add(10**15, 960)
    recorder.add(0, 2**40)
    assert recorder.figures().max_ms > 1e6
