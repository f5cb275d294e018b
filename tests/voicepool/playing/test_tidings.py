"""What the worker says of tracks, and who is told."""

from __future__ import annotations

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import CALL, StageOfOne
from voicepool._playing.playback import TrackState
from voicepool.events import TrackChanged, TrackPosition, TrackStuck, TrackUnstuck
from voicepool.ipc import events as wire
from voicepool.ipc.ids import PlaybackId
from voicepool.source import AudioFile

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


@asyncio_test
async def test_the_track_learns_what_its_source_says_of_itself() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(AudioFile("/music/a.flac", title="known before"))
    track = stage.player.roster.track_of(playback)
    assert (track.state, track.duration_s, track.info.title) == (TrackState.OPENING, None, None)
    await stage.settle()
    assert (track.info.title, track.duration_s, track.info.codec) == ("known before", 100.0, "flac")
    stage.worker.say(
        wire.TrackChanged(call=CALL, playback=playback.ident, title="the next", tags={"icy-name": "radio"})
    )
    await stage.settle()
    assert (track.info.title, track.info.tags, track.info.codec) == (
        "the next",
        {"icy-name": "radio"},
        "flac",
    )
    assert stage.told_of(TrackChanged) == [TrackChanged(track, "the next", None, {"icy-name": "radio"})]
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_track_that_is_stuck_stands_still_until_it_goes_on() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.settle()
    track = stage.player.roster.track_of(playback)
    stage.clock.advance(10)
    stage.worker.say(wire.TrackStuck(call=CALL, playback=playback.ident, waited_ms=400, part="source"))
    await stage.settle()
    stage.clock.advance(5)
    assert track.position_s == pytest.approx(9.6)
    stage.worker.say(wire.TrackStuck(call=CALL, playback=playback.ident, waited_ms=0))
    await stage.settle()
    stage.clock.advance(1)
    assert track.position_s == pytest.approx(10.6)
    assert stage.told[-2:] == [TrackStuck(track, 400, "source"), TrackUnstuck(track)]
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_track_that_is_over_tells_what_had_to_be_left_out() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.settle()
    track = stage.player.roster.track_of(playback)
    assert track.skipped_packets == 0
    stage.worker.say(
        wire.TrackEnded(
            call=CALL,
            playback=playback.ident,
            reason=wire.EndReason.FINISHED,
            frames_sent=5,
            skipped_packets=3,
        )
    )
    await stage.settle()
    assert track.skipped_packets == 3


@asyncio_test
async def test_reports_are_told_and_those_of_strangers_are_not() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.settle()
    track = stage.player.roster.track_of(playback)
    stage.clock.advance(3)
    stage.report((playback.ident, 2.9), (PlaybackId("stranger"), 50.0))
    assert stage.told[-1] == TrackPosition(track, 2.9)
    stage.clock.advance(0.5)
    assert track.position_s == pytest.approx(3.4)
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_news_of_an_unknown_playback_changes_nothing() -> None:
    stage = StageOfOne()
    ident = PlaybackId("stranger")
    stage.worker.say(wire.TrackStarted(call=CALL, playback=ident))
    stage.worker.say(
        wire.TrackEnded(call=CALL, playback=ident, reason=wire.EndReason.FINISHED, frames_sent=0)
    )
    await stage.settle()
    assert stage.told == []
