"""[pure] Misbehaviour to order: what the server was told to get wrong, everywhere or in one guild."""

from __future__ import annotations

__all__ = ("CUT", "MUTABLE_STEPS", "Faults", "Step", "check_close_code")

from collections import Counter, deque
from typing import Final, Literal, get_args

Step = Literal["hello", "ready", "discovery", "session_description", "heartbeat_ack", "resumed"]
"""An answer the server can be told to withhold."""

MUTABLE_STEPS: Final[tuple[str, ...]] = get_args(Step)

CUT: Final = 1006
"""In place of a close code: the connection is cut without a close frame (RFC 6455 §7.4.1)."""

_CODES: Final = range(1000, 5000)
_Place = int | None
"""A guild, or None for all of them."""


class Faults:
    """The faults in force. Set through the methods of `DiscordVoiceServer`, asked by its parts.

    Each can be ordered for one guild or, with None, for all; what was ordered for the guild goes first.
    """

    def __init__(self) -> None:
        self._muted: set[tuple[Step, _Place]] = set()
        self._identify_closes: dict[_Place, deque[int]] = {}
        self._resume_closes: dict[_Place, deque[int]] = {}
        self._discovery_drops: Counter[_Place] = Counter()

    def mute(self, step: Step, guild_id: int | None = None) -> None:
        """Withhold an answer from now on."""
        self._muted.add((_checked(step, guild_id), guild_id))

    def unmute(self, step: Step, guild_id: int | None = None) -> None:
        """Give that answer again; without a guild, in all of them."""
        _checked(step, guild_id)
        self._muted = {
            (muted, place) for muted, place in self._muted if muted != step or guild_id not in {None, place}
        }

    def muted(self, step: Step, guild_id: int | None = None) -> bool:
        """Return whether that answer is withheld."""
        return (step, guild_id) in self._muted or (step, None) in self._muted

    def close_identify(self, code: int, times: int, guild_id: int | None = None) -> None:
        """Close the next `times` Identify messages with `code`, before any check of their own."""
        self._identify_closes.setdefault(guild_id, deque()).extend([check_close_code(code)] * times)

    def take_identify_close(self, guild_id: int | None = None) -> int | None:
        """Return the close code for the Identify at hand, None to treat it normally."""
        return _take(self._identify_closes, guild_id)

    def close_resume(self, code: int, times: int, guild_id: int | None = None) -> None:
        """Close the next `times` Resume messages with `code`, before any check of their own."""
        self._resume_closes.setdefault(guild_id, deque()).extend([check_close_code(code)] * times)

    def take_resume_close(self, guild_id: int | None = None) -> int | None:
        """Return the close code for the Resume at hand, None to treat it normally."""
        return _take(self._resume_closes, guild_id)

    def drop_discovery(self, count: int, guild_id: int | None = None) -> None:
        """Ignore the next `count` IP discovery requests."""
        self._discovery_drops[guild_id] += count

    def take_discovery_drop(self, guild_id: int | None = None) -> bool:
        """Return whether the IP discovery request at hand is to be ignored."""
        for place in (guild_id, None):
            if self._discovery_drops[place]:
                self._discovery_drops[place] -= 1
                return True
        return self.muted("discovery", guild_id)


def check_close_code(code: int) -> int:
    """Return a code that a close frame may carry, or `CUT`.

    Raises
    ------
    ValueError
        It is neither.
    """
    if code not in _CODES:
        msg = f"{code} is no websocket close code; use one of {_CODES.start} to {_CODES.stop - 1}"
        raise ValueError(msg)
    return code


def _take(closes: dict[_Place, deque[int]], guild_id: int | None) -> int | None:
    for place in (guild_id, None):
        if codes := closes.get(place):
            return codes.popleft()
    return None


def _checked(step: Step, guild_id: int | None) -> Step:
    if step not in MUTABLE_STEPS:
        msg = f"there is no step {step!r}; steps that can be muted are {', '.join(MUTABLE_STEPS)}"
        raise ValueError(msg)
    if step == "hello" and guild_id is not None:
        msg = "hello comes before the client has named its guild; mute it for all guilds"
        raise ValueError(msg)
    return step
