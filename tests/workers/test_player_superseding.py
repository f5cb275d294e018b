"""Main tracks that overtake each other: one that was let into the deck, and another that comes at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import HandPlayer, HandSource, Step, code_of, play_command, tone
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.errors import SourceError


async def let_into_the_deck(bench: HandPlayer, name: str, **options: Any) -> asyncio.Task[Any]:
    """Play; when this returns the deck has let it in, and the control loop has not heard that it is ready."""
    bench.source(name, steps=tone(1_500, 50))
    playing = asyncio.create_task(bench.player.play(play_command(name, **options), []))
    bench.tasks.append(playing)
    for _ in range(6):
        await asyncio.sleep(0)
    bench.hand.encoders.work()
    assert not playing.done()
    return playing


def send(bench: HandPlayer, ticks: int) -> None:
    """Let both threads work while the control loop is held up."""
    for _ in range(ticks):
        bench.hand.encoders.work()
        bench.hand.clock.woken = False
        bench.hand.pacer.turn_once()


@pytest.mark.parametrize("others", [0, 1])
def test_what_was_cut_is_replaced_though_its_end_is_heard_of_first(others: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("old", steps=tone(500, 200))
        for number in range(others):
            await bench.overlay(f"beside {number}", steps=tone(2_500, 200))
        await bench.tick(6)
        await let_into_the_deck(bench, "new")
        send(bench, 8)
        await bench.hand.settle()
        assert [end[:2] for end in bench.ended] == [("old", "replaced")]
        await bench.close()

    scenario()


@asyncio_test
async def test_one_that_is_overtaken_in_the_deck_is_replaced_and_so_is_the_one_before_it() -> None:
    bench = HandPlayer()
    await bench.play("old", steps=tone(500, 200))
    await bench.tick(6)
    overtaken = await let_into_the_deck(bench, "overtaken")
    newest = await let_into_the_deck(bench, "newest")
    send(bench, 8)
    await bench.hand.settle()
    await asyncio.gather(overtaken, newest)
    assert [end[:2] for end in bench.ended] == [("old", "replaced"), ("overtaken", "replaced")]
    assert list(bench.figures) == ["newest"]
    await bench.close()
    assert bench.ended[-1][:2] == ("newest", "stopped")


@asyncio_test
async def test_one_that_finishes_by_itself_before_another_is_let_in_has_finished() -> None:
    bench = HandPlayer()
    await bench.play("old", steps=tone(500, 5))
    bench.slow_source("new", 1)
    await bench.start("new")
    await bench.tick(20)
    assert bench.ended == [("old", "finished", 5)]
    await bench.close()


# Whether all is held once it has taken over is each command's own.


@asyncio_test
async def test_a_pause_of_one_in_the_deck_is_not_undone_by_a_newer_one_that_fails() -> None:
    bench = HandPlayer()
    await bench.play("old", 200)
    await bench.tick(6)
    overtaken = await let_into_the_deck(bench, "overtaken")
    bench.player.pause()
    bench.hand.opener.sources["bad"] = SourceError(ErrorCode.SOURCE_FAILED, "bad")
    bad = asyncio.create_task(bench.player.play(play_command("bad"), []))
    await bench.hand.settle()
    assert await code_of(bad) is ErrorCode.SOURCE_FAILED
    await overtaken
    await bench.tick(10)
    assert await bench.tick(10) == [], "it is held, as it was asked to be"
    bench.player.resume()
    assert len(await bench.tick(5)) == 5
    await bench.close()


@asyncio_test
async def test_one_held_in_the_deck_does_not_hold_a_newer_one() -> None:
    bench = HandPlayer()
    await bench.play("old", 200)
    await bench.tick(6)
    await let_into_the_deck(bench, "overtaken")
    bench.player.pause()
    await bench.tick(1)
    await bench.play("newest", 30)
    assert len(await bench.tick(10)) == 10
    assert bench.position_frames("newest") >= 8
    await bench.close()


@asyncio_test
async def test_one_that_was_stopped_in_the_deck_releases_nothing() -> None:
    bench = HandPlayer()
    await bench.play("old", 200)
    await bench.overlay("beside", steps=tone(500, 100))
    await bench.tick(6)
    bench.player.pause()
    await bench.tick(10)
    unwanted = await let_into_the_deck(bench, "unwanted")
    bench.player.stop(PlaybackId("unwanted"))
    await bench.hand.settle()
    await asyncio.gather(unwanted, return_exceptions=True)
    assert await bench.tick(10) == []
    assert list(bench.figures) == ["beside"]
    bench.player.resume()
    assert len(await bench.tick(5)) == 5
    await bench.close()


@asyncio_test
async def test_an_overlay_behind_one_that_was_given_up_is_not_held_for_its_sake() -> None:
    bench = HandPlayer()
    opening = bench.slow_source("given up", 30)
    await bench.start("given up")
    bench.player.pause()
    bench.player.stop(PlaybackId("given up"))
    bench.source("beside", 30)
    playing = asyncio.create_task(bench.player.play(play_command("beside", role=TrackRole.OVERLAY), []))
    bench.tasks.append(playing)
    await bench.hand.settle()
    await playing
    assert await bench.tick(5) == bench.sources["beside"].names(5)
    opening.cancel()
    await bench.close()


@pytest.mark.parametrize("steps", [tone(500, 60), HandSource("any").packets(60)], ids=["encoded", "passed"])
def test_however_many_replace_each_other_in_a_gap_each_gets_ready(steps: list[Step]) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer(bound=False)
        for number in range(60):
            bench.source(f"song {number}", steps=steps)
            playing = await bench.start(f"song {number}")
            assert playing.done(), number
        assert [end[1] for end in bench.ended] == ["replaced"] * 59
        bench.bind()
        assert len(await bench.tick(10)) == 10
        assert bench.started == ["song 59"]
        await bench.close()

    scenario()
