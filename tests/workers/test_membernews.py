"""However much a voice server says of members, the bot hears a bounded part of it, and how it ends."""

from __future__ import annotations

import random

from voicepool.ipc.events import Event, MembersChanged, Speaking
from voicepool.ipc.ids import CallId
from voicepool.workers.membernews import EVENTS_PER_S, IDS_PER_EVENT, MemberNews
from voicepool.workers.members import Members

CALL = CallId("call")
US = 1


class Bench:
    def __init__(self) -> None:
        self.members = Members()
        self.members.begin(US, 2)
        self.events: list[Event] = []
        self.news = MemberNews(CALL, self.members, self.events.append)
        self.now = 100.0
        self.due: float | None = None
        self.present: set[int] = set()
        """Who is in the call, to somebody who believes what was told."""
        self.speaking: dict[int, tuple[int, int]] = {}

    def tell(self) -> list[Event]:
        before = len(self.events)
        self.due = self.news.tell(self.now)
        for event in self.events[before:]:
            if isinstance(event, MembersChanged):
                self.present = (self.present | set(event.joined)) - set(event.left)
            elif isinstance(event, Speaking):
                self.speaking[event.user] = (event.ssrc, event.flags)
        return self.events[before:]

    def tell_all(self) -> None:
        """Do as a session does, until nothing is held back."""
        self.tell()
        while self.due is not None:
            assert self.due > self.now
            self.now = self.due
            self.tell()


def test_what_changes_now_and_then_is_told_at_once() -> None:
    bench = Bench()
    for number in range(5):
        bench.members.speaks(10 + number, 7, 1)
        assert [type(event) for event in bench.tell()] == [MembersChanged, Speaking]
        assert bench.due is None
        bench.now += 1.0


def test_of_a_flood_of_one_speaker_the_newest_is_told() -> None:
    bench = Bench()
    for number in range(10_000):
        bench.members.speaks(10, 7, number % 8)
        bench.tell()
        bench.now += 1e-4
    assert len(bench.events) <= 2 * EVENTS_PER_S + 1
    bench.tell_all()
    assert bench.speaking == {10: (7, 9_999 % 8)}


def test_a_flood_of_many_is_told_bit_by_bit_and_is_right_in_the_end() -> None:
    bench = Bench()
    chance = random.Random(5)
    began = bench.now
    for _ in range(20_000):
        user = chance.randrange(10, 400)
        if chance.random() < 0.2:
            bench.members.disconnected(user)
        else:
            bench.members.speaks(user, chance.randrange(1, 50), chance.randrange(8))
        bench.tell()
        bench.now += 5e-4
    told_s = bench.now - began
    assert len(bench.events) <= EVENTS_PER_S * (told_s + 1) + 1
    bench.tell_all()
    assert bench.present == set(bench.members.present)
    streams = {user: (each.ssrc, each.flags) for user, each in bench.members._streams.items()}
    assert {user: bench.speaking[user] for user in streams} == streams


def test_many_members_at_once_count_as_several_events() -> None:
    bench = Bench()
    bench.members.connected(range(10, 10 + IDS_PER_EVENT * EVENTS_PER_S * 2))
    [event] = bench.tell()
    assert isinstance(event, MembersChanged)
    assert len(event.joined) == IDS_PER_EVENT * EVENTS_PER_S * 2
    bench.members.connected([9])
    assert bench.tell() == []
    assert bench.due is not None
    assert 1.0 <= bench.due - bench.now < 1.1
    bench.tell_all()
    assert 9 in bench.present


def test_who_left_is_not_said_to_speak() -> None:
    bench = Bench()
    for user in range(10, 10 + 2 * EVENTS_PER_S):
        bench.members.speaks(user, 7, 1)
    bench.tell()
    quiet = set(range(10, 10 + 2 * EVENTS_PER_S)) - set(bench.speaking)
    for user in quiet:
        bench.members.disconnected(user)
    bench.now += 1.0
    bench.tell_all()
    assert not quiet & set(bench.speaking)
    assert bench.present == set(bench.speaking)


def test_another_voice_session_makes_what_was_held_back_void() -> None:
    bench = Bench()
    for user in range(10, 10 + 2 * EVENTS_PER_S):
        bench.members.speaks(user, 7, 1)
    bench.tell()
    before = set(bench.speaking)
    bench.members.begin(US, 2)
    bench.news.begin()
    bench.now += 10.0
    bench.tell_all()
    assert set(bench.speaking) == before
