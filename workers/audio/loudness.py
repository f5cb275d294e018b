"""Loudness by EBU R128: from a source's own tags, or measured while it plays.

A tag (RFC 7845 §5.2.1, ReplayGain 2.0) is the better way: a plain gain, right from the first sample, and the
track's dynamics stay. `loudness_gain_db` reads it.

Without one, `LoudnessMeter` measures as ITU-R BS.1770-4 does (K-weighting, blocks of 400 ms every 100 ms,
gates at -70 LUFS and 10 LU below the mean), over what was played and the 400 ms ahead. The past fades with a
time constant of 90 s: within a song the gain comes to rest, while an endless stream is followed. `Leveller`
moves the gain: at once to the first measure, by up to 8 dB/s in the first 3 s of sound, by 1.5 dB/s later;
faster, but only downwards, where the last 3 s are more than 7 LU too loud. A limiter holds peaks at -1 dBFS.

Measured for each 20 ms frame, on one 2023 cloud core: 35 µs for all of it, half of that for K-weighting by
libavfilter; 0.4 s is read ahead. libavfilter's own ``loudnorm`` takes 280 µs, as it watches true peaks at
192 kHz, and holds 3 s, for which a live source would be silent. ``dynaudnorm`` is cheap and knows nothing of
loudness.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.workers.audio.filters import FilterChain
from voicepool.workers.audio.frame import CHANNELS, FRAME_MS, FRAME_SAMPLES, FRAMES_PER_S
from voicepool.workers.audio.opus import PcmFrame

__all__ = ["LOOK_AHEAD_FRAMES", "Leveller", "LoudnessMeter", "loudness_gain_db"]

MAX_BOOST_DB: Final = 20.0
MAX_CUT_DB: Final = 30.0

_R128_REFERENCE_LUFS: Final = -23.0
"""RFC 7845 §5.2.1: the loudness that R128_TRACK_GAIN leads to."""
_REPLAYGAIN_REFERENCE_LUFS: Final = -18.0
"""ReplayGain 2.0 specification, Reference level."""
_Q7_8: Final = re.compile(r"[+-]?\d{1,5}")
_Q7_8_ONE: Final = 256
_Q7_8_RANGE: Final = range(-32_768, 32_768)
_DECIBELS: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*(?:dB)?", re.IGNORECASE)
_MOST_TAGGED_DB: Final = 64.0
"""What a tag says beyond it is a fault of whoever wrote it."""
_MOST_TAGGED_PEAK: Final = 16.0

_K_WEIGHTING: Final = (
    "biquad=b0=1.53512485958697:b1=-2.69169618940638:b2=1.19839281085285"
    ":a0=1:a1=-1.69065929318241:a2=0.73248077421585,"
    "biquad=b0=1:b1=-2:b2=1:a0=1:a1=-1.99004745483398:a2=0.99007225036621"
)
"""ITU-R BS.1770-4 annex 1, tables 1 and 2, which are for 48 kHz."""
_OFFSET_LU: Final = -0.691
"""So that a sine of 997 Hz at full scale in one channel has -3.01 LUFS (same, equation 2)."""

_BLOCK_FRAMES: Final = 400 // FRAME_MS
_STEP_FRAMES: Final = 100 // FRAME_MS
_SHORT_TERM_FRAMES: Final = 3 * FRAMES_PER_S
LOOK_AHEAD_FRAMES: Final = _BLOCK_FRAMES
"""How far to measure before what is heard: one block."""

_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_LU: Final = -10.0
_BIN_LU: Final = 0.1
_BINS: Final = 800
_BIN_LUFS: Final[NDArray[np.float64]] = _GATE_LUFS + _BIN_LU * (np.arange(_BINS, dtype=np.float64) + 0.5)
_BIN_ENERGY: Final[NDArray[np.float64]] = np.power(10.0, (_BIN_LUFS - _OFFSET_LU) / 10.0)
_MEMORY_S: Final = 90.0
_FADING: Final = math.exp(-_STEP_FRAMES / (_MEMORY_S * FRAMES_PER_S))

_SETTLING_S: Final = 3.0
_SETTLING_BOOST_DB: Final = 6.0
"""The most that is added while little is known: a quiet beginning is no quiet track."""
_SETTLING_DB: Final = 8.0 / FRAMES_PER_S
"""This and the next three: by how much the gain moves in a frame."""
_SETTLED_DB: Final = 1.5 / FRAMES_PER_S
_URGENT_DB: Final = 6.0 / FRAMES_PER_S
_RELEASE_DB: Final = 12.0 / FRAMES_PER_S
_SHORT_TERM_EXCESS_LU: Final = 7.0
_CEILING: Final = 10.0 ** (-1.0 / 20.0)

_RISE: Final[NDArray[np.float32]] = np.repeat(
    (np.arange(FRAME_SAMPLES, dtype=np.float32) / FRAME_SAMPLES)[:, np.newaxis], CHANNELS, axis=1
)


def loudness_gain_db(tags: Mapping[str, str], target_lufs: float) -> float | None:
    """Return the gain that brings a track to a loudness, by what its tags say.

    Parameters
    ----------
    tags
        Of any spelling of upper and lower case.
    target_lufs
        The loudness wanted, in LUFS.

    Returns
    -------
    float or None
        In dB, from -30 to 20, and where the tags tell the peak, no more than that leaves room for. None if
        they say nothing of loudness that makes sense.
    """
    known = {key.upper(): value.strip() for key, value in tags.items()}
    gain_db = None
    if _Q7_8.fullmatch(r128 := known.get("R128_TRACK_GAIN", "")) and int(r128) in _Q7_8_RANGE:
        gain_db = int(r128) / _Q7_8_ONE + target_lufs - _R128_REFERENCE_LUFS
    elif (tagged_db := _decibels(known.get("REPLAYGAIN_TRACK_GAIN", ""))) is not None:
        gain_db = tagged_db + target_lufs - _REPLAYGAIN_REFERENCE_LUFS
    if gain_db is None:
        return None
    peak = _DECIBELS.fullmatch(known.get("REPLAYGAIN_TRACK_PEAK", ""))
    if peak is not None and 0.0 < float(peak[1]) <= _MOST_TAGGED_PEAK and gain_db > 0.0:
        gain_db = max(0.0, min(gain_db, -20.0 * math.log10(float(peak[1]))))
    return min(max(gain_db, -MAX_CUT_DB), MAX_BOOST_DB)


class LoudnessMeter:
    """Measures frames in their order."""

    def __init__(self) -> None:
        self._weighting = FilterChain(_K_WEIGHTING)
        self._energies: deque[float] = deque(maxlen=_SHORT_TERM_FRAMES)
        """Sum of the channels' mean squares, of the last frames."""
        self._frames = 0
        self._weights: NDArray[np.float64] = np.zeros(_BINS)
        """How much there was of each loudness, the past faded."""
        self._loud_blocks = 0
        self._loudness_lufs: float | None = None
        self._short_term_lufs: float | None = None

    @property
    def loudness_lufs(self) -> float | None:
        """Gated loudness of all that was measured, the past faded; None if it was silent."""
        return self._loudness_lufs

    @property
    def short_term_lufs(self) -> float | None:
        """Loudness of the last 3 s; None if they were silent."""
        return self._short_term_lufs

    @property
    def loud_s(self) -> float:
        """How much sound above the gate there was, in seconds."""
        return self._loud_blocks * _STEP_FRAMES / FRAMES_PER_S

    def measure(self, frame: PcmFrame) -> None:
        """Take a frame, float32 of shape (960, 2), finite."""
        self._weighting.push(frame)
        weighted = self._weighting.take()
        assert weighted is not None, "a biquad holds nothing back"
        flat = weighted.reshape(-1)
        self._energies.append(float(flat.dot(flat)) / FRAME_SAMPLES)
        self._frames += 1
        if self._frames >= _BLOCK_FRAMES:
            if self._frames % _STEP_FRAMES == 0:
                self._add_block()
        else:
            # Better than nothing, for sounds shorter than a block.
            self._loudness_lufs = self._short_term_lufs = self._last(_BLOCK_FRAMES)

    def _add_block(self) -> None:
        self._weights *= _FADING
        block_lufs = self._last(_BLOCK_FRAMES)
        if block_lufs is not None:
            self._weights[min(int((block_lufs - _GATE_LUFS) / _BIN_LU), _BINS - 1)] += 1.0
            self._loud_blocks += 1
        self._short_term_lufs = self._last(_SHORT_TERM_FRAMES)
        if not self._loud_blocks:
            self._loudness_lufs = None
            return
        mean_lufs = _lufs(float(self._weights @ _BIN_ENERGY / self._weights.sum()))
        gate = max(0, int((mean_lufs + _RELATIVE_GATE_LU - _GATE_LUFS) / _BIN_LU))
        energy = self._weights[gate:] @ _BIN_ENERGY[gate:] / self._weights[gate:].sum()
        self._loudness_lufs = _lufs(float(energy))

    def _last(self, frames: int) -> float | None:
        """Return the loudness of the last frames, None if that is below the gate."""
        frames = min(frames, len(self._energies))
        energies = list(self._energies)[-frames:]
        loudness_lufs = _lufs(sum(energies) / frames)
        return loudness_lufs if loudness_lufs >= _GATE_LUFS else None


