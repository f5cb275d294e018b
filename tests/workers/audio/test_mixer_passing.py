"""Which inputs sink while others sound, and when packets may be sent in place of frames."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.workers.audio.mixing import BOUND_DB, heard, played, stereo
from tests.workers.audio.reference import (
    FRAME,
    Scripted,
    difference_db,
    noise,
    ramp,
    soft_clipped,
)
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.gain import Curve, GainEnvelope, db_to_gain
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.readahead import NOT_YET

# Ducking.


def test_the_others_sink_while_one_sounds() -> None:
    frames = 12
    duck = Duck(-12, attack_ms=30, release_ms=50, hold_ms=40)
    music, bed, speech = noise(frames, seed=1), noise(frames, seed=2), noise(3, seed=3)
    mixer = Mixer()
    mixer.add(played(music), gain=GainEnvelope(0.5))
    mixer.add(played(bed))
    got = [heard(mixer, 2)]
    mixer.add(played(speech), duck=duck)
    got.append(heard(mixer))
    down = db_to_gain(-12)
    gains = np.ones(frames * FRAME)
    gains[2 * FRAME :] = ramp(1, down, 1_440, Curve.DECIBEL, 10 * FRAME)
    gains[7 * FRAME :] = ramp(down, 1, 2_400, Curve.DECIBEL, 5 * FRAME)
    want = stereo(gains) * (0.5 * music + bed.astype(np.float64))
    want[2 * FRAME : 5 * FRAME] += speech
    assert difference_db(np.concatenate(got), want) < BOUND_DB


@pytest.mark.parametrize("speaker_first", [False, True])
def test_silence_ducks_nobody(speaker_first: bool) -> None:  # noqa: FBT001 - a case
    music = noise(4, seed=1)
    silent = Scripted(np.full((FRAME, 2), 1e-4, np.float32), NOT_YET, np.zeros((FRAME, 2), np.float32))
    muted = played(noise(4, seed=2))
    mixer = Mixer()
    if not speaker_first:
        mixer.add(played(music))
    mixer.add(silent, duck=Duck())
    mixer.add(muted, duck=Duck(), gain=GainEnvelope(0.0))
    if speaker_first:
        mixer.add(played(music))
    assert difference_db(heard(mixer)[FRAME:], music[FRAME:]) < BOUND_DB


@pytest.mark.parametrize("depths_db", [(-6, -20), (-20, -6)])
def test_those_that_duck_leave_each_other_alone_and_the_deepest_counts(depths_db: tuple[int, int]) -> None:
    music, one, two = (noise(5, seed=seed, peak=0.3) for seed in (1, 2, 3))
    mixer = Mixer()
    mixer.add(played(one), duck=Duck(depths_db[0], attack_ms=20))
    mixer.add(played(music))
    mixer.add(played(two), duck=Duck(depths_db[1], attack_ms=20))
    gains = stereo(ramp(1, 0.1, FRAME, Curve.DECIBEL, 5 * FRAME))
    want = gains * music + one.astype(np.float64) + two
    assert difference_db(heard(mixer), want) < BOUND_DB


def test_alone_but_still_rising_is_not_as_it_was() -> None:
    music = np.full((6 * FRAME, 2), 1.0, dtype=np.float32)
    mixer = Mixer()
    mixer.add(played(music))
    mixer.add(played(noise(1, seed=2)), duck=Duck(hold_ms=0, attack_ms=20, release_ms=60))
    heard(mixer, 1)
    gains = stereo(ramp(db_to_gain(-12), 1, 3 * FRAME, Curve.DECIBEL, 3 * FRAME))
    assert difference_db(heard(mixer, 3), soft_clipped(gains * music[: 3 * FRAME])) < BOUND_DB


def test_a_damaged_word_is_a_word() -> None:
    music, speech = noise(2, seed=1), np.zeros((2 * FRAME, 2), np.float32)
    speech[5] = math.nan
    mixer = Mixer()
    mixer.add(played(music))
    mixer.add(played(speech), duck=Duck(-20, attack_ms=20))
    gains = stereo(ramp(1, 0.1, FRAME, Curve.DECIBEL, 2 * FRAME))
    assert difference_db(heard(mixer), gains * music) < BOUND_DB


def test_an_empty_mixer_forgets_who_ducked() -> None:
    mixer = Mixer()
    mixer.add(played(noise(2, seed=1)), duck=Duck())
    heard(mixer)
    music = noise(2, seed=2)
    mixer.add(played(music))
    assert np.array_equal(heard(mixer), music)


# Packets in place of frames.


def test_only_one_input_alone_and_unchanged_may_pass_packets() -> None:
    mixer = Mixer()
    assert mixer.sole_unity_input is None
    track = mixer.add(played(noise(9, seed=1)))
    assert mixer.sole_unity_input is track
    other = mixer.add(played(noise(9, seed=2)))
    assert mixer.sole_unity_input is None
    mixer.remove(other)
    assert mixer.sole_unity_input is track
    for gain in (track.gain, mixer.master):
        gain.set_volume(0.5)
        assert mixer.sole_unity_input is None
        gain.set_volume(1.0)
        heard(mixer, 1)
        assert mixer.sole_unity_input is track
    track.gain.fade_out(FRAME)
    assert mixer.sole_unity_input is None


def test_a_frame_already_taken_goes_before_packets() -> None:
    mixer = Mixer()
    track = mixer.add(played(noise(2, seed=1)))
    other = mixer.add(Scripted(NOT_YET))
    assert mixer.mix(np.empty((FRAME, 2), np.float32), wait=True) is NOT_YET
    mixer.remove(other)
    assert mixer.sole_unity_input is None
    heard(mixer, 1)
    assert mixer.sole_unity_input is track


def test_no_packets_while_the_track_is_still_rising_from_a_duck() -> None:
    mixer = Mixer()
    track = mixer.add(played(noise(9, seed=1)))
    mixer.add(played(noise(1, seed=2)), duck=Duck(hold_ms=0, attack_ms=20, release_ms=40))
    heard(mixer, 2)
    assert mixer.inputs == (track,)
    assert mixer.sole_unity_input is None
    heard(mixer, 1)
    assert mixer.sole_unity_input is track


def test_passed_frames_count_for_fades() -> None:
    signal = noise(4, seed=1)
    gain = GainEnvelope()
    gain.fade_out(FRAME, end_sample=4 * FRAME)
    mixer = Mixer()
    track = mixer.add(played(signal), gain=gain)
    for _ in range(3):
        assert mixer.sole_unity_input is track
        track.source.next_frame()
        mixer.pass_frames()
    assert mixer.sole_unity_input is None
    want = stereo(ramp(1, 0, FRAME, Curve.LINEAR, FRAME)) * signal[3 * FRAME :]
    assert difference_db(heard(mixer), want) < BOUND_DB


def test_after_packets_a_loud_track_comes_out_as_it_is_at_once() -> None:
    signal = np.full((3 * FRAME, 2), 1.0, dtype=np.float32)
    mixer = Mixer()
    track = mixer.add(played(signal))
    other = mixer.add(played(signal))
    heard(mixer, 1)
    mixer.remove(other)
    track.source.next_frame()
    mixer.pass_frames()
    assert np.array_equal(heard(mixer), signal[2 * FRAME :])


def test_speech_sent_as_packets_ducks_what_joins_it() -> None:
    speech, music = noise(3, seed=1), noise(2, seed=2)
    mixer = Mixer()
    speaker = mixer.add(played(speech), duck=Duck(-20, attack_ms=20))
    speaker.source.next_frame()
    mixer.pass_frames()
    mixer.add(played(music))
    want = db_to_gain(-20) * music + speech[FRAME:].astype(np.float64)
    assert difference_db(heard(mixer), want) < BOUND_DB
