"""Calls with a listener that the stand-in plays, and clients that answer message by message."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.testing.dave_room import OPUS, is_commit
from voicepool.testing.dave_call import PATIENCE_S, DaveCall
from voicepool.testing.dave_calls import DaveCalls, DaveOptions
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_members import DaveListener, DaveMember, DaveSpeaker
from voicepool.testing.dave_messages import DaveBinary, DaveMessage, DaveOpcode, DaveText
from voicepool.testing.voice_messages import Refusal

PLACE = (5, 99)
LISTENER = 1_000


@dataclass
class Alarm:
    when: float
    callback: Callable[[], None]
    off: bool = False

    def cancel(self) -> None:
        self.off = True


@dataclass
class Client:
    member: DaveMember
    inbox: deque[Callable[[], None]] = field(default_factory=deque)


class House:
    """A server's calls with a manual clock; clients are speakers."""

    def __init__(self, **options: Any) -> None:
        self.now = 50.0
        self.alarms: list[Alarm] = []
        self.clients: dict[int, Client] = {}
        self.log: list[tuple[int, DaveMessage]] = []
        self.complaints: list[tuple[tuple[int, int], int, str]] = []
        self.drop: Callable[[DaveMessage], bool] = lambda _message: False
        self.calls = DaveCalls(
            DaveOptions(**{"listener_id": LISTENER, **options}),
            deliver=self._deliver,
            complain=lambda place, user, sentence: self.complaints.append((place, user, sentence)),
            clock=lambda: self.now,
            schedule=self._schedule,
        )

    @property
    def call(self) -> DaveCall:
        call = self.calls.get(PLACE)
        assert call is not None
        return call

    def __getitem__(self, user_id: int) -> Any:
        return self.clients[user_id].member

    def _deliver(self, place: tuple[int, int], user_id: int, message: DaveMessage) -> None:
        assert place == PLACE
        client = self.clients[user_id]
        self.log.append((user_id, message))
        client.inbox.append(lambda: client.member.receive(message, self.now))

    def _schedule(self, when: float, callback: Callable[[], None], /) -> Alarm:
        self.alarms.append(Alarm(when, callback))
        return self.alarms[-1]

    def ringing(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if not alarm.off]

    def join(self, user_id: int, version: int = 1) -> None:
        client = Client(DaveSpeaker(user_id, PLACE[1]))
        listener = self.calls.admit(PLACE, version)
        for other in self.clients.values():
            other.member.users_connected([user_id] if listener is None else [listener, user_id])
        client.member.users_connected([*self.clients, *self.call.played])
        self.clients[user_id] = client
        self.calls.connect(PLACE, user_id, version)
        self.calls.describe(
            PLACE,
            user_id,
            lambda version: client.inbox.append(lambda: client.member.describe(version, self.now)),
        )
        self.settle()

    def leave(self, user_id: int) -> None:
        del self.clients[user_id]
        for other in self.clients.values():
            other.member.user_disconnected(user_id)
        self.calls.disconnect(PLACE, user_id)
        self.settle()

    def settle(self) -> None:
        while any(client.inbox for client in self.clients.values()):
            for user_id, client in self.clients.items():
                if client.inbox:
                    client.inbox.popleft()()
                for message in client.member.outgoing():
                    if not self.drop(message):
                        self.calls.receive(PLACE, user_id, message)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for alarm in self.ringing():
            if alarm.when <= self.now:
                alarm.off = True
                alarm.callback()
        self.settle()

    def assert_heard(self, *users: int) -> None:
        call = self.call
        assert call.listener is not None
        assert {call.listener.epoch} == {self[user].epoch for user in users} == {call.service.epoch}
        for user in users:
            frame = self[user].seal(OPUS)
            assert frame not in {None, OPUS}
            assert self.calls.hear(PLACE, user, 0, frame) == OPUS
        assert not self.complaints


def test_one_client_and_the_listener_make_a_group() -> None:
    house = House()
    house.join(1)
    house.assert_heard(1)
    assert house.call.played == (LISTENER,)
    assert house.call.service.leaves == {1: 0, LISTENER: 1}, "the client has committed, not the listener"
    assert [int(message.opcode) for user, message in house.log] == [25, 27, 29, 22]
    assert house.ringing() == []


def test_clients_come_and_go_and_are_heard() -> None:
    house = House()
    for user in (1, 2, 3):
        house.join(user)
    house.assert_heard(1, 2, 3)
    house.leave(1)
    house.assert_heard(2, 3)
    house.join(1)
    house.leave(2)
    house.leave(3)
    house.assert_heard(1)


def test_the_call_ends_with_its_last_client() -> None:
    house = House()
    house.join(1)
    house.leave(1)
    assert house.calls.get(PLACE) is None
    assert house.ringing() == []
    assert house.calls.hear(PLACE, 1, 0, OPUS) == OPUS
    assert house.calls.played(PLACE) == ()
    house.calls.disconnect(PLACE, 1)
    house.calls.receive(PLACE, 1, DaveText(DaveOpcode.READY_FOR_TRANSITION, {"transition_id": 1}))
    house.join(1)
    house.assert_heard(1)


