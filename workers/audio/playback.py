"""What one call plays, on its way to the call: from the tracks in its deck to frames in its ring.

A playback belongs to the encoder threads: they alone read, mix, encode and, once it is cancelled, close what
it holds. The control loop only sets `cancelled`, or leaves something for them to do: a track that arrives, a
wish, a skip. The pacing thread only takes frames from `ring`. Going back over the ring for a wish costs up to
a ring of encoding, so it is done once a frame's time at most, and what is wished meanwhile is carried out
together.

When all is in its ring, a playback rests until something is asked for.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.arrivals import Arrival, Arrivals
from voicepool.workers.audio.deck import Deck, DeckTrack
from voicepool.workers.audio.frame import FRAME_NS, Mark
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.hunger import Hunger, Outlet, Stuck
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.program import SAFE_FRAMES, Program
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.skipping import STARVED_RETRY_NS, Skip, Skips
from voicepool.workers.audio.warming import ProgramEncoder

__all__ = ["PASSING_FRAMES", "FrameEncoder", "Playback"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

PASSING_FRAMES: Final = 48
"""Frames to be ahead of Opus packets that pass through."""
PRIME_FRAMES: Final = 2
"""Frames in the ring before the first is sent: one to send and one to be late with."""
CHANGES_EVERY_NS: Final = FRAME_NS
"""How often to go back over the ring at most."""


class FrameEncoder(ProgramEncoder, Protocol):
    """An Opus encoder over a buffer of its own."""

    def close(self) -> None:
        """Release it."""


class _Closable(Protocol):
    def close(self) -> None: ...


class Playback:
    """The sound of one call.

    Parameters
    ----------
    encoder, buffer
        An encoder bound to the buffer: float32 of shape (960, 2).
    outlet
        Where the frames go.
    capacity_frames
        How many frames of 20 ms to be ahead; of packets that pass through, `PASSING_FRAMES`.
    gain
        Linear volume of all together.
    end
        Returns what to put into the ring after the last frame of the last track.
    on_stuck
        Told, on an encoder thread, of times in which nothing could be sent.
    """

    def __init__(
        self,
        *,
        encoder: FrameEncoder,
        buffer: NDArray[np.float32],
        outlet: Outlet,
        capacity_frames: int,
        gain: float,
        end: Callable[[], Sequence[bytes | Mark]],
        on_stuck: Callable[[Stuck], object],
    ) -> None:
        self.program: Final = Program(
            encoder=encoder,
            buffer=buffer,
            capacity_frames=capacity_frames,
            passing_frames=PASSING_FRAMES,
            end=end,
            mixer=Mixer(master=GainEnvelope(gain)),
        )
        self._deck = Deck(self.program)
        self.ring = self.program.ring
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
        """Why it is broken for good; set before the end is put into the ring."""
        self._arrivals = Arrivals()
        self._hunger = Hunger(self._deck, outlet, on_stuck)
        self._skips = Skips(self.program)
        self._encoder = encoder
        self._outlet = outlet
        # Of the command that wanted it: the encoder threads speak of its call (`voicepool.workers.logs`).
        self._context = contextvars.copy_context()

    # What is asked for, from any thread; the caller hurries the encoder threads.

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
        self.program.change(self._take_gain)
        return True

    def arrive(self, arrival: Arrival) -> None:
        """Put a track into the deck once it has something to be heard."""
        self._arrivals.add(arrival)

    def wish(self, wish: Callable[[Deck], object]) -> None:
        """Have something changed so that it is heard as soon as can be."""

        def carry_out(_: Mixer) -> None:
            wish(self._deck)

        self.program.change(carry_out)

    def skip(self, track: DeckTrack, frames: int, patience_ns: int, done: Callable[[bool], object]) -> None:
        """Leave out the next frames of a track. Until `done` is called nobody may take from `ring`.

        Parameters
        ----------
        frames
            20 ms each.
        patience_ns
            How long it may wait for a source that has nothing ready.
        done
            Called, on an encoder thread, when `ring` may be taken from again; with False if the source
            had not as much to leave out. It only hands over to another thread.
        """
        self._skips.add(Skip(track, frames, patience_ns, done))

    def heard_frames(self, track: DeckTrack) -> int:
        """Return the number of the frame of a track's feed that is heard next."""
        return 0 if track.entry is None else self.program.heard_at(track.entry)

    # What the encoder threads do.

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
        # One thread at a time: it holds `busy`.
        return self._context.run(self._fill, now_ns)

    def _fill(self, now_ns: int) -> int | None:
        if self.cancelled:
            self.close()
            return None
        if self.error is not None:
            # Whoever comes before the player has learned of it is refused.
            self._break_off(self.error)
            return now_ns
        try:
            self._deck.collect()
            waits = self._admit()
            again_ns = self._skips.go_on(now_ns) if self._skips else None
            if again_ns is None:
                again_ns = self._encode_on(now_ns)
            elif again_ns > now_ns and self.program.has_changes:
                # A skip waits for its source, and what was asked for (another track, a stop) not for that.
                again_ns = min(again_ns, self._encode_on(now_ns))
            return min(again_ns, now_ns + STARVED_RETRY_NS) if waits else again_ns
        except Exception as error:
            _LOGGER.exception("a playback failed inside voicepool")
            text = f"voicepool failed while it encoded: {error!r}; the worker's log has the traceback"
            self.error = ErrorInfo(code=ErrorCode.INTERNAL, text=text)
            self._break_off(self.error)
        return now_ns

    def due_again_ns(self) -> int:
        """Return when the ring has room for the next burst; 0, first of all, while a track waits for it."""
        if self._arrivals.are_entering and not self.program.has_changes:
            return 0
        room_for = self.program.capacity - len(self.ring) - self.program.burst
        return self._outlet.due_ns - room_for * FRAME_NS

    @property
    def may_park(self) -> bool:
        """Whether nothing is to be done until somebody asks for it."""
        return not (self.program.has_changes or self._skips or self._arrivals.waits) and self._is_idle

    def close(self) -> None:
        """Release tracks and codec. On an encoder thread, or when none can hold this playback."""
        if self.closed:
            return
        self.closed = True
        parts: tuple[_Closable, ...] = (self._deck, *self._arrivals.clear(), self._encoder, self.program)
        for part in parts:
            try:
                part.close()
            except Exception:
                # The thread that closes serves all calls of the worker.
                _LOGGER.exception("a %s could not be closed", type(part).__name__)

    # How it is done.

    @property
    def _is_idle(self) -> bool:
        """Whether all is in the ring, or no room will come of itself: it is full and nothing is sent."""
        return self.program.ended or not (self._is_sent or self._has_room)

    @property
    def _is_sent(self) -> bool:
        """Whether the ring is being sent, and not silence before a pause, or nothing."""
        return self._outlet.active and self._outlet.queue is self.ring

    @property
    def _has_room(self) -> bool:
        return self.program.frames.room(self.program.capacity) >= self.program.burst

    def _admit(self) -> bool:
        """Take in the tracks that have something to be heard; return whether others are waited for."""
        for enter in self._arrivals.admit(self._deck):
            self.program.change(enter)
        return self._arrivals.waits

    def _safe_frames(self, now_ns: int) -> int:
        """Return how many frames a change leaves in the ring: one less if the next leaves in a good while.

        So there are always 30 ms to make the others again, and it is heard after 50 ms at the latest. In a
        pause or a gap nothing is on its way, and it holds from the first frame after that.
        """
        if not self._is_sent:
            return 0
        left_ns = self._outlet.due_ns + FRAME_NS - now_ns
        return SAFE_FRAMES - 1 if left_ns > FRAME_NS // 2 else SAFE_FRAMES

    def _encode_on(self, now_ns: int) -> int:
        # A track that comes is let in at once: there are fewer of them than of turns of a knob. And while
        # nothing is sent nothing has to wait, so that all of it holds from the first frame that is.
        due = now_ns >= self._changes_from_ns or self._arrivals.are_entering or not self._is_sent
        changes = self.program.has_changes and due
        if changes:
            self._changes_from_ns = now_ns + CHANGES_EVERY_NS
        starved = self.program.fill(changes=changes, safe_frames=self._safe_frames(now_ns)) is NOT_YET
        self._outlet.dry = starved
        if changes and not self._is_sent:
            # It may rest for long from here on.
            self._deck.collect()
        if starved:
            self._deck.give_up_starving()
        self._hunger.watch(now_ns, starved=starved and not self.ring)
        if self._arrivals.are_entering and not self.program.has_changes:
            self._tell_ready(starved=starved)
        again_ns = self._next_turn_ns(now_ns, starved=starved)
        if self.program.has_changes:
            # It came too soon after another; there may be nothing else to do until it is time.
            return self._changes_from_ns if self._is_idle else min(again_ns, self._changes_from_ns)
        return again_ns

    def _tell_ready(self, *, starved: bool) -> None:
        program = self.program
        # Counted without the notes between them.
        if program.ended or program.frames.frames_waiting >= PRIME_FRAMES:
            self._arrivals.tell_ready()
        elif starved and self._deck.following is not None:
            # Nothing of it is made before its turn, which may be long if another starves until then.
            self._arrivals.tell_ready(only=self._deck.following.feed)

    def _next_turn_ns(self, now_ns: int, *, starved: bool) -> int:
        if starved or self._is_idle:
            # It parks, unless a track is waited for.
            return now_ns + STARVED_RETRY_NS
        if self._is_sent or self._arrivals.are_entering:
            due_ns = self.due_again_ns()
            # While the pacing thread is held up, that time has come already and there is no more room for it.
            return due_ns if self._has_room or not due_ns else max(due_ns, now_ns + STARVED_RETRY_NS)
        # What the outlet sent last is long ago, no reason to go before those that send.
        return now_ns

    def _break_off(self, error: ErrorInfo) -> None:
        self.program.break_off()
        self._arrivals.refuse(error)
        self._skips.give_up()

    def _take_gain(self, mixer: Mixer) -> None:
        self._gain_waits = False
        mixer.master.set_volume(self._gain)
