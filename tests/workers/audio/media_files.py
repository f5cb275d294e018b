"""Media made for the tests: a tone and noise, written by FFmpeg's own encoders and muxers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

SECONDS: Final = 2.0
OUT_RATE_HZ: Final = 48_000


def signal(
    *, rate_hz: int = OUT_RATE_HZ, channels: int = 2, seconds: float = SECONDS
) -> npt.NDArray[np.float32]:
    """Return a sweep per channel and some noise, shape (samples, channels).

    A sweep correlates with itself at one offset only, so a shift by a frame would be seen.
    """
    count = int(rate_hz * seconds)
    t = np.arange(count) / rate_hz
    noise = np.random.default_rng(7).standard_normal((count, channels))
    # A function of time in seconds only, so that it is the same at every sample rate.
    tones = [0.3 * np.sin(2 * np.pi * (300 + 60 * n + 400 * t) * t) for n in range(channels)]
    return (np.stack(tones, axis=1) + 0.003 * noise).astype(np.float32)


class Pipe:
    """A file that cannot seek: muxers cannot come back to fill in sizes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


@cache
def encode(
    codec: str,
    container: str,
    *,
    rate_hz: int = OUT_RATE_HZ,
    layout: str = "stereo",
    seconds: float = SECONDS,
    bitrate_bps: int = 0,
    codec_options: tuple[tuple[str, str], ...] = (),
    muxer_options: tuple[tuple[str, str], ...] = (),
    tags: tuple[tuple[str, str], ...] = (),
    seekable: bool = True,
    loud_s: float | None = None,
) -> bytes:
    """Encode `signal`, silenced after `loud_s`, into a whole file."""
    samples = signal(rate_hz=rate_hz, channels=av.AudioLayout(layout).nb_channels, seconds=seconds)
    if loud_s is not None:
        samples[int(loud_s * rate_hz) :] = 0
    with tempfile.TemporaryDirectory() as folder:
        # A real file: to move the index of an MP4 file to its front, FFmpeg opens it anew.
        path, pipe = Path(folder, "media"), Pipe()
        with av.open(
            str(path) if seekable else pipe, "w", format=container, options=dict(muxer_options)
        ) as muxer:
            muxer.metadata.update(dict(tags))
            stream: Any = muxer.add_stream(codec, rate=rate_hz, layout=layout, options=dict(codec_options))
            if bitrate_bps:
                stream.bit_rate = bitrate_bps
            stream.codec_context.open()
            for frame in _frames(samples, stream.codec_context):
                muxer.mux(stream.encode(frame))
            muxer.mux(stream.encode(None))
        return path.read_bytes() if seekable else bytes(pipe.data)


def _frames(samples: npt.NDArray[np.float32], context: Any) -> Iterator[av.AudioFrame]:
    """Cut samples into frames of the size and format that an encoder wants."""
    layout, rate_hz = context.layout.name, context.sample_rate
    resampler = av.AudioResampler(format=context.format.name, layout=layout, rate=rate_hz)
    step = context.frame_size or 1_024
    for start in range(0, len(samples), step):
        planes = np.ascontiguousarray(samples[start : start + step].T)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        frame.pts = start
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def opus(
    container: str = "ogg", *, frame_ms: int = 20, layout: str = "stereo", seconds: float = SECONDS
) -> bytes:
    """Encode `signal` to Opus."""
    options = (("frame_duration", str(frame_ms)),)
    return encode(
        "libopus", container, layout=layout, seconds=seconds, bitrate_bps=128_000, codec_options=options
    )


def wav(
    samples: npt.NDArray[np.int16], *, rate_hz: int = OUT_RATE_HZ, data_bytes: int | None = None
) -> bytes:
    """Build a 16-bit WAV file by hand; `data_bytes` overrides what the header says."""
    channels: int = samples.shape[1]
    data: bytes = samples.astype("<i2").tobytes()
    size = len(data) if data_bytes is None else data_bytes
    head = b"fmt " + (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + channels.to_bytes(2, "little")
    head += rate_hz.to_bytes(4, "little") + (rate_hz * channels * 2).to_bytes(4, "little")
    head += (channels * 2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    head += b"data" + size.to_bytes(4, "little")
    return b"RIFF" + min(4 + len(head) + size, 0xFFFF_FFFF).to_bytes(4, "little") + b"WAVE" + head + data


def delay_and_correlation(
    heard: npt.NDArray[np.float32], sent: npt.NDArray[np.float32], *, search: int = 3_000
) -> tuple[int, float]:
    """Return how many samples `heard` is behind `sent`, and the correlation at that offset (both 1-D)."""
    count = min(len(heard), len(sent)) - search
    middle = sent[search // 2 : search // 2 + count - search]
    scores = np.correlate(heard[: count + search], middle, mode="valid")
    at = int(np.argmax(scores))
    part = heard[at : at + len(middle)]
    return at - search // 2, float(np.corrcoef(part, middle)[0, 1])
