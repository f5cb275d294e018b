"""The queue as bot authors see it; how it keeps the worker supplied is in ``test_queueing.py``."""

from __future__ import annotations

import pytest

from tests.fakes.pool import connected, settled, until
from tests.fakes.running import asyncio_test
from voicepool.errors import WorkerLostError
from voicepool.events import TrackEnded
from voicepool.ipc.commands import Play, TrackRole
from voicepool.queue import Loop, QueueFullError
from voicepool.queued import QueuedTrack
from voicepool.source import AudioFile
from voicepool.track import EndReason


@asyncio_test
async def test_a_queue_plays_on_the_real_wire() -> None:
    async with connected() as (voice, worker, _):
        voice.queue.add("a.flac", b"RIFF....", volume=0.5)
        plays = await worker.hear(Play, 2)
        assert [play.role for play in plays] == [TrackRole.MAIN, TrackRole.NEXT]
        assert [play.options.volume for play in plays] == [0.5, 0.5]
        await until(lambda: voice.call_id in worker.waiting)
        worker.finish(voice.call_id)
        await settled(voice)
        assert voice.current_audio == AudioFile(b"RIFF....")
        await voice.stop()
        assert voice.queue.stopped


@asyncio_test
async def test_stop_ends_the_queue_too_and_start_goes_on() -> None:
    async with connected() as (voice, worker, _):
        voice.queue.add("a.flac", "b.flac", "c.flac")
        await worker.hear(Play, 2)
        await voice.stop()
        assert voice.stopped
        assert len(voice.queue) == 2
        voice.queue.start()
        await worker.hear(Play, 3)
        assert voice.current_audio == AudioFile("b.flac")
        await voice.stop()


@asyncio_test
async def test_a_wrong_track_keeps_all_of_them_out() -> None:
    async with connected() as (voice, worker, _):
        with pytest.raises(TypeError, match="allowed is"):
            voice.queue.add("a.flac", 5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="speed"):
            voice.queue.add("a.flac", speed=0)
        with pytest.raises(TypeError, match="options of its own"):
            voice.queue.add(QueuedTrack("a.flac"), volume=0.5)
        with pytest.raises(QueueFullError):
            voice.queue.add(*["a.flac"] * 10_001)
        assert len(voice.queue) == 0
        assert worker.heard(Play) == []


@asyncio_test
async def test_the_config_says_how_many_it_holds() -> None:
    async with connected(queue_max_tracks=2) as (voice, worker, _):
        voice.queue.add("a.flac")
        await worker.hear(Play)
        voice.queue.add("b.flac", "c.flac")
        with pytest.raises(QueueFullError, match=r"at most 2 tracks; .+queue_max_tracks of PoolConfig"):
            voice.queue.add("d.flac")
        await voice.stop()


@asyncio_test
async def test_the_loss_of_the_worker_stops_it_and_keeps_what_is_in_it() -> None:
    async with connected() as (voice, worker, _):
        voice.queue.add("a.flac", "b.flac", "c.flac")
        await worker.hear(Play, 2)
        await until(lambda: voice.call_id in worker.waiting)
        await settled(voice)
        ended: list[TrackEnded] = []
        voice.listen(ended.append, TrackEnded)
        voice.give_up(WorkerLostError("no worker is running"))
        queue = voice.queue
        assert queue.stopped
        assert queue.current is not None
        assert [queue.current.source, *(each.source for each in queue)] == [
            AudioFile("a.flac"),
            AudioFile("b.flac"),
            AudioFile("c.flac"),
        ]
        assert [event.reason for event in ended] == [EndReason.WORKER_LOST]
        assert all(type(event.error) is WorkerLostError for event in ended)
        assert len(worker.heard(Play)) == 2
        queue.start()
        queue.add("d.flac")
        assert len(queue) == 3
        assert voice.stopped


@asyncio_test
async def test_a_queue_says_what_is_in_it() -> None:
    async with connected() as (voice, worker, _):
        a, b, c = tracks = [QueuedTrack(f"{name}.flac") for name in "abc"]
        queue = voice.queue
        queue.add(*tracks)
        assert (queue.current, queue.upcoming, list(queue), queue[0]) == (a, (b, c), [b, c], b)
        queue.move(0, 1)
        assert queue.upcoming == (c, b)
        assert queue.remove(1) is b
        queue.shuffle()
        queue.loop = Loop.QUEUE
        queue.crossfade_s = 2
        assert (queue.loop, queue.crossfade_s, queue.history, queue.stopped) == (Loop.QUEUE, 2.0, (), False)
        assert "1, loop queue" in repr(queue)
        assert "c.flac" in repr(c)
        with pytest.raises(ValueError, match="crossfade_s"):
            queue.crossfade_s = -1
        await worker.hear(Play)
        await voice.stop()
