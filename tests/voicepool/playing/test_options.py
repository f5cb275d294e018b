"""What bot authors pass to ``play``, checked."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from voicepool._playing.options import (
    PlayOptions,
    checked_duck,
    checked_gap,
    checked_options,
    checked_volume,
)
from voicepool.filters import BassBoost
from voicepool.ipc.commands import TrackOptions


def test_nothing_said_is_the_wires_own_default() -> None:
    settings = checked_options({})
    assert settings.track == TrackOptions()
    assert (settings.crossfade_s, settings.on_gap, settings.first_s) == (None, "continue", 0.0)


def test_everything_arrives() -> None:
    settings = checked_options(
        PlayOptions(
            volume=0.5,
            start_s=1,
            end_s=9,
            loop=3,
            position_s=2,
            fade_in_s=0.1,
            fade_out_s=0.2,
            speed=2,
            filters=[BassBoost(3), "tremolo"],
            loudness_lufs=-14,
            crossfade_s=4,
            on_gap="skip",
        )
    )
    assert settings.track == TrackOptions(
        volume=0.5,
        start_s=1.0,
        end_s=9.0,
        repeats=3,
        position_s=2.0,
        fade_in_s=0.1,
        fade_out_s=0.2,
        speed=2.0,
        filters="bass=g=3:f=100,tremolo",
        loudness_lufs=-14.0,
    )
    assert (settings.crossfade_s, settings.on_gap, settings.first_s) == (4.0, "skip", 2.0)
    assert settings.with_crossfade(7.0).crossfade_s == 4.0
    assert checked_options({}).with_crossfade(7.0).crossfade_s == 7.0


@pytest.mark.parametrize(("loop", "repeats"), [(False, 0), (True, None), (0, 0), (1, 1), (12, 12)])
def test_a_loop_is_endless_or_counted(loop: Any, repeats: int | None) -> None:
    assert checked_options({"loop": loop}).track.repeats == repeats


WRONG: list[tuple[str, object]] = [
    *[
        (name, value)
        for name in ("volume", "start_s", "position_s", "end_s", "fade_in_s", "fade_out_s", "crossfade_s")
        for value in (-1, math.nan, math.inf, "1", True)
    ],
    *[("speed", value) for value in (0, 0.2, 4.5, math.nan, math.inf, "1", None, True)],
    *[("loudness_lufs", value) for value in (-71, 0, math.nan, -math.inf, "1")],
    *[("loop", value) for value in (-1, 1.5, None, "yes")],
    *[("on_gap", value) for value in ("SKIP", "", None, True, ["skip"])],
    ("filters", " "),
    ("end_s", 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_a_value_error_that_names_it(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="filter" if name == "filters" else name):
        checked_options({name: value})


def test_a_filter_of_another_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="filter"):
        checked_options({"filters": [5]})


def test_an_unknown_option_is_a_type_error_that_lists_the_known() -> None:
    with pytest.raises(TypeError, match=r"unknown option louder, pitch; there are .*volume"):
        checked_options({"pitch": 1, "louder": True, "speed": 1})


@pytest.mark.parametrize("options", [{"start_s": 5, "end_s": 5}, {"start_s": 5, "end_s": 4}])
def test_a_part_has_a_length(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="end_s must be after start_s = 5"):
        checked_options(options)


@pytest.mark.parametrize("place_s", [4.9, 9, 10])
def test_a_position_is_in_the_part(place_s: float) -> None:
    with pytest.raises(ValueError, match="position_s must be in the part"):
        checked_options({"start_s": 5, "end_s": 9, "position_s": place_s})


@pytest.mark.parametrize("volume", [0, 0.0, 1, 0.5, 250.0])
def test_a_volume_becomes_a_float(volume: float) -> None:
    checked = checked_volume(volume)
    assert checked == volume
    assert type(checked) is float


@pytest.mark.parametrize("volume", [-1e-9, math.nan, math.inf, "0.5", None, False, Fraction(1, 2), 1j])
def test_what_is_no_volume_is_a_value_error(volume: object) -> None:
    with pytest.raises(ValueError, match="volume must be"):
        checked_volume(volume)


@pytest.mark.parametrize("on_gap", ["continue", "skip"])
def test_a_word_for_a_gap_is_kept(on_gap: str) -> None:
    assert checked_gap(on_gap) == on_gap


@pytest.mark.parametrize("duck_db", [1, -97, math.nan, None])
def test_what_others_sink_by_is_bounded(duck_db: object) -> None:
    with pytest.raises(ValueError, match="duck_db"):
        checked_duck(duck_db)
    assert checked_duck(-12) == -12.0
