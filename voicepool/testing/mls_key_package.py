"""[pure] Key packages: what a pending member offers to be added with (RFC 9420 §10), read and validated.

DAVE narrows what RFC 9420 allows: a basic credential whose identity is the user id, no leaf extensions, and
the longest lifetime (whitepaper, "Key Packages, Validation").
"""

from __future__ import annotations

__all__ = (
    "BASIC_CREDENTIAL",
    "KeyPackage",
    "LeafNode",
    "check_key_package",
    "parse_key_package",
    "read_leaf_node",
)

from dataclasses import dataclass
from typing import Final

from voicepool.testing.mls_codec import Reader, u32, vector
from voicepool.testing.mls_crypto import CIPHERSUITE, MLS_VERSION, is_public_key, key_package_ref, verify

BASIC_CREDENTIAL: Final = 1
_SOURCE_KEY_PACKAGE: Final = 1
_SOURCE_UPDATE: Final = 2
_SOURCE_COMMIT: Final = 3
_IDENTITY_BYTES: Final = 8
_WIRE_FORMAT_KEY_PACKAGE: Final = 5
_FOREVER: Final = (0, 2**64 - 1)


@dataclass(frozen=True, slots=True)
class LeafNode:
    """One member's leaf (RFC 9420 §7.2), as far as a delivery service looks.

    Attributes
    ----------
    identity : bytes
        Identity of the basic credential.
    lifetime : tuple[int, int] | None
        not_before and not_after in seconds since 1970; None unless the leaf comes from a key package.
    from_commit : bool
        Whether its source is a commit's path.
    extensions : bytes
        The encoded extension list, b"" for none.
    content, signature : bytes
        What was signed (without what the context adds), and the signature.
    """

    encryption_key: bytes
    signature_key: bytes
    identity: bytes
    versions: frozenset[int]
    ciphersuites: frozenset[int]
    credentials: frozenset[int]
    lifetime: tuple[int, int] | None
    from_commit: bool
    extensions: bytes
    content: bytes
    signature: bytes

    @property
    def user_id(self) -> int | None:
        """The user id in the credential; None if its size is not that of a snowflake."""
        return int.from_bytes(self.identity) if len(self.identity) == _IDENTITY_BYTES else None

    def verify(self, group_id: bytes = b"", leaf_index: int = 0) -> bool:
        """Return whether the signature holds (RFC 9420 §7.2, LeafNodeTBS).

        Parameters
        ----------
        group_id : bytes
            Group of the leaf; not used for one from a key package, which belongs to no group yet.
        leaf_index : int
            Its place in the group.
        """
        context = b"" if self.lifetime is not None else vector(group_id) + u32(leaf_index)
        return verify(self.signature_key, "LeafNodeTBS", self.content + context, self.signature)


@dataclass(frozen=True, slots=True)
class KeyPackage:
    """A KeyPackage (RFC 9420 §10).

    Attributes
    ----------
    encoded : bytes
        The structure as it came, to put into an Add proposal.
    ref : bytes
        Its KeyPackageRef, by which a Welcome addresses it.
    content, signature : bytes
        What was signed, and the signature.
    """

    version: int
    ciphersuite: int
    init_key: bytes
    leaf: LeafNode
    encoded: bytes
    ref: bytes
    content: bytes
    signature: bytes


