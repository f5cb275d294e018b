"""Speed and filters against one FFmpeg graph over the whole sound, and its tones against theory.

What goes into the encoder is within -100 dB of the graph's output, changes included: 20 ms in which a raised
cosine leads from the old shape to the new.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import WISH_FRAMES, Stage
from tests.golden.reference import FRAME, error_db, filtered, worst_frame_db
from tests.golden.sounds import RATE_HZ, Sound, music, tone, wav
from voicepool.filters import Nightcore, Vaporwave, filter_chain

MADE_DB = -100.0
RISE = ((1.0 - np.cos(np.pi * np.arange(FRAME) / (FRAME - 1))) / 2.0)[:, None]


def with_a_fade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Lead from the first 20 ms of one sound to another."""
    faded = after.astype(np.float64)
    faded[:FRAME] = before[:FRAME] * (1.0 - RISE) + after[:FRAME] * RISE
    return faded


def strongest_hz(sound: Sound) -> float:
    spectrum = np.abs(np.fft.rfft(sound[:, 0] * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * RATE_HZ / len(sound)


@pytest.mark.parametrize("speed", [0.6, 1.5, 3.0])
@asyncio_test
async def test_a_speed_is_what_atempo_makes_of_the_whole_to_minus_100_db(speed: float) -> None:
    song = music(2.0)
    async with Stage() as stage:
        await stage.play(wav(song), speed=speed)
        await stage.listen_to_end()
        made = stage.made()
    chain = f"atempo={speed!r}" if speed <= 2.0 else ",".join([f"atempo={speed**0.5!r}"] * 2)
    wanted = filtered(chain, song)
    assert abs(len(wanted) - len(song) / speed) < 0.06 * RATE_HZ
    # Where it is flushed, the second of two atempo overlaps otherwise when it is fed in pieces.
    clear = len(wanted) if speed <= 2.0 else len(wanted) - 2 * FRAME
    assert worst_frame_db(made[:clear], wanted[:clear]) < MADE_DB
    assert speed > 2.0 or not made[len(wanted) :].any()
    assert len(made) == -(-len(wanted) // FRAME) * FRAME


@pytest.mark.parametrize(
    ("preset", "factor"), [(Nightcore(), 1.25), (Vaporwave(), 0.8)], ids=["nightcore", "vaporwave"]
)
def test_a_preset_that_changes_the_pitch_is_one_graph_to_minus_100_db(preset: object, factor: float) -> None:
    """A tone of 440 Hz is heard at 440 times the factor, to 2 Hz, and for as much shorter, to 60 ms."""

    @asyncio_test
    async def run() -> None:
        song = tone(440.0, 2.0)
        chain = filter_chain(preset)  # type: ignore[arg-type]
        assert chain is not None
        async with Stage() as stage:
            await stage.play(wav(song), filters=chain)
            await stage.listen_to_end()
            made, heard = stage.made(), stage.heard()
        wanted = filtered(chain, song)
        assert abs(len(wanted) - len(song) / factor) < 0.06 * RATE_HZ
        assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB
        middle = heard[RATE_HZ // 4 :][:RATE_HZ]
        assert abs(strongest_hz(middle) - 440.0 * factor) < 2.0

    run()


@asyncio_test
async def test_a_filter_is_changed_live_at_a_known_frame_and_back_to_minus_100_db() -> None:
    """Up to the change the sound is as it was, bit by bit; the listener hears all of it to -25 dB."""
    song = music(2.0)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(30)
        await stage.change(filters="bass=g=6")
        await stage.listen(30)
        await stage.change(filters=None)
        await stage.listen_to_end()
        made, heard = stage.made(), stage.heard()
    on, off = (30 + WISH_FRAMES) * FRAME, (60 + WISH_FRAMES) * FRAME
    assert np.array_equal(made[:on], song[:on])
    bassy = with_a_fade(song[on:], filtered("bass=g=6", song[on:]))
    wanted = np.concatenate([song[:on], bassy[: off - on], with_a_fade(bassy[off - on :], song[off:])])
    assert worst_frame_db(made, wanted) < MADE_DB
    assert np.array_equal(made[off + FRAME :], song[off + FRAME :])
    clear = len(wanted) - FRAME
    assert error_db(heard[:clear], wanted[:clear]) < -25.0
    # It is a change to be heard, and not a trifle that the bounds would let through.
    assert error_db(made[on:off], song[on:off]) > -25.0


@asyncio_test
async def test_a_filter_from_the_start_on_is_one_graph_to_minus_100_db() -> None:
    song = music(2.0)
    chain = "bass=g=6,treble=g=-3,aecho=0.8:0.7:40:0.3"
    async with Stage() as stage:
        await stage.play(wav(song), filters=chain)
        await stage.listen(20)
        await stage.set_volume(0.5)
        await stage.listen(2)
        await stage.set_volume(1.0)
        await stage.listen_to_end()
        made = stage.made()
    wanted = filtered(chain, song).astype(np.float64)
    first, second = (20 + WISH_FRAMES) * FRAME, (22 + WISH_FRAMES) * FRAME
    corners = ((first, 1.0), (first + FRAME, 0.5), (second, 0.5), (second + FRAME, 1.0))
    at, gains = zip(*corners, strict=True)
    wanted *= np.interp(np.arange(len(wanted)), at, gains)[:, None]
    assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB


@asyncio_test
async def test_a_speed_changed_live_goes_on_at_its_place_to_minus_100_db() -> None:
    song = music(3.0)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(25)
        await stage.change(speed=1.5)
        await stage.listen_to_end()
        made = stage.made()
    at = (25 + WISH_FRAMES) * FRAME
    wanted = np.concatenate([song[:at], with_a_fade(song[at:], filtered("atempo=1.5", song[at:]))])
    assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB
