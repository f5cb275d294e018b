"""Calls that move off a worker while they play, and what may come in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.pool import credentials, pool_of, settled, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import INFO, InProcess, ScriptedWorker
from voicepool._calls.crossing import QUIET_MOVE_S
from voicepool._fleet.balancing import Movable, Transfer
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import SupersededError, TrackGoneError
from voicepool.events import Connected, Interrupted, Restored, TrackEnded, TrackStarted
from voicepool.ipc.commands import (
    AlignTracks,
    ChangeTrack,
    CloseCall,
    OpenCall,
    Pause,
    Play,
    PrepareCall,
    ReleaseCall,
    Resume,
    SetVolume,
    Stop,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import CallReleased, TrackReady
from voicepool.ipc.ids import WorkerId, new_call_id
from voicepool.pool import VoicePool
from voicepool.pool_events import CallMoved, MoveReason
from voicepool.station import Station
from voicepool.streams import PcmStream
from voicepool.track import EndReason, Track

FULL = ErrorInfo(code=ErrorCode.WORKER_FULL, text="this worker holds 500 calls")
NOT_FOUND = ErrorInfo(code=ErrorCode.SOURCE_NOT_FOUND, text="no such file")
QUICK: dict[str, Any] = {"reconnect_first_pause_s": 0.01, "reconnect_longest_pause_s": 0.02}


def move(pool: VoicePool, voice: BaseVoiceConnection) -> asyncio.Task[None]:
    """Move all calls off the worker that holds this one."""
    assert voice.link is not None
    return asyncio.create_task(pool._switchboard.move_calls(voice.link))


def kinds(worker: ScriptedWorker) -> list[str]:
    """What it was told, figures and signs of life aside."""
    names = [type(command).__name__ for command in worker.commands]
    return [name for name in names if name not in {"Ping", "ReportStats", "Shutdown"}]


def ready(worker: ScriptedWorker, play: Play) -> None:
    """Have a source be open that the worker was told of and said nothing about."""
    worker.say(TrackReady(request=play.request, call=play.call, playback=play.playback, info=INFO))
    if play.call in worker.prepared:
        worker.prepared[play.call].append(play)
    else:
        worker._begin(play)


@asyncio_test
async def test_a_call_moves_and_nobody_hears_of_it_but_the_pool() -> None:
    pool, fakes = pool_of(2)
    moved: list[CallMoved] = []
    pool.listen(moved.append, CallMoved)
    async with pool:
        voice = await pool.connect(credentials())
        old, new = fakes.workers
        track = await voice.start("song.flac")
        await settled(voice)
        old.position_s = 42.5
        told: list[Any] = []
        voice.listen(told.append, Connected, Interrupted, Restored, TrackStarted, TrackEnded)
        await move(pool, voice)
        assert kinds(old)[-1] == "ReleaseCall"
        assert kinds(new) == [
            "PrepareCall",
            "SetVolume",
            "Play",
            "AlignTracks",
            "OpenCall",
            "SetVolume",
            "Resume",
        ]
        [opened] = new.heard(OpenCall)
        assert (opened.takes_over, opened.generation) == (True, 2)
        [place] = new.places[voice.call_id]
        assert (place.playback, place.position_s) == (track.ident, 42.5)
        assert new.playing == {voice.call_id: track.ident}
        assert told == []
        assert track.position_s == pytest.approx(42.5, abs=0.5)
        assert (voice.connected, voice.interrupted, voice.ssrc) == (True, False, 1002)
        [event] = moved
        assert (event.old, event.new, event.reason) == ("w0.1", "w1.1", MoveReason.DRAINED)
        assert [worker.calls for worker in pool.workers] == [0, 1]
        track.volume = 0.5
        await new.hear(ChangeTrack)
        new.finish(voice.call_id)
        assert await track.wait() is EndReason.FINISHED


@asyncio_test
async def test_some_calls_move_to_where_they_are_told_and_the_others_stay() -> None:
    pool, fakes = pool_of(3)
    async with pool:
        moved: list[CallMoved] = []
        pool.listen(moved.append, CallMoved)
        voices = [await pool.connect(credentials(guild)) for guild in range(1, 10)]
        track = await voices[0].start("song.flac")
        here = [voice for voice in voices if voice.link is not None and voice.link.worker == "w0.1"]
        assert len(here) == 3
        await pool._switchboard.move_some(
            [
                Transfer(voices[0].call_id, WorkerId("w0.1"), WorkerId("w2.1")),
                Transfer(here[1].call_id, WorkerId("w0.1"), WorkerId("w1.1")),
                Transfer(here[2].call_id, WorkerId("w1.1"), WorkerId("w2.1")),
                Transfer(new_call_id(), WorkerId("w0.1"), WorkerId("w2.1")),
            ]
        )
        assert [info.calls for info in pool.workers] == [1, 4, 4]
        assert len(fakes.workers[0].heard(ReleaseCall)) == 2
        await until(lambda: len(moved) == 2)
        assert {event.reason for event in moved} == {MoveReason.RELIEVED}
        assert fakes.workers[2].playing == {voices[0].call_id: track.ident}
        assert all(voice.connected for voice in voices)


@asyncio_test
async def test_a_call_that_cannot_leave_a_busy_worker_stays_there(caplog: pytest.LogCaptureFixture) -> None:
    pool, fakes = pool_of(2, max_calls_per_worker=2)
    async with pool:
        voices = [await pool.connect(credentials(guild)) for guild in range(1, 4)]
        transfer = Transfer(voices[0].call_id, WorkerId("w0.1"), WorkerId("w1.1"))
        fakes.workers[1].refusals[PrepareCall] = FULL
        await pool._switchboard.move_some([transfer])
        assert "guild 1: stays at worker w0.1, which has too much to do: this worker holds" in caplog.text
        fakes.workers[1].refusals.clear()
        await pool.connect(credentials(4))
        await pool._switchboard.move_some([transfer])
        assert "guild 1: stays at worker w0.1, which has too much to do: the pool is full" in caplog.text
        assert [info.calls for info in pool.workers] == [2, 2]
        assert not fakes.workers[0].heard(ReleaseCall)
        assert all(voice.connected for voice in voices)


@asyncio_test
async def test_only_calls_that_are_up_could_move() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        playing, held, idle = [await pool.connect(credentials(guild)) for guild in (1, 2, 3)]
        await playing.start(Station("lofi", "lofi.ogg"))
        await held.start("song.flac")
        held.pause()
        fakes.workers[1].silent_about.add(OpenCall)
        joining = asyncio.create_task(pool.connect(credentials(4)))
        await fakes.workers[1].hear(OpenCall, 2)
        assert pool._switchboard.movables() == [
            Movable(playing.call_id, WorkerId("w0.1"), station="lofi"),
            Movable(held.call_id, WorkerId("w1.1"), held=True),
            Movable(idle.call_id, WorkerId("w0.1"), playing=False),
        ]
        playing.server_gone()
        assert [each.call for each in pool._switchboard.movables()] == [held.call_id, idle.call_id]
        joining.cancel()
        await asyncio.wait({joining})


@asyncio_test
async def test_a_volume_of_before_is_not_left_behind_at_the_new_worker() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        new = fakes.workers[1]
        voice.volume = 0.5
        await voice.start("song.flac")
        new.silent_about.add(Play)
        moving = move(pool, voice)
        [play] = await new.hear(Play)
        # What it had been prepared for is over, and the volume another one.
        await voice.stop()
        voice.volume = 1.0
        ready(new, play)
        await moving
        assert [each.volume for each in new.heard(SetVolume)] == [0.5, 1.0]


@asyncio_test
async def test_an_idle_call_moves_too() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        await move(pool, voice)
        assert kinds(fakes.workers[1]) == ["PrepareCall", "SetVolume", "OpenCall", "SetVolume", "Resume"]
        assert voice.connected


@asyncio_test
async def test_a_stream_is_not_opened_ahead_and_goes_on() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        stream = PcmStream()
        task = voice.play_no_wait(stream)
        await until(lambda: voice.track is not None and voice.track.info.codec)
        await move(pool, voice)
        assert kinds(fakes.workers[1])[2:] == ["OpenCall", "SetVolume", "Resume", "Play"]
        assert not stream.closed
        await voice.stop()
        await task


@asyncio_test
async def test_a_source_that_cannot_be_opened_ahead_is_opened_once_it_moves() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        track = await voice.start("https://radio.example/live")
        new = fakes.workers[1]
        new.refusals[Play] = NOT_FOUND
        moving = move(pool, voice)
        await new.hear(Play)
        new.refusals.clear()
        await moving
        assert len(new.heard(Play)) == 2
        await until(lambda: new.playing)
        assert track.reason is None


@asyncio_test
async def test_the_worker_that_was_left_may_take_it_again() -> None:
    pool, fakes = pool_of(2)

    async def never(_worker: ScriptedWorker) -> None:
        await asyncio.Event().wait()

    async with pool:
        voice = await pool.connect(credentials())
        await move(pool, voice)
        fakes.script = never
        fakes.processes[1].kill()
        await fakes.workers[0].hear(OpenCall, 2)
        await until(lambda: not voice.interrupted)
        assert voice.connected


@asyncio_test
async def test_only_so_many_move_at_once() -> None:
    pool, fakes = pool_of(1, moves_at_once=2)
    async with pool:
        voices = [await pool.connect(credentials(guild)) for guild in range(1, 6)]
        [old] = fakes.workers
        await pool.scale(2)
        new = fakes.workers[1]
        new.silent_about.add(PrepareCall)
        moving = move(pool, voices[0])
        asked = await new.hear(PrepareCall, 2)
        await asyncio.sleep(0.01)
        assert len(new.heard(PrepareCall)) == 2
        new.silent_about.clear()
        for command in asked:
            new._answer(command)
        await moving
        assert len(new.open_calls) == 5
        assert old.open_calls == {}


# What fails.


@asyncio_test
async def test_a_worker_that_does_not_take_it_leaves_it_where_it_is_and_the_last_try_begins_again() -> None:
    pool, fakes = pool_of(2, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        old, new = fakes.workers
        await old.hear(Play)
        new.refusals[PrepareCall] = FULL
        moving = move(pool, voice)
        await new.hear(PrepareCall)
        assert old.heard(ReleaseCall) == []
        await new.hear(PrepareCall, 3)
        await moving
        await until(lambda: voice.call_id in new.open_calls and not voice.interrupted)
        assert len(new.heard(PrepareCall)) == 3
        assert len(new.heard(CloseCall)) == 3
        assert len(old.heard(ReleaseCall)) == 1
        assert (voice.playing, task.done()) == (True, False)
        await voice.disconnect()
        await task


async def _until_rehearsing(pool: VoicePool, fakes: InProcess, voice: BaseVoiceConnection) -> Any:
    fakes.workers[1].silent_about.add(Play)
    moving = move(pool, voice)
    await fakes.workers[1].hear(Play)
    return moving


@asyncio_test
async def test_a_new_worker_that_dies_before_it_takes_over_changes_nothing() -> None:
    pool, fakes = pool_of(2, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        told: list[Any] = []
        voice.listen(told.append, Interrupted)
        moving = await _until_rehearsing(pool, fakes, voice)
        fakes.processes[1].kill()
        await moving
        assert told == []
        assert voice.link is not None
        assert voice.link.worker == "w1.2"
        await voice.disconnect()
        await task


@asyncio_test
async def test_an_old_worker_that_dies_before_that_is_a_loss_and_the_rehearsal_is_over() -> None:
    pool, fakes = pool_of(2, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        moving = await _until_rehearsing(pool, fakes, voice)
        fakes.workers[1].silent_about.clear()
        fakes.processes[0].kill()
        await moving
        await until(lambda: voice.link is not None and not voice.interrupted)
        names = kinds(fakes.workers[1])
        assert "CloseCall" in names
        if "OpenCall" in names:
            assert names.index("CloseCall") < names.index("OpenCall")
        assert not task.done()
        await voice.disconnect()
        await task


@asyncio_test
async def test_an_old_worker_that_dies_instead_of_saying_where_it_was_is_no_loss() -> None:
    pool, fakes = pool_of(2, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        track = await voice.start("song.flac")
        old, new = fakes.workers
        old.silent_about.add(ReleaseCall)
        moving = move(pool, voice)
        await old.hear(ReleaseCall)
        fakes.processes[0].kill()
        await moving
        assert new.playing == {voice.call_id: track.ident}
        assert voice.connected


@asyncio_test
async def test_a_new_worker_that_dies_after_the_old_one_let_go_is_followed_by_another() -> None:
    pool, fakes = pool_of(2, **QUICK)
    async with pool:
        voice = await pool.connect(credentials())
        track = await voice.start("song.flac")
        old = fakes.workers[0]
        old.silent_about.add(ReleaseCall)
        moving = move(pool, voice)
        [release] = await old.hear(ReleaseCall)
        fakes.processes[1].kill()
        await until(lambda: pool.workers[1].name != "w1.1")
        old.silent_about.clear()
        old.say(CallReleased(request=release.request, call=release.call))
        await moving
        await until(lambda: not voice.seeks_worker and voice._passage is None)
        assert voice.connected
        assert track.reason is None
        await voice.stop()


@pytest.mark.parametrize("moment", ["rehearsing", "released", "opening"])
@asyncio_test
async def test_who_leaves_in_between_leaves_both(moment: str) -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        task = voice.play_no_wait("song.flac")
        old, new = fakes.workers
        await old.hear(Play)
        silent: dict[str, tuple[ScriptedWorker, type]] = {
            "rehearsing": (new, Play),
            "released": (old, ReleaseCall),
            "opening": (new, OpenCall),
        }
        worker, kind = silent[moment]
        worker.silent_about.add(kind)
        moving = move(pool, voice)
        await worker.hear(kind)
        await voice.disconnect()
        if moment == "released":
            [release] = old.heard(ReleaseCall)
            old.say(CallReleased(request=release.request, call=release.call))
        await moving
        await task
        await new.hear(CloseCall)
        assert [info.calls for info in pool.workers] == [0, 0]
        assert pool._switchboard.recovery._efforts == {}


@asyncio_test
async def test_one_that_takes_longer_is_interrupted_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepool._calls.crossing.QUIET_MOVE_S", 0.01)
    assert QUIET_MOVE_S == 1.0
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        told: list[Any] = []
        voice.listen(told.append, Connected, Interrupted, Restored)
        new = fakes.workers[1]
        new.silent_about.add(OpenCall)
        moving = move(pool, voice)
        [opened] = await new.hear(OpenCall)
        await until(lambda: told)
        new.silent_about.clear()
        new._answer(opened)
        await moving
        assert [type(event) for event in told] == [Interrupted, Restored]
        assert told[1].gap_ms >= 10.0


# What is wanted in between.


@asyncio_test
async def test_what_is_wanted_while_it_is_prepared_is_prepared_too() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        old, new = fakes.workers
        first = await voice.start("a.flac")
        new.silent_about.add(Play)
        moving = move(pool, voice)
        [prepared] = await new.hear(Play)
        assert prepared.playback == first.ident
        second = await voice.start("b.flac")
        effect = await voice.overlay("effect.flac")
        ready(new, prepared)
        await new.hear(Stop)
        plays = await new.hear(Play, 3)
        assert {play.playback for play in plays[1:]} == {second.ident, effect.ident}
        assert old.heard(ReleaseCall) == []
        for play in plays[1:]:
            ready(new, play)
        await moving
        assert new.playing == {voice.call_id: second.ident}
        assert new.overlays == {voice.call_id: [effect.ident]}


@asyncio_test
async def test_what_is_wanted_once_the_old_one_lets_go_is_done_by_the_new_one() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        old, new = fakes.workers
        track = await voice.start("a.flac")
        effect = await voice.overlay("effect.flac")
        old.silent_about.add(ReleaseCall)
        moving = move(pool, voice)
        [release] = await old.hear(ReleaseCall)
        await track.seek(17.0)
        await track.set(speed=2.0)
        track.volume = 0.25
        voice.volume = 0.5
        voice.pause()
        await effect.stop()
        joined = asyncio.create_task(voice.overlay("other.flac"))
        assert old.commands[-1] is release
        old._release(release)
        await moving
        other = await joined
        await settled(voice)
        [place] = new.places[voice.call_id]
        assert (place.playback, place.position_s) == (track.ident, 17.0)
        changes = new.heard(ChangeTrack)
        assert (changes[-1].speed, changes[-1].volume) == (2.0, 0.25)
        assert {command.volume for command in new.heard(SetVolume)} == {1.0, 0.5}
        assert new.heard(SetVolume)[-1].volume == 0.5
        assert not new.heard(Resume)
        assert new.heard(Pause)
        assert new.overlays == {voice.call_id: [other.ident]}
        assert [command.playback for command in new.heard(Stop)] == [effect.ident]


@asyncio_test
async def test_credentials_that_come_in_between_are_those_that_are_used() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        old, new = fakes.workers
        old.silent_about.add(ReleaseCall)
        moving = move(pool, voice)
        [release] = await old.hear(ReleaseCall)
        joining = asyncio.create_task(voice.connect(credentials(token="new")))
        await asyncio.sleep(0)
        old._release(release)
        await moving
        await joining
        assert [command.credentials.token for command in new.heard(OpenCall)] == ["new"]


@asyncio_test
async def test_the_queue_drives_on() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        voice.queue.add("a.flac", "b.flac", "c.flac")
        old, new = fakes.workers
        await old.hear(Play, 2)
        await settled(voice)
        await move(pool, voice)
        assert list(new.playing) == [voice.call_id]
        assert new.waiting
        new.finish(voice.call_id)
        await until(
            lambda: voice.queue.current is not None and voice.queue.current.source.label.endswith("b.flac")
        )
        await voice.queue.skip()
        await until(
            lambda: voice.queue.current is not None and voice.queue.current.source.label.endswith("c.flac")
        )
        new.finish(voice.call_id)
        await voice.wait_for_stopped()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_wanted_during_moves_is_what_the_last_worker_plays(seed: int) -> None:  # noqa: C901 - wishes
    @asyncio_test
    async def run() -> None:  # noqa: C901 - wishes
        chance = random.Random(seed)
        pool, fakes = pool_of(2, **QUICK)
        async with pool:
            voice = await pool.connect(credentials())
            voice.queue.add("a.flac", "b.flac")
            tasks: list[asyncio.Task[Any]] = []
            moving: asyncio.Task[None] | None = None
            failures: list[BaseException] = []

            def do(work: Any) -> None:
                tasks.append(asyncio.ensure_future(work))

            def some(wish: Callable[[Track], object]) -> None:
                if voice.tracks:
                    wish(chance.choice(voice.tracks))

            def be_loud(volume: float) -> None:
                voice.volume = volume

            def be_soft(track: Track) -> None:
                track.volume = 0.3

            wishes: list[Callable[[], object]] = [
                lambda: voice.play_no_wait(f"x{chance.randrange(9)}.flac"),
                lambda: do(voice.overlay("effect.flac")),
                voice.pause,
                voice.resume,
                lambda: be_loud(chance.choice([0.5, 1.0])),
                lambda: do(voice.queue.skip()),
                lambda: voice.queue.add("q.flac"),
                lambda: some(lambda track: do(track.seek(9.0))),
                lambda: some(lambda track: do(track.set(speed=chance.choice([0.5, 2.0])))),
                lambda: some(lambda track: do(track.stop())),
                lambda: some(be_soft),
            ]
            for _ in range(60):
                if (moving is None or moving.done()) and voice.link is not None and chance.random() < 0.4:
                    moving = move(pool, voice)
                chance.choice(wishes)()
                for _ in range(chance.randrange(25)):
                    await asyncio.sleep(0)
            if moving is not None:
                await moving
            await until(lambda: voice.link is not None and voice._passage is None)
            for task in tasks:
                try:
                    await task
                except (TrackGoneError, SupersededError):
                    continue
                except Exception as error:  # noqa: BLE001 - shown below, with the seed
                    failures.append(error)
            for _ in range(3):
                await settled(voice)
            assert failures == [], (seed, failures)
            assert voice.link is not None
            worker = next(each for each in fakes.workers if each.bootstrap.worker == voice.link.worker)
            call = voice.call_id
            there = {*worker.overlays.get(call, [])}
            there |= {places[call] for places in (worker.playing, worker.waiting) if call in places}
            assert there == {track.ident for track in voice.tracks}, seed
            assert worker.heard(SetVolume)[-1].volume == voice.volume
            other = next(each for each in fakes.workers if each is not worker)
            assert call not in other.open_calls
            assert call not in other.prepared
            assert pool._switchboard.recovery._efforts == {}
            await voice.disconnect()

    run()


@asyncio_test
async def test_what_ends_as_it_is_released_has_ended() -> None:
    pool, fakes = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials())
        old, new = fakes.workers
        track = await voice.start("a.flac")
        old.silent_about.add(ReleaseCall)
        moving = move(pool, voice)
        [release] = await old.hear(ReleaseCall)
        old.finish(voice.call_id)
        old._release(release)
        await moving
        assert await track.wait() is EndReason.FINISHED
        [stop] = await new.hear(Stop)
        assert stop.playback == track.ident
        assert new.heard(AlignTracks) == []
        assert voice.stopped


@asyncio_test
async def test_what_is_never_ready_at_the_new_worker_is_no_move(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicepool._calls.moving.REHEARSAL_S", 0.05)
    pool, fakes = pool_of(2, reconnect_first_pause_s=0.01, reconnect_longest_pause_s=0.02)
    async with pool:
        voice = await pool.connect(credentials())
        track = await voice.start("song.flac")
        new = fakes.workers[1]
        new.silent_about.add(Play)
        moving = move(pool, voice)
        await new.hear(Play)
        await until(lambda: "has not made its sound ready" in caplog.text)
        assert voice.connected
        new.silent_about.clear()
        await moving
        assert track.reason is None
