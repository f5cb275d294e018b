"""Whatever a program is given as a track's feed has all that it asks of one."""

from __future__ import annotations

import inspect

import pytest

from tests.workers.audio.shaped import Listed, feed_of
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.shaping import ShapedFeed
from voicepool.workers.audio.track_feed import TrackFeed

ASKED = [name for name in vars(TrackFeed) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [Feed, ShapedFeed])
@pytest.mark.parametrize("name", ASKED)
def test_each_feed_has_what_a_program_asks_for(kind: type[object], name: str) -> None:
    asked, had = vars(TrackFeed)[name], vars(kind)[name]
    assert type(asked) is type(had)
    if inspect.isfunction(asked) and inspect.isfunction(had):
        assert list(inspect.signature(asked).parameters) == list(inspect.signature(had).parameters)


def test_a_feed_can_be_used_as_one() -> None:
    feed: TrackFeed = feed_of(Listed([b"one"]))
    assert feed.peek() == b"one"
    assert feed.take_packets(4) == [b"one"]
    assert feed.position_frames == 1
    feed.close()
