"""[pure] Audio from the server to one client: RTP packets sealed with the session's own mode and key.

Source: "Voice Connections, Transport Encryption Modes"; deliberately not shared with the workers.
"""

from __future__ import annotations

__all__ = ("Downlink",)

import os
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt, crypto_secretbox

from voicepool.testing.voice_crypto import TransportMode

# Both directions use one key, as on Discord. Counting from the middle keeps them from using one nonce.
_FIRST_COUNTER: Final = 2**31
_COUNTER_MASK: Final = 2**32 - 1
_COUNTER_BYTES: Final = 4
_GCM_NONCE_BYTES: Final = 12
_LONG_NONCE_BYTES: Final = 24


class Downlink:
    """Seals packets for one client.

    Parameters
    ----------
    mode : TransportMode
        The client's choice.
    key : bytes
        What Session Description gave it.
    """

    def __init__(self, mode: TransportMode, key: bytes) -> None:
        self._mode = mode
        self._key = key
        self._gcm = AESGCM(key)
        self._counter = _FIRST_COUNTER

    def seal(self, header: bytes, payload: bytes) -> bytes:
        """Return the datagram for a plain RTP header of 12 bytes and its payload."""
        name = self._mode.name
        if name == "xsalsa20_poly1305":
            nonce = header + bytes(_LONG_NONCE_BYTES - len(header))
            return header + crypto_secretbox(payload, nonce, self._key)
        if name == "xsalsa20_poly1305_suffix":
            nonce = os.urandom(_LONG_NONCE_BYTES)
            return header + crypto_secretbox(payload, nonce, self._key) + nonce
        suffix = self._counter.to_bytes(_COUNTER_BYTES)
        self._counter = (self._counter + 1) & _COUNTER_MASK
        if name.startswith("aead_aes256_gcm"):
            nonce = suffix + bytes(_GCM_NONCE_BYTES - _COUNTER_BYTES)
            return header + self._gcm.encrypt(nonce, payload, header) + suffix
        nonce = suffix + bytes(_LONG_NONCE_BYTES - _COUNTER_BYTES)
        if name.startswith("aead_xchacha20_poly1305"):
            sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(payload, header, nonce, self._key)
            return header + sealed + suffix
        return header + crypto_secretbox(payload, nonce, self._key) + suffix
