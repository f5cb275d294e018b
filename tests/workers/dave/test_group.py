from __future__ import annotations

import threading

import pytest

from tests.fakes.dave_call import CHANNEL, EncryptedCall
from voicepool.testing.mls_framing import ExternalSender
from voicepool.testing.mls_key_package import parse_key_package
from voicepool.workers.dave.contract import DaveGroup, GroupError
from voicepool.workers.dave.group import MAX_VERSION, DaveyGroup, _mapped
from voicepool.workers.dave.mls import Proposal, read_proposals, write_vector


class PanicException(BaseException):
    """What a panic in a Rust library raises."""


def test_it_fulfils_the_contract() -> None:
    group: DaveGroup = DaveyGroup(1, CHANNEL)
    assert group.max_version == MAX_VERSION == 1
    assert not group.user_ids
    assert not any((group.epoch, group.privacy_code, group.encryptor()))


def test_before_it_is_started_it_can_do_nothing() -> None:
    group = DaveyGroup(1, CHANNEL)
    for step in (
        lambda: group.merge_commit(b""),
        lambda: group.join(b""),
        lambda: group.decrypt(2, b"", 0.0),
        lambda: group.verification_code(2),
        lambda: group.set_external_sender(b""),
    ):
        with pytest.raises(GroupError, match="it was not started"):
            step()


def test_a_pending_group_is_its_own_only() -> None:
    group = DaveyGroup(1, CHANNEL)
    group.start(1, b"", 0.0)
    assert not group.user_ids
    group.set_external_sender(ExternalSender().package)
    assert group.epoch == 0
    assert group.user_ids == {1}
    assert group.encryptor() is None


def test_every_start_gives_a_new_key_package_under_the_same_identity() -> None:
    group = DaveyGroup(1, CHANNEL)
    one, two = group.start(1, b"", 0.0), group.start(1, b"", 0.0)
    assert one != two
    assert group.signature_key in one
    assert group.signature_key in two


@pytest.mark.parametrize("version", [0, 2, -1, 1 << 70])
def test_versions_the_library_has_not(version: int) -> None:
    with pytest.raises(GroupError, match="cannot start"):
        DaveyGroup(1, CHANNEL).start(version, b"", 0.0)


def test_what_the_library_refuses_is_told_in_its_words_without_bytes() -> None:
    group = DaveyGroup(1, CHANNEL)
    group.start(1, ExternalSender().package, 0.0)
    with pytest.raises(GroupError, match=r"^the DAVE group cannot process the commit: PendingGroup$"):
        group.merge_commit(b"abc")
    with pytest.raises(GroupError, match=r"process the welcome: [A-Za-z ]+$"):
        group.join(b"\x00\x02\x00")


@pytest.mark.parametrize("error", [ValueError("Failed: Why(b'\\x01\\x02', 123)"), PanicException("boom")])
def test_errors_and_panics_become_ours(error: BaseException) -> None:
    with pytest.raises(GroupError) as caught, _mapped("try"):
        raise error
    assert caught.value.step == "try"
    assert "123" not in str(caught.value)


def test_what_is_to_end_the_thread_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt), _mapped("try"):
        raise KeyboardInterrupt


def test_frames_of_the_group_before_can_be_decrypted_for_ten_seconds() -> None:
    call = EncryptedCall()
    one = call.join(1)
    two = call.join(2)
    opus, frame = two.say()
    _, late = two.say()
    assert frame is not None
    assert late is not None
    one.group.start(1, b"", call.clock())

    assert one.group.decrypt(2, frame, call.clock() + 9.9) == opus
    with pytest.raises(GroupError):
        one.group.decrypt(2, late, call.clock() + 10.0)


def test_an_encryptor_outlives_the_group_it_is_from() -> None:
    call = EncryptedCall()
    one = call.join(1)
    two = call.join(2)
    encrypt = one.group.encryptor()
    assert encrypt is not None
    one.group.start(1, b"", call.clock())

    assert two.group.decrypt(1, encrypt(b"opus"), call.clock()) == b"opus"
    assert one.group.encryptor() is None


