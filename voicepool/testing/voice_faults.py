"""Misbehaviour to order: what the server was told to get wrong."""

from __future__ import annotations

__all__ = ("MUTABLE_STEPS", "Faults", "Step")

from collections import deque
from typing import Final, Literal, get_args

Step = Literal["hello", "ready", "discovery", "session_description", "heartbeat_ack", "resumed"]
"""An answer the server can be told to withhold."""

MUTABLE_STEPS: Final[tuple[str, ...]] = get_args(Step)


class Faults:
    """The faults in force. Set through the methods of `DiscordVoiceServer`, asked by its parts."""

    def __init__(self) -> None:
        self._muted: set[Step] = set()
        self._identify_closes: deque[int] = deque()
        self._discovery_drops = 0

    def mute(self, step: Step) -> None:
        """Withhold an answer from now on."""
        self._muted.add(_checked(step))

    def unmute(self, step: Step) -> None:
        """Give that answer again."""
        self._muted.discard(_checked(step))

    def muted(self, step: Step) -> bool:
        """Return whether that answer is withheld."""
        return step in self._muted

    def close_identify(self, code: int, times: int) -> None:
        """Close the next `times` Identify messages with `code`, before any check of their own."""
        if not 1000 <= code <= 4999:  # noqa: PLR2004 -- RFC 6455 §7.4.2
            msg = f"{code} is no websocket close code; use one of 1000 to 4999"
            raise ValueError(msg)
        self._identify_closes.extend([code] * times)

    def take_identify_close(self) -> int | None:
        """Return the close code for the Identify at hand, None to treat it normally."""
        return self._identify_closes.popleft() if self._identify_closes else None

    def drop_discovery(self, count: int) -> None:
        """Ignore the next `count` IP discovery requests."""
        self._discovery_drops += count

    def take_discovery_drop(self) -> bool:
        """Return whether the IP discovery request at hand is to be ignored."""
        if self._discovery_drops:
            self._discovery_drops -= 1
            return True
        return self.muted("discovery")


def _checked(step: Step) -> Step:
    if step not in MUTABLE_STEPS:
        msg = f"there is no step {step!r}; steps that can be muted are {', '.join(MUTABLE_STEPS)}"
        raise ValueError(msg)
    return step
