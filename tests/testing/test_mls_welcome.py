from __future__ import annotations

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.mls_builder import welcome_bytes
from voicepool.testing.mls_codec import MlsDecodeError, u64, vector
from voicepool.testing.mls_framing import ExternalSender
from voicepool.testing.mls_key_package import parse_key_package
from voicepool.testing.mls_welcome import parse_welcome

REFS = [bytes((i,)) * 32 for i in range(3)]


def test_each_addressee_gets_its_own_part() -> None:
    welcome = parse_welcome(welcome_bytes(REFS))
    assert list(welcome.secrets) == REFS
    for ref in REFS:
        alone = parse_welcome(welcome.for_one(ref))
        assert alone.secrets == {ref: welcome.secrets[ref]}
        assert alone.group_info == b"group info"


def test_daveys_welcome_for_several_works_in_parts() -> None:
    sender = ExternalSender()
    sessions = [davey.DaveSession(1, user, 99) for user in (1, 2, 3, 4)]
    packages = [parse_key_package(session.get_serialized_key_package()) for session in sessions]
    for session in sessions:
        session.set_external_sender(sender.package)
    adds = b"".join(sender.add(u64(99), 0, package).message for package in packages[1:])
    result = sessions[0].process_proposals(davey.ProposalsOperationType.append, vector(adds), [1, 2, 3, 4])
    assert result is not None
    assert result.welcome is not None
    sessions[0].process_commit(result.commit)
    welcome = parse_welcome(result.welcome)
    assert set(welcome.secrets) == {package.ref for package in packages[1:]}
    for session, package in zip(sessions[1:], packages[1:], strict=True):
        session.process_welcome(welcome.for_one(package.ref))
    assert len({session.get_epoch_authenticator() for session in sessions}) == 1


def test_what_cannot_be_one_is_refused() -> None:
    with pytest.raises(MlsDecodeError, match="ciphersuite 1"):
        parse_welcome(welcome_bytes(REFS, ciphersuite=1))
    with pytest.raises(MlsDecodeError, match="twice"):
        parse_welcome(welcome_bytes([REFS[0], REFS[0]]))
    with pytest.raises(MlsDecodeError, match="not a point"):
        parse_welcome(welcome_bytes(REFS, kem_output=b"short"))
    with pytest.raises(MlsDecodeError, match="more than its structure"):
        parse_welcome(welcome_bytes(REFS) + b"\0")


@given(st.integers(0, len(welcome_bytes(REFS)) - 1))
def test_no_part_of_one_is_one(length: int) -> None:
    with pytest.raises(MlsDecodeError):
        parse_welcome(welcome_bytes(REFS)[:length])


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse(data: bytes) -> None:
    try:
        parse_welcome(b"\0\2" + data)
    except MlsDecodeError:
        return
    assert data[0] == 0, "without secrets anything may be a welcome, for nobody"
