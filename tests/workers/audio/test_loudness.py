"""Loudness is measured as libavfilter's ebur128 does it, and brought to its target without harm."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.filter import Graph
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import cut
from voicepool.workers.audio.loudness import LOOK_AHEAD_FRAMES, Leveller, LoudnessMeter, loudness_gain_db
from voicepool.workers.audio.opus import PcmFrame

CEILING = 10 ** (-1 / 20)


def noise(seconds: float, level: float, *, seed: int = 1) -> PcmFrame:
    count = int(seconds * 48_000)
    return (level * np.random.default_rng(seed).standard_normal((count, 2))).astype(np.float32)


def measured(sound: PcmFrame) -> LoudnessMeter:
    meter = LoudnessMeter()
    for frame in cut(sound):
        meter.measure(frame)
    return meter


def ebur128_lufs(sound: PcmFrame) -> float:
    """Return the integrated loudness as libavfilter measures it."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_abuffer(sample_rate=48_000, format="flt", layout="stereo")
    meter, sink = graph.add("ebur128", "framelog=quiet:metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="flt", layout="stereo")
    frame.sample_rate = 48_000
    frame.pts = 0
    source.push(frame)
    source.push(None)
    lufs = None
    while True:
        try:
            measured_frame = sink.pull()
        except (av.EOFError, av.BlockingIOError):
            break
        assert measured_frame is not None
        lufs = measured_frame.metadata["lavfi.r128.I"]
    assert lufs is not None
    return float(lufs)


def levelled(sound: PcmFrame, target_lufs: float) -> PcmFrame:
    meter, frames, heard = LoudnessMeter(), cut(sound), []
    leveller, seen = Leveller(target_lufs, meter), 0
    for number, frame in enumerate(frames):
        for ahead in frames[seen : number + LOOK_AHEAD_FRAMES + 1]:
            meter.measure(ahead)
            seen += 1
        heard.append(leveller.level(frame, frames[number + 1] if number + 1 < len(frames) else None))
    return np.concatenate(heard)


@pytest.mark.parametrize(
    "sound",
    [
        noise(5.0, 0.1),
        signal(seconds=6.0),
        np.concatenate((noise(4.0, 0.1), noise(4.0, 0.003), noise(3.0, 0.03))),
        np.concatenate((np.zeros((48_000 * 3, 2), np.float32), noise(4.0, 0.05))),
    ],
    ids=["noise", "sweep", "gated", "silence first"],
)
def test_it_measures_what_ebur128_measures(sound: PcmFrame) -> None:
    loudness_lufs = measured(sound).loudness_lufs
    assert loudness_lufs is not None
    # A bin, and what of the past has faded.
    assert loudness_lufs == pytest.approx(ebur128_lufs(sound), abs=0.25)


def test_a_sine_at_full_scale_in_both_channels_has_0_lufs() -> None:
    t = np.arange(48_000 * 2) / 48_000
    sine = np.repeat(np.sin(2 * np.pi * 997 * t)[:, None], 2, axis=1).astype(np.float32)
    assert measured(sine).loudness_lufs == pytest.approx(0.0, abs=0.1)


def test_silence_has_no_loudness_and_stays_as_it_is() -> None:
    meter = measured(np.zeros((48_000, 2), np.float32))
    assert meter.loudness_lufs is None
    assert meter.short_term_lufs is None
    assert meter.loud_s == 0.0
    assert not levelled(np.zeros((48_000, 2), np.float32), -14.0).any()


def test_a_sound_shorter_than_a_block_is_measured_all_the_same() -> None:
    assert measured(noise(0.1, 0.1)).loudness_lufs == pytest.approx(ebur128_lufs(noise(4.0, 0.1)), abs=1.0)


def test_the_past_fades() -> None:
    meter = measured(noise(10.0, 0.3))
    for frame in cut(noise(2.0, 0.01)) * 300:
        meter.measure(frame)
    assert meter.loudness_lufs == pytest.approx(ebur128_lufs(noise(4.0, 0.01)), abs=1.0)


@pytest.mark.parametrize("level", [0.6, 0.2, 0.05])
def test_it_arrives_at_the_target(level: float) -> None:
    sound = noise(12.0, level) if level < 0.5 else np.clip(noise(12.0, level), -1, 1)
    heard = levelled(sound, -20.0)
    assert ebur128_lufs(heard[48_000 * 5 :]) == pytest.approx(-20.0, abs=0.5)


def test_what_is_as_loud_as_it_should_be_keeps_its_dynamics() -> None:
    # Loud and less loud by 6 dB, two seconds each: the same song.
    song = np.concatenate([noise(2.0, level, seed=n) for n, level in enumerate([0.1, 0.05] * 10)])
    heard = levelled(song, -20.0)
    loud, less = heard[48_000 * 36 : 48_000 * 37 + 40_000], heard[48_000 * 38 : 48_000 * 39 + 40_000]
    assert 20 * np.log10(loud.std() / less.std()) == pytest.approx(6.0, abs=1.0)


def test_the_gain_moves_slowly_once_it_has_settled() -> None:
    sound = np.concatenate((noise(6.0, 0.05), noise(6.0, 0.02)))
    heard = levelled(sound, -23.0)
    gains = [20 * np.log10(b.std() / a.std()) for a, b in zip(cut(sound), cut(heard), strict=True)]
    steps = np.abs(np.diff(gains[4 * 50 :]))
    assert steps.max() <= 1.5 / 50 + 1e-3
    assert steps.max() > 0.0


def test_a_quiet_beginning_is_not_blown_up() -> None:
    sound = np.concatenate((noise(1.0, 0.002), noise(4.0, 0.2)))
    heard = levelled(sound, -16.0)
    assert 20 * np.log10(heard[:24_000].std() / sound[:24_000].std()) <= 6.01


def test_what_is_much_too_loud_is_taken_down_soon() -> None:
    sound = np.concatenate((noise(60.0, 0.01), noise(8.0, 0.2)))
    heard = levelled(sound, -23.0)
    assert ebur128_lufs(heard[48_000 * 66 :]) < -23.0 + 8.0


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 3.0), st.floats(-40.0, -5.0))
def test_no_peak_is_beyond_the_ceiling_and_no_gain_jumps(seed: int, level: float, target_lufs: float) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        noise(0.1, level * rng.uniform(0.0, 1.0) ** 3, seed=int(rng.integers(1 << 30))) for _ in range(6)
    ]
    sound = np.concatenate(parts)
    sound[rng.integers(len(sound))] = 4.0
    heard = levelled(sound, target_lufs)
    assert np.abs(heard).max() <= CEILING + 1e-5
    ends = np.arange(959, len(sound) - 1, 960)
    strong = (np.abs(sound[ends, 0]) > 1e-4) & (np.abs(sound[ends + 1, 0]) > 1e-4)
    before = (heard[ends, 0] / np.where(strong, sound[ends, 0], 1))[strong]
    after = (heard[ends + 1, 0] / np.where(strong, sound[ends + 1, 0], 1))[strong]
    # A gain goes on where it was: in one sample, by a 960th of what it goes in a frame.
    assert (np.abs(before - after) <= np.maximum(before, after) / 480 + 0.02).all()