def test_the_listener_commits_if_no_client_does() -> None:
    house = House()
    house.drop = is_commit
    house.join(1)
    assert house.call.service.epoch == 0
    assert [alarm.when for alarm in house.ringing()] == [house.now + PATIENCE_S]
    house.pass_time(PATIENCE_S)
    house.assert_heard(1)
    assert house.call.service.leaves == {LISTENER: 0, 1: 1}


def test_the_listener_commits_at_once_if_nobody_else_can() -> None:
    house = House()
    house.join(1)
    house.call.service.spoil_next(1, "commit")
    house.join(2)
    # 1 was lost, and added again by 2 or the listener; both can.
    house.assert_heard(1, 2)
    house.leave(2)
    house.call.service.spoil_next(1, "commit")
    house.join(3)
    house.assert_heard(1, 3)


def test_without_a_listener_one_client_is_alone() -> None:
    house = House(listener_id=None)
    house.join(1)
    assert house.call.played == ()
    assert house.call.service.epoch == 0
    house.join(2)
    assert house.call.service.leaves.keys() == {1, 2}
    assert house.calls.hear(PLACE, 1, 0, OPUS) == OPUS
    assert house.calls.hear(PLACE, 1, 0, house[1].seal(OPUS)) == b"", "there is nobody to decrypt it"


def test_who_does_not_support_dave_is_not_listened_to_by_dave() -> None:
    house = House()
    house.join(9, version=0)
    assert LISTENER not in house.call.played
    assert house.log == []
    house.join(1)
    assert LISTENER in house.call.played
    assert house.call.service.version == 0
    assert house.calls.hear(PLACE, 1, 0, OPUS) == OPUS
    house.leave(9)
    house.assert_heard(1)


def test_a_server_without_dave_has_no_listener() -> None:
    house = House(max_version=0)
    house.join(1)
    assert house.call.played == ()
    assert house.call.listener is None
    assert house.log == []


def test_a_speaker_can_be_played_too() -> None:
    house = House()
    house.join(1)
    speaker = DaveSpeaker(LISTENER + 1, PLACE[1])
    house[1].users_connected([speaker.user_id])
    house.call.play(speaker, house.now)
    house.calls._flush(PLACE, house.call)
    house.settle()
    house.assert_heard(1)
    frame = speaker.seal(OPUS)
    assert frame is not None
    assert house.calls.hear(PLACE, speaker.user_id, 0, frame) == OPUS
    house.call.stop(speaker.user_id, house.now)
    house.call.stop(speaker.user_id, house.now)
    house.calls._flush(PLACE, house.call)
    house.settle()
    house.assert_heard(1)
    assert house.call.played == (LISTENER,)


def test_transitions_time_out_by_the_alarm() -> None:
    house = House(transition_timeout_s=3.0)
    house.drop = lambda message: message.opcode is DaveOpcode.READY_FOR_TRANSITION
    house.join(1)
    assert [alarm.when for alarm in house.ringing()] == [house.now + 3.0]
    house.pass_time(3.0)
    house.assert_heard(1)
    assert house.ringing() == []


def test_complaints_and_refusals_find_their_way() -> None:
    house = House()
    house.join(1)
    house.calls.receive(PLACE, 1, DaveBinary(DaveOpcode.KEY_PACKAGE, b""))
    ((place, user, sentence),) = house.complaints
    assert (place, user) == (PLACE, 1)
    assert "op 26 from user 1" in sentence
    with pytest.raises(Refusal):
        house.calls.receive(PLACE, 1, DaveText(DaveOpcode.READY_FOR_TRANSITION, {}))


def test_closing_calls_off_every_alarm() -> None:
    house = House()
    house.drop = is_commit
    house.join(1)
    assert house.ringing()
    house.calls.close()
    assert house.ringing() == []
    assert house.calls.get(PLACE) is None


def test_calls_are_kept_apart_and_share_the_external_sender() -> None:
    sent: dict[int, list[DaveMessage]] = {1: [], 2: []}
    calls = DaveCalls(
        DaveOptions(),
        deliver=lambda _place, user, message: sent[user].append(message),
        complain=lambda *_: None,
        clock=lambda: 0.0,
        schedule=Alarm,
    )
    for place, user in (((5, 98), 1), ((5, 99), 2)):
        assert calls.admit(place, 1) is None
        calls.connect(place, user, 1)
        calls.describe(place, user, lambda _version: None)
    assert sent[1] == sent[2] != []
    first, second = calls.get((5, 98)), calls.get((5, 99))
    assert first is not None
    assert second is not None
    assert first.service.members == (1,)
    assert second.service.members == (2,)


def test_a_listener_can_be_used_without_calls() -> None:
    call = DaveCall(DaveDeliveryService(99), DaveListener(LISTENER, 99))
    assert call.empty
    assert call.next_deadline() is None
    assert call.admit_listener(0, 0.0) is None
    assert call.admit_listener(1, 0.0) == LISTENER
    assert call.admit_listener(1, 0.0) is None
    assert call.empty
