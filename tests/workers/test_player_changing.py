"""Changes of a track and of the encoding while it plays, and fades at a stop."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    CALL,
    MIX,
    TAIL,
    Ear,
    HandPlayer,
    name_of,
    tone,
)
from voicepool.ipc.commands import ChangeTrack, Encoding
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.ids import PlaybackId, RequestId
from voicepool.workers.errors import SourceError


def change(name: str, **fields: Any) -> ChangeTrack:
    return ChangeTrack(request=RequestId(3), call=CALL, playback=PlaybackId(name), **fields)


def wires(bench: HandPlayer) -> Ear:
    return Ear([sent for sent in bench.sent if name_of(sent) == MIX])


@asyncio_test
async def test_another_volume_of_one_track_is_heard_three_frames_later_at_most() -> None:
    bench = HandPlayer()
    await bench.play("a", steps=tone(500, 60))
    await bench.overlay("b", steps=tone(1_500, 60))
    await bench.tick(20)
    bench.player.change_track(change("a", volume=0.25))
    await bench.tick(60)
    assert wires(bench).amplitudes(500)[18] == pytest.approx(0.4, rel=0.1)
    assert wires(bench).amplitudes(500)[24:50] == pytest.approx([0.1] * 26, rel=0.3)
    assert wires(bench).amplitudes(1_500)[30] == pytest.approx(0.4, rel=0.1)
    await bench.close()


@asyncio_test
async def test_a_filter_is_heard_and_taken_off_again() -> None:
    bench = HandPlayer()
    await bench.play("a", steps=tone(500, 200))
    await bench.tick(20)
    bench.player.change_track(change("a", filters="volume=0.25"))
    await bench.tick(40)
    bench.player.change_track(change("a"))
    await bench.tick(200)
    levels = wires(bench).amplitudes(500)
    assert levels[40:55] == pytest.approx([0.1] * 15, rel=0.3)
    assert levels[90:150] == pytest.approx([0.4] * 60, rel=0.1)
    await bench.close()


@asyncio_test
async def test_a_filter_that_is_refused_changes_nothing() -> None:
    bench = HandPlayer()
    source = await bench.play("a", 20)
    with pytest.raises(SourceError, match="nosuchfilter") as caught:
        bench.player.change_track(change("a", volume=0.1, filters="nosuchfilter"))
    assert caught.value.code is ErrorCode.FILTER_REFUSED
    assert await bench.tick(40) == [*source.names(20), *TAIL]
    await bench.close()


@asyncio_test
async def test_a_change_of_a_track_that_is_over_is_an_error() -> None:
    bench = HandPlayer()
    with pytest.raises(SourceError) as caught:
        bench.player.change_track(change("never"))
    assert caught.value.code is ErrorCode.NO_SUCH_TRACK
    await bench.close()


@pytest.mark.parametrize("before", [False, True])
def test_another_encoding_holds_from_the_next_frames_on(*, before: bool) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        small = Encoding(bitrate_bps=16_000, complexity=0, mono=True)
        if before:
            bench.player.set_encoding(small)
        await bench.play("a", steps=tone(500, 60))
        await bench.tick(20)
        if not before:
            bench.player.set_encoding(small)
        await bench.tick(60)
        sizes = [len(sent) for sent in bench.sent if name_of(sent) == MIX]
        assert max(sizes[30:]) < 100
        assert (max(sizes[:20]) > 150) != before
        # The stereo bit of the TOC byte (RFC 6716 §3.1).
        mono = [not sent[0] & 4 for sent in bench.sent if name_of(sent) == MIX]
        assert all(mono[30:])
        await bench.close()

    scenario()


@asyncio_test
async def test_a_stop_with_a_fade_sinks_as_long_as_it_was_asked_for_and_then_ends() -> None:
    bench = HandPlayer()
    await bench.play("a", steps=tone(500, 200))
    await bench.tick(20)
    bench.player.stop(fade_out_s=0.4)
    heard = await bench.tick(60)
    assert [end[:2] for end in bench.ended] == [("a", "stopped")]
    assert heard[-5:] == TAIL
    levels = wires(bench).amplitudes(500)
    assert len(levels) == pytest.approx(42, abs=2), "20 frames, after those that may be on their way"
    assert levels[32] == pytest.approx(0.2, rel=0.25)
    assert levels[-1] < 0.03
    await bench.close()


@asyncio_test
async def test_a_track_rises_and_sinks_as_its_options_say() -> None:
    bench = HandPlayer()
    source = bench.source("a", steps=tone(500, 60))
    source.info = msgspec.structs.replace(source.info, duration_s=1.2)
    await (await bench.start("a", fade_in_s=0.4, fade_out_s=0.4))
    await bench.tick(80)
    levels = wires(bench).amplitudes(500)
    assert levels[10] == pytest.approx(0.2, rel=0.25)
    assert levels[30] == pytest.approx(0.4, rel=0.1)
    assert levels[50] == pytest.approx(0.2, rel=0.25)
    assert bench.ended == [("a", "finished", 60)]
    await bench.close()


@asyncio_test
async def test_a_track_sinks_before_its_end_under_filters_too() -> None:
    bench = HandPlayer()
    source = bench.source("a", steps=tone(500, 200))
    source.info = msgspec.structs.replace(source.info, duration_s=4.0, passthrough=False)
    await (await bench.start("a", fade_out_s=1.0, filters="bass=g=1,atempo=2.0"))
    await bench.tick(150)
    [(_, reason, sent)] = bench.ended
    assert reason == "finished"
    assert sent == pytest.approx(100, abs=4)
    levels = wires(bench).amplitudes(500)
    assert min(levels[5 : sent - 60]) > 0.3
    assert levels[sent - 4] < 0.06
    await bench.close()


@pytest.mark.parametrize(("speed", "frames"), [(0.5, 380), (2.0, 110)])
def test_a_fade_out_moves_with_the_end_when_the_speed_is_changed(speed: float, frames: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        source = bench.source("song", steps=tone(1_000, 200))
        source.info = msgspec.structs.replace(source.info, duration_s=4.0, passthrough=False)
        await (await bench.start("song", fade_out_s=1.0))
        await bench.tick(20)
        bench.player.change_track(
            ChangeTrack(request=RequestId(3), call=CALL, playback=PlaybackId("song"), speed=speed)
        )
        await bench.tick(420)
        [(_, reason, sent)] = bench.ended
        assert reason == "finished"
        assert sent == pytest.approx(frames, abs=5)
        loud = Ear(bench.sent[:sent]).amplitudes(1_000)
        assert min(loud[25 : sent - 60]) > 0.35
        assert loud[sent - 25] == pytest.approx(0.2, abs=0.05)
        assert loud[sent - 3] < 0.04
        await bench.close()

    scenario()