def read_leaf_node(reader: Reader) -> LeafNode:
    """Read a LeafNode.

    Raises
    ------
    MlsDecodeError
        It is not one, or not with a basic credential.
    """
    start = reader.position
    encryption_key = reader.vector("the leaf's encryption key")
    signature_key = reader.vector("the leaf's signature key")
    kind = reader.u16("the credential's type")
    if kind != BASIC_CREDENTIAL:
        reader.fail(f"has a credential of type {kind}; DAVE allows basic ({BASIC_CREDENTIAL}) only")
    identity = reader.vector("the credential's identity")
    versions = _numbers(reader, "the supported versions")
    ciphersuites = _numbers(reader, "the supported ciphersuites")
    _numbers(reader, "the supported extensions")
    _numbers(reader, "the supported proposals")
    credentials = _numbers(reader, "the supported credentials")
    source = reader.u8("the leaf's source")
    lifetime = None
    if source == _SOURCE_KEY_PACKAGE:
        lifetime = (reader.u64("not_before"), reader.u64("not_after"))
    elif source == _SOURCE_COMMIT:
        reader.vector("the parent hash")
    elif source != _SOURCE_UPDATE:
        reader.fail(f"has a leaf of source {source}; RFC 9420 knows 1 to 3")
    extensions = reader.vector("the leaf's extensions")
    content = reader.since(start)
    return LeafNode(
        encryption_key=encryption_key,
        signature_key=signature_key,
        identity=identity,
        versions=versions,
        ciphersuites=ciphersuites,
        credentials=credentials,
        lifetime=lifetime,
        from_commit=source == _SOURCE_COMMIT,
        extensions=extensions,
        content=content,
        signature=reader.vector("the leaf's signature"),
    )


def parse_key_package(data: bytes) -> KeyPackage:
    """Read the payload of opcode 26.

    The whitepaper asks for an MLSMessage that holds the KeyPackage; libdave, davey and all clients built on
    them send the KeyPackage alone. Both are taken: their second field tells them apart.

    Raises
    ------
    MlsDecodeError
        It is neither.
    """
    head = Reader(data, "the key package")
    version = head.u16("the version")
    second = head.u16("the ciphersuite")
    if second == _WIRE_FORMAT_KEY_PACKAGE:
        if version != MLS_VERSION:
            head.fail(f"comes in an MLSMessage of version {version}; MLS 1.0 is {MLS_VERSION}")
        data = head.rest()
        head = Reader(data, "the key package")
        version = head.u16("the version")
        second = head.u16("the ciphersuite")
    init_key = head.vector("the init key")
    leaf = read_leaf_node(head)
    head.vector("the extensions")
    content = head.since(0)
    signature = head.vector("the signature")
    head.end()
    return KeyPackage(
        version=version,
        ciphersuite=second,
        init_key=init_key,
        leaf=leaf,
        encoded=data,
        ref=key_package_ref(data),
        content=content,
        signature=signature,
    )


def check_key_package(package: KeyPackage, user_id: int) -> str | None:
    """Return what is wrong with a key package, in half a sentence; None if `user_id` may be added with it.

    Sources: RFC 9420 §10.1 and §7.3; whitepaper, "Key Packages, Validation".
    """
    leaf = package.leaf
    points = (package.init_key, leaf.encryption_key, leaf.signature_key)
    rules = (
        (package.version == MLS_VERSION, f"its version is {package.version}; MLS 1.0 is {MLS_VERSION}"),
        (
            package.ciphersuite == CIPHERSUITE,
            f"its ciphersuite is {package.ciphersuite}; DAVE version 1 takes {CIPHERSUITE}",
        ),
        (
            leaf.user_id == user_id,
            "its credential is not the big-endian user id that the session identified with",
        ),
        (leaf.lifetime is not None, "its leaf comes from a commit or an update"),
        (leaf.lifetime in {None, _FOREVER}, "its lifetime is not the longest: 0 to 2^64 - 1"),
        (not leaf.extensions, "its leaf has extensions; DAVE allows none"),
        (
            MLS_VERSION in leaf.versions
            and CIPHERSUITE in leaf.ciphersuites
            and BASIC_CREDENTIAL in leaf.credentials,
            "its capabilities lack MLS 1.0, ciphersuite 2 or basic credentials",
        ),
        (all(is_public_key(point) for point in points), "one of its keys is not a point on P-256"),
        (package.init_key != leaf.encryption_key, "its init key is its leaf's encryption key"),
        (leaf.verify(), "its leaf's signature does not hold"),
        (
            verify(leaf.signature_key, "KeyPackageTBS", package.content, package.signature),
            "its signature does not hold",
        ),
    )
    return next((problem for holds, problem in rules if not holds), None)


def _numbers(reader: Reader, part: str) -> frozenset[int]:
    inner = reader.sub(part)
    numbers = []
    while inner.remaining:
        numbers.append(inner.u16(part))
    return frozenset(numbers)
