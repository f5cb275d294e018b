"""What others send: which frame is decrypted, which passes as it is, which is lost [pure].

The mirror of `frames` for the receiving side, on the control loop, whose socket it is. What cannot be
decrypted is None, to be treated as a lost packet: never the ciphertext, never noise.

Frames in the clear pass while the call is not encrypted, for 10 s after an upgrade, and from the announcement
of a downgrade on (DAVE protocol, Passthrough Mode). Frames that fail to decrypt within 10 s of a change are
its price; a run of them in a settled call means that our group is not the others' any more, and there is but
one way to repair that: report it and be added again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Final

from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.contract import DaveGroup, GroupError
from voicepool.workers.dave.frames import is_protocol_frame

__all__ = ["FAILURES_TOLERATED", "TRANSITION_S", "FrameOpener", "PassthroughWindow"]

TRANSITION_S: Final = 10.0
"""How long frames of before a transition may still arrive (DAVE protocol, Protocol Version Changes)."""
ANNOUNCED_DOWNGRADE_S: Final = 120.0
"""How long an announced downgrade may take until it is executed; discord.py and songbird use the same."""
FAILURES_TOLERATED: Final = 36
"""Frames in a row that may fail in a settled call; @discordjs/voice uses the same. 0.72 s of one speaker."""


class PassthroughWindow:
    """When frames in the clear may pass, and when failures are to be expected. The protocol moves it."""

    __slots__ = ("_open_until", "_settled_from")

    def __init__(self) -> None:
        self._open_until = math.inf
        self._settled_from = -math.inf

    def open(self) -> None:
        """Let frames in the clear pass: the call is not encrypted."""
        self._open_until = math.inf

    def open_until(self, until: float) -> None:
        """Let them pass until then, seconds, monotonic, or longer if that has been said before."""
        self._open_until = max(self._open_until, until)

    def close(self) -> None:
        """Let none pass any more: the call begins encrypted."""
        self._open_until = -math.inf

    def close_at(self, until: float) -> None:
        """Let them pass until then and no longer, if they pass now."""
        self._open_until = min(self._open_until, until)

    def changed(self, now: float) -> None:
        """Note that keys or members changed: expect failures for a while."""
        self._settled_from = now + TRANSITION_S

    def is_open(self, now: float) -> bool:
        """Whether a frame in the clear may pass."""
        return now < self._open_until

    def is_settled(self, now: float) -> bool:
        """Whether a failure means something."""
        return now >= self._settled_from


class FrameOpener:
    """Opens what others send.

    Parameters
    ----------
    group
        Decrypts.
    window
        The protocol's.
    settle
        `DaveProtocol.settle`: merges a commit that is held back, and returns whether there was one. A frame
        under a new key shows that its sender has executed a transition that we have yet to. The protocol may
        have something to send then.
    on_failing
        `DaveProtocol.cannot_decrypt`: told when too many frames in a row have failed.
    """

    def __init__(
        self,
        group: DaveGroup,
        window: PassthroughWindow,
        *,
        settle: Callable[[float], bool],
        on_failing: Callable[[float], object],
    ) -> None:
        self._group = group
        self._window = window
        self._settle = settle
        self._on_failing = on_failing
        self._failed_in_a_row = 0
        self.decrypted = 0
        """Frames that were decrypted."""
        self.passed = 0
        """Frames in the clear that might pass; silence is not counted."""
        self.lost: Counter[str] = Counter()
        """Frames that gave None: ``in_the_clear``, ``unknown_member`` or ``undecryptable``."""

    def open(self, user_id: int, frame: bytes, now: float) -> bytes | None:
        """Return the Opus frame, or None if it is lost.

        Parameters
        ----------
        user_id
            Who sent it, by its SSRC.
        frame
            Payload of the packet: transport decrypted, extension and padding stripped.
        now
            Seconds, monotonic.
        """
        if frame == SILENCE:
            return frame
        if not is_protocol_frame(frame):
            if self._window.is_open(now):
                self.passed += 1
                return frame
            self.lost["in_the_clear"] += 1
            return None
        opus = self._decrypt(user_id, frame, now)
        if opus is None and self._settle(now):
            opus = self._decrypt(user_id, frame, now)
        if opus is not None:
            self.decrypted += 1
            self._failed_in_a_row = 0
            return opus
        self.lost["undecryptable" if user_id in self._group.user_ids else "unknown_member"] += 1
        self._count_failure(now)
        return None

    def _decrypt(self, user_id: int, frame: bytes, now: float) -> bytes | None:
        try:
            return self._group.decrypt(user_id, frame, now)
        except GroupError:
            return None

    def _count_failure(self, now: float) -> None:
        if not self._window.is_settled(now):
            self._failed_in_a_row = 0
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILURES_TOLERATED:
            self._failed_in_a_row = 0
            self._on_failing(now)
