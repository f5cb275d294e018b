"""The events of a pool themselves; how they come about is tested where they do."""

from __future__ import annotations

import dataclasses
import typing

import pytest

import voicepool
from voicepool import pool_events
from voicepool.pool_events import (
    CallMoved,
    ConfigReloaded,
    ExitReason,
    MoveReason,
    PoolEvent,
    PoolScaled,
    SettingRefused,
    WorkerHeavy,
    WorkerLooping,
    WorkerLost,
    WorkerShed,
    WorkerStarted,
)

ONE_OF_EACH: list[PoolEvent] = [
    WorkerStarted(0, "w0.1", 4711),
    WorkerLost(0, "w0.1", ExitReason.KILLED, "was killed by SIGKILL", 3),
    WorkerLooping(0, 5, 30.0, "exited with code 1"),
    WorkerHeavy(0, "w0.1", 90 << 20, 100 << 20, replaced=False),
    WorkerShed(0, "w0.1", 5),
    CallMoved(1234, "w0.1", "w1.1", MoveReason.LOST, 250.0),
    PoolScaled(1, 4, "config"),
    ConfigReloaded(frozenset({"workers"}), replaced=False),
    SettingRefused("workers", "workers stays 3: the 700 calls there are need more places than 500"),
]


def test_there_is_one_of_each_above_and_all_are_public() -> None:
    kinds = set(typing.get_args(PoolEvent))
    assert {type(event) for event in ONE_OF_EACH} == kinds
    names = {kind.__name__ for kind in kinds} | {"ExitReason", "MoveReason"}
    assert names | {"PoolEvent"} == set(pool_events.__all__)
    assert names <= set(voicepool.__all__)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_an_event_is_frozen_equal_by_value_and_explains_itself(event: PoolEvent) -> None:
    assert dataclasses.replace(event) == event
    assert hash(dataclasses.replace(event)) == hash(event)
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, None)
    assert type(event).__name__ in repr(event)
    assert type(event).__doc__


@pytest.mark.parametrize("kind", [ExitReason, MoveReason])
def test_a_reason_reads_as_words(kind: type[ExitReason | MoveReason]) -> None:
    assert all(str(reason) == reason.name.lower().replace("_", " ") for reason in kind)
