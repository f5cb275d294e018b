from __future__ import annotations

from collections.abc import Callable

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.mls_builder import key_package_bytes, leaf_node, point
from voicepool.testing.mls_codec import MlsDecodeError, Reader, u16, u32, u64, vector
from voicepool.testing.mls_crypto import Signer
from voicepool.testing.mls_key_package import check_key_package, parse_key_package, read_leaf_node

USER = 1090123456789012345
GENUINE = davey.DaveSession(1, USER, 99).get_serialized_key_package()


def test_daveys_key_package_may_be_used_by_its_user_only() -> None:
    package = parse_key_package(GENUINE)
    assert check_key_package(package, USER) is None
    problem = check_key_package(package, USER + 1)
    assert problem is not None
    assert "user id" in problem
    assert package.encoded == GENUINE
    assert package.leaf.user_id == USER
    assert not package.leaf.from_commit


def test_an_mls_message_around_it_is_taken_off() -> None:
    assert parse_key_package(u16(1) + u16(5) + GENUINE) == parse_key_package(GENUINE)
    with pytest.raises(MlsDecodeError, match="MLSMessage of version 2"):
        parse_key_package(u16(2) + u16(5) + GENUINE)


def test_ours_are_valid_like_daveys() -> None:
    assert check_key_package(parse_key_package(key_package_bytes(USER)), USER) is None


SHARED = point()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: key_package_bytes(USER, version=2), "its version is 2"),
        (lambda: key_package_bytes(USER, ciphersuite=1), "its ciphersuite is 1"),
        (lambda: key_package_bytes(7), "not the big-endian user id"),
        (lambda: key_package_bytes(USER, identity=str(USER).encode()), "not the big-endian user id"),
        (lambda: key_package_bytes(USER, source=3), "comes from a commit or an update"),
        (lambda: key_package_bytes(USER, source=2), "comes from a commit or an update"),
        (lambda: key_package_bytes(USER, lifetime=(0, 2**63)), "lifetime"),
        (lambda: key_package_bytes(USER, lifetime=(1, 2**64 - 1)), "lifetime"),
        (lambda: key_package_bytes(USER, extensions=u16(1) + vector(b"")), "extensions"),
        (lambda: key_package_bytes(USER, ciphersuites=(1, 3)), "capabilities"),
        (lambda: key_package_bytes(USER, init_key=b"\x04" + bytes(64)), "not a point"),
        (lambda: key_package_bytes(USER, encryption_key=b"short"), "not a point"),
        (lambda: key_package_bytes(USER, init_key=SHARED, encryption_key=SHARED), "encryption key"),
        (lambda: key_package_bytes(USER, leaf=leaf_node(USER, Signer(), spoil=True)), "leaf's signature"),
        (lambda: key_package_bytes(USER, signature_key=point()), "leaf's signature"),
        (lambda: key_package_bytes(USER, spoil=True), "its signature does not hold"),
    ],
)
def test_each_rule_refuses(make: Callable[[], bytes], problem: str) -> None:
    found = check_key_package(parse_key_package(make()), USER)
    assert found is not None
    assert problem in found


def test_more_than_is_needed_may_be_supported() -> None:
    package = parse_key_package(key_package_bytes(USER, ciphersuites=(1, 2, 3)))
    assert check_key_package(package, USER) is None


def test_other_credentials_and_sources_are_not_read() -> None:
    with pytest.raises(MlsDecodeError, match="credential of type 2"):
        parse_key_package(key_package_bytes(USER, credential_type=2))
    with pytest.raises(MlsDecodeError, match="source 4"):
        parse_key_package(key_package_bytes(USER, source=4))


@given(st.integers(0, len(GENUINE) - 1))
def test_no_part_of_one_is_one(length: int) -> None:
    with pytest.raises(MlsDecodeError):
        parse_key_package(GENUINE[:length])


def test_nothing_may_follow() -> None:
    with pytest.raises(MlsDecodeError, match="1 bytes more"):
        parse_key_package(GENUINE + b"\0")


@given(st.integers(0, len(GENUINE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_goes_unnoticed(place: int, change: int) -> None:
    changed = bytearray(GENUINE)
    changed[place] ^= change
    try:
        package = parse_key_package(bytes(changed))
    except MlsDecodeError:
        return
    assert check_key_package(package, USER) is not None


@given(st.binary(max_size=600))
def test_noise_is_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(MlsDecodeError):
        parse_key_package(data)


def test_a_leaf_from_a_commit_is_signed_for_its_place() -> None:
    signer = Signer()
    place = vector(u64(99)) + u32(3)
    leaf = read_leaf_node(Reader(leaf_node(USER, signer, source=3, context=place), "leaf"))
    assert leaf.from_commit
    assert leaf.verify(u64(99), 3)
    assert not leaf.verify(u64(99), 2)
    assert not leaf.verify(u64(98), 3)


def test_error_texts_hold_no_key_material() -> None:
    for length in range(0, len(GENUINE), 7):
        with pytest.raises(MlsDecodeError) as caught:
            parse_key_package(GENUINE[:length])
        assert GENUINE[8:16].hex() not in str(caught.value)
        assert "\\x" not in str(caught.value)
