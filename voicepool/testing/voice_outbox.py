"""[pure] The numbered messages of one session, kept for a client that comes back.

Source: "Voice Connections, Buffered Resume". Numbers have 16 bits and wrap.
"""

from __future__ import annotations

__all__ = ("Outbox",)

from collections import deque

from voicepool.testing.voice_messages import CloseCode, Refusal

_SEQUENCE_MASK = 0xFFFF


class Outbox:
    """Gives out sequence numbers and remembers the last messages that carried one.

    Parameters
    ----------
    first_sequence : int
        Number of the first message, 0 to 65535.
    capacity : int
        Messages to keep; the oldest go first.
    """

    def __init__(self, first_sequence: int, capacity: int) -> None:
        self._next = first_sequence
        self._given = 0
        self._kept: deque[str | bytes] = deque(maxlen=capacity)

    def take_number(self) -> int:
        """Return the next sequence number; `keep` the message that carries it before taking another."""
        sequence = self._next
        self._next = (sequence + 1) & _SEQUENCE_MASK
        self._given += 1
        return sequence

    def keep(self, message: str | bytes) -> None:
        """Remember the message, text or binary, that carries the number taken last."""
        self._kept.append(message)

    def was_sent(self, sequence: int) -> bool:
        """Return whether a message had that number (within the last 65,536)."""
        return self._after(sequence) < self._given

    def missed_after(self, seq_ack: int) -> list[str | bytes]:
        """Return the messages after number `seq_ack`, all of them for -1.

        Raises
        ------
        Refusal
            4006 when some of them are no longer kept, or `seq_ack` was never sent.
        """
        if seq_ack >= 0 and not self.was_sent(seq_ack):
            raise Refusal(
                CloseCode.SESSION_INVALID, f"Resume acknowledged message {seq_ack}, which was never sent"
            )
        missing = self._given if seq_ack < 0 else self._after(seq_ack)
        if missing > len(self._kept):
            raise Refusal(
                CloseCode.SESSION_INVALID,
                f"Resume would need the last {missing} messages, of which {len(self._kept)} are kept",
            )
        return list(self._kept)[len(self._kept) - missing :]

    def _after(self, sequence: int) -> int:
        return (self._next - 1 - sequence) & _SEQUENCE_MASK
