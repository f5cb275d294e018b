"""The causes of stutter: all told apart, all explained to who hears them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from voicepool import stats
from voicepool.stutters import Stutter, StutterCause

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("cause", StutterCause)
def test_the_readme_says_what_to_do_about_each(cause: StutterCause) -> None:
    [row] = re.findall(
        rf"^\| [^|]+ \| {cause.value} \| [^|]+ \| [^|]+ \|$", README.read_text("utf-8"), re.MULTILINE
    )
    assert row


def test_causes_are_short_enough_for_a_column_and_plain_enough_for_a_label() -> None:
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)?", cause) and len(cause) <= 22 for cause in StutterCause)


def test_a_stutter_cannot_be_changed() -> None:
    stutter = Stutter(guild_id=1, worker="w0.1", cause=StutterCause.SOURCE, frames=3, at_s=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stutter.frames = 4  # type: ignore[misc]


def test_the_figures_speak_of_the_same_causes() -> None:
    assert stats.StutterCause is StutterCause
    assert {"Stutter", "StutterCause"} <= set(stats.__all__)
