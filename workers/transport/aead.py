"""Transport encryption: sealing what we send, opening what we receive, in each of the `modes` [pure].

**A nonce never repeats under one key.** The counter modes count from a random start below 2**31 up to 2**32-1
and then refuse (`NonceExhaustedError`): at least 497 days of audio. Random, because both directions of a
call share one key, and two senders that both begin at 0 would meet at once. The counter lives in the sealer,
so a resume, which keeps the key, must keep the sealer; a new key gets a new sealer. ``_suffix`` joins a
random prefix to the same counter. The plain mode's nonce is the RTP header, so its sealer insists that the
timestamp goes forward and refuses after one turn of it, about 24.8 hours.

`Sealer.seal` runs thousands of times a second on the pacing thread: it is a closure with all it needs bound,
and makes one nonce by one C call.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from voicepool.workers.transport.modes import KEY_BYTES, MODES, TAG_BYTES, Cipher, NonceKind, TransportMode
from voicepool.workers.transport.rtp import (
    FIXED_HEADER_BYTES,
    TIMESTAMP_MODULUS,
    PacketRejectedError,
    RejectReason,
    RtpHeader,
    clear_size,
    parse_packet,
)

__all__ = ["NonceExhaustedError", "Opener", "Sealer", "make_opener", "make_sealer"]

_COUNTER_BYTES: Final = 4
_COUNTER_END: Final = 1 << 32
_START_BITS: Final = 31
_SUFFIX_BYTES: Final = 24


class NonceExhaustedError(Exception):
    """No nonce is left under this key; only a new session (IDENTIFY) brings a new key."""


class Sealer:
    """Encrypts the packets of one key; used by one thread at a time.

    Attributes
    ----------
    mode
        The mode it was made for.
    seal
        ``seal(header, payload)`` returns the whole datagram. ``header`` is what `rtp.build_header` returns;
        both are bytes. Raises `NonceExhaustedError`.
    """

    __slots__ = ("mode", "seal")

    def __init__(self, mode: TransportMode, seal: Callable[[bytes, bytes], bytes]) -> None:
        self.mode: Final = mode
        self.seal: Final = seal

    def __repr__(self) -> str:
        return f"<Sealer {self.mode}>"


class Opener:
    """Decrypts the packets of one key.

    Attributes
    ----------
    mode
        The mode it was made for.
    """

    __slots__ = ("_decrypt", "_nonce_padding", "_spec", "mode")

    def __init__(self, mode: TransportMode, decrypt: Callable[[bytes, bytes, bytes], bytes]) -> None:
        self.mode: Final = mode
        self._spec = MODES[mode]
        self._decrypt = decrypt
        self._nonce_padding = bytes(self._spec.cipher.nonce_bytes)

    def __repr__(self) -> str:
        return f"<Opener {self.mode}>"

    def open(self, packet: bytes) -> tuple[RtpHeader, bytes]:
        """Return header and payload, without extension and padding.

        Raises
        ------
        PacketRejectedError
            Whatever is wrong with the packet.
        """
        spec = self._spec
        clear_end = clear_size(packet)
        if not spec.rtp_size:
            clear_end = FIXED_HEADER_BYTES
        sealed_end = len(packet) - spec.nonce.value
        if sealed_end < clear_end + TAG_BYTES:
            raise PacketRejectedError(RejectReason.TRUNCATED)
        clear = packet[:clear_end]
        on_wire = packet[sealed_end:] if spec.nonce.value else clear
        nonce = (on_wire + self._nonce_padding)[: spec.cipher.nonce_bytes]
        try:
            body = self._decrypt(nonce, packet[clear_end:sealed_end], clear)
        except (InvalidTag, CryptoError):
            raise PacketRejectedError(RejectReason.AUTHENTICATION) from None
        return parse_packet(clear + body)


def make_sealer(mode: TransportMode, key: bytes, *, first_counter: int | None = None) -> Sealer:
    """Return a sealer; make one per key, and keep it as long as the key lives.

    Parameters
    ----------
    mode
        From `modes.choose_mode`.
    key
        32 bytes from SESSION_DESCRIPTION.
    first_counter
        Where the nonces begin; random if None. Given only where the key has never been used.

    Raises
    ------
    ValueError
        If the key is not 32 bytes.
    """
    _check_key(key)
    spec = MODES[mode]
    encrypt = _encryption(spec.cipher, key)
    if spec.nonce is NonceKind.HEADER:
        return Sealer(mode, _header_nonce_seal(encrypt))
    start = secrets.randbits(_START_BITS) if first_counter is None else first_counter
    if spec.nonce is NonceKind.SUFFIX:
        nonces = _suffix_nonces(start)
    else:
        # `map` over `range` yields each nonce without running a line of Python.
        nonces = map(_PACK_COUNTER[spec.cipher], range(start, _COUNTER_END))
    if spec.rtp_size:
        return Sealer(mode, _rtp_size_seal(encrypt, nonces))
    return Sealer(mode, _fixed_size_seal(encrypt, nonces, spec.nonce.value))


def make_opener(mode: TransportMode, key: bytes) -> Opener:
    """Return an opener for packets sealed in this mode with this key.

    Raises
    ------
    ValueError
        If the key is not 32 bytes.
    """
    _check_key(key)
    return Opener(mode, _decryption(MODES[mode].cipher, key))


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a transport key has {KEY_BYTES} bytes, not {len(key)}")


def _rtp_size_seal(
    encrypt: Callable[[bytes, bytes, bytes], bytes],
    nonces: Iterator[bytes],
) -> Callable[[bytes, bytes], bytes]:
    def seal(header: bytes, payload: bytes) -> bytes:
        try:
            nonce = next(nonces)
        except StopIteration:
            raise _exhausted() from None
        return header + encrypt(nonce, payload, header) + nonce[:_COUNTER_BYTES]

    return seal


def _fixed_size_seal(
    encrypt: Callable[[bytes, bytes, bytes], bytes],
    nonces: Iterator[bytes],
    nonce_bytes_on_wire: int,
) -> Callable[[bytes, bytes], bytes]:
    def seal(header: bytes, payload: bytes) -> bytes:
        try:
            nonce = next(nonces)
        except StopIteration:
            raise _exhausted() from None
        clear = header[:FIXED_HEADER_BYTES]
        sealed = encrypt(nonce, header[FIXED_HEADER_BYTES:] + payload, clear)
        return clear + sealed + nonce[:nonce_bytes_on_wire]

    return seal


def _header_nonce_seal(encrypt: Callable[[bytes, bytes, bytes], bytes]) -> Callable[[bytes, bytes], bytes]:
    read_timestamp = struct.Struct(">4xI4x").unpack
    last: int | None = None
    travelled = 0

    def seal(header: bytes, payload: bytes) -> bytes:
        nonlocal last, travelled
        clear = header[:FIXED_HEADER_BYTES]
        (timestamp,) = read_timestamp(clear)
        if last is not None:
            step = (timestamp - last) % TIMESTAMP_MODULUS
            # A step of half the circle or more is a step back.
            if not 0 < step < TIMESTAMP_MODULUS // 2 or travelled + step >= TIMESTAMP_MODULUS:
                raise _exhausted()
            travelled += step
        last = timestamp
        return clear + encrypt(clear + _HEADER_NONCE_PADDING, header[FIXED_HEADER_BYTES:] + payload, clear)

    return seal


_PACK_COUNTER: Final = {
    cipher: struct.Struct(f">I{cipher.nonce_bytes - _COUNTER_BYTES}x").pack for cipher in Cipher
}
"""Counter to nonce, shared by all sealers: what each call has for itself is cold when its packet is due."""
_HEADER_NONCE_PADDING: Final = bytes(_SUFFIX_BYTES - FIXED_HEADER_BYTES)


def _suffix_nonces(start: int) -> Iterator[bytes]:
    prefix = secrets.token_bytes(_SUFFIX_BYTES - _COUNTER_BYTES)
    pack = struct.Struct(f">{len(prefix)}sI").pack
    return (pack(prefix, counter) for counter in range(start, _COUNTER_END))


def _exhausted() -> NonceExhaustedError:
    return NonceExhaustedError("every nonce of this key is used up; identify anew to get another key")


def _encryption(cipher: Cipher, key: bytes) -> Callable[[bytes, bytes, bytes], bytes]:
    """Return ``encrypt(nonce, plaintext, additional_data)``."""
    if cipher is Cipher.AES256_GCM:
        return AESGCM(key).encrypt
    if cipher is Cipher.XCHACHA20_POLY1305:
        seal_xchacha = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt

        def encrypt_xchacha(nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
            return seal_xchacha(plaintext, additional_data, nonce, key)

        return encrypt_xchacha
    seal_xsalsa = sodium.crypto_secretbox

    def encrypt_xsalsa(nonce: bytes, plaintext: bytes, _additional_data: bytes) -> bytes:
        return seal_xsalsa(plaintext, nonce, key)

    return encrypt_xsalsa


def _decryption(cipher: Cipher, key: bytes) -> Callable[[bytes, bytes, bytes], bytes]:
    """Return ``decrypt(nonce, ciphertext, additional_data)``; it raises InvalidTag or CryptoError."""
    if cipher is Cipher.AES256_GCM:
        return AESGCM(key).decrypt
    if cipher is Cipher.XCHACHA20_POLY1305:
        open_xchacha = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt

        def decrypt_xchacha(nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes:
            return open_xchacha(ciphertext, additional_data, nonce, key)

        return decrypt_xchacha
    open_xsalsa = sodium.crypto_secretbox_open

    def decrypt_xsalsa(nonce: bytes, ciphertext: bytes, _additional_data: bytes) -> bytes:
        return open_xsalsa(ciphertext, nonce, key)

    return decrypt_xsalsa
