"""[pure] MLS messages in the clear: the external sender's proposals to write, members' commits to read.

Source: RFC 9420 §6 (framing), §12.1 (proposals), §12.1.8.1 (external senders), §12.4 (commit). DAVE sends
every handshake message as PublicMessage (whitepaper, "Voice Gateway Commit Validity").
"""

from __future__ import annotations

__all__ = ("Commit", "ExternalSender", "Proposal", "parse_commit")

from dataclasses import dataclass
from typing import Final

from voicepool.testing.mls_codec import Reader, u8, u16, u32, u64, vector
from voicepool.testing.mls_crypto import HASH_BYTES, MLS_VERSION, Signer, proposal_ref
from voicepool.testing.mls_key_package import BASIC_CREDENTIAL, KeyPackage, LeafNode, read_leaf_node

_WIRE_FORMAT_PUBLIC: Final = 1
_SENDER_MEMBER: Final = 1
_SENDER_EXTERNAL: Final = 2
_CONTENT_PROPOSAL: Final = 2
_CONTENT_COMMIT: Final = 3
_PROPOSAL_ADD: Final = 1
_PROPOSAL_REMOVE: Final = 3
_BY_REFERENCE: Final = 2
_HEAD: Final = u16(MLS_VERSION) + u16(_WIRE_FORMAT_PUBLIC)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One signed external proposal.

    Attributes
    ----------
    message : bytes
        The MLSMessage that goes into opcode 27.
    ref : bytes
        Its ProposalRef: how commits name it, and how it is revoked.
    """

    message: bytes
    ref: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """A member's commit, as far as it can be read without the group's secrets.

    Attributes
    ----------
    message : bytes
        The whole MLSMessage, to be announced as it is.
    group_id : bytes
        Group it is for.
    epoch : int
        Epoch it ends.
    leaf_index : int
        The sender's leaf.
    refs : tuple[bytes, ...]
        The proposals it carries out, in its own order: adds take free leaves in this order.
    path_leaf : LeafNode | None
        The sender's new leaf, if the commit has a path.
    """

    message: bytes
    group_id: bytes
    epoch: int
    leaf_index: int
    refs: tuple[bytes, ...]
    path_leaf: LeafNode | None


class ExternalSender:
    """The voice gateway as a party of the MLS group that may propose, and nothing else.

    Parameters
    ----------
    identity : bytes
        Identity of its basic credential; members compare it, its content has no meaning to them.

    Attributes
    ----------
    package : bytes
        The ExternalSender structure: payload of opcode 25.
    """

    __slots__ = ("_signer", "package")

    def __init__(self, identity: bytes = b"voice gateway") -> None:
        self._signer = Signer()
        self.package: Final = vector(self._signer.public_key) + u16(BASIC_CREDENTIAL) + vector(identity)

    def add(self, group_id: bytes, epoch: int, key_package: KeyPackage) -> Proposal:
        """Return a proposal to add the owner of `key_package`."""
        return self._propose(group_id, epoch, u16(_PROPOSAL_ADD) + key_package.encoded)

    def remove(self, group_id: bytes, epoch: int, leaf_index: int) -> Proposal:
        """Return a proposal to remove the member at `leaf_index`."""
        return self._propose(group_id, epoch, u16(_PROPOSAL_REMOVE) + u32(leaf_index))

    def _propose(self, group_id: bytes, epoch: int, proposal: bytes) -> Proposal:
        sender = u8(_SENDER_EXTERNAL) + u32(0)
        authenticated_data = vector(b"")
        content = (
            vector(group_id) + u64(epoch) + sender + authenticated_data + u8(_CONTENT_PROPOSAL) + proposal
        )
        # FramedContentTBS and AuthenticatedContent differ in their first field only: the version leads the
        # former; an external sender has no group context to add (RFC 9420 §6.1).
        signature = vector(self._signer.sign("FramedContentTBS", _HEAD + content))
        return Proposal(
            message=_HEAD + content + signature,
            ref=proposal_ref(u16(_WIRE_FORMAT_PUBLIC) + content + signature),
        )


def parse_commit(data: bytes) -> tuple[Commit, bytes]:
    """Read the commit that a payload of opcode 28 begins with; return it and what follows.

    The signature, the confirmation tag and the membership tag are looked at for their presence only: to check
    them takes the ratchet tree or the group's secrets, which members do not show to the delivery service.

    Raises
    ------
    MlsDecodeError
        The payload does not begin with a PublicMessage of a member that holds a commit by references.
    """
    reader = Reader(data, "the commit")
    _constant(reader.u16("the version"), MLS_VERSION, reader, "MLS version")
    _constant(reader.u16("the wire format"), _WIRE_FORMAT_PUBLIC, reader, "wire format (PublicMessage)")
    group_id = reader.vector("the group id")
    epoch = reader.u64("the epoch")
    _constant(reader.u8("the sender's type"), _SENDER_MEMBER, reader, "sender type (member)")
    leaf_index = reader.u32("the sender's leaf index")
    reader.vector("the authenticated data")
    _constant(reader.u8("the content type"), _CONTENT_COMMIT, reader, "content type (commit)")
    refs = _read_references(reader.sub("the proposals"))
    path_leaf = _read_path(reader) if reader.present("the path") else None
    if not reader.vector("the signature"):
        reader.fail("has an empty signature")
    for tag in ("confirmation tag", "membership tag"):
        if len(reader.vector(f"the {tag}")) != HASH_BYTES:
            reader.fail(f"has a {tag} that is not {HASH_BYTES} bytes long")
    commit = Commit(
        message=reader.since(0),
        group_id=group_id,
        epoch=epoch,
        leaf_index=leaf_index,
        refs=refs,
        path_leaf=path_leaf,
    )
    return commit, reader.rest()


def _read_references(reader: Reader) -> tuple[bytes, ...]:
    refs = []
    while reader.remaining:
        if reader.u8("the kind of a proposal") != _BY_REFERENCE:
            reader.fail("carries a proposal by value; DAVE takes references to the gateway's own only")
        refs.append(reader.vector("a proposal reference"))
    return tuple(refs)


def _read_path(reader: Reader) -> LeafNode:
    leaf = read_leaf_node(reader)
    if not leaf.from_commit:
        reader.fail("has a path whose leaf does not come from a commit")
    nodes = reader.sub("the path's nodes")
    while nodes.remaining:
        nodes.vector("a node's encryption key")
        secrets = nodes.sub("a node's secrets")
        while secrets.remaining:
            secrets.vector("a KEM output")
            secrets.vector("an encrypted path secret")
    return leaf


def _constant(value: int, expected: int, reader: Reader, part: str) -> None:
    if value != expected:
        reader.fail(f"has {value} where DAVE wants {expected}: {part}")
