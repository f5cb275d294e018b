"""A call without a network: the delivery service, members driven by davey, and a queue for each direction.

Nothing moves by itself. `settle` delivers everything in turn; `settle(random)` delivers in an order drawn
from a seed, in which each member's own messages keep their order as on a websocket.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_members import DaveListener, DaveMember, DaveSpeaker
from voicepool.testing.dave_messages import DaveBinary, DaveMessage, DaveOpcode, DaveText

CHANNEL = 99
OPUS = b"\xfc" + bytes(range(60))


class Both(DaveListener, DaveSpeaker):
    """A member that hears and speaks; as it holds commits like a speaker, it hears new keys late."""


@dataclass
class Guest:
    member: Any
    described: bool = False
    to_client: deque[Callable[[], None]] = field(default_factory=deque)
    to_server: deque[DaveMessage] = field(default_factory=deque)


class Room:
    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.service = DaveDeliveryService(CHANNEL, **options)
        self.guests: dict[int, Guest] = {}
        self.log: list[tuple[int, DaveMessage]] = []
        self.tamper: Callable[[int, DaveMessage], DaveMessage | None] = lambda _user, message: message
        """Sees what members send; returns what arrives, None for nothing."""

    def __getitem__(self, user_id: int) -> Any:
        return self.guests[user_id].member

    def join(
        self, user_id: int, version: int = 1, *, kind: type[DaveMember] = Both, describe: bool = True
    ) -> None:
        guest = Guest(kind(user_id, CHANNEL))
        for other in self.guests.values():
            other.to_client.append(partial(other.member.users_connected, [user_id]))
        guest.to_client.append(partial(guest.member.users_connected, list(self.guests)))
        self.guests[user_id] = guest
        self.service.connect(user_id, version, self.now)
        self.collect()
        if describe:
            self.describe(user_id)

    def describe(self, user_id: int) -> None:
        version = self.service.describe(user_id, self.now)
        guest = self.guests[user_id]
        guest.described = True
        guest.to_client.append(partial(guest.member.describe, version, self.now))
        self.collect()

    def leave(self, user_id: int) -> None:
        del self.guests[user_id]
        for other in self.guests.values():
            other.to_client.append(partial(other.member.user_disconnected, user_id))
        self.service.disconnect(user_id, self.now)
        self.collect()

    def collect(self) -> None:
        leaves = self.service.leaves
        assert len(set(leaves.values())) == len(leaves)
        for user_id, message in self.service.outgoing():
            assert self.guests[user_id].described, "nobody is told anything before Session Description"
            self.log.append((user_id, message))
            guest = self.guests[user_id]
            guest.to_client.append(partial(guest.member.receive, message, self.now))

    def deliver_to_client(self, user_id: int) -> None:
        guest = self.guests[user_id]
        guest.to_client.popleft()()
        for message in guest.member.outgoing():
            arriving = self.tamper(user_id, message)
            if arriving is not None:
                guest.to_server.append(arriving)

    def deliver_to_server(self, user_id: int) -> None:
        self.send(user_id, self.guests[user_id].to_server.popleft())

    def send(self, user_id: int, message: DaveMessage) -> None:
        if isinstance(message, DaveBinary):
            assert self.service.receive_binary(user_id, message.opcode, message.payload, self.now)
        else:
            assert self.service.receive_text(user_id, message.opcode, message.data, self.now)
        self.collect()

    def deliverable(self) -> list[Callable[[], None]]:
        steps: list[Callable[[], None]] = []
        for user_id, guest in self.guests.items():
            if guest.to_client:
                steps.append(partial(self.deliver_to_client, user_id))
            if guest.to_server:
                steps.append(partial(self.deliver_to_server, user_id))
        return steps

    def settle(self, random: Random | None = None, after_each: Callable[[], None] = lambda: None) -> None:
        """Deliver all there is, without letting time pass."""
        for _ in range(20_000):
            steps = self.deliverable()
            if not steps:
                return
            (steps[0] if random is None else random.choice(steps))()
            after_each()
        raise AssertionError("messages go round and round")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.service.tick(self.now)
        self.collect()

    def settle_in_time(self, random: Random | None = None) -> None:
        """Deliver all there is, and let time pass until nothing is due."""
        for _ in range(100):
            self.settle(random)
            due = self.service.next_deadline()
            if due is None:
                return
            self.pass_time(max(0.0, due - self.now))
        raise AssertionError("there is always something due")

    def sent(self, user_id: int) -> list[int]:
        """Return the opcodes of what the service has sent to a user, oldest first."""
        return [int(message.opcode) for user, message in self.log if user == user_id]

    def counted(self) -> Counter[int]:
        return Counter(int(message.opcode) for _, message in self.log)

    def transition_ids(self, user_id: int) -> dict[str, list[int]]:
        """Return the ids that a user was told, by the opcode."""
        ids: dict[str, list[int]] = {"21": [], "22": [], "29": [], "30": []}
        for user, message in self.log:
            if user == user_id and str(int(message.opcode)) in ids:
                number = (
                    message.data["transition_id"]
                    if isinstance(message, DaveText)
                    else int.from_bytes(message.payload[:2])
                )
                ids[str(int(message.opcode))].append(number)
        return ids

    def assert_encrypted(self, *users: int) -> None:
        """Everybody (or `users`) is in one epoch and hears everybody else."""
        members = [self[user] for user in users or tuple(self.guests)]
        assert set(self.service.leaves) == {member.user_id for member in members}
        assert {member.version for member in members} == {1}
        assert {member.epoch for member in members} == {self.service.epoch}
        assert len({member.epoch_authenticator for member in members}) == 1
        assert len({member.privacy_code for member in members}) == 1
        assert members[0].privacy_code is not None
        assert not self.service.pending_transitions
        assert not self.service.open_changes
        assert self.service.next_deadline() is None
        for speaker in members:
            if not isinstance(speaker, DaveSpeaker):
                continue
            frame = speaker.seal(OPUS)
            assert frame is not None
            assert frame != OPUS
            for listener in members:
                if listener is not speaker and isinstance(listener, DaveListener):
                    assert listener.hear(speaker.user_id, 0, frame, self.now) == OPUS


def spoiled(message: DaveMessage) -> DaveMessage:
    """Return a binary message with its last byte changed."""
    assert isinstance(message, DaveBinary)
    return DaveBinary(message.opcode, message.payload[:-1] + bytes((message.payload[-1] ^ 1,)))


def is_commit(message: DaveMessage) -> bool:
    return message.opcode is DaveOpcode.COMMIT_WELCOME
