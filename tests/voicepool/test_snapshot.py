"""What another worker has to know to go on with what a call plays."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._options import checked_options
from voicepool._snapshot import BeginAgain
from voicepool.errors import WorkerLostError
from voicepool.events import TrackEnded
from voicepool.ipc.commands import Encoding, TrackRole
from voicepool.ipc.sources import FileSource
from voicepool.resolver import Resolved
from voicepool.source import AudioFile, AudioSource
from voicepool.station import Station
from voicepool.streams import PcmStream
from voicepool.track import EndReason

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
    first, second, third = (each.command for each in snapshot.plays)
    assert (first.playback, second.playback, third.playback) == (main.ident, after.ident, effect.ident)
    assert (first.options.start_s, first.options.position_s, first.options.end_s) == (10.0, 13.0, 20.0)
    assert (first.options.repeats, first.options.fade_in_s, first.options.volume) == (2, 0.0, 0.7)
    assert {each.volume for each in (first, second, third)} == {0.5}
    assert {each.paused for each in (first, second, third)} == {True}
    assert (second.crossfade_s, third.duck_db, third.role) == (4.0, -6.0, TrackRole.OVERLAY)
    assert snapshot.plays[2].attachments == (b"RIFF",)
    assert snapshot.encoding == Encoding(bitrate_bps=64_000)
    player.end_all(None)
    assert player.snapshot().plays == ()
    await stage.turn()


@asyncio_test
async def test_a_snapshot_has_one_main_track() -> None:
    stage = StageOfOne()
    stage.player.begin(SONG)
    await stage.settle()
    newer = stage.player.begin(OTHER)
    assert [each.command.playback for each in stage.player.snapshot().plays] == [newer.ident]
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_what_was_resolved_is_in_it_as_that_and_what_was_not_as_it_is() -> None:
    stage = StageOfOne()
    known = asyncio.Event()

    async def resolver(query: str) -> str:
        if query == "later":
            await known.wait()
        return f"/music/{query}.flac"

    stage.player.begin(Resolved("first", resolver))
    await stage.settle()
    later, options = Resolved("later", resolver), checked_options({"volume": 0.5})
    stage.player.begin(later, options)
    await stage.settle()
    snapshot = stage.player.snapshot()
    assert [each.command.source for each in snapshot.plays] == [FileSource(path="/music/first.flac")]
    assert snapshot.begins == (BeginAgain(later, options, TrackRole.MAIN, 0.0, queued=False),)
    known.set()
    await stage.settle()
    snapshot = stage.player.snapshot()
    assert [each.command.source for each in snapshot.plays] == [FileSource(path="/music/later.flac")]
    assert snapshot.begins == ()
    stage.player.end_all(None)
    await stage.turn()


LOST = WorkerLostError("worker w0.1 was killed by SIGSEGV")


@asyncio_test
async def test_after_the_loss_of_a_worker_it_tells_how_to_go_on() -> None:
    stage = StageOfOne()
    main = stage.player.begin(SONG)
    await stage.settle()
    after = stage.player.begin(OTHER, role=TrackRole.NEXT)
    stage.player.begin(PcmStream(), role=TrackRole.OVERLAY)
    opening = stage.player.begin(AudioFile(b"RIFF"), role=TrackRole.OVERLAY)
    await stage.settle(opens=False)
    stage.clock.advance(30)
    stage.report((main.ident, 29.95), heard_s=29.95)
    stage.clock.advance(0.7)
    stage.link.lose(LOST)
    stage.clock.advance(60)
    await stage.turn()
    first, second, third = stage.player.snapshot().plays
    assert [each.command.playback for each in (first, second, third)] == [
        main.ident,
        after.ident,
        opening.ident,
    ]
    assert first.command.options.position_s == pytest.approx(30.65, abs=0.1)
    assert third.attachments == (b"RIFF",)
    ended = stage.told_of(TrackEnded)
    assert [event.reason for event in ended] == [EndReason.WORKER_LOST] * 4
    assert {str(event.error) for event in ended} == {str(LOST)}
    assert {type(event.error) for event in ended} == {WorkerLostError}
    assert len({event.track.ident for event in ended}) == 4
    assert stage.tasks == set()


@pytest.mark.parametrize(
    ("options", "pauses", "place_s"),
    [
        ({}, False, 10.7),
        ({}, True, 10.0),
        ({"speed": 2.0}, False, 21.4),
        ({"start_s": 5.0, "end_s": 9.0, "loop": True}, False, 7.7),
        ({"filters": "asetrate=60000,aresample=48000"}, False, 13.375),
    ],
)
def test_the_place_of_the_loss_is_right(options: dict[str, object], *, pauses: bool, place_s: float) -> None:
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
        stage.link.lose(LOST)
        stage.clock.advance(5)
        await stage.turn()
        [again] = stage.player.snapshot().plays
        assert again.command.options.position_s == pytest.approx(place_s, abs=0.1)
        assert stage.told_of(TrackEnded)[0].track.position_s == pytest.approx(place_s, abs=0.1)
        assert again.command.paused is pauses

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
