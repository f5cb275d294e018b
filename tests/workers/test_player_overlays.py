"""Tracks that are heard beside the others."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    Ear,
    HandPlayer,
    code_of,
    name_of,
    play_command,
    tone,
)
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.audio.deck import MAX_OVERLAID


def wires(bench: HandPlayer) -> Ear:
    return Ear([sent for sent in bench.sent if name_of(sent) == MIX])


@asyncio_test
async def test_an_overlay_is_heard_beside_the_main_track_and_lets_it_sink() -> None:
    bench = HandPlayer()
    await bench.play("music", steps=tone(500, 200))
    await bench.tick(20)
    await bench.overlay("speech", steps=tone(1_500, 60), duck_db=-12.0)
    await bench.tick(300)
    music, speech = wires(bench).amplitudes(500), wires(bench).amplitudes(1_500)
    assert max(speech[:21]) < 0.02 < min(speech[24:80])
    assert music[18] == pytest.approx(0.4, rel=0.1)
    assert music[70] == pytest.approx(0.4 * 10 ** (-12 / 20), rel=0.2)
    assert music[190] == pytest.approx(0.4, rel=0.1)
    assert bench.started == ["music", "speech"]
    assert bench.ended == [("speech", "finished", 60), ("music", "finished", 200)]
    await bench.close()


@asyncio_test
async def test_a_stop_of_an_overlay_leaves_the_others_alone() -> None:
    bench = HandPlayer()
    music = await bench.play("music", 200)
    for name in ("x", "y"):
        await bench.overlay(name, steps=tone(1_500, 100))
    await bench.tick(5)
    assert list(bench.figures) == ["music", "x", "y"]
    bench.player.stop(PlaybackId("x"))
    assert [end[:2] for end in bench.ended] == [("x", "stopped")]
    await bench.tick(20)
    assert bench.sources["x"].closes == 1
    assert list(bench.figures) == ["music", "y"]
    heard = await bench.tick(250)
    assert heard[-10:] == [*music.names(5, first=195), *TAIL]
    assert [end[:2] for end in bench.ended[1:]] == [("y", "finished"), ("music", "finished")]
    await bench.close()


@asyncio_test
async def test_an_overlay_outlives_the_main_track_and_its_replacement() -> None:
    bench = HandPlayer()
    await bench.play("music", 200)
    await bench.overlay("x", steps=tone(1_500, 40))
    await bench.tick(3)
    await bench.play("other", 10)
    await bench.tick(100)
    assert [end[:2] for end in bench.ended] == [
        ("music", "replaced"),
        ("other", "finished"),
        ("x", "finished"),
    ]
    assert {end[0]: end[2] for end in bench.ended}["x"] == 40
    await bench.close()


@asyncio_test
async def test_beyond_the_limit_an_overlay_is_refused_and_closed() -> None:
    bench = HandPlayer()
    music = await bench.play("music", 50)
    for number in range(MAX_OVERLAID - 1):
        await bench.overlay(f"o{number}", steps=tone(500, 90))
    source = bench.source("one more", 50)
    task = await bench.start("one more", role=TrackRole.OVERLAY)
    assert await code_of(task) is not ErrorCode.INTERNAL
    assert source.closes == 1
    assert bench.ended == []
    bench.player.stop()
    await bench.close()
    assert {source.closes for source in bench.sources.values()} == {1}
    assert music.closes == 1


@asyncio_test
async def test_one_that_ends_while_the_loop_is_held_up_is_told_of_in_order_and_forgotten() -> None:
    bench = HandPlayer()
    await bench.play("song", 60)
    await bench.tick(5)
    bench.source("ding", 2)
    told: list[str] = []

    async def play() -> None:
        await bench.player.play(play_command("ding", role=TrackRole.OVERLAY), [])
        # As the dispatcher does it: at once.
        told.append(f"ready, {len(bench.started)} started, {len(bench.ended)} ended")

    playing = asyncio.create_task(play())
    for _ in range(6):
        await asyncio.sleep(0)
    for _ in range(20):
        bench.hand.encoders.work()
        bench.hand.clock.woken = False
        bench.hand.pacer.turn_once()
    await bench.hand.settle()
    await playing
    assert told == ["ready, 1 started, 0 ended"]
    assert bench.started == ["song", "ding"]
    assert [name for name, _, _ in bench.ended] == ["ding"]
    assert list(bench.figures) == ["song"], "nothing of it is left"
    await bench.tick(60)
    assert [name for name, _, _ in bench.ended] == ["ding", "song"]
    assert not bench.hand.encoders.held
    await bench.close()


@asyncio_test
async def test_many_that_begin_at_once_where_nothing_plays_all_get_ready() -> None:
    bench = HandPlayer()
    for number in range(12):
        bench.source(f"o{number}", steps=tone(500, 90))
    overlays = [
        asyncio.create_task(bench.player.play(play_command(f"o{number}", role=TrackRole.OVERLAY), []))
        for number in range(12)
    ]
    await bench.tick(3)
    assert all(task.done() for task in overlays)
    assert len(bench.started) == 12
    await asyncio.gather(*overlays)
    await bench.close()
