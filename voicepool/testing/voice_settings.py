"""[pure] The stand-in's settings, checked once."""

from __future__ import annotations

__all__ = ("LISTENER_USER_ID", "VoiceServerSettings")

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal

from voicepool.testing.voice_crypto import ALL_MODES, transport_mode
from voicepool.testing.voice_rtp import FRAME_SAMPLES, SAMPLE_RATE_HZ

LISTENER_USER_ID: Final = 1_100_000_000_000_000_001
"""User id of the member that listens to encrypted calls, unless the server is given another one."""

_INSPECTIONS: Final = ("full", "headers")
_SEQUENCES: Final = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceServerSettings:
    """The keyword arguments of `DiscordVoiceServer`, which documents them.

    Raises
    ------
    ValueError
        A value is out of range; the text names the setting and what it may be.
    """

    host: str = "127.0.0.1"
    port: int = 0
    modes: tuple[str, ...] = ALL_MODES
    heartbeat_interval_ms: float = 13_750.0
    heartbeat_timeout_ms: float | None = None
    inspect: Literal["full", "headers"] = "full"
    keep_audio_s: float = 600.0
    speaking_grace_s: float = 0.25
    resume_window_s: float = 60.0
    resume_buffer_messages: int = 256
    first_sequence: int = 1
    dave: bool | Literal["required"] = True
    dave_listener_id: int | None = LISTENER_USER_ID
    dave_transition_timeout_s: float = 2.0
    dave_overlap: bool = False
    dave_first_transition_id: int = 1

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError:
            self._refuse("host", "an IPv4 address (Ready announces it for UDP)")
        known = self.modes and all(transport_mode(mode) is not None for mode in self.modes)
        timeout_ms = self.heartbeat_timeout_ms
        rules = (
            ("modes", known, f"one or more of {', '.join(ALL_MODES)}"),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms > 0, "positive"),
            (
                "heartbeat_timeout_ms",
                timeout_ms is None or timeout_ms > 0,
                "positive, or None for twice the interval",
            ),
            ("inspect", self.inspect in _INSPECTIONS, "'full' or 'headers'"),
            ("keep_audio_s", self.keep_audio_s >= 0, "0 or more"),
            ("speaking_grace_s", self.speaking_grace_s >= 0, "0 or more"),
            ("resume_window_s", self.resume_window_s >= 0, "0 or more"),
            ("resume_buffer_messages", self.resume_buffer_messages >= 0, "0 or more"),
            ("first_sequence", 0 <= self.first_sequence < _SEQUENCES, "from 0 to 65535"),
            ("dave", self.dave in {True, False, "required"}, "True, False or 'required'"),
            ("dave_transition_timeout_s", self.dave_transition_timeout_s > 0, "positive"),
            ("dave_first_transition_id", 0 < self.dave_first_transition_id < _SEQUENCES, "from 1 to 65535"),
        )
        for name, holds, expected in rules:
            if not holds:
                self._refuse(name, expected)

    @property
    def heartbeat_timeout_s(self) -> float:
        """Seconds without a heartbeat after which a websocket is closed."""
        timeout_ms = self.heartbeat_timeout_ms
        return (2 * self.heartbeat_interval_ms if timeout_ms is None else timeout_ms) / 1_000

    @property
    def keep_frames(self) -> int:
        """Opus packets to keep for a session, taking each for 20 ms."""
        return round(self.keep_audio_s * SAMPLE_RATE_HZ / FRAME_SAMPLES) if self.inspect == "full" else 0

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"DiscordVoiceServer: {name} must be {expected}; it was {getattr(self, name)!r}"
        raise ValueError(msg)
