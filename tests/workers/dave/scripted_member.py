"""The protocol of one member around a scripted group, and one word for each thing the server says."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import dave_mls
from tests.fakes.clock import ManualClock
from tests.fakes.dave_group import ScriptedGroup, key_of
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.messages import DaveReply
from voicepool.workers.dave.mls import key_package_ref
from voicepool.workers.dave.protocol import DaveProtocol
from voicepool.workers.gateway.events import DaveMessage

__all__ = [
    "GROUP",
    "OPUS",
    "THEM",
    "THIRD",
    "US",
    "Member",
    "frames",
    "invalid",
    "package",
    "pending",
    "ready",
    "sending",
]

GROUP = 99
US, THEM, THIRD = 1, 2, 3
OPUS = b"some opus"


class Member:
    """The protocol around a scripted group; one word for each thing the server says."""

    def __init__(self, **group: Any) -> None:
        self.clock = ManualClock()
        self.group = ScriptedGroup(US, GROUP, **group)
        self.sealer = FrameSealer()
        self.core = DaveProtocol(self.group, self.sealer)
        self.core.members_changed(joined=[THEM])

    # The server.

    def described(self, version: int = 1) -> Member:
        self.core.session_description(version, self.clock())
        return self

    def gets(self, opcode: int, body: bytes | dict[str, int], seq: int | None = None) -> list[DaveReply]:
        binary = isinstance(body, bytes)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = DaveMessage(opcode=opcode, payload=payload, seq=seq, binary=binary)
        self.core.receive(message, self.clock())
        return self.core.outgoing()

    def prepares(self, transition_id: int, version: int) -> list[DaveReply]:
        return self.gets(21, {"transition_id": transition_id, "protocol_version": version})

    def executes(self, transition_id: int) -> list[DaveReply]:
        return self.gets(22, {"transition_id": transition_id})

    def new_group(self, version: int = 1) -> list[DaveReply]:
        return self.gets(24, {"protocol_version": version, "epoch": 1})

    def proposes(self, *messages: bytes) -> list[DaveReply]:
        return self.gets(27, dave_mls.append(messages))

    def commits(self, transition_id: int, commit: bytes) -> list[DaveReply]:
        return self.gets(29, transition_id.to_bytes(2) + commit)

    def welcomes(
        self, transition_id: int, note: bytes = b"", package: bytes | None = None
    ) -> list[DaveReply]:
        named = key_package_ref(self.group.packages[-1] if package is None else package)
        return self.gets(30, transition_id.to_bytes(2) + dave_mls.welcome([named], note))

    # How it stands.

    @property
    def key(self) -> bytes | None:
        return key_of(self.sealer.seal(OPUS))

    @property
    def epoch(self) -> int:
        return self.group.epoch or 0

    def events(self, kind: type | None = None) -> list[Any]:
        return [event for event in self.core.events() if kind is None or isinstance(event, kind)]

    def a_commit(self, note: bytes = b"", **options: Any) -> bytes:
        return dave_mls.commit(GROUP, self.epoch, note=note, **options)


def ready(transition_id: int) -> str:
    return json.dumps({"op": 23, "d": {"transition_id": transition_id}}, separators=(",", ":"))


def invalid(transition_id: int) -> str:
    return json.dumps({"op": 31, "d": {"transition_id": transition_id}}, separators=(",", ":"))


def frames(replies: list[DaveReply]) -> list[str | bytes]:
    return [reply.data for reply in replies]


def package(member: Member) -> bytes:
    return bytes((26,)) + member.group.packages[-1]


def pending(**group: Any) -> Member:
    member = Member(**group)
    member.gets(25, dave_mls.EXTERNAL_SENDER)
    member.described()
    member.core.outgoing()
    member.events()
    return member


def sending(**group: Any) -> Member:
    """In the group, and sending under the key of its first epoch."""
    member = pending(**group)
    assert frames(member.welcomes(5)) == [ready(5)]
    assert member.key is None
    member.executes(5)
    assert member.key == b"key 1"
    member.events()
    return member
