"""[pure] What a delivery service needs of MLS ciphersuite 2: labelled signatures and hash references.

Ciphersuite 2 is MLS_128_DHKEMP256_AES128GCM_SHA256_P256 (RFC 9420 §17.1): ECDSA on P-256 with SHA-256, its
signatures DER-encoded, and public keys as uncompressed points (RFC 9420 §5.1.1 and §5.1.2). The secret half
of MLS (HPKE, key schedule, ratchet tree) is the members' business and not here.
"""

from __future__ import annotations

__all__ = (
    "CIPHERSUITE",
    "HASH_BYTES",
    "MLS_VERSION",
    "POINT_BYTES",
    "Signer",
    "is_public_key",
    "key_package_ref",
    "proposal_ref",
    "verify",
)

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voicepool.testing.mls_codec import vector

MLS_VERSION: Final = 1
"""ProtocolVersion mls10 (RFC 9420 §6)."""
CIPHERSUITE: Final = 2
HASH_BYTES: Final = 32
POINT_BYTES: Final = 65

_ALGORITHM: Final = ECDSA(SHA256())


class Signer:
    """A signature key pair made for one run. The private half never leaves it.

    Attributes
    ----------
    public_key : bytes
        SignaturePublicKey: an uncompressed point, 65 bytes.
    """

    __slots__ = ("_private", "public_key")

    def __init__(self) -> None:
        self._private = generate_private_key(SECP256R1())
        self.public_key: Final = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def sign(self, label: str, content: bytes) -> bytes:
        """Return SignWithLabel(key, `label`, `content`), RFC 9420 §5.1.2."""
        return self._private.sign(_sign_content(label, content), _ALGORITHM)


def verify(public_key: bytes, label: str, content: bytes, signature: bytes) -> bool:
    """Return whether VerifyWithLabel accepts `signature` (RFC 9420 §5.1.2); False for an unusable key."""
    try:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public_key)
        key.verify(signature, _sign_content(label, content), _ALGORITHM)
    except (ValueError, InvalidSignature):
        return False
    return True


def is_public_key(data: bytes) -> bool:
    """Return whether `data` is an uncompressed point of P-256."""
    if len(data) != POINT_BYTES:
        return False
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), data)
    except ValueError:
        return False
    return True


def key_package_ref(key_package: bytes) -> bytes:
    """Return the KeyPackageRef of an encoded KeyPackage (RFC 9420 §5.2)."""
    return _ref_hash(b"MLS 1.0 KeyPackage Reference", key_package)


def proposal_ref(authenticated_content: bytes) -> bytes:
    """Return the ProposalRef of an encoded AuthenticatedContent (RFC 9420 §5.2)."""
    return _ref_hash(b"MLS 1.0 Proposal Reference", authenticated_content)


def _ref_hash(label: bytes, value: bytes) -> bytes:
    return hashlib.sha256(vector(label) + vector(value)).digest()


def _sign_content(label: str, content: bytes) -> bytes:
    return vector(b"MLS 1.0 " + label.encode("ascii")) + vector(content)
