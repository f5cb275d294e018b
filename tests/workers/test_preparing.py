"""Tracks on their way in: replaced, overtaken, called off and cancelled at every moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    HandPlayer,
    code_of,
    play_command,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId

# Replacing.


@asyncio_test
async def test_a_new_track_follows_the_old_one_without_a_gap() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    heard = await bench.tick(3)
    new = await bench.play("new", 20)
    heard += await bench.tick(40)
    # One that may be on its way, and one in which the old one fades out.
    assert heard[:5] == [*old.names(4), MIX]
    assert heard[-10:] == [*new.names(5, first=15), *TAIL]
    assert len(heard) == 4 + 20 + 5
    assert [end[:2] for end in bench.ended] == [("old", "replaced"), ("new", "finished")]
    assert bench.ended[1][2] == 20
    assert old.closes == 1
    await bench.close()


@asyncio_test
async def test_the_old_track_plays_on_while_the_new_one_is_opened() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    opening = bench.slow_source("new", 20)
    task = await bench.start("new")
    assert await bench.tick(10) == old.names(10)
    opening.set_result(bench.sources["new"])
    await bench.hand.settle()
    await task
    heard = await bench.tick(12)
    assert heard[:2] == ["old 10", MIX]
    assert heard[-2:] == bench.sources["new"].names(2, first=9)
    assert [end[:2] for end in bench.ended] == [("old", "replaced")]
    await bench.close()


@asyncio_test
async def test_a_newer_play_supersedes_one_that_is_still_opening() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("first", 5)
    first = await bench.start("first")
    second = await bench.play("second", 2)
    assert await code_of(first) is ErrorCode.SUPERSEDED
    opening.set_result(bench.sources["first"])
    assert await bench.tick(10) == second.names(2) + TAIL
    assert bench.ended == [("second", "finished", 2)]
    await bench.close()


@asyncio_test
async def test_stop_supersedes_one_that_is_opening_and_ends_what_plays() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    await bench.tick(2)
    bench.slow_source("new", 5)
    task = await bench.start("new")
    bench.player.stop()
    assert await code_of(task) is ErrorCode.SUPERSEDED
    assert await bench.tick(10) == TAIL
    assert bench.ended == [("old", "stopped", 2)]
    assert old.closes == 1
    await bench.close()


@asyncio_test
async def test_a_track_ready_in_the_moment_of_a_stop_is_ready_and_stopped() -> None:
    bench = HandPlayer()
    source = bench.source("a", 9)
    task = asyncio.create_task(bench.player.play(play_command("a"), []))
    for _ in range(3):
        await asyncio.sleep(0)
    [preparing] = [t for t in asyncio.all_tasks() if t is not task and "_prepare" in repr(t.get_coro())]
    # The encoder primes it, and before the play itself goes on there is a stop.
    preparing.add_done_callback(lambda _: bench.player.stop())
    await bench.hand.settle()
    await task
    bench.pass_frames(1)
    await bench.hand.settle()
    assert source.closes == 1
    assert bench.ended == [("a", "stopped", 0)]
    assert bench.started == []
    await bench.close()


async def enter(bench: HandPlayer, name: str) -> asyncio.Task[Any]:
    """Have a track enter the deck, and nobody know of it yet."""
    task = asyncio.create_task(bench.player.play(play_command(name), []))
    bench.tasks.append(task)
    await asyncio.sleep(0)
    [opening] = bench.player._preparing._opening.values()
    while opening.turn:
        bench.hand.encoders.work()
        if opening.turn:
            await asyncio.sleep(0)
    assert not task.done()
    return task


@asyncio_test
async def test_a_stop_of_what_has_just_cut_the_old_track_off_finds_both_in_order() -> None:
    bench = HandPlayer()
    old = await bench.play("old", 50)
    await bench.tick(2)
    new = bench.source("new", 50)
    task = await enter(bench, "new")
    bench.player.stop(PlaybackId("new"))
    await task
    heard = await bench.tick(12)
    assert not [name for name in heard if name.startswith("new")]
    assert heard[-1] == "silence"
    assert [end[:2] for end in bench.ended] == [("old", "replaced"), ("new", "stopped")]
    await bench.close()
    assert (old.closes, new.closes) == (1, 1)


@asyncio_test
async def test_a_play_that_comes_when_another_has_just_cut_the_old_track_off_takes_its_place() -> None:
    bench = HandPlayer()
    await bench.play("old", 50)
    await bench.tick(2)
    new = bench.source("new", 50)
    task = await enter(bench, "new")
    newest = await bench.play("newest", 50)
    await task
    assert (await bench.tick(12))[-1] in newest.names(50)
    assert [end[:2] for end in bench.ended] == [("old", "replaced"), ("new", "replaced")]
    await bench.close()
    assert (new.closes, newest.closes) == (1, 1)


@asyncio_test
async def test_a_call_that_goes_waits_for_nothing_that_has_just_entered() -> None:
    bench = HandPlayer()
    new = bench.source("new", 50)
    task = await enter(bench, "new")
    await bench.close()
    assert task.done()
    assert new.closes == 1


@pytest.mark.parametrize("primed", [False, True])
def test_a_play_that_is_cancelled_leaves_nothing_behind(*, primed: bool) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = bench.source("a", 9)
        task = asyncio.create_task(bench.player.play(play_command("a"), []))
        for _ in range(3):
            await asyncio.sleep(0)
        if primed:
            [preparing] = [t for t in asyncio.all_tasks() if "_prepare" in repr(t.get_coro())]
            preparing.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()
        await bench.hand.settle()
        assert task.cancelled()
        bench.pass_frames(1)
        await bench.hand.settle()
        assert source.closes == 1
        assert bench.ended == []
        assert await bench.tick(5) == []
        await bench.close()

    scenario()
