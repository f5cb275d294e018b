"""The digits that people read to each other, and the fingerprints behind them [pure].

Sources: DAVE protocol, Displayable Codes; Verification Fingerprint. The library can compute both, but its
scrypt keeps the interpreter's lock for about 180 ms, in which no call of the worker sends a packet; hashlib's
gives the lock away. So `VerificationPair.code` belongs on a thread, where it disturbs nobody.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Final

__all__ = ["VerificationPair", "displayable_code"]

_GROUP_DIGITS: Final = 5
_VERIFICATION_DIGITS: Final = 45
_FINGERPRINT_VERSION: Final = bytes(2)
_FINGERPRINT_BYTES: Final = 64
_SALT: Final = bytes.fromhex("24cab17a7af8ec2b82b412b92dab192e")
_SCRYPT_COST: Final = 16_384
_SCRYPT_BLOCK: Final = 8
_SCRYPT_PARALLEL: Final = 2
_SCRYPT_MEMORY_BYTES: Final = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class VerificationPair:
    """Two members and their public keys: what their verification code is made from.

    Attributes
    ----------
    local_user_id, remote_user_id
        We, and the other.
    local_key, remote_key
        Public signature keys, as in MLS.
    """

    local_user_id: int
    local_key: bytes
    remote_user_id: int
    remote_key: bytes

    def code(self) -> str:
        """Return the 45 digits that both see alike. Takes about 60 ms and 16 MiB; run it on a thread."""
        halves = sorted(
            _FINGERPRINT_VERSION + key + user_id.to_bytes(8)
            for user_id, key in (
                (self.local_user_id, self.local_key),
                (self.remote_user_id, self.remote_key),
            )
        )
        fingerprint = hashlib.scrypt(
            b"".join(halves),
            salt=_SALT,
            n=_SCRYPT_COST,
            r=_SCRYPT_BLOCK,
            p=_SCRYPT_PARALLEL,
            maxmem=_SCRYPT_MEMORY_BYTES,
            dklen=_FINGERPRINT_BYTES,
        )
        return displayable_code(fingerprint, _VERIFICATION_DIGITS)


def displayable_code(data: bytes, digits: int) -> str:
    """Return bytes as decimal digits, five for each five bytes.

    Raises
    ------
    ValueError
        If there are fewer bytes than digits, or the digits do not make whole groups of five.
    """
    if digits % _GROUP_DIGITS or len(data) < digits:
        msg = f"{len(data)} bytes give no code of {digits} digits in groups of {_GROUP_DIGITS}"
        raise ValueError(msg)
    groups = (data[at : at + _GROUP_DIGITS] for at in range(0, digits, _GROUP_DIGITS))
    return "".join(f"{int.from_bytes(group) % 10**_GROUP_DIGITS:05}" for group in groups)
