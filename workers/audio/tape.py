"""What a feed has given, kept as PCM for as long as it may be needed again.

Filters hold sound back and change its length. Who changes them in mid-play begins anew at a place that was
read long ago, which the feed itself may not be able to go back to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np

from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.loudness import LOOK_AHEAD_FRAMES, Leveller, LoudnessMeter
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["Frames", "LevelledTape", "Tape"]

_FULL_SCALE: Final = 1.0


class Frames(Protocol):
    """Frames by number."""

    def frame(self, number: int) -> PcmFrame | NotYet | None:
        """Return a frame, not to be changed; `NOT_YET` while it is not there, None beyond the end."""

    def trim(self, number: int) -> None:
        """Forget the frames before this one."""


class Tape:
    """The frames of a feed from its present position on, by the feed's numbers. It moves the feed on.

    Parameters
    ----------
    feed
        Stays the caller's, who lets it alone meanwhile.
    behind
        The frames before its position, in order.
    """

    def __init__(self, feed: Feed, behind: Iterable[PcmFrame] = ()) -> None:
        self._feed = feed
        self._frames: deque[PcmFrame] = deque(map(_mended, behind))
        self.first = feed.position_frames - len(self._frames)
        """Number of the first frame kept."""
        self._positions: deque[float] = deque(
            feed.source_position_s(self.first + place) for place in range(len(self._frames))
        )
        """Beside `_frames`, where in the source each begins, in seconds."""
        self._failure: Exception | None = None
        self._ended = False

    @property
    def end(self) -> int:
        """Number of the first frame that was not read yet."""
        return self.first + len(self._frames)

    @property
    def has_failed(self) -> bool:
        """Whether the source's failure waits for `take_failure`."""
        return self._failure is not None

    def frame(self, number: int) -> PcmFrame | NotYet | None:
        """Return a frame, reading up to it; `NOT_YET` if the source has nothing, None beyond its end.

        Raises
        ------
        ValueError
            It was trimmed.
        """
        if number < self.first:
            raise ValueError(f"frame {number} is not on the tape any more, it begins at {self.first}")
        while number >= self.end:
            if self._ended:
                return None
            try:
                frame = self._feed.next_frame()
            except Exception as error:  # noqa: BLE001  # raised when what came before it has been handed out
                self._failure = error
                frame = None
            if frame is NOT_YET:
                return NOT_YET
            if frame is None:
                self._ended = True
                return None
            self._positions.append(self._feed.source_position_s(self.end))
            self._frames.append(_mended(frame))
        return self._frames[number - self.first]

    def take_failure(self) -> Exception | None:
        """Return once what the source raised."""
        failure, self._failure = self._failure, None
        return failure

    def position_s(self, place_samples: float) -> float:
        """Return where in the source a sample lies, counted from frame 0; in seconds."""
        if not self._positions:
            return self._feed.source_position_s(int(place_samples) // FRAME_SAMPLES)
        number = min(max(int(place_samples) // FRAME_SAMPLES, self.first), self.end - 1)
        beyond_samples = place_samples - number * FRAME_SAMPLES
        return self._positions[number - self.first] + beyond_samples / SAMPLE_RATE_HZ

    def give_back(self, number: int) -> None:
        """Have the feed hand out again what is on the tape from this frame on, as far as it can go back."""
        if self._failure is not None:
            # It tells of it only once.
            return
        frames = min(self.end - number, self._feed.rewindable_frames)
        if frames <= 0:
            return
        self._feed.rewind(frames)
        self._ended = False
        for _ in range(frames):
            self._frames.pop()
            self._positions.pop()

    def trim(self, number: int) -> None:
        """Forget the frames before this one."""
        while self.first < number and self._frames:
            self._frames.popleft()
            self._positions.popleft()
            self.first += 1


class LevelledTape:
    """A tape, brought to a loudness. What was levelled stays as it is until it is trimmed.

    Parameters
    ----------
    tape
        Read ahead by `LOOK_AHEAD_FRAMES` where the source has them, and by one frame where it has not.
    target_lufs
        The loudness.
    start
        Number of the first frame to be levelled.
    before
        What levelled this tape to another loudness, whose measure goes on.
    """

    def __init__(
        self, tape: Tape, target_lufs: float, start: int, *, before: LevelledTape | None = None
    ) -> None:
        self.target_lufs: Final = target_lufs
        self.first = start
        """Number of the first frame that can be had."""
        self._tape = tape
        self._meter: LoudnessMeter = LoudnessMeter() if before is None else before._meter  # noqa: SLF001  # of this class
        measured: int = 0 if before is None else before._measured  # noqa: SLF001  # of this class
        self._measured: int = max(tape.first, measured)
        """Number of the first frame that was not measured yet."""
        self._leveller = Leveller(target_lufs, self._meter)
        self._frames: deque[PcmFrame] = deque()

    def frame(self, number: int) -> PcmFrame | NotYet | None:
        """Return a frame, as `Tape.frame` does; `NOT_YET` also while the one after it is not there."""
        while number >= (end := self.first + len(self._frames)):
            frame = self._tape.frame(end)
            if frame is None or frame is NOT_YET:
                return frame
            self._tape.frame(end + LOOK_AHEAD_FRAMES)
            following = self._tape.frame(end + 1)
            if following is NOT_YET:
                return NOT_YET
            self._measure()
            self._frames.append(self._leveller.level(frame, following))
        return self._frames[number - self.first]

    def trim(self, number: int) -> None:
        """Forget the frames before this one."""
        while self.first < number and self._frames:
            self._frames.popleft()
            self.first += 1

    def _measure(self) -> None:
        for number in range(self._measured, self._tape.end):
            frame = self._tape.frame(number)
            assert isinstance(frame, np.ndarray), "it was read"
            self._meter.measure(frame)
        self._measured = self._tape.end


def _mended(frame: PcmFrame) -> PcmFrame:
    """Return a frame without values that are no numbers: one would stay in a filter's memory for ever."""
    flat = frame.reshape(-1)
    with np.errstate(all="ignore"):
        energy = flat.dot(flat)
    if np.isfinite(energy):
        return frame
    mended = np.nan_to_num(frame, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(mended, -_FULL_SCALE, _FULL_SCALE, out=mended)
