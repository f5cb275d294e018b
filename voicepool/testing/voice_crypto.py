"""[pure] Every transport encryption mode of Discord's voice servers, and proof that nonces never repeat.

Source: "Voice Connections, Transport Encryption Modes". In the ``rtpsize`` modes the clear part of a packet
is its whole RTP header as SRTP counts it; the older ones take the fixed 12 bytes.
"""

from __future__ import annotations

__all__ = (
    "ALL_MODES",
    "KEY_BYTES",
    "NonceLedger",
    "OpenError",
    "Opener",
    "TransportMode",
    "new_ledger",
    "transport_mode",
)

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_secretbox_open
from nacl.exceptions import CryptoError

from voicepool.testing.voice_rtp import RTP_HEADER_BYTES, unencrypted_header_bytes

Opener = Callable[[bytes], bytes]
"""Takes a whole RTP packet, returns its plaintext; raises one of `OpenError`."""

OpenError: Final = (InvalidTag, CryptoError, ValueError)
"""What the openers raise for a packet that does not decrypt (for an ``except`` clause)."""

KEY_BYTES: Final = 32
_GCM_NONCE_BYTES = 12
_LONG_NONCE_BYTES = 24
_COUNTER_BYTES = 4
_PLAIN_HEADER = 0x80


class NonceLedger(Protocol):
    """Remembers the nonces used under one key."""

    exact: bool
    """False once memory ran out and an old reuse could pass unseen."""

    def use(self, nonce: int) -> bool:
        """Note `nonce`; return False if it was used before."""


@dataclass(frozen=True, slots=True)
class TransportMode:
    """One row of the table of modes.

    Attributes
    ----------
    name : str
        Name on the wire.
    rtpsize : bool
        Whether CSRCs and the extension's announcement stay in the clear.
    nonce : slice
        Where in a packet the nonce is found.
    make_opener : Callable[[bytes], Opener]
        Takes the secret key.
    counted : bool
        Whether the nonce is a counter (else copied from the header, or random).
    overhead_bytes : int
        What the mode adds to an Opus packet, without the RTP header: tag and appended nonce.
    """

    name: str
    rtpsize: bool
    nonce: slice
    make_opener: Callable[[bytes], Opener]
    counted: bool
    overhead_bytes: int


class CounterLedger:
    """Exact memory for nonces that mostly count up: runs of consecutive values.

    A client that counts needs one run for ever; a lost packet starts a new one. One that draws its nonces
    at random needs a run each, so the number of runs is bounded, and at the bound the lowest is forgotten.
    """

    __slots__ = ("_ends", "_last", "_limit", "_start", "_starts", "exact")

    def __init__(self, max_runs: int = 65_536) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._start = 0
        self._last = -2
        self._limit = max_runs
        self.exact = True

    def use(self, nonce: int) -> bool:
        """Note `nonce`; return False if it was used before."""
        if nonce == self._last + 1 and not self._in_finished_run(nonce):
            self._last = nonce
            return True
        if self._start <= nonce <= self._last or self._in_finished_run(nonce):
            return False
        if self._last >= 0:
            place = bisect_right(self._starts, self._start)
            self._starts.insert(place, self._start)
            self._ends.insert(place, self._last)
            if len(self._starts) > self._limit:
                del self._starts[0], self._ends[0]
                self.exact = False
        self._start = self._last = nonce
        return True

    def _in_finished_run(self, nonce: int) -> bool:
        if not self._starts:
            return False
        place = bisect_right(self._starts, nonce) - 1
        return place >= 0 and nonce <= self._ends[place]


class RecentLedger:
    """Memory for nonces without order: the most recent ones, 22 minutes of 20 ms frames by default."""

    __slots__ = ("_limit", "_seen", "exact")

    def __init__(self, limit: int = 65_536) -> None:
        self._seen: dict[int, None] = {}
        self._limit = limit
        self.exact = True

    def use(self, nonce: int) -> bool:
        """Note `nonce`; return False if it is among the most recent ones."""
        if nonce in self._seen:
            return False
        self._seen[nonce] = None
        if len(self._seen) > self._limit:
            del self._seen[next(iter(self._seen))]
            self.exact = False
        return True


def new_ledger(mode: TransportMode) -> NonceLedger:
    """Return an empty memory that suits the way `mode` makes its nonces."""
    return CounterLedger() if mode.counted else RecentLedger()


def transport_mode(name: str) -> TransportMode | None:
    """Return the mode with that wire name, None if there is none."""
    return _TABLE.get(name)


def _gcm(key: bytes, *, rtpsize: bool) -> Opener:
    decrypt = AESGCM(key).decrypt
    padding = bytes(_GCM_NONCE_BYTES - _COUNTER_BYTES)

    def open_gcm(packet: bytes) -> bytes:
        size = (
            unencrypted_header_bytes(packet) if rtpsize and packet[0] != _PLAIN_HEADER else RTP_HEADER_BYTES
        )
        return decrypt(packet[-4:] + padding, packet[size:-4], packet[:size])

    return open_gcm


