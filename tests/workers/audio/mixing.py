"""What the tests of the mixer share: a mix as one array."""

from __future__ import annotations

import numpy as np

from tests.workers.audio.reference import (
    FRAME,
    Scripted,
    in_frames,
)
from voicepool.workers.audio.mixer import Mixer

__all__ = ["BOUND_DB", "heard", "played", "stereo"]

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
