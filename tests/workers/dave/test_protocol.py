"""A session from its beginning: what counts, what is dropped, what can be looked at."""

from __future__ import annotations

import pytest

from tests.fakes import dave_mls
from tests.workers.dave.scripted_member import (
    GROUP,
    OPUS,
    THEM,
    THIRD,
    US,
    Member,
    frames,
    package,
    pending,
    sending,
)
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.events import DaveFailed, EncryptionChanged, GroupChanged
from voicepool.workers.dave.inbox import EARLY_MAX
from voicepool.workers.dave.mls import key_package_ref, read_proposals
from voicepool.workers.dave.states import DaveState

# The beginning.


def test_a_session_with_dave_begins_with_a_key_package_and_no_audio() -> None:
    member = Member().described()

    assert frames(member.core.outgoing()) == [package(member)]
    assert member.core.state is DaveState.PENDING
    assert member.core.protocol_version == 1
    assert member.sealer.seal(OPUS) is None
    assert member.events(EncryptionChanged) == [EncryptionChanged(protocol_version=1, is_sending=False)]


def test_a_session_without_dave_passes_audio_and_says_nothing() -> None:
    member = Member().described(0)

    assert member.core.outgoing() == []
    assert member.core.state is DaveState.NO_GROUP
    assert member.sealer.seal(OPUS) == OPUS
    assert member.events() == [EncryptionChanged(protocol_version=0, is_sending=True)]


def test_no_frame_leaves_before_the_session_description() -> None:
    member = Member()
    assert member.sealer.seal(OPUS) is None
    member.prepares(0, 0)
    assert member.sealer.seal(OPUS) is None, "and no transition counts before it"


def test_the_external_sender_may_come_before_and_the_rest_is_kept() -> None:
    member = Member()
    member.gets(25, dave_mls.EXTERNAL_SENDER)
    assert member.proposes(dave_mls.add(GROUP, 0, THEM)) == []
    member.described()

    assert [reply.opcode for reply in member.core.outgoing()] == [26, 28]


def test_what_comes_too_early_is_kept_up_to_a_bound() -> None:
    member = Member()
    for transition_id in range(EARLY_MAX + 3):
        member.prepares(transition_id + 1, 1)

    assert member.core.dropped["too_early"] == 3


def test_a_version_beyond_ours_is_given_up() -> None:
    member = Member().described(2)

    assert member.core.state is DaveState.BROKEN
    assert member.sealer.seal(OPUS) is None
    assert "2 is beyond ours" in member.events(DaveFailed)[0].reason
    member.core.outgoing()
    assert frames(member.new_group()) == [package(member)], "but the server can offer another"


def test_a_library_that_cannot_start_is_given_up() -> None:
    member = Member()
    member.group.refuses_to_start = True
    member.described()

    assert member.core.state is DaveState.BROKEN
    assert member.events(DaveFailed)


def test_another_external_sender_is_taken_while_pending() -> None:
    member = Member().described()
    member.core.outgoing()
    other = dave_mls.EXTERNAL_SENDER.replace(b"server", b"SERVER")

    assert member.gets(25, dave_mls.EXTERNAL_SENDER) == []
    assert member.gets(25, dave_mls.EXTERNAL_SENDER) == []
    member.proposes(dave_mls.add(GROUP, 0, THEM))
    assert frames(member.gets(25, other)) == [package(member)], "the group begins anew for it"
    assert member.core.state is DaveState.PENDING


def test_another_external_sender_waits_while_a_member() -> None:
    member = sending()
    other = dave_mls.EXTERNAL_SENDER.replace(b"server", b"SERVER")

    assert member.gets(25, other) == []
    assert member.key == b"key 1"


# Repetition and rubbish.


def test_everything_delivered_twice_after_a_resume_has_no_second_effect() -> None:
    member = pending()
    named = key_package_ref(member.group.packages[-1])
    story: list[tuple[int, bytes | dict[str, int]]] = [
        (25, dave_mls.EXTERNAL_SENDER),
        (30, b"\x00\x05" + dave_mls.welcome([named])),
        (22, {"transition_id": 5}),
        (27, dave_mls.append([dave_mls.add(GROUP, 7, THEM)])),
        (29, b"\x00\x06" + dave_mls.commit(GROUP, 7)),
        (22, {"transition_id": 6}),
    ]
    first = [member.gets(opcode, body, seq=seq) for seq, (opcode, body) in enumerate(story)]
    assert [[reply.opcode for reply in replies] for replies in first] == [[], [23], [], [28], [23], []]
    key, epoch = member.key, member.epoch

    assert [member.gets(opcode, body, seq=seq) for seq, (opcode, body) in enumerate(story)] == [[]] * 6
    assert member.core.dropped["repeated"] == 6
    assert [member.gets(opcode, body) for opcode, body in story] == [[]] * 6, "nor without numbers"
    assert (member.key, member.epoch) == (key, epoch)
    assert member.core.recoveries == 0