@pytest.mark.parametrize(
    ("tags", "target_lufs", "gain_db"),
    [
        ({"R128_TRACK_GAIN": "0"}, -23.0, 0.0),
        ({"r128_track_gain": "-2560"}, -23.0, -10.0),
        ({"R128_TRACK_GAIN": "384"}, -18.0, 6.5),
        ({"R128_TRACK_GAIN": "-32768"}, -23.0, -30.0),
        ({"R128_TRACK_GAIN": "32767"}, -23.0, 20.0),
        ({"REPLAYGAIN_TRACK_GAIN": "-7.89 dB"}, -18.0, -7.89),
        ({"replaygain_track_gain": "+3.5 DB"}, -14.0, 7.5),
        ({"REPLAYGAIN_TRACK_GAIN": ".5"}, -18.0, 0.5),
        ({"REPLAYGAIN_TRACK_GAIN": "6.0 dB", "REPLAYGAIN_TRACK_PEAK": "0.501187"}, -12.0, 6.0),
        ({"REPLAYGAIN_TRACK_GAIN": "6.0 dB", "REPLAYGAIN_TRACK_PEAK": "1.2"}, -18.0, 0.0),
        ({"REPLAYGAIN_TRACK_GAIN": "-6.0 dB", "REPLAYGAIN_TRACK_PEAK": "1.2"}, -18.0, -6.0),
        ({"R128_TRACK_GAIN": "256", "REPLAYGAIN_TRACK_GAIN": "-9 dB"}, -23.0, 1.0),
        ({"R128_TRACK_GAIN": "99999", "REPLAYGAIN_TRACK_GAIN": "-9 dB"}, -18.0, -9.0),
        ({}, -18.0, None),
        ({"R128_TRACK_GAIN": "loud"}, -18.0, None),
        ({"R128_TRACK_GAIN": "1.5"}, -18.0, None),
        ({"REPLAYGAIN_TRACK_GAIN": "nan dB"}, -18.0, None),
        ({"REPLAYGAIN_TRACK_GAIN": "1e3 dB"}, -18.0, None),
        ({"REPLAYGAIN_TRACK_GAIN": "-900 dB"}, -18.0, None),
        ({"REPLAYGAIN_TRACK_GAIN": ""}, -18.0, None),
    ],
)
def test_tags_are_a_plain_gain(tags: dict[str, str], target_lufs: float, gain_db: float | None) -> None:
    found = loudness_gain_db(tags, target_lufs)
    assert found == (None if gain_db is None else pytest.approx(gain_db, abs=1e-3))


@given(
    st.dictionaries(
        st.sampled_from(["R128_TRACK_GAIN", "REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK"]), st.text()
    )
)
def test_no_tag_does_harm(tags: dict[str, str]) -> None:
    found = loudness_gain_db(tags, -16.0)
    assert found is None or -30.0 <= found <= 20.0
