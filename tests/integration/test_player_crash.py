"""A decoder that takes the worker's process with it: the tracks end, and everything else goes on."""

from __future__ import annotations

import asyncio

import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration import player_resolvers
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import Hearing, News, tone_wav
from voicepool import Closed, EndReason, TrackEnded, WorkerResolver


@asyncio_test
async def test_a_crash_ends_the_tracks_of_its_worker_and_no_others() -> None:
    async with world(workers=2, reconnect_first_pause_s=0.01) as here:
        voices = [await here.join(guild) for guild in (100, 200, 300)]
        news = [News(voice) for voice in voices]
        tracks = [await voice.start(tone_wav(400, 30.0)) for voice in voices]
        # Calls are placed where there is least to do: the first and the third are on one worker.
        victim, bystander, neighbour = voices
        assert [worker.calls for worker in here.pool.workers] == [2, 1]
        pids = [worker.pid for worker in here.pool.workers]
        crashing = asyncio.ensure_future(victim.play(WorkerResolver(player_resolvers.abort)("any")))
        ended = await news[0].wait_for(TrackEnded, 2)
        for index in (0, 2):
            with pytest.raises(voicepool.WorkerLostError):
                await tracks[index].wait()
            assert tracks[index].reason is EndReason.WORKER_LOST
        with pytest.raises(voicepool.WorkerLostError):
            await crashing
        assert ended.reason is EndReason.WORKER_LOST
        assert {event.reason for event in news[2].of(TrackEnded)} == {EndReason.WORKER_LOST}
        for index in (0, 2):
            closed = await news[index].wait_for(Closed)
            assert isinstance(closed.reason, voicepool.WorkerLostError)
        # The other worker's call has not missed a frame.
        session = here.session(200)
        before = session.packets
        await session.wait_for_packets(before + 10)
        assert bystander.connected
        assert not neighbour.connected
        assert news[1].of(TrackEnded) == []
        Hearing(session).assert_no_gap()
        assert_nothing_lost(session)
        # A new worker takes the next call.
        again = await here.join(100)
        await again.play(tone_wav(500, 0.3))
        assert Hearing(here.session(100)).count(500) == pytest.approx(15, abs=1)
        assert [worker.pid for worker in here.pool.workers] != pids
        assert sum(worker.restarts for worker in here.pool.workers) == 1