def test_a_commit_delivered_twice_while_it_waits_is_taken_once() -> None:
    member = sending()
    commit = member.a_commit()
    member.commits(6, commit)

    assert member.commits(6, commit) == []
    member.executes(6)
    assert member.group.merged == [commit]


def test_the_same_number_on_another_message_is_no_repetition() -> None:
    member = pending()
    assert member.gets(21, {"transition_id": 1, "protocol_version": 1}, seq=9)
    assert member.gets(21, {"transition_id": 2, "protocol_version": 1}, seq=9)


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (21, {"transition_id": 1}),
        (21, {"transition_id": 70_000, "protocol_version": 0}),
        (22, {}),
        (24, {"epoch": 1}),
        (21, b"binary"),
        (25, b""),
        (25, b"\x01k\x00\x02\x00"),
        (27, b""),
        (27, b"\x02\x00"),
        (27, b"\x00\xff"),
        (27, b"\x01\x02\x40"),
        (29, b"\x00"),
        (30, b""),
        (27, {"transition_id": 1}),
    ],
)
def test_what_cannot_be_read_is_counted(opcode: int, body: bytes | dict[str, int]) -> None:
    member = pending()
    assert member.gets(opcode, body) == []
    assert member.core.dropped == {"malformed": 1}
    assert member.events() == []


@pytest.mark.parametrize("opcode", [0, 23, 26, 28, 31, 99])
def test_opcodes_no_server_sends_are_counted(opcode: int) -> None:
    member = pending()
    assert member.gets(opcode, {"transition_id": 1}) == []
    assert member.core.dropped == {"unexpected_opcode": 1}


# What can be looked at.


def test_codes_and_members_are_told_when_they_change() -> None:
    member = pending()
    member.welcomes(0)
    assert member.events(GroupChanged) == [
        GroupChanged(
            epoch=7,
            privacy_code=member.group.privacy_code,
            user_ids=frozenset({US, THEM}),
            joined=frozenset({US, THEM}),
            left=frozenset(),
        )
    ]
    membership = member.core.membership
    assert membership.verification_pair(THEM) is None, "only the library has seen their key"

    member.core.members_changed(joined=[THIRD])
    message = dave_mls.add(GROUP, 7, THIRD)
    member.proposes(message)
    references = [proposal.reference for proposal in read_proposals(dave_mls.append([message])[1:])]
    member.commits(0, dave_mls.commit(GROUP, 7, references, committer=THEM))
    changed = member.events(GroupChanged)[0]
    assert (changed.epoch, changed.joined) == (8, {THIRD})
    assert membership.verification_pair(THIRD) == VerificationPair(
        US, b"our identity", THIRD, b"identity of 3"
    )
    assert membership.verification_pair(THEM) == VerificationPair(US, b"our identity", THEM, b"new key of 2")
    assert membership.verification_pair(77) is None

    member.new_group()
    member.welcomes(0)
    assert membership.verification_pair(THEM) is None, "another group, another tree"


def test_who_leaves_and_comes_back_in_one_commit_is_told() -> None:
    member = pending()
    member.welcomes(0)
    member.events()
    message = dave_mls.add(GROUP, 7, THEM)
    member.proposes(dave_mls.remove(GROUP, 7, 1), message)
    references = [proposal.reference for proposal in read_proposals(dave_mls.append([message])[1:])]
    member.commits(0, dave_mls.commit(GROUP, 7, references))

    assert member.events(GroupChanged)[0].joined == {THEM}


def test_no_key_or_payload_is_shown() -> None:
    member = sending()
    shown = repr(member.core) + repr(member.sealer) + repr(member.commits(6, b"unreadable"))
    assert "identity" not in shown
    assert "<DaveProtocol member version=1 epoch=7>" in shown
