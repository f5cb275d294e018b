"""One track in a deck: its feed, how it begins and ends, and what was told of it.

All is done on an encoder thread, but that `DeckTrack.tell_started` and `DeckTrack.tell_ended` are called on
the pacing thread, in the order of what is sent.
"""

from __future__ import annotations

from collections.abc import Callable

from voicepool.ipc.errors import ErrorInfo
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.nobody import tell_nobody

__all__ = ["DeckTrack"]


class DeckTrack:
    """One track in a deck.

    Parameters
    ----------
    feed
        Its frames; owned by the deck from `Deck.start` and the like on.
    volume
        Linear.
    duck
        What it does to the others, if it is laid over them.
    fade_in_samples, fade_out_samples
        How long it rises at its start, and sinks at its end if `length_frames` is known.
    crossfade_samples
        How long it and the main track before it are heard together.
    length_frames
        How many frames it will have, if that is known; need not be whole.
    on_started
        Called when its first frame is about to be sent.
    on_ended
        Called with what it failed with, or None, when its last frame has been sent.

    Attributes
    ----------
    entry
        Its place in the mixer, once it has one.
    """

    def __init__(
        self,
        feed: TrackFeed,
        *,
        on_started: Callable[[], object],
        on_ended: Callable[[ErrorInfo | None], object],
        volume: float = 1.0,
        duck: Duck | None = None,
        fade_in_samples: int = 0,
        fade_out_samples: int = 0,
        crossfade_samples: int = 0,
        length_frames: float | None = None,
    ) -> None:
        self.feed = feed
        self.volume = volume
        self.duck = duck
        self.fade_in_samples = fade_in_samples
        self.fade_out_samples = fade_out_samples
        self.crossfade_samples = crossfade_samples
        self.length_frames = length_frames
        self._on_started = on_started
        self._on_ended = on_ended
        self._has_started = False
        self._has_ended = False
        self.entry: MixerInput | None = None
        self.is_overlay = False
        self.is_cut = False
        """It ends because it was asked to."""
        self.before: DeckTrack | None = None
        """The main track that it followed by itself."""
        self.began_as: MixerInput | None = None
        """Its place in the mixer when it did so; a seek gives it another."""
        self.frames_before = 0
        """How many frames of earlier feeds of it were heard, less those of this one that were left out."""

    def tell_started(self) -> None:
        """Tell of its start, once: going back may find that this was sent just now. On the pacing thread."""
        if not self._has_started:
            self._has_started = True
            self._on_started()
            self._on_started = tell_nobody

    def tell_ended(self, error: ErrorInfo | None) -> None:
        """Tell of its end, likewise once."""
        if not self._has_ended:
            self._has_ended = True
            on_ended, self._on_ended = self._on_ended, tell_nobody
            # They know the track that holds this: a circle that would keep its decoder and its encoded frames
            # until everything is collected, which a worker seldom does (`voicepool.workers.garbage`).
            self._on_started = tell_nobody
            on_ended(error)

    def let_go(self) -> None:
        """Tell nobody of anything any more: whoever would be told knows this. From any thread."""
        self._on_started = self._on_ended = tell_nobody

    @property
    def position_frames(self) -> int:
        """The number of the frame of its feed that is mixed next."""
        held = self.entry is not None and self.entry.held is not None
        return self.feed.position_frames - held

    def plan_fade_out(self) -> None:
        """Have it sink before its end, if it is to and that is known."""
        if self.entry is not None and self.fade_out_samples and self.length_frames is not None:
            gain = self.entry.gain
            left = round((self.length_frames - self.position_frames) * FRAME_SAMPLES)
            if left > 0:
                gain.fade_out(self.fade_out_samples, end_sample=gain.position_samples + left)
