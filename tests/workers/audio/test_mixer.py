from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.reference import (
    FRAME,
    Scripted,
    difference_db,
    in_frames,
    noise,
    ramp,
    soft_clipped,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.gain import Curve, GainEnvelope, db_to_gain
from voicepool.workers.audio.mixer import MAX_INPUTS, Mixer, MixerFullError, MixerInput, Scratch
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

BOUND_DB = -120.0


def heard(mixer: Mixer, frames: int | None = None) -> np.ndarray:
    """So many frames of a mix, or all up to its end."""
    parts: list[np.ndarray] = []
    out = np.full((FRAME, 2), np.nan, dtype=np.float32)
    while frames is None or len(parts) < frames:
        got = mixer.mix(out)
        if got is None:
            break
        assert got is out
        parts.append(out.copy())
    return np.concatenate(parts) if parts else np.empty((0, 2), np.float32)


def played(signal: np.ndarray) -> Scripted:
    return Scripted(*in_frames(signal))


def stereo(gains: np.ndarray) -> np.ndarray:
    return gains[:, np.newaxis]


# What comes out.


@pytest.mark.parametrize("peak", [0.25, 1.0])
def test_one_input_comes_out_bit_by_bit(peak: float) -> None:
    signal = noise(5, seed=1, peak=peak)
    mixer = Mixer()
    mixer.add(played(signal))
    assert np.array_equal(heard(mixer), signal)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_inputs_add_up_each_with_its_gain(count: int) -> None:
    signals = [noise(4, seed=seed, peak=0.2) for seed in range(count)]
    gains = [0.7, 1.0, 0.1, 1.3][:count]
    mixer = Mixer()
    mixer.master.set_volume(0.5, ramp_samples=1)
    mixer.master.pass_frames()
    for signal, gain in zip(signals, gains, strict=True):
        mixer.add(played(signal), gain=GainEnvelope(gain))
    want = 0.5 * np.einsum("i,ijk->jk", gains, np.array(signals, dtype=np.float64))
    assert difference_db(heard(mixer), want) < BOUND_DB


def test_volume_fades_and_master_at_once() -> None:
    frames = 12
    total = frames * FRAME
    signals = [noise(frames, seed=seed, peak=0.3) for seed in (1, 2)]
    first, second = GainEnvelope(0.8), GainEnvelope()
    first.fade_out(5_000, end_sample=total, curve=Curve.EQUAL_POWER)
    second.fade_in(7_001, curve=Curve.EQUAL_POWER)
    mixer = Mixer()
    mixer.add(played(signals[0]), gain=first)
    mixer.add(played(signals[1]), gain=second)
    got = [heard(mixer, 4)]
    mixer.master.set_volume(0.25)
    got.append(heard(mixer))
    falling = np.ones(total)
    falling[total - 5_000 :] = ramp(1, 0, 5_000, Curve.EQUAL_POWER, 5_000)
    rising = ramp(0, 1, 7_001, Curve.EQUAL_POWER, total)
    master = np.ones(total)
    master[4 * FRAME :] = ramp(1, 0.25, FRAME, Curve.LINEAR, 8 * FRAME)
    want = stereo(master) * (0.8 * stereo(falling) * signals[0] + stereo(rising) * signals[1])
    assert difference_db(np.concatenate(got), want) < BOUND_DB


def test_a_loud_sum_is_soft_clipped_and_a_soft_one_is_not_touched() -> None:
    signals = [noise(3, seed=seed, peak=0.9) for seed in (1, 2)]
    mixer = Mixer()
    for signal in signals:
        mixer.add(Scripted(np.zeros((FRAME, 2), np.float32), *in_frames(signal)))
    got = heard(mixer)[FRAME:]
    total = signals[0] + signals[1]
    assert np.max(np.abs(total)) > 1.5
    assert difference_db(got, soft_clipped(total)) < BOUND_DB
    quiet = np.abs(total) < 0.89
    assert np.array_equal(got[quiet], total[quiet])


def test_scratch_can_be_shared() -> None:
    scratch = Scratch()
    mixers, wants = [], []
    for seed in (1, 5):
        mixer = Mixer(scratch=scratch)
        signals = [noise(4, seed=seed + n, peak=0.3) for n in (0, 1, 2)]
        for signal in signals:
            mixer.add(played(signal), gain=GainEnvelope(0.5))
        mixers.append(mixer)
        wants.append(0.5 * np.array(signals, dtype=np.float64).sum(axis=0))
    got: list[list[np.ndarray]] = [[], []]
    for _ in range(4):
        for number, mixer in enumerate(mixers):
            got[number].append(heard(mixer, 1))
    for parts, want in zip(got, wants, strict=True):
        assert difference_db(np.concatenate(parts), want) < BOUND_DB


# Coming and going.


def test_inputs_come_and_go_at_any_time() -> None:
    music, jingle = noise(6, seed=1), noise(2, seed=2)
    mixer = Mixer()
    track = mixer.add(played(music))
    got = [heard(mixer, 1)]
    overlay = mixer.add(played(jingle))
    got.append(heard(mixer, 3))
    assert overlay.ended
    assert mixer.inputs == (track,)
    want = music[: 4 * FRAME].astype(np.float64)
    want[FRAME : 3 * FRAME] += jingle
    assert difference_db(np.concatenate(got), want) < BOUND_DB
    mixer.remove(track)
    mixer.remove(track)
    assert track.ended
    assert mixer.mix(np.empty((FRAME, 2), np.float32)) is None


def test_what_follows_an_end_is_heard_in_the_same_frame() -> None:
    tracks = [noise(2, seed=1), noise(0, seed=2), noise(3, seed=3)]
    mixer = Mixer()
    ended: list[MixerInput] = []

    def follow(last: MixerInput) -> None:
        ended.append(last)
        if tracks:
            mixer.add(played(tracks.pop(0)), on_end=follow)

    album = np.concatenate(tracks)
    mixer.add(played(tracks.pop(0)), on_end=follow)
    assert np.array_equal(heard(mixer), album)
    assert [(entry.ended, entry.error) for entry in ended] == [(True, None)] * 3


def test_tracks_without_a_frame_cannot_hold_the_thread_for_ever() -> None:
    mixer = Mixer(max_inputs=4)
    ends = []

    def follow(last: MixerInput) -> None:
        ends.append(last)
        mixer.add(Scripted(), on_end=follow)

    mixer.add(Scripted(), on_end=follow)
    out = np.empty((FRAME, 2), np.float32)
    assert mixer.mix(out, wait=True) is NOT_YET
    assert len(ends) == 5
    assert mixer.mix(out) is out
    assert not out.any()
    assert len(ends) == 10


def test_an_input_that_has_faded_out_leaves_by_itself() -> None:
    source = played(noise(10, seed=1))
    ended: list[MixerInput] = []
    mixer = Mixer()
    track = mixer.add(source, on_end=ended.append)
    heard(mixer, 1)
    track.gain.fade_out(2 * FRAME)
    assert len(heard(mixer)) == 2 * FRAME
    assert ended == [track]
    assert source.asked == 3


def test_a_source_that_fails_ends_alone() -> None:
    fault = SourceError(ErrorCode.SOURCE_TIMEOUT, "the server sent nothing for 10 s")
    music = noise(3, seed=1)
    ended: list[MixerInput] = []
    mixer = Mixer()
    mixer.add(played(music))
    broken = mixer.add(Scripted(fault), on_end=ended.append)
    assert np.array_equal(heard(mixer), music)
    assert ended == [broken]
    assert broken.error == fault.info


def test_the_bound_is_an_error_that_names_it() -> None:
    mixer = Mixer()
    for _ in range(MAX_INPUTS):
        mixer.add(Scripted())
    with pytest.raises(MixerFullError, match="32 tracks") as caught:
        mixer.add(Scripted())
    assert caught.value.info.data == {"limit": MAX_INPUTS}
    mixer.remove(mixer.inputs[5])
    mixer.add(Scripted())
    with pytest.raises(ValueError, match="max_inputs"):
        Mixer(max_inputs=0)


# Nothing ready.


def test_a_starved_input_is_silent_and_counted_and_the_others_go_on() -> None:
    music, speech = noise(4, seed=1), noise(2, seed=2)
    mixer = Mixer()
    mixer.add(played(music))
    starved = mixer.add(Scripted(in_frames(speech)[0], NOT_YET, NOT_YET, in_frames(speech)[1]))
    want = music.astype(np.float64)
    want[:FRAME] += speech[:FRAME]
    want[3 * FRAME :] += speech[FRAME:]
    assert difference_db(heard(mixer), want) < BOUND_DB
    assert starved.starved_frames == 2


def test_a_starved_input_keeps_its_place_in_a_fade() -> None:
    signal = np.full((3 * FRAME, 2), 0.5, dtype=np.float32)
    first, *rest = in_frames(signal)
    gain = GainEnvelope()
    gain.fade_in(2 * FRAME)
    mixer = Mixer()
    mixer.add(Scripted(first, NOT_YET, *rest), gain=gain)
    got = heard(mixer)
    assert not got[FRAME : 2 * FRAME].any()
    want = stereo(ramp(0, 0.5, 2 * FRAME, Curve.LINEAR, 3 * FRAME))
    assert difference_db(np.delete(got, np.s_[FRAME : 2 * FRAME], axis=0), want) < BOUND_DB


def test_one_that_waits_loses_nothing() -> None:
    music, speech = noise(2, seed=1), noise(2, seed=2)
    mixer = Mixer()
    track = mixer.add(played(music))
    slow = mixer.add(Scripted(NOT_YET, NOT_YET, *in_frames(speech)))
    out = np.empty((FRAME, 2), np.float32)
    assert mixer.mix(out, wait=True) is NOT_YET
    assert track.held is not None
    assert track.gain.position_samples == 0
    assert mixer.mix(out, wait=True) is NOT_YET
    assert difference_db(heard(mixer), music.astype(np.float64) + speech) < BOUND_DB
    assert slow.starved_frames == 0


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
        mixer.pass_frame()
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
    mixer.pass_frame()
    assert np.array_equal(heard(mixer), signal[2 * FRAME :])


def test_speech_sent_as_packets_ducks_what_joins_it() -> None:
    speech, music = noise(3, seed=1), noise(2, seed=2)
    mixer = Mixer()
    speaker = mixer.add(played(speech), duck=Duck(-20, attack_ms=20))
    speaker.source.next_frame()
    mixer.pass_frame()
    mixer.add(played(music))
    want = db_to_gain(-20) * music + speech[FRAME:].astype(np.float64)
    assert difference_db(heard(mixer), want) < BOUND_DB


# Bad input.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_damaged_samples_harm_only_their_own_frame_and_source(bad: float) -> None:
    music, broken = noise(3, seed=1, peak=0.2), noise(3, seed=2, peak=0.2)
    damaged = broken.copy()
    damaged[FRAME + 7, 1] = bad
    mixer = Mixer()
    mixer.add(played(music))
    culprit = mixer.add(played(damaged))
    got = heard(mixer)
    mended = broken.astype(np.float64)
    mended[FRAME + 7, 1] = 0.0 if math.isnan(bad) else math.copysign(1.0, bad)
    assert difference_db(got, soft_clipped(music + mended)) < BOUND_DB
    assert culprit.damaged_frames == 1


SAMPLES = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, 1.0, -1.0, 1e18, math.nan, math.inf, -math.inf])
)


@settings(deadline=None, max_examples=60)
@given(
    sources=st.lists(
        st.tuples(st.lists(SAMPLES, min_size=1, max_size=6), st.floats(0, 1e9), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    master=st.floats(0, 1e9),
)
def test_whatever_comes_in_what_comes_out_is_sound(
    sources: list[tuple[list[float], float, bool]], master: float
) -> None:
    mixer = Mixer()
    mixer.master.set_volume(master)
    for values, volume, ducks in sources:
        frame = np.resize(np.array(values, dtype=np.float32), (FRAME, 2))
        gain = GainEnvelope(volume)
        gain.fade_in(1_500)
        mixer.add(Scripted(frame, frame, frame), gain=gain, duck=Duck() if ducks else None)
    got = heard(mixer)
    assert len(got) == 3 * FRAME
    assert np.isfinite(got).all()
    assert np.max(np.abs(got)) <= 1.0
