from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest

from voicepool.filters import (
    BassBoost,
    Dynamics,
    Equalizer,
    Filter,
    Filters,
    HighPass,
    Karaoke,
    Loudness,
    LowPass,
    Nightcore,
    Pitch,
    Rotation,
    Speed,
    Tremolo,
    Vaporwave,
    Vibrato,
    filter_chain,
)
from voicepool.workers.audio.filters import FilterChain

Sound = npt.NDArray[np.float32]

RATE_HZ = 48_000
EACH: list[Filter] = [
    BassBoost(),
    Dynamics(),
    Equalizer({100: 3, 4_000: -3}),
    Equalizer([]),
    HighPass(),
    Karaoke(),
    Karaoke(0),
    Loudness(),
    LowPass(),
    Nightcore(),
    Pitch(-3.5),
    Rotation(),
    Speed(1.5),
    Tremolo(),
    Vaporwave(),
    Vibrato(),
]


def through(filters: Filters, sent: Sound) -> Sound:
    """Return what the worker makes of it."""
    chain = filter_chain(filters)
    assert chain is not None
    running = FilterChain(chain)
    heard = []
    for at in range(0, len(sent), 960):
        running.push(sent[at : at + 960])
        while (frame := running.take()) is not None:
            heard.append(frame)
    running.finish()
    while (frame := running.take()) is not None:
        heard.append(frame)
    assert running.repaired_frames == 0
    return np.concatenate(heard)


def tone(hz: float, *, seconds: float = 2.0, left: float = 0.2, right: float = 0.2) -> Sound:
    side = np.sin(2 * np.pi * hz * np.arange(int(RATE_HZ * seconds)) / RATE_HZ)
    return np.stack((left * side, right * side), axis=1).astype(np.float32)


def middle(sound: Sound) -> Sound:
    """Return the middle half, where no filter begins or ends."""
    return sound[len(sound) // 4 : len(sound) * 3 // 4]


def level_db(sound: Sound) -> float:
    return float(10 * np.log10(np.square(sound.astype(np.float64)).mean() + 1e-20))


def change_db(filters: Filters, hz: float) -> float:
    """Return how much louder a tone comes out."""
    sent = tone(hz)
    return level_db(middle(through(filters, sent))) - level_db(middle(sent))


def pitch_hz(sound: Sound) -> float:
    part = middle(sound)[:, 0]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8 * len(part)))
    return float(np.argmax(spectrum)) * RATE_HZ / (8 * len(part))


@pytest.mark.parametrize("effect", EACH, ids=lambda effect: type(effect).__name__)
def test_the_worker_takes_every_effect(effect: Filter) -> None:
    assert np.isfinite(through(effect, tone(440, seconds=0.5))).all()


@pytest.mark.parametrize(
    "kind",
    [kind for kind in dict.fromkeys(type(effect) for effect in EACH) if kind is not Equalizer],
    ids=lambda k: k.__name__,
)
def test_both_ends_of_every_range_are_taken_by_the_worker_and_no_more(kind: type[Filter]) -> None:
    assert dataclasses.is_dataclass(kind)
    fields = dataclasses.fields(kind)
    middling = {field.name: sum(field.metadata["range"]) / 2 for field in fields}
    for field in fields:
        for end, beyond in zip(field.metadata["range"], (-math.inf, math.inf), strict=True):
            chain = filter_chain(kind(**middling | {field.name: end}))
            assert chain is not None
            FilterChain(chain)
            for wrong in (math.nextafter(end, beyond), beyond, math.nan):
                with pytest.raises(
                    ValueError, match=rf"{kind.__name__}\.{field.name} is .*; it must be from"
                ):
                    kind(**middling | {field.name: wrong})
        for no_number in ("1", None, True):
            with pytest.raises(TypeError, match=rf"{kind.__name__}\.{field.name} is a number"):
                kind(**middling | {field.name: no_number})


