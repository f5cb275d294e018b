"""One call's way out: the queue its frames come from, and the RTP stream they leave by.

The control loop changes what a lane sends by swapping its queue, which is one assignment: to the ring of a
playback, to a short tail of silence that ends in a `Parked` mark, or to another playback's ring. A frame
that an encoder appends late, to a queue that is no longer the lane's, is never heard.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from voicepool.workers.audio.frame import SILENCE, SILENCE_FRAMES_AT_END, Mark
from voicepool.workers.nobody import tell_nobody

__all__ = ["Ended", "Lane", "Parked", "silent_tail"]


class Parked(Mark):
    """Nothing more to send for now: the lane leaves the wheel."""

    __slots__ = ()


class Ended(Mark):
    """The playback is over: its last frame, and the silence after it, were sent.

    Parameters
    ----------
    report
        Called on the pacing thread with no argument; it must only hand over to another thread.
    """

    __slots__ = ("report",)

    def __init__(self, report: Callable[[], object]) -> None:
        self.report = report


PARKED: Final = Parked()


def silent_tail(mark: Mark = PARKED) -> list[bytes | Mark]:
    """Return the five silence frames that precede a pause or an end, and the mark after them."""
    return [*(SILENCE,) * SILENCE_FRAMES_AT_END, mark]


def _unbound(*_: bytes) -> bytes:
    msg = "this call has no transport yet"
    raise OSError(msg)


class Lane:
    """State of one outgoing RTP stream. Counters are written by the pacing thread only.

    `bind` gives it a transport, with a random start of sequence and timestamp (RFC 3550 §5.1). The RTP
    timestamp is ``base + turn · 960``: it follows the wall clock over pauses and gaps by itself.
    """

    __slots__ = (
        "active",
        "dry",
        "due_ns",
        "frames",
        "nulled",
        "nulled_by_source",
        "nulled_run",
        "on_failure",
        "queue",
        "ring_low",
        "seal",
        "send",
        "send_errors",
        "sequence",
        "silence",
        "slot",
        "ssrc",
        "timestamp_base",
    )

    def __init__(self, on_failure: Callable[[Exception], object]) -> None:
        self.queue: deque[bytes | Mark] = deque()
        self.active = False
        """In the wheel. Changed under the pacer's lock only."""
        self.slot = 0
        self.due_ns = 0
        """When the frame sent last was due."""
        self.frames = 0
        self.silence = 0
        self.nulled = 0
        self.nulled_by_source = 0
        """Those of `nulled` at which the source had nothing ready; at the others nothing was encoded."""
        self.dry = False
        """Whether the source of what is in the queue has nothing ready. Kept by the encoder threads."""
        self.nulled_run = 0
        self.send_errors = 0
        self.ring_low = 0
        self.on_failure = on_failure
        """Told, on the pacing thread, of an error that ends this call's sending."""
        self.bind(_unbound, _unbound, 0)

    def bind(self, seal: Callable[[bytes, bytes], bytes], send: Callable[[bytes], object], ssrc: int) -> None:
        """Send through another transport from now on. Only while the lane is not in the wheel."""
        self.seal = seal
        self.send = send
        self.ssrc = ssrc
        self.sequence = secrets.randbits(16)
        self.timestamp_base = secrets.randbits(32)

    @property
    def nulled_by_encoder(self) -> int:
        """Ticks at which there was sound, and it was not encoded in time."""
        return self.nulled - self.nulled_by_source

    def let_go(self) -> None:
        """Know no transport any more, and nobody to tell. Only while the lane is not in the wheel.

        Whoever made this and this know each other; see `voicepool.workers.garbage`.
        """
        self.seal = self.send = _unbound
        self.on_failure = tell_nobody

    def take_ring_low(self) -> int:
        """Return the fewest frames left in the ring since the last call, and start over."""
        low, self.ring_low = self.ring_low, len(self.queue)
        return low
