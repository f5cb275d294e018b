"""An encrypted call without sockets: our own clients around the stand-in's delivery service."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from tests.fakes.clock import ManualClock
from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_messages import DaveMessage as ServerMessage
from voicepool.testing.dave_messages import DaveText
from voicepool.workers.dave.events import DaveEvent
from voicepool.workers.dave.frames import FrameSealer, is_protocol_frame
from voicepool.workers.dave.group import DaveyGroup
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.dave.opening import FrameOpener
from voicepool.workers.dave.protocol import DaveProtocol
from voicepool.workers.gateway.events import DaveMessage

__all__ = ["CHANNEL", "DaveClient", "EncryptedCall"]

CHANNEL = 99


class DaveClient:
    """One member: all of `workers.dave` with the real library, and a clock."""

    def __init__(self, user_id: int, clock: ManualClock) -> None:
        self.user_id = user_id
        self.clock = clock
        self.group = DaveyGroup(user_id, CHANNEL)
        self.sealer = FrameSealer()
        self.protocol = DaveProtocol(self.group, self.sealer)
        self.opener = FrameOpener(
            self.group,
            self.protocol.window,
            settle=self.protocol.settle,
            on_failing=self.protocol.cannot_decrypt,
        )
        self.events: list[DaveEvent] = []
        self.sent: list[DaveReply] = []
        self.got: list[DaveMessage] = []
        self._seq = -1
        self._frames = 0

    def take(self, message: ServerMessage, *, repeat: bool = False) -> None:
        """Receive a message as the gateway would hand it over; with `repeat`, twice."""
        self._seq = (self._seq + 1) & 0xFFFF
        if isinstance(message, DaveText):
            payload, binary = json.dumps(message.data).encode(), False
        else:
            payload, binary = message.payload, True
        received = DaveMessage(opcode=int(message.opcode), payload=payload, seq=self._seq, binary=binary)
        self.got.append(received)
        self.protocol.receive(received, self.clock())
        if repeat:
            self.protocol.receive(received, self.clock())

    def replies(self) -> list[DaveReply]:
        replies = self.protocol.outgoing()
        self.sent += replies
        self.events += self.protocol.events()
        return replies

    def opcodes_sent(self) -> list[int]:
        return [reply.opcode for reply in self.sent]

    def say(self) -> tuple[bytes, bytes | None]:
        """Return a frame of Opus, and what leaves for it."""
        self._frames += 1
        opus = b"\x78" + self.user_id.to_bytes(8) + self._frames.to_bytes(4) + bytes(40)
        return opus, self.sealer.seal(opus)


class EncryptedCall:
    """The server's side and all members. Messages are passed on until nobody has anything to say."""

    def __init__(self, *, repeat: bool = False, **service: Any) -> None:
        self.clock = ManualClock()
        self.service = DaveDeliveryService(CHANNEL, **service)
        self.clients: dict[int, DaveClient] = {}
        self.others: set[int] = set()
        self.slow: dict[int, deque[ServerMessage]] = {}
        self._repeat = repeat

    @property
    def everybody(self) -> set[int]:
        return set(self.clients) | self.others

    def join(self, user_id: int, *, settle: bool = True) -> DaveClient:
        client = DaveClient(user_id, self.clock)
        client.protocol.members_changed(joined=self.everybody)
        for other in self.clients.values():
            other.protocol.members_changed(joined=[user_id])
        self.clients[user_id] = client
        self.service.connect(user_id, client.group.max_version, self.clock())
        client.protocol.session_description(self.service.describe(user_id, self.clock()), self.clock())
        if settle:
            self.pump()
        return client

    def join_without_dave(self, user_id: int) -> None:
        for client in self.clients.values():
            client.protocol.members_changed(joined=[user_id])
        self.others.add(user_id)
        self.service.connect(user_id, 0, self.clock())
        self.service.describe(user_id, self.clock())
        self.pump()

    def leave(self, user_id: int) -> None:
        self.clients.pop(user_id, None)
        self.others.discard(user_id)
        self.slow.pop(user_id, None)
        for client in self.clients.values():
            client.protocol.members_changed(left=[user_id])
        self.service.disconnect(user_id, self.clock())
        self.pump()

    def slow_down(self, user_id: int) -> None:
        """Let a member get nothing until `catch_up`."""
        self.slow[user_id] = deque()

    def catch_up(self, user_id: int, *, messages: int | None = None) -> None:
        """Hand over what waits; all of it ends the slowness."""
        waiting = self.slow[user_id]
        for _ in range(len(waiting) if messages is None else messages):
            self.clients[user_id].take(waiting.popleft(), repeat=self._repeat)
        if messages is None:
            del self.slow[user_id]
        self.pump()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for client in self.clients.values():
            client.protocol.tick(self.clock())
        self.service.tick(self.clock())
        self.pump()

    def pump(self) -> None:
        for _ in range(1_000):
            moved = self._from_clients()
            for user_id, message in self.service.outgoing():
                moved = True
                if user_id in self.slow:
                    self.slow[user_id].append(message)
                elif user_id in self.clients:
                    self.clients[user_id].take(message, repeat=self._repeat)
                    self._from_clients()
            if not moved:
                return
        raise AssertionError("they never stop talking")

    def _from_clients(self) -> bool:
        moved = False
        for user_id, client in self.clients.items():
            for reply in client.replies():
                moved = True
                if isinstance(reply.data, str):
                    message = json.loads(reply.data)
                    taken = self.service.receive_text(user_id, message["op"], message["d"], self.clock())
                else:
                    taken = self.service.receive_binary(user_id, reply.data[0], reply.data[1:], self.clock())
                assert taken, f"the server does not know {reply!r}"
        return moved

    # What holds of a call.

    def hears(self, speaker: int, listener: int) -> bool:
        opus, frame = self.clients[speaker].say()
        if frame is None:
            return False
        heard = self.clients[listener].opener.open(speaker, frame, self.clock())
        assert heard in {None, opus}, "noise"
        return heard == opus

    def is_sound(self, users: Iterable[int] | None = None) -> bool:
        """Everybody hears everybody, encrypted, and sees the same code."""
        users = set(self.clients if users is None else users)
        codes = {self.clients[user].protocol.membership.privacy_code for user in users}
        frames = [self.clients[user].say()[1] for user in users]
        return (
            len(codes) == 1
            and None not in codes
            and all(frame is not None and is_protocol_frame(frame) for frame in frames)
            and all(self.hears(a, b) for a in users for b in users if a != b)
        )
