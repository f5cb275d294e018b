"""Nothing to be heard, as a source: for a pause between tracks, or to hold a place."""

from __future__ import annotations

from math import isfinite
from typing import Final

import numpy as np

from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE_HZ
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.reader import MediaKind
from voicepool.workers.audio.seeking import checked_position
from voicepool.workers.audio.titles import TitleChange

__all__ = ["SilenceReader"]

_FRAME: Final[PcmFrame] = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
_FRAME.setflags(write=False)


class SilenceReader:
    """A reader of zeros. Used like a `MediaReader`; nothing in it ever blocks.

    PCM rather than Opus packets of silence: those would be sent on as they are, and could not be mixed or
    faded to without a decoder.

    Parameters
    ----------
    duration_s
        How long it plays, in seconds above 0; `None` without end.

    Raises
    ------
    ValueError
        The duration is not above 0, or not finite.
    """

    kind: Final[MediaKind] = "pcm"
    skipped_packets: Final = 0
    preroll_packets: Final[tuple[bytes, ...]] = ()

    def __init__(self, duration_s: float | None = None) -> None:
        if duration_s is not None and not (isfinite(duration_s) and duration_s > 0.0):
            raise ValueError(f"silence must last for more than 0 s, not {duration_s}")
        self._samples = None if duration_s is None else max(1, round(duration_s * SAMPLE_RATE_HZ))
        self._start_samples = 0
        self._frames_read = 0
        self._over = False
        self.info: Final = MediaInfo(
            title=None,
            artist=None,
            duration_s=duration_s,
            codec="silence",
            container="none",
            sample_rate_hz=SAMPLE_RATE_HZ,
            channels=CHANNELS,
        )

    @property
    def position_s(self) -> float:
        """Where the frame that was read last began; before that, where the first will."""
        return self._start_samples / SAMPLE_RATE_HZ + max(0, self._frames_read - 1) / FRAMES_PER_S

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is behind the end, of 960 samples."""
        if self._samples is None or not self._frames_read:
            return 0
        return max(0, self._next_sample - self._samples)

    def read(self) -> PcmFrame | None:
        """Return 20 ms of zeros, shape (960, 2), always the same read-only array; `None` at the end."""
        if self._over or (self._samples is not None and self._next_sample >= self._samples):
            return None
        self._frames_read += 1
        return _FRAME

    poll = read

    def take_packets(self, most: int) -> list[bytes]:  # noqa: ARG002 - the same for all readers
        """Return none: it has no Opus packets."""
        return []

    def take_titles(self) -> list[TitleChange]:
        """Return none: it says nothing."""
        return []

    def seek(self, position_s: float) -> float:
        """Go to a position in seconds; behind the end there is nothing more to read.

        Raises
        ------
        ValueError
            The position is below 0 or not finite.
        """
        self._start_samples = round(checked_position(position_s) * SAMPLE_RATE_HZ)
        self._frames_read = 0
        return position_s

    def interrupt(self) -> None:
        """Have `read` return `None` from now on."""
        self._over = True

    def close(self) -> None:
        """Have `read` return `None` from now on; there is nothing to release."""
        self._over = True

    @property
    def _next_sample(self) -> int:
        return self._start_samples + self._frames_read * FRAME_SAMPLES
