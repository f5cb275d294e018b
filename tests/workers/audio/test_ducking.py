from __future__ import annotations

import math

import numpy as np
import pytest

from tests.workers.audio.reference import FRAME, difference_db, envelope_gains, ramp
from voicepool.workers.audio.ducking import Duck, Ducking, is_audible
from voicepool.workers.audio.gain import Curve, db_to_gain

DEEP = Duck(-20, attack_ms=20, release_ms=40, hold_ms=60)
SHALLOW = Duck(-6, attack_ms=40, release_ms=20, hold_ms=0)


def run(ducking: Ducking, *sounding: Duck | None) -> np.ndarray:
    parts = []
    for duck in sounding:
        ducking.steer(duck)
        parts.append(envelope_gains(ducking.gain, 1))
    return np.concatenate(parts)


def test_sinks_holds_and_rises() -> None:
    got = run(Ducking(), None, DEEP, DEEP, *[None] * 6)
    total = 9 * FRAME
    want = np.ones(total)
    want[FRAME:] = ramp(1, 0.1, FRAME, Curve.DECIBEL, total - FRAME)
    # Three frames of hold after the second that sounds.
    want[6 * FRAME :] = ramp(0.1, 1, 2 * FRAME, Curve.DECIBEL, 3 * FRAME)
    assert difference_db(got, want) < -120


def test_a_pause_shorter_than_the_hold_is_not_heard() -> None:
    got = run(Ducking(), DEEP, None, None, None, DEEP, None, None, None)
    assert difference_db(got[FRAME:], np.full(7 * FRAME, 0.1)) < -120


def test_sound_during_the_release_sinks_again_from_there() -> None:
    ducking = Ducking()
    before = run(ducking, DEEP, None, None, None, None)
    assert before[-1] > 0.3
    again = run(ducking, DEEP, DEEP)
    want = ramp(math.sqrt(0.1), 0.1, FRAME, Curve.DECIBEL, 2 * FRAME)
    assert difference_db(again, want) < -120


def test_the_deeper_one_takes_over_and_the_shallower_one_waits_for_it() -> None:
    ducking = Ducking()
    run(ducking, SHALLOW, SHALLOW, SHALLOW)
    half = db_to_gain(-6)
    assert ducking.gain.gain == pytest.approx(half)
    assert difference_db(run(ducking, DEEP), ramp(half, 0.1, FRAME, Curve.DECIBEL, FRAME)) < -120
    held = run(ducking, SHALLOW, SHALLOW, SHALLOW)
    assert difference_db(held, np.full(3 * FRAME, 0.1)) < -120
    rise = run(ducking, SHALLOW, SHALLOW, SHALLOW)
    assert difference_db(rise, ramp(0.1, half, 2 * FRAME, Curve.DECIBEL, 3 * FRAME)) < -120
    assert difference_db(run(ducking, None), ramp(half, 1, FRAME, Curve.DECIBEL, FRAME)) < -120


def test_reset_is_at_rest() -> None:
    ducking = Ducking()
    run(ducking, DEEP)
    ducking.reset()
    assert ducking.gain.is_unity
    assert np.all(run(ducking, None, None) == 1.0)


@pytest.mark.parametrize(
    ("peak", "gain", "audible"),
    [(1e-2, 1.0, True), (1e-4, 1.0, False), (1.0, 1e-4, False), (1e-4, 100.0, True)],
)
def test_audible_is_minus_60_dbfs_after_the_gain(peak: float, gain: float, audible: bool) -> None:  # noqa: FBT001 - a case
    energy = peak * peak * 2 * FRAME
    assert is_audible(energy, gain) is audible
    assert is_audible(energy, np.linspace(0, gain, 2 * FRAME, dtype=np.float32).reshape(FRAME, 2)) is audible


def test_times_become_samples_and_frames() -> None:
    duck = Duck(attack_ms=0, release_ms=100, hold_ms=21)
    assert (duck.attack_samples, duck.release_samples, duck.hold_frames) == (240, 4_800, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"duck_db": 1.0},
        {"duck_db": -97.0},
        {"duck_db": math.nan},
        {"attack_ms": -1.0},
        {"release_ms": 60_001.0},
        {"hold_ms": math.nan},
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Duck(**wrong)
