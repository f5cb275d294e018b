"""The matrix of calls, with real davey sessions as members; and the service's answers to what goes wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.dave_room import OPUS, Room, is_commit, spoiled
from tests.testing.mls_builder import commit_bytes, key_package_bytes
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_members import DaveListener, DaveSpeaker
from voicepool.testing.dave_messages import DaveBinary, DaveMessage, DaveOpcode, DaveText
from voicepool.testing.voice_messages import Refusal

READY = DaveOpcode.READY_FOR_TRANSITION
KEY_PACKAGE = DaveOpcode.KEY_PACKAGE
INVALID = DaveOpcode.INVALID_COMMIT_WELCOME


def call_of(*users: int, **options: object) -> Room:
    room = Room(**options)
    for user in users:
        room.join(user)
        room.settle()
    return room


# The matrix.


def test_alone_one_gets_the_external_sender_and_nothing_else() -> None:
    room = call_of(1)
    assert room.sent(1) == [25]
    assert room.service.version == 1
    assert (room.service.epoch, room[1].epoch, room[1].seal(OPUS)) == (0, None, None)
    assert room.service.next_deadline() is None


def test_two_create_a_group() -> None:
    room = call_of(1, 2)
    room.assert_encrypted()
    assert room.service.epoch == 1
    assert room.service.leaves == {1: 0, 2: 1}
    assert room.sent(1) == [25, 27, 29, 22]
    assert room.sent(2) == [25, 27, 30, 22]
    assert room.transition_ids(1) == {"21": [], "22": [1], "29": [1], "30": []}
    assert room.transition_ids(2) == {"21": [], "22": [1], "29": [], "30": [1]}


def test_a_third_is_welcomed_and_the_others_move_on() -> None:
    room = call_of(1, 2, 3)
    room.assert_encrypted()
    assert room.service.epoch == 2
    assert room.sent(2)[-3:] == [27, 29, 22]
    # One who is not in the group is not asked to commit to it.
    assert room.sent(3) == [25, 30, 22]


def test_one_of_three_leaves_and_rejoins() -> None:
    room = call_of(1, 2, 3)
    code = room[1].privacy_code
    room.leave(2)
    room.settle()
    room.assert_encrypted()
    assert room.service.leaves == {1: 0, 3: 2}
    assert room[1].privacy_code != code
    room.join(2)
    room.settle()
    room.assert_encrypted()
    assert room.service.leaves == {1: 0, 2: 1, 3: 2}


def test_one_leaves_and_is_back_before_the_group_knows() -> None:
    room = call_of(1, 2, 3)
    room.leave(2)
    room.join(2)
    room.settle()
    room.assert_encrypted()
    assert room.service.complaints() == []


def test_the_last_other_leaves_and_rejoins() -> None:
    room = call_of(1, 2)
    room.leave(2)
    room.settle()
    assert room.sent(1)[-2:] == [24, 21]
    assert room.log[-2:] == [
        (1, DaveText(DaveOpcode.PREPARE_EPOCH, {"protocol_version": 1, "epoch": 1, "transition_id": 0})),
        (1, DaveText(DaveOpcode.PREPARE_TRANSITION, {"protocol_version": 1, "transition_id": 0})),
    ]
    assert (room.service.epoch, room[1].epoch, room[1].version, room[1].seal(OPUS)) == (0, None, 1, None)
    room.join(2)
    room.settle()
    room.assert_encrypted()
    assert room.service.epoch == 1


def test_everybody_leaves_and_rejoins() -> None:
    room = call_of(1, 2, 3)
    for user in (3, 1, 2):
        room.leave(user)
        room.settle()
    assert (room.service.epoch, room.service.leaves, room.service.members) == (0, {}, ())
    assert room.service.next_deadline() is None
    for user in (2, 1):
        room.join(user)
        room.settle()
    room.assert_encrypted()


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_ten_join_at_once(seed: int, overlap: bool) -> None:  # noqa: FBT001
    random = Random(seed)
    room = Room(overlap=overlap)
    for user in range(1, 11):
        room.join(user)
    room.settle(random)
    room.assert_encrypted()
    assert len(room.service.leaves) == 10
    assert room.service.complaints() == []
    assert room.service.counts.invalid_reports == 0 or overlap


def test_two_bots_with_one_key_pair_are_told_so() -> None:
    room = call_of(1)
    room.join(2)
    room[2]._identity = room[1]._identity
    room.settle()
    ((user, sentence),) = room.service.complaints()
    assert user == 2
    assert "signature key is another member's" in sentence
    assert room.service.epoch == 0


def test_two_bots_hear_each_other_and_are_heard() -> None:
    room = call_of(1, 2, 3)
    for bot in (1, 2):
        for timestamp in range(0, 960 * 50, 960):
            frame = room[bot].seal(OPUS)
            assert frame is not None
            for other in {1, 2, 3} - {bot}:
                assert room[other].hear(bot, timestamp, frame, room.now) == OPUS
    assert [timestamp for timestamp, _ in room[3].packets(2)] == list(range(0, 960 * 50, 960))
    assert not room[3].failures


def test_who_does_not_support_dave_downgrades_the_call_until_it_leaves() -> None:
    room = call_of(1, 2)
    room.join(9, version=0)
    assert room.service.version == 0
    sealed = room[1].seal(OPUS)
    assert sealed not in {None, OPUS}, "senders change over with op 22 and not before"
    room.settle()
    assert room.sent(1)[-2:] == [21, 22]
    assert room.sent(9) == []
    assert {room[user].version for user in (1, 2, 9)} == {0}
    assert room[1].seal(OPUS) == OPUS
    assert room[2].hear(1, 0, OPUS, room.now) == OPUS
    assert sealed is not None
    assert room[2].hear(1, 960, sealed, room.now) == OPUS, "what was on its way is still understood"

    room.join(3)
    room.settle()
    assert room.sent(3) == [], "in a call of version 0 there is nothing to say"
    room.leave(9)
    room.settle()
    room.assert_encrypted()
    # The external sender is for the one who did not have it.
    assert room.sent(3)[:2] == [24, 25]
    assert 25 not in room.sent(1)[1:]
    assert not any(room[user].failures for user in room.guests)


def test_the_last_without_dave_leaves_one_alone() -> None:
    room = call_of(1, 2)
    room.join(9, version=0)
    room.leave(2)
    room.settle()
    room.leave(9)
    room.settle()
    assert room.sent(1)[-2:] == [24, 21]
    assert (room[1].version, room[1].seal(OPUS)) == (1, None)
    room.join(2)
    room.settle()
    room.assert_encrypted()


def test_a_downgrade_not_yet_carried_out_is_before_the_upgrade() -> None:
    room = call_of(1, 2)
    room.join(9, version=0)
    room.leave(9)
    assert room.sent(1)[-3:] == [21, 22, 24]
    room.settle()
    room.assert_encrypted()


def test_a_member_without_dave_first_means_no_dave() -> None:
    room = Room()
    room.join(9, version=0)
    room.join(1)
    room.settle()
    assert room.log == []
    assert room[1].seal(OPUS) == OPUS


def test_a_server_without_dave_offers_none() -> None:
    room = call_of(1, 2, max_version=0)
    assert room.log == []
    assert room.service.version == 0
    with pytest.raises(ValueError, match="max_version must be from 0 to 1"):
        DaveDeliveryService(99, max_version=2)


# Key packages.


def resend_key_package(room: Room, user: int) -> None:
    session = room[user]._session
    assert session is not None
    room.send(user, DaveBinary(KEY_PACKAGE, session.get_serialized_key_package()))


def test_a_key_package_that_comes_again_replaces_the_first() -> None:
    room = Room()
    room.join(1)
    room.join(2)
    for user in (1, 2):
        while room.guests[user].to_client:
            room.deliver_to_client(user)
    room.deliver_to_server(1)
    room.deliver_to_server(2)
    resend_key_package(room, 2)
    kinds = [
        m.payload[0] for user, m in room.log if user == 1 and isinstance(m, DaveBinary) and m.opcode == 27
    ]
    assert kinds == [0, 1, 0]
    room.settle()
    room.assert_encrypted()


@pytest.mark.parametrize("users", [(1, 2), (1, 2, 3)])
def test_a_member_that_sends_another_one_is_added_again(users: tuple[int, ...]) -> None:
    room = call_of(*users)
    resend_key_package(room, 2)
    assert not room.guests[2].to_client
    room.settle()
    room.assert_encrypted()
    assert room.service.complaints() == []


def test_if_all_members_send_others_the_group_is_created_anew() -> None:
    room = call_of(1, 2)
    resend_key_package(room, 1)
    resend_key_package(room, 2)
    room.settle()
    room.assert_encrypted()
    assert room.service.counts.new_groups == 1


def test_the_same_one_again_changes_nothing() -> None:
    """A client that resumes may not know that it has arrived."""
    room = Room()
    sent: list[DaveMessage] = []

    def keep(user: int, message: DaveMessage) -> DaveMessage:
        if user == 2 and message.opcode == KEY_PACKAGE:
            sent.append(message)
        return message

    room.tamper = keep
    room.join(1)
    room.join(2)
    room.settle()
    epoch, told = room.service.epoch, len(room.log)
    room.send(2, sent[-1])
    assert (room.service.epoch, len(room.log), room.service.complaints()) == (epoch, told, [])
    room.assert_encrypted()


def test_bad_key_packages_are_complained_about() -> None:
    room = call_of(1, 2)
    room.join(3)
    room.tamper = lambda _user, message: spoiled(message) if message.opcode == KEY_PACKAGE else message
    room.settle()
    ((user, sentence),) = room.service.complaints()
    assert (user, "its signature does not hold" in sentence) == (3, True)
    room.send(3, DaveBinary(KEY_PACKAGE, key_package_bytes(1)))
    room.send(3, DaveBinary(KEY_PACKAGE, b"\0"))
    assert len(room.service.complaints()) == 2
    room.assert_encrypted(1, 2)


# Commits.


@pytest.mark.parametrize("victim", [1, 2, 3])
def test_a_bad_commit_is_reported_and_its_victim_added_again(victim: int) -> None:
    room = call_of(1, 2, 3)
    room.service.spoil_next(victim, "commit")
    room.join(4)
    room.settle()
    room.assert_encrypted()
    assert room[victim].invalid_reports == 1
    assert room.service.counts.invalid_reports == 1
    assert room.sent(victim)[-2:] == [30, 22]


@pytest.mark.parametrize(("users", "victim"), [((1,), 2), ((1, 2), 3)])
def test_a_bad_welcome_is_reported_and_its_victim_added_again(users: tuple[int, ...], victim: int) -> None:
    room = call_of(*users)
    room.service.spoil_next(victim, "welcome")
    room.join(victim)
    room.settle()
    room.assert_encrypted()
    assert room[victim].invalid_reports == 1


def test_a_first_commit_that_everybody_finds_bad_leads_to_another_group() -> None:
    room = call_of(1)
    room.service.spoil_next(1, "commit")
    room.service.spoil_next(2, "welcome")
    room.join(2)
    room.settle()
    room.assert_encrypted()
    assert room.service.epoch == 1
    assert room.service.counts.invalid_reports == 2


def test_an_invalid_commit_is_not_announced_and_the_next_one_wins() -> None:
    room = call_of(1, 2)
    bad: list[DaveMessage] = []

    def tamper(user: int, message: DaveMessage) -> DaveMessage:
        if user == 1 and is_commit(message):
            assert isinstance(message, DaveBinary)
            bad.append(message)
            return DaveBinary(message.opcode, message.payload[:-40])
        return message

    room.tamper = tamper
    room.join(3)
    room.settle()
    room.assert_encrypted()
    assert len(bad) == room.service.counts.refused_commits == 1
    ((user, sentence),) = room.service.complaints()
    assert (user, "the welcome" in sentence) == (1, True)


def test_a_group_with_another_external_sender_does_not_come_about() -> None:
    room = call_of(1)
    stranger = DaveDeliveryService(99)
    stranger.connect(1, 1, 0.0)
    stranger.describe(1, 0.0)
    ((_, package),) = stranger.outgoing()
    room[1].receive(package, room.now)
    room.join(2)
    room.tamper = lambda user, message: None if user == 2 and is_commit(message) else message
    room.settle()
    assert room.service.epoch == 0, "the one refuses our proposals, the other's commit was lost"
    assert room[1].rejected_proposals == 1
    room.tamper = lambda _user, message: message
    room[1]._sender_package = room[2]._sender_package
    room.settle_in_time()
    room.assert_encrypted()
    assert room.service.counts.invalid_reports == 1


def test_commits_that_come_late_are_nobodys_fault() -> None:
    room = call_of(1, 2)
    room.send(1, DaveBinary(DaveOpcode.COMMIT_WELCOME, commit_bytes([b"x" * 32], epoch=0)))
    room.send(1, DaveBinary(DaveOpcode.COMMIT_WELCOME, commit_bytes([b"x" * 32], epoch=9)))
    assert room.service.counts.late_commits == 3
    assert room.service.complaints() == []
    room.assert_encrypted()


def test_a_lost_commit_is_asked_for_again() -> None:
    room = call_of(1, 2)
    room.tamper = lambda _user, message: None if is_commit(message) else message
    room.join(3)
    room.settle()
    assert room.service.next_deadline() == room.now + 4.0
    room.tamper = lambda _user, message: message
    room.pass_time(4.0)
    assert room.sent(1)[-2:] == [27, 27]
    room.settle()
    room.assert_encrypted()
    assert room.service.counts.retried_proposals == 1


def test_if_no_commit_ever_comes_the_group_is_created_anew() -> None:
    room = call_of(1, 2)
    room.tamper = lambda _user, message: None if is_commit(message) else message
    room.join(3)
    waits = []
    while room.service.counts.new_groups == 0:
        room.settle()
        due = room.service.next_deadline()
        assert due is not None
        waits.append(due - room.now)
        room.pass_time(due - room.now)
    assert waits == [4.0, 8.0, 16.0]
    room.tamper = lambda _user, message: message
    room.settle()
    room.assert_encrypted()


def test_proposals_are_taken_back_when_the_newcomer_leaves() -> None:
    room = call_of(1, 2)
    room.tamper = lambda _user, message: None if is_commit(message) else message
    room.join(3)
    room.settle()
    room.leave(3)
    room.settle()
    assert not room.service.open_changes
    assert room.service.next_deadline() is None
    room.tamper = lambda _user, message: message
    room.assert_encrypted()
    room.join(4)
    room.settle()
    room.assert_encrypted()


def test_a_commit_that_its_sender_has_replaced_does_not_win() -> None:
    room = call_of(1, 2)

    def introduce(user: int) -> None:
        room.join(user)
        while room.guests[user].to_client:
            room.deliver_to_client(user)
        room.deliver_to_server(user)
        while room.guests[1].to_client:
            room.deliver_to_client(1)

    introduce(3)
    (early,) = room.guests[1].to_server
    assert is_commit(early)
    introduce(4)
    room.leave(4)
    while room.guests[1].to_client:
        room.deliver_to_client(1)
    # What is proposed is again what it was at first; but davey would go on from its latest commit.
    assert {change.user_id for change in room.service.open_changes} == {3}
    room.send(1, early)
    assert room.service.epoch == 1
    room.settle()
    room.assert_encrypted()
    assert room.service.complaints() == []


# Transitions.


def test_a_transition_does_not_wait_for_ever() -> None:
    room = call_of(1, 2)
    room.tamper = lambda user, message: None if user == 2 and message.opcode == READY else message
    room.join(3)
    room.settle()
    assert room.sent(1)[-1] == 29
    assert room.service.next_deadline() == room.now + 2.0
    room.pass_time(1.9)
    assert room.sent(1)[-1] == 29
    room.pass_time(0.1)
    room.settle()
    room.assert_encrypted()


def test_while_it_waits_nothing_is_proposed_unless_that_is_wanted() -> None:
    for overlap in (False, True):
        room = call_of(1, 2, overlap=overlap)
        room.tamper = lambda _user, message: None if message.opcode == READY else message
        for user in (3, 4):
            room.join(user)
            room.settle()
        assert set(room.service.leaves) == ({1, 2, 3, 4} if overlap else {1, 2, 3})
        assert room.service.pending_transitions == (2 if overlap else 1)
        room.settle_in_time()
        room.assert_encrypted()
        ids = room.transition_ids(1)
        assert ids["22"] == ids["29"] == [1, 2, 3]


def test_transition_ids_go_around_zero() -> None:
    room = call_of(1, 2, 3, first_transition_id=65_535)
    assert room.transition_ids(2)["30"] == [65_535]
    assert room.transition_ids(2)["29"] == [1]
    room.assert_encrypted()


def test_answers_without_a_transition_are_complained_about() -> None:
    room = call_of(1, 2)
    room.send(1, DaveText(READY, {"transition_id": 7}))
    ((user, sentence),) = room.service.complaints()
    assert (user, "transition 7, which was never announced" in sentence) == (1, True)
    room.send(1, DaveText(READY, {"transition_id": 1}))
    assert room.service.complaints() == []
    for opcode in (READY, INVALID):
        with pytest.raises(Refusal, match=f"op {int(opcode)} needs `transition_id`"):
            room.service.receive_text(1, opcode, {}, room.now)


def test_a_member_described_again_begins_anew() -> None:
    room = call_of(1, 2, 3)
    room.describe(2)
    room.settle()
    room.assert_encrypted()


def test_nobody_is_told_anything_before_its_session_description() -> None:
    room = call_of(1, 2)
    room.join(3, describe=False)
    room.settle()
    room.send(3, DaveBinary(KEY_PACKAGE, key_package_bytes(3)))
    room.send(4, DaveBinary(DaveOpcode.COMMIT_WELCOME, b""))
    room.send(4, DaveText(INVALID, {"transition_id": 1}))
    assert [user for user, _ in room.service.complaints()] == [3, 4]
    assert room.sent(3) == []
    room.describe(3)
    room.settle()
    room.assert_encrypted()


def test_other_opcodes_are_not_its_own() -> None:
    service = DaveDeliveryService(99)
    assert not service.receive_text(1, 22, {}, 0.0)
    assert not service.receive_binary(1, 27, b"", 0.0)


# Messages that were held up, or come twice.


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_missed_everything_catches_up(seed: int) -> None:
    random = Random(seed)
    room = call_of(1, 2, 3)
    held = room.guests[2].to_client
    room.guests[2].to_client = type(held)()
    missed = room.guests[2].to_client

    def only_the_others() -> None:
        for user in (1, 3, 4, 5):
            guest = room.guests.get(user)
            while guest is not None and (guest.to_client or guest.to_server):
                if guest.to_client:
                    room.deliver_to_client(user)
                else:
                    room.deliver_to_server(user)

    for change in ("join", "pause", "join", "leave", "pause"):
        if change == "join":
            room.join(random.choice([user for user in (4, 5) if user not in room.guests]))
        elif change == "leave":
            room.leave(random.choice([user for user in (4, 5) if user in room.guests]))
        else:
            for _ in range(4):
                only_the_others()
                room.pass_time(2.0)
    only_the_others()
    assert len(missed) > 3
    room.settle_in_time(random)
    room.assert_encrypted()


@pytest.mark.parametrize("opcode", [21, 22, 24, 25, 29, 30])
def test_a_message_that_comes_twice_does_no_lasting_harm(opcode: int) -> None:
    room = call_of(1, 2)
    room.leave(2)
    room.settle()
    for user in (2, 3):
        room.join(user)
        room.settle()
    user, message = {int(message.opcode): (user, message) for user, message in room.log}[opcode]
    room[user].receive(message, room.now)
    room.guests[user].to_server.extend(room[user].outgoing())
    room.settle_in_time()
    room.assert_encrypted()


def test_sound_goes_on_while_another_comes_and_goes() -> None:
    random = Random(1)
    room = Room()
    room.join(1, kind=DaveListener)
    room.join(2, kind=DaveSpeaker)
    room.settle()
    heard = 0

    def speak() -> None:
        nonlocal heard
        frame = room[2].seal(OPUS)
        assert frame not in {None, OPUS}
        assert frame is not None
        assert room[1].hear(2, heard * 960, frame, room.now) == OPUS
        heard += 1

    for _ in range(10):
        room.join(3)
        room.settle(random, speak)
        room.assert_encrypted()
        room.leave(3)
        room.settle(random, speak)
        room.assert_encrypted()
    assert heard > 200
    assert not room[1].failures
    assert room.service.counts.transitions == 21


# Anything at all.


def disturb(room: Room, random: Random) -> None:
    user, dice = random.randrange(1, 6), random.random()
    if dice < 0.35 and user not in room.guests:
        room.join(user, random.choice([1] * 9 + [0]))
    elif dice < 0.6 and user in room.guests:
        room.leave(user)
    elif dice < 0.65:
        room.service.spoil_next(user, random.choice(["commit", "welcome"]))
    elif dice < 0.67 and user in room.guests and room[user]._session is not None:
        resend_key_package(room, user)
    elif dice < 0.72:
        room.pass_time(random.random() * 3)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_everybody_ends_up_in_one_epoch(seed: int) -> None:
    random = Random(seed)
    room = Room(overlap=random.random() < 0.5, first_transition_id=random.choice([1, 65_533]))
    for _ in range(25):
        disturb(room, random)
        for _ in range(random.randrange(12)):
            steps = room.deliverable()
            if steps:
                random.choice(steps)()
    room.settle_in_time(random)
    assert room.service.complaints() == []
    if room.service.version == 0:
        assert {room[user].version for user in room.guests} == {0}
    elif len(room.guests) > 1:
        room.assert_encrypted()
    else:
        assert room.service.epoch == 0


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([26, 28]), st.binary(max_size=80))))
def test_noise_from_clients_changes_nothing(noise: list[tuple[int, int, bytes]]) -> None:
    service = DaveDeliveryService(99)
    for user in (1, 2):
        service.connect(user, 1, 0.0)
        service.describe(user, 0.0)
    service.outgoing()
    for user, opcode, payload in noise:
        assert service.receive_binary(user, opcode, payload, 0.0)
    assert service.outgoing() == []
    assert (service.epoch, service.leaves) == (0, {})
