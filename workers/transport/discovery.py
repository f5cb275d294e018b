"""IP discovery: asking the voice server where our packets come from [pure].

Source: Voice Connections, IP Discovery. UDP loses packets, so the question is repeated; and anyone who can
reach the socket can write to it, so nothing but the exact answer counts.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

__all__ = [
    "DISCOVERY_BYTES",
    "RETRY_S",
    "DiscoveredAddress",
    "IpDiscovery",
    "build_request",
    "parse_response",
]

DISCOVERY_BYTES: Final = 74
RETRY_S: Final = (0.25, 0.5, 1.0)
"""Pauses between the questions; the last one repeats."""

_REQUEST: Final = 1
_RESPONSE: Final = 2
_BODY_BYTES: Final = 70
"""The length field leaves itself and the type out."""
_ADDRESS_BYTES: Final = 64
_LAYOUT: Final = struct.Struct(f">HHI{_ADDRESS_BYTES}sH")
assert _LAYOUT.size == DISCOVERY_BYTES


class DiscoveredAddress(NamedTuple):
    """Our UDP socket as seen from outside."""

    address: str
    port: int


def build_request(ssrc: int) -> bytes:
    """Return the question, 74 bytes."""
    return _LAYOUT.pack(_REQUEST, _BODY_BYTES, ssrc, b"", 0)


def parse_response(datagram: bytes, ssrc: int) -> DiscoveredAddress | None:
    """Return the answer to our question, or None if the datagram is anything else."""
    if len(datagram) != DISCOVERY_BYTES:
        return None
    kind, length, echoed, field, port = _LAYOUT.unpack(datagram)
    if (kind, length, echoed) != (_RESPONSE, _BODY_BYTES, ssrc) or port == 0:
        return None
    text, terminator, _ = field.partition(b"\0")
    if not terminator:
        return None
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    return None if address.is_unspecified else DiscoveredAddress(str(address), port)


class IpDiscovery:
    """One discovery: when to ask, and which datagram is the answer.

    Parameters
    ----------
    ssrc
        Ours, from READY; the answer repeats it.
    now
        Seconds, monotonic; the first question is due at once.
    timeout_s
        After so long without an answer it has failed.
    retry_s
        Pauses between the questions; the last one repeats.
    """

    __slots__ = ("_ask_at", "_expires_at", "_pauses_s", "_request", "_ssrc", "answer", "asked", "ignored")

    def __init__(
        self,
        ssrc: int,
        *,
        now: float,
        timeout_s: float,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        self._ssrc = ssrc
        self._request = build_request(ssrc)
        self._pauses_s = retry_s
        self._ask_at = now
        self._expires_at = now + timeout_s
        self.asked = 0
        """Questions sent."""
        self.ignored = 0
        """Datagrams that were not the answer."""
        self.answer: DiscoveredAddress | None = None

    def __repr__(self) -> str:
        return f"<IpDiscovery ssrc={self._ssrc} asked={self.asked} ignored={self.ignored}>"

    def receive(self, datagram: bytes) -> None:
        """Take a datagram; sets `answer` or counts it as `ignored`."""
        answer = parse_response(datagram, self._ssrc)
        if answer is None or self.answer is not None:
            self.ignored += 1
        else:
            self.answer = answer

    def outgoing(self, now: float) -> bytes | None:
        """Return the question if it is due, and plan the next."""
        if self.answer is not None or now < self._ask_at or self.has_failed(now):
            return None
        self._ask_at = now + self._pauses_s[min(self.asked, len(self._pauses_s) - 1)]
        self.asked += 1
        return self._request

    def has_failed(self, now: float) -> bool:
        """Whether the time is up."""
        return self.answer is None and now >= self._expires_at

    def next_deadline(self) -> float | None:
        """Return when to call `outgoing` or `has_failed` again; None once answered."""
        return None if self.answer is not None else min(self._ask_at, self._expires_at)
