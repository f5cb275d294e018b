"""Several signals into one [pure].

A frame is made in this order. Each input is multiplied by its own gain and added to one of two sums: those
that duck the others, and the others. The second sum sinks while the first sounds. Both are added, the master
gain comes on top, and the result is bent into [-1, 1]:

    inputs ── gain ──┬── the others ── duck ──┬── master gain ── soft clip ── out
                     └── that duck them ──────┘

An input that has nothing ready does not hold up the others: it is silence in this frame, is counted, and
stands still meanwhile, as do its fades. A caller that is ahead of time may wait for it instead
(`Mixer.mix` with ``wait``); what the others gave is kept for the next attempt. An input that ends is taken
out before the frame is made, so what its `on_end` adds begins in the same frame, without a gap.

A single input with nothing to do to it comes out bit by bit, even above the soft clip's threshold, so that
the caller may as well send the source's own packets (`Mixer.sole_unity_input`) and nobody hears the change.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.ducking import Duck, Ducking, is_audible
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer_input import InputSource, MixerFullError, MixerInput
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.softclip import SoftClip
from voicepool.workers.errors import SourceError

__all__ = ["MAX_INPUTS", "Mixer", "Scratch"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

MAX_INPUTS: Final = 32
"""More at once are noise, and a worker's other calls would pay for it."""
_SHAPE: Final = (FRAME_SAMPLES, CHANNELS)


class Scratch:
    """Buffers that hold nothing between two calls of `Mixer.mix`: all mixers of one thread can share them."""

    __slots__ = ("front", "mended", "scaled")

    def __init__(self) -> None:
        self.front: NDArray[np.float32] = np.empty(_SHAPE, dtype=np.float32)
        self.scaled: NDArray[np.float32] = np.empty(_SHAPE, dtype=np.float32)
        self.mended: NDArray[np.float32] = np.empty(_SHAPE, dtype=np.float32)


class _Sum:
    """Adds frames up in a buffer; the first one needs no clearing before it."""

    __slots__ = ("_empty", "_into", "_scratch")

    def __init__(self, into: NDArray[np.float32], scratch: Scratch) -> None:
        self._into = into
        self._scratch = scratch
        self._empty = True

    def add(self, frame: NDArray[np.float32], gain: float | NDArray[np.float32]) -> None:
        if _is_unity(gain):
            if self._empty:
                np.copyto(self._into, frame)
            else:
                np.add(self._into, frame, out=self._into)
        elif self._empty:
            np.multiply(frame, gain, out=self._into)
        else:
            np.multiply(frame, gain, out=self._scratch.scaled)
            np.add(self._into, self._scratch.scaled, out=self._into)
        self._empty = False

    def scale(self, gain: float | NDArray[np.float32]) -> None:
        if not (self._empty or _is_unity(gain)):
            np.multiply(self._into, gain, out=self._into)

    def add_sum(self, other: _Sum) -> None:
        if not other._empty:
            self.add(other._into, 1.0)

    def close(self) -> None:
        if self._empty:
            self._into.fill(0.0)


