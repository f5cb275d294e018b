from __future__ import annotations

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.mls_builder import commit, commit_bytes, leaf_node, path, point
from voicepool.testing.mls_codec import MlsDecodeError, Reader, u16, u32, u64, vector
from voicepool.testing.mls_crypto import Signer, verify
from voicepool.testing.mls_framing import ExternalSender, parse_commit
from voicepool.testing.mls_key_package import KeyPackage, parse_key_package
from voicepool.testing.mls_welcome import parse_welcome

CHANNEL = 99
GROUP = u64(CHANNEL)
APPEND = davey.ProposalsOperationType.append


def pending(user_id: int, sender: ExternalSender) -> tuple[davey.DaveSession, KeyPackage]:
    session = davey.DaveSession(1, user_id, CHANNEL)
    package = parse_key_package(session.get_serialized_key_package())
    session.set_external_sender(sender.package)
    return session, package


def test_the_package_is_an_external_sender_with_a_basic_credential() -> None:
    reader = Reader(ExternalSender(b"gateway").package, "package")
    assert len(reader.vector("key")) == 65
    assert reader.u16("type") == 1
    assert reader.vector("identity") == b"gateway"
    reader.end()


def test_proposals_are_signed_public_messages_of_an_external_sender() -> None:
    sender = ExternalSender()
    key = Reader(sender.package, "package").vector("key")
    message = sender.remove(GROUP, 7, 3).message
    reader = Reader(message, "message")
    assert (reader.u16("version"), reader.u16("wire format")) == (1, 1)
    assert reader.vector("group") == GROUP
    assert reader.u64("epoch") == 7
    assert (reader.u8("sender"), reader.u32("index")) == (2, 0)
    assert reader.vector("authenticated data") == b""
    assert (reader.u8("content"), reader.u16("type"), reader.u32("removed")) == (2, 3, 3)
    signed = reader.since(0)
    assert verify(key, "FramedContentTBS", signed, reader.vector("signature"))
    reader.end()


def test_davey_commits_to_our_proposals_by_the_references_we_computed() -> None:
    sender = ExternalSender()
    creator, _ = pending(1, sender)
    joiner, package = pending(2, sender)
    add = sender.add(GROUP, 0, package)
    result = creator.process_proposals(APPEND, vector(add.message), [1, 2])
    assert result is not None
    assert result.welcome is not None
    first, rest = parse_commit(result.commit + result.welcome)
    assert (first.group_id, first.epoch, first.leaf_index, first.refs) == (GROUP, 0, 0, (add.ref,))
    assert first.message == result.commit
    assert rest == result.welcome
    creator.process_commit(first.message)
    joiner.process_welcome(parse_welcome(rest).for_one(package.ref))

    remove = sender.remove(GROUP, 1, 1)
    result = creator.process_proposals(APPEND, vector(remove.message), [1, 2])
    assert result is not None
    assert result.welcome is None
    second, rest = parse_commit(result.commit)
    assert (second.epoch, second.refs, rest) == (1, (remove.ref,), b"")
    assert second.path_leaf is not None
    assert second.path_leaf.user_id == 1
    assert second.path_leaf.verify(GROUP, 0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"version": 2}, "MLS version"),
        ({"wire_format": 2}, "wire format"),
        ({"sender_type": 2}, "sender type"),
        ({"content_type": 2}, "content type"),
        ({"by": 1}, "by value"),
        ({"signature": b""}, "empty signature"),
        ({"tags": (31, 32)}, "confirmation tag"),
        ({"tags": (32, 0)}, "membership tag"),
        ({"encoded_path": b"\2"}, "marks the path with 2"),
        ({"encoded_path": path(leaf_node(1, Signer()))}, "does not come from a commit"),
    ],
)
def test_other_framings_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(MlsDecodeError, match=problem):
        parse_commit(commit_bytes([b"r" * 32], **options))  # type: ignore[arg-type]


def test_references_keep_their_order() -> None:
    refs = [bytes((i,)) * 32 for i in (3, 1, 2)]
    assert commit(refs).refs == tuple(refs)


def test_a_path_is_read_to_its_end() -> None:
    signer = Signer()
    leaf = leaf_node(5, signer, source=3, context=vector(GROUP) + u32(0))
    parsed, rest = parse_commit(commit_bytes([b"r" * 32], encoded_path=path(leaf)) + b"welcome")
    assert rest == b"welcome"
    assert parsed.path_leaf is not None
    assert parsed.path_leaf.signature_key == signer.public_key


WHOLE = commit_bytes([b"r" * 32], encoded_path=path(leaf_node(5, Signer(), source=3)))


@given(st.integers(0, len(WHOLE) - 1))
def test_no_part_of_a_commit_is_one(length: int) -> None:
    with pytest.raises(MlsDecodeError):
        parse_commit(WHOLE[:length])


@given(st.binary(max_size=300), st.booleans())
def test_noise_is_refused_and_nothing_worse(data: bytes, framed: bool) -> None:  # noqa: FBT001
    head = u16(1) + u16(1) + vector(GROUP) + u64(0) + b"\1" + u32(0) + vector(b"") + b"\3" if framed else b""
    try:
        parse_commit(head + data)
    except MlsDecodeError:
        return
    # Random bytes can be a commit without proposals; never without the tags.
    assert len(data) > 2 * 33


def test_every_signature_differs_and_so_does_the_reference() -> None:
    sender = ExternalSender()
    assert sender.remove(GROUP, 1, 1).ref != sender.remove(GROUP, 1, 1).ref
    assert point() != point()
