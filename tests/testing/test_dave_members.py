from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.dave_room import CHANNEL, OPUS, Room
from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.dave_members import (
    OLD_KEYS_S,
    DaveFailure,
    DaveListener,
    DaveSpeaker,
)
from voicepool.testing.dave_messages import (
    DaveBinary,
    DaveOpcode,
    DaveText,
    announce_commit,
    append_proposals,
    external_sender,
    prepare_epoch,
    revoke_proposals,
    welcome,
)

SILENCE = b"\xf8\xff\xfe"


def call() -> Room:
    """A listener, 1, and a speaker, 2."""
    room = Room()
    room.join(1, kind=DaveListener)
    room.join(2, kind=DaveSpeaker)
    room.settle()
    room.assert_encrypted()
    return room


def sealed(room: Room) -> bytes:
    frame = room[2].seal(OPUS)
    assert isinstance(frame, bytes)
    assert is_protocol_frame(frame)
    return frame


def test_frames_are_told_apart_by_their_end() -> None:
    frame = sealed(call())
    assert frame[-2:] == b"\xfa\xfa"
    assert len(frame) - len(OPUS) == frame[-3]
    for plain in (
        b"",
        b"\xfa",
        b"\xfa\xfa",
        b"\x0c\xfa\xfa",
        OPUS,
        SILENCE,
        frame[:-1],
        OPUS + b"\x0b\xfa\xfa",
    ):
        assert not is_protocol_frame(plain)
    # By chance a plain frame can look like one; the whitepaper accepts that.
    assert is_protocol_frame(OPUS + b"\x0c\xfa\xfa")


@given(st.binary(max_size=40))
def test_any_bytes_can_be_asked(data: bytes) -> None:
    assert is_protocol_frame(data) in {True, False}


def test_what_is_heard_is_kept_with_its_timestamp() -> None:
    room = call()
    listener = room[1]
    for i in range(5):
        assert listener.hear(2, 960 * i, sealed(room), room.now) == OPUS
    assert listener.hear(2, 4_800, SILENCE, room.now) == SILENCE
    # The first one is from `assert_encrypted`.
    assert listener.packets(2)[1:] == [*((960 * i, OPUS) for i in range(5)), (4_800, SILENCE)]
    assert listener.packets(3) == []
    assert not listener.failures


def test_only_so_much_is_kept() -> None:
    listener = DaveListener(1, CHANNEL, keep_frames=3)
    for i in range(5):
        listener.hear(2, i, OPUS, 0.0)
    assert [timestamp for timestamp, _ in listener.packets(2)] == [2, 3, 4]
    assert listener.passed_through == 5


def test_failures_say_why_and_in_which_epoch() -> None:
    room = call()
    listener, frame = room[1], sealed(room)
    assert listener.hear(2, 1, OPUS, room.now) is None
    assert listener.hear(2, 2, frame[:5] + bytes((frame[5] ^ 1,)) + frame[6:], room.now) is None
    assert listener.hear(7, 3, frame, room.now) is None
    assert listener.hear(2, 4, frame, room.now) == OPUS
    assert listener.hear(2, 5, frame, room.now) is None, "a nonce is good for one frame"
    assert list(listener.failures) == [
        DaveFailure(2, 1, 1, "not encrypted"),
        DaveFailure(2, 2, 1, "wrong key"),
        DaveFailure(7, 3, 1, "sender not in the group"),
        DaveFailure(2, 5, 1, "wrong key"),
    ]
    assert listener.failure_counts == {2: 3, 7: 1}
    alone = Room()
    alone.join(1, kind=DaveListener)
    alone.settle()
    assert alone[1].hear(2, 0, frame, 0.0) is None
    assert alone[1].failures[0] == DaveFailure(2, 0, None, "sender not in the group")


def test_keys_of_a_group_that_was_left_are_kept_for_ten_seconds() -> None:
    room = call()
    on_the_way = [sealed(room) for _ in range(3)]
    room.leave(2)
    room.settle()
    listener = room[1]
    assert listener.epoch is None
    assert listener.hear(2, 0, on_the_way[0], room.now) == OPUS
    assert listener.hear(2, 1, on_the_way[1], room.now + OLD_KEYS_S - 0.01) == OPUS
    assert listener.hear(2, 2, on_the_way[2], room.now + OLD_KEYS_S) is None


def test_a_speaker_changes_keys_with_opcode_22() -> None:
    room = call()
    speaker = room[2]
    room.join(3, kind=DaveListener)
    room.tamper = lambda user, message: (
        None if user == 1 and message.opcode is DaveOpcode.READY_FOR_TRANSITION else message
    )
    room.settle()
    assert (room[1].epoch, room[3].epoch, speaker.epoch) == (2, 2, 1)
    before = sealed(room)
    assert room[1].hear(2, 0, before, room.now) == OPUS
    assert room[3].hear(2, 0, before, room.now) is None, "that was before its time"
    room.pass_time(2.0)
    room.settle()
    assert room[3].hear(2, 960, sealed(room), room.now) == OPUS
    room.assert_encrypted()


