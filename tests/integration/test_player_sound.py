"""What is done to tracks, as a listener hears it: through a real pool, worker, transport and decoder."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import (
    AMPLITUDE,
    FRAME_SAMPLES,
    RATE_HZ,
    Hearing,
    middle,
    tone,
    tone_wav,
)
from tests.workers.audio.media_files import wav
from voicepool import Encoding, FilterRefusedError, Silence
from voicepool.filters import HighPass, LowPass
from voicepool.testing import VoiceSession
from voicepool.workers.audio.frame import SILENCE


def staircase(steps: int, step_s: float = 1.0) -> bytes:
    """Return a WAV file of tones, each 100 Hz higher than the one before: 300 Hz, 400 Hz, ..."""
    tones = np.concatenate([tone(300 + 100 * step, step_s) for step in range(steps)])
    return wav(np.repeat(np.round(tones * 32_767).astype(np.int16)[:, np.newaxis], 2, axis=1))


async def until_heard(session: VoiceSession, frequency_hz: float, frames: int = 5) -> Hearing:
    """Wait until a tone was heard for so many frames."""
    await session.wait_until(lambda it: Hearing(it).count(frequency_hz) >= frames, timeout_s=30)
    return Hearing(session)


@asyncio_test
async def test_an_overlay_is_heard_and_the_music_sinks_under_it() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        music = await voice.start(tone_wav(400, 20.0))
        await session.wait_for_packets(15)
        jingle = await voice.overlay(tone_wav(1_000, 0.6), duck_db=-12.0)
        assert voice.tracks == (music, jingle)
        await jingle.wait()
        assert list(voice.tracks) == [music]
        # 200 ms later the music comes back, in 400 ms.
        before = session.packets
        await session.wait_for_packets(before + 45)
        await voice.stop()
        heard = Hearing(session)
        jingling = [frame for frame, level in enumerate(heard.levels(1_000)) if level > AMPLITUDE / 2]
        assert 29 <= len(jingling) <= 31
        music_levels = heard.levels(400)
        under = music_levels[jingling[12] : jingling[-8]]
        assert np.median(under) == pytest.approx(AMPLITUDE * 10 ** (-12 / 20), rel=0.1)
        assert middle(music_levels[: jingling[0]]) == pytest.approx(AMPLITUDE, rel=0.05)
        assert np.median(music_levels[-14:-8]) == pytest.approx(AMPLITUDE, rel=0.05)
        # It sinks and comes back in a ramp, not in a step.
        assert max(abs(np.diff(music_levels[10:-10]))) < AMPLITUDE / 2
        assert_nothing_lost(session)


@asyncio_test
async def test_seek_goes_on_there_and_leaves_no_hole() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        track = await voice.start(staircase(8))
        await session.wait_for_packets(10)
        await track.seek(6.0)
        assert 6.0 <= track.position_s < 6.3
        await until_heard(session, 900)
        await track.seek(2.0)
        heard = await until_heard(session, 500)
        heard.assert_no_gap()
        assert [heard.count(frequency) for frequency in (400, 600, 700, 800, 1_000)] == [0] * 5
        await voice.stop()
        assert_nothing_lost(session)


@asyncio_test
async def test_a_part_is_looped_without_a_seam() -> None:
    async with world() as here:
        voice = await here.join()
        await voice.play(staircase(3, 0.2), start_s=0.2, end_s=0.4, loop=4)
        heard = Hearing(here.session())
        assert len(heard.audio) in {50, 51}
        # Whole periods: rounds that join exactly are one tone.
        assert middle(heard.levels(400)) == pytest.approx(AMPLITUDE, rel=0.05)
        assert min(heard.levels(400)[2:48]) > 0.95 * AMPLITUDE
        assert heard.count(300) == heard.count(500) == 0
        heard.assert_no_gap()
        assert_nothing_lost(here.session())


@asyncio_test
async def test_speed_changes_the_length_and_not_the_pitch() -> None:
    speeds = (0.5, 1.5, 4.0)
    async with world() as here:

        async def play(speed: float) -> None:
            voice = await here.join(round(100 * speed))
            await voice.play(tone_wav(400, 0.8 * speed), speed=speed)

        await asyncio.gather(*map(play, speeds))
        for speed in speeds:
            session = here.session(round(100 * speed))
            heard = Hearing(session)
            assert len(heard.audio) == pytest.approx(40, abs=3), speed
            assert middle(heard.levels(400), 8) == pytest.approx(AMPLITUDE, rel=0.15), speed
            assert_nothing_lost(session)


@asyncio_test
async def test_filters_are_changed_live_and_taken_away_again() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        chord = tone(200, 20.0) + tone(8_000, 20.0)
        track = await voice.start(wav(np.repeat((chord * 32_767).astype(np.int16)[:, np.newaxis], 2, axis=1)))
        await session.wait_for_packets(15)

        async def levels_with(filters: Any) -> tuple[float, float]:
            await track.set(filters=filters)
            before = session.packets
            await session.wait_for_packets(before + 22)
            heard = Hearing(session)
            low, high = (float(np.median(heard.levels(hz)[-9:])) for hz in (200, 8_000))
            return low / AMPLITUDE, high / AMPLITUDE

        low, high = await levels_with(LowPass(500))
        assert low > 0.8
        assert high < 0.05
        low, high = await levels_with([HighPass(3_000), "volume=0.5"])
        assert low < 0.05
        assert high == pytest.approx(0.5, rel=0.15)
        assert track.filters is not None
        low, high = await levels_with(None)
        assert [low, high] == pytest.approx([1.0, 1.0], rel=0.1)
        await voice.stop()
        Hearing(session).assert_no_gap()
        assert_nothing_lost(session)


BAD_FILTERS: Final = {
    "nosuchfilter=1": "nosuchfilter",
    "lowpass=f=many": "many",
    "volume=1[out];[": "label",
    "anull,aresample=-5": "aresample",
    "atempo=1000": "atempo",
}
"""Chains, and what the reason of their refusal names."""


@asyncio_test
async def test_a_bad_filter_is_refused_with_its_reason_and_the_track_plays_on() -> None:
    async with world() as here:
        voice = await here.join()
        session = here.session()
        for filters, reason in BAD_FILTERS.items():
            with pytest.raises(FilterRefusedError, match=reason):
                await voice.start(tone_wav(400, 1.0), filters=filters)
        track = await voice.start(tone_wav(400, 20.0), filters="volume=0.5")
        await session.wait_for_packets(10)
        for filters, reason in BAD_FILTERS.items():
            with pytest.raises(FilterRefusedError, match=reason) as caught:
                await track.set(filters=filters, speed=2.0)
            assert "\n" not in str(caught.value)
        assert (track.filters, track.speed) == ("volume=0.5", 1.0)
        before = session.packets
        await session.wait_for_packets(before + 15)
        heard = Hearing(session)
        heard.assert_no_gap()
        assert heard.levels(400)[-5] == pytest.approx(AMPLITUDE / 2, rel=0.1)
        await voice.stop()
        assert_nothing_lost(session)


@asyncio_test
async def test_it_fades_in_and_out() -> None:
    async with world() as here:
        voice = await here.join()
        await voice.play(tone_wav(400, 1.0), fade_in_s=0.3, fade_out_s=0.3)
        session = here.session()
        levels = Hearing(session).levels(400)[:50]
        assert middle(levels, 20) == pytest.approx(AMPLITUDE, rel=0.05)
        rising, falling = levels[2:13], levels[38:48]
        assert all(after > before for before, after in pairwise(rising))
        assert all(after < before for before, after in pairwise(falling))
        assert levels[1] < AMPLITUDE / 3
        assert levels[48] < AMPLITUDE / 3
        # Stopped with a fade, it is told when it is over, and it was over not long after that.
        track = await voice.start(tone_wav(600, 20.0))
        await until_heard(session, 600, frames=8)
        await track.stop(fade_out_s=0.3)
        await voice.wait_for_stopped()
        await session.wait_until(lambda it: it.media.kept[-1][1] == SILENCE)
        sinking = [level for level in Hearing(session).levels(600) if level > 0.01][8:]
        assert 10 <= len(sinking) <= 40
        assert min(sinking) < AMPLITUDE / 5
        assert_nothing_lost(session)


@asyncio_test
async def test_bitrate_and_channels_of_the_encoder_are_changed_live() -> None:
    noise = np.random.default_rng(3).uniform(-0.3, 0.3, (20 * RATE_HZ, 2))
    async with world(bitrate_bps=128_000) as here:
        voice = await here.join()
        session = here.session()
        await voice.start(wav((noise * 32_767).astype(np.int16)))
        await session.wait_for_packets(20)
        usual = Hearing(session)

        async def heard_with(encoding: Encoding) -> tuple[list[bytes], Any]:
            voice.encoding = encoding
            before = session.packets
            # What is in the ring, and what the encoder needs to adapt, goes first.
            await session.wait_for_packets(before + 32)
            heard = Hearing(session)
            return heard.packets[-15:], heard.samples[-15 * FRAME_SAMPLES :]

        packets, _ = await heard_with(Encoding(bitrate_bps=32_000))
        small = np.mean([len(packet) for packet in packets])
        assert small * 50 * 8 == pytest.approx(32_000, rel=0.15)
        assert np.mean([len(packet) for packet in usual.packets[5:]]) > 3 * small
        assert float(np.abs(usual.samples[:, 0] - usual.samples[:, 1]).max()) > 0.1
        packets, samples = await heard_with(Encoding(bitrate_bps=64_000, mono=True))
        assert np.mean([len(packet) for packet in packets]) * 50 * 8 == pytest.approx(64_000, rel=0.15)
        assert np.array_equal(samples[:, 0], samples[:, 1])
        assert {packet[0] & 0b100 for packet in packets} == {0}, "the stereo flag of the table of contents"
        await voice.stop()
        assert_nothing_lost(session)


@asyncio_test
async def test_volumes_that_are_none_are_refused_and_change_nothing() -> None:
    async with world() as here:
        voice = await here.join()
        track = await voice.start(Silence())
        for volume in (math.nan, -math.inf, math.inf, -1.0, True, "1"):
            refused: tuple[Callable[[Any], object], ...] = (
                lambda value: setattr(voice, "volume", value),
                lambda value: setattr(track, "volume", value),
                lambda value: voice.play_no_wait(Silence(), volume=value),
                lambda value: voice.queue.add(Silence(), volume=value),
            )
            for act in refused:
                with pytest.raises(ValueError, match="volume"):
                    act(volume)
        for bad in (math.nan, -1.0):
            with pytest.raises(ValueError, match="position_s"):
                await track.seek(bad)
            with pytest.raises(ValueError, match="speed"):
                await track.set(speed=bad)
            with pytest.raises(ValueError, match="fade_out_s"):
                await track.stop(fade_out_s=bad)
        assert (voice.volume, track.volume, track.speed) == (1.0, 1.0, 1.0)
        assert voice.tracks == (track,)
        # As loud as a float can be: clipped, and still sound.
        track.volume = 1e300
        voice.volume = 1e300
        await voice.play(tone_wav(400, 0.3))
        samples = Hearing(here.session()).samples
        assert np.isfinite(samples).all()
        assert float(np.abs(samples).max()) > 0.5


@pytest.mark.parametrize("silence", ["end", "pause"])
def test_a_sound_after_silence_begins_at_its_full_level(silence: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with world() as here:
            voice = await here.join()
            session = here.session()
            task = voice.play_no_wait(tone_wav(400, 0.4 if silence == "end" else 20.0))
            await session.wait_until(lambda it: it.media.frames >= 20)
            if silence == "pause":
                voice.pause()
                await session.wait_until(lambda it: it.media.silence_frames == 5)
                voice.resume()
            else:
                await task
                voice.play_no_wait(tone_wav(400, 20.0))
            before = session.media.frames
            await session.wait_until(lambda it: it.media.frames >= before + 20)
            await voice.stop()
            heard = Hearing(session)
            levels = heard.levels(400)[5 + heard.packets.index(SILENCE) :]
            begin = next(frame for frame, level in enumerate(levels) if level > 0.005)
            assert min(levels[begin + 1 : begin + 13]) > 0.9 * AMPLITUDE

    scenario()
