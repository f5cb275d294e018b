"""Gaps without a transport: what plays goes on, or leaves out what was missed."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    HandPlayer,
    HandSource,
    Step,
    play_command,
)
from voicepool.ipc.ids import PlaybackId
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.catchup import NEAR_ENOUGH_FRAMES

# Gaps.


@asyncio_test
async def test_by_default_a_track_goes_on_where_it_stopped_however_long_the_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30)
    heard = await bench.tick(3)
    await bench.gap(1_000)
    heard += await bench.tick(3)
    assert heard == source.names(6)
    assert bench.position_frames("a") == 6
    await bench.close()


@asyncio_test
async def test_a_track_that_skips_goes_on_where_it_would_be() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    assert await bench.tick(3) == source.names(3)
    await bench.gap(50)
    assert await bench.tick(3) == source.names(3, first=53)
    stats = bench.player.stats()
    assert (stats.frames_sent, bench.position_frames("a")) == (6, 56)
    assert (stats.frames_nulled, stats.silence_sent) == (0, 0), "the time that skipping takes is the gap's"
    assert await bench.tick(60) == source.names(34, first=56) + TAIL
    assert bench.ended == [("a", "finished", 40)]
    await bench.close()


@asyncio_test
async def test_a_gap_shorter_than_what_is_encoded_ahead_is_skipped_too() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(3)
    await bench.gap(1)
    assert await bench.tick(2) == source.names(2, first=4)
    await bench.close()


@asyncio_test
async def test_parts_of_a_frame_add_up_over_the_gaps() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    heard = []
    for _ in range(6):
        heard += await bench.tick(1)
        await bench.gap(1.5)
    assert heard == [source.names(90)[number] for number in (0, 2, 5, 7, 10, 12)]
    await bench.close()


@asyncio_test
async def test_a_track_that_ends_within_the_gap_has_finished() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(3)
    await bench.gap(1_000)
    assert await bench.tick(20) == TAIL
    assert bench.ended == [("a", "finished", 3)]
    assert source.closes == 1
    await bench.close()


@asyncio_test
async def test_a_pause_of_the_bots_own_is_no_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    await bench.tick(2)
    bench.player.pause()
    bench.pass_frames(500)
    await bench.gap(100)
    bench.pass_frames(500)
    bench.player.resume()
    assert await bench.tick(2) == source.names(2, first=2)
    await bench.close()


@asyncio_test
async def test_of_a_gap_only_the_time_that_was_not_paused_counts() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 90, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(10)
    bench.player.pause()
    bench.pass_frames(500)
    bench.player.resume()
    bench.pass_frames(20)
    bench.player.pause()
    bench.pass_frames(500)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    assert bench.position_frames("a") == 32
    bench.pass_frames(500)
    bench.player.resume()
    assert await bench.tick(2) == source.names(2, first=32)
    await bench.close()


@asyncio_test
async def test_what_is_played_within_a_gap_skips_what_is_missed_from_then_on() -> None:
    bench = HandPlayer()
    await bench.play("old", 90, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(30)
    new = await bench.play("new", 90, on_gap="skip")
    bench.pass_frames(20)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    assert (await bench.tick(12))[-2:] == new.names(2, first=30)
    assert [end[:2] for end in bench.ended] == [("old", "replaced")]
    await bench.close()


@asyncio_test
async def test_before_the_first_transport_nothing_is_missed() -> None:
    bench = HandPlayer(bound=False)
    bench.player.unbind()
    source = await bench.play("a", 30, on_gap="skip")
    bench.pass_frames(1_000)
    bench.bind()
    assert await bench.tick(2) == source.names(2)
    await bench.close()


@asyncio_test
async def test_a_transport_that_takes_over_from_another_makes_no_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 30, on_gap="skip")
    heard = await bench.tick(2)
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    heard += await bench.tick(2)
    assert heard == source.names(4)
    await bench.close()


@asyncio_test
async def test_a_gap_goes_on_until_the_skip_is_done() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.pass_frames(40)
    await bench.hand.settle(30)
    assert await bench.tick(2) == source.names(2, first=92)
    await bench.close()


@asyncio_test
async def test_a_few_frames_that_skipping_took_are_left_for_the_next_gap() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.pass_frames(NEAR_ENOUGH_FRAMES)
    await bench.hand.settle()
    assert await bench.tick(2) == source.names(2, first=52)
    bench.pass_frames(100)
    await bench.gap(10)
    assert await bench.tick(2) == source.names(2, first=54 + 10 + NEAR_ENOUGH_FRAMES)
    await bench.close()


@asyncio_test
async def test_a_transport_lost_again_amid_the_skip() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.hand.encoders.work()
    bench.player.unbind()
    bench.pass_frames(50)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    bench.bind(ssrc=3)
    await bench.hand.settle(20)
    assert await bench.tick(2) == source.names(2, first=102)
    await bench.close()


@asyncio_test
async def test_two_transports_within_one_skip() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(60)
    bench.bind(ssrc=2)
    bench.hand.encoders.work()
    bench.player.unbind()
    bench.pass_frames(60)
    bench.bind(ssrc=3)
    while not bench.player._lane.active:
        await bench.hand.settle(1)
    assert bench.position_frames("a") == 122, "not a frame earlier than it has caught up with both"
    assert await bench.tick(2) == source.names(2, first=122)
    await bench.close()


@pytest.mark.parametrize("act", ["stop", "replace", "close"])
def test_what_ends_amid_a_skip_leaves_nothing_behind(act: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = await bench.play("a", 300, on_gap="skip")
        await bench.tick(2)
        bench.player.unbind()
        bench.pass_frames(200)
        bench.bind(ssrc=2)
        bench.hand.encoders.work()
        if act == "stop":
            bench.player.stop()
        elif act == "close":
            bench.player.close()
        else:
            new = await bench.play("b", 30)
            assert (await bench.tick(14))[-2:] == new.names(2, first=11)
        await bench.tick(1)
        assert source.closes == 1
        assert [end[:2] for end in bench.ended] == [("a", "replaced" if act == "replace" else "stopped")]
        await bench.close()

    scenario()


@asyncio_test
async def test_a_pause_amid_the_skip_is_kept() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 300, on_gap="skip")
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(50)
    bench.bind(ssrc=2)
    bench.player.pause()
    bench.pass_frames(500)
    await bench.hand.settle()
    assert await bench.tick(5) == []
    bench.player.resume()
    assert await bench.tick(2) == source.names(2, first=52)
    await bench.close()


@asyncio_test
async def test_a_live_source_goes_on_at_its_edge_and_owes_nothing() -> None:
    bench = HandPlayer()
    live = HandSource("live", 0)
    steps: list[Step] = [*live.packets(20), *[NOT_YET] * 40, *live.packets(300, first=20)]
    source = bench.source("live", steps=steps)
    source.info = msgspec.structs.replace(source.info, duration_s=None)
    await (await bench.start("live", on_gap="skip"))
    await bench.tick(2)
    bench.player.unbind()
    bench.pass_frames(500)
    bench.bind(ssrc=2)
    await bench.hand.settle()
    bench.pass_frames(20)
    await bench.hand.settle(40)
    assert await bench.tick(2) == live.names(2, first=20), "18 were in the buffer, and then it was empty"
    await bench.gap(5)
    assert await bench.tick(2) == live.names(2, first=27)
    await bench.close()


@pytest.mark.parametrize("how", ["one", "all"])
def test_nothing_is_sent_while_what_was_stopped_is_still_being_skipped(how: str) -> None:
    """Until the encoder threads are done with that, they go back over the ring as if nobody took from it."""

    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("song", steps=[*HandSource("song").packets(5), *[NOT_YET] * 400], on_gap="skip")
        under = await bench.overlay("under", 200)
        await bench.tick(3)
        bench.player.unbind()
        bench.pass_frames(50)
        bench.bind(ssrc=2)
        assert not bench.hand.pacer.sends
        # Before the encoder threads have a turn.
        bench.player.stop(PlaybackId("song") if how == "one" else None)
        bench.player.pause()
        bench.player.resume()
        if how == "all":
            under = bench.source("new", 200)
            task = asyncio.create_task(bench.player.play(play_command("new"), []))
            await asyncio.sleep(0)
            bench.tasks.append(task)
        assert not bench.hand.pacer.sends
        await bench.hand.settle()
        assert bench.hand.pacer.sends
        assert (await bench.tick(20))[-1] in [*under.names(200), MIX]
        await bench.close()

    scenario()
