from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.mixing import BOUND_DB, heard, played, stereo
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
from voicepool.workers.audio.gain import Curve, GainEnvelope
from voicepool.workers.audio.mixer import MAX_INPUTS, Mixer, Scratch
from voicepool.workers.audio.mixer_input import MixerFullError, MixerInput
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

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
