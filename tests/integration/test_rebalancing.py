"""Workers that have too much to do give calls away: real processes, the stand-in's voice server."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.integration.calls import World, assert_nothing_lost, world
from tests.workers.audio.media_files import encode
from voicepool._fleet import balancing, gauge
from voicepool._fleet.placement import Load
from voicepool.pool_events import CallMoved, MoveReason

GUILDS = range(100, 112)
MEASURED_S = 3.0
"""How long a worker has to have played before its figures say what its calls need."""


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "STEADY_S", 1.0)
    monkeypatch.setattr(balancing, "LASTING_S", 0.5)
    monkeypatch.setattr(balancing, "ROUND_S", 0.5)


@asyncio_test
async def test_a_worker_that_is_added_takes_calls_from_one_that_has_too_many() -> None:
    async with world(stats_interval_s=0.2, moves_at_once=2) as here:
        pool = here.pool
        moves: list[CallMoved] = []
        pool.listen(moves.append, CallMoved)
        voices = [await here.join(guild) for guild in GUILDS]
        song = encode("flac", "flac", seconds=60.0)
        # The last one is heard by nobody.
        tracks = [await voice.start(song) for voice in voices[:-1]]
        load = await _measured(here)
        await pool.scale(2)
        assert moves == [], "there is no need to"
        full_share = max(0.05, 0.75 * load.steady_share)
        await pool.reload(dataclasses.replace(pool.config, full_share=full_share))
        await until(lambda: len(moves) >= 3)
        await pool.reload(dataclasses.replace(pool.config, rebalance=False))
        rolling = pool._rolling
        assert rolling is not None
        await until(lambda: not rolling.busy)
        assert GUILDS[-1] in [move.guild_id for move in moves[:3]], "what is not heard goes first"
        assert {(move.old, move.new, move.reason) for move in moves} == {
            ("w0.1", "w1.1", MoveReason.RELIEVED)
        }
        await asyncio.gather(*(_heard_anew(here, guild) for guild in GUILDS[:-1]))
        assert [voice.track for voice in voices[:-1]] == tracks, "nothing has ended or begun anew"
        for guild in GUILDS[:-1]:
            assert_nothing_lost(here.session(guild))


async def _measured(here: World) -> Load:
    fleet = here.pool._switchboard.fleet
    began_s = here.pool.stats().workers[0].uptime_s
    await until(lambda: here.pool.stats().workers[0].uptime_s > began_s + MEASURED_S)
    return fleet.loads()[0]


async def _heard_anew(here: World, guild: int) -> None:
    session = here.session(guild)
    await session.wait_for_packets(session.report().frames + 5)
