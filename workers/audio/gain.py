"""Gain over time, exact to the sample [pure].

A `GainEnvelope` is the product of four factors, none of which knows of the others: the volume the bot asked
for, a fade-in, a fade-out, and ducking. Each factor is at rest or on a ramp. A ramp is a function of the
sample's number alone, so cutting the signal into frames changes nothing: there is no sum to drift.

Curves, and why each is where it is:

* `LINEAR` in amplitude, for changes of volume and for fades. It starts from and arrives at true silence,
  which a ramp in decibels can only do with a step at its end; two linear fades of the same signal laid over
  each other add up to that signal; and it is what FFmpeg's ``afade`` does when nobody asks for more.
* `EQUAL_POWER`, sine and cosine, for crossfades: two different songs at half amplitude each are 3 dB too
  soft in the middle, since their powers add up and not their samples.
* `DECIBEL`, straight in dB, for ducking: it runs between two gains that are not zero, and sounds even.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES

__all__ = ["LOUDEST", "Curve", "GainEnvelope", "bounded_gain", "db_to_gain"]

LOUDEST: Final = 1_000.0
"""Any gain above it (+60 dB) is taken for it: all is clipped long before, and float32 must not overflow."""
_LOUDEST_DB: Final = 60.0

_NEVER: Final = 1 << 62
"""A sample number beyond any signal: three million years."""
_INDEX: Final[NDArray[np.float32]] = np.repeat(
    np.arange(FRAME_SAMPLES, dtype=np.float32)[:, np.newaxis], CHANNELS, axis=1
)
"""Each sample's number in its frame. Both channels are written out: broadcasting is ten times slower."""


class Curve(enum.Enum):
    """How a ramp gets from one gain to another; the module says which is for what."""

    LINEAR = "linear"
    """Straight in amplitude."""
    DECIBEL = "decibel"
    """Straight in dB, so between gains above 0 only."""
    EQUAL_POWER = "equal power"
    """A sine's quarter: two of them in opposite directions keep the sum of powers. Gains from 0 to 1."""


def bounded_gain(gain: float) -> float:
    """Return a linear gain, at most `LOUDEST`.

    Raises
    ------
    ValueError
        It is below 0 or not a number.
    """
    if not gain >= 0.0:
        raise ValueError(f"a gain must be 0 (silent) or more, 1 leaving all as it is; not {gain}")
    return min(float(gain), LOUDEST)


def db_to_gain(gain_db: float) -> float:
    """Return decibels as a linear gain, at most `LOUDEST`; minus infinity is 0.

    Raises
    ------
    ValueError
        It is not a number.
    """
    if math.isnan(gain_db):
        raise ValueError("a gain in dB must be a number, 0 leaving all as it is; not nan")
    return LOUDEST if gain_db >= _LOUDEST_DB else float(10.0 ** (gain_db / 20.0))


class _Ramp:
    """One factor: `start` up to the sample `first`, `stop` from the sample `end`, a curve between them.

    A curve is a straight line on another scale: `rise` for each sample, from `low`; `unscale` leads back.
    """

    __slots__ = ("_low", "_rise", "_start", "_stop", "_unscale", "_unscale_frame", "end", "first")

    def __init__(self, first: int, end: int, start: float, stop: float, curve: Curve = Curve.LINEAR) -> None:
        self.first = first
        self.end = end
        self._start = start
        self._stop = stop
        scale: Callable[[float], float] = float
        self._unscale: Callable[[float], float] = float
        self._unscale_frame: np.ufunc | None = None
        if curve is Curve.DECIBEL:
            scale, self._unscale, self._unscale_frame = math.log, math.exp, np.exp
        elif curve is Curve.EQUAL_POWER:
            scale, self._unscale, self._unscale_frame = math.asin, math.sin, np.sin
        self._low = scale(start)
        self._rise = (scale(stop) - self._low) / max(1, end - first)

    @classmethod
    def at_rest(cls, gain: float) -> _Ramp:
        """Return a factor that has always had this gain."""
        return cls(-1, -1, gain, gain)

    def value(self, sample: int) -> float:
        """Return the factor at a sample."""
        if sample >= self.end:
            return self._stop
        if sample <= self.first:
            return self._start
        return self._unscale(self._low + self._rise * (sample - self.first))

    def render(self, position: int, out: NDArray[np.float32]) -> None:
        """Write the factor at each sample of the frame that begins at `position`."""
        begin = max(self.first - position, 0)
        end = min(self.end - position, FRAME_SAMPLES)
        part = out[begin:end]
        # The long sum is done in double precision; what is left for float32 is the way within a frame.
        np.multiply(_INDEX[: end - begin], self._rise, out=part)
        np.add(part, self._low + self._rise * (position + begin - self.first), out=part)
        if self._unscale_frame is not None:
            self._unscale_frame(part, out=part)
        out[:begin] = self._start
        out[end:] = self._stop