def test_the_librarys_sender_moves_with_the_commit() -> None:
    # The reason for `switches_on_merge`: should this fail after an update, nothing need be held back.
    call = EncryptedCall(transition_timeout_s=60)
    one = call.join(1)
    two = call.join(2)
    call.slow_down(2)
    encrypt = one.group.encryptor()
    call.join(3)
    assert encrypt is not None
    assert two.group.decrypt(1, encrypt(b"opus"), call.clock()) == b"opus"
    one.protocol.settle(call.clock())
    with pytest.raises(GroupError, match="NoValidCryptorFound"):
        two.group.decrypt(1, encrypt(b"opus"), call.clock())


def proposals(*messages: bytes) -> tuple[Proposal, ...]:
    return read_proposals(write_vector(b"".join(messages)))


def test_an_add_has_its_welcome_whatever_is_proposed_after_it() -> None:
    server, key = ExternalSender(), CHANNEL.to_bytes(8)
    groups = {user_id: DaveyGroup(user_id, CHANNEL) for user_id in (1, 2, 3, 4)}
    adds = {
        user_id: server.add(key, 0, parse_key_package(group.start(1, server.package, 0.0))).message
        for user_id, group in groups.items()
    }
    one = groups[1]
    made = one.process_proposals(proposals(adds[2], adds[3]), ())
    assert made is not None
    assert made.welcome
    # Of the library, by itself, this commit had none.
    made = one.process_proposals((), [proposals(adds[2])[0].reference])
    assert made is not None
    assert made.welcome
    one.merge_commit(made.commit)
    groups[3].join(made.welcome)

    added = server.add(key, 1, parse_key_package(groups[4].start(1, server.package, 0.0))).message
    removed = server.remove(key, 1, 1).message
    assert one.process_proposals(proposals(added), ()) is not None
    made = one.process_proposals(proposals(removed), ())
    assert made is not None
    one.merge_commit(made.commit)
    groups[4].join(made.welcome)
    assert one.user_ids == groups[4].user_ids == {1, 4}
    assert one.privacy_code == groups[4].privacy_code


def test_a_user_who_is_in_the_group_twice_is_refused() -> None:
    server, key = ExternalSender(), CHANNEL.to_bytes(8)
    one = DaveyGroup(1, CHANNEL)
    one.start(1, server.package, 0.0)
    twins = [DaveyGroup(2, CHANNEL).start(1, server.package, 0.0) for _ in range(2)]
    adds = [server.add(key, 0, parse_key_package(package)).message for package in twins]
    made = one.process_proposals(proposals(*adds), ())

    assert made is not None
    with pytest.raises(GroupError, match="a user is in it twice"):
        one.merge_commit(made.commit)


def test_encrypting_beside_mls_and_decrypting_never_fails() -> None:
    call = EncryptedCall()
    one = call.join(1)
    two = call.join(2)
    stop = threading.Event()
    frames = 0

    def pace() -> None:
        nonlocal frames
        while not stop.is_set():
            one.sealer.seal(b"some opus")
            frames += 1

    thread = threading.Thread(target=pace)
    thread.start()
    try:
        for _ in range(5):
            call.join(3)
            for _ in range(20):
                assert call.hears(2, 1)
            call.leave(3)
    finally:
        stop.set()
        thread.join(10)
    assert frames > 100
    assert one.sealer.failures == 0
    assert two.protocol.recoveries == 0


def test_no_secret_is_shown() -> None:
    group = DaveyGroup(1, CHANNEL)
    package = group.start(1, b"", 0.0)
    with pytest.raises(GroupError) as caught:
        group.join(package)
    for shown in (repr(group), str(caught.value)):
        assert group.signature_key.hex() not in shown
        assert package[8:16].hex() not in shown
    assert repr(group) == f"<DaveyGroup user=1 channel={CHANNEL} epoch=None>"
