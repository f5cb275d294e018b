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
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SILENCE, Mark, Note
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
    passed: Feed | None
    pcm: PcmFrame
    """What was encoded; without meaning where a packet was passed through."""


class Program:
    """The tracks of one call, in order of time.

    Parameters
    ----------
    encoder, buffer
        An encoder bound to the buffer, float32 of shape (960, 2).
    capacity_frames
        How many frames of 20 ms to be ahead, more than `SAFE_FRAMES`.
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
        if capacity_frames <= SAFE_FRAMES:
            raise ValueError(f"capacity_frames must be above {SAFE_FRAMES}, not {capacity_frames}")
        self.ring: deque[bytes | Mark] = deque()
        self.mixer = Mixer() if mixer is None else mixer
        self._encoder = encoder
        self._buffer = buffer
        self._capacity = capacity_frames
        self._end = end
        self._changes: deque[Callable[[Mixer], object]] = deque()
        self._log: deque[_Made] = deque(maxlen=self.kept_frames(capacity_frames))
        self._spare = [np.empty((FRAME_SAMPLES, CHANNELS), np.float32) for _ in range(self._log.maxlen or 0)]
        self._is_cold = False
        self._ended = False
        self._notes: list[Note] = []

    @staticmethod
    def kept_frames(capacity_frames: int) -> int:
        """Return how many frames a feed of such a program has to keep."""
        return capacity_frames + WARM_UP_FRAMES

    @property
    def ended(self) -> bool:
        """Whether all there is to send is in the ring."""
        return self._ended

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
        inputs = self.mixer.inputs
        made = _Made(
            inputs=inputs,
            places=tuple((_feed(entry).position_frames, entry.gain.position_samples) for entry in inputs),
            shared=self.mixer.position,
            passed=None,
            pcm=self._spare.pop() if len(self._spare) else self._log[0].pcm,
        )
        frame = self._pass_through(made)
        if frame is None:
            mixed = self.mixer.mix(self._buffer, wait=True)
            self._ring_notes()
            if mixed is NOT_YET:
                self._spare.append(made.pcm)
                return NOT_YET
            if mixed is None:
                self._spare.append(made.pcm)
                self._ended = True
                self.ring.extend(self._end())
                return None
            np.copyto(made.pcm, self._buffer)
            frame = self._encode(made)
        if len(self._log) == self._log.maxlen:
            oldest = self._log.popleft()
            if oldest.pcm is not made.pcm:
                self._spare.append(oldest.pcm)
        self._log.append(made)
        self.ring.append(frame)
        return None

    def _pass_through(self, made: _Made) -> bytes | None:
        """Return the next packet of the only track, if it may go out as it is."""
        sole = self.mixer.sole_unity_input
        if sole is None:
            return None
        feed = _feed(sole)
        packet = feed.peek_packet()
        if packet is None:
            return None
        feed.pass_packet()
        self.mixer.pass_frame()
        made.passed = feed
        self._is_cold = True
        return packet

    def _encode(self, made: _Made) -> bytes:
        if self._is_cold:
            self._is_cold = False
            self._warm_up()
            np.copyto(self._buffer, made.pcm)
        return self._encoder.encode_bound()

    def _warm_up(self) -> None:
        """Let the encoder know what the listener's decoder heard last."""
        self._encoder.reset()
        known = list(self._log)[-WARM_UP_FRAMES:]
        for made in known:
            pcm = made.pcm
            if made.passed is not None:
                feed = made.passed
                number = made.places[0][0]
                pcm = feed.heard(feed.position_frames - number)
            np.copyto(self._buffer, pcm)
            self._encoder.encode_bound()

    def _ring_notes(self) -> None:
        self.ring.extend(self._notes)
        self._notes.clear()

    def _go_back(self) -> None:
        """Take back what was made too early."""
        ring, undone = self.ring, 0
        self._ended = False
        kept = sum(1 for item in tuple(ring) if isinstance(item, bytes) and item is not SILENCE)
        # The pacing thread takes from the other end meanwhile: what it takes, it may.
        while kept > SAFE_FRAMES and ring:
            try:
                item = ring.pop()
            except IndexError:
                break
            if isinstance(item, bytes) and item is not SILENCE:
                kept -= 1
                undone += 1
        while ring and (isinstance(ring[-1], Mark) or ring[-1] is SILENCE):
            # The end of what was; a track's own note is made again when it ends again.
            if isinstance(ring[-1], Note):
                break
            ring.pop()
        if not undone:
            return
        first: _Made | None = None
        for _ in range(undone):
            first = self._log.pop()
            self._spare.append(first.pcm)
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
