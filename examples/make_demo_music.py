"""Make ``voicepool/cli/demo.mp3``, the music that ``voicepool demo`` plays.

    python examples/make_demo_music.py [FILE]

Twenty seconds, a loop of eight bars: chords, bass, a plucked melody that wanders from ear to ear, and soft
percussion. Everything is computed below, from sines and seeded noise; no recording, sample or existing
piece of music is in it. Made by the voicepool authors; MIT licence, like the rest of voicepool.

It is encoded lossily and at 44.1 kHz on purpose: like most of what bots play, it has to be decoded and
resampled on its way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE_HZ", "TARGET", "encode", "synthesise"]

RATE_HZ: Final = 44_100
BITRATE_BPS: Final = 128_000
TARGET: Final = Path(__file__).parents[1] / "voicepool" / "cli" / "demo.mp3"

BEAT_S: Final = 0.625
BEATS_A_BAR: Final = 4
PEAK: Final = 0.7

# Notes are MIDI numbers: 60 is middle C, 69 is 440 Hz.
CHORDS: Final = (
    (48, 60, 64, 67, 71),  # Cmaj7
    (45, 60, 64, 67, 69),  # Am7
    (41, 57, 60, 64, 65),  # Fmaj7
    (43, 59, 62, 64, 67),  # G6
    (40, 59, 62, 64, 67),  # Em7
    (45, 60, 64, 67, 69),  # Am7
    (38, 57, 60, 62, 65),  # Dm7
    (43, 59, 62, 65, 67),  # G7
)
"""One a bar; the first note is the bass's."""
MELODY: Final = (
    (0.0, 79), (1.5, 76), (2.0, 74), (3.0, 72),
    (4.0, 76), (5.5, 72), (6.0, 69), (7.0, 72),
    (8.0, 77), (9.0, 76), (9.5, 74), (10.5, 72),
    (12.0, 74), (13.5, 71), (14.0, 74), (15.0, 79),
    (16.0, 83), (17.5, 79), (18.0, 76), (19.0, 74),
    (20.0, 76), (21.0, 74), (21.5, 72), (22.5, 69),
    (24.0, 77), (25.0, 74), (26.0, 72), (27.0, 69),
    (28.0, 71), (29.0, 74), (30.0, 77), (31.0, 74),
)  # fmt: skip
"""Beat and note."""

Samples = NDArray[np.float64]


class Loop:
    """A stereo tape whose end is joined to its start: what rings on past the end is heard at the start."""

    def __init__(self, seconds: float) -> None:
        self.samples: Samples = np.zeros((round(seconds * RATE_HZ), 2))

    def add(self, at_s: float, sound: Samples, *, gain: float, pan: float | Samples = 0.0) -> None:
        """Mix a sound in; `pan` goes from -1, left, to 1, right, with constant power."""
        places = (round(at_s * RATE_HZ) + np.arange(len(sound))) % len(self.samples)
        angle = (np.asarray(pan) + 1) * np.pi / 4
        np.add.at(self.samples[:, 0], places, gain * np.cos(angle) * sound)
        np.add.at(self.samples[:, 1], places, gain * np.sin(angle) * sound)


def synthesise() -> NDArray[np.float32]:
    """Return the whole piece: shape (samples, 2), 44.1 kHz, -1 to 1; the same each time."""
    bar_s = BEATS_A_BAR * BEAT_S
    loop = Loop(len(CHORDS) * bar_s)
    noise = np.random.default_rng(20)
    for bar, (root, *upper) in enumerate(CHORDS):
        start_s = bar * bar_s
        for voice, note in enumerate(upper):
            loop.add(start_s, _pad(note, bar_s + 0.6), gain=0.11, pan=(voice - 1.5) / 2)
        for beat, length in ((0.0, 1.4), (1.5, 0.9), (2.5, 1.2)):
            loop.add(start_s + beat * BEAT_S, _bass(root, length * BEAT_S), gain=0.34)
        for beat in range(BEATS_A_BAR):
            at_s = start_s + beat * BEAT_S
            if beat % 2 == 0:
                loop.add(at_s, _drum(), gain=0.5)
            else:
                loop.add(at_s, _brush(noise, 0.18, 22), gain=0.10, pan=0.2)
            for half in (0.0, 0.5):
                shaker = _brush(noise, 0.06, 70)
                loop.add(at_s + half * BEAT_S, shaker, gain=0.05 - 0.02 * half, pan=0.6 - 1.2 * half)
    for beat, note in MELODY:
        sound = _pluck(note, 1.6)
        time_s = beat * BEAT_S + np.arange(len(sound)) / RATE_HZ
        loop.add(beat * BEAT_S, sound, gain=0.30, pan=0.75 * np.sin(2 * np.pi * time_s / (2 * bar_s)))
    peak = float(np.abs(loop.samples).max())
    return (loop.samples * (PEAK / peak)).astype(np.float32)


