"""The queue at work, against a model of the worker: what is heard, and what waits."""

from __future__ import annotations

import asyncio

from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from tests.voicepool.playing.queue_stage import SONGS, heard, name_of, playing
from voicepool.events import QueueEmpty, TrackEnded, TrackStarted
from voicepool.ipc.commands import Play, Resume, Skip, Stop, TrackRole
from voicepool.queue import Loop
from voicepool.queued import QueuedTrack
from voicepool.resolver import Resolved
from voicepool.source import AudioFile


@asyncio_test
async def test_adding_to_an_idle_queue_plays_at_once_and_the_next_waits() -> None:
    stage = await playing()
    assert heard(stage) == ["0"]
    assert stage.worker.waiting is not None
    assert name_of(stage.worker.waiting) == "1"
    assert stage.queue.current is SONGS[0]
    assert list(stage.queue) == SONGS[1:3]


@asyncio_test
async def test_the_queue_follows_the_worker_and_ends_once() -> None:
    stage = await playing()
    for crossed in (False, True, False):
        stage.worker.end_main(crossed=crossed)
        await stage.settle()
    assert heard(stage) == ["0", "1", "2"]
    assert [type(event) for event in stage.told] == [TrackStarted, TrackEnded] * 1 + [
        TrackStarted,
        TrackStarted,
        TrackEnded,
        TrackEnded,
        QueueEmpty,
    ]
    assert stage.queue.current is None
    assert stage.queue.history == tuple(SONGS[:3])
    assert stage.player.roster.silent.is_set()
    stage.queue.add(SONGS[3])
    await stage.settle()
    assert heard(stage)[-1] == "3"


@asyncio_test
async def test_silence_does_not_fall_between_two_tracks() -> None:
    stage = await playing(2)
    waiting = asyncio.create_task(stage.player.roster.silent.wait())
    stage.queue.remove(0)
    stage.queue.add(SONGS[5])
    stage.worker.end_main()
    await stage.settle(opens=False)
    assert not waiting.done()
    stage.worker.openings.clear()
    stage.player.end_all(None)
    await waiting


@asyncio_test
async def test_skip_uses_the_one_that_waits() -> None:
    stage = await playing()
    skipping = asyncio.create_task(stage.queue.skip())
    await stage.settle()
    await skipping
    assert [type(command) for command in stage.worker.read] == [Play, Play, Skip, Play]
    assert heard(stage) == ["0", "1"]
    assert stage.queue.current is SONGS[1]


@asyncio_test
async def test_skip_while_the_next_is_opening_plays_it_as_main() -> None:
    stage = StageOfOne()
    stage.queue.add(*SONGS[:3])
    await stage.turn()
    stage.worker.read_one()
    stage.worker.open_one(next(iter(stage.worker.openings)))
    await stage.settle(opens=False)
    skipping = asyncio.create_task(stage.queue.skip())
    await stage.settle()
    await skipping
    assert [type(command) for command in stage.worker.read] == [Play, Play, Stop, Play, Play]
    assert stage.worker.read[3].role is TrackRole.MAIN
    assert heard(stage) == ["0", "1"]


@asyncio_test
async def test_a_skip_that_crosses_the_end_of_the_track_skips_one_only() -> None:
    stage = await playing()
    skipping = asyncio.create_task(stage.queue.skip())
    await asyncio.sleep(0)
    stage.worker.end_main()
    await stage.settle()
    await skipping
    assert heard(stage) == ["0", "1"]
    assert stage.queue.current is SONGS[1]


@asyncio_test
async def test_skip_of_several_and_past_the_end() -> None:
    stage = await playing(4)
    skipping = asyncio.create_task(stage.queue.skip(3))
    await stage.settle()
    await skipping
    assert heard(stage) == ["0", "3"]
    skipping = asyncio.create_task(stage.queue.skip())
    await stage.settle()
    await skipping
    assert stage.worker.there == set()
    assert stage.told_of(QueueEmpty) == [QueueEmpty()]
    await stage.queue.skip()
    assert len(stage.told_of(QueueEmpty)) == 1


@asyncio_test
async def test_a_skip_goes_on_with_what_is_held() -> None:
    stage = await playing()
    stage.player.pause()
    skipping = asyncio.create_task(stage.queue.skip())
    await stage.settle()
    await skipping
    assert isinstance(stage.worker.read[-2], Resume | Play)
    assert Resume in {type(command) for command in stage.worker.read}
    assert not stage.player.roster.held