def _gcm_rtpsize(key: bytes) -> Opener:
    return _gcm(key, rtpsize=True)


def _gcm_fixed(key: bytes) -> Opener:
    return _gcm(key, rtpsize=False)


def _xchacha_rtpsize(key: bytes) -> Opener:
    padding = bytes(_LONG_NONCE_BYTES - _COUNTER_BYTES)

    def open_xchacha(packet: bytes) -> bytes:
        size = RTP_HEADER_BYTES if packet[0] == _PLAIN_HEADER else unencrypted_header_bytes(packet)
        return crypto_aead_xchacha20poly1305_ietf_decrypt(
            packet[size:-4], packet[:size], packet[-4:] + padding, key
        )

    return open_xchacha


def _xsalsa_plain(key: bytes) -> Opener:
    padding = bytes(_LONG_NONCE_BYTES - RTP_HEADER_BYTES)

    def open_plain(packet: bytes) -> bytes:
        return crypto_secretbox_open(packet[RTP_HEADER_BYTES:], packet[:RTP_HEADER_BYTES] + padding, key)

    return open_plain


def _xsalsa_suffix(key: bytes) -> Opener:
    def open_suffix(packet: bytes) -> bytes:
        return crypto_secretbox_open(packet[RTP_HEADER_BYTES:-24], packet[-24:], key)

    return open_suffix


def _xsalsa_lite(key: bytes) -> Opener:
    padding = bytes(_LONG_NONCE_BYTES - _COUNTER_BYTES)

    def open_lite(packet: bytes) -> bytes:
        return crypto_secretbox_open(packet[RTP_HEADER_BYTES:-4], packet[-4:] + padding, key)

    return open_lite


def _xsalsa_lite_rtpsize(key: bytes) -> Opener:
    padding = bytes(_LONG_NONCE_BYTES - _COUNTER_BYTES)

    def open_lite_rtpsize(packet: bytes) -> bytes:
        size = unencrypted_header_bytes(packet)
        return crypto_secretbox_open(packet[size:-4], packet[-4:] + padding, key)

    return open_lite_rtpsize


_TAG_BYTES = 16
_COUNTER = slice(-_COUNTER_BYTES, None)
_COUNTED_OVERHEAD = _TAG_BYTES + _COUNTER_BYTES

_TABLE: Final[dict[str, TransportMode]] = {
    mode.name: mode
    for mode in (
        TransportMode(
            "aead_aes256_gcm_rtpsize",
            rtpsize=True,
            nonce=_COUNTER,
            make_opener=_gcm_rtpsize,
            counted=True,
            overhead_bytes=_COUNTED_OVERHEAD,
        ),
        TransportMode(
            "aead_xchacha20_poly1305_rtpsize",
            rtpsize=True,
            nonce=_COUNTER,
            make_opener=_xchacha_rtpsize,
            counted=True,
            overhead_bytes=_COUNTED_OVERHEAD,
        ),
        TransportMode(
            "xsalsa20_poly1305_lite_rtpsize",
            rtpsize=True,
            nonce=_COUNTER,
            make_opener=_xsalsa_lite_rtpsize,
            counted=True,
            overhead_bytes=_COUNTED_OVERHEAD,
        ),
        TransportMode(
            "aead_aes256_gcm",
            rtpsize=False,
            nonce=_COUNTER,
            make_opener=_gcm_fixed,
            counted=True,
            overhead_bytes=_COUNTED_OVERHEAD,
        ),
        TransportMode(
            "xsalsa20_poly1305",
            rtpsize=False,
            # The whole header is the nonce; flags, payload type and SSRC do not change under one key.
            nonce=slice(2, 8),
            make_opener=_xsalsa_plain,
            counted=False,
            overhead_bytes=_TAG_BYTES,
        ),
        TransportMode(
            "xsalsa20_poly1305_suffix",
            rtpsize=False,
            nonce=slice(-_LONG_NONCE_BYTES, None),
            make_opener=_xsalsa_suffix,
            counted=False,
            overhead_bytes=_TAG_BYTES + _LONG_NONCE_BYTES,
        ),
        TransportMode(
            "xsalsa20_poly1305_lite",
            rtpsize=False,
            nonce=_COUNTER,
            make_opener=_xsalsa_lite,
            counted=True,
            overhead_bytes=_COUNTED_OVERHEAD,
        ),
    )
}

ALL_MODES: Final[tuple[str, ...]] = tuple(_TABLE)
"""Wire names of all modes, in the order of Discord's documentation: preferred first, deprecated last."""
