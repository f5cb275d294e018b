from __future__ import annotations

import davey
import pytest

from voicepool.testing.mls_crypto import Signer, is_public_key, key_package_ref, proposal_ref, verify


def test_a_signature_holds_for_its_key_label_and_content_only() -> None:
    signer, other = Signer(), Signer()
    signature = signer.sign("Label", b"content")
    assert verify(signer.public_key, "Label", b"content", signature)
    assert not verify(other.public_key, "Label", b"content", signature)
    assert not verify(signer.public_key, "label", b"content", signature)
    assert not verify(signer.public_key, "Label", b"Content", signature)
    assert not verify(signer.public_key, "Label", b"content", signature[:-1])
    assert not verify(signer.public_key, "Label", b"content", b"")


def test_unusable_keys_verify_nothing() -> None:
    signature = Signer().sign("Label", b"")
    assert not verify(b"", "Label", b"", signature)
    assert not verify(b"\x04" + bytes(64), "Label", b"", signature)


def test_public_keys_are_uncompressed_points_of_the_curve() -> None:
    point = Signer().public_key
    assert is_public_key(point)
    assert is_public_key(davey.generate_p256_keypair().public)
    compressed = bytes((2 + point[-1] % 2,)) + point[1:33]
    for bad in (b"", point[:-1], point + b"\0", point[:-1] + bytes((point[-1] ^ 1,)), compressed):
        assert not is_public_key(bad)


def test_references_differ_by_label() -> None:
    # That they are the right ones, davey's commits and welcomes show: test_mls_framing, test_mls_welcome.
    assert len(key_package_ref(b"x")) == 32
    assert key_package_ref(b"x") != proposal_ref(b"x")
    assert key_package_ref(b"x") != key_package_ref(b"y")


def test_the_private_key_is_not_shown() -> None:
    signer = Signer()
    assert "private" not in repr(signer).lower()
    with pytest.raises(AttributeError):
        _ = signer.private_key  # type: ignore[attr-defined]