class GainEnvelope:
    """The gain of one signal, frame after frame.

    Every ramp begins at the next frame to be asked for, `position_samples`. A change in the middle of a ramp
    goes on from the gain that the ramp has reached.

    Parameters
    ----------
    volume
        Linear; above `LOUDEST` it is taken for that.

    Raises
    ------
    ValueError
        The volume is below 0 or not a number.
    """

    __slots__ = ("_buffers", "_duck", "_fade_in", "_fade_out", "_position", "_rest", "_rest_ends", "_volume")

    def __init__(self, volume: float = 1.0) -> None:
        self._volume = _Ramp.at_rest(bounded_gain(volume))
        self._fade_in = _Ramp.at_rest(1.0)
        self._fade_out = _Ramp.at_rest(1.0)
        self._duck = _Ramp.at_rest(1.0)
        self._position = 0
        self._rest = 1.0
        self._rest_ends = 0
        self._buffers: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def position_samples(self) -> int:
        """The number of the next frame's first sample, counted per channel from 0."""
        return self._position

    @property
    def gain(self) -> float:
        """The gain at `position_samples`."""
        return math.prod(factor.value(self._position) for factor in self._factors)

    @property
    def is_unity(self) -> bool:
        """Whether the next frame stays as it is."""
        return self._resting_gain() == 1.0

    @property
    def unity_frames(self) -> int:
        """How many frames from the next on stay as they are; 0 if not even that."""
        if self._resting_gain() != 1.0:
            return 0
        return (self._rest_ends - self._position) // FRAME_SAMPLES

    @property
    def is_over(self) -> bool:
        """Whether a fade-out has arrived: nothing will be heard any more unless it is cancelled."""
        return self._position >= self._fade_out.end and self._fade_out.value(self._position) == 0.0

    def set_volume(self, volume: float, *, ramp_samples: int = FRAME_SAMPLES) -> None:
        """Go to another volume.

        Parameters
        ----------
        volume
            Linear; above `LOUDEST` it is taken for that.
        ramp_samples
            How many samples that takes. A step would click; one frame, 20 ms, does not.

        Raises
        ------
        ValueError
            The volume is below 0 or not a number, or the ramp is shorter than a sample.
        """
        self._volume = self._ramp(self._volume, bounded_gain(volume), ramp_samples, Curve.LINEAR)
        self._rest_ends = 0

    def fade_in(self, samples: int, *, curve: Curve = Curve.LINEAR) -> None:
        """Rise from silence, from now on; for a signal that is about to start.

        Raises
        ------
        ValueError
            It is shorter than a sample, or in dB, which cannot start from silence.
        """
        self._fade_in = self._ramp(_Ramp.at_rest(0.0), 1.0, samples, curve)
        self._rest_ends = 0

    def fade_out(self, samples: int, *, end_sample: int | None = None, curve: Curve = Curve.LINEAR) -> None:
        """Sink to silence, in place of any other fade-out.

        Parameters
        ----------
        samples
            How long it takes.
        end_sample
            The first sample to be silent, on the scale of `position_samples`; by None, the fade begins now.
            With fewer samples left than the fade takes, it takes what is left; with none, one frame.
        curve
            `EQUAL_POWER` where another signal fades in at the same time.

        Raises
        ------
        ValueError
            It is shorter than a sample, or in dB, which cannot arrive at silence.
        """
        now = self._position
        end = now + samples if end_sample is None else end_sample
        if end <= now:
            end = now + FRAME_SAMPLES
        self._fade_out = self._ramp(
            self._fade_out, 0.0, samples, curve, first=max(now, end - samples), end=end
        )
        self._rest_ends = 0

    def cancel_fade_out(self) -> None:
        """Forget the fade-out; if it is under way, be back where it began within one frame."""
        self._fade_out = self._ramp(self._fade_out, 1.0, FRAME_SAMPLES, Curve.LINEAR)
        self._rest_ends = 0

    def duck(self, gain: float, samples: int) -> None:
        """Let the signal sink, or with a gain of 1 come back.

        Parameters
        ----------
        gain
            Above 0, at most 1.
        samples
            How long it takes from wherever ducking is now.

        Raises
        ------
        ValueError
            The gain is out of range, or the ramp shorter than a sample.
        """
        if not 0.0 < gain <= 1.0:
            raise ValueError(f"a signal is ducked to a gain above 0, and 1 at most; not to {gain}")
        self._duck = self._ramp(self._duck, gain, samples, Curve.DECIBEL)
        self._rest_ends = 0

    def advance(self) -> float | NDArray[np.float32]:
        """Go on by one frame.

        Returns
        -------
        float or ndarray
            What to multiply the frame by: one number, or one a sample, shape ``(960, 2)``. The array is
            the envelope's own and is written anew by the next `advance`.
        """
        gain = self._resting_gain()
        position = self._position
        self._position = position + FRAME_SAMPLES
        return self._moving_gain(position) if gain is None else gain

    def pass_frames(self, frames: int = 1) -> None:
        """Go on by some frames without a look at their gain: they were left out, or sent as they were."""
        self._position += frames * FRAME_SAMPLES

    def rewind_to(self, position_samples: int) -> None:
        """Be again where it was: frames that were made too early are about to be made once more.

        A ramp that began after that place is forgotten where it started; it starts from there when asked for
        again.

        Raises
        ------
        ValueError
            The place is below 0 or still to come.
        """
        if not 0 <= position_samples <= self._position:
            raise ValueError(
                f"an envelope at sample {self._position} cannot go back to sample {position_samples}"
            )
        self._position = position_samples
        self._rest_ends = 0

    @property
    def _factors(self) -> tuple[_Ramp, ...]:
        return self._volume, self._fade_in, self._fade_out, self._duck

    def _ramp(
        self,
        before: _Ramp,
        stop: float,
        samples: int,
        curve: Curve,
        *,
        first: int | None = None,
        end: int | None = None,
    ) -> _Ramp:
        if samples < 1:
            raise ValueError(f"a ramp takes 1 sample or more, 48 to the millisecond; not {samples}")
        now = self._position
        start = before.value(now)
        if curve is Curve.DECIBEL and 0.0 in (start, stop):
            raise ValueError("a ramp in dB never arrives at silence: take Curve.LINEAR or EQUAL_POWER")
        if start == stop:
            return _Ramp.at_rest(stop)
        return _Ramp(
            now if first is None else first, now + samples if end is None else end, start, stop, curve
        )

    def _resting_gain(self) -> float | None:
        """Return the gain of all of the next frame, or None if it moves."""
        end = self._position + FRAME_SAMPLES
        if end <= self._rest_ends:
            return self._rest
        next_ramp = _NEVER
        for factor in self._factors:
            if factor.end > self._position:
                if factor.first < end:
                    return None
                next_ramp = min(next_ramp, factor.first)
        self._rest, self._rest_ends = self.gain, next_ramp
        self._buffers = None
        return self._rest

    def _moving_gain(self, position: int) -> NDArray[np.float32]:
        if self._buffers is None:
            self._buffers = np.empty_like(_INDEX), np.empty_like(_INDEX)
        gains, more = self._buffers
        rest, moving = 1.0, False
        for factor in self._factors:
            if factor.end <= position or factor.first >= position + FRAME_SAMPLES:
                rest *= factor.value(position)
            elif moving:
                factor.render(position, more)
                np.multiply(gains, more, out=gains)
            else:
                factor.render(position, gains)
                moving = True
        if rest != 1.0:
            np.multiply(gains, rest, out=gains)
        return gains
