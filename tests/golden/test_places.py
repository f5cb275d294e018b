"""Seeks, parts and loops against numpy's slices of what FFmpeg decodes in one go.

A seek fades from the old place to the new within 20 ms. What goes into the encoder is within -110 dB of the
reference for codecs that decode to the bit, and -100 dB for MP3, whose decoder adds up in floats.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import WISH_FRAMES, Stage
from tests.golden.reference import FRAME, error_db, ramp, scaled, worst_frame_db
from tests.golden.sounds import RATE_HZ, Sound, decoded, encoded, music, wav

FRAMES_PER_S = RATE_HZ / FRAME
MADE_DB = -110.0
MADE_MP3_DB = -100.0


@cache
def file(kind: str) -> tuple[bytes, Sound]:
    """Return a file of 6 s and all that FFmpeg decodes of it."""
    song = music(6.0)
    if kind == "wav":
        return wav(song), song
    codec, container, bitrate_bps = {
        "flac": ("flac", "flac", 0),
        "mp3": ("libmp3lame", "mp3", 192_000),
        "opus": ("libopus", "ogg", 192_000),
    }[kind]
    data = encoded(song, codec, container, bitrate_bps=bitrate_bps)
    return data, decoded(data)


def joined(before: np.ndarray, after: np.ndarray, at: int) -> np.ndarray:
    """Fade from one sound to another within 20 ms; both are laid side by side, not one behind the other."""
    fade = ramp(len(before), (at, 0.0), (at + FRAME, 1.0))
    return scaled(before, 1.0 - fade) + scaled(after, fade)


@pytest.mark.parametrize("position_s", [0.0, 1.234567, 3.02, 4.9999])
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_seek_goes_to_the_very_sample_and_is_heard_within_60_ms(kind: str, position_s: float) -> None:
    """To -110 dB, of MP3 to -100 dB; the listener hears it to -25 dB, no 20 ms of it above -12 dB."""

    @asyncio_test
    async def run() -> None:
        data, song = file(kind)
        async with Stage() as stage:
            await stage.play(data)
            await stage.listen(25)
            await stage.seek(position_s)
            await stage.listen(40)
            made, heard = stage.made(), stage.heard()
        first = (25 + WISH_FRAMES) * FRAME
        place = round(position_s * RATE_HZ)
        after = np.zeros((65 * FRAME, 2), np.float32)
        after[first:] = song[place : place + 65 * FRAME - first]
        wanted = joined(song[: 65 * FRAME], after, first)
        assert worst_frame_db(made, wanted) < (MADE_MP3_DB if kind == "mp3" else MADE_DB)
        assert error_db(heard, wanted[: len(heard)]) < -25.0
        assert worst_frame_db(heard, wanted[: len(heard)]) < -12.0

    run()


@pytest.mark.parametrize("position_s", [0.0, 1.234567, 3.02, 4.9999])
def test_a_seek_in_opus_goes_to_the_packet_that_holds_the_place_and_then_passes_on(position_s: float) -> None:
    """The listener hears what FFmpeg decodes there, without a shift: 80 ms later to -26, 180 to -55 dB.

    His decoder comes from another place, and forgets that by and by (RFC 7845 §4.6).
    """

    @asyncio_test
    async def run() -> None:
        data, song = file("opus")
        new = 25 + WISH_FRAMES
        async with Stage() as stage:
            await stage.play(data)
            await stage.listen(25)
            await stage.seek(position_s)
            await stage.listen(45)
            # The old place sinks in the first; the others bring the decoder to the new place.
            back = stage.passed.index(True, new)
            assert new + 1 <= back <= new + 5
            assert stage.passed == [True] * new + [False] * (back - new) + [True] * (70 - back)
            [track] = stage.player.stats().tracks
            begins_s = track.position_s - (stage.now_frames - new) / FRAMES_PER_S
            heard = stage.heard()
        assert position_s - 0.0201 < begins_s < position_s + 1e-6
        first, place = back * FRAME, round(begins_s * RATE_HZ) + (back - new) * FRAME
        assert error_db(heard[: new * FRAME - 312], song[: new * FRAME - 312]) < -60.0
        tail = heard[first:]
        song = song[place:][: len(tail)]
        for after_ms, bound_db in ((0, -9.0), (80, -26.0), (180, -55.0)):
            clear = after_ms * RATE_HZ // 1_000
            assert worst_frame_db(tail[clear:], song[clear:]) < bound_db

    run()


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_a_part_that_is_played_three_times_joins_to_the_sample(kind: str) -> None:
    """A part of 30,864 samples, no whole number of frames: to -110 dB, of MP3 to -100 dB."""

    @asyncio_test
    async def run() -> None:
        data, song = file(kind)
        start, end = 1.357, 2.0
        async with Stage() as stage:
            await stage.play(data, start_s=start, end_s=end, repeats=2)
            await stage.listen_to_end()
            made = stage.made()
            frames_sent = stage.ended["song"][1]
        part = song[round(start * RATE_HZ) : round(end * RATE_HZ)]
        wanted = np.concatenate([part] * 3)
        assert frames_sent == -(-len(wanted) // FRAME)
        assert worst_frame_db(made[: len(wanted)], wanted) < (MADE_MP3_DB if kind == "mp3" else MADE_DB)
        assert not made[len(wanted) :].any()

    run()


@asyncio_test
async def test_a_seek_in_a_loop_begins_in_its_round_and_the_others_follow_to_minus_110_db() -> None:
    data, song = file("flac")
    async with Stage() as stage:
        await stage.play(data, start_s=1.0, end_s=2.0, repeats=1, position_s=1.5)
        await stage.listen_to_end()
        made = stage.made()
    wanted = np.concatenate([song[72_000:96_000], song[48_000:96_000]])
    assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB


@asyncio_test
async def test_an_endless_loop_goes_on_to_minus_110_db() -> None:
    data, song = file("flac")
    async with Stage() as stage:
        await stage.play(data, start_s=0.5, end_s=0.5 + 4_321 / RATE_HZ, repeats=None)
        await stage.listen(200)
        made = stage.made()
    part = song[24_000 : 24_000 + 4_321]
    wanted = np.concatenate([part] * 45)[: 200 * FRAME]
    assert worst_frame_db(made, wanted) < MADE_DB
