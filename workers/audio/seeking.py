"""From a position in seconds to one sample of the decoded signal.

FFmpeg seeks to a packet at or before a timestamp. What comes from there on is decoded and dropped up to the
sample that was asked for, and that sample is the one that reading the whole source would have had there:

* A codec that looks back (MP3's bit reservoir, overlapping windows, Opus) gets `PREROLLS_S` to converge.
* A converter of the sample rate puts its output on a grid that begins with its first input. So it is started
  at an input sample that lies on the grid of the whole source, a little early, and its output is dropped up
  to the target. At 44.1 kHz the two grids meet every 147 samples, which are 160 at 48 kHz.

It is as exact as the timestamps are. WAV, AIFF, FLAC, Ogg, MP4, MPEG-TS, ADTS and MP3 have them to the
sample; Matroska and WebM round them to 1 ms, and so may be off by half of that. AAC's noise substitution is
random, so two readings of one file differ in it, with a seek or without. An MP3 without an index is read up
to the place once, since where a time lies in it cannot be known: that takes some 60 ms an hour of audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, inf, isfinite
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.frame import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.resample import FrameCutter
from voicepool.workers.errors import SourceError

__all__ = [
    "PREROLLS_S",
    "Approach",
    "SeekPlan",
    "SkippingCutter",
    "UnseekableError",
    "checked_position",
    "latest_landing_s",
    "plan_seek",
]

PREROLLS_S: Final = (0.5, 5.0, 60.0, inf)
"""How far before the target to begin, in seconds: the next one if FFmpeg landed behind it all the same.

MP3 at its lowest bit rate reaches back 0.5 s; everything else less.
"""
_CONVERGED_SAMPLES: Final = SAMPLE_RATE_HZ // 100
"""After 10 ms of input the rate converter's filter is full, at 8 kHz as at 192 kHz."""
_OGG_PAGE_S: Final = 31.0
"""The longest page of Ogg, in seconds: 255 packets (RFC 3533 §6) of 120 ms."""


class UnseekableError(SourceError):
    """The source cannot go to another position; it plays on where it is. Code: ``UNSEEKABLE``."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(ErrorCode.UNSEEKABLE, f"{name} cannot seek: {reason}; it plays on where it is")


def checked_position(position_s: float) -> float:
    """Return the position.

    Raises
    ------
    ValueError
        It is below 0 or not finite.
    """
    if not (isfinite(position_s) and position_s >= 0.0):
        raise ValueError(f"a position must be 0 s or more, not {position_s}")
    return position_s


def latest_landing_s(info: MediaInfo, announced_s: float | None) -> float:
    """Return the last position that FFmpeg may be sent to, in seconds.

    Parameters
    ----------
    info
        What the source says of itself.
    announced_s
        Its length, if its header has it. From there on WAV files would be read as if they went on.
    """
    if info.container == "ogg":
        # Within the last page FFmpeg's timestamps are wrong: it counts that page from the place asked for.
        return -inf if info.duration_s is None else info.duration_s - _OGG_PAGE_S
    return inf if announced_s is None else announced_s


@dataclass(frozen=True, slots=True)
class SeekPlan:
    """Where to begin so that the target comes out exactly.

    Attributes
    ----------
    target_samples
        The sample that was asked for, at 48 kHz from the source's start.
    begin
        The source's sample to hand to the converter first, at the source's rate.
    skip_samples
        How many samples at 48 kHz to drop from what comes out.
    rate_hz
        The source's rate.
    """

    target_samples: int
    begin: int
    skip_samples: int
    rate_hz: int

    @property
    def begin_s(self) -> float:
        """Where the first sample for the converter is, in seconds."""
        return self.begin / self.rate_hz


def plan_seek(position_s: float, rate_hz: int) -> SeekPlan:
    """Return the plan for a position in seconds in a source of `rate_hz`."""
    target = round(position_s * SAMPLE_RATE_HZ)
    common = gcd(rate_hz, SAMPLE_RATE_HZ)
    step_in, step_out = rate_hz // common, SAMPLE_RATE_HZ // common
    early = _CONVERGED_SAMPLES if rate_hz != SAMPLE_RATE_HZ else 0
    steps = max(0, target - early) // step_out
    return SeekPlan(target, steps * step_in, target - steps * step_out, rate_hz)


class Approach:
    """The decoded frames between where FFmpeg landed and where they count.

    Parameters
    ----------
    plan
        What to reach.
    origin_pts, time_base
        Timestamp of the source's first decoded sample, and its unit in seconds.
    from_start
        Whether the source was set to its very start, before which there is nothing to find.
    """

    def __init__(self, plan: SeekPlan, *, origin_pts: int, time_base: Fraction, from_start: bool) -> None:
        self._plan = plan
        self._origin_pts = origin_pts
        self._samples_per_tick = time_base * plan.rate_hz
        self._from_start = from_start
        self._next: int | None = 0 if from_start else None
        self._first = True
        self.late = False
        """FFmpeg landed behind the target: to be tried again from further ahead."""
        self.landed: int | None = None
        """The source's sample that was let through first, once there is one."""

    @property
    def reached_s(self) -> float | None:
        """Where the frames seen so far end, in seconds; `None` before the first."""
        return None if self._first or self._next is None else self._next / self._plan.rate_hz

    def take(self, frame: AudioFrame) -> AudioFrame | None:
        """Return the part of a frame that counts; `None` if it comes before the target.

        Frames are to be offered until `landed` or `late` is set.
        """
        if frame.pts is not None:
            at = round((frame.pts - self._origin_pts) * self._samples_per_tick)
        elif self._next is not None:
            at = self._next
        else:
            at = self._plan.begin + frame.sample_rate
        # Timestamps in coarse units may say a tick too much.
        slack = max(1, int(self._samples_per_tick)) - 1
        if self._first and not self._from_start and at > self._plan.begin + slack:
            self.late = True
            return None
        self._first = False
        self._next = at + frame.samples
        early = self._plan.begin - at
        if early >= frame.samples:
            return None
        self.landed = max(at, self._plan.begin)
        return without_start(frame, early) if early > 0 else frame


