"""How a track is to be shaped, and the line of work that does it.

The feed's frames go through one chain of libavfilter's, which has the filters that were asked for and, behind
them, what changes the speed at the same pitch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from voicepool.ipc.commands import TrackOptions
from voicepool.workers.audio.filter_text import plan_chain
from voicepool.workers.audio.filters import FilterChain, FilterError
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.tape import Frames

__all__ = ["LOUDNESS_RANGE_LUFS", "SPEED_RANGE", "Line", "Shape", "check_shape", "faded", "pace"]

SPEED_RANGE: Final = (0.25, 4.0)
LOUDNESS_RANGE_LUFS: Final = (-70.0, -5.0)

_ATEMPO_RANGE: Final = (0.5, 2.0)
"""Beyond it one atempo leaves samples out instead of blending them (FFmpeg Filters, atempo)."""
_FADE: Final = np.repeat(
    ((1.0 - np.cos(np.linspace(0.0, np.pi, FRAME_SAMPLES))) / 2.0).astype(np.float32)[:, None], 2, axis=1
)
"""Weight of the new over the 20 ms of a change; its slope is 0 at both ends, so that nothing clicks."""


def pace(options: TrackOptions) -> float:
    """Return how many seconds of the source are heard in a second, by the speed and by filters of tempo.

    Echoes and the like, which go on after their sound, do not count.

    Raises
    ------
    FilterError
        The filters are no chain.
    """
    return options.speed * (1.0 if options.filters is None else plan_chain(options.filters).speed)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a track is to be shaped; the default leaves it as it is.

    Parameters
    ----------
    filters, speed, loudness_lufs
        As for `check_shape`.
    """

    filters: str | None = None
    speed: float = 1.0
    loudness_lufs: float | None = None

    def chain(self) -> FilterChain | None:
        """Build the filters, if there are any.

        Raises
        ------
        FilterError
            As `check_shape`.
        """
        least, most = SPEED_RANGE
        if not least <= self.speed <= most:
            raise FilterError(f"a speed must be {least:g} to {most:g}, 1 leaving it; not {self.speed:g}")
        least, most = LOUDNESS_RANGE_LUFS
        if self.loudness_lufs is not None and not least <= self.loudness_lufs <= most:
            text = f"a loudness must be {least:g} to {most:g} LUFS, not {self.loudness_lufs:g}"
            raise FilterError(text)
        steps = [] if self.filters is None else [self.filters]
        if self.speed != 1.0:
            if self.filters is not None:
                # By itself, so that no error text speaks of a filter that the caller did not write.
                FilterChain(self.filters)
            low, high = _ATEMPO_RANGE
            once = low <= self.speed <= high
            steps += [f"atempo={self.speed!r}"] if once else [f"atempo={math.sqrt(self.speed)!r}"] * 2
        return FilterChain(",".join(steps)) if steps else None


def check_shape(filters: str | None, speed: float, loudness_lufs: float | None) -> None:
    """Find out whether `shaping.ShapedFeed.shape` would take this; from any thread.

    It builds the filters once: 0.05 to 0.2 ms, with ``loudnorm`` 8 ms.

    Parameters
    ----------
    filters
        A libavfilter chain as FFmpeg users write it, or None.
    speed
        Source seconds per second of hearing, `SPEED_RANGE`.
    loudness_lufs
        The loudness to bring the source to, `LOUDNESS_RANGE_LUFS`, or None.

    Raises
    ------
    FilterError
        A number is out of its range, or a filter is refused; the text says which and why.
    """
    Shape(filters, speed, loudness_lufs).chain()


def faded(old: PcmFrame, new: PcmFrame) -> PcmFrame:
    """Return a frame that begins as one and ends as the other, both of shape (960, 2)."""
    return old + (new - old) * _FADE


class Line:
    """Makes frames out of others, from a place in the source on.

    Parameters
    ----------
    frames
        What it reads.
    chain
        The filters, or None for frames as they are.
    place_samples
        Where to begin, in samples of the source counted from the feed's frame 0.
    """

    def __init__(self, frames: Frames, chain: FilterChain | None, place_samples: float) -> None:
        self.frames = frames
        self.chain = chain
        self.speed = 1.0 if chain is None else chain.speed
        self.place_samples = place_samples
        """Where the next frame begins, counted in the same way."""
        self._read_samples = round(place_samples)
        if chain is None:
            # Frames as they are: the nearest one, at most 10 ms away, and only after a change of speed.
            self._read_samples = round(place_samples / FRAME_SAMPLES) * FRAME_SAMPLES
            self.place_samples = float(self._read_samples)

    @property
    def read_number(self) -> int:
        """The feed's number of the next frame to be read."""
        return self._read_samples // FRAME_SAMPLES

    def make(self, *, most_frames: int | None = None) -> PcmFrame | NotYet | None:
        """Return the next frame; read as many as that takes.

        Parameters
        ----------
        most_frames
            After reading so many it answers `NOT_YET`, and goes on with the next call.

        Raises
        ------
        FilterError
            The filters broke.
        """
        frame = self._read() if self.chain is None else self._filter(self.chain, most_frames)
        if frame is not None and frame is not NOT_YET:
            self.place_samples += FRAME_SAMPLES * self.speed
        return frame

    def _read(self) -> PcmFrame | NotYet | None:
        number, skipped = divmod(self._read_samples, FRAME_SAMPLES)
        frame = self.frames.frame(number)
        if frame is None or frame is NOT_YET:
            return frame
        self._read_samples += FRAME_SAMPLES - skipped
        return frame[skipped:]

    def _filter(self, chain: FilterChain, most_frames: int | None) -> PcmFrame | NotYet | None:
        read = 0
        while (made := chain.take()) is None:
            if chain.ended:
                return None
            if read == most_frames:
                return NOT_YET
            frame = self._read()
            if frame is NOT_YET:
                return NOT_YET
            if frame is None:
                chain.finish()
                return chain.take()
            chain.push(frame)
            read += 1
        return made
