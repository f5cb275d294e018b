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
    places: Sequence[tuple[int, int]]
    """Of each input: the number of its feed's next frame, its gain's sample."""
    shared: tuple[int, int]
    raw: bytes | PcmFrame = b""
    """The packet that was passed through, or what was encoded."""
    mixed: PcmFrame | None = None
    """The latter, if it is a buffer of ours."""
    passed: tuple[Feed, int] | None = None
    """The feed that the packet is of, and its number there."""
    notes: int = 0
    """How many notes went into the ring before it."""


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
        self._unfinished: _Made | None = None
        """A frame that could not be made yet, although tracks have ended for it."""
        self._is_cold = False
        self._ended = False
        self._broken = False
        self._notes: list[Note] = []
        self._notes_at_end = 0
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
        return bool(self._changes) and not self._broken

    def break_off(self) -> None:
        """End here for good, with what there is: after a failure, nothing is made again."""
        self._broken = True
        self._changes.clear()
        self._finish()

    def change(self, change: Callable[[Mixer], object]) -> None:
        """Have something changed as soon as it can be heard. From any thread.

        Parameters
        ----------
        change
            Given the mixer, on an encoder thread, after going back. The caller sees to it that `fill` is
            called soon, and that not too many wait.
        """
        if not self._broken:
            self._changes.append(change)

    def note(self, report: Callable[[], object]) -> None:
        """Have something reported when the frame made last has been sent. For `on_end` of an input."""
        self._notes.append(Note(report))

    def fill(self, frames: int, *, changes: bool = True) -> NotYet | None:
        """Make frames, until so many are made or the ring is full.

        Parameters
        ----------
        frames
            Of 20 ms each.
        changes
            Whether to carry out first what was asked for. That costs going back, so it is not for every call.

        Returns
        -------
        NotYet or None
            `NOT_YET` if a track has nothing ready.
        """
        if changes and self.has_changes:
            self._go_back()
            while self._changes:
                self._carry_out(self._changes.popleft())
            if self._ended and self.mixer.inputs:
                self._reopen()
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
        sole = mixer.sole_unity_input
        has_ended = False
        if sole is not None:
            feed = _feed(sole)
            raw = feed.peek()
            if raw is NOT_YET:
                return NOT_YET
            if isinstance(raw, bytes) or (raw is not None and not feed.is_early):
                self._pass_on(raw, sole, feed)
                return None
            # Of a failure the mixer gets to know as well.
            has_ended = raw is None
        return self._mix(has_ended=has_ended)

    def _pass_on(self, raw: bytes | PcmFrame, sole: MixerInput, feed: Feed) -> None:
        """Make a frame of what the only track gave, as it is."""
        mixer, number = self.mixer, feed.position_frames
        # As `_before` would say, and in half the time: this is what most calls do most of the time.
        made = self._unfinished or _Made((sole,), ((number, sole.gain.position_samples),), mixer.position)
        made.raw = raw
        feed.go_on()
        mixer.pass_frame()
        if isinstance(raw, bytes):
            made.passed = feed, number
            self.passes = self._is_cold = True
            self._append(made, raw)
            return
        if self._is_cold:
            self._warm_up(self._heard_last())
        np.copyto(self._buffer, raw)
        self._append(made, self._encoder.encode_bound())
        self.passes = False

    def _mix(self, *, has_ended: bool) -> NotYet | None:
        made = self._before()
        # Asked for before the mix, so that a decoder that is needed from here on goes straight through; but
        # at the end of packets it may not be needed at all.
        heard_last = self._heard_last() if self._is_cold and not has_ended else None
        mixed = self.mixer.mix(self._buffer, wait=True)
        if self._notes:
            made.notes += len(self._notes)
            self.ring.extend(self._notes)
            self._notes.clear()
        if mixed is NOT_YET:
            # Whoever goes back over this frame finds those again that have ended for it.
            self._unfinished = made if made.notes else None
            return NOT_YET
        if mixed is None:
            self._finish(notes=made.notes)
            return None
        made.raw = made.mixed = self._spare.pop() if self._spare else np.empty_like(self._buffer)
        np.copyto(made.mixed, self._buffer)
        if self._is_cold:
            self._warm_up(self._heard_last() if heard_last is None else heard_last)
            np.copyto(self._buffer, made.mixed)
        self._append(made, self._encoder.encode_bound())
        self.passes = False
        return None

    def _before(self) -> _Made:
        """Write down how things stand."""
        if self._unfinished is not None:
            return self._unfinished
        mixer = self.mixer
        inputs = mixer.inputs
        # What the mixer holds was taken from the feed, and will be in the frame that is made now.
        places = [
            (_feed(entry).position_frames - (entry.held is not None), entry.gain.position_samples)
            for entry in inputs
        ]
        return _Made(inputs, places, mixer.position)

    def _append(self, made: _Made, frame: bytes) -> None:
        self._unfinished = None
        if len(self._log) == self._log.maxlen:
            self._forget(self._log.popleft())
        self._log.append(made)
        self.ring.append(frame)
        self.frames_made += 1

    def _forget(self, made: _Made) -> None:
        if made.mixed is not None:
            self._spare.append(made.mixed)

    def _finish(self, *, notes: int = 0) -> None:
        if not self._ended:
            self._ended = True
            self._unfinished = None
            self._notes_at_end = notes
            closing = self._end()
            self.ring.extend(closing)
            self.closing_frames = len(closing)

    def _reopen(self) -> None:
        """Take out what is left of the end: something goes on."""
        self._ended = False
        closing, self.closing_frames = self.closing_frames, 0
        self._take_back(closing)

    def _take_back(self, items: int) -> bool:
        """Take out the last items; return whether they were all there.

        The pacing thread takes from the other end meanwhile, and more than a moment's worth if this thread
        does not get the core. What it takes, it may.
        """
        for _ in range(items):
            try:
                self.ring.pop()
            except IndexError:
                return False
        return True

    def _heard_last(self) -> list[PcmFrame]:
        """Return the frames that the listener's decoder knows when the next one comes."""
        known = []
        for made in list(self._log)[-WARM_UP_FRAMES:]:
            if not isinstance(made.raw, bytes):
                known.append(made.raw)
                continue
            assert made.passed is not None, "a packet is of some feed"
            feed, number = made.passed
            # Else much was left out since, or the feed is closed: what follows does not join on.
            if feed.keeps(number):
                known.append(feed.heard(feed.position_frames - number))
        return known

    def _warm_up(self, known: list[PcmFrame]) -> None:
        self._is_cold = False
        self._encoder.reset()
        for pcm in known:
            np.copyto(self._buffer, pcm)
            self._encoder.encode_bound()

    def _go_back(self) -> None:
        """Take back what was made too early. What is made after a change is taken back before the next."""
        # At once, and counted afterwards: the pacing thread goes on taking.
        waiting = tuple(self.ring)
        audio = waiting[: max(0, len(waiting) - self.closing_frames)]
        undone = sum(isinstance(item, bytes) for item in audio) - SAFE_FRAMES
        unfinished, self._unfinished = self._unfinished, None
        if undone <= 0:
            return
        if self._ended:
            self._reopen()
            self._take_back(self._notes_at_end)
        elif unfinished is not None:
            self._take_back(unfinished.notes)
        first: _Made | None = None
        for _ in range(undone):
            # In this order, so that a frame taken back is never taken for one that was sent.
            self.frames_made -= 1
            if not self._take_back(1):
                self.frames_made += 1
                break
            first = self._log.pop()
            self._forget(first)
            self._take_back(first.notes)
        if first is not None:
            self._rewind_to(first)
            self._is_cold = True

    def _rewind_to(self, first: _Made) -> None:
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


def _feed(entry: MixerInput) -> Feed:
    feed = entry.source
    assert isinstance(feed, Feed), "a program's tracks are feeds"
    return feed
