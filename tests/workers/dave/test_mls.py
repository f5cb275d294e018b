from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import dave_mls
from tests.fakes.dave_call import CHANNEL, EncryptedCall
from voicepool.workers.dave.mls import (
    MlsFormatError,
    ProposalKind,
    key_package_ref,
    read_commit,
    read_external_sender,
    read_key_package,
    read_proposals,
    read_references,
    read_welcome_references,
    write_vector,
)

READERS = (
    read_commit,
    read_external_sender,
    read_key_package,
    read_proposals,
    read_references,
    read_welcome_references,
)
GROUP = CHANNEL.to_bytes(8)


@given(st.integers(0, 70_000))
def test_a_vector_is_read_as_it_was_written(length: int) -> None:
    written = write_vector(write_vector(bytes(length)))
    assert read_references(written) == (bytes(length),)


def test_lengths_at_the_borders() -> None:
    assert write_vector(bytes(63))[:1] == b"\x3f"
    assert write_vector(bytes(64))[:2] == b"\x40\x40"
    assert write_vector(bytes(16_384))[:4] == b"\x80\x00\x40\x00"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05abc", b"\x40", b"\x40\x01\x00", b"\x80\x00\x00\x05abcde", b"\xc0", b"\x00extra", b"\x01\x05"],
)
def test_what_is_no_vector_is_refused(data: bytes) -> None:
    with pytest.raises(MlsFormatError):
        read_references(data)


@pytest.mark.parametrize("read", READERS)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise_anything_else(read: Callable[[bytes], Any], data: bytes) -> None:
    with contextlib.suppress(MlsFormatError):
        read(data)


@pytest.mark.parametrize(
    ("read", "whole"),
    [
        (read_commit, dave_mls.commit(CHANNEL, 3, [b"r"], committer=2)),
        (read_external_sender, dave_mls.EXTERNAL_SENDER),
        (read_key_package, dave_mls.key_package(5)),
        (read_proposals, dave_mls.append([dave_mls.add(CHANNEL, 3, 5)])[1:]),
        (read_references, dave_mls.revoke([b"r", b"s"])[1:]),
        (read_welcome_references, dave_mls.welcome([b"r"])),
    ],
)
def test_whatever_is_cut_short_is_refused(read: Callable[[bytes], Any], whole: bytes) -> None:
    assert read(whole)
    # Of a commit, what follows the committer's leaf is left to the library.
    end = whole.rindex(b"leaf signature") + len(b"leaf signature") if read is read_commit else len(whole)
    for length in range(end):
        with pytest.raises(MlsFormatError):
            read(whole[:length])


def test_the_librarys_key_package_and_its_reference() -> None:
    session = davey.DaveSession(1, 12345, CHANNEL)
    key_package = session.get_serialized_key_package()
    user_id, key = read_key_package(key_package)

    assert user_id == 12345
    assert len(key) == 65
    assert len(key_package_ref(key_package)) == 32


def test_real_messages() -> None:
    call = EncryptedCall()
    one, two = call.join(1), call.join(2)
    call.join(3)
    call.leave(3)
    proposals = [
        proposal
        for message in one.got
        if message.opcode == 27 and message.payload[0] == 0
        for proposal in read_proposals(message.payload[1:])
    ]
    commits = [message.payload[2:] for message in two.got if message.opcode == 29]
    welcome = next(message.payload[2:] for c in (one, two) for message in c.got if message.opcode == 30)
    packages = [key_package_ref(r.data[1:]) for c in (one, two) for r in c.sent if r.opcode == 26]  # type: ignore[arg-type]

    assert [(p.kind, p.user_id, p.group_id, p.epoch, p.is_external) for p in proposals] == [
        (ProposalKind.ADD, 2, GROUP, 0, True),
        (ProposalKind.ADD, 3, GROUP, 1, True),
        (ProposalKind.REMOVE, None, GROUP, 2, True),
    ]
    read = [read_commit(commit) for commit in commits][-2:]
    assert [(c.group_id, c.epoch, c.is_from_member, c.is_by_reference) for c in read] == [
        (GROUP, 1, True, True),
        (GROUP, 2, True, True),
    ]
    assert [c.references for c in read] == [(proposals[1].reference,), (proposals[2].reference,)]
    assert read[0].committer is None, "an Add needs no path"
    assert read[1].committer is not None
    assert read[1].committer[0] in {1, 2}
    assert read_welcome_references(welcome) <= set(packages)


def test_a_commit_with_a_proposal_inside_is_read_up_to_it() -> None:
    seen = read_commit(dave_mls.commit(CHANNEL, 3, [b"r"], inline=True))
    assert (seen.is_by_reference, seen.references, seen.epoch) == (False, (b"r",), 3)


def test_other_proposals_than_add_and_remove_are_refused() -> None:
    message = dave_mls.remove(CHANNEL, 3, 1).replace(b"\x02\x00\x03", b"\x02\x00\x07")
    with pytest.raises(MlsFormatError, match="neither Add nor Remove"):
        read_proposals(dave_mls.append([message])[1:])
