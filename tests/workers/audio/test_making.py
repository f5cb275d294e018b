"""The log of what was made reaches back as far as it must, and grows no further."""

from __future__ import annotations

import numpy as np

from voicepool.workers.audio.making import Before, Made, MakingLog

NOWHERE = Before((), [], (0, 0))


def test_it_stays_as_small_over_100_000_frames_and_makes_no_new_buffers() -> None:
    log = MakingLog(50, kept_pcm=10)
    buffers: set[int] = set()
    for _ in range(100_000):
        buffer = log.buffer()
        buffers.add(id(buffer))
        log.append(Made(NOWHERE, raw=buffer, mixed=buffer))
    assert len(log._made) == 50
    assert len(buffers) <= 12
    assert len(log._with_pcm) + len(log._spare) <= 12


def test_what_was_heard_last_comes_oldest_first_and_goes_when_it_is_taken_back() -> None:
    log = MakingLog(50, kept_pcm=4)
    frames = [np.full((960, 2), number, np.float32) for number in range(8)]
    for frame in frames:
        log.append(Made(NOWHERE, raw=frame))
    assert [frame[0, 0] for frame in log.last_heard(2)] == [6, 7]
    log.take_back(1)
    assert [frame[0, 0] for frame in log.last_heard(2)] == [5, 6]
    assert [frame[0, 0] for frame in log.last_heard(9)] == [4, 5, 6], "the others are not kept"


def test_taking_back_tells_how_many_notes_went_before() -> None:
    log = MakingLog(50)
    log.append(Made(NOWHERE, notes=2))
    log.append(Made(NOWHERE))
    assert log.take_back(log.last_frames()) == (NOWHERE, 0)
    assert log.take_back(log.last_frames()) == (NOWHERE, 2)
    assert not log