def test_effects_are_values() -> None:
    assert BassBoost(6) == BassBoost(6.0)
    assert len({Equalizer([1, 2]), Equalizer([1.0, 2.0]), Equalizer({25: 1, 40: 2})}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        BassBoost().gain_db = 3  # type: ignore[misc]


@pytest.mark.parametrize("gain_db", [-12.0, 6.0, 12.0])
def test_bass_boost_lifts_the_bass_alone(gain_db: float) -> None:
    assert change_db(BassBoost(gain_db), 25) == pytest.approx(gain_db, abs=1.0)
    assert change_db(BassBoost(gain_db), 2_000) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("effect", "pitch", "speed"),
    [
        (Nightcore(), 1.25, 1.25),
        (Nightcore(2), 2.0, 2.0),
        (Vaporwave(), 0.8, 0.8),
        (Vaporwave(0.5), 0.5, 0.5),
        (Speed(0.25), 1.0, 0.25),
        (Speed(0.7), 1.0, 0.7),
        (Speed(1.5), 1.0, 1.5),
        (Speed(4), 1.0, 4.0),
        (Pitch(12), 2.0, 1.0),
        (Pitch(-12), 0.5, 1.0),
        (Pitch(0.5), 2 ** (0.5 / 12), 1.0),
    ],
    ids=str,
)
def test_pitch_and_speed_change_as_said(effect: Filter, pitch: float, speed: float) -> None:
    sent = tone(440, seconds=4)
    heard = through(effect, sent)
    assert FilterChain(effect.chain).speed == pytest.approx(speed, rel=1e-4)
    assert len(heard) == pytest.approx(len(sent) / speed, abs=0.1 * RATE_HZ)
    assert pitch_hz(heard) == pytest.approx(440 * pitch, rel=0.005)
    assert level_db(middle(heard)) == pytest.approx(level_db(sent), abs=0.7)


def test_rotation_swings_from_side_to_side() -> None:
    heard = through(Rotation(0.5), tone(440, seconds=4, left=0.4, right=0.0))
    envelope = np.abs(heard[: 4 * RATE_HZ]).reshape(-1, 2_400, 2).max(axis=1)
    assert envelope.max() == pytest.approx(0.2, rel=0.1)
    assert envelope.min() < 0.02
    left, right = envelope.T
    assert np.corrcoef(left, right)[0, 1] < -0.9
    # 0.5 Hz: after two seconds it is where it was, after one on the other side.
    assert np.allclose(left[:40], left[40:80], atol=0.01)
    assert np.allclose(left[:20], right[20:40], atol=0.01)


def test_karaoke_takes_out_the_middle_but_its_bass() -> None:
    assert change_db(Karaoke(), 1_000) < -30
    assert change_db(Karaoke(), 40) == pytest.approx(0, abs=1)
    assert change_db(Karaoke(0), 40) < -80
    one_side = through(Karaoke(), tone(3_000, left=0.4, right=0.0))
    assert level_db(middle(one_side)) == pytest.approx(level_db(tone(3_000, left=0.2, right=0.2)), abs=0.1)
    assert np.array_equal(one_side[:, 0], one_side[:, 1])


@pytest.mark.parametrize("band", range(15))
def test_each_equalizer_band_lifts_its_own_frequency(band: int) -> None:
    gains = [0.0] * 15
    gains[band] = 9.0
    effect = Equalizer(gains)
    assert effect == Equalizer({Equalizer.BANDS_HZ[band]: 9})
    assert change_db(effect, Equalizer.BANDS_HZ[band]) == pytest.approx(9, abs=0.2)
    for other in (band - 3, band + 3):
        if 0 <= other < 15:
            assert change_db(effect, Equalizer.BANDS_HZ[other]) == pytest.approx(0, abs=1)


def test_equalizer_takes_the_nearest_band_and_refuses_the_rest() -> None:
    assert Equalizer({60: 4, 9_000: -3}) == Equalizer({63: 4, 10_000: -3})
    assert Equalizer({}).chain == "anull"
    with pytest.raises(ValueError, match="at 100 Hz is 25"):
        Equalizer({100: 25})
    with pytest.raises(ValueError, match="gain is -25"):
        Equalizer([-25])
    with pytest.raises(ValueError, match="frequency in Hz is 5"):
        Equalizer({5: 1})
    with pytest.raises(ValueError, match="at most 15 gains, not 16"):
        Equalizer([0] * 16)
    with pytest.raises(TypeError, match="is a number"):
        Equalizer("loud")  # type: ignore[arg-type]


def test_tremolo_moves_the_level() -> None:
    heard = through(Tremolo(5, 0.8), tone(1_000))
    envelope = np.abs(heard).reshape(-1, 480, 2).max(axis=1)[:, 0]
    assert envelope.min() / envelope.max() == pytest.approx(0.2, abs=0.05)
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert np.argmax(spectrum) / 2 == pytest.approx(5, abs=0.6)


def test_vibrato_moves_the_pitch() -> None:
    heard = through(Vibrato(5, 0.5), tone(1_000))[9_600:86_400, 0]
    crossings = np.nonzero((heard[:-1] < 0) & (heard[1:] >= 0))[0]
    exact = crossings - heard[crossings] / (heard[crossings + 1] - heard[crossings])
    pitch = RATE_HZ / np.diff(exact)
    assert pitch.min() < 965
    assert pitch.max() > 1_035
    spectrum = np.abs(np.fft.rfft(pitch - pitch.mean()))
    assert np.argmax(spectrum) / (len(heard) / RATE_HZ) == pytest.approx(5, abs=0.7)


