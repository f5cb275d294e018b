"""What is wanted of a call's sound: volume, encoding, and another playback after one that broke."""

from __future__ import annotations

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.hand_studio import (
    MIX,
    TAIL,
    Ear,
    HandPlayer,
    name_of,
    tone,
)
from voicepool.ipc.commands import Encoding
from voicepool.workers.audio.gain import LOUDEST
from voicepool.workers.audio.playback import Playback

# Volume.


@asyncio_test
async def test_volume_is_of_the_call_and_reaches_what_plays_and_what_is_opening() -> None:
    bench = HandPlayer()
    await bench.play("a", 50, volume=0.5)
    [playing] = bench.hand.encoders.submitted
    assert isinstance(playing, Playback)
    assert playing.gain == 0.5
    bench.player.set_volume(0.25)
    assert playing.gain == 0.25
    assert playing.program.has_changes
    bench.pass_frames(1)
    await bench.hand.settle()
    assert not playing.program.has_changes, "the encoder threads were hurried"
    opening = bench.slow_source("b", 50)
    task = await bench.start("b", volume=0.8)
    bench.player.set_volume(0.1)
    opening.set_result(bench.sources["b"])
    await bench.hand.settle()
    await task
    assert playing.gain == 0.1
    bench.player.set_volume(1e300)
    assert playing.gain == LOUDEST, "float32 must not overflow"
    assert bench.hand.encoders.submitted == [playing], "one for as long as the call lives"
    await bench.close()


@pytest.mark.parametrize("when", ["playing", "paused", "all is in the ring"])
def test_another_volume_is_heard_three_frames_later_at_most(when: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        bench = HandPlayer()
        await bench.play("a", steps=tone(500, 40))
        before = 37 if when == "all is in the ring" else 20
        await bench.tick(before)
        if when == "paused":
            bench.player.pause()
            assert await bench.tick(8) == TAIL
        bench.player.set_volume(0.0)
        await bench.hand.settle()
        if when == "paused":
            bench.player.resume()
        await bench.tick(50)
        heard = Ear([sent for sent in bench.sent if name_of(sent) == MIX]).amplitudes(500)
        assert len(heard) == 40
        assert min(heard[2:before]) > 0.3
        assert max(heard[before + 3 :], default=0.0) < 0.03
        if when != "paused":
            assert min(heard[before : before + 2]) > 0.3, "those that may be on their way stay"
        assert bench.ended == [("a", "finished", 40)]
        await bench.close()

    scenario()


# The ceiling of the worker's encoders.


@asyncio_test
async def test_a_call_encodes_below_the_ceiling_now_and_after_its_encoding_is_set_anew() -> None:
    bench = HandPlayer()
    bench.hand.studio.ceiling.complexity = 5
    await bench.play("a", steps=tone(500, 40))
    encoder = bench.player._sound._encoder
    assert encoder is not None
    assert encoder._ceiling is bench.hand.studio.ceiling
    bench.player.set_encoding(Encoding(bitrate_bps=64_000, complexity=8))
    bench.pass_frames(1)
    await bench.hand.settle()
    assert (encoder.complexity, encoder._ceiling_seen) == (8, 5)
    assert bench.hand.studio.ceiling.wanted == 8, "the highest that was ever asked for"
    await bench.close()
