"""Sounds for the golden tests, and files of them: written by FFmpeg, or by hand where FFmpeg would round."""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt

__all__ = ["RATE_HZ", "Sound", "decoded", "encoded", "music", "opus_packets", "tone", "wav"]

Sound: TypeAlias = npt.NDArray[np.float32]
"""48 kHz, shape (samples, 2)."""
RATE_HZ: Final = 48_000


@cache
def music(seconds: float, seed: int = 1) -> Sound:
    """Return chords that change eight times a second, each of its own: no part sounds like another.

    The peak is below 0.35, so that two of them together are below where the mixer begins to bend.
    """
    random = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    sound = np.zeros((count, 2))
    step = RATE_HZ // 8
    swell = np.sin(np.pi * (np.arange(2 * step) + 0.5) / (2 * step)) ** 2
    for at in range(-step, count, step):
        chord = np.zeros((2 * step, 2))
        for _ in range(4):
            hz, phase = random.uniform(110.0, 1_800.0), random.uniform(0.0, 2.0 * np.pi)
            wave = np.sin(2.0 * np.pi * hz * np.arange(2 * step) / RATE_HZ + phase)
            chord += wave[:, None] * random.uniform(0.025, 0.1, size=2)
        chord *= swell[:, None]
        first, end = max(at, 0), min(at + 2 * step, count)
        sound[first:end] += chord[first - at : end - at]
    made = sound.astype(np.float32)
    made.setflags(write=False)
    return made


def tone(hz: float, seconds: float, *, peak: float = 0.3) -> Sound:
    """Return a sine on both channels."""
    wave = peak * np.sin(2.0 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    return np.repeat(wave.astype(np.float32)[:, None], 2, axis=1)


def wav(sound: Sound) -> bytes:
    """Return a WAV file of 32-bit floats (format 3 of its ``fmt`` chunk): nothing is rounded."""
    data = np.ascontiguousarray(sound, dtype="<f4").tobytes()
    numbers = ((3, 2), (2, 2), (RATE_HZ, 4), (RATE_HZ * 8, 4), (8, 2), (32, 2))
    head = b"fmt " + (16).to_bytes(4, "little") + b"".join(n.to_bytes(size, "little") for n, size in numbers)
    body = b"WAVE" + head + b"data" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def encoded(sound: Sound, codec: str, container: str, *, bitrate_bps: int = 0) -> bytes:
    """Return a file as FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as muxer:
        stream: Any = muxer.add_stream(codec, rate=RATE_HZ, layout="stereo")
        if bitrate_bps:
            stream.bit_rate = bitrate_bps
        stream.codec_context.open()
        context = stream.codec_context
        resampler = av.AudioResampler(
            format=context.format.name, layout="stereo", rate=RATE_HZ, frame_size=context.frame_size or 1_024
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        for given in (frame, None):
            for piece in resampler.resample(given):
                muxer.mux(stream.encode(piece))
        muxer.mux(stream.encode(None))
    return file.getvalue()


def decoded(file: bytes) -> Sound:
    """Return the whole of a file as FFmpeg decodes it, read from its start in one go."""
    with av.open(io.BytesIO(file), "r") as opened:
        to_float = av.AudioResampler(format="fltp", layout="stereo", rate=RATE_HZ)
        pieces = [
            piece.to_ndarray().T for frame in opened.decode(audio=0) for piece in to_float.resample(frame)
        ]
        pieces += [piece.to_ndarray().T for piece in to_float.resample(None)]
    return np.concatenate(pieces).astype(np.float32)


def opus_packets(file: bytes) -> list[bytes]:
    """Return the Opus packets of a file, in order."""
    with av.open(io.BytesIO(file), "r") as opened:
        return [bytes(packet) for packet in opened.demux(audio=0) if packet.size]
