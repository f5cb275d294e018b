"""[pure] Welcome messages: what a committer hands to those it adds, cut to one for each of them.

Source: RFC 9420 §12.4.3.1. Its secrets are encrypted to key packages, its group info to the secrets, so
that a delivery service sees who is addressed and nothing else.
"""

from __future__ import annotations

__all__ = ("Welcome", "parse_welcome")

from dataclasses import dataclass

from voicepool.testing.mls_codec import Reader, u16, vector
from voicepool.testing.mls_crypto import CIPHERSUITE, is_public_key


@dataclass(frozen=True, slots=True)
class Welcome:
    """A Welcome.

    Attributes
    ----------
    secrets : dict[bytes, bytes]
        KeyPackageRef of each addressee, and the encoded EncryptedGroupSecrets for it.
    group_info : bytes
        The encrypted GroupInfo.
    """

    secrets: dict[bytes, bytes]
    group_info: bytes

    def for_one(self, ref: bytes) -> bytes:
        """Return the encoded Welcome for the owner of key package `ref` alone (whitepaper, opcode 30)."""
        return u16(CIPHERSUITE) + vector(self.secrets[ref]) + vector(self.group_info)


def parse_welcome(data: bytes) -> Welcome:
    """Read a Welcome, which takes up all of `data`.

    Raises
    ------
    MlsDecodeError
        It is not one of ciphersuite 2, addresses a key package twice, or has an unusable KEM output.
    """
    reader = Reader(data, "the welcome")
    ciphersuite = reader.u16("the ciphersuite")
    if ciphersuite != CIPHERSUITE:
        reader.fail(f"has ciphersuite {ciphersuite}; DAVE version 1 takes {CIPHERSUITE}")
    inner = reader.sub("the secrets")
    secrets: dict[bytes, bytes] = {}
    while inner.remaining:
        start = inner.position
        ref = inner.vector("a key package reference")
        kem_output = inner.vector("a KEM output")
        inner.vector("encrypted group secrets")
        if ref in secrets:
            inner.fail("addresses one key package twice")
        if not is_public_key(kem_output):
            inner.fail("has a KEM output that is not a point on P-256")
        secrets[ref] = inner.since(start)
    group_info = reader.vector("the group info")
    reader.end()
    return Welcome(secrets, group_info)
