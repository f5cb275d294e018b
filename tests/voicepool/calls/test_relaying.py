"""A player between two workers: what is wanted meanwhile, and what the next one is told.

The model of a worker says what would be heard; see ``tests/fakes/model_worker.py``.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.options import checked_options
from voicepool.errors import FilterRefusedError, SourceQuarantinedError, TrackGoneError, UnseekableError
from voicepool.events import QueueEmpty, TrackEnded, TrackStarted, TrackStuck, TrackUnstuck
from voicepool.ipc.commands import Encoding, Pause, Play, Seek, Stop, TrackRole
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason as WireReason
from voicepool.ipc.events import TrackStuck as WireStuck
from voicepool.ipc.sources import FileSource
from voicepool.queued import QueuedTrack
from voicepool.resolver import Resolved
from voicepool.source import AudioFile, as_source
from voicepool.streams import PcmStream
from voicepool.track import EndReason, TrackState

SONG, OTHER, THIRD = (AudioFile(f"/music/{name}.flac") for name in "abc")
REFUSED = ErrorInfo(code=ErrorCode.FILTER_REFUSED, text="no such filter: 'brokenn'")


def name_of(play: Play | None) -> str | None:
    if play is None:
        return None
    assert isinstance(play.source, FileSource)
    return play.source.path.removeprefix("/music/").removesuffix(".flac")


async def playing(source: Any = SONG, **options: Any) -> tuple[StageOfOne, Any]:
    """A main track that has been heard for ten seconds."""
    stage = StageOfOne()
    playback = stage.player.begin(as_source(source), checked_options(options))
    await stage.settle()
    stage.clock.advance(10)
    stage.report((playback.ident, 10.0), heard_s=10.0)
    return stage, playback


async def end(stage: StageOfOne) -> None:
    stage.player.end_all(None)
    await stage.turn()
    assert stage.tasks == set()


@asyncio_test
async def test_a_track_goes_on_and_nobody_is_told_of_it() -> None:
    stage, playback = await playing()
    track = stage.player.roster.track_of(playback)
    waiting = asyncio.ensure_future(track.wait())
    stage.told.clear()
    stage.lose()
    stage.clock.advance(3)
    assert track.state is TrackState.PLAYING
    assert track.position_s == pytest.approx(10.0)
    worker = stage.go_on()
    await stage.settle()
    stage.restore(3.0)
    assert name_of(worker.main) == "a"
    assert worker.main is not None
    assert worker.main.playback == playback.ident
    assert worker.main.options.position_s == pytest.approx(10.0)
    stage.clock.advance(5)
    assert track.position_s == pytest.approx(15.0)
    assert stage.told == []
    assert not waiting.done()
    worker.end_main()
    await stage.settle()
    assert await waiting is EndReason.FINISHED
    assert [type(event) for event in stage.told] == [TrackEnded]
    await end(stage)


@asyncio_test
async def test_what_was_being_opened_is_opened_again() -> None:
    stage = StageOfOne()
    playback = stage.player.begin(SONG)
    await stage.turn()
    stage.worker.read_one()
    stage.lose()
    await stage.turn()
    assert not playback.over.is_set()
    stage.go_on()
    await stage.settle()
    assert playback.started
    assert [type(event) for event in stage.told] == [TrackStarted]
    await end(stage)


@asyncio_test
async def test_what_is_to_replace_the_main_track_comes_once_that_is_heard_again() -> None:
    stage, heard = await playing()
    newer = stage.player.begin(OTHER)
    await stage.settle(opens=False)
    stage.lose()
    worker = stage.go_on()
    await stage.settle(opens=False)
    assert [name_of(play) for play in worker.openings.values()] == ["a"]
    worker.open_one(heard.ident)
    await stage.settle(opens=False)
    assert [name_of(play) for play in worker.openings.values()] == ["b"]
    worker.open_one(newer.ident, error=NOT_FOUND)
    await stage.settle()
    assert (newer.reason, heard.over.is_set(), name_of(worker.main)) == (EndReason.FAILED, False, "a")
    await end(stage)


@asyncio_test
async def test_what_follows_takes_the_place_of_a_main_track_that_cannot_be_opened_again() -> None:
    stage, heard = await playing()
    follows = stage.player.begin(OTHER, role=TrackRole.NEXT)
    await stage.settle()
    stage.lose()
    worker = stage.go_on()
    await stage.settle(opens=False)
    worker.open_one(heard.ident, error=NOT_FOUND)
    await stage.settle()
    assert heard.reason is EndReason.FAILED
    assert (name_of(worker.main), follows.started) == ("b", True)
    await end(stage)


@asyncio_test
async def test_what_is_played_between_two_workers_is_heard_at_the_next() -> None:
    stage, heard = await playing()
    stage.lose()
    overtaken, newer = stage.player.begin(OTHER), stage.player.begin(THIRD)
    effect = stage.player.begin(AudioFile(b"RIFF"), role=TrackRole.OVERLAY)
    assert (overtaken.reason, newer.over.is_set()) == (EndReason.REPLACED, False)
    worker = stage.go_on()
    await stage.settle()
    assert [name_of(play) for play in worker.started if play.role is TrackRole.MAIN] == ["a", "c"]
    assert (heard.reason, effect.started, newer.started) == (EndReason.REPLACED, True, True)
    await end(stage)


@asyncio_test
async def test_what_is_found_out_between_two_workers_is_played_at_the_next() -> None:
    stage = StageOfOne()
    known = asyncio.Event()

    async def resolver(_query: str) -> str:
        await known.wait()
        return "/music/b.flac"

    playback = stage.player.begin(Resolved("x", resolver))
    await stage.turn()
    stage.lose()
    known.set()
    await stage.turn()
    assert not playback.over.is_set()
    worker = stage.go_on()
    await stage.settle()
    assert name_of(worker.main) == "b"
    await end(stage)


@asyncio_test
async def test_all_that_concerns_the_call_is_told_before_what_it_plays() -> None:
    stage, _ = await playing()
    stage.player.begin(OTHER, role=TrackRole.OVERLAY)
    await stage.settle()
    stage.lose()
    stage.player.set_volume(0.25)
    stage.player.set_encoding(Encoding(bitrate_bps=48_000))
    stage.player.pause()
    worker = stage.go_on()
    await stage.turn()
    assert [type(command).__name__ for command in worker.inbox] == [
        "SetEncoding",
        "SetVolume",
        "Pause",
        "Play",
        "Play",
    ]
    await stage.settle()
    assert (worker.paused, worker.volume) == (True, 0.25)
    assert worker.encoding == Encoding(bitrate_bps=48_000)
    await end(stage)


@asyncio_test
async def test_a_new_main_track_is_heard_whatever_was_held() -> None:
    stage, _ = await playing()
    stage.player.pause()
    stage.lose()
    newer = stage.player.begin(OTHER)
    worker = stage.go_on()
    await stage.settle(opens=False)
    worker.open_one(next(iter(worker.openings)))
    assert worker.paused, "the old one is still held"
    await stage.settle()
    assert (worker.paused, name_of(worker.main), newer.paused) == (False, "b", False)
    await end(stage)


@asyncio_test
async def test_resumed_between_two_workers_it_is_heard_at_the_next() -> None:
    stage, playback = await playing()
    stage.player.pause()
    await stage.settle()
    stage.lose()
    stage.player.resume()
    worker = stage.go_on()
    await stage.settle()
    assert (worker.paused, playback.paused) == (False, False)
    assert not any(isinstance(command, Pause) for command in worker.read)
    await end(stage)


@pytest.mark.parametrize("when", ["before", "between"])
@asyncio_test
async def test_a_stop_is_carried_out_without_a_worker(when: str) -> None:
    stage, playback = await playing()
    if when == "between":
        stage.lose()
    stopping = asyncio.ensure_future(stage.player.stop(fade_out_s=3.0 if when == "before" else 0.0))
    await stage.turn()
    if when == "before":
        assert not stopping.done()
        stage.lose()
    await stopping
    assert playback.reason is EndReason.STOPPED
    worker = stage.go_on()
    await stage.settle()
    assert worker.read == []
    await end(stage)


@asyncio_test
async def test_a_stop_of_one_track_leaves_the_others() -> None:
    stage, heard = await playing()
    effect = stage.player.begin(OTHER, role=TrackRole.OVERLAY)
    await stage.settle()
    stopping = asyncio.ensure_future(stage.player.stop_one(effect))
    await stage.turn()
    stage.lose()
    await stopping
    worker = stage.go_on()
    await stage.settle()
    assert worker.there == {heard.ident}
    await end(stage)


@pytest.mark.parametrize("when", ["before", "between", "opening"])
@asyncio_test
async def test_a_seek_holds_at_the_next_worker(when: str) -> None:
    stage, playback = await playing()
    track = stage.player.roster.track_of(playback)
    if when != "before":
        stage.lose()
    if when == "opening":
        stage.go_on()
        await stage.settle(opens=False)
    seeking = asyncio.ensure_future(track.seek(42.0))
    await stage.turn()
    if when == "before":
        stage.lose()
    if when == "opening":
        assert not seeking.done(), "there is no such track yet at the worker"
        await stage.settle()
        await seeking
        [sought] = stage.worker.obeyed
        assert isinstance(sought, Seek)
        assert (sought.playback, sought.position_s) == (playback.ident, 42.0)
    else:
        await seeking
        worker = stage.go_on()
        await stage.settle()
        assert worker.main is not None
        assert worker.main.options.position_s == 42.0
    stage.restore(0.0)
    assert track.position_s == pytest.approx(42.0)
    await end(stage)


@asyncio_test
async def test_a_seek_in_what_has_no_places_is_refused_without_a_worker_too() -> None:
    stage = StageOfOne()
    stream = PcmStream()
    playback = stage.player.begin(stream)
    await stage.settle()
    stage.lose()
    with pytest.raises(UnseekableError):
        await stage.player.roster.track_of(playback).seek(3.0)
    await end(stage)


@pytest.mark.parametrize("when", ["before", "between"])
@asyncio_test
async def test_changes_of_a_track_hold_at_the_next_worker(when: str) -> None:
    stage, playback = await playing()
    track = stage.player.roster.track_of(playback)
    if when == "between":
        stage.lose()
    track.volume = 0.5
    changing = asyncio.ensure_future(track.set(speed=2.0, filters="tremolo"))
    await stage.turn()
    if when == "before":
        stage.lose()
        await stage.turn()
    worker = stage.go_on()
    await stage.settle()
    await changing
    assert worker.main is not None
    options = worker.main.options
    assert (options.volume, options.speed, options.filters) == (0.5, 2.0, "tremolo")
    assert worker.obeyed == [], "all of it came with the track"
    track.volume = 0.25
    await stage.settle()
    assert [command.volume for command in worker.obeyed] == [0.25]  # type: ignore[union-attr]
    await end(stage)


@asyncio_test
async def test_a_filter_that_the_next_worker_refuses_is_taken_back() -> None:
    stage, playback = await playing(filters="tremolo")
    track = stage.player.roster.track_of(playback)
    stage.lose()
    changing = asyncio.ensure_future(track.set(filters="brokenn"))
    await stage.turn()
    worker = stage.go_on()
    await stage.settle(opens=False)
    worker.open_one(playback.ident, error=REFUSED)
    await stage.settle()
    with pytest.raises(FilterRefusedError, match="brokenn"):
        await changing
    assert (playback.over.is_set(), track.filters) == (False, "tremolo")
    assert worker.main is not None
    assert worker.main.options.filters == "tremolo"
    await end(stage)


@asyncio_test
async def test_a_track_that_was_stuck_is_so_no_more_when_it_is_heard_again() -> None:
    stage, playback = await playing()
    stage.worker.say(WireStuck(call=stage.player.line._call, playback=playback.ident, waited_ms=100))
    await stage.settle()
    stage.lose()
    stage.go_on()
    await stage.settle()
    stage.restore(0.0)
    assert [type(event) for event in stage.told][-2:] == [TrackStuck, TrackUnstuck]
    place_s = playback.position.at(stage.clock())
    stage.clock.advance(2)
    assert playback.position.at(stage.clock()) == pytest.approx(place_s + 2)
    await end(stage)


@asyncio_test
async def test_a_skip_on_its_way_is_carried_out() -> None:
    stage = StageOfOne()
    stage.queue.add(*(QueuedTrack(f"/music/{name}.flac") for name in "abc"))
    await stage.settle()
    skipping = asyncio.ensure_future(stage.queue.skip())
    await stage.turn()
    stage.lose()
    await skipping
    worker = stage.go_on()
    await stage.settle()
    assert (name_of(worker.main), name_of(worker.waiting)) == ("b", "c")
    assert [(event.track.source.label, event.reason) for event in stage.told_of(TrackEnded)] == [
        ("/music/a.flac", EndReason.REPLACED)
    ]
    await end(stage)


@asyncio_test
async def test_what_is_convicted_ends_and_all_else_goes_on() -> None:
    stage, heard = await playing()
    bad = stage.player.begin(OTHER, role=TrackRole.OVERLAY)
    await stage.settle(opens=False)
    suspicion = stage.player.line.suspicion
    for _ in range(2):
        suspicion.on_death(stage.link.worker, stage.clock())
        stage.lose()
        await stage.turn()
        stage.go_on()
        await stage.settle(opens=False)
        if heard.ident in stage.worker.openings:
            stage.worker.open_one(heard.ident)
        await stage.settle(opens=False)
    assert isinstance(bad.error, SourceQuarantinedError)
    assert stage.worker.there == {heard.ident}
    assert not heard.over.is_set()
    await end(stage)


@asyncio_test
async def test_the_end_of_the_call_ends_what_waits_for_a_worker() -> None:
    stage, playback = await playing()
    waiting = asyncio.ensure_future(stage.player.roster.track_of(playback).set(speed=2.0, filters="tremolo"))
    stage.lose()
    newer = stage.player.begin(OTHER)
    await stage.turn()
    await end(stage)
    with pytest.raises(TrackGoneError):
        await waiting
    assert (playback.reason, newer.reason) == (EndReason.STOPPED, EndReason.STOPPED)


@asyncio_test
async def test_a_pushed_stream_goes_on_where_its_writer_is(caplog: pytest.LogCaptureFixture) -> None:
    stage = StageOfOne()
    stream = PcmStream(sample_rate_hz=1_000, channels=1, buffer_ms=200)
    playback = stage.player.begin(stream)
    await stage.settle(opens=False)
    await stream.write(bytes(200 * 2))
    writing = asyncio.ensure_future(stream.write(bytes(300 * 2)))
    stream.grant(200)
    await stage.turn()
    stage.lose()
    await stage.turn()
    assert not writing.done()
    assert stream.lost_s == pytest.approx(0.2)
    assert caplog.text.count("are not heard") == 1
    stage.go_on()
    await stage.settle(opens=False)
    for _ in range(3):
        stream.grant(200)
        await stage.turn()
    await writing
    assert stream.written_s == pytest.approx(0.5)
    await stream.close()
    assert not playback.over.is_set()
    await end(stage)


@asyncio_test
async def test_a_pushed_stream_of_which_nothing_is_left_has_finished() -> None:
    stage = StageOfOne()
    stream = PcmStream(sample_rate_hz=1_000, channels=1, buffer_ms=200)
    playback = stage.player.begin(stream)
    await stage.settle(opens=False)
    stream.grant(200)
    await stream.write(bytes(100 * 2))
    await stream.close()
    stage.lose()
    stage.go_on()
    await stage.settle(opens=False)
    assert playback.reason is EndReason.FINISHED
    await end(stage)


# Whatever crosses.


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_wanted_while_workers_die_is_what_the_last_one_plays(  # noqa: C901, PLR0915 - one wish each
    seed: int,
) -> None:
    @asyncio_test
    async def run() -> None:  # noqa: C901, PLR0912, PLR0915 - one wish each
        chance = random.Random(seed)
        stage = StageOfOne()
        failures: list[BaseException] = []
        tasks: list[asyncio.Task[Any]] = []
        away = False

        def do(work: Any) -> None:
            tasks.append(asyncio.ensure_future(work))

        stage.queue.add(*(QueuedTrack(f"/music/{name}.flac") for name in "abcdef"))
        for _ in range(120):
            tracks = stage.player.roster.tracks
            match chance.randrange(16):
                case 0 if not away:
                    stage.lose()
                    away = True
                case 1 | 2 if away:
                    stage.go_on()
                    away = False
                case 3:
                    do(stage.queue.skip())
                case 4:
                    stage.player.begin(AudioFile(f"/music/x{chance.randrange(100)}.flac"))
                case 5:
                    stage.player.begin(AudioFile("/music/effect.flac"), role=TrackRole.OVERLAY)
                case 6:
                    stage.player.pause()
                case 7:
                    stage.player.resume()
                case 8:
                    stage.player.set_volume(chance.choice([0.5, 1.0, 2.0]))
                case 9 if tracks:
                    do(chance.choice(tracks).seek(float(chance.randrange(50))))
                case 10 if tracks:
                    do(chance.choice(tracks).set(speed=chance.choice([0.5, 2.0])))
                case 11 if tracks:
                    chance.choice(tracks).volume = chance.choice([0.3, 0.6])
                case 12 if tracks:
                    do(chance.choice(tracks).stop())
                case 13:
                    stage.queue.shuffle() if chance.random() < 0.5 else stage.queue.add(
                        QueuedTrack(f"/music/q{chance.randrange(100)}.flac")
                    )
                case 14 if stage.worker.main is not None and not away:
                    stage.worker.end_main(WireReason.FINISHED, crossed=chance.random() < 0.3)
                case _:
                    pass
            for _ in range(chance.randrange(4)):
                if away:
                    await asyncio.sleep(0)
                elif stage.worker.inbox and chance.random() < 0.5:
                    stage.worker.read_one()
                elif stage.worker.openings and chance.random() < 0.3:
                    stage.worker.open_one(chance.choice(list(stage.worker.openings)))
                elif stage.worker.outbox:
                    await stage.hand_over()
            stage.clock.advance(chance.random())
        if away:
            stage.go_on()
        await stage.settle()
        stage.restore(0.0)
        for task in tasks:
            try:
                await asyncio.wait_for(task, 30.0)
            except (TrackGoneError, UnseekableError):
                pass
            except Exception as error:  # noqa: BLE001 - shown below, with the seed
                failures.append(error)
        await stage.settle()
        assert failures == [], seed
        there = stage.worker.there
        known = {each.ident for each in stage.player.roster.playbacks}
        assert there == known
        main = stage.player.roster.main
        assert (main.ident if main else None) == (stage.worker.main.playback if stage.worker.main else None)
        if main is not None:
            assert stage.worker.paused == stage.player.roster.held
            assert stage.worker.volume == stage.player.volume
        for playback in stage.player.roster.playbacks:
            told: dict[str, Any] = {"volume": None, "speed": None}
            for command in stage.worker.read:
                if isinstance(command, Play) and command.playback == playback.ident:
                    told = {"volume": command.options.volume, "speed": command.options.speed}
                elif getattr(command, "playback", None) == playback.ident and hasattr(command, "speed"):
                    told = {"volume": command.volume, "speed": command.speed}
            wanted = {"volume": playback.options.volume, "speed": playback.options.speed}
            assert told == wanted, seed
        started = [event.track.ident for event in stage.told_of(TrackStarted)]
        assert len(started) == len(set(started)), "a track began twice"
        ended = [event.track.ident for event in stage.told_of(TrackEnded)]
        assert len(ended) == len(set(ended)), "a track ended twice"
        assert {type(event.error) for event in stage.told_of(TrackEnded)} <= {type(None)}
        assert len(stage.told_of(QueueEmpty)) <= 20
        assert not any(isinstance(each, Stop) for each in stage.worker.inbox)
        await end(stage)

    run()
