"""Opus packets that pass, are decoded for a while, and pass again: nothing is lost, nothing shifts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import LOOKAHEAD_SAMPLES, WISH_FRAMES, Stage
from tests.golden.reference import FRAME, error_db, ramp, scaled, worst_frame_db
from tests.golden.sounds import RATE_HZ, Sound, decoded, encoded, music, opus_packets, wav
from voicepool.ipc.commands import TrackRole
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.opus_encoder import Encoder

LENGTH_S = 2.0


@cache
def song() -> tuple[bytes, list[bytes], Sound]:
    """Return an Opus file, its packets, and what FFmpeg decodes of it."""
    data = encoded(music(LENGTH_S), "libopus", "ogg", bitrate_bps=192_000)
    return data, opus_packets(data), decoded(data)


@asyncio_test
async def test_what_passes_is_the_files_packets_bit_by_bit_and_decodes_as_ffmpeg_has_it_to_minus_120_db() -> (
    None
):
    data, packets, sound = song()
    async with Stage() as stage:
        await stage.play(data)
        await stage.listen_to_end()
        assert stage.sent[:-5] == packets
        heard = stage.heard()
    assert len(sound) <= len(packets) * FRAME - LOOKAHEAD_SAMPLES
    assert error_db(heard[: len(sound)], sound) < -120.0


MOST_ENCODED = 5
"""Frames that may be encoded although they could pass again: one to find out that nothing is mixed any more,
the others to bring the listener's decoder back to what the packets expect of it."""


def check_ways(stage: Stage, packets: list[bytes], first: int, end: int) -> int:
    """See that the frames from one to another, and few more, were encoded; return where those end."""
    passed = stage.passed
    back = passed.index(True, first)
    assert end <= back <= end + MOST_ENCODED
    assert passed == [not first <= number < back for number in range(len(packets))]
    assert stage.sent[:first] == packets[:first]
    assert stage.sent[back:-5] == packets[back:]
    return back


@pytest.mark.parametrize("at", [20, 30, 41])
def test_to_a_mix_and_back_no_packet_is_lost_and_no_sample_moves(at: int) -> None:
    """Halved for half a second: what is made is the decoded file to -38 dB, the rest is its packets.

    The listener hears all of it to -25 dB, no 20 ms above -12 dB, and from 180 ms after the mix to -55 dB.
    """

    @asyncio_test
    async def run() -> None:
        data, packets, sound = song()
        async with Stage() as stage:
            await stage.play(data)
            await stage.listen(at)
            await stage.set_volume(0.5)
            await stage.listen(25)
            await stage.set_volume(1.0)
            await stage.listen_to_end()
            first, up = at + WISH_FRAMES, at + 25 + WISH_FRAMES
            back = check_ways(stage, packets, first, up + 1)
            made, heard = stage.made(first, back), stage.heard()
        corners = (first, 1.0), (first + 1, 0.5), (up, 0.5), (up + 1, 1.0)
        wanted = scaled(sound, ramp(len(sound), *((number * FRAME, value) for number, value in corners)))
        # As early as the encoder will be late: the file's own delay, which its packets have in them.
        assert error_db(made, wanted[first * FRAME : back * FRAME]) < -38.0
        clear = len(packets) * FRAME - 2 * FRAME
        assert error_db(heard[:clear], wanted[:clear]) < -25.0
        assert worst_frame_db(heard[:clear], wanted[:clear]) < -12.0
        later = slice(back * FRAME + RATE_HZ * 180 // 1_000, clear)
        assert worst_frame_db(heard[later], wanted[later]) < -55.0

    run()


@asyncio_test
async def test_back_and_forth_ten_times_every_packet_keeps_its_place() -> None:
    """Each packet is sent in its own place or mixed there; the listener hears all of it to -20 dB."""
    data, packets, sound = song()
    async with Stage() as stage:
        await stage.play(data)
        for number in range(10):
            await stage.listen(9)
            await stage.set_volume(0.7 if number % 2 == 0 else 1.0)
        await stage.listen_to_end()
        pairs = list(zip(stage.passed, stage.sent[:-5], packets, strict=True))
        heard = stage.heard()
    assert all(sent == packet for passed, sent, packet in pairs if passed)
    assert 5 * 10 <= sum(not passed for passed, _, _ in pairs) <= 5 * (10 + MOST_ENCODED)
    corners = [
        corner
        for number in range(10)
        for before, after in [(1.0, 0.7) if number % 2 == 0 else (0.7, 1.0)]
        for at in [((number + 1) * 9 + WISH_FRAMES) * FRAME]
        for corner in ((at, before), (at + FRAME, after))
    ]
    clear = len(packets) * FRAME - 2 * FRAME
    wanted = scaled(sound[:clear], ramp(clear, *corners))
    assert error_db(heard[:clear], wanted) < -20.0


@pytest.mark.parametrize("at", [20, 30, 41])
def test_an_overlay_on_passing_packets_is_added_and_gone_again(at: int) -> None:
    """What is made is the sum, to -38 dB; the listener hears all of it to -25 dB, no 20 ms above -15 dB."""

    @asyncio_test
    async def run() -> None:
        data, packets, sound = song()
        effect = music(0.4, 5)
        async with Stage() as stage:
            await stage.play(data)
            await stage.listen(at)
            await stage.play(wav(effect), "effect", role=TrackRole.OVERLAY)
            await stage.listen_to_end()
            first = at + WISH_FRAMES
            back = check_ways(stage, packets, first, first + 20)
            made, heard = stage.made(first, back), stage.heard()
        wanted = sound.astype(np.float64)
        wanted[first * FRAME : (first + 20) * FRAME] += effect
        assert error_db(made, wanted[first * FRAME : back * FRAME]) < -38.0
        clear = len(packets) * FRAME - 2 * FRAME
        assert error_db(heard[:clear], wanted[:clear]) < -25.0
        assert worst_frame_db(heard[:clear], wanted[:clear]) < -15.0

    run()


@pytest.mark.parametrize("at", [20, 29])
def test_a_change_adds_no_noise_to_the_frames_that_are_made_again(at: int) -> None:
    """None of the next 5 frames is noisier, by more than 6 dB, than from an encoder that was never reset.

    That one was given the same frames from the start on. What is below -28 dB does not count.
    """

    @asyncio_test
    async def run() -> None:
        async with Stage(bitrate_bps=128_000) as stage:
            await stage.play(wav(music(LENGTH_S)))
            await stage.listen(at)
            await stage.set_volume(0.25)
            await stage.listen(15)
            made, heard = stage.made(), stage.heard()
        encoder, decoder, never_reset = Encoder(bitrate_bps=128_000), Decoder(), []
        for begin in range(0, len(made), FRAME):
            out = np.zeros((FRAME, 2), np.float32)
            decoder.decode_float(encoder.encode_float(made[begin : begin + FRAME]), out)
            never_reset.append(out)
        encoder.close()
        decoder.close()
        reference = np.concatenate(never_reset)[LOOKAHEAD_SAMPLES:]
        for number in range(at + WISH_FRAMES, at + WISH_FRAMES + 5):
            frame = slice(number * FRAME, (number + 1) * FRAME)
            allowed_db = max(-28.0, error_db(reference[frame], made[frame]) + 6.0)
            assert error_db(heard[frame], made[frame]) < allowed_db

    run()
