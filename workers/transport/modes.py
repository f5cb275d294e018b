"""The modes of transport encryption: what each consists of, and which one a call uses [pure].

Source: Voice Connections, Transport Encryption Modes. A mode is a cipher, a kind of nonce, and whether the
header in the clear has RTP's real size ("rtpsize") or always 12 bytes. The deprecated ones are no longer
Discord's, but self-hosted servers speak them. What seals and opens packets in them is `transport.aead`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError

__all__ = [
    "KEY_BYTES",
    "MODES",
    "TAG_BYTES",
    "Cipher",
    "ModeSpec",
    "NonceKind",
    "TransportMode",
    "choose_mode",
]

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
_OFFER_SHOWN: Final = 12
_MODE_NAME_SHOWN_CHARS: Final = 40


class TransportMode(enum.StrEnum):
    """The modes by their wire names, best first; what each is stands in `MODES`."""

    AES256_GCM_RTPSIZE = "aead_aes256_gcm_rtpsize"
    XCHACHA20_POLY1305_RTPSIZE = "aead_xchacha20_poly1305_rtpsize"
    XSALSA20_POLY1305_LITE_RTPSIZE = "xsalsa20_poly1305_lite_rtpsize"
    AES256_GCM = "aead_aes256_gcm"
    XSALSA20_POLY1305_LITE = "xsalsa20_poly1305_lite"
    XSALSA20_POLY1305_SUFFIX = "xsalsa20_poly1305_suffix"
    XSALSA20_POLY1305 = "xsalsa20_poly1305"


class Cipher(enum.Enum):
    """What encrypts. Every one of them has a tag of `TAG_BYTES`."""

    AES256_GCM = "aes256_gcm"
    XCHACHA20_POLY1305 = "xchacha20_poly1305"
    XSALSA20_POLY1305 = "xsalsa20_poly1305"

    @property
    def nonce_bytes(self) -> int:
        """Size of its nonce."""
        return 12 if self is Cipher.AES256_GCM else 24

    @property
    def authenticates_header(self) -> bool:
        """Whether the header is authenticated along; secretbox knows no additional data."""
        return self is not Cipher.XSALSA20_POLY1305


class NonceKind(enum.Enum):
    """Where the nonce comes from; the value is its size in bytes at the end of each packet."""

    COUNTER = 4
    SUFFIX = 24
    HEADER = 0


class ModeSpec(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    cipher
        What encrypts.
    nonce
        Where the nonce comes from.
    rtp_size
        Whether CSRCs and extension preamble stay in the clear; else everything after 12 bytes is encrypted.
    deprecated
        Whether Discord has given it up.
    """

    cipher: Cipher
    nonce: NonceKind
    rtp_size: bool
    deprecated: bool

    @property
    def overhead_bytes(self) -> int:
        """By how much a sealed packet is longer than header and payload."""
        return TAG_BYTES + self.nonce.value


MODES: Final[Mapping[TransportMode, ModeSpec]] = MappingProxyType(
    {
        TransportMode.AES256_GCM_RTPSIZE: ModeSpec(
            Cipher.AES256_GCM, NonceKind.COUNTER, rtp_size=True, deprecated=False
        ),
        TransportMode.XCHACHA20_POLY1305_RTPSIZE: ModeSpec(
            Cipher.XCHACHA20_POLY1305, NonceKind.COUNTER, rtp_size=True, deprecated=False
        ),
        TransportMode.XSALSA20_POLY1305_LITE_RTPSIZE: ModeSpec(
            Cipher.XSALSA20_POLY1305, NonceKind.COUNTER, rtp_size=True, deprecated=True
        ),
        TransportMode.AES256_GCM: ModeSpec(
            Cipher.AES256_GCM, NonceKind.COUNTER, rtp_size=False, deprecated=True
        ),
        TransportMode.XSALSA20_POLY1305_LITE: ModeSpec(
            Cipher.XSALSA20_POLY1305, NonceKind.COUNTER, rtp_size=False, deprecated=True
        ),
        TransportMode.XSALSA20_POLY1305_SUFFIX: ModeSpec(
            Cipher.XSALSA20_POLY1305, NonceKind.SUFFIX, rtp_size=False, deprecated=True
        ),
        TransportMode.XSALSA20_POLY1305: ModeSpec(
            Cipher.XSALSA20_POLY1305, NonceKind.HEADER, rtp_size=False, deprecated=True
        ),
    },
)


def choose_mode(offered: Iterable[str], allowed: Sequence[TransportMode]) -> TransportMode:
    """Return the first allowed mode that the server offers.

    Parameters
    ----------
    offered
        Wire names from READY; unknown ones are passed over.
    allowed
        The config's modes, best first.

    Raises
    ------
    CallError
        ``NO_COMMON_MODE``.
    """
    names = tuple(offered)
    for mode in allowed:
        if mode in names:
            return mode
    shown = ", ".join(name[:_MODE_NAME_SHOWN_CHARS] for name in names[:_OFFER_SHOWN]) or "nothing"
    raise CallError(
        ErrorCode.NO_COMMON_MODE,
        f"the voice server offers {shown}, the config allows {', '.join(allowed) or 'nothing'}: "
        "add one of the offered modes to the config's list of transport modes.",
    )
