"""Who decides what a program plays, as the program sees it [pure]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from voicepool.workers.audio.mixer_input import MixerInput

__all__ = ["Director"]


class Director(Protocol):
    """Who decides what is heard when, in time of the program."""

    def frames_to_turn(self) -> int | None:
        """Return how many frames may be made before `turn` is due: 0 is now; None if nothing is planned."""

    def turn(self) -> None:
        """Change the mixer before the next frame is made. What it adds must be in `began`."""

    def rewound(self, restored: Sequence[MixerInput], later: Sequence[MixerInput]) -> Sequence[MixerInput]:
        """Learn that frames are made again from some place on.

        Parameters
        ----------
        restored
            The inputs of that place.
        later
            Those that began since.

        Returns
        -------
        sequence
            Of the latter, those that begin with the first frame that is made again, as what was asked for
            does. The others are out: what began by itself will do so again.
        """