def test_a_speaker_sends_nothing_until_it_may() -> None:
    room = Room()
    room.join(2, kind=DaveSpeaker)
    room.settle()
    assert room[2].seal(OPUS) is None
    assert room[2].seal(SILENCE) == SILENCE
    room.join(1, kind=DaveListener)
    room.tamper = lambda _user, message: (
        None if message.opcode is DaveOpcode.READY_FOR_TRANSITION else message
    )
    room.settle()
    assert room[2].ready
    assert room[2].seal(OPUS) is None
    room.pass_time(2.0)
    room.settle()
    assert room[1].hear(2, 0, sealed(room), room.now) == OPUS


@pytest.mark.parametrize("overlap", [False, True])
def test_a_speaker_holds_several_commits_in_their_order(overlap: bool) -> None:  # noqa: FBT001
    room = Room(overlap=overlap)
    room.join(1, kind=DaveListener)
    room.join(2, kind=DaveSpeaker)
    room.settle()
    room.tamper = lambda user, message: (
        None if user == 1 and message.opcode is DaveOpcode.READY_FOR_TRANSITION else message
    )
    for user in (3, 4, 5):
        room.join(user, kind=DaveListener)
        room.settle()
        assert room[1].hear(2, 0, sealed(room), room.now) == OPUS
    room.tamper = lambda _user, message: message
    room.settle_in_time()
    room.assert_encrypted()


def test_a_held_commit_that_turns_out_bad_is_reported() -> None:
    room = call()
    room.service.spoil_next(2, "commit")
    room.join(3, kind=DaveListener)
    room.settle()
    room.assert_encrypted()
    assert room[2].invalid_reports == 1
    # It had said that it is ready; the transition was carried out.
    assert room.service.counts.invalid_reports == 1


def test_in_the_clear_only_where_that_is_allowed() -> None:
    room = call()
    listener = room[1]
    room.join(9, version=0)
    room.settle()
    assert listener.version == 0
    assert listener.hear(2, 0, OPUS, room.now) == OPUS
    room.leave(9)
    room.settle()
    room.assert_encrypted()
    assert listener.version == 1
    assert listener.hear(2, 960, OPUS, room.now + OLD_KEYS_S - 0.01) == OPUS
    assert listener.hear(2, 1_920, OPUS, room.now + OLD_KEYS_S) is None
    assert listener.passed_through == 2


def test_proposals_that_do_not_fit_are_rejected_and_counted() -> None:
    room = call()
    for message in (append_proposals([b"nonsense"]), revoke_proposals([b"r" * 32])):
        room[1].receive(message, room.now)
    assert room[1].rejected_proposals == 2
    assert room[1].outgoing() == []


def test_only_known_users_may_be_added() -> None:
    room = call()
    room.join(3)
    room[1]._users.discard(3)
    room[2]._users.discard(3)
    for user in (1, 2):
        room.guests[user].to_client.popleft()  # opcode 11
    room.settle()
    assert (room[1].rejected_proposals, room[2].rejected_proposals) == (1, 1)
    assert room.service.epoch == 1


def test_without_a_session_nothing_is_answered_but_invalid_messages() -> None:
    listener = DaveListener(1, CHANNEL)
    listener.describe(0, 0.0)
    listener.receive(external_sender(b"package"), 0.0)
    listener.receive(append_proposals([b"x"]), 0.0)
    assert listener.outgoing() == []
    assert (listener.epoch, listener.epoch_authenticator, listener.privacy_code) == (None, None, None)


@pytest.mark.parametrize("message", [announce_commit(7, b"nonsense"), welcome(7, b"nonsense")])
def test_nonsense_is_reported_with_its_transition_and_a_new_key_package_follows(message: DaveBinary) -> None:
    room = call()
    room[1].receive(message, room.now)
    report, package = room[1].outgoing()
    assert report == DaveText(DaveOpcode.INVALID_COMMIT_WELCOME, {"transition_id": 7})
    assert package.opcode is DaveOpcode.KEY_PACKAGE
    for answer in (report, package):
        room.send(1, answer)
    room.settle()
    room.assert_encrypted()


def test_the_identity_stays_the_same_through_new_groups() -> None:
    room = call()
    code = room[1]._session.get_verification_code(2)
    for user in (1, 2):
        room[user].receive(prepare_epoch(1, 1), room.now)
        room.guests[user].to_server.extend(room[user].outgoing())
    room.settle_in_time()
    room.assert_encrypted()
    assert room[1]._session.get_verification_code(2) == code
