"""Settings that would leave calls without a place."""

from __future__ import annotations

from typing import Any

import pytest

from voicepool._settings.room import Refused, keep_room
from voicepool.config import PoolConfig

OLD: dict[str, Any] = {"workers": 4, "max_calls_per_worker": 10}


def kept(calls: int, *, there: int = 4, **new: Any) -> tuple[PoolConfig, list[str]]:
    taken, refused = keep_room(PoolConfig(**OLD | new), PoolConfig(**OLD), calls=calls, workers=there)
    return taken, [each.key for each in refused]


@pytest.mark.parametrize(
    ("calls", "there", "new", "refused"),
    [
        (20, 4, {"workers": 2}, []),
        (21, 4, {"workers": 2}, ["workers"]),
        (40, 4, {"max_calls_per_worker": 9}, ["max_calls_per_worker"]),
        (36, 4, {"max_calls_per_worker": 9}, []),
        (40, 4, {"workers": 2, "max_calls_per_worker": 20}, []),
        (40, 4, {"workers": 8, "max_calls_per_worker": 5}, []),
        (12, 4, {"workers": 1, "max_calls_per_worker": 5}, ["workers"]),
        (25, 4, {"workers": 3, "max_calls_per_worker": 5}, ["max_calls_per_worker"]),
        (40, 4, {"workers": 1, "max_calls_per_worker": 5}, ["workers", "max_calls_per_worker"]),
        (60, 6, {"bitrate_bps": 64_000}, []),
        (60, 6, {"workers": 5}, ["workers"]),
        (60, 6, {"workers": 6}, []),
        # More calls than places is nothing that these settings would change.
        (41, 4, {"full_share": 0.5}, []),
        (50, 4, {"workers": 5}, []),
        (50, 4, {"workers": 3}, ["workers"]),
    ],
)
def test_as_little_as_possible_stays_as_it_was(
    calls: int, there: int, new: dict[str, Any], refused: list[str]
) -> None:
    taken, keys = kept(calls, there=there, **new)
    assert keys == refused
    assert taken == PoolConfig(**OLD | new | {key: OLD[key] for key in refused})


def test_the_text_names_both_numbers_and_the_way_out() -> None:
    _, refused = keep_room(
        PoolConfig(workers=1, bitrate_bps=64_000), PoolConfig(workers=3), calls=700, workers=3
    )
    assert refused == (
        Refused(
            "workers",
            "workers stays 3: the 700 calls there are need more places than 500, which is what workers = 1 "
            "would leave; ask again when there are fewer calls",
        ),
    )


def test_a_number_that_is_found_out_is_named_as_it_was_written() -> None:
    old = PoolConfig(workers="auto", max_calls_per_worker=1)
    count = old.resolve_workers()
    _, [refused] = (
        keep_room(PoolConfig(workers=1, max_calls_per_worker=1), old, calls=count + 5, workers=count + 5)
        if count > 1
        else keep_room(PoolConfig(workers=2, max_calls_per_worker=1), old, calls=9, workers=9)
    )
    assert refused.text.startswith('workers stays "auto": ')
