"""Speech over music: the music's gain is drawn by numpy, from what `Duck` says of its three times.

The music sinks for 60 ms, straight in dB, from the frame in which the overlay begins to sound; it comes back
within 400 ms, straight in dB, once 200 ms have gone by without a sound. What goes into the encoder is within
-110 dB of that, and the listener hears it to -25 dB.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.golden.driver import WISH_FRAMES, Stage
from tests.golden.reference import FRAME, Curve, error_db, ramp, scaled, worst_frame_db
from tests.golden.sounds import RATE_HZ, Sound, music, tone, wav
from voicepool.ipc.commands import TrackRole

MADE_DB = -110.0
ATTACK, HOLD, RELEASE = (round(seconds * RATE_HZ) for seconds in (0.06, 0.2, 0.4))


def ducked(count: int, duck_db: float, *sounding: tuple[int, int]) -> Curve:
    """Return the gain of the others; `sounding` are the first and the end sample of each sound, in frames.

    Between two of them is either less than the hold or more than hold and release.
    """
    corners = [(0, 0.0)]
    for first, end in sounding:
        if corners[-1][0] > first:
            # It comes within the hold of the one before.
            del corners[-2:]
        else:
            corners += [(first, 0.0), (first + ATTACK, duck_db)]
        corners += [(end + HOLD, duck_db), (end + HOLD + RELEASE, 0.0)]
    return 10.0 ** (ramp(count, *corners) / 20.0)


def laid_over(song: Sound, speech: Sound, at: int, gain: Curve) -> np.ndarray:
    wanted = scaled(song, gain)
    wanted[at : at + len(speech)] += speech
    return wanted


@pytest.mark.parametrize("duck_db", [-12.0, -30.0])
@asyncio_test
async def test_music_sinks_under_speech_and_comes_back_to_minus_110_db(duck_db: float) -> None:
    song, speech = music(3.0, 1), tone(300.0, 0.8, peak=0.2)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(20)
        await stage.play(wav(speech), "speech", role=TrackRole.OVERLAY, duck_db=duck_db)
        await stage.listen_to_end()
        made, heard = stage.made(), stage.heard()
        assert set(stage.ended) == {"song", "speech"}
    at = (20 + WISH_FRAMES) * FRAME
    wanted = laid_over(song, speech, at, ducked(len(song), duck_db, (at, at + len(speech))))
    assert worst_frame_db(made, wanted) < MADE_DB
    clear = len(wanted) - FRAME
    assert error_db(heard[:clear], wanted[:clear]) < -25.0


@asyncio_test
async def test_between_two_words_the_music_stays_down_to_minus_110_db() -> None:
    """Two words with 160 ms between them, and a third 1.2 s later."""
    song, word = music(4.0, 1), tone(300.0, 0.2, peak=0.2)
    speech = np.concatenate(
        [word, np.zeros((8 * FRAME, 2), np.float32), word, np.zeros((60 * FRAME, 2), np.float32), word]
    )
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(20)
        await stage.play(wav(speech), "speech", role=TrackRole.OVERLAY, duck_db=-12.0)
        await stage.listen_to_end()
        made = stage.made()
    at = (20 + WISH_FRAMES) * FRAME
    words = [(at + begin * FRAME, at + (begin + 10) * FRAME) for begin in (0, 18, 88)]
    wanted = laid_over(song, speech, at, ducked(len(song), -12.0, *words))
    assert worst_frame_db(made, wanted) < MADE_DB


@asyncio_test
async def test_an_overlay_that_ducks_nothing_is_just_added_to_minus_110_db() -> None:
    song, effect = music(2.0, 1), music(0.5, 2)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(31)
        await stage.play(wav(effect), "effect", role=TrackRole.OVERLAY, track_volume=0.5)
        await stage.listen_to_end()
        made = stage.made()
    at = (31 + WISH_FRAMES) * FRAME
    wanted = laid_over(song, effect * np.float32(0.5), at, np.ones(len(song)))
    assert worst_frame_db(made, wanted) < MADE_DB


@asyncio_test
async def test_a_volume_changed_while_music_is_ducked_leaves_the_ducking_to_minus_110_db() -> None:
    """The frames of the attack and those of the release are gone back over once each."""
    song, speech = music(3.0, 1), tone(300.0, 0.5, peak=0.2)
    async with Stage() as stage:
        await stage.play(wav(song))
        await stage.listen(20)
        await stage.play(wav(speech), "speech", role=TrackRole.OVERLAY, duck_db=-12.0)
        await stage.listen(1)
        await stage.set_volume(0.8)
        await stage.listen(37)
        await stage.set_volume(0.6)
        await stage.listen_to_end()
        made = stage.made()
    at = (20 + WISH_FRAMES) * FRAME
    wanted = laid_over(song, speech, at, ducked(len(song), -12.0, (at, at + len(speech))))
    first, second = (21 + WISH_FRAMES) * FRAME, (58 + WISH_FRAMES) * FRAME
    volume = ramp(len(song), (first, 1.0), (first + FRAME, 0.8), (second, 0.8), (second + FRAME, 0.6))
    assert worst_frame_db(made, scaled(wanted, volume)) < MADE_DB
