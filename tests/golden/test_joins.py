"""What follows what: gapless joins, crossfades and skips against numpy's sums of whole signals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import WISH_FRAMES, Stage
from tests.golden.reference import FRAME, error_db, ramp, scaled, worst_frame_db
from tests.golden.sounds import RATE_HZ, decoded, encoded, music, tone, wav

MADE_DB = -110.0
"""Of what goes into the encoder, in the worst 20 ms."""


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize("cut", [50 * FRAME, 50 * FRAME + 123])
def test_two_halves_of_one_signal_join_without_a_gap_to_minus_110_db(kind: str, cut: int) -> None:
    """The listener hears the joint as he hears the rest: no 20 ms around it above -25 dB."""

    @asyncio_test
    async def run() -> None:
        write = wav if kind == "wav" else partial(encoded, codec="flac", container="flac")
        halves = [write(half) for half in (music(2.0)[:cut], music(2.0)[cut:])]
        song = music(2.0) if kind == "wav" else np.concatenate([decoded(half) for half in halves])
        async with Stage() as stage:
            await stage.play(halves[0])
            await stage.follow(halves[1])
            await stage.listen_to_end()
            made, heard = stage.made(), stage.heard()
        assert len(made) == -(-len(song) // FRAME) * FRAME
        assert worst_frame_db(made[: len(song)], song) < MADE_DB
        around = slice(cut - 10 * FRAME, cut + 10 * FRAME)
        assert worst_frame_db(heard[around], song[around]) < -25.0

    run()


@asyncio_test
async def test_opus_songs_join_packet_by_packet() -> None:
    """The listener gets the packets of both files in order: what was sent is compared bit by bit."""
    songs = [encoded(music(1.0, seed), "libopus", "ogg", bitrate_bps=128_000) for seed in (1, 2)]
    alone = []
    for song in songs:
        async with Stage() as stage:
            await stage.play(song)
            await stage.listen_to_end()
            alone += stage.sent[:-5]
    async with Stage() as stage:
        await stage.play(songs[0])
        await stage.follow(songs[1])
        await stage.listen_to_end()
        assert all(stage.passed)
        assert stage.sent[:-5] == alone


@pytest.mark.parametrize("crossfade_s", [0.5, 0.333])
def test_a_crossfade_keeps_the_power_and_is_a_quarter_of_a_circle_to_minus_110_db(crossfade_s: float) -> None:
    """The listener hears it to -30 dB. Each gain is compared by itself: of two tones, one on either side."""

    @asyncio_test
    async def run() -> None:
        first, second = tone(440.0, 2.0), tone(1_000.0, 1.0)
        first[:, 1], second[:, 0] = 0.0, 0.0
        async with Stage() as stage:
            await stage.play(wav(first))
            await stage.follow(wav(second), crossfade_s=crossfade_s)
            await stage.listen_to_end()
            made, heard = stage.made(), stage.heard()
            assert {name: why.value for name, (why, _) in stage.ended.items()} == {
                "song": "finished",
                "next": "finished",
            }
        fade = round(crossfade_s * RATE_HZ)
        begins = round((len(first) - fade) / FRAME) * FRAME
        wanted = np.zeros((begins + len(second), 2))
        angle = np.pi / 2.0 * ramp(len(wanted), (begins, 0.0), (begins + fade, 1.0))
        wanted[: len(first)] += scaled(first, np.cos(angle)[: len(first)])
        wanted[begins:] += scaled(second, np.sin(angle)[begins:])
        assert worst_frame_db(made[: len(wanted)], wanted) < MADE_DB
        clear = len(wanted) - FRAME
        assert error_db(heard[:clear], wanted[:clear]) < -30.0

    run()


@asyncio_test
async def test_a_skip_is_heard_within_60_ms_and_sinks_within_20_to_minus_110_db() -> None:
    first, second = music(2.0, 1), music(1.0, 2)
    async with Stage() as stage:
        await stage.play(wav(first))
        await stage.follow(wav(second))
        await stage.listen(33)
        await stage.skip()
        await stage.listen_to_end()
        made = stage.made()
        assert [why.value for why, _ in stage.ended.values()] == ["replaced", "finished"]
    at = (33 + WISH_FRAMES) * FRAME
    wanted = np.zeros((at + len(second), 2))
    sinks = ramp(at + FRAME, (at, 1.0), (at + FRAME, 0.0))
    wanted[: at + FRAME] += scaled(first[: at + FRAME], sinks)
    wanted[at:] += second
    assert worst_frame_db(made, wanted) < MADE_DB


@asyncio_test
async def test_a_skip_with_a_crossfade_begins_at_once_to_minus_110_db() -> None:
    first, second = music(2.0, 1), music(1.0, 2)
    async with Stage() as stage:
        await stage.play(wav(first))
        await stage.follow(wav(second), crossfade_s=0.3)
        await stage.listen(33)
        await stage.skip()
        await stage.listen_to_end()
        made = stage.made()
    at, fade = (33 + WISH_FRAMES) * FRAME, round(0.3 * RATE_HZ)
    wanted = np.zeros((at + len(second), 2))
    angle = np.pi / 2.0 * ramp(len(wanted), (at, 0.0), (at + fade, 1.0))
    wanted[: at + fade] += scaled(first[: at + fade], np.cos(angle)[: at + fade])
    wanted[at:] += scaled(second, np.sin(angle)[at:])
    assert worst_frame_db(made, wanted) < MADE_DB


@asyncio_test
async def test_a_change_just_before_a_joint_leaves_the_joint_as_it_is_to_minus_110_db() -> None:
    """The ring holds the joint already, and is gone back over with all that is behind it."""
    song = music(2.0)
    async with Stage() as stage:
        await stage.play(wav(song[: 50 * FRAME]))
        await stage.follow(wav(song[50 * FRAME :]))
        await stage.listen(45)
        await stage.set_volume(0.5)
        await stage.listen_to_end()
        made = stage.made()
    at = (45 + WISH_FRAMES) * FRAME
    wanted = scaled(song, ramp(len(song), (at, 1.0), (at + FRAME, 0.5)))
    assert worst_frame_db(made, wanted) < MADE_DB


@pytest.mark.parametrize("sent", [11, 12, 13, 14, 15])
def test_joints_within_frames_stay_where_they_are_when_they_are_gone_back_over_to_minus_110_db(
    sent: int,
) -> None:
    """Three pieces, none of them a whole number of frames, and a change around each joint."""

    @asyncio_test
    async def run() -> None:
        song = music(1.0)
        first, second = 15 * FRAME + 123, 35 * FRAME + 603
        async with Stage() as stage:
            await stage.play(wav(song[:first]))
            await stage.follow(wav(song[first:second]), "second")
            await stage.listen(sent)
            await stage.set_volume(0.5)
            await stage.listen(20 - sent)
            await stage.follow(wav(song[second:]), "third")
            await stage.listen(sent)
            await stage.set_volume(1.0)
            await stage.listen_to_end()
            made = stage.made()
            assert [why.value for why, _ in stage.ended.values()] == ["finished"] * 3
        down, up = (sent + WISH_FRAMES) * FRAME, (20 + sent + WISH_FRAMES) * FRAME
        gain = ramp(len(song), (down, 1.0), (down + FRAME, 0.5), (up, 0.5), (up + FRAME, 1.0))
        assert len(made) == len(song)
        assert worst_frame_db(made, scaled(song, gain)) < MADE_DB

    run()


@asyncio_test
async def test_a_change_just_before_a_crossfade_leaves_it_as_it_is_to_minus_110_db() -> None:
    first, second = music(1.0, 1), music(1.0, 2)
    fade = 20 * FRAME
    async with Stage() as stage:
        await stage.play(wav(first))
        await stage.follow(wav(second), crossfade_s=fade / RATE_HZ)
        await stage.listen(26)
        await stage.set_volume(0.5)
        await stage.listen_to_end()
        made = stage.made()
    begins, at = len(first) - fade, (26 + WISH_FRAMES) * FRAME
    wanted = np.zeros((begins + len(second), 2))
    angle = np.pi / 2.0 * ramp(len(wanted), (begins, 0.0), (begins + fade, 1.0))
    wanted[: len(first)] += scaled(first, np.cos(angle)[: len(first)])
    wanted[begins:] += scaled(second, np.sin(angle)[begins:])
    wanted = scaled(wanted, ramp(len(wanted), (at, 1.0), (at + FRAME, 0.5)))
    assert worst_frame_db(made, wanted) < MADE_DB
