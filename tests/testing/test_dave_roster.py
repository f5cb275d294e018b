from __future__ import annotations

from tests.testing.mls_builder import key_package_bytes
from voicepool.testing.dave_roster import RosterMember
from voicepool.testing.mls_crypto import Signer


def test_a_key_package_replaces_the_one_before() -> None:
    member = RosterMember(7, 1)
    assert member.signature_key is None
    first, second = Signer(), Signer()
    assert member.take_key_package(key_package_bytes(7, first), ()) is None
    assert member.take_key_package(key_package_bytes(7, second), ()) is None
    assert member.signature_key == second.public_key


def test_a_bad_one_replaces_nothing() -> None:
    member = RosterMember(7, 1)
    signer = Signer()
    member.take_key_package(key_package_bytes(7, signer), ())
    assert "user 7: the key package ends within" in str(member.take_key_package(b"\0", ()))
    assert "of user 7 cannot be used: its credential" in str(
        member.take_key_package(key_package_bytes(8), ())
    )
    assert member.signature_key == signer.public_key


def test_a_used_one_is_refused() -> None:
    member = RosterMember(7, 1, lost=True, rekeyed=True)
    payload = key_package_bytes(7)
    member.take_key_package(payload, ())
    member.use_package()
    assert (member.package, member.lost, member.rekeyed) == (None, False, False)
    assert "used before" in str(member.take_key_package(payload, ()))
    for _ in range(32):
        member.take_key_package(key_package_bytes(7), ())
        member.use_package()
    assert member.take_key_package(payload, ()) is None, "memory is bounded"


def test_members_do_not_share_a_signature_key() -> None:
    signer = Signer()
    problem = RosterMember(7, 1).take_key_package(key_package_bytes(7, signer), {signer.public_key})
    assert "another member's" in str(problem)


def test_who_loses_its_state_needs_a_new_one() -> None:
    member = RosterMember(7, 1, rekeyed=True)
    member.take_key_package(key_package_bytes(7), ())
    member.lose(in_group=True)
    assert (member.package, member.lost, member.rekeyed) == (None, True, False)
    member.lose(in_group=False)
    assert not member.lost


def test_the_one_it_is_in_by_may_be_said_again_until_the_client_is_lost() -> None:
    member = RosterMember(7, 1)
    payload = key_package_bytes(7)
    assert not member.repeats(payload)
    member.take_key_package(payload, ())
    assert not member.repeats(payload)
    member.use_package()
    assert member.repeats(payload)
    assert not member.repeats(key_package_bytes(7))
    assert not member.repeats(b"abc")
    member.lose(in_group=True)
    assert not member.repeats(payload)
