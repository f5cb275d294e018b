"""What MLS leaves in the clear: framing, proposals, and who a key package or welcome is for [pure].

The native library decides what is valid; it checks every signature and secret. This file reads only what
somebody on the way could read too, for decisions the library does not take or takes too late: whose Add a
proposal is, which epoch a commit leaves, whether a welcome answers our present key package, and the public
keys that verification codes are made from. Nothing here is trusted before the library has accepted it.

Sources: RFC 9420 §2.1.2 (vectors), §5.2 (references), §6 (framing), §7.2 (leaf node), §10 (key package), §12
(proposal, commit, welcome); DAVE protocol, MLS Parameters.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from typing import Final

__all__ = [
    "Commit",
    "MlsFormatError",
    "Proposal",
    "ProposalKind",
    "key_package_ref",
    "read_commit",
    "read_external_sender",
    "read_key_package",
    "read_proposals",
    "read_references",
    "read_welcome_references",
    "write_vector",
]

_MLS_10: Final = 1
_PUBLIC_MESSAGE: Final = 1
_BASIC_CREDENTIAL: Final = 1
_USER_ID_BYTES: Final = 8
_LIFETIME_BYTES: Final = 16
_VERSION_AND_FORMAT_BYTES: Final = 2

_SENDER_MEMBER: Final = 1
_SENDER_EXTERNAL: Final = 2
_CONTENT_PROPOSAL: Final = 2
_CONTENT_COMMIT: Final = 3
_BY_REFERENCE: Final = 2
_LEAF_FROM_KEY_PACKAGE: Final = 1
_LEAF_FROM_COMMIT: Final = 3

_VECTOR_HEADERS: Final = ((1, 0x3F), (2, 0x3FFF), (4, 0x3FFF_FFFF))
"""Bytes and largest value of a vector's length, by its two top bits (RFC 9420 §2.1.2)."""


class MlsFormatError(ValueError):
    """These bytes are not the structure that was expected."""


class ProposalKind(enum.IntEnum):
    """The two proposals that DAVE knows (DAVE protocol, Proposal Handling)."""

    ADD = 1
    REMOVE = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal of opcode 27, as far as anybody can read it.

    Attributes
    ----------
    message
        The whole MLSMessage.
    reference
        Its ProposalRef (RFC 9420 §5.2): what a commit or a revocation names it by.
    group_id, epoch
        Where it belongs.
    is_external
        Whether it claims to come from the external sender.
    kind
        Add or Remove.
    user_id
        Who is to be added; None for a Remove.
    signature_key
        Public key of who is to be added; empty for a Remove.
    """

    message: bytes
    reference: bytes
    group_id: bytes
    epoch: int
    is_external: bool
    kind: ProposalKind
    user_id: int | None = None
    signature_key: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as far as anybody can read it.

    Attributes
    ----------
    group_id, epoch
        The group, and the epoch that it leaves.
    is_from_member
        Whether it claims to come from a member.
    is_by_reference
        Whether it names all its proposals by reference, as it must (DAVE protocol, Client Commit Validity).
        If not, the rest of it was not read.
    references
        ProposalRefs of what it commits.
    committer
        User id and public key in the committer's new leaf; None if the commit has no path.
    """

    group_id: bytes
    epoch: int
    is_from_member: bool
    is_by_reference: bool
    references: tuple[bytes, ...]
    committer: tuple[int, bytes] | None


def read_proposals(vector: bytes) -> tuple[Proposal, ...]:
    """Read ``MLSMessage proposal_messages<V>`` of opcode 27.

    Raises
    ------
    MlsFormatError
        If it is anything else, or holds a kind of proposal that DAVE has not.
    """
    outer = _Reader(vector)
    reader = _Reader(outer.vector())
    outer.end()
    proposals = []
    while not reader.is_done:
        proposals.append(_read_proposal(reader))
    return tuple(proposals)


def read_references(vector: bytes) -> tuple[bytes, ...]:
    """Read ``ProposalRef proposal_refs<V>`` of opcode 27.

    Raises
    ------
    MlsFormatError
        If it is anything else.
    """
    outer = _Reader(vector)
    reader = _Reader(outer.vector())
    outer.end()
    references = []
    while not reader.is_done:
        references.append(reader.vector())
    return tuple(references)


def read_commit(message: bytes) -> Commit:
    """Read the MLSMessage of opcode 29.

    Raises
    ------
    MlsFormatError
        If it is no commit in a PublicMessage.
    """
    reader = _Reader(message)
    framing = _read_framing(reader)
    if framing.content_type != _CONTENT_COMMIT:
        raise MlsFormatError("no commit")
    proposals = _Reader(reader.vector())
    references = []
    is_by_reference = True
    while is_by_reference and not proposals.is_done:
        is_by_reference = proposals.number(1) == _BY_REFERENCE
        if is_by_reference:
            references.append(proposals.vector())
    committer = _read_leaf(reader) if is_by_reference and reader.is_present() else None
    return Commit(
        group_id=framing.group_id,
        epoch=framing.epoch,
        is_from_member=framing.sender_type == _SENDER_MEMBER,
        is_by_reference=is_by_reference,
        references=tuple(references),
        committer=committer,
    )


def read_external_sender(package: bytes) -> bytes:
    """Return the public key in an ExternalSender, the payload of opcode 25.

    Raises
    ------
    MlsFormatError
        If it is none with a basic credential.
    """
    reader = _Reader(package)
    signature_key = reader.vector()
    if reader.number(2) != _BASIC_CREDENTIAL:
        raise MlsFormatError("no basic credential")
    reader.vector()
    reader.end()
    return signature_key


