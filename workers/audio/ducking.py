"""The others sink while an input sounds: by how much, how fast, and for how long [pure].

The gain lies on the sum of the others, not on each of them. So one ramp serves any number of inputs, and one
that is added while somebody speaks is soft from its first sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.workers.audio.frame import CHANNELS, FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.gain import GainEnvelope, db_to_gain

__all__ = ["Duck", "Ducking", "is_audible"]

_AUDIBLE_ENERGY: Final = db_to_gain(-60.0) ** 2 * FRAME_SAMPLES * CHANNELS
"""-60 dBFS is the noise of a quiet room."""
_SHORTEST_RAMP_MS: Final = 5.0
"""Anything faster clicks."""
_LONGEST_MS: Final = 60_000.0
_DEEPEST_DB: Final = -96.0


@dataclass(frozen=True, slots=True)
class Duck:
    """How the others sink while an input sounds, which is from a frame of -60 dBFS on, after its own gain.

    Parameters
    ----------
    duck_db
        How far, in dB: -96 to 0.
    attack_ms
        How long they take to sink; less than 5 ms would click and is taken for 5.
    release_ms
        How long they take to come back; likewise.
    hold_ms
        How long they stay down after the last sound, so that they do not rise between two words; whole
        frames of 20 ms, rounded up.

    Raises
    ------
    ValueError
        One of them is out of its range; for times that is 0 to 60,000 ms.
    """

    duck_db: float = -12.0
    attack_ms: float = 60.0
    release_ms: float = 400.0
    hold_ms: float = 200.0

    def __post_init__(self) -> None:
        if not _DEEPEST_DB <= self.duck_db <= 0.0:
            raise ValueError(f"duck_db must be {_DEEPEST_DB:g} to 0 dB, not {self.duck_db}")
        for name in ("attack_ms", "release_ms", "hold_ms"):
            value = getattr(self, name)
            if not 0.0 <= value <= _LONGEST_MS:
                raise ValueError(f"{name} must be 0 to {_LONGEST_MS:,.0f} ms, not {value}")

    @property
    def gain(self) -> float:
        """The others' gain at the bottom."""
        return db_to_gain(self.duck_db)

    @property
    def attack_samples(self) -> int:
        """How many samples per channel they sink for."""
        return _ramp_samples(self.attack_ms)

    @property
    def release_samples(self) -> int:
        """How many samples per channel they rise for."""
        return _ramp_samples(self.release_ms)

    @property
    def hold_frames(self) -> int:
        """How many frames without a sound they stay down for."""
        return math.ceil(self.hold_ms / FRAME_MS)


class Ducking:
    """The gain of those that sink, steered frame by frame by those that sound.

    Attributes
    ----------
    gain
        The caller takes each frame's gain from it, after `steer`.
    """

    __slots__ = ("_duck", "_hold_frames", "gain")

    def __init__(self) -> None:
        self.gain = GainEnvelope()
        self._duck: Duck | None = None
        self._hold_frames = 0

    def steer(self, sounding: Duck | None) -> None:
        """Sink, stay or rise from the coming frame on.

        Parameters
        ----------
        sounding
            Of the inputs that sound in that frame, the one that ducks deepest.
        """
        duck = self._duck
        if sounding is not None and (duck is None or sounding.duck_db <= duck.duck_db):
            if duck is None or sounding.duck_db < duck.duck_db:
                self.gain.duck(sounding.gain, sounding.attack_samples)
            self._hold_frames = sounding.hold_frames
            self._duck = sounding
        elif duck is None:
            return
        elif self._hold_frames:
            self._hold_frames -= 1
        else:
            self.gain.duck(1.0 if sounding is None else sounding.gain, duck.release_samples)
            self._hold_frames = 0 if sounding is None else sounding.hold_frames
            self._duck = sounding

    def reset(self) -> None:
        """Be at rest, now that nothing is heard that could rise."""
        if self._duck is not None or not self.gain.is_unity:
            # At its place in time, to which a mix that was made too early goes back.
            frames = self.gain.position_samples // FRAME_SAMPLES
            self.gain = GainEnvelope()
            self.gain.pass_frames(frames)
            self._duck, self._hold_frames = None, 0


def is_audible(energy: float, gain: float | NDArray[np.float32]) -> bool:
    """Return whether a frame is loud enough to duck others.

    Parameters
    ----------
    energy
        The sum of its squared samples, both channels, before the gain.
    gain
        Its gain, as of `GainEnvelope.advance`. Of one that moves, the first and the last sample's count.
    """
    highest = gain if isinstance(gain, float) else float(max(gain[0, 0], gain[-1, 0]))
    return energy * highest * highest >= _AUDIBLE_ENERGY


def _ramp_samples(duration_ms: float) -> int:
    return round(max(duration_ms, _SHORTEST_RAMP_MS) * SAMPLE_RATE_HZ / 1_000)
