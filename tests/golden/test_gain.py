"""Volumes and fades against straight lines drawn by numpy over the whole sound.

What goes into the encoder is within -120 dB of the reference (float32 rounds at -150). What the listener's
decoder gives is within -25 dB, none of its 20 ms above -13: Opus at 256 kbit/s leaves -35 dB of noise,
and more of it in the two frames after a change.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import WISH_FRAMES, Stage
from tests.golden.reference import FRAME, error_db, ramp, scaled, worst_frame_db
from tests.golden.sounds import music, wav

MADE_DB = -120.0
HEARD_DB = -25.0
WORST_HEARD_DB = -13.0


def check(stage: Stage, wanted: np.ndarray) -> None:
    made, heard = stage.made(), stage.heard()
    assert error_db(made, wanted) < MADE_DB
    assert worst_frame_db(made, wanted) < MADE_DB
    # The last packet's delayed end is in that of the silence which follows.
    clear = len(wanted) - FRAME
    assert error_db(heard[:clear], wanted[:clear]) < HEARD_DB
    assert worst_frame_db(heard[:clear], wanted[:clear]) < WORST_HEARD_DB


@asyncio_test
async def test_a_sound_that_nothing_changes_is_encoded_bit_by_bit_and_heard_to_minus_25_db() -> None:
    song = music(2.0)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen_to_end()
        assert np.array_equal(stage.made(), song)
        check(stage, song)


@pytest.mark.parametrize("whose", ["call", "track"])
@pytest.mark.parametrize(("before", "after"), [(1.0, 0.25), (0.5, 1.0), (1.0, 0.0), (0.25, 2.0)])
def test_a_volume_is_heard_within_60_ms_as_a_ramp_of_20_ms_to_minus_120_db(
    whose: str, before: float, after: float
) -> None:
    @asyncio_test
    async def run() -> None:
        song = music(1.0)
        async with Stage() as stage:
            if whose == "call":
                await stage.play(wav(song), volume=before)
                await stage.listen(20)
                await stage.set_volume(after)
            else:
                await stage.play(wav(song), track_volume=before)
                await stage.listen(20)
                await stage.change(volume=after)
            first = (20 + WISH_FRAMES) * FRAME
            await stage.listen_to_end()
            gain = ramp(len(song), (first, before), (first + FRAME, after))
            check(stage, scaled(song, gain))

    run()


@asyncio_test
async def test_a_volume_changed_in_the_middle_of_a_ramp_goes_on_from_there_to_minus_120_db() -> None:
    """One frame later, the first ramp having arrived; the mean of both stays on the line between."""
    song = music(1.0)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(10)
        await stage.set_volume(0.2)
        await stage.listen(1)
        await stage.set_volume(0.9)
        await stage.listen_to_end()
        first = (10 + WISH_FRAMES) * FRAME
        gain = ramp(len(song), (first, 1.0), (first + FRAME, 0.2), (first + 2 * FRAME, 0.9))
        check(stage, scaled(song, gain))


@asyncio_test
async def test_fades_in_and_out_are_straight_up_to_the_last_sample_to_minus_120_db() -> None:
    song = music(2.0)
    fade_in, fade_out = round(0.3 * 48_000), round(0.45 * 48_000)
    async with Stage() as stage:
        await stage.play(wav(song), fade_in_s=0.3, fade_out_s=0.45)
        await stage.listen_to_end()
        count = len(song)
        gain = ramp(count, (0, 0.0), (fade_in, 1.0), (count - fade_out, 1.0), (count, 0.0))
        check(stage, scaled(song, gain))


@asyncio_test
async def test_a_fade_out_ends_with_a_song_that_ends_within_a_frame_to_minus_120_db() -> None:
    song = music(2.0)[: 50 * FRAME + 333]
    fade_out = round(0.25 * 48_000)
    async with Stage() as stage:
        await stage.play(wav(song), fade_out_s=0.25)
        await stage.listen_to_end()
        count = len(song)
        faded = scaled(song, ramp(count, (count - fade_out, 1.0), (count, 0.0)))
        check(stage, np.concatenate([faded, np.zeros((FRAME - 333, 2))]))


@asyncio_test
async def test_a_stop_sinks_for_as_long_as_it_was_asked_to_to_minus_120_db() -> None:
    song = music(2.0)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(30)
        stage.player.stop(fade_out_s=0.4)
        await stage.settle()
        await stage.listen_to_end()
        first, fade = (30 + WISH_FRAMES) * FRAME, round(0.4 * 48_000)
        count = first + fade
        check(stage, scaled(song[:count], ramp(count, (first, 1.0), (count, 0.0))))
