"""[pure] Pieces of audio of any length, put end to end and cut into 20 ms frames without a gap."""

from __future__ import annotations

from collections import deque

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame

__all__ = ["FrameJoiner"]


class FrameJoiner:
    """Takes pieces with their places in a source, gives frames with theirs.

    It holds what was pushed and not yet taken; take until there is nothing before the next push, and that is
    less than a frame. Whole frames that come while nothing is held go through uncopied.
    """

    def __init__(self) -> None:
        self._pieces: deque[tuple[PcmFrame, int]] = deque()
        self._held_samples = 0
        self._finished = False

    @property
    def held_samples(self) -> int:
        """How many samples wait for more."""
        return self._held_samples

    def push(self, samples: PcmFrame, at_samples: int) -> None:
        """Take a piece of shape (n, 2) that begins at `at_samples` of its source, at 48 kHz."""
        if len(samples):
            self._pieces.append((samples, at_samples))
            self._held_samples += len(samples)

    def finish(self) -> None:
        """Let `take` fill up the last frame with silence; may be followed by more pieces."""
        self._finished = True

    def take(self) -> tuple[PcmFrame, int] | None:
        """Return the next frame, shape (960, 2), and where in its source it begins; `None` without one."""
        if self._held_samples < FRAME_SAMPLES and not (self._finished and self._held_samples):
            self._finished = False
            return None
        first, at_samples = self._pieces[0]
        if len(first) == FRAME_SAMPLES:
            self._pieces.popleft()
            self._held_samples -= FRAME_SAMPLES
            return first, at_samples
        frame = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
        filled = 0
        while filled < FRAME_SAMPLES and self._pieces:
            filled += self._move_into(frame[filled:])
        self._held_samples -= filled
        return frame, at_samples

    def _move_into(self, room: PcmFrame) -> int:
        samples, at_samples = self._pieces.popleft()
        count = min(len(samples), len(room))
        room[:count] = samples[:count]
        if count < len(samples):
            self._pieces.appendleft((samples[count:], at_samples + count))
        return count
