"""Checks in common."""

from __future__ import annotations

import types
from typing import Any

import pytest

from voicepool._checks import check_seconds, check_types


@pytest.mark.parametrize("seconds", [None, 1, 0.001, 10**9])
def test_durations(seconds: float | None) -> None:
    check_seconds("wait_s", seconds)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), -float("inf")])
def test_no_durations(seconds: float) -> None:
    with pytest.raises(ValueError, match="wait_s must be a finite number of seconds above 0; it is"):
        check_seconds("wait_s", seconds)


@pytest.mark.parametrize("seconds", [True, "1", [1], 1j])
def test_no_numbers(seconds: Any) -> None:
    with pytest.raises(TypeError, match="wait_s must be a number of seconds, not"):
        check_seconds("wait_s", seconds)


def test_types_are_told_by_attribute() -> None:
    thing = types.SimpleNamespace(name="a", live=None)
    check_types(thing, name=str, live=bool | None)
    with pytest.raises(TypeError, match="live of SimpleNamespace must be bool, not NoneType"):
        check_types(thing, name=str, live=bool)
    with pytest.raises(TypeError, match=r"name of SimpleNamespace must be int \| None, not str"):
        check_types(thing, name=int | None)
