from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.reference import FRAME, difference_db, envelope_gains, ramp
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.gain import LOUDEST, Curve, GainEnvelope, bounded_gain, db_to_gain

BOUND_DB = -120.0
"""How far a gain up to 1 may be off, against double precision over the whole signal."""


def test_without_a_change_the_gain_is_one_number() -> None:
    envelope = GainEnvelope(0.25)
    assert [envelope.advance() for _ in range(3)] == [0.25, 0.25, 0.25]
    assert envelope.position_samples == 3 * FRAME


@pytest.mark.parametrize("samples", [1, 7, 959, 960, 961, 4_800, 100_003])
@pytest.mark.parametrize("curve", [Curve.LINEAR, Curve.EQUAL_POWER])
def test_fades_are_those_of_the_whole_signal(samples: int, curve: Curve) -> None:
    frames = samples // FRAME + 2
    rising, falling = GainEnvelope(), GainEnvelope()
    rising.fade_in(samples, curve=curve)
    falling.fade_out(samples, curve=curve)
    total = frames * FRAME
    assert difference_db(envelope_gains(rising, frames), ramp(0, 1, samples, curve, total)) < BOUND_DB
    assert difference_db(envelope_gains(falling, frames), ramp(1, 0, samples, curve, total)) < BOUND_DB


@pytest.mark.parametrize("samples", [240, 2_880, 19_200])
def test_ducking_goes_straight_in_db(samples: int) -> None:
    envelope = GainEnvelope()
    envelope.duck(db_to_gain(-60), samples)
    total = 21 * FRAME
    want = ramp(1, 0.001, samples, Curve.DECIBEL, total)
    assert difference_db(envelope_gains(envelope, 21), want) < BOUND_DB
    envelope.duck(1.0, samples)
    assert (
        difference_db(envelope_gains(envelope, 21), ramp(0.001, 1, samples, Curve.DECIBEL, total)) < BOUND_DB
    )


