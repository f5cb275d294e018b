"""A decoder that takes the worker's process with it: all calls go on, and what it was ends at the second."""

from __future__ import annotations

import asyncio

import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration import player_resolvers
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import Hearing, News, tone_wav
from voicepool import Closed, Restored, TrackEnded, WorkerResolver


@asyncio_test
async def test_what_crashes_two_workers_ends_and_all_else_goes_on() -> None:
    async with world(workers=2, reconnect_first_pause_s=0.01) as here:
        voices = [await here.join(guild) for guild in (100, 200, 300)]
        news = [News(voice) for voice in voices]
        tracks = [await voice.start(tone_wav(400, 60.0)) for voice in voices]
        # Calls are placed where there is least to do: the first and the third are on one worker.
        victim, bystander, neighbour = voices
        assert [worker.calls for worker in here.pool.workers] == [2, 1]
        crash = WorkerResolver(player_resolvers.abort)("any")
        with pytest.raises(voicepool.SourceQuarantinedError):
            await victim.play(crash)
        # It was tried at two workers. What plays beside it lost both of them at most.
        assert sum(worker.restarts for worker in here.pool.workers) == 2
        for voice, track in zip(voices, tracks, strict=True):
            lost = len(news[voices.index(voice)].of(voicepool.Interrupted))
            await news[voices.index(voice)].wait_for(Restored, lost)
            assert voice.playing
            assert track.reason is None
            session = here.session(voice.guild_id)
            before = session.packets
            await session.wait_for_packets(before + 10)
            assert Hearing(session).count(400) > 5
            assert_nothing_lost(session)
        assert victim.track is tracks[0]
        assert [len(each.of(TrackEnded)) for each in news] == [1, 0, 0]
        assert [each.of(Closed) for each in news] == [[], [], []]
        with pytest.raises(voicepool.SourceQuarantinedError):
            await neighbour.play(crash)
        here.pool.quarantine.clear()
        again = asyncio.ensure_future(bystander.play(tone_wav(500, 0.3)))
        await again
        assert Hearing(here.session(200)).count(500) == pytest.approx(15, abs=1)
