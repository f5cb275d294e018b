"""Brings a mixed frame into [-1, 1] without the harshness of a cut [pure].

Below the threshold nothing is changed, bit by bit. What a sample has above it goes through tanh, which bends
it towards full scale; slope and curvature are the same on both sides of the threshold. The curve has no
memory, so it is the same for a signal as a whole and in frames.

A signal that is played as it is must not be bent: most music reaches full scale all the time. It is cut at
full scale, as any decoder with 16-bit output does. Cut and curve differ by up to 0.03, which may click, so
that going from one to the other takes a frame.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES

__all__ = ["SOFT_CLIP_THRESHOLD", "SoftClip"]

SOFT_CLIP_THRESHOLD: Final = 57 / 64
"""-1.006 dBFS. In binary this and what is left up to 1 are exact, so the curve ends at 1 and not above."""
_HEADROOM: Final = 1.0 - SOFT_CLIP_THRESHOLD

_RISE: Final[NDArray[np.float32]] = np.repeat(
    (np.arange(FRAME_SAMPLES, dtype=np.float32) / FRAME_SAMPLES)[:, np.newaxis], CHANNELS, axis=1
)
_FALL: Final[NDArray[np.float32]] = 1.0 - _RISE


class SoftClip:
    """The last step of one mix: it begins with frames as they are."""

    __slots__ = ("_bends",)

    def __init__(self) -> None:
        self._bends = False

    def apply(
        self,
        samples: NDArray[np.float32],
        spare: NDArray[np.float32],
        other_spare: NDArray[np.float32],
        *,
        bends: bool,
    ) -> None:
        """Change a frame in place.

        Parameters
        ----------
        samples
            float32 of shape ``(960, 2)``, finite.
        spare, other_spare
            Buffers of the same shape, to be overwritten.
        bends
            Whether by the curve; else by a cut at full scale.
        """
        bent_before, self._bends = self._bends, bends
        highest = np.maximum.reduce(samples, axis=None)
        lowest = np.minimum.reduce(samples, axis=None)
        if highest <= SOFT_CLIP_THRESHOLD and lowest >= -SOFT_CLIP_THRESHOLD:
            return
        if bends and bent_before:
            _bend(samples, spare, out=samples)
        elif bends == bent_before:
            np.clip(samples, -1.0, 1.0, out=samples)
        else:
            change = other_spare
            _bend(samples, spare, out=change)
            np.clip(samples, -1.0, 1.0, out=samples)
            np.subtract(change, samples, out=change)
            np.multiply(change, _RISE if bends else _FALL, out=change)
            np.add(samples, change, out=samples)

    def pass_frame(self) -> None:
        """Take note of a frame that went out as it was without being seen here."""
        self._bends = False


def _bend(samples: NDArray[np.float32], excess: NDArray[np.float32], *, out: NDArray[np.float32]) -> None:
    np.abs(samples, out=excess)
    np.subtract(excess, SOFT_CLIP_THRESHOLD, out=excess)
    np.maximum(excess, 0.0, out=excess)
    np.divide(excess, _HEADROOM, out=excess)
    np.tanh(excess, out=excess)
    np.multiply(excess, _HEADROOM, out=excess)
    np.copysign(excess, samples, out=excess)
    np.maximum(samples, -SOFT_CLIP_THRESHOLD, out=out)
    np.minimum(out, SOFT_CLIP_THRESHOLD, out=out)
    np.add(out, excess, out=out)
