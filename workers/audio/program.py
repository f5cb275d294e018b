"""What one call hears: its tracks, mixed and encoded ahead of time into a ring, and made again when changed.

A ring that is filled ahead keeps the sound going through stalls, and would delay every change by its length.
So a change goes *back*: the frames that are still far enough from being sent are taken out of the ring, the
tracks go back by as many frames, and they are made once more with the change in them. The first
`SAFE_FRAMES` stay, since they may be on their way at any moment; a change is heard after those.

Threads: all but `change` and what is said to be for any thread belongs to the encoder threads.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from voicepool.workers.audio.director import Director
from voicepool.workers.audio.frame import Mark
from voicepool.workers.audio.maker import FrameMaker
from voicepool.workers.audio.making import Before, MakingLog, feed_of, give_back_held, take_back_frames
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.ring import FrameRing
from voicepool.workers.audio.warming import WARM_UP_FRAMES, ProgramEncoder, WarmedEncoder

__all__ = ["SAFE_FRAMES", "Program"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

SAFE_FRAMES: Final = 2
"""Frames that a change leaves in the ring: 40 ms, in which the others are made again."""


class Program:
    """The tracks of one call, in order of time.

    Parameters
    ----------
    encoder, buffer
        An encoder bound to the buffer, float32 of shape (960, 2).
    capacity_frames
        How many frames of 20 ms to be ahead; with `SAFE_FRAMES` or fewer there is nothing to go back over.
    passing_frames
        How many to be ahead while packets pass through, `capacity_frames` at least. They cost next to
        nothing, so many at a time save wake-ups; the way back is as short.
    end
        Returns what to put into the ring after the last frame of the last track.
    mixer
        Its inputs' sources are feeds that keep `kept_frames`, and `kept_packets`.

    Attributes
    ----------
    frames
        What is to be sent, and how much was.
    """

    def __init__(
        self,
        *,
        encoder: ProgramEncoder,
        buffer: PcmFrame,
        capacity_frames: int,
        end: Callable[[], Sequence[bytes | Mark]],
        passing_frames: int = 0,
        mixer: Mixer | None = None,
    ) -> None:
        if capacity_frames < 1:
            raise ValueError(f"capacity_frames must be 1 or more, not {capacity_frames}")
        self.frames = FrameRing()
        self.mixer = Mixer() if mixer is None else mixer
        self._encoded_capacity = capacity_frames
        self._passing_capacity = max(capacity_frames, passing_frames)
        self._end = end
        self._changes: deque[Callable[[Mixer], object]] = deque()
        # Longer than the ring by what a cold encoder is given: whatever may be taken back is in it.
        self._log = MakingLog(
            self.kept_frames(self._passing_capacity), kept_pcm=self.kept_frames(capacity_frames)
        )
        self._maker = FrameMaker(
            encoder=WarmedEncoder(encoder, buffer),
            mixer=self.mixer,
            ring=self.frames,
            log=self._log,
            safe_frames=SAFE_FRAMES,
        )
        self._ended = False
        self._broken = False

    @staticmethod
    def kept_frames(capacity_frames: int) -> int:
        """Return how many frames a feed of such a program has to keep; of packets, by `passing_frames`."""
        return capacity_frames + WARM_UP_FRAMES

    @property
    def director(self) -> Director | None:
        """Who plans ahead; by None, nothing is planned."""
        return self._maker.director

    @director.setter
    def director(self, director: Director) -> None:
        self._maker.director = director

    @property
    def capacity(self) -> int:
        """How many frames to be ahead at present."""
        return self._passing_capacity if self._maker.passes else self._encoded_capacity

    @property
    def burst(self) -> int:
        """How many frames to make at a time at present.

        Bursts cost fewer wake-ups, and keep one encoder's state in the cache. Packets are cheap: more of them
        at once delay no other call.
        """
        return (
            max(1, self._passing_capacity // 2) if self._maker.passes else max(1, self._encoded_capacity // 4)
        )

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
        if not self._ended:
            self._maker.unfinished = None
            self._finish()

    def close(self) -> None:
        """Make nothing any more, and forget what was made; what is in the ring may still be sent."""
        self._broken = True
        self._changes.clear()
        self._maker.unfinished = None
        self._log.release()
        self._end = tuple
        # It knows this: a circle, see `voicepool.workers.garbage`.
        self._maker.director = None

    def change(self, change: Callable[[Mixer], object]) -> None:
        """Have something changed as soon as it can be heard. From any thread.

        `change` is given the mixer, on an encoder thread, after going back. The caller sees to it that `fill`
        is called soon, and that not too many wait.
        """
        if not self._broken:
            self._changes.append(change)

    @property
    def ring(self) -> deque[bytes | Mark]:
        """What is to be sent next, on the left."""
        return self.frames.queue

    def note(self, report: Callable[[], object], *, stays: bool = False) -> None:
        """Have something reported once all that was made so far has been sent. On an encoder thread.

        With `report` and `stays` as of `FrameRing.note`; `on_end` of an input makes its note again. When the
        pacing thread is faster than one that goes back, `report` may be called for what is then made again,
        and called a second time.
        """
        self.frames.note(report, stays=stays)

    def fill(self, *, changes: bool = True, safe_frames: int = SAFE_FRAMES) -> NotYet | None:
        """Make a burst of frames, or as many as the ring has room for.

        Parameters
        ----------
        changes
            Whether to carry out first what was asked for. That costs going back, so it is not for every call.
        safe_frames
            How many frames a change leaves in the ring.

        Returns
        -------
        NotYet or None
            `NOT_YET` if a track has nothing ready.
        """
        if changes and self.has_changes:
            self._carry_out_changes(safe_frames)
        made = 0
        while not self._ended:
            room = self.frames.room(self._passing_capacity)
            passed = self._maker.pass_packets(min(room, max(1, self._passing_capacity // 2)))
            if not passed:
                if self.frames.room(self._encoded_capacity) <= 0:
                    return None
                there_is_more = self._maker.make()
                if there_is_more is NOT_YET:
                    return NOT_YET
                if not there_is_more:
                    self._finish()
            made += passed or 1
            if made >= self.burst:
                return None
        return None

    def heard_at(self, entry: MixerInput) -> int:
        """Return the number of the frame of an input's feed that is heard next; from any thread.

        While the ring is being filled it may be off by a burst, as what is told of a moment later will be.
        """
        waiting = self.frames.frames_waiting
        number = self._log.number_at(entry, waiting) if waiting else None
        if number is not None:
            return number
        # With frames waiting that it is not in, it was not heard yet; or it is over.
        if waiting and entry in self.mixer.inputs:
            return 0
        return feed_of(entry).position_frames - (entry.held is not None)

    def cut(self) -> tuple[MixerInput, ...]:
        """Take out all that is not sent, and all inputs: nobody listens. On an encoder thread.

        Returns
        -------
        tuple
            The inputs, whose feeds are the caller's to close.
        """
        self.go_back(safe_frames=0)
        inputs = self.mixer.inputs
        for entry in inputs:
            self.mixer.remove(entry)
        return inputs

    def _carry_out_changes(self, safe_frames: int) -> None:
        self.go_back(safe_frames=safe_frames)
        while self._changes:
            self._carry_out(self._changes.popleft())
        if self._ended and self.mixer.inputs:
            self._ended = False
            if not self.frames.reopen():
                # The listener's decoder has heard silence since, of which the encoder knows nothing.
                self._maker.begin_anew()

    def _carry_out(self, change: Callable[[Mixer], object]) -> None:
        try:
            change(self.mixer)
        except Exception:
            # One bad wish must not silence the call.
            _LOGGER.exception("a change of what plays failed inside voicepool")

    def _finish(self) -> None:
        self._ended = True
        self.frames.close(self._end())

    def go_back(self, *, safe_frames: int = SAFE_FRAMES) -> None:
        """Take back what was made too early. On an encoder thread.

        Parameters
        ----------
        safe_frames
            How many frames to leave in the ring; 0 only while nobody takes any.
        """
        ring = self.frames
        undone = ring.frames_waiting - safe_frames
        if undone <= 0:
            # What is unfinished stays so: its notes are in the ring, behind frames that stay there.
            if safe_frames == 0:
                give_back_held(self.mixer)
            return
        if self._ended:
            self._ended = False
            ring.reopen()
        before: Before | None = None
        unfinished, self._maker.unfinished = self._maker.unfinished, None
        if unfinished is not None:
            ring.take_back_notes(unfinished.notes)
            before = unfinished.before
        place = take_back_frames(ring, self._log, undone)
        if place is not None:
            before = place
            self._maker.went_back()
        if before is not None:
            # What began or ended by itself after this place will do so again, and say so again.
            ring.forget_notes()
            self._rewind_to(before)

    def _rewind_to(self, before: Before) -> None:
        later = before.rewind_inputs(self.mixer)
        staying: Sequence[MixerInput] = later
        if self.director is not None:
            staying = self.director.rewound(before.inputs, later)
        for entry in later:
            if entry not in staying:
                self.mixer.remove(entry)
        master_samples, ducking_samples = before.shared
        self.mixer.rewind(
            (*before.inputs, *staying), master_samples=master_samples, ducking_samples=ducking_samples
        )
