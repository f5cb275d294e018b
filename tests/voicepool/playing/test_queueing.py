"""The queue at work, against a model of the worker: whatever crosses on the way, both agree in the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.fakes.model_worker import NOT_FOUND
from tests.fakes.running import asyncio_test
from tests.fakes.stage_of_one import StageOfOne
from voicepool._playing.queueing import MAX_FAILURES
from voicepool.events import ConnectionEvent, QueueEmpty, QueueGaveUp, TrackEnded, TrackStarted
from voicepool.ipc.commands import Play, Resume, Skip, Stop, TrackRole
from voicepool.ipc.events import EndReason as WireReason
from voicepool.ipc.sources import FileSource
from voicepool.queue import Loop
from voicepool.queued import QueuedTrack
from voicepool.resolver import Resolved
from voicepool.source import AudioFile
from voicepool.track import EndReason

SONGS = [QueuedTrack(f"/music/{number}.flac") for number in range(8)]


def heard(stage: StageOfOne) -> list[str]:
    """The names of what was heard, in order."""
    return [_name(play) for play in stage.worker.started]


def _name(play: Play) -> str:
    assert isinstance(play.source, FileSource)
    return play.source.path.removeprefix("/music/").removesuffix(".flac")


async def playing(count: int = 3, **config: Any) -> StageOfOne:
    """A queue whose first track is heard."""
    stage = StageOfOne(**config)
    stage.queue.add(*SONGS[:count])
    await stage.settle()
    return stage


@asyncio_test
async def test_adding_to_an_idle_queue_plays_at_once_and_the_next_waits() -> None:
    stage = await playing()
    assert heard(stage) == ["0"]
    assert stage.worker.waiting is not None
    assert _name(stage.worker.waiting) == "1"
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
    assert _name(stage.worker.waiting) == "2"  # type: ignore[arg-type]
    stage.queue.insert(0, SONGS[6])
    await stage.settle()
    assert _name(stage.worker.waiting) == "6"  # type: ignore[arg-type]
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
async def test_a_track_that_fails_is_left_out() -> None:
    stage = await playing(3)
    stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
    await stage.settle()
    assert heard(stage) == ["0", "1"]
    assert [event.reason for event in stage.told_of(TrackEnded)] == [EndReason.FAILED]


@asyncio_test
async def test_one_that_cannot_be_opened_ahead_is_told_once_and_left_out() -> None:
    stage = StageOfOne()
    stage.queue.add(*SONGS[:3])
    await stage.turn()
    stage.worker.read_one()
    stage.worker.open_one(next(iter(stage.worker.openings)))
    await stage.settle(opens=False)
    stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
    await stage.settle()
    [ended] = stage.told_of(TrackEnded)
    assert (ended.track.source, ended.reason) == (SONGS[1].source, EndReason.FAILED)
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "2"]


@asyncio_test
async def test_after_ten_failures_in_a_row_the_queue_stops_and_says_so_once() -> None:
    stage = StageOfOne()
    stage.queue.add(*(QueuedTrack(f"/music/{number}.flac") for number in range(20)))
    await stage.settle(opens=False)
    while stage.worker.openings:
        stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
        await stage.settle(opens=False)
    [gave_up] = stage.told_of(QueueGaveUp)
    assert gave_up.failures == MAX_FAILURES
    assert len(stage.told_of(TrackEnded)) == MAX_FAILURES
    assert stage.queue.stopped
    stage.queue.add(SONGS[0])
    await stage.settle()
    assert heard(stage) == []
    stage.queue.start()
    await stage.settle()
    assert heard(stage) == [str(MAX_FAILURES)]


@asyncio_test
async def test_a_loop_of_a_track_that_fails_goes_on_with_another() -> None:
    stage = await playing(2)
    stage.queue.loop = Loop.TRACK
    await stage.settle()
    stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
    await stage.settle()
    assert stage.queue.current is SONGS[1]
    assert _name(stage.worker.main) == "1"  # type: ignore[arg-type]


@asyncio_test
async def test_what_is_played_beside_the_queue_takes_its_place_and_the_queue_goes_on() -> None:
    stage = await playing(3)
    stage.player.begin(AudioFile("/music/jingle.flac"))
    await stage.settle()
    assert heard(stage) == ["0", "jingle"]
    assert stage.queue.track is None
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "jingle", "1"]
    assert stage.queue.current is SONGS[1]


@asyncio_test
async def test_tracks_that_are_added_while_something_else_plays_wait_for_its_end() -> None:
    stage = StageOfOne()
    stage.player.begin(AudioFile("/music/jingle.flac"))
    stage.queue.add(SONGS[0])
    await stage.settle()
    assert heard(stage) == ["jingle"]
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["jingle", "0"]


@asyncio_test
async def test_a_stop_keeps_what_is_upcoming() -> None:
    stage = await playing(3)
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    assert stage.worker.there == set()
    assert list(stage.queue) == SONGS[1:3]
    assert stage.told_of(QueueEmpty) == []
    stage.queue.add(SONGS[3])
    await stage.settle()
    assert heard(stage) == ["0"], "what waits for start() waits on"
    stage.queue.start()
    await stage.settle()
    assert heard(stage) == ["0", "1"]


@asyncio_test
async def test_a_stop_says_nothing_of_the_one_that_waited() -> None:
    stage = await playing()
    assert stage.worker.waiting is not None
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    assert [event.track.source for event in stage.told_of(TrackEnded)] == [SONGS[0].source]


@asyncio_test
async def test_a_stopped_queue_that_is_empty_begins_with_the_next_track() -> None:
    stage = await playing(1)
    stage.queue.halt()
    stopping = asyncio.create_task(stage.player.stop())
    await stage.settle()
    await stopping
    stage.queue.add(SONGS[3])
    await stage.settle()
    assert heard(stage) == ["0", "3"]


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
async def test_a_lost_worker_ends_the_track_and_begins_nothing() -> None:
    stage = await playing(3)
    stage.player.end_all(None)
    await stage.settle()
    assert list(stage.queue) == SONGS[1:3]
    await stage.queue.skip()
    stage.queue.add(SONGS[5])
    assert stage.player.roster.playbacks == ()


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
async def test_a_loop_that_cannot_be_opened_ahead_is_opened_when_its_turn_has_come() -> None:
    stage = StageOfOne()
    stage.queue.loop = Loop.TRACK
    stage.queue.add(SONGS[0])
    await stage.turn()
    stage.worker.read_one()
    stage.worker.open_one(next(iter(stage.worker.openings)))
    await stage.settle(opens=False)
    stage.worker.open_one(next(iter(stage.worker.openings)), error=NOT_FOUND)
    await stage.settle()
    assert stage.worker.there == {stage.worker.main.playback}, "not tried again at once"  # type: ignore[union-attr]
    stage.worker.end_main()
    await stage.settle()
    assert heard(stage) == ["0", "0"]
    assert stage.worker.waiting is not None
    stage.player.end_all(None)
    await stage.turn()


@asyncio_test
async def test_a_track_that_is_heard_ends_a_row_of_failures() -> None:
    stage = StageOfOne()
    stage.queue.add(*(QueuedTrack(f"/music/{number}.flac") for number in range(4 * MAX_FAILURES)))
    await stage.settle()
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            stage.worker.end_main(WireReason.FAILED, NOT_FOUND)
            await stage.settle()
        stage.worker.end_main()
        await stage.settle()
    assert stage.told_of(QueueGaveUp) == []
    assert len(stage.worker.started) == 3 * MAX_FAILURES + 1
    stage.player.end_all(None)
    await stage.turn()


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


# Anything, in any order.


class Chaos:
    """Random steps of everyone, and what must be true when all has settled."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.stage = StageOfOne()
        self.stage.listener = self.listens
        self.errands: list[asyncio.Task[None]] = []
        self.steps = [
            *[self.worker_reads] * 6,
            *[self.bot_hears] * 6,
            *[self.opens] * 4,
            *[self.ends] * 2,
            *[self.fails] * 1,
            *[self.adds] * 3,
            self.inserts,
            self.removes,
            self.moves,
            self.shuffles,
            self.clears,
            self.loops,
            self.fades,
            self.skips,
            self.skips,
            self.goes_back,
            self.plays_beside,
            self.stops,
            self.starts,
        ]

    async def run(self, count: int) -> None:
        for _ in range(count):
            await self.random.choice(self.steps)()
            await self.stage.turn()
        await self.stage.settle()
        for errand in self.errands:
            await errand
        self.stage.listener = lambda _event: None
        self.check()
        await self.play_out()

    def check(self) -> None:
        stage, queue = self.stage, self.stage.queue
        main = stage.worker.main
        ours = stage.player.roster
        assert {each.ident for each in ours.playbacks} == stage.worker.there
        assert (main is None) == (ours.main is None)
        if main is not None:
            assert ours.main is not None
            assert ours.main.ident == main.playback
        beside = ours.main is not None and not ours.main.queued
        if queue.stopped or beside:
            return
        assert (queue.current is None) == (main is None)
        if main is None:
            assert len(queue) == 0
            return
        assert queue.current is not None
        assert queue.current.source.to_wire()[0] == main.source
        following = queue._tracks.following
        waiting = stage.worker.waiting
        if following is not queue._driver._not_ahead:
            assert (following is None) == (waiting is None)
        if following is not None and waiting is not None:
            assert following.source.to_wire()[0] == waiting.source

    async def play_out(self) -> None:
        """From here on, without interference, the rest is heard in order."""
        stage, queue = self.stage, self.stage.queue
        queue.loop = Loop.OFF
        queue.start()
        await stage.settle()
        rest = [track.source.to_wire()[0] for track in queue]
        beside = queue.track is None
        before = len(stage.worker.started)
        for _ in range(len(rest) + beside + 2):
            if stage.worker.main is not None:
                stage.worker.end_main(crossed=self.random.random() < 0.5)
            await stage.settle()
        assert [play.source for play in stage.worker.started[before:]] == rest
        assert stage.worker.there == set()
        assert stage.player.roster.silent.is_set()
        assert queue.current is None
        assert stage.tasks == set()

    # The worker and the way to it.

    async def worker_reads(self) -> None:
        if self.stage.worker.inbox:
            self.stage.worker.read_one()

    async def bot_hears(self) -> None:
        if self.stage.worker.outbox:
            await self.stage.hand_over()

    async def opens(self) -> None:
        if self.stage.worker.openings:
            ident = self.random.choice(sorted(self.stage.worker.openings))
            self.stage.worker.open_one(ident, error=NOT_FOUND if self.random.random() < 0.15 else None)

    async def ends(self) -> None:
        if self.stage.worker.main is not None:
            self.stage.worker.end_main(crossed=self.random.random() < 0.5)

    async def fails(self) -> None:
        if self.stage.worker.main is not None:
            self.stage.worker.end_main(WireReason.FAILED, NOT_FOUND)

    # The bot.

    def listens(self, event: ConnectionEvent) -> None:
        if isinstance(event, TrackEnded | TrackStarted | QueueEmpty) and self.random.random() < 0.2:
            queue = self.stage.queue
            self.random.choice(
                [lambda: queue.add(SONGS[7]), lambda: queue.shuffle(self.random), queue.clear]
            )()

    def errand(self, work: Any) -> None:
        self.errands.append(asyncio.create_task(work))

    async def adds(self) -> None:
        self.stage.queue.add(*self.random.choices(SONGS, k=self.random.randint(1, 3)))

    async def inserts(self) -> None:
        self.stage.queue.insert(0, self.random.choice(SONGS))

    async def removes(self) -> None:
        if len(self.stage.queue):
            self.stage.queue.remove(0)

    async def moves(self) -> None:
        if len(self.stage.queue) > 1:
            self.stage.queue.move(0, -1)

    async def shuffles(self) -> None:
        self.stage.queue.shuffle(self.random)

    async def clears(self) -> None:
        if self.random.random() < 0.3:
            self.stage.queue.clear()

    async def loops(self) -> None:
        self.stage.queue.loop = self.random.choice(list(Loop))

    async def fades(self) -> None:
        self.stage.queue.crossfade_s = self.random.choice([0.0, 2.0])

    async def skips(self) -> None:
        self.errand(self.stage.queue.skip(self.random.choice([1, 1, 1, 2, 5])))

    async def goes_back(self) -> None:
        self.errand(self.stage.queue.back())

    async def plays_beside(self) -> None:
        self.stage.player.begin(AudioFile("/music/jingle.flac"))

    async def stops(self) -> None:
        if self.random.random() < 0.3:
            self.stage.queue.halt()
            self.errand(self.stage.player.stop())

    async def starts(self) -> None:
        self.stage.queue.start()


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_whatever_crosses_both_sides_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + 10):
        asyncio_test(_chaos)(seed)


async def _chaos(seed: int) -> None:
    await Chaos(seed).run(150)
