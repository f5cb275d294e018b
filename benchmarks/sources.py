"""What is played, as WAV, MP3 and Ogg/Opus files: a piece of made-up music, and tones."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Sources", "Tones", "music"]

_RATE_HZ: Final = 48_000
_BITRATE_BPS: Final = 128_000
_LOOP_S: Final = 8
_CHORDS_HZ: Final = (
    (220.0, 261.6, 329.6),
    (174.6, 220.0, 261.6),
    (130.8, 196.0, 329.6),
    (196.0, 246.9, 293.7),
)
_BEAT_S: Final = 0.5
_PEAK: Final = 0.8

Kind = Literal["wav", "mp3", "ogg"]


@dataclass(frozen=True, slots=True)
class Sources:
    """The same music in three files.

    Attributes
    ----------
    wav
        48 kHz, stereo, 16 bit: next to nothing to decode.
    mp3
        48 kHz, stereo, 128 kbit/s: what most sources cost.
    opus
        Ogg/Opus, 20 ms packets, 128 kbit/s: passed through.
    """

    wav: Path
    mp3: Path
    opus: Path

    @classmethod
    def make(cls, folder: Path, seconds: float) -> Sources:
        """Write the files, each `seconds` long, into `folder`."""
        samples = music(seconds)
        made = cls(folder / "music.wav", folder / "music.mp3", folder / "music.ogg")
        for file in (made.wav, made.mp3, made.opus):
            _write(file, samples)
        return made


@dataclass(frozen=True, slots=True)
class Tones:
    """Two steady tones in three files of one kind.

    Attributes
    ----------
    low, high
        One of them each.
    both
        The low one, then the high one.
    seconds
        Length of each tone in each file.
    """

    low: Path
    high: Path
    both: Path
    seconds: float

    @classmethod
    def make(cls, folder: Path, kind: Kind, seconds: float, *, low_hz: float, high_hz: float) -> Tones:
        """Write the files into `folder`."""
        low_file, high_file, both = (folder / f"{name}.{kind}" for name in ("low", "high", "both"))
        made = cls(low_file, high_file, both, seconds)
        low, high = _tone(low_hz, seconds), _tone(high_hz, seconds)
        _write(made.low, low)
        _write(made.high, high)
        _write(made.both, np.concatenate([low, high]))
        return made


def _tone(frequency_hz: float, seconds: float) -> NDArray[np.int16]:
    wave = np.sin(2 * np.pi * frequency_hz / _RATE_HZ * np.arange(round(seconds * _RATE_HZ)))
    return np.repeat((wave * _PEAK * 32_767).astype(np.int16)[:, None], 2, axis=1)


def music(seconds: float) -> NDArray[np.int16]:
    """Return chords, a plucked bass and a noisy beat, shape (samples, 2), the same each time.

    Encoders work harder on music than on a tone, and less on silence than on either; this costs libopus
    about what recorded music does.
    """
    count = _LOOP_S * _RATE_HZ
    time_s = np.arange(count) / _RATE_HZ
    beat_s = time_s % _BEAT_S
    bar = (time_s / (_LOOP_S / len(_CHORDS_HZ))).astype(np.intp)
    chords = np.array(_CHORDS_HZ)[bar]
    left, right = np.zeros(count), np.zeros(count)
    for voice in range(chords.shape[1]):
        # The phase is a sum over the frequency, so that a change of chord does not click.
        phase = 2 * np.pi * np.cumsum(chords[:, voice]) / _RATE_HZ
        tone = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
        pan = 0.5 + 0.4 * np.sin(2 * np.pi * time_s / _LOOP_S + voice)
        left += pan * tone
        right += (1 - pan) * tone
    bass = np.sin(np.pi * np.cumsum(chords[:, 0]) / _RATE_HZ) * np.exp(-4 * beat_s)
    noise = np.random.default_rng(7).standard_normal((2, count)) * np.exp(-25 * beat_s)
    mixed = np.stack([left + bass + 0.6 * noise[0], right + bass + 0.6 * noise[1]], axis=1)
    loop = (mixed * (_PEAK * 32_767 / np.abs(mixed).max())).astype(np.int16)
    wanted = round(seconds * _RATE_HZ)
    return np.tile(loop, (-(-wanted // count), 1))[:wanted]


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    """Write a file of the kind that its name says."""
    if path.suffix == ".wav":
        _write_wav(path, samples)
    elif path.suffix == ".mp3":
        _encode(path, samples, "libmp3lame", {})
    else:
        _encode(path, samples, "libopus", {"frame_duration": "20"})


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def _encode(path: Path, samples: NDArray[np.int16], codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=_RATE_HZ, layout="stereo", options=options)
        stream.bit_rate = _BITRATE_BPS
        stream.codec_context.open()
        for frame in _frames(samples, stream.codec_context):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frames(samples: NDArray[np.int16], context: Any) -> Iterator[av.AudioFrame]:
    """Cut samples into frames of the size and format that an encoder wants."""
    resampler = av.AudioResampler(format=context.format.name, layout="stereo", rate=_RATE_HZ)
    step = context.frame_size
    for start in range(0, len(samples), step):
        interleaved = np.ascontiguousarray(samples[start : start + step]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
        frame.sample_rate = _RATE_HZ
        frame.pts = start
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