class Mixer:
    """Mixes the inputs of one call. One thread at a time calls it, its inputs' gains included.

    Parameters
    ----------
    max_inputs
        The bound, at least 1.
    scratch
        Buffers shared with other mixers of the same thread; by None, its own.
    master
        The gain of all together; by None, 1.

    Attributes
    ----------
    master
        The gain of all together.
    """

    def __init__(
        self,
        *,
        max_inputs: int = MAX_INPUTS,
        scratch: Scratch | None = None,
        master: GainEnvelope | None = None,
    ) -> None:
        if max_inputs < 1:
            raise ValueError(f"max_inputs must be 1 or more, not {max_inputs}")
        self.master = GainEnvelope() if master is None else master
        self._max_inputs = max_inputs
        self._scratch = Scratch() if scratch is None else scratch
        self._inputs: list[MixerInput] = []
        self._ducking = Ducking()
        self._soft_clip = SoftClip()

    @property
    def inputs(self) -> tuple[MixerInput, ...]:
        """Those that have not ended, in the order they came."""
        return tuple(self._inputs)

    @property
    def is_full(self) -> bool:
        """Whether `add` would refuse."""
        return len(self._inputs) >= self._max_inputs

    @property
    def sole_unity_input(self) -> MixerInput | None:
        """The input whose next frame would come out as it is, being alone; else None.

        Its source's packets may be sent in place of mixed frames, followed by `pass_frames`. A frame that the
        mixer has taken from the source already goes first, by way of `mix`.
        """
        if len(self._inputs) != 1:
            return None
        only = self._inputs[0]
        ducked = only.duck is None and not self._ducking.gain.is_unity
        if only.held is not None or ducked or not (only.gain.is_unity and self.master.is_unity):
            return None
        return only

    def add(
        self,
        source: InputSource,
        *,
        gain: GainEnvelope | None = None,
        duck: Duck | None = None,
        on_end: Callable[[MixerInput], object] | None = None,
        owner: object = None,
    ) -> MixerInput:
        """Let a source be heard from the next frame on.

        Parameters
        ----------
        source
            Owned by the caller, who closes it after `on_end` or `remove`.
        gain
            Its gain, for example with a fade-in; by None, 1.
        duck
            Lets the others sink while it sounds. Those that do so leave each other alone, and of several
            that sound the deepest counts.
        on_end
            Called by `mix` once it has ended by itself, failed, or faded out; not by `remove`.
        owner
            Kept with it.

        Raises
        ------
        MixerFullError
            There are `max_inputs` already.
        """
        if self.is_full:
            raise MixerFullError(self._max_inputs)
        added = MixerInput(source, GainEnvelope() if gain is None else gain, duck, on_end, owner)
        self._inputs.append(added)
        return added

    def remove(self, gone: MixerInput) -> None:
        """Take an input out at once; one that is out already stays out.

        That cuts off what sounds, with a click: fade it out instead, and it leaves by itself.
        """
        if gone in self._inputs:
            self._inputs.remove(gone)
        gone.ended = True
        gone.held = None

    def rewind(self, inputs: Iterable[MixerInput], *, master_samples: int, ducking_samples: int) -> None:
        """Be again as before some frame: the inputs of then, and the gains where they were.

        The caller takes the inputs' sources and their own gains back. How loud those were that duck others is
        forgotten: it shows again when their frames are mixed again.

        Parameters
        ----------
        inputs
            Those that had not ended then, in their order.
        master_samples, ducking_samples
            What `position` was.
        """
        self._inputs = list(inputs)
        for entry in self._inputs:
            entry.ended, entry.held = False, None
        self.master.rewind_to(master_samples)
        self._ducking.gain.rewind_to(ducking_samples)

    @property
    def position(self) -> tuple[int, int]:
        """Where the gains stand that all inputs share, in samples: the master's and the ducking's."""
        return self.master.position_samples, self._ducking.gain.position_samples

    @np.errstate(over="ignore", invalid="ignore")
    def mix(self, out: NDArray[np.float32], *, wait: bool = False) -> NDArray[np.float32] | NotYet | None:
        """Make the next frame.

        Parameters
        ----------
        out
            Where to: float32 of shape ``(960, 2)``, which no source has its frames in.
        wait
            Whether to make none while an input has nothing ready.

        Returns
        -------
        ndarray or NotYet or None
            `out`, every sample of it in [-1, 1]; `NOT_YET` if it is to wait; None if there is no input left.
        """
        complete = self._collect()
        if not self._inputs:
            self._ducking.reset()
            return None
        if wait and not complete:
            return NOT_YET
        as_it_was = self._add_up(out)
        # Both buffers are free again once the sum is made.
        self._soft_clip.apply(out, self._scratch.front, self._scratch.scaled, bends=not as_it_was)
        return out

    @property
    def unity_frames(self) -> int:
        """How many of the next frames of `sole_unity_input` would come out as they are."""
        only = self._inputs[0]
        if only.duck is not None:
            # What it does to others is steered frame by frame.
            return 1
        return min(only.gain.unity_frames, self.master.unity_frames, self._ducking.gain.unity_frames)

    def pass_frames(self, frames: int = 1) -> None:
        """Go on by frames, `unity_frames` at most, that the caller took from `sole_unity_input` and sent."""
        only = self._inputs[0]
        # How loud a packet is shows only when it is decoded. It is more likely to sound than not.
        self._ducking.steer(only.duck)
        for gain in (only.gain, self._ducking.gain, self.master):
            gain.pass_frames(frames)
        self._soft_clip.pass_frame()

    def end_sole(self) -> None:
        """Take note that `sole_unity_input` has come to its end, as `mix` would."""
        self._poll(self._inputs[0])

    def _collect(self) -> bool:
        """Hold a frame of each input, as far as there are any; return whether there are."""
        complete, at, ends = True, 0, 0
        while at < len(self._inputs):
            entry = self._inputs[at]
            if entry.held is None:
                frame = self._poll(entry)
                if frame is None:
                    # Its `on_end` may have moved any of them. It may also add one that ends at once, again
                    # and again, which has to stop somewhere.
                    complete, at, ends = True, 0, ends + 1
                    if ends > self._max_inputs:
                        return False
                    continue
                if frame is NOT_YET:
                    complete = False
                else:
                    entry.held = frame
            at += 1
        return complete

    def _poll(self, entry: MixerInput) -> NDArray[np.float32] | NotYet | None:
        """Ask an input; None if it is out now."""
        try:
            frame = None if entry.gain.is_over else entry.source.next_frame()
        except SourceError as error:
            entry.error = error.info
            frame = None
        except Exception as error:
            # One track's defect must not silence the others.
            _LOGGER.exception("a track failed inside voicepool")
            text = f"voicepool failed while it read a track: {error!r}; the worker's log has the traceback"
            entry.error = ErrorInfo(code=ErrorCode.INTERNAL, text=text)
            frame = None
        if frame is None:
            self.remove(entry)
            if entry.on_end is not None:
                entry.on_end(entry)
        return frame

    def _add_up(self, out: NDArray[np.float32]) -> bool:
        """Mix what is held into `out`; return whether it is one input's frame as it was."""
        others = _Sum(out, self._scratch)
        front = _Sum(self._scratch.front, self._scratch)
        loudest: Duck | None = None
        as_it_was = len(self._inputs) == 1
        for entry in self._inputs:
            if entry.held is None:
                entry.starved_frames += 1
                continue
            frame, entry.held = entry.held, None
            samples = frame.ravel()
            energy = float(samples.dot(samples))
            if not math.isfinite(energy):
                entry.damaged_frames += 1
                frame = self._mend(frame)
                energy = math.inf
            gain = entry.gain.advance()
            as_it_was = as_it_was and _is_unity(gain)
            if entry.duck is None:
                others.add(frame, gain)
                continue
            front.add(frame, gain)
            deeper = loudest is None or entry.duck.duck_db < loudest.duck_db
            if deeper and is_audible(energy, gain):
                loudest = entry.duck
        self._ducking.steer(loudest)
        ducked, master = self._ducking.gain.advance(), self.master.advance()
        others.scale(ducked)
        unducked = self._inputs[0].duck is not None or _is_unity(ducked)
        others.add_sum(front)
        others.scale(master)
        others.close()
        return as_it_was and unducked and _is_unity(master)

    def _mend(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a damaged frame as it can be mixed: NaN silent, the rest cut at full scale."""
        mended = self._scratch.mended
        np.copyto(mended, frame)
        np.nan_to_num(mended, copy=False)
        np.clip(mended, -1.0, 1.0, out=mended)
        return mended


def _is_unity(gain: float | NDArray[np.float32]) -> bool:
    return isinstance(gain, float) and gain == 1.0
