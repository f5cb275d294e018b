"""One playing source: turns what a reader hands out into Opus frames, ahead of time, into a ring of its own.

A playback belongs to the encoder threads: they alone read, encode and, once it is cancelled, close what it
holds. The control loop only sets `cancelled` and asks for another volume or a `skip`; the pacing thread only
takes frames from `ring`. What is made is the `Program`'s to know, so that another volume is heard soon: by
the fourth frame that is sent after it was asked for. Going back costs up to a ring of encoding, so it is done
once a frame's time at most, and what is asked for meanwhile is carried out together.

When all is in its ring, a playback rests until it is dismissed: a change may still be heard.

A skip leaves out what would have been heard in a gap: first the ring's frames, then the source's, which are
read (and so decoded) but never encoded, a bite at a time so that other calls are not delayed. A source read
ahead from the network may have less than that:

* With a known length it is a recording, which comes faster than it plays. The skip waits for it, for
  `RECORDING_PATIENCE_NS` in all; after that it is played from where it has come to.
* Without, it is live, and there is no more than what was sent meanwhile and is stale in some buffer. The skip
  waits for `LIVE_PATIENCE_NS`, in which those are emptied; after that it is played from the live edge.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.feed import Feed, FeedDecoder, FeedSource
from voicepool.workers.audio.frame import FRAME_NS, SILENCE, Mark
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer import Mixer, MixerInput
from voicepool.workers.audio.program import Program, ProgramEncoder
from voicepool.workers.audio.readahead import NOT_YET

__all__ = [
    "LIVE_PATIENCE_NS",
    "RECORDING_PATIENCE_NS",
    "FrameEncoder",
    "Outlet",
    "Playback",
]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

PRIME_FRAMES: Final = 2
"""Frames in the ring before the first is sent: one to send and one to be late with."""
STARVED_RETRY_NS: Final = 10_000_000
"""How soon to ask a source again that had nothing ready."""
CHANGES_EVERY_NS: Final = FRAME_NS
"""How often to go back over the ring at most."""
SKIP_BITE_FRAMES: Final = 10
"""Frames of the source left out in one go: decoding them takes about as long as encoding a burst."""
RECORDING_PATIENCE_NS: Final = 2_000_000_000
"""How long a skip may wait for a recording from the network."""
LIVE_PATIENCE_NS: Final = 100_000_000
"""How long a skip may wait for a live source."""


class FrameEncoder(ProgramEncoder, Protocol):
    """An Opus encoder over a buffer of its own."""

    def close(self) -> None:
        """Release it."""


class Outlet(Protocol):
    """What a playback must know of where its frames go."""

    active: bool
    due_ns: int


@dataclass(slots=True)
class _Skip:
    """Frames still to be left out, and whom to tell."""

    frames: int
    done: Callable[[bool], object]
    patience_ends_ns: int | None = None
    complete: bool = True


class Playback:
    """A source on its way to one call.

    Parameters
    ----------
    source
        Owned from now on.
    encoder, buffer
        An encoder bound to the buffer: float32 of shape (960, 2).
    make_decoder
        Makes the decoder that is needed once an Opus packet cannot pass through.
    outlet
        Where the frames go.
    capacity_frames
        How many frames of 20 ms to be ahead.
    gain
        Linear volume.
    end
        Given the playback, returns what to put into the ring after the last frame.
    primed
        Called on an encoder thread as soon as there is something to send, or an error instead.
    skip_patience_ns
        How long a skip may wait for a source that has nothing ready.
    early_samples
        The encoder's lookahead; see `Feed`.
    """

    def __init__(
        self,
        *,
        source: FeedSource,
        encoder: FrameEncoder,
        buffer: NDArray[np.float32],
        make_decoder: Callable[[], FeedDecoder],
        outlet: Outlet,
        capacity_frames: int,
        gain: float,
        end: Callable[[], Sequence[bytes | Mark]],
        primed: Callable[[], object],
        skip_patience_ns: int = 0,
        early_samples: int = 0,
    ) -> None:
        self._feed = Feed(
            source,
            make_decoder=make_decoder,
            kept_frames=Program.kept_frames(capacity_frames),
            early_samples=early_samples,
        )
        self._program = Program(
            encoder=encoder,
            buffer=buffer,
            capacity_frames=capacity_frames,
            end=end,
            mixer=Mixer(master=GainEnvelope(gain)),
        )
        self._program.mixer.add(self._feed, on_end=self._on_track_end)
        self.ring = self._program.ring
        self._gain = gain
        self._gain_waits = False
        self._changes_from_ns = 0
        self.busy = threading.Lock()
        """Held by the encoder thread that fills it."""
        self.ticket = -1
        """Number of its place among those that wait to be filled; an older one is void."""
        self.hurried = False
        """Whether something was asked for since a thread began to fill it."""
        self.cancelled = False
        self.parked = False
        """Waiting for nothing but a wake: all is in the ring, or it is full and its call sends nothing."""
        self.closed = False
        self.error: ErrorInfo | None = None
        """Why it ended early; set before the end is put into the ring."""
        self._frames_dropped = 0
        self._frames_passed_over = 0
        self._skips: deque[_Skip] = deque()
        self._skip_patience_ns = skip_patience_ns
        self._encoder = encoder
        self._outlet = outlet
        self._capacity = capacity_frames
        # Refilling in bursts costs fewer wake-ups and keeps one encoder's state in the cache. Packets that
        # need no encoding are cheap: more of them at once delay no other call.
        self._encoded_burst = max(1, capacity_frames // 4)
        self._passed_burst = max(1, capacity_frames // 2)
        self._primed: Callable[[], object] | None = primed

    @property
    def ended(self) -> bool:
        """Whether everything it will ever send is in the ring."""
        return self._program.ended

    @property
    def frames_encoded(self) -> int:
        """Frames of audio that were put into the ring, those not counted that were taken back."""
        return self._program.frames_made

    @property
    def frames_sent(self) -> int:
        """Frames of audio that have left; while the ring is being filled, up to a burst too few."""
        waiting = max(0, len(self.ring) - self._program.closing_frames)
        return max(0, self.frames_encoded - self._frames_dropped - waiting)

    @property
    def position_frames(self) -> int:
        """Where in the source it is: the frames that have left, and those that were left out."""
        return self.frames_sent + self._frames_dropped + self._frames_passed_over

    @property
    def skipped_packets(self) -> int:
        """Packets of the source that could not be decoded, so far."""
        return self._feed.skipped_packets

    @property
    def gain(self) -> float:
        """The linear volume that was asked for last."""
        return self._gain

    def set_gain(self, gain: float) -> bool:
        """Use another linear volume, without a click. From any one thread.

        Returns
        -------
        bool
            Whether to hurry the encoder threads. If not, it is the volume already, or they are about to
            carry out one that was asked for before, and take this in its place.
        """
        if gain == self._gain:
            return False
        # In this order, as in `_take_gain`: whoever clears the mark reads the gain after that.
        self._gain = gain
        if self._gain_waits:
            return False
        self._gain_waits = True
        self._program.change(self._take_gain)
        return True

    def fill(self, now_ns: int) -> int | None:
        """Produce a burst of frames.

        Parameters
        ----------
        now_ns
            Monotonic time in nanoseconds.

        Returns
        -------
        int or None
            When to be called again, in monotonic nanoseconds, unless it `may_park`; None when it is closed.
        """
        if self.cancelled:
            self.close()
            return None
        try:
            again_ns = self._skip_on(now_ns) if self._skips else None
            return self._encode_on(now_ns) if again_ns is None else again_ns
        except Exception as error:
            _LOGGER.exception("a playback failed inside voicepool")
            text = f"voicepool failed while it encoded: {error!r}; the worker's log has the traceback"
            self.error = ErrorInfo(code=ErrorCode.INTERNAL, text=text)
            self._program.break_off()
            self._tell_who_waits()
        return now_ns

    def skip(self, frames: int, done: Callable[[bool], object]) -> None:
        """Leave out the next frames: those in the ring, and then of the source. From any thread.

        Until `done` is called nobody may take from `ring`. One skip at a time; nudge the encoder threads.

        Parameters
        ----------
        frames
            20 ms each.
        done
            Called, on an encoder thread, when there is something to send again; with False if the source
            had not as much to leave out. It only hands over to another thread.
        """
        self._skips.append(_Skip(frames, done))

    def due_again_ns(self) -> int:
        """Return when the ring has room for the next burst; 0, first of all, until it is primed."""
        if self._primed is not None:
            return 0
        room_for = self._capacity - len(self.ring) - self._burst()
        return self._outlet.due_ns - room_for * FRAME_NS

    @property
    def may_park(self) -> bool:
        """Whether nothing is to be done until somebody asks for it."""
        return not (self._program.has_changes or self._skips) and self._is_idle

    def close(self) -> None:
        """Release source and codec. On an encoder thread, or when none can hold this playback."""
        if self.closed:
            return
        self.closed = True
        for part in (self._feed, self._encoder):
            try:
                part.close()
            except Exception:
                # The thread that closes serves all calls of the worker.
                _LOGGER.exception("a %s could not be closed", type(part).__name__)

    def _burst(self) -> int:
        return self._passed_burst if self._program.passes else self._encoded_burst

    @property
    def _is_idle(self) -> bool:
        """Whether all is in the ring, or no room will come of itself: it is full and nothing is sent."""
        return self.ended or not (self._outlet.active or len(self.ring) + self._burst() <= self._capacity)

    def _encode_on(self, now_ns: int) -> int:
        changes = self._program.has_changes and now_ns >= self._changes_from_ns
        if changes:
            self._changes_from_ns = now_ns + CHANGES_EVERY_NS
        starved = self._program.fill(self._burst(), changes=changes) is NOT_YET
        self._tell_who_waits()
        again_ns = self._next_turn_ns(now_ns, starved=starved)
        if self._program.has_changes:
            # It came too soon after another; there may be nothing else to do until it is time.
            return self._changes_from_ns if self._is_idle else min(again_ns, self._changes_from_ns)
        return again_ns

    def _next_turn_ns(self, now_ns: int, *, starved: bool) -> int:
        if starved:
            return now_ns + STARVED_RETRY_NS
        if not self.ended and (self._primed is not None or self._outlet.active):
            return self.due_again_ns()
        # It parks; or what the outlet sent last is long ago, no reason to go before those that send.
        return now_ns

    def _skip_on(self, now_ns: int) -> int | None:
        """Leave out a bite; return when to go on with that, or None if it is done."""
        skip = self._skips[0]
        self._drop_from_ring(skip)
        if self.ended:
            skip.frames = 0
        for _ in range(min(skip.frames, SKIP_BITE_FRAMES)):
            frame = self._feed.peek()
            if frame is NOT_YET:
                if skip.patience_ends_ns is None:
                    skip.patience_ends_ns = now_ns + self._skip_patience_ns
                if now_ns < skip.patience_ends_ns:
                    return now_ns + STARVED_RETRY_NS
                skip.frames, skip.complete = 0, False
                break
            if frame is None:
                # It ended within the gap, and says so again to who asks for a frame to encode.
                skip.frames = 0
                break
            self._feed.go_on()
            skip.frames -= 1
            self._frames_passed_over += 1
        # Not at once: whatever is overdue goes first.
        return now_ns if skip.frames else None

    def _drop_from_ring(self, skip: _Skip) -> None:
        """Take out audio up to the closing silence; nobody else takes anything meanwhile."""
        ring = self.ring
        while skip.frames and ring and isinstance(ring[0], bytes) and ring[0] is not SILENCE:
            # In this order, so that a frame left out is never taken for one that was sent.
            self._frames_dropped += 1
            ring.popleft()
            skip.frames -= 1

    def _tell_who_waits(self) -> None:
        if not self.ended and len(self.ring) < PRIME_FRAMES:
            return
        if self._primed is not None:
            primed, self._primed = self._primed, None
            primed()
        if self._skips and not self._skips[0].frames:
            skip = self._skips.popleft()
            skip.done(skip.complete)

    def _take_gain(self, mixer: Mixer) -> None:
        self._gain_waits = False
        mixer.master.set_volume(self._gain)

    def _on_track_end(self, track: MixerInput) -> None:
        if track.error is not None:
            self.error = track.error