class Leveller:
    """Brings frames to a loudness by a gain that moves slowly, and limits their peaks.

    Parameters
    ----------
    target_lufs
        The loudness.
    meter
        The caller measures with it, some frames before they come here.
    """

    def __init__(self, target_lufs: float, meter: LoudnessMeter) -> None:
        self._target_lufs = target_lufs
        self._meter = meter
        self._gain_db: float | None = None
        """What the gain has moved to; None before the first measure."""
        self._applied_db: float | None = None
        """The gain at the end of the last frame, with the limiter's part in it."""

    def level(self, frame: PcmFrame, following: PcmFrame | None) -> PcmFrame:
        """Return a frame at its new loudness, in an array of its own; no sample is beyond -1 dBFS.

        Parameters
        ----------
        frame
            Float32, shape (960, 2).
        following
            The one after it, if there is one.
        """
        room_db = _room_db(frame)
        begin_db = self._applied_db
        if begin_db is None:
            begin_db = min(self._move(), room_db)
        end_db = min(self._move(), room_db, begin_db + _RELEASE_DB)
        if following is not None:
            end_db = min(end_db, _room_db(following))
        self._applied_db = end_db
        begin, end = 10.0 ** (begin_db / 20.0), 10.0 ** (end_db / 20.0)
        if begin == end:
            return np.multiply(frame, np.float32(begin))
        gain = np.multiply(_RISE, np.float32(end - begin))
        np.add(gain, np.float32(begin), out=gain)
        return np.multiply(frame, gain, out=gain)

    def _move(self) -> float:
        """Move the gain by a frame and return it."""
        meter = self._meter
        loudness_lufs, short_term_lufs = meter.loudness_lufs, meter.short_term_lufs
        if loudness_lufs is None:
            return 0.0 if self._gain_db is None else self._gain_db
        settling = meter.loud_s < _SETTLING_S
        most_db = _SETTLING_BOOST_DB if settling else MAX_BOOST_DB
        wanted_db = min(max(self._target_lufs - loudness_lufs, -MAX_CUT_DB), most_db)
        if self._gain_db is None:
            self._gain_db = wanted_db
            return wanted_db
        step_db = _SETTLING_DB if settling else _SETTLED_DB
        if short_term_lufs is not None:
            bearable_db = max(self._target_lufs + _SHORT_TERM_EXCESS_LU - short_term_lufs, -MAX_CUT_DB)
            wanted_db = min(wanted_db, bearable_db)
            if self._gain_db > bearable_db:
                step_db = max(step_db, _URGENT_DB)
        self._gain_db += min(max(wanted_db - self._gain_db, -step_db), step_db)
        return self._gain_db


def _decibels(text: str) -> float | None:
    found = _DECIBELS.fullmatch(text)
    if found is None or abs(float(found[1])) > _MOST_TAGGED_DB:
        return None
    return float(found[1])


def _lufs(energy: float) -> float:
    return _OFFSET_LU + 10.0 * math.log10(energy) if energy > 0.0 else -math.inf


def _room_db(frame: PcmFrame) -> float:
    """Return by how much a frame may be amplified before it is beyond the ceiling, in dB."""
    peak = max(float(np.maximum.reduce(frame, axis=None)), -float(np.minimum.reduce(frame, axis=None)))
    return 20.0 * math.log10(_CEILING / peak) if peak > 0.0 else math.inf
