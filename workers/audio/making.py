"""What a program has made lately, and of what: its way back, frame by frame [pure].

A frame that was encoded has a record of its own. Packets that were passed through have one for all that were
passed at once, since that is what most calls do most of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, cast

import numpy as np

from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.ring import FrameRing

__all__ = ["Before", "Made", "MakingLog", "Run", "feed_of", "give_back_held", "take_back_frames"]

_SHAPE: Final = (FRAME_SAMPLES, CHANNELS)


def feed_of(entry: MixerInput) -> TrackFeed:
    """Return the feed of a program's track."""
    # A program's inputs are all made from one.
    return cast("TrackFeed", entry.source)


def give_back_held(mixer: Mixer) -> None:
    """Have those frames be the feeds' next again that the mixer has taken and not mixed."""
    for entry in mixer.inputs:
        if entry.held is not None:
            feed_of(entry).rewind(1)
            entry.held = None


class Before(NamedTuple):
    """How things stood before a frame was made."""

    inputs: tuple[MixerInput, ...]
    places: Sequence[tuple[int, int]]
    """Of each input: the number of its feed's next frame, its gain's sample."""
    shared: tuple[int, int]
    """`Mixer.position`."""

    @classmethod
    def of(cls, mixer: Mixer) -> Self:
        """Write down how things stand now."""
        inputs = mixer.inputs
        # What the mixer holds was taken from the feed, and will be in the frame that is made now.
        places = [
            (feed_of(entry).position_frames - (entry.held is not None), entry.gain.position_samples)
            for entry in inputs
        ]
        return cls(inputs, places, mixer.position)

    def rewind_inputs(self, mixer: Mixer) -> list[MixerInput]:
        """Have the feeds and gains of inputs be where they were; return the inputs that began since."""
        for entry, (number, samples) in zip(self.inputs, self.places, strict=True):
            feed = feed_of(entry)
            feed.rewind(feed.position_frames - number)
            entry.gain.rewind_to(samples)
        later = [entry for entry in mixer.inputs if entry not in self.inputs]
        for entry in later:
            feed = feed_of(entry)
            feed.rewind(feed.position_frames)
            entry.gain.rewind_to(0)
        return later


class Run(NamedTuple):
    """Packets that were passed through, and how things stood before the first of them."""

    entry: MixerInput
    number: int
    """Of the first packet in its feed."""
    samples: int
    shared: tuple[int, int]

    def before(self, frames: int) -> Before:
        """Return how things stood before a later packet of the run."""
        samples = frames * FRAME_SAMPLES
        master, ducking = self.shared
        places = ((self.number + frames, self.samples + samples),)
        return Before((self.entry,), places, (master + samples, ducking + samples))


@dataclass(slots=True)
class Made:
    """A frame that was encoded, or a run of packets.

    Attributes
    ----------
    before
        How things stood; of a run, before its first packet and before what may have ended for it.
    run
        The packets; None if it was encoded.
    raw
        What was encoded.
    mixed
        The same, if it is a buffer to be used again. Both are forgotten when many more were made.
    frames
        How many are left of it.
    notes
        How many notes went into the ring before it.
    """

    before: Before
    run: Run | None = None
    raw: PcmFrame | None = None
    mixed: PcmFrame | None = None
    frames: int = 1
    notes: int = 0