def read_key_package(message: bytes) -> tuple[int, bytes]:
    """Return user id and signature key of a KeyPackage.

    Raises
    ------
    MlsFormatError
        If it is none, or its credential is no Discord user's.
    """
    reader = _Reader(message)
    found = _read_key_package(reader)
    reader.end()
    return found


def read_welcome_references(welcome: bytes) -> frozenset[bytes]:
    """Return the KeyPackageRefs of those a Welcome is for (RFC 9420 §12.4.3.1).

    Raises
    ------
    MlsFormatError
        If it is no Welcome.
    """
    reader = _Reader(welcome)
    reader.number(2)
    secrets = _Reader(reader.vector())
    reader.vector()
    reader.end()
    references = set()
    while not secrets.is_done:
        references.add(secrets.vector())
        secrets.vector()
        secrets.vector()
    return frozenset(references)


def key_package_ref(key_package: bytes) -> bytes:
    """Return the KeyPackageRef, by which welcomes name this KeyPackage (RFC 9420 §5.2)."""
    return _reference(b"MLS 1.0 KeyPackage Reference", key_package)


def write_vector(content: bytes) -> bytes:
    """Return the content with its variable-size length before it (RFC 9420 §2.1.2)."""
    for bits, (size, largest) in enumerate(_VECTOR_HEADERS):
        if len(content) <= largest:
            return (bits << (size * 8 - 2) | len(content)).to_bytes(size) + content
    msg = f"{len(content)} bytes are more than a vector can hold"
    raise MlsFormatError(msg)


class _Reader:
    """Takes one field after the other off some bytes."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at(self) -> int:
        return self._at

    @property
    def is_done(self) -> bool:
        return self._at == len(self._data)

    def since(self, start: int) -> bytes:
        return self._data[start : self._at]

    def take(self, size_bytes: int) -> bytes:
        taken = self._data[self._at : self._at + size_bytes]
        if len(taken) != size_bytes:
            raise MlsFormatError("cut short")
        self._at += size_bytes
        return taken

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes))

    def is_present(self) -> bool:
        marker = self.number(1)
        if marker > 1:
            raise MlsFormatError("an optional value is neither absent nor present")
        return bool(marker)

    def vector(self) -> bytes:
        bits = self.number(1) >> 6
        if bits >= len(_VECTOR_HEADERS):
            raise MlsFormatError("no vector begins so")
        self._at -= 1
        size, largest = _VECTOR_HEADERS[bits]
        length = self.number(size) & largest
        if bits and length <= _VECTOR_HEADERS[bits - 1][1]:
            raise MlsFormatError("a length is not written in the shortest way")
        return self.take(length)

    def end(self) -> None:
        if not self.is_done:
            raise MlsFormatError("more than was expected")


@dataclasses.dataclass(frozen=True, slots=True)
class _Framing:
    group_id: bytes
    epoch: int
    sender_type: int
    content_type: int


def _read_framing(reader: _Reader) -> _Framing:
    if reader.number(2) != _MLS_10 or reader.number(2) != _PUBLIC_MESSAGE:
        raise MlsFormatError("no PublicMessage of MLS 1.0")
    group_id = reader.vector()
    epoch = reader.number(8)
    sender_type = reader.number(1)
    if sender_type in {_SENDER_MEMBER, _SENDER_EXTERNAL}:
        reader.number(4)
    reader.vector()
    return _Framing(group_id, epoch, sender_type, content_type=reader.number(1))


def _read_proposal(reader: _Reader) -> Proposal:
    start = reader.at
    framing = _read_framing(reader)
    if framing.content_type != _CONTENT_PROPOSAL:
        raise MlsFormatError("no proposal")
    kind = reader.number(2)
    user_id, signature_key = None, b""
    if kind == ProposalKind.ADD:
        user_id, signature_key = _read_key_package(reader)
    elif kind == ProposalKind.REMOVE:
        reader.number(4)
    else:
        raise MlsFormatError("a proposal that is neither Add nor Remove")
    reader.vector()
    if framing.sender_type == _SENDER_MEMBER:
        # A membership tag; the caller refuses it, and what follows is to be read all the same.
        reader.vector()
    message = reader.since(start)
    return Proposal(
        message=message,
        reference=_reference(b"MLS 1.0 Proposal Reference", message[_VERSION_AND_FORMAT_BYTES:]),
        group_id=framing.group_id,
        epoch=framing.epoch,
        is_external=framing.sender_type == _SENDER_EXTERNAL,
        kind=ProposalKind(kind),
        user_id=user_id,
        signature_key=signature_key,
    )


def _read_key_package(reader: _Reader) -> tuple[int, bytes]:
    if reader.number(2) != _MLS_10:
        raise MlsFormatError("no KeyPackage of MLS 1.0")
    reader.number(2)
    reader.vector()
    found = _read_leaf(reader)
    reader.vector()
    reader.vector()
    return found


def _read_leaf(reader: _Reader) -> tuple[int, bytes]:
    reader.vector()
    signature_key = reader.vector()
    if reader.number(2) != _BASIC_CREDENTIAL:
        raise MlsFormatError("no basic credential")
    identity = reader.vector()
    if len(identity) != _USER_ID_BYTES:
        raise MlsFormatError("no user id in a credential")
    for _ in range(5):
        # Capabilities: versions, ciphersuites, extensions, proposals, credentials.
        reader.vector()
    source = reader.number(1)
    if source == _LEAF_FROM_KEY_PACKAGE:
        reader.take(_LIFETIME_BYTES)
    elif source == _LEAF_FROM_COMMIT:
        reader.vector()
    reader.vector()
    reader.vector()
    return int.from_bytes(identity), signature_key


def _reference(label: bytes, value: bytes) -> bytes:
    return hashlib.sha256(write_vector(label) + write_vector(value)).digest()
