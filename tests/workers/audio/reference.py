"""What gain, soft clip and mixing should give, computed another way: whole signals, in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicepool.workers.audio.gain import Curve, GainEnvelope
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = [
    "FRAME",
    "Scripted",
    "difference_db",
    "envelope_gains",
    "in_frames",
    "noise",
    "ramp",
    "soft_clipped",
]

FRAME = 960


def difference_db(got: NDArray[Any], want: NDArray[Any]) -> float:
    """The largest difference, relative to full scale."""
    worst = float(np.max(np.abs(got.astype(np.float64) - want)))
    return -math.inf if worst == 0 else 20 * math.log10(worst)


def noise(frames: int, *, seed: int, peak: float = 0.25) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-peak, peak, (frames * FRAME, 2)).astype(np.float32)


def in_frames(signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return list(signal.reshape(-1, FRAME, 2))


def ramp(start: float, stop: float, samples: int, curve: Curve, total: int) -> NDArray[np.float64]:
    """`samples` from one gain to the other, and that one for the rest of `total`."""
    way = np.minimum(np.arange(total) / samples, 1.0)
    if curve is Curve.LINEAR:
        return np.interp(way, [0.0, 1.0], [start, stop])
    if curve is Curve.DECIBEL:
        gains: NDArray[np.float64] = 10.0 ** (np.interp(way, [0.0, 1.0], 20 * np.log10([start, stop])) / 20)
    else:
        # Angles of a quarter circle, whose cosine is the gain.
        gains = np.cos(np.interp(way, [0.0, 1.0], np.arccos([start, stop])))
    return gains


def envelope_gains(envelope: GainEnvelope, frames: int) -> NDArray[np.float64]:
    """One gain a sample, both channels checked to be the same."""
    parts = []
    for _ in range(frames):
        gain = envelope.advance()
        if isinstance(gain, float):
            parts.append(np.full(FRAME, gain))
        else:
            assert gain.shape == (FRAME, 2)
            assert gain.dtype == np.float32
            assert np.array_equal(gain[:, 0], gain[:, 1])
            parts.append(gain[:, 0].astype(np.float64))
    return np.concatenate(parts)


def soft_clipped(signal: NDArray[Any], threshold: float = 57 / 64) -> NDArray[np.float64]:
    """(1 - e^-2u) / (1 + e^-2u) is tanh u."""
    size = np.abs(signal.astype(np.float64))
    decay = np.exp(-2 * np.maximum(size - threshold, 0) / (1 - threshold))
    bent = threshold + (1 - threshold) * (1 - decay) / (1 + decay)
    return np.where(size > threshold, np.sign(signal) * bent, signal)


class Scripted:
    """Gives what it was told to, then its end; all frames lie in one buffer, as a decoder's do."""

    def __init__(self, *steps: NDArray[np.float32] | NotYet | Exception) -> None:
        self._steps = list(steps)
        self._buffer = np.empty((FRAME, 2), dtype=np.float32)
        self.asked = 0

    def next_frame(self) -> NDArray[np.float32] | NotYet | None:
        self.asked += 1
        if not self._steps:
            return None
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if step is NOT_YET:
            return NOT_YET
        np.copyto(self._buffer, step)
        return self._buffer