@asyncio_test
async def test_back_plays_the_one_before_and_then_the_one_that_was() -> None:
    stage = await playing()
    stage.worker.end_main()
    await stage.settle()
    going = asyncio.create_task(stage.queue.back())
    await stage.settle()
    await going
    assert heard(stage) == ["0", "1", "0"]
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "1", "0", "1"]


@asyncio_test
async def test_a_loop_of_the_track_has_the_same_one_wait() -> None:
    stage = await playing(2)
    stage.queue.loop = Loop.TRACK
    await stage.settle()
    for _ in range(3):
        stage.worker.end_main()
        await stage.settle()
    assert heard(stage) == ["0"] * 4
    stage.queue.loop = Loop.OFF
    await stage.settle()
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage)[-1] == "1"


@asyncio_test
async def test_another_one_waits_when_what_follows_changes() -> None:
    stage = await playing(3)
    stage.queue.remove(0)
    await stage.settle()
    assert name_of(stage.worker.waiting) == "2"  # type: ignore[arg-type]
    stage.queue.insert(0, SONGS[6])
    await stage.settle()
    assert name_of(stage.worker.waiting) == "6"  # type: ignore[arg-type]
    stage.queue.clear()
    await stage.settle()
    assert stage.worker.waiting is None
    assert stage.told_of(TrackEnded) == [], "nobody heard of what only waited"


@asyncio_test
async def test_one_that_was_taken_out_in_the_moment_it_began_is_stopped() -> None:
    stage = await playing(3)
    stage.queue.remove(0)
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "1", "2"], "the worker had begun 1 before it heard"
    assert stage.queue.current is SONGS[2]
    assert [event.track.source for event in stage.told_of(TrackStarted)] == [SONGS[0].source, SONGS[2].source]


@asyncio_test
async def test_what_comes_from_afar_is_opened_shortly_before_its_turn() -> None:
    stage = StageOfOne()
    stage.queue.add(SONGS[0], "https://example.com/a.mp3")
    await stage.settle()
    main = stage.worker.main
    assert main is not None
    assert stage.worker.waiting is None, "100 s are left"
    stage.clock.advance(70)
    stage.report((main.playback, 70.0))
    await stage.settle()
    assert stage.worker.waiting is None
    stage.clock.advance(10)
    stage.report((main.playback, 80.0))
    await stage.settle()
    assert stage.worker.waiting is not None


@asyncio_test
async def test_a_crossfade_goes_with_the_one_that_follows() -> None:
    stage = StageOfOne()
    stage.queue.crossfade_s = 3
    stage.queue.add(SONGS[0], SONGS[1], QueuedTrack("/music/2.flac", crossfade_s=0))
    await stage.settle()
    stage.worker.end_main(crossed=True)
    await stage.settle()
    plays = [command for command in stage.worker.read if isinstance(command, Play)]
    assert [play.crossfade_s for play in plays] == [0.0, 3.0, 0.0]


@asyncio_test
async def test_thousands_of_short_tracks_leave_nothing_behind() -> None:
    stage = StageOfOne()
    stage.queue.add(*(AudioFile(f"/music/{number}.flac") for number in range(2_000)))
    await stage.turn()
    for _ in range(2_000):
        await stage.settle()
        stage.worker.end_main()
        stage.told.clear()
        stage.worker.read.clear()
        assert len(stage.player.roster.playbacks) <= 2
        assert len(stage.tasks) <= 2
        assert len(stage.link._pending) <= 2
    await stage.settle()
    assert heard(stage) == [str(number) for number in range(2_000)]
    assert stage.told_of(QueueEmpty) == [QueueEmpty()]
    assert len(stage.queue.history) == 100


@asyncio_test
async def test_a_listener_may_add_tracks_while_one_takes_the_place_of_another() -> None:
    stage = StageOfOne()

    async def resolver(query: str) -> None:
        await asyncio.Event().wait()

    stage.listener = lambda event: stage.queue.add(SONGS[7]) if isinstance(event, TrackEnded) else None
    stage.queue.add(Resolved("a", resolver), SONGS[1])
    await stage.turn()
    skipping = asyncio.create_task(stage.queue.skip())
    await stage.settle()
    await skipping
    assert heard(stage) == ["1"]
    assert (stage.queue.current, list(stage.queue)) == (SONGS[1], [SONGS[7]])
    stage.player.end_all(None)
    await stage.turn()
