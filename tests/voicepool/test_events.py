"""The events themselves; how they come about is in ``test_call_view.py`` and ``test_listening.py``."""

from __future__ import annotations

import dataclasses
import typing

import pytest

import voicepool
from voicepool import events
from voicepool.errors import ConnectError
from voicepool.events import (
    Closed,
    Connected,
    ConnectionEvent,
    EncryptionChanged,
    Interrupted,
    MemberJoined,
    MemberLeft,
    MemberSpeaking,
    QueueEmpty,
    QueueGaveUp,
    Restored,
    ServerWanted,
    TrackChanged,
    TrackEnded,
    TrackPosition,
    TrackStarted,
    TrackStuck,
    TrackUnstuck,
)
from voicepool.track import EndReason, Track

TRACK = object.__new__(Track)

ONE_OF_EACH: list[ConnectionEvent] = [
    Connected(30, "aead_aes256_gcm_rtpsize"),
    Interrupted(ConnectError("lost")),
    Restored(40.0, resumed=True),
    ServerWanted(rejoin=True),
    EncryptionChanged(1, sending=True),
    MemberJoined(3),
    MemberLeft(3),
    MemberSpeaking(3, 77, 1),
    Closed(None),
    TrackStarted(TRACK, 1.5),
    TrackEnded(TRACK, EndReason.FINISHED),
    TrackStuck(TRACK, 400, "source"),
    TrackUnstuck(TRACK),
    TrackPosition(TRACK, 2.5),
    TrackChanged(TRACK, "a song", tags={"icy-name": "a station"}),
    QueueEmpty(),
    QueueGaveUp(10, ConnectError("lost")),
]
TOLD_OF_SOMETHING = [event for event in ONE_OF_EACH if dataclasses.fields(event)]


def test_there_is_one_of_each_above_and_all_are_public() -> None:
    kinds = set(typing.get_args(ConnectionEvent))
    assert {type(event) for event in ONE_OF_EACH} == kinds
    names = {kind.__name__ for kind in kinds}
    assert names | {"ConnectionEvent", "Listener"} == set(events.__all__)
    assert names <= set(voicepool.__all__)


@pytest.mark.parametrize("event", TOLD_OF_SOMETHING, ids=lambda event: type(event).__name__)
def test_an_event_is_frozen_and_equal_by_value(event: ConnectionEvent) -> None:
    assert dataclasses.replace(event) == event
    assert hash(dataclasses.replace(event)) == hash(event)
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, None)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_an_event_is_matched_by_position_and_explains_itself(event: ConnectionEvent) -> None:
    assert type(event).__match_args__ == tuple(field.name for field in dataclasses.fields(event))
    if TRACK not in [getattr(event, name) for name in type(event).__match_args__]:
        assert type(event).__name__ in repr(event)
    assert type(event).__doc__
