"""What another worker has to know to go on with what a call plays."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.options import checked_options
from voicepool._playing.snapshot import lineup_of
from voicepool.ipc.commands import Encoding, TrackRole
from voicepool.ipc.sources import FileSource
from voicepool.resolver import Resolved
from voicepool.source import AudioFile, AudioSource
from voicepool.station import Station

SONG = AudioFile("/music/a.flac")
OTHER = AudioFile("/music/b.flac")


@asyncio_test
async def test_a_snapshot_tells_another_worker_how_to_go_on() -> None:
    stage = StageOfOne()
    player = stage.player
    player.set_volume(0.5)
    player.set_encoding(Encoding(bitrate_bps=64_000))
    main = player.begin(SONG, checked_options({"start_s": 10, "end_s": 20, "loop": 3, "fade_in_s": 2}))
    await stage.settle()
    after = player.begin(OTHER, checked_options({"crossfade_s": 4}), role=TrackRole.NEXT)
    effect = player.begin(AudioFile(b"RIFF"), role=TrackRole.OVERLAY, duck_db=-6.0)
    await stage.settle()
    player.roster.track_of(main).volume = 0.7
    stage.clock.advance(13)
    stage.report((main.ident, 13.0))
    player.pause()
    stage.clock.advance(60)
    snapshot = player.snapshot()
    first, third, second = (each.command for each in snapshot.plays)
    assert (first.playback, second.playback, third.playback) == (main.ident, after.ident, effect.ident)
    assert (first.options.start_s, first.options.position_s, first.options.end_s) == (10.0, 13.0, 20.0)
    assert (first.options.repeats, first.options.fade_in_s, first.options.volume) == (2, 0.0, 0.7)
    assert {each.volume for each in (first, second, third)} == {0.5}
    assert {each.paused for each in (first, second, third)} == {True}
    assert (second.crossfade_s, third.duck_db, third.role) == (4.0, -6.0, TrackRole.OVERLAY)
    assert snapshot.plays[1].attachments == (b"RIFF",)
    assert snapshot.encoding == Encoding(bitrate_bps=64_000)
    player.end_all(None)
    assert player.snapshot().plays == ()
    await stage.turn()


@asyncio_test
async def test_a_main_track_that_is_to_replace_another_comes_behind_it() -> None:
    stage = StageOfOne()
    heard = stage.player.begin(SONG)
    await stage.settle()
    newer = stage.player.begin(OTHER)
    follows = stage.player.begin(OTHER, role=TrackRole.NEXT)
    plays = stage.player.snapshot().plays
    assert [each.playback for each in plays] == [heard, newer, follows]
    lineup = lineup_of(stage.player.roster.playbacks)
    assert (lineup.front, lineup.behind, lineup.overtaken) == (heard, (newer, follows), ())
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_of_main_tracks_that_are_opened_the_newest_counts() -> None:
    stage = StageOfOne()
    older, newer = stage.player.begin(SONG), stage.player.begin(OTHER)
    lineup = lineup_of(stage.player.roster.playbacks)
    assert (lineup.front, lineup.behind, lineup.overtaken) == (newer, (), (older,))
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_what_was_resolved_is_in_it_as_that_and_what_was_not_is_left_out() -> None:
    stage = StageOfOne()
    known = asyncio.Event()

    async def resolver(query: str) -> str:
        if query == "later":
            await known.wait()
        return f"/music/{query}.flac"

    def paths() -> list[str]:
        sources = [each.command.source for each in stage.player.snapshot().plays]
        return [source.path for source in sources if isinstance(source, FileSource)]

    stage.player.begin(Resolved("first", resolver))
    await stage.settle()
    stage.player.begin(Resolved("later", resolver))
    await stage.settle()
    assert paths() == ["/music/first.flac"]
    known.set()
    await stage.settle()
    assert paths() == ["/music/later.flac"]
    stage.player.end_all(None)
    await stage.turn()


@pytest.mark.parametrize(
    ("options", "pauses", "place_s"),
    [
        ({}, False, 10.7),
        ({}, True, 10.0),
        ({"speed": 2.0}, False, 21.4),
        ({"start_s": 5.0, "end_s": 9.0, "loop": True}, False, 7.7),
        ({"filters": "asetrate=60000,aresample=48000"}, False, 13.375),
        ({"on_gap": "skip"}, False, 15.7),
    ],
)
def test_the_place_of_the_loss_is_where_another_goes_on(
    options: dict[str, object], *, pauses: bool, place_s: float
) -> None:
    @asyncio_test
    async def run() -> None:
        stage = StageOfOne()
        main = stage.player.begin(SONG, checked_options(options))
        await stage.settle()
        speed = 1.25 if "filters" in options else main.options.speed
        for second in range(1, 11):
            stage.clock.advance(1)
            place = main.options.start_s + second * speed
            if main.options.end_s is not None:
                place = main.options.start_s + second * speed % (main.options.end_s - main.options.start_s)
            stage.report((main.ident, place), heard_s=float(second))
        if pauses:
            stage.player.pause()
        stage.clock.advance(0.7)
        stage.lose()
        stage.clock.advance(5)
        await stage.turn()
        worker = stage.go_on()
        await stage.settle()
        [again] = worker.started
        assert again.playback == main.ident
        assert again.options.position_s == pytest.approx(place_s, abs=0.1)
        assert again.paused is pauses
        stage.restore(5.0)
        assert main.position.at(stage.clock()) == pytest.approx(place_s, abs=0.1)
        stage.player.end_all(None)
        await stage.turn()

    run()


@pytest.mark.parametrize(
    "source", [Station("lofi", "/music/a.opus"), AudioFile("https://radio.example/live", live=True)]
)
def test_what_is_sent_now_goes_on_with_what_is_sent_then(source: AudioSource) -> None:
    @asyncio_test
    async def scenario() -> None:
        stage = StageOfOne()
        main = stage.player.begin(source)
        await stage.settle()
        stage.clock.advance(13)
        stage.report((main.ident, 13.0))
        [play] = stage.player.snapshot().plays
        # A worker refuses any place in it.
        assert play.command.options.position_s is None
        stage.player.end_all(None)
        await stage.turn()

    scenario()
