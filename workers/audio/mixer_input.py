"""One signal in a mixer: where its frames come from, and what is done to it [pure]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.readahead import NotYet
from voicepool.workers.errors import SourceError

__all__ = ["InputSource", "MixerFullError", "MixerInput"]


class MixerFullError(SourceError):
    """The mixer has all the inputs it may have.

    Parameters
    ----------
    limit
        How many that is.
    """

    def __init__(self, limit: int) -> None:
        text = f"{limit} tracks play in this call already, which is its limit; stop one of them first"
        super().__init__(ErrorCode.SOURCE_REFUSED, text, limit=limit)


class InputSource(Protocol):
    """Where an input's frames come from."""

    def next_frame(self) -> NDArray[np.float32] | NotYet | None:
        """Return 20 ms, `NOT_YET`, or None at the end; never wait long.

        Returns
        -------
        ndarray or NotYet or None
            float32 of shape ``(960, 2)``, valid until the next call of the same source's `next_frame`.

        Raises
        ------
        SourceError
            It cannot be read any further; the input ends with this error.
        """


class MixerInput:
    """One signal in a mixer, made by `Mixer.add`.

    Attributes
    ----------
    source
        Where its frames come from. The mixer does not close it.
    gain
        Its gain. One that has faded out ends the input.
    duck
        What it does to the others, if anything.
    on_end
        Called by `Mixer.mix` when it has ended; what it adds to the mixer is heard without a gap.
    held
        A frame that was taken from the source and is not mixed yet.
    owner
        Whatever the caller wants to find again with it.
    ended
        Whether it is out of the mixer, for whatever reason.
    error
        What its source failed with, if it did.
    starved_frames
        How many frames it was silent for because it had nothing ready.
    damaged_frames
        How many of its frames had samples in them that are no sound: NaN, infinite or beyond all measure.
    """

    __slots__ = (
        "damaged_frames",
        "duck",
        "ended",
        "error",
        "gain",
        "held",
        "on_end",
        "owner",
        "source",
        "starved_frames",
    )

    def __init__(
        self,
        source: InputSource,
        gain: GainEnvelope,
        duck: Duck | None,
        on_end: Callable[[MixerInput], object] | None,
        owner: object,
    ) -> None:
        self.source = source
        self.owner = owner
        self.gain = gain
        self.duck = duck
        self.on_end = on_end
        self.held: NDArray[np.float32] | None = None
        self.ended = False
        self.error: ErrorInfo | None = None
        self.starved_frames = 0
        self.damaged_frames = 0