class MakingLog:
    """The last frames made.

    Parameters
    ----------
    kept_frames
        How many frames it reaches back at least.
    kept_pcm
        Of how many encoded frames it keeps the sound; by None, of as many.
    """

    def __init__(self, kept_frames: int, *, kept_pcm: int | None = None) -> None:
        self._kept_frames = kept_frames
        self._kept_pcm = kept_frames if kept_pcm is None else kept_pcm
        self._made: deque[Made] = deque()
        self._frames = 0
        self._with_pcm: deque[Made] = deque()
        """Those of them whose sound is kept."""
        self._spare: list[PcmFrame] = []

    def __bool__(self) -> bool:
        return bool(self._made)

    def buffer(self) -> PcmFrame:
        """Return a buffer for `Made.mixed`."""
        return self._spare.pop() if self._spare else np.empty(_SHAPE, dtype=np.float32)

    def append(self, made: Made) -> None:
        """Write down what was made, and forget what is older than anyone can go back to."""
        log = self._made
        log.append(made)
        self._frames += made.frames
        if made.raw is not None:
            self._with_pcm.append(made)
            if len(self._with_pcm) > self._kept_pcm:
                self._forget(self._with_pcm.popleft())
        while self._frames - log[0].frames >= self._kept_frames:
            oldest = log.popleft()
            self._frames -= oldest.frames
            if oldest.raw is not None:
                self._forget(self._with_pcm.popleft())

    def has_mixed(self, entry: MixerInput) -> bool:
        """Return whether the last frame is a mix with this input in it."""
        return bool(self._made) and self._made[-1].mixed is not None and entry in self._made[-1].before.inputs

    def clear(self) -> None:
        """Forget all: what follows does not join on to it, and nobody can go back to it."""
        while self._made:
            self._forget(self._made.pop())
        self._frames = 0

    def release(self) -> None:
        """Forget all, and the buffers for what might have come."""
        self.clear()
        self._spare.clear()

    def last_frames(self) -> int:
        """Return how many frames the last entry has left."""
        return self._made[-1].frames

    def take_back(self, frames: int) -> tuple[Before, int]:
        """Strike out the last frames of the last entry.

        Parameters
        ----------
        frames
            As many as it has, at most.

        Returns
        -------
        tuple
            How things stood before the first of them, and how many notes went before that.
        """
        made = self._made[-1]
        made.frames -= frames
        self._frames -= frames
        if made.frames:
            assert made.run is not None
            return made.run.before(made.frames), 0
        self._made.pop()
        if made.raw is not None:
            self._forget(self._with_pcm.pop())
        return made.before, made.notes

    def number_at(self, entry: MixerInput, waiting: int) -> int | None:
        """Return which frame of an input's feed is the first of those that wait to be sent; from any thread.

        Parameters
        ----------
        waiting
            How many frames are not sent.

        Returns
        -------
        int or None
            None if that frame was made without it.
        """
        for made in reversed(list(self._made)):
            if waiting > made.frames:
                waiting -= made.frames
                continue
            if made.run is not None:
                return made.run.number + made.frames - waiting if entry is made.run.entry else None
            inputs = made.before.inputs
            return made.before.places[inputs.index(entry)][0] if entry in inputs else None
        return None

    def last_heard(self, count: int) -> list[PcmFrame]:
        """Return the PCM of the last frames, the oldest first: what the listener's decoder knows.

        Fewer than `count` where it is not kept: what was before that does not join on.
        """
        known: list[PcmFrame | tuple[TrackFeed, int]] = []
        for made in reversed(self._made):
            if made.run is None:
                if made.raw is None:
                    break
                known.append(made.raw)
            else:
                feed = feed_of(made.run.entry)
                end = made.run.number + made.frames
                wanted = range(end - 1, max(made.run.number, end - count + len(known)) - 1, -1)
                # Else much was left out since, or the feed is closed.
                numbers = [number for number in wanted if feed.keeps(number)]
                known += [(feed, number) for number in numbers]
                if len(numbers) < len(wanted):
                    break
            if len(known) >= count:
                break
        # In this order, for a decoder goes forward.
        return [_pcm_of(frame) for frame in reversed(known)]

    def _forget(self, made: Made) -> None:
        if made.mixed is not None:
            self._spare.append(made.mixed)
        made.mixed = made.raw = None


def _pcm_of(frame: PcmFrame | tuple[TrackFeed, int]) -> PcmFrame:
    if not isinstance(frame, tuple):
        return frame
    feed, number = frame
    return feed.heard(feed.position_frames - number)


def take_back_frames(ring: FrameRing, log: MakingLog, frames: int) -> Before | None:
    """Take the last frames out of the ring, and strike them out.

    Returns
    -------
    Before or None
        How things stood before the first of them. Those that have left by now are not missed here: they are
        sent as they were. None if none was there.
    """
    before: Before | None = None
    while frames > 0 and log:
        taken = ring.take_back_frames(min(frames, log.last_frames()))
        if not taken:
            break
        frames -= taken
        before, notes = log.take_back(taken)
        ring.take_back_notes(notes)
    return before