def test_an_hours_fade_does_not_drift() -> None:
    samples = 3_600 * 48_000
    envelope = GainEnvelope()
    envelope.fade_out(samples)
    envelope.pass_frames(samples // FRAME - 1)
    last = envelope_gains(envelope, 1)
    assert difference_db(last, np.arange(FRAME, 0, -1) / samples) < -180


def test_crossfade_keeps_the_power() -> None:
    samples = 48_000
    out, into = GainEnvelope(), GainEnvelope()
    out.fade_out(samples, curve=Curve.EQUAL_POWER)
    into.fade_in(samples, curve=Curve.EQUAL_POWER)
    power = envelope_gains(out, 51) ** 2 + envelope_gains(into, 51) ** 2
    assert difference_db(power, np.ones(51 * FRAME)) < BOUND_DB


def test_linear_fades_add_up_to_the_signal() -> None:
    out, into = GainEnvelope(), GainEnvelope()
    out.fade_out(5_000)
    into.fade_in(5_000)
    assert difference_db(envelope_gains(out, 6) + envelope_gains(into, 6), np.ones(6 * FRAME)) < BOUND_DB


@pytest.mark.parametrize("curve", [Curve.LINEAR, Curve.EQUAL_POWER])
def test_fade_out_ends_at_the_sample_it_was_given(curve: Curve) -> None:
    envelope = GainEnvelope()
    envelope.pass_frames(2)
    envelope.fade_out(3_001, end_sample=10_007, curve=curve)
    got = envelope_gains(envelope, 10)
    want = np.ones(10 * FRAME)
    begins = 10_007 - 3_001 - 2 * FRAME
    want[begins:] = ramp(1, 0, 3_001, curve, len(want) - begins)
    assert difference_db(got, want) < BOUND_DB
    assert got[begins] == 1.0
    assert got[begins + 3_000] > 0.0
    assert not got[begins + 3_001 :].any()
    assert envelope.is_over


def test_a_planned_fade_out_costs_nothing_before_it() -> None:
    envelope = GainEnvelope()
    envelope.fade_out(960, end_sample=10 * FRAME)
    for _ in range(9):
        assert envelope.is_unity
        assert envelope.advance() == 1.0
    assert not envelope.is_unity
    assert not envelope.is_over
    assert isinstance(envelope.advance(), np.ndarray)
    assert envelope.is_over
    assert envelope.advance() == 0.0


def test_a_fade_out_that_comes_late_takes_what_is_left() -> None:
    envelope = GainEnvelope()
    envelope.pass_frames(10)
    envelope.fade_out(48_000, end_sample=12 * FRAME)
    want = ramp(1, 0, 2 * FRAME, Curve.LINEAR, 3 * FRAME)
    assert difference_db(envelope_gains(envelope, 3), want) < BOUND_DB


def test_a_fade_out_whose_end_has_passed_takes_a_frame() -> None:
    envelope = GainEnvelope()
    envelope.pass_frames(10)
    envelope.fade_out(48_000, end_sample=5 * FRAME)
    assert difference_db(envelope_gains(envelope, 2), ramp(1, 0, FRAME, Curve.LINEAR, 2 * FRAME)) < BOUND_DB


def test_a_second_fade_out_goes_on_where_the_first_has_come_to() -> None:
    envelope = GainEnvelope()
    envelope.fade_out(4 * FRAME)
    envelope_gains(envelope, 2)
    envelope.fade_out(FRAME)
    want = ramp(0.5, 0, FRAME, Curve.LINEAR, 2 * FRAME)
    assert difference_db(envelope_gains(envelope, 2), want) < BOUND_DB


def test_a_cancelled_fade_out_is_undone_within_a_frame() -> None:
    envelope = GainEnvelope(0.5)
    envelope.fade_out(4 * FRAME)
    envelope_gains(envelope, 3)
    envelope.cancel_fade_out()
    want = ramp(0.125, 0.5, FRAME, Curve.LINEAR, 2 * FRAME)
    assert difference_db(envelope_gains(envelope, 2), want) < BOUND_DB
    envelope.fade_out(FRAME)
    envelope_gains(envelope, 1)
    assert envelope.is_over
    envelope.cancel_fade_out()
    assert not envelope.is_over


def test_volume_moves_within_a_frame_from_wherever_it_is() -> None:
    envelope = GainEnvelope()
    envelope.set_volume(0.0, ramp_samples=4 * FRAME)
    envelope_gains(envelope, 1)
    envelope.set_volume(2.0)
    assert envelope.gain == pytest.approx(0.75)
    want = ramp(0.75, 2, FRAME, Curve.LINEAR, 3 * FRAME)
    assert difference_db(envelope_gains(envelope, 3), want) < BOUND_DB + 6
    assert envelope.advance() == 2.0


def test_silent_volume_is_not_the_end() -> None:
    envelope = GainEnvelope(0.0)
    assert envelope.advance() == 0.0
    assert not envelope.is_over


def test_unity_comes_back_exactly() -> None:
    envelope = GainEnvelope()
    envelope.set_volume(0.3)
    envelope_gains(envelope, 2)
    envelope.set_volume(1.0)
    assert not envelope.is_unity
    envelope_gains(envelope, 1)
    assert envelope.is_unity


class Drawn:
    """An envelope as four arrays over the whole signal, each change painted over what was planned."""

    def __init__(self, frames: int, volume: float) -> None:
        self.factors = {name: np.ones(frames * FRAME) for name in ("in", "out", "duck")}
        self.factors["volume"] = np.full(frames * FRAME, volume)

    def change(
        self, name: str, now: int, stop: float, samples: int, curve: Curve, *, start: float | None = None
    ) -> None:
        factor = self.factors[name]
        if now < len(factor):
            begin = float(factor[now]) if start is None else start
            factor[now:] = ramp(begin, stop, samples, curve, len(factor) - now)

    @property
    def gains(self) -> np.ndarray:
        return math.prod(self.factors.values(), start=np.ones(1))


LENGTHS = st.integers(1, 5_000)
FADES = st.sampled_from([Curve.LINEAR, Curve.EQUAL_POWER])
CHANGES = st.one_of(
    st.tuples(st.just("volume"), st.floats(0, 1), LENGTHS, st.just(Curve.LINEAR)),
    st.tuples(st.just("in"), st.just(1.0), LENGTHS, FADES),
    st.tuples(st.just("out"), st.just(0.0), LENGTHS, FADES),
    st.tuples(st.just("duck"), st.floats(0.001, 1), LENGTHS, st.just(Curve.DECIBEL)),
)


@settings(deadline=None, max_examples=60)
@given(
    volume=st.floats(0, 1),
    plan=st.lists(st.tuples(st.integers(1, 3), CHANGES), max_size=8),
)
def test_any_changes_in_any_order_are_those_of_the_whole_signal(
    volume: float, plan: list[tuple[int, tuple[str, float, int, Curve]]]
) -> None:
    frames = sum(wait for wait, _ in plan) + 6
    drawn, envelope = Drawn(frames, volume), GainEnvelope(volume)
    parts = []
    for wait, (name, stop, samples, curve) in plan:
        parts.append(envelope_gains(envelope, wait))
        now = envelope.position_samples
        drawn.change(name, now, stop, samples, curve, start=0.0 if name == "in" else None)
        if name == "volume":
            envelope.set_volume(stop, ramp_samples=samples)
        elif name == "in":
            envelope.fade_in(samples, curve=curve)
        elif name == "out":
            envelope.fade_out(samples, curve=curve)
        else:
            envelope.duck(stop, samples)
        assert envelope.gain == pytest.approx(drawn.gains[now], abs=1e-9)
    parts.append(envelope_gains(envelope, 6))
    assert difference_db(np.concatenate(parts), drawn.gains) < BOUND_DB


@pytest.mark.parametrize(
    ("gain_db", "gain"), [(0.0, 1.0), (-20.0, 0.1), (20.0, 10.0), (-math.inf, 0.0), (math.inf, LOUDEST)]
)
def test_decibels_to_gain(gain_db: float, gain: float) -> None:
    assert db_to_gain(gain_db) == pytest.approx(gain)


def test_gains_are_bounded() -> None:
    assert bounded_gain(math.inf) == LOUDEST == db_to_gain(60) == db_to_gain(1e9)
    assert GainEnvelope(1e30).gain == LOUDEST
    envelope = GainEnvelope()
    envelope.set_volume(1e30)
    assert envelope_gains(envelope, 2)[-1] == LOUDEST


@pytest.mark.parametrize("volume", [math.nan, -0.1, -math.inf])
def test_no_number_and_below_zero_are_refused(volume: float) -> None:
    envelope = GainEnvelope(0.5)
    for refuse in (bounded_gain, GainEnvelope, envelope.set_volume):
        with pytest.raises(ValueError, match=r"0 \(silent\) or more"):
            refuse(volume)
    assert envelope.advance() == 0.5


def test_decibels_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="nan"):
        db_to_gain(math.nan)


