"""Which playbacks there are, and what concerns all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.options import PlaySettings
from voicepool._playing.playback import EndReason, TrackState
from voicepool.events import TrackEnded, TrackStarted
from voicepool.ipc.commands import Play, TrackRole
from voicepool.source import AudioFile, Silence

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


@asyncio_test
async def test_the_newest_main_playback_is_the_main_one() -> None:
    stage = StageOfOne()
    player = stage.player
    assert player.roster.main is None
    first = player.begin(SONG)
    player.begin(Silence(), role=TrackRole.OVERLAY)
    await stage.settle()
    second = player.begin(OTHER)
    assert player.roster.main is second
    assert [track.source for track in player.roster.tracks] == [OTHER, Silence(), SONG]
    stage.worker.read_one()
    stage.worker.open_one(second.ident, error=NOT_FOUND)
    await stage.settle()
    assert player.roster.main is first
    player.end_all(None)
    assert player.roster.main is None
    await stage.turn()


@asyncio_test
async def test_one_that_waits_is_the_main_one_when_it_is_heard() -> None:
    stage = StageOfOne()
    first = stage.player.begin(SONG)
    await stage.settle()
    after = stage.player.begin(OTHER, role=TrackRole.NEXT)
    await stage.settle()
    track = stage.player.roster.track_of(after)
    assert (stage.player.roster.main, track.state) == (first, TrackState.WAITING)
    stage.worker.end_main()
    await stage.settle()
    assert stage.player.roster.main is after
    assert track.state is TrackState.PLAYING
    assert stage.told == [
        TrackStarted(stage.told[0].track),  # type: ignore[union-attr]
        TrackEnded(stage.told[0].track, EndReason.FINISHED),  # type: ignore[union-attr]
        TrackStarted(track),
    ]
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_an_overlay_is_held_with_the_rest_and_a_main_track_is_not() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    stage.player.pause()
    stage.player.begin(Silence(), role=TrackRole.OVERLAY)
    stage.player.begin(Silence(), role=TrackRole.NEXT)
    assert stage.player.roster.held
    stage.player.begin(OTHER)
    assert not stage.player.roster.held
    await stage.settle()
    plays = [command for command in stage.worker.read if isinstance(command, Play)]
    assert [play.paused for play in plays] == [False, True, True, False]
    assert {track.state for track in stage.player.roster.tracks} == {TrackState.PLAYING, TrackState.WAITING}
    stage.player.end_all(None)
    await stage.turn()


@pytest.mark.parametrize(
    ("on_gap", "gap_s", "place_s"), [("continue", 2.0, 11.0), ("continue", 0.0, 13.0), ("skip", 2.0, 13.0)]
)
def test_positions_stand_still_while_the_call_is_interrupted(
    on_gap: Any, gap_s: float, place_s: float
) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        playback = stage.player.begin(SONG, PlaySettings(on_gap=on_gap))
        await stage.settle()
        track = stage.player.roster.track_of(playback)
        stage.clock.advance(10)
        stage.player.roster.on_interrupted()
        stage.clock.advance(3)
        assert track.position_s == pytest.approx(10.0)
        stage.player.roster.on_restored(gap_s)
        assert track.position_s == pytest.approx(place_s)
        stage.clock.advance(1)
        assert track.position_s == pytest.approx(place_s + 1)
        stage.player.end_all(None)
        await stage.turn()

    run()
