"""Which messages of the server take effect now: none twice, and none before the session description [pure].

After a resume the server sends again what it does not know to have arrived, under the old numbers. And before
the session description nobody knows whether there is any encryption, so what comes before it is kept for it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from voicepool.workers.gateway.events import DaveMessage
from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = ["EARLY_MAX", "Inbox"]

EARLY_MAX: Final = 64
"""Messages kept that come before the session description; beyond it the newest is dropped."""
_SEEN_MAX: Final = 64


class Inbox:
    """The messages of one voice session.

    Parameters
    ----------
    dropped
        Where to count those that are taken in vain, by reason: ``repeated``, ``too_early``.
    """

    __slots__ = ("_dropped", "_early", "_is_open", "_seen")

    def __init__(self, dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._is_open = False
        self._early: deque[DaveMessage] = deque()
        self._seen: deque[tuple[int, int, int]] = deque(maxlen=_SEEN_MAX)

    def open(self) -> None:
        """Note that the session is described: nothing is too early any more."""
        self._is_open = True

    def take_early(self) -> deque[DaveMessage]:
        """Return what was kept until `open`, in order; once."""
        early, self._early = self._early, deque()
        return early

    def takes(self, message: DaveMessage) -> bool:
        """Take a message; return whether it is to have its effect at once."""
        if message.seq is not None:
            # Only an exact repetition is one: numbers wrap, and other opcodes take most of them.
            mark = (message.seq, message.opcode, hash(message.payload))
            if mark in self._seen:
                self._dropped["repeated"] += 1
                return False
            self._seen.append(mark)
        if self._is_open or message.opcode == VoiceOpcode.DAVE_MLS_EXTERNAL_SENDER:
            return True
        if len(self._early) < EARLY_MAX:
            self._early.append(message)
        else:
            self._dropped["too_early"] += 1
        return False
