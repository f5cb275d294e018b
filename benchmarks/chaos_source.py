"""Sources that tell where in them a listener is: numbered Opus packets, and a tone that rises with time.

The numbered packets pass through a worker as they are, so each that arrives says which one it is. The rising
tone is encoded by the worker; what frequency a frame has says when in the source it was, to some 2 ms.
"""

from __future__ import annotations

import struct
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["SWEEP_S", "decode", "number_of", "sweep_place_ms", "write_numbered", "write_sweep"]

_RATE_HZ: Final = 48_000
_FRAME_SAMPLES: Final = 960
_FRAMES_PER_S: Final = 50
_TOC: Final = 0xFC
"""CELT, full band, 20 ms, stereo, one frame (RFC 6716 §3.1): a decoder takes any bytes after it."""
_MARK: Final = b"voicepool"
_HEAD: Final = struct.Struct(f">B{len(_MARK)}sI")
_PACKET_BYTES: Final = 80

SWEEP_S: Final = 8.0
"""After so many seconds the tone begins anew: places are known modulo this."""
_LOWEST_HZ: Final = 500.0
_RISE_HZ_PER_S: Final = 800.0
_AMPLITUDE: Final = 0.5
_FFT: Final = 1 << 14
_CLEAR: Final = 0.5
"""Which share of a frame's energy its tone must have at least, for its frequency to tell anything."""


def write_numbered(file: Path, seconds: float) -> None:
    """Write an Ogg/Opus file whose packets say which they are."""
    rest = bytes(range(_PACKET_BYTES - _HEAD.size))
    with av.open(str(file), "w", format="ogg") as container:
        stream: Any = container.add_stream("libopus", rate=_RATE_HZ, layout="stereo")
        # It writes the file's head; no frame is given to it.
        stream.codec_context.open()
        stream.time_base = Fraction(1, _RATE_HZ)
        for number in range(round(seconds * _FRAMES_PER_S)):
            packet = av.Packet(_HEAD.pack(_TOC, _MARK, number) + rest)
            packet.stream = stream
            packet.time_base = Fraction(1, _RATE_HZ)
            packet.pts = packet.dts = number * _FRAME_SAMPLES
            packet.duration = _FRAME_SAMPLES
            container.mux(packet)


def number_of(opus: bytes) -> int | None:
    """Return which packet it is; None for those that are not numbered."""
    if len(opus) < _HEAD.size or opus[1 : 1 + len(_MARK)] != _MARK:
        return None
    _, _, number = _HEAD.unpack_from(opus)
    return int(number)


def write_sweep(file: Path, seconds: float) -> None:
    """Write a WAV file whose tone rises from 500 Hz for `SWEEP_S` seconds, and begins anew."""
    in_sweep_s = np.arange(round(SWEEP_S * _RATE_HZ)) / _RATE_HZ
    phase = 2 * np.pi * (_LOWEST_HZ * in_sweep_s + _RISE_HZ_PER_S * in_sweep_s**2 / 2)
    sweep = (np.sin(phase) * _AMPLITUDE * 32_767).astype("<i2")
    wanted = round(seconds * _RATE_HZ)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE_HZ)
        while wanted > 0:
            out.writeframes(sweep[:wanted].tobytes())
            wanted -= len(sweep)


def sweep_place_ms(samples: NDArray[np.float64]) -> float | None:
    """Return where in its sweep a frame begins, in milliseconds; None if it holds no clear tone.

    Parameters
    ----------
    samples
        One channel, 48 kHz.
    """
    energy = float(np.sum(np.square(samples)))
    if energy == 0.0:
        return None
    window = np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window, _FFT))
    peak = int(np.argmax(spectrum))
    if not 0 < peak < len(spectrum) - 1:
        return None
    # A tone of that height would have this energy, spread over the frame.
    amplitude = 2 * spectrum[peak] / float(np.sum(window))
    if amplitude**2 / 2 * len(samples) < _CLEAR * energy:
        return None
    left, middle, right = np.log(spectrum[peak - 1 : peak + 2])
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    frequency_hz = (peak + shift) * _RATE_HZ / _FFT
    # What is measured is the middle of the frame.
    middle_s = (frequency_hz - _LOWEST_HZ) / _RISE_HZ_PER_S
    return float(middle_s - len(samples) / _RATE_HZ / 2) * 1_000


def decode(packets: Sequence[bytes]) -> list[NDArray[np.float64]]:
    """Decode Opus packets of one stream, each to one channel."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = _RATE_HZ
    decoder.layout = "stereo"
    decoded = []
    for opus in packets:
        (frame,) = decoder.decode(av.Packet(opus))
        decoded.append(frame.to_ndarray().reshape(-1, 2).astype(np.float64).mean(axis=1) / 32_768)
    return decoded