def test_vibrato_begins_softly_whatever_lay_in_memory() -> None:
    # libavfilter's own begins with memory as it was: here with what was freed last, in pieces of its size.
    loudest = 0.0
    for _ in range(20):
        junk = [np.full(240 + extra, 1e4) for extra in range(16) for _ in range(8)]
        kept = junk[::2]
        del junk
        loudest = max(loudest, np.abs(through(Vibrato(), tone(1_000, seconds=0.1))).max())
        del kept
    assert loudest < 0.25


@pytest.mark.parametrize("cutoff_hz", [200.0, 2_000.0])
def test_passes_cut_at_their_frequency(cutoff_hz: float) -> None:
    for effect, side in ((LowPass(cutoff_hz), 4.0), (HighPass(cutoff_hz), 0.25)):
        assert change_db(effect, cutoff_hz) == pytest.approx(-3, abs=0.3)
        assert change_db(effect, cutoff_hz * side) == pytest.approx(-24, abs=2)
        assert change_db(effect, cutoff_hz / side) == pytest.approx(0, abs=0.3)


def lufs(sound: Sound) -> float:
    """Return the loudness of a 1 kHz tone, where ITU-R BS.1770's weighting makes up for its constant."""
    return level_db(sound) + 10 * math.log10(2)


@pytest.mark.parametrize("target_lufs", [-23.0, -16.0])
@pytest.mark.parametrize("level", [0.01, 0.1, 0.9])
def test_loudness_brings_tracks_to_one_level(target_lufs: float, level: float) -> None:
    sent = tone(997, seconds=12, left=level, right=level)
    heard = through(Loudness(target_lufs), sent)
    assert len(heard) == pytest.approx(len(sent), abs=960)
    assert lufs(heard[len(heard) // 2 :]) == pytest.approx(target_lufs, abs=1.5)


def test_loudness_keeps_peaks_below_the_limit() -> None:
    rng = np.random.default_rng(2)
    sent = (rng.standard_normal((RATE_HZ * 8, 2)) * 0.02).astype(np.float32)
    sent[:: RATE_HZ // 2] = 0.9
    heard = through(Loudness(-10, true_peak_db=-3), sent)
    assert np.abs(heard).max() <= 10 ** (-3 / 20) * 1.03


def test_dynamics_lifts_what_is_soft_up_to_its_gain() -> None:
    soft, loud = (tone(997, seconds=6, left=level, right=level) for level in (0.05, 0.8))
    assert level_db(middle(through(Dynamics(12), soft))) - level_db(soft) == pytest.approx(12, abs=0.5)
    assert np.abs(middle(through(Dynamics(12, 0.9), loud))).max() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(
    ("effect", "most_s"), [(Speed(1.5), 0.2), (Pitch(4), 0.2), (Loudness(), 3.1), (Dynamics(), 1.6)]
)
def test_effects_hold_no_more_than_they_say(effect: Filter, most_s: float) -> None:
    running = FilterChain(effect.chain)
    most = 0.0
    for _ in range(400):
        running.push(np.full((960, 2), 0.1, np.float32))
        while running.take() is not None:
            pass
        most = max(most, running.held_samples / RATE_HZ)
    assert 0 < most < most_s


def test_several_become_one_chain_in_order() -> None:
    assert filter_chain([BassBoost(6), Nightcore(), "aecho=0.8:0.9:40:0.3 "]) == (
        "bass=g=6:f=100,asetrate=60000,aresample=48000,aecho=0.8:0.9:40:0.3"
    )
    assert filter_chain(" tremolo ") == "tremolo"
    assert filter_chain(Tremolo(4, 0.25)) == "tremolo=f=4:d=0.25"
    assert filter_chain(None) is filter_chain([]) is filter_chain(()) is None
    heard = through([Nightcore(), Speed(2), Pitch(2)], tone(440, seconds=4))
    assert len(heard) == pytest.approx(4 * RATE_HZ / 2.5, abs=0.1 * RATE_HZ)


def test_all_effects_at_once_are_one_chain_that_the_worker_takes() -> None:
    full = Equalizer([1.0] * 15)
    chain = filter_chain([*EACH, full])
    assert chain is not None
    FilterChain(chain)


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        filter_chain([BassBoost(), 3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not ABCMeta"):
        filter_chain([BassBoost])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="filters must be a Filter, a str, or several of them, not int"):
        filter_chain(5)  # type: ignore[arg-type]
    for blank in ("", "  ", ["bass", ""]):
        with pytest.raises(ValueError, match="blank"):
            filter_chain(blank)
    with pytest.raises(ValueError, match="at most 4096"):
        filter_chain(["volume=0.5"] * 400)


def test_small_numbers_are_written_without_an_exponent() -> None:
    assert Tremolo(5, 0.00001).chain == "tremolo=f=5:d=0.00001"
    assert Karaoke(1e-9).chain.count("e-") == 0