@pytest.mark.parametrize("gain", [0.0, 1.5, -1.0, math.nan])
def test_ducking_must_stay_above_silence(gain: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        GainEnvelope().duck(gain, 960)


def test_ramps_without_length_and_decibels_to_silence_are_refused() -> None:
    envelope = GainEnvelope()
    for refuse in (envelope.fade_in, envelope.fade_out):
        with pytest.raises(ValueError, match="1 sample or more"):
            refuse(0)
        with pytest.raises(ValueError, match="never arrives at silence"):
            refuse(960, curve=Curve.DECIBEL)
    assert envelope.advance() == 1.0


def test_going_back_gives_the_same_gains_again() -> None:
    envelope = GainEnvelope(0.5)
    envelope.fade_in(3 * FRAME_SAMPLES)
    first = [np.array(envelope.advance()) for _ in range(5)]
    envelope.rewind_to(FRAME_SAMPLES)
    assert envelope.position_samples == FRAME_SAMPLES
    for expected in first[1:]:
        np.testing.assert_array_equal(np.array(envelope.advance()), expected)


def test_a_ramp_that_began_later_starts_from_the_place_gone_back_to() -> None:
    envelope = GainEnvelope()
    envelope.pass_frames(4)
    envelope.set_volume(0.5)
    envelope.pass_frames(2)
    envelope.rewind_to(2 * FRAME_SAMPLES)
    assert envelope.gain == 1.0
    envelope.set_volume(0.25)
    envelope.pass_frames()
    assert envelope.gain == 0.25


@pytest.mark.parametrize("place", [-1, FRAME_SAMPLES + 1])
def test_going_back_to_the_future_is_refused(place: int) -> None:
    envelope = GainEnvelope()
    envelope.pass_frames()
    with pytest.raises(ValueError, match="cannot go back"):
        envelope.rewind_to(place)
