"""A stage whose queue plays, and what is heard of it."""

from __future__ import annotations

from typing import Any

from tests.fakes.stage_of_one import StageOfOne
from voicepool.ipc.commands import Play
from voicepool.ipc.sources import FileSource
from voicepool.queued import QueuedTrack

__all__ = ["SONGS", "heard", "name_of", "playing"]

SONGS = [QueuedTrack(f"/music/{number}.flac") for number in range(8)]


def heard(stage: StageOfOne) -> list[str]:
    """The names of what was heard, in order."""
    return [name_of(play) for play in stage.worker.started]


def name_of(play: Play) -> str:
    assert isinstance(play.source, FileSource)
    return play.source.path.removeprefix("/music/").removesuffix(".flac")


async def playing(count: int = 3, **config: Any) -> StageOfOne:
    """A queue whose first track is heard."""
    stage = StageOfOne(**config)
    stage.queue.add(*SONGS[:count])
    await stage.settle()
    return stage
