"""[pure] A source of PCM that begins later than at the start of a frame, where the track before it ends."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, SAMPLE_RATE_HZ
from voicepool.workers.audio.joining import FrameJoiner
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["LateSource", "sounding_samples"]


class _PcmSource(Protocol):
    @property
    def skipped_packets(self) -> int: ...

    @property
    def position_s(self) -> float: ...

    def poll(self) -> bytes | PcmFrame | NotYet | None: ...

    def close(self) -> None: ...


def sounding_samples(frame: PcmFrame) -> int:
    """Return how many samples of a source's last frame come before the exact silence that fills it up."""
    sounding = np.flatnonzero(frame.any(axis=1))
    return int(sounding[-1]) + 1 if len(sounding) else 0


class LateSource:
    """Hands out a source's PCM so many samples later, and no silence after its end but within a frame.

    Parameters
    ----------
    source
        Owned from now on.
    first
        What was read from it already, in order, and where in it each begins, in seconds.
    late_samples
        1 to 959.
    """

    def __init__(self, source: _PcmSource, first: list[tuple[PcmFrame, float]], late_samples: int) -> None:
        self._source = source
        self._first = first
        self._joiner = FrameJoiner()
        begins = round((first[0][1] if first else source.position_s) * SAMPLE_RATE_HZ)
        self._joiner.push(np.zeros((late_samples, CHANNELS), dtype=np.float32), begins)
        self._held: tuple[PcmFrame, float] | None = None
        """What may be the last frame."""
        self._at = begins

    @property
    def skipped_packets(self) -> int:
        """As of the source."""
        return self._source.skipped_packets

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was handed out last began, in seconds."""
        return self._at / SAMPLE_RATE_HZ

    def poll(self) -> PcmFrame | NotYet | None:
        """Return a frame, `NOT_YET`, or None at the end."""
        while (taken := self._joiner.take()) is None:
            frame = self._first.pop(0) if self._first else self._read()
            if frame is NOT_YET:
                return NOT_YET
            held, self._held = self._held, frame
            if frame is None:
                if held is None:
                    return None
                self._push(held[0][: sounding_samples(held[0])], held[1])
                self._joiner.finish()
            elif held is not None:
                self._push(*held)
        pcm, self._at = taken
        return pcm

    def take_packets(self, most: int) -> list[bytes]:  # noqa: ARG002  # as every source has it
        """Return none: it is PCM."""
        return []

    def close(self) -> None:
        """Release the source."""
        self._source.close()

    def _read(self) -> tuple[PcmFrame, float] | NotYet | None:
        frame = self._source.poll()
        if frame is None or frame is NOT_YET:
            return frame
        assert not isinstance(frame, bytes), "a source of PCM has no packets"
        return frame, self._source.position_s

    def _push(self, samples: PcmFrame, position_s: float) -> None:
        self._joiner.push(samples, round(position_s * SAMPLE_RATE_HZ))
