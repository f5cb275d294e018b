"""Audio that the bot pushes, and tracks that have nothing to send."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    CALL,
    MIX,
    TAIL,
    HandPlayer,
    packet,
    play_command,
)
from voicepool.ipc.commands import StreamAudio
from voicepool.ipc.events import EndReason, StreamCredit, TrackEnded, TrackStuck
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import StreamSource

NAME = StreamId("s")


async def play_stream(bench: HandPlayer, *, filters: str | None = None, **fields: Any) -> None:
    source = StreamSource(NAME, "opus", **fields)
    task = asyncio.create_task(bench.player.play(play_command("p", source=source, filters=filters), []))
    bench.tasks.append(task)
    await bench.hand.settle()


def push(bench: HandPlayer, first: int, count: int, *, ends: bool = False) -> None:
    command = StreamAudio(call=CALL, stream=NAME, ends=ends)
    bench.player.stream_audio(command, [packet(f"p {number}") for number in range(first, first + count)])


@asyncio_test
async def test_what_is_pushed_before_and_after_it_is_ready_is_played_in_order() -> None:
    bench = HandPlayer()
    await play_stream(bench)
    assert not bench.tasks[0].done(), "nothing to be heard yet"
    assert bench.of(StreamCredit) == [StreamCredit(call=CALL, stream=NAME, credit_ms=1_000)]
    push(bench, 0, 3)
    await bench.hand.settle()
    info = await bench.tasks[0]
    assert (info.live, info.passthrough) == (True, True)
    assert await bench.tick(3) == ["p 0", "p 1", "p 2"]
    push(bench, 3, 2, ends=True)
    await bench.hand.settle()
    assert (await bench.tick(20))[-7:] == ["p 3", "p 4", *TAIL]
    assert bench.ended == [("p", "finished", 5)]
    await bench.close()


@asyncio_test
async def test_credit_is_given_back_as_it_is_heard() -> None:
    bench = HandPlayer()
    await play_stream(bench, capacity_ms=400)
    for first in range(0, 60, 10):
        push(bench, first, 10)
        await bench.tick(10)
    granted = sum(event.credit_ms for event in bench.of(StreamCredit))
    assert 60 * 20 < granted <= 400 + 60 * 20
    await bench.close()


@asyncio_test
async def test_nothing_is_asked_for_before_filters_that_take_long_are_there_to_take_it() -> None:
    bench = HandPlayer()
    await play_stream(bench, filters="dynaudnorm=f=10:g=3")
    # Built on a thread of its own.
    while not bench.of(StreamCredit):
        await bench.hand.settle()
    # A whole buffer at once, as a bot has it that was waiting to be asked.
    push(bench, 0, 50, ends=True)
    while not bench.tasks[0].done():
        await bench.hand.settle()
    heard = await bench.tick(100)
    assert [name for name in heard if name != "silence"] == [MIX] * 50
    assert bench.ended == [("p", "finished", 50)]
    await bench.close()


@asyncio_test
async def test_what_goes_beyond_the_credit_ends_the_track() -> None:
    bench = HandPlayer()
    await play_stream(bench, capacity_ms=100)
    push(bench, 0, 5)
    await bench.hand.settle()
    push(bench, 5, 50)
    await bench.tick(30)
    [ended] = bench.of(TrackEnded)
    assert ended.reason is EndReason.FAILED
    assert ended.error is not None
    assert "credit" in ended.error.text
    await bench.close()


@asyncio_test
async def test_what_is_pushed_for_a_stream_that_nobody_plays_is_dropped() -> None:
    bench = HandPlayer()
    push(bench, 0, 5)
    source = await bench.play("a", 5)
    push(bench, 0, 5)
    assert await bench.tick(20) == [*source.names(5), *TAIL]
    await bench.close()


@asyncio_test
async def test_half_a_second_with_nothing_to_send_is_told_and_so_is_its_end() -> None:
    bench = HandPlayer()
    await play_stream(bench)
    push(bench, 0, 3)
    await bench.tick(3)
    await bench.tick(24)
    assert bench.of(TrackStuck) == []
    await bench.tick(10)
    [stuck] = bench.of(TrackStuck)
    assert (stuck.playback, stuck.part) == ("p", "source")
    assert 500 <= stuck.waited_ms < 600
    await bench.tick(50)
    assert len(bench.of(TrackStuck)) == 1
    push(bench, 3, 3)
    await bench.tick(5)
    assert [event.waited_ms == 0 for event in bench.of(TrackStuck)] == [False, True]
    await bench.close()


@asyncio_test
async def test_a_pause_is_not_taken_for_a_want() -> None:
    bench = HandPlayer()
    await play_stream(bench)
    push(bench, 0, 3)
    await bench.tick(2)
    bench.player.pause()
    await bench.tick(5)
    bench.pass_frames(100)
    await bench.hand.settle()
    assert bench.of(TrackStuck) == []
    await bench.close()