def without_start(frame: AudioFrame, samples: int) -> AudioFrame:
    """Return a frame like this one without its first samples."""
    array = frame.to_ndarray()
    step = 1 if frame.format.is_planar else frame.layout.nb_channels
    rest = np.ascontiguousarray(array[:, samples * step :])
    shorter = AudioFrame.from_ndarray(
        rest,  # type: ignore[arg-type]  # whatever to_ndarray gives, this takes
        format=frame.format.name,
        layout=frame.layout,
    )
    shorter.sample_rate = frame.sample_rate
    return shorter


class SkippingCutter(FrameCutter):
    """A cutter whose first frame may begin behind the first sample it gets, and whose last tells its end.

    Parameters
    ----------
    skip_samples
        How many samples at 48 kHz to leave out at the start.
    """

    def __init__(self, skip_samples: int = 0) -> None:
        super().__init__()
        self._skip_samples = skip_samples
        self._end_padding = 0

    @property
    def padding_samples(self) -> int:
        """How much of the frame that `take` returned last is silence behind the end; 0 but for the last."""
        at_end = self._finished and not self._drained and self._at >= len(self._block)
        return min(self._end_padding, FRAME_SAMPLES) if at_end else 0

    def finish(self) -> None:
        """Let out what the converter still holds; no `push` follows."""
        super().finish()
        held = len(self._block) - self._at + sum(map(len, self._drained))
        if held <= self._skip_samples:
            self._drained.clear()
            self._block, self._at, held, self._skip_samples = self._block[:0], 0, 0, 0
        self._end_padding = (self._skip_samples - held) % FRAME_SAMPLES

    def take(self) -> PcmFrame | None:
        """Return the next frame, as `FrameCutter.take` does."""
        while self._skip_samples:
            frame = super().take()
            if frame is None:
                return None
            if self._skip_samples < FRAME_SAMPLES:
                # Back into the block that it is a view of.
                self._at -= FRAME_SAMPLES - self._skip_samples
                self._skip_samples = FRAME_SAMPLES
            self._skip_samples -= FRAME_SAMPLES
        return super().take()