def encode(path: Path, samples: NDArray[np.float32]) -> None:
    """Write samples as an MP3 file with what it is, and whose, in its tags."""
    with av.open(str(path), "w", format="mp3") as container:
        container.metadata.update(
            {
                "title": "Eight bars for eight guilds",
                "artist": "The voicepool authors",
                "comment": "Computed by examples/make_demo_music.py of voicepool",
                "copyright": "MIT licence",
            }
        )
        stream: Any = container.add_stream("libmp3lame", rate=RATE_HZ, layout="stereo")
        stream.bit_rate = BITRATE_BPS
        stream.codec_context.open()
        for frame in _frames(samples, stream.codec_context):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frames(samples: NDArray[np.float32], context: Any) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler(format=context.format.name, layout="stereo", rate=RATE_HZ)
    for start in range(0, len(samples), context.frame_size):
        planes = np.ascontiguousarray(samples[start : start + context.frame_size].T)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.sample_rate = RATE_HZ
        frame.pts = start
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _time(seconds: float) -> Samples:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def _hz(note: float) -> float:
    return float(440.0 * 2 ** ((note - 69) / 12))


def _pad(note: int, seconds: float) -> Samples:
    """Return a soft string-like tone: two slightly detuned stacks of harmonics that swell and fade."""
    t = _time(seconds)
    tone = np.zeros_like(t)
    for cents in (-4, 4):
        base = 2 * np.pi * _hz(note + cents / 100) * t
        for harmonic in range(1, 6):
            tone += np.sin(harmonic * base + cents) / harmonic**1.6
    return tone / 2 * np.minimum(1, t / 0.25) * np.minimum(1, (seconds - t) / 0.6)


def _bass(note: int, seconds: float) -> Samples:
    t = _time(seconds)
    base = 2 * np.pi * _hz(note) * t
    tone = np.sin(base) + 0.35 * np.sin(2 * base) + 0.1 * np.sin(3 * base)
    return tone * np.minimum(1, t / 0.01) * np.exp(-1.5 * t) * np.minimum(1, (seconds - t) / 0.04)


def _pluck(note: int, seconds: float) -> Samples:
    """Return a plucked string: the higher the harmonic, the sooner it dies."""
    t = _time(seconds)
    tone = np.zeros_like(t)
    for harmonic in range(1, 9):
        tone += np.sin(2 * np.pi * harmonic * _hz(note) * t) * np.exp(-(2 + 1.6 * harmonic) * t) / harmonic
    return tone * np.minimum(1, t / 0.003) * np.minimum(1, (seconds - t) / 0.1)


def _drum() -> Samples:
    """Return a soft kick: a sine that falls from 110 to 45 Hz."""
    t = _time(0.3)
    hz = 45 + 65 * np.exp(-30 * t)
    return np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ) * np.minimum(1, t / 0.004) * np.exp(-11 * t)


def _brush(noise: np.random.Generator, seconds: float, decay: float) -> Samples:
    """Return a puff of noise without its low end."""
    t = _time(seconds)
    return np.diff(noise.standard_normal(len(t) + 1)) / 2 * np.minimum(1, t / 0.004) * np.exp(-decay * t)


if __name__ == "__main__":
    encode(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET, synthesise())
