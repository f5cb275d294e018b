"""What one call hears: its tracks, mixed and encoded ahead of time into a ring, and made again when changed.

A ring that is filled ahead keeps the sound going through stalls, and would delay every change by its length.
So a change goes *back*: the frames that are still far enough from being sent are taken out of the ring, the
tracks go back by as many frames, and they are made once more with the change in them. The first
`SAFE_FRAMES` stay, since they may be on their way at any moment; a change is heard after those.

An encoder has a memory of what it encoded. After going back, it is reset and given the two frames before the
new one, and those packets are thrown away: the listener's decoder, which knows the two frames, finds what it
expects. Measured on music against an encoder that never went back, the first new frame is 2 dB noisier and
the others are as good; without the two frames the first would be 22 dB noisier. The same is done after
packets were passed through.

Threads: all but `change` and what is said to be for any thread belongs to the encoder threads.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import Mark, Note
from voicepool.workers.audio.mixer import Mixer, MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet

__all__ = ["SAFE_FRAMES", "WARM_UP_FRAMES", "Program", "ProgramEncoder"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

SAFE_FRAMES: Final = 2
"""Frames that a change leaves in the ring: 40 ms, in which the others are made again."""
WARM_UP_FRAMES: Final = 2


class ProgramEncoder(Protocol):
    """An Opus encoder over a buffer of its own."""

    def encode_bound(self) -> bytes:
        """Encode what the bound buffer holds."""

    def reset(self) -> None:
        """Forget the past signal."""


@dataclass(slots=True)
class _Made:
    """How things stood before a frame was made, and what it was made of."""

    inputs: tuple[MixerInput, ...]
    places: tuple[tuple[int, int], ...]
    """Of each input: its feed's number, its gain's sample."""
    shared: tuple[int, int]
    raw: bytes | PcmFrame = b""
    """The packet that was passed through, or what was encoded."""
    mixed: PcmFrame | None = None
    """The latter, if it is a buffer of ours."""


class Program:
    """The tracks of one call, in order of time.

    Parameters
    ----------
    encoder, buffer
        An encoder bound to the buffer, float32 of shape (960, 2).
    capacity_frames
        How many frames of 20 ms to be ahead; with `SAFE_FRAMES` or fewer there is nothing to go back over.
    end
        Returns what to put into the ring after the last frame of the last track.
    mixer
        Its inputs' sources are `Feed` objects that keep `kept_frames`.
    """

    def __init__(
        self,
        *,
        encoder: ProgramEncoder,
        buffer: PcmFrame,
        capacity_frames: int,
        end: Callable[[], Sequence[bytes | Mark]],
        mixer: Mixer | None = None,
    ) -> None:
        if capacity_frames < 1:
            raise ValueError(f"capacity_frames must be 1 or more, not {capacity_frames}")
        self.ring: deque[bytes | Mark] = deque()
        self.mixer = Mixer() if mixer is None else mixer
        self._encoder = encoder
        self._buffer = buffer
        self._capacity = capacity_frames
        self._end = end
        self._changes: deque[Callable[[Mixer], object]] = deque()
        self._log: deque[_Made] = deque(maxlen=self.kept_frames(capacity_frames))
        self._spare: list[PcmFrame] = []
        self._is_cold = False
        self._ended = False
        self._notes: list[Note] = []
        self.frames_made = 0
        """Frames that were put into the ring and not taken back, those of the end not counted."""
        self.closing_frames = 0
        """How many items at the end of the ring are no frame of a track; 0 until it has ended."""
        self.passes = False
        """Whether the last frame was a packet as it came."""

    @staticmethod
    def kept_frames(capacity_frames: int) -> int:
        """Return how many frames a feed of such a program has to keep."""
        return capacity_frames + WARM_UP_FRAMES

    @property
    def ended(self) -> bool:
        """Whether all there is to send is in the ring."""
        return self._ended

    @property
    def has_changes(self) -> bool:
        """Whether a change waits to be carried out."""
        return bool(self._changes)

    def finish(self) -> None:
        """End here, with what there is. A change may make it go on."""
        if not self._ended:
            self._ended = True
            closing = self._end()
            self.closing_frames = len(closing)
            self.ring.extend(closing)

    def change(self, change: Callable[[Mixer], object]) -> None:
        """Have something changed as soon as it can be heard. From any thread.

        Parameters
        ----------
        change
            Given the mixer, on an encoder thread, after going back; the caller sees to it that `fill` is
            called soon.
        """
        self._changes.append(change)

    def note(self, report: Callable[[], object]) -> None:
        """Have something reported when the frame made last has been sent. For `on_end` of an input."""
        self._notes.append(Note(report))

    def fill(self, frames: int) -> NotYet | None:
        """Make frames, until so many are made or the ring is full.

        Returns
        -------
        NotYet or None
            `NOT_YET` if a track has nothing ready.
        """
        if self._changes:
            self._go_back()
            while self._changes:
                self._carry_out(self._changes.popleft())
        for _ in range(min(frames, self._capacity - len(self.ring))):
            if self._ended:
                return None
            if self._make() is NOT_YET:
                return NOT_YET
        return None

    def _carry_out(self, change: Callable[[Mixer], object]) -> None:
        try:
            change(self.mixer)
        except Exception:
            # One bad wish must not silence the call.
            _LOGGER.exception("a change of what plays failed inside voicepool")

    def _make(self) -> NotYet | None:
        mixer = self.mixer
        inputs = mixer.inputs
        before = tuple((_feed(entry).position_frames, entry.gain.position_samples) for entry in inputs)
        made = _Made(inputs, before, mixer.position)
        sole = mixer.sole_unity_input
        raw = None if sole is None else _feed(sole).peek()
        if raw is NOT_YET:
            return NOT_YET
        if raw is not None:
            made.raw = raw
            _feed(inputs[0]).go_on()
            mixer.pass_frame()
            if isinstance(raw, bytes):
                self.passes = self._is_cold = True
                self._append(made, raw)
                return None
            self._append(made, self._encode(raw))
            return None
        # Also where the only track has ended, or failed: the mixer sees to what follows.
        mixed = mixer.mix(self._buffer, wait=True)
        self.ring.extend(self._notes)
        self._notes.clear()
        if mixed is NOT_YET:
            return NOT_YET
        if mixed is None:
            self.finish()
            return None
        made.raw = made.mixed = self._spare.pop() if self._spare else np.empty_like(self._buffer)
        np.copyto(made.mixed, self._buffer)
        self._append(made, self._encode(made.mixed))
        return None

    def _append(self, made: _Made, frame: bytes) -> None:
        if len(self._log) == self._log.maxlen:
            self._forget(self._log.popleft())
        self._log.append(made)
        self.ring.append(frame)
        self.frames_made += 1

    def _forget(self, made: _Made) -> None:
        if made.mixed is not None:
            self._spare.append(made.mixed)

    def _encode(self, pcm: PcmFrame) -> bytes:
        self.passes = False
        if self._is_cold:
            self._is_cold = False
            self._warm_up()
        np.copyto(self._buffer, pcm)
        return self._encoder.encode_bound()

    def _warm_up(self) -> None:
        """Let the encoder know what the listener's decoder heard last."""
        self._encoder.reset()
        for made in list(self._log)[-WARM_UP_FRAMES:]:
            pcm = made.raw
            if isinstance(pcm, bytes):
                feed = _feed(made.inputs[0])
                pcm = feed.heard(feed.position_frames - made.places[0][0])
            np.copyto(self._buffer, pcm)
            self._encoder.encode_bound()

    def _go_back(self) -> None:
        """Take back what was made too early."""
        ring, undone = self.ring, 0
        if self._ended:
            self._ended = False
            for _ in range(min(self.closing_frames, len(ring))):
                ring.pop()
            self.closing_frames = 0
        kept = len(ring) - sum(isinstance(item, Mark) for item in tuple(ring))
        # The pacing thread takes from the other end meanwhile: what it takes, it may.
        while kept > SAFE_FRAMES and ring:
            if isinstance(ring.pop(), bytes):
                self.frames_made -= 1
                kept -= 1
                undone += 1
        if not undone:
            return
        first: _Made | None = None
        for _ in range(undone):
            first = self._log.pop()
            self._forget(first)
        assert first is not None
        for entry, (number, samples) in zip(first.inputs, first.places, strict=True):
            feed = _feed(entry)
            feed.rewind(feed.position_frames - number)
            entry.gain.rewind_to(samples)
        later = [entry for entry in self.mixer.inputs if entry not in first.inputs]
        for entry in later:
            # It began meanwhile: it begins with the first frame that is made again.
            feed = _feed(entry)
            feed.rewind(feed.position_frames)
            entry.gain.rewind_to(0)
        master_samples, ducking_samples = first.shared
        self.mixer.rewind(
            (*first.inputs, *later), master_samples=master_samples, ducking_samples=ducking_samples
        )
        self._is_cold = True


def _feed(entry: MixerInput) -> Feed:
    feed = entry.source
    assert isinstance(feed, Feed), "a program's tracks are feeds"
    return feed
