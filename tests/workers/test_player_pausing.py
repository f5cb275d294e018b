"""Pause and resume at every moment: no frame is lost, and nothing is sent meanwhile."""

from __future__ import annotations

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    TAIL,
    HandPlayer,
)
from voicepool.workers.audio.playback import PASSING_FRAMES

# Pausing.


@asyncio_test
async def test_a_pause_loses_no_frame() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(4)
    bench.player.pause()
    bench.player.pause()
    assert await bench.tick(20) == TAIL
    bench.player.resume()
    bench.player.resume()
    heard += await bench.tick(4)
    assert heard == source.names(8)
    assert bench.ended == []
    await bench.close()


@asyncio_test
async def test_a_paused_track_is_parked_and_asks_for_nothing() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 80)
    bench.player.pause()
    await bench.tick(20)
    left = len(source.steps)
    assert not bench.hand.encoders.held
    assert 80 - PASSING_FRAMES - 1 <= left <= 80 - PASSING_FRAMES + 1
    await bench.close()
    assert source.closes == 1, "parked, it is closed all the same"


@asyncio_test
async def test_a_resume_amid_the_silence_goes_on_at_once() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(2)
    bench.player.pause()
    heard += await bench.tick(2)
    bench.player.resume()
    heard += await bench.tick(2)
    assert heard == [*source.names(2), *TAIL[:2], *source.names(2, first=2)]
    await bench.close()


@asyncio_test
async def test_a_pause_while_it_is_opening_sticks() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("a", 5)
    task = await bench.start("a")
    bench.player.pause()
    opening.set_result(bench.sources["a"])
    await bench.hand.settle()
    await task
    assert await bench.tick(10) == []
    bench.player.resume()
    assert await bench.tick(5) == bench.sources["a"].names(5)
    await bench.close()


@asyncio_test
async def test_a_resume_while_it_is_opening_undoes_its_pause() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("a", 5)
    task = await bench.start("a", paused=True)
    bench.player.resume()
    opening.set_result(bench.sources["a"])
    await bench.hand.settle()
    await task
    assert await bench.tick(5) == bench.sources["a"].names(5)
    await bench.close()


@asyncio_test
async def test_a_track_prepared_in_pause_silences_the_one_before() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    await bench.tick(2)
    new = await bench.play("new", 20, paused=True)
    assert await bench.tick(30) == TAIL, "not one frame more of the old ring"
    assert [end[:2] for end in bench.ended] == [("old", "replaced")]
    assert bench.player.stats().frames_nulled == 0
    bench.player.resume()
    heard = await bench.tick(30)
    assert heard[-7:] == [*new.names(2, first=18), *TAIL]
    assert old.closes == 1
    await bench.close()


@asyncio_test
async def test_play_ends_a_pause() -> None:
    bench = HandPlayer()
    await bench.play("old", 50)
    bench.player.pause()
    await bench.tick(10)
    new = await bench.play("new", 30)
    assert await bench.tick(10) == new.names(10)
    assert bench.ended == [("old", "replaced", 0)]
    await bench.close()


@asyncio_test
async def test_a_stop_in_pause_sends_nothing_more() -> None:
    bench = HandPlayer()
    await bench.play("a", 50)
    bench.player.pause()
    await bench.tick(10)
    bench.player.stop()
    assert await bench.tick(10) == []
    bench.player.resume()
    assert await bench.tick(10) == []
    assert bench.ended == [("a", "stopped", 0)]
    await bench.close()


@pytest.mark.parametrize("late", ["resume", "bind"])
def test_a_wish_that_meets_the_end_on_its_way_starts_nothing(late: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("a", 2)
        await bench.tick(7)
        bench.hand.clock.woken = False
        # The mark is taken and the end reported, but the control loop has not come to it.
        bench.hand.pacer.turn_once()
        if late == "resume":
            bench.player.resume()
        else:
            bench.bind(ssrc=2)
        await bench.hand.settle()
        assert bench.ended == [("a", "finished", 2)]
        assert await bench.tick(10) == []
        assert bench.player.stats().frames_nulled == 0
        await bench.close()

    scenario()
