"""Who is in a call, over several voice sessions."""

from __future__ import annotations

import random

import pytest

from voicepool.workers import members as members_module
from voicepool.workers.members import Changes, Members, Stream

US, CHANNEL = 3, 7
NOTHING = Changes([], [], [])


@pytest.fixture
def members() -> Members:
    """Of a session that has begun."""
    members = Members()
    members.begin(US, CHANNEL)
    return members


def test_who_comes_and_goes_is_told_once(members: Members) -> None:
    members.connected([12, 11])
    members.connected([11])
    assert members.changes() == Changes([11, 12], [], [])
    members.connected([11, 12])
    assert members.changes() == NOTHING
    members.disconnected(11)
    members.disconnected(11)
    assert members.changes() == Changes([], [11], [])
    assert members.present == {12}


def test_who_went_and_came_back_in_between_is_no_news(members: Members) -> None:
    members.connected([11])
    members.changes()
    members.disconnected(11)
    members.connected([11])
    members.connected([12])
    members.disconnected(12)
    assert members.changes() == NOTHING


def test_we_are_no_member(members: Members) -> None:
    members.connected([US, 11])
    members.speaks(US, 100, 1)
    assert members.changes() == Changes([11], [], [])


def test_how_somebody_speaks_is_told_when_it_changes(members: Members) -> None:
    members.connected([11])
    members.speaks(11, 100, 1)
    assert members.changes() == Changes([11], [], [Stream(11, 100, 1)])
    members.speaks(11, 100, 1)
    assert members.changes() == NOTHING
    members.speaks(11, 100, 5)
    assert members.changes().streams == [Stream(11, 100, 5)]
    members.speaks(11, 200, 5)
    assert members.changes().streams == [Stream(11, 200, 5)]


def test_who_speaks_is_there_though_nobody_said_so(members: Members) -> None:
    members.speaks(11, 100, 1)
    assert members.changes() == Changes([11], [], [Stream(11, 100, 1)])


def test_who_leaves_and_comes_back_speaks_anew(members: Members) -> None:
    members.speaks(11, 100, 1)
    members.changes()
    members.disconnected(11)
    assert members.changes() == Changes([], [11], [])
    members.speaks(11, 100, 1)
    assert members.changes() == Changes([11], [], [Stream(11, 100, 1)])


def test_in_the_same_channel_everybody_is_kept_until_the_new_session_has_had_its_time(
    members: Members,
) -> None:
    members.connected([11, 12, 13])
    members.speaks(11, 100, 1)
    members.changes()
    members.begin(US, CHANNEL)
    assert not members.is_settled
    assert members.changes() == NOTHING
    members.connected([11])
    members.speaks(12, 200, 1)
    members.disconnected(13)
    members.connected([14])
    assert members.changes() == Changes([14], [13], [Stream(12, 200, 1)])
    assert members.is_settled


def test_whom_the_new_session_has_not_named_in_time_has_left(members: Members) -> None:
    members.connected([11, 12])
    members.changes()
    members.begin(US, CHANNEL)
    # The attempt failed, and another follows.
    members.begin(US, CHANNEL)
    members.connected([12])
    members.settled()
    assert members.changes() == Changes([], [11], [])
    assert members.is_settled


def test_in_another_channel_nobody_is_kept(members: Members) -> None:
    members.connected([11, 12])
    members.speaks(12, 100, 1)
    members.changes()
    members.begin(US, CHANNEL + 1)
    assert members.is_settled
    members.connected([12])
    assert members.changes() == Changes([], [11], [])
    members.speaks(12, 100, 1)
    assert members.changes().streams == [Stream(12, 100, 1)], "the session is another"


def test_there_is_a_bound(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "MEMBERS_MAX", 2)
    members.connected([11, 12, 13])
    members.speaks(14, 100, 1)
    assert members.changes() == Changes([11, 12], [], [])
    assert members.left_out == 2
    members.disconnected(11)
    members.connected([13])
    assert members.changes() == Changes([13], [11], [])


@pytest.mark.parametrize("seed", range(50))
def test_the_differences_add_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens, who was told what changed knows who is there; and memory has its bound."""
    monkeypatch.setattr(members_module, "MEMBERS_MAX", 6)
    draw = random.Random(seed)
    members = Members()
    heard: set[int] = set()
    for _ in range(300):
        user = draw.randrange(12)
        match draw.randrange(12):
            case 0:
                members.begin(US, draw.choice([CHANNEL, CHANNEL, CHANNEL + 1]))
            case 1:
                members.settled()
            case 2 | 3 | 4:
                members.connected([user, draw.randrange(12)])
            case 5 | 6 | 7:
                members.disconnected(user)
            case 8 | 9:
                members.speaks(user, draw.randrange(2), draw.randrange(2))
            case _:
                changes = members.changes()
                assert heard.isdisjoint(changes.joined)
                assert heard.issuperset(changes.left)
                heard = (heard | set(changes.joined)) - set(changes.left)
                assert heard == members.present
                assert {stream.user_id for stream in changes.streams} <= heard
        assert len(members.present) <= 6
        assert len(members._changed) <= 12
