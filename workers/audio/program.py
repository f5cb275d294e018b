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

import numpy as np

from voicepool.workers.audio.director import Director
from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.frame import Mark
from voicepool.workers.audio.making import (
    Before,
    Made,
    MakingLog,
    Run,
    feed_of,
    give_back_held,
    take_back_frames,
)
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.ring import FrameRing
from voicepool.workers.audio.warming import WARM_UP_FRAMES, ProgramEncoder, Settling, WarmedEncoder

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
    director
        Plans ahead; by None, nothing is planned.

    Attributes
    ----------
    frames
        What is to be sent, and how much was.
    passes
        Whether the last frame was a packet as it came.
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
        director: Director | None = None,
    ) -> None:
        if capacity_frames < 1:
            raise ValueError(f"capacity_frames must be 1 or more, not {capacity_frames}")
        self.frames = FrameRing()
        self.mixer = Mixer() if mixer is None else mixer
        self.director = director
        self._encoder = WarmedEncoder(encoder, buffer)
        self._encoded_capacity = capacity_frames
        self._passing_capacity = max(capacity_frames, passing_frames)
        self._end = end
        self._changes: deque[Callable[[Mixer], object]] = deque()
        # Longer than the ring by what a cold encoder is given: whatever may be taken back is in it.
        self._log = MakingLog(
            self.kept_frames(self._passing_capacity), kept_pcm=self.kept_frames(capacity_frames)
        )
        self._unfinished: Made | None = None
        """A frame that is not made yet, or at the end never, although tracks have ended or begun for it."""
        self._settling = Settling()
        self._ended = False
        self._broken = False
        self.passes = False
        self._encodes = False
        """Whether the last frame was PCM of the only track, as it came."""

    @staticmethod
    def kept_frames(capacity_frames: int) -> int:
        """Return how many frames a feed of such a program has to keep; of packets, by `passing_frames`."""
        return capacity_frames + WARM_UP_FRAMES

    @property
    def capacity(self) -> int:
        """How many frames to be ahead at present."""
        return self._passing_capacity if self.passes else self._encoded_capacity

    @property
    def burst(self) -> int:
        """How many frames to make at a time at present.

        Bursts cost fewer wake-ups, and keep one encoder's state in the cache. Packets are cheap: more of them
        at once delay no other call.
        """
        return max(1, self._passing_capacity // 2) if self.passes else max(1, self._encoded_capacity // 4)

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
        self._finish(None)

    def close(self) -> None:
        """Make nothing any more, and forget what was made; what is in the ring may still be sent."""
        self._broken = True
        self._changes.clear()
        self._unfinished = None
        self._log.release()
        self._end = tuple

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
            passed = 0
            if self._encodes:
                # Most calls encode one track for minutes; it need not be looked for packets each time.
                self._take_turn()
            else:
                passed = self._pass_run(self._passing_capacity - len(self.frames))
            if not passed:
                if len(self.frames) >= self._encoded_capacity:
                    return None
                if self._make() is NOT_YET:
                    return NOT_YET
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
                self._log.clear()
                self._encoder.is_cold = True

    def _carry_out(self, change: Callable[[Mixer], object]) -> None:
        try:
            change(self.mixer)
        except Exception:
            # One bad wish must not silence the call.
            _LOGGER.exception("a change of what plays failed inside voicepool")

    def _take_turn(self) -> int | None:
        """Let the director act if it is time; return how many frames may be made before it is again."""
        if self.director is None:
            return None
        to_turn = self.director.frames_to_turn()
        if to_turn != 0:
            return to_turn
        # How things stood before that: whoever goes back over this frame takes its turn again.
        self._unfinished = self._unfinished or Made(Before.of(self.mixer))
        self.director.turn()
        return self.director.frames_to_turn()

    def _has_settled(self, sole: MixerInput) -> bool:
        """Return whether packets of this input may follow what the listener has heard last."""
        return self._settling.is_over or not self._log.has_mixed(sole)

    def _pass_run(self, room: int) -> int:
        """Pass on the packets that come next, if they can be sent as they are; return how many."""
        to_turn = self._take_turn()
        mixer, sole = self.mixer, self.mixer.sole_unity_input
        if sole is None or not self._has_settled(sole):
            self.passes = False
            return 0
        most = min(room, max(1, self._passing_capacity // 2), mixer.unity_frames)
        if to_turn is not None:
            most = min(most, to_turn)
        if most <= 0:
            return 0
        feed = feed_of(sole)
        run = Run(sole, feed.position_frames, sole.gain.position_samples, mixer.position)
        packets = feed.take_packets(most)
        if not packets:
            # What comes next has to be encoded, or is not there yet: no reason to be so far ahead.
            self.passes = False
            return 0
        frames = len(packets)
        made = self._unfinished or Made(run.before(0))
        made.run, made.frames = run, frames
        mixer.pass_frames(frames)
        self._append(made, packets)
        self.passes = self._encoder.is_cold = True
        return frames

    def _make(self) -> NotYet | None:
        """Make a frame that has to be encoded; or find out that there is none."""
        mixer = self.mixer
        self._encodes = False
        while (sole := mixer.sole_unity_input) is not None:
            feed = feed_of(sole)
            raw = feed.peek()
            if raw is NOT_YET:
                return NOT_YET
            if isinstance(raw, bytes):
                if not self._has_settled(sole):
                    break
                # What was to be found out is over, and the packet follows as it is.
                return None
            if raw is None:
                self._unfinished = self._unfinished or Made(Before.of(self.mixer))
                mixer.end_sole()
                self._unfinished.notes += self.frames.put_notes()
                self._take_turn()
                if mixer.sole_unity_input is None:
                    break
                continue
            if not feed.is_early:
                self._encode_alone(raw, sole, feed)
                return None
            break
        return self._mix()

    def _encode_alone(self, raw: PcmFrame, sole: MixerInput, feed: TrackFeed) -> None:
        """Encode what the only track gave, as it is."""
        mixer = self.mixer
        # As `_before` would say, and in half the time.
        places = ((feed.position_frames, sole.gain.position_samples),)
        made = self._unfinished or Made(Before((sole,), places, mixer.position))
        made.raw = raw
        feed.go_on()
        mixer.pass_frames()
        heard_last = self._log.last_heard(WARM_UP_FRAMES) if self._encoder.is_cold else ()
        self._append(made, (self._encoder.encode(raw, heard_last),))
        self.passes = False
        self._encodes = True

    def _mix(self) -> NotYet | None:
        made = self._unfinished or Made(Before.of(self.mixer))
        encoder = self._encoder
        sole = self.mixer.sole_unity_input
        might_pass = sole is not None and isinstance(feed_of(sole).peek(), bytes)
        # Asked for before the mix, so that a decoder that is needed from here on goes straight through.
        heard_last = self._log.last_heard(WARM_UP_FRAMES) if encoder.is_cold and self.mixer.inputs else ()
        mixed = self.mixer.mix(encoder.buffer, wait=self._may_wait)
        made.notes += self.frames.put_notes()
        if mixed is NOT_YET:
            # Whoever goes back over this frame finds those again that have ended for it.
            self._unfinished = made if made.notes else None
            return NOT_YET
        if mixed is None:
            self._finish(made)
            return None
        self._settling.note_mixed(might_pass=might_pass)
        made.raw = made.mixed = self._log.buffer()
        np.copyto(made.mixed, encoder.buffer)
        pcm = made.mixed if encoder.is_cold else encoder.buffer
        self._append(made, (encoder.encode(pcm, heard_last),))
        self.passes = False
        return None

    @property
    def _may_wait(self) -> bool:
        """Whether a frame may wait for a track that has nothing ready: not if others are about to stop."""
        return len(self.frames) > SAFE_FRAMES or all(entry.held is None for entry in self.mixer.inputs)

    def _append(self, made: Made, frames: Sequence[bytes]) -> None:
        made.notes += self.frames.put_notes()
        self._unfinished = None
        self._log.append(made)
        self.frames.put(frames)

    def _finish(self, made: Made | None) -> None:
        if not self._ended:
            self._ended = True
            self._unfinished = made
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
        if self._unfinished is not None:
            unfinished, self._unfinished = self._unfinished, None
            ring.take_back_notes(unfinished.notes)
            before = unfinished.before
        place = take_back_frames(ring, self._log, undone)
        if place is not None:
            before = place
            self._encoder.is_cold = True
            self._settling.begin()
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
