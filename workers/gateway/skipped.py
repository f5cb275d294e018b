"""[pure] The messages of a voice server that were of no use: counted by kind, each kind told once.

Everything has a bound, because it is the server that chooses what it sends.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = ["OTHER_OPCODES", "UNKNOWN_OPCODES_KEPT", "SkippedMessages"]

UNKNOWN_OPCODES_KEPT: Final = 32
"""Different unknown opcodes that are counted apart."""
OTHER_OPCODES: Final = -1
"""Under which the rest is counted together."""

_OPCODE_SHOWN_MAX: Final = 1_000_000


class SkippedMessages:
    """Counts of one websocket.

    Attributes
    ----------
    malformed
        Messages that could not be read.
    unknown_opcodes
        Messages with an opcode we do not know, by opcode.
    unexpected
        Messages that no present or later state has a use for, by opcode.
    """

    __slots__ = ("_told", "malformed", "unexpected", "unknown_opcodes")

    def __init__(self) -> None:
        self.malformed = 0
        self.unknown_opcodes: Counter[int] = Counter()
        self.unexpected: Counter[VoiceOpcode] = Counter()
        self._told: set[str] = set()

    @property
    def total(self) -> int:
        """All of them."""
        return self.malformed + self.unknown_opcodes.total() + self.unexpected.total()

    # Each returns the name of the kind the first time, and None from then on.

    def count_malformed(self, what: str) -> str | None:
        """Count a message that cannot be read; `what` names it and is ours, not the server's."""
        self.malformed += 1
        return self._first(what)

    def count_unknown(self, opcode: int) -> str | None:
        """Count a message by its opcode."""
        known = opcode in self.unknown_opcodes or len(self.unknown_opcodes) < UNKNOWN_OPCODES_KEPT
        self.unknown_opcodes[opcode if known else OTHER_OPCODES] += 1
        # The number is the server's choice, and may have more digits than Python likes to write.
        shown = known and abs(opcode) <= _OPCODE_SHOWN_MAX
        return self._first(f"unknown opcode {opcode}" if shown else "other unknown opcodes")

    def count_unexpected(self, opcode: VoiceOpcode) -> str | None:
        """Count a message that came in the wrong state."""
        self.unexpected[opcode] += 1
        return self._first(f"an unexpected {opcode.name}")

    def _first(self, what: str) -> str | None:
        if what in self._told:
            return None
        self._told.add(what)
        return what
