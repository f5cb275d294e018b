"""Alignment and likeness: known delays, degraded sound, other music, silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voicepool.cli._demo_compare import RATE_HZ, SEARCH_S, compare

Pcm = NDArray[np.int16]


def music(seconds: float = 2.0, seed: int = 1, level: float = 6_000.0) -> Pcm:
    """Return noise that is smooth like music and different in both channels."""
    raw = np.random.default_rng(seed).standard_normal((round(seconds * RATE_HZ) + 30, 2))
    smooth = np.stack([np.convolve(raw[:, side], np.hanning(31), mode="valid") for side in (0, 1)], axis=1)
    pcm: Pcm = (smooth * level / smooth.std()).clip(-32_768, 32_767).astype(np.int16)
    return pcm


def delayed(pcm: Pcm, samples: int) -> Pcm:
    """Shift; a negative delay cuts the beginning off."""
    return np.concatenate([np.zeros((samples, 2), np.int16), pcm]) if samples >= 0 else pcm[-samples:]


@pytest.mark.parametrize("delay", [0, 1, 312, 960, 40_000, -1, -480, -40_000])
def test_a_known_delay_is_found_and_does_not_count(delay: int) -> None:
    source = music(3.0)
    found = compare(delayed(source, delay), source)
    assert found.delay_samples == delay
    assert found.correlation == pytest.approx(1.0, abs=1e-9)


@given(delay=st.integers(-20_000, 20_000), seconds=st.floats(0.7, 1.5), more=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_any_delay_of_any_piece_is_found(delay: int, seconds: float, more: float) -> None:
    source = music(seconds + more)
    received = delayed(source, delay)[: round(seconds * RATE_HZ)]
    found = compare(received, source)
    assert found.delay_samples == delay
    assert found.correlation > 0.999999


def test_a_source_that_goes_on_after_what_was_received_is_the_same() -> None:
    source = music(4.0)
    assert compare(delayed(source, 312)[: 3 * RATE_HZ], source).correlation > 0.999999


@pytest.mark.parametrize("seconds", [0.2, 0.95, 2.95, 3.06])
def test_short_pieces_can_be_aligned_too(seconds: float) -> None:
    source = music(8.0)
    found = compare(delayed(source, 312)[: round(seconds * RATE_HZ)], source)
    assert found.delay_samples == 312
    assert found.correlation > 0.999999


def test_a_loud_passage_elsewhere_does_not_attract_the_alignment() -> None:
    source = music(3.0)
    source[2 * RATE_HZ :] = np.clip(source[2 * RATE_HZ :].astype(np.int32) * 4, -32_768, 32_767)
    assert compare(delayed(source, 5_000), source).delay_samples == 5_000


@pytest.mark.parametrize(("noise", "expected"), [(0.1, 0.995), (0.5, 0.894), (1.0, 0.707), (3.0, 0.316)])
def test_noise_costs_what_theory_says(noise: float, expected: float) -> None:
    source = music()
    degraded = source + np.random.default_rng(2).normal(0, noise * source.std(), source.shape)
    found = compare(degraded.clip(-32_768, 32_767).astype(np.int16), source)
    assert found.delay_samples == 0
    # Samples beyond full scale were clipped, hence the tolerance.
    assert found.correlation == pytest.approx(expected, abs=0.02)


def test_a_lower_volume_is_the_same_sound_and_a_reversed_phase_is_not() -> None:
    source = music()
    assert compare(source // 4, source).correlation > 0.999
    assert compare(-source, source).correlation < 0.1


def test_other_music_is_not_alike() -> None:
    assert abs(compare(music(seed=2), music(seed=1)).correlation) < 0.1


def test_swapped_channels_and_mono_are_not_the_source() -> None:
    source = music()
    assert compare(source[:, ::-1], source).correlation < 0.1
    mono = source.mean(axis=1, keepdims=True).repeat(2, axis=1).astype(np.int16)
    assert compare(mono, source).correlation < 0.8


def test_opposite_channels_can_be_aligned() -> None:
    """Their sum is silence, so an alignment by the sum would find nothing."""
    one = music()[:, :1]
    source = np.concatenate([one, -one], axis=1)
    found = compare(delayed(source, 700), source)
    assert (found.delay_samples, round(found.correlation, 6)) == (700, 1.0)


def test_sound_on_one_channel_only_is_enough() -> None:
    source = music()
    source[:, 0] = 0
    assert compare(delayed(source, 700), source).delay_samples == 700


def test_a_hole_in_the_middle_costs_its_share() -> None:
    source = music(2.0)
    holed = source.copy()
    holed[RATE_HZ : RATE_HZ + RATE_HZ // 5] = 0
    assert compare(holed, source).correlation == pytest.approx(np.sqrt(0.9), abs=0.01)


def test_a_delay_beyond_the_search_is_no_likeness() -> None:
    source = music(4.0)
    assert compare(delayed(source, round(SEARCH_S * RATE_HZ) + 10_000), source).correlation < 0.1


@pytest.mark.parametrize("level", [0, 1, 5])
def test_silence_is_like_silence_and_unlike_sound(level: int) -> None:
    generator = np.random.default_rng(3)
    quiet: Any = generator.integers(-level, level + 1, (2 * RATE_HZ, 2)).astype(np.int16)
    still = np.zeros_like(quiet)
    assert compare(still, quiet).correlation == 1.0
    assert compare(quiet, still).correlation == 1.0
    assert compare(music(), quiet).correlation == 0.0
    assert compare(quiet, music()).correlation == 0.0


def test_a_constant_gives_a_number() -> None:
    constant = np.full((RATE_HZ, 2), 1_000, np.int16)
    assert compare(constant, constant).correlation == 0.0
    assert compare(constant, music(1.0)).correlation == 0.0


@pytest.mark.parametrize("samples", [0, 1, 960])
def test_next_to_nothing_is_no_likeness(samples: int) -> None:
    assert compare(music()[:samples], music()).correlation == 0.0
    assert compare(music(), music()[:samples]).correlation == 0.0


def test_pieces_longer_than_a_block_are_summed_up_right() -> None:
    source = music(50.0)
    degraded = source // 2 + music(50.0, seed=9) // 2
    found = compare(degraded, source)
    assert found.correlation == pytest.approx(np.corrcoef(degraded.ravel(), source.ravel())[0, 1], abs=1e-9)
