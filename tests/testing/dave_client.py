"""The hand-written voice client with DAVE: over its websocket it is driven like any member of a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.testing.voice_client import VoiceClient
from voicepool.testing.dave_members import DaveMember, DaveSpeaker
from voicepool.testing.dave_messages import DaveBinary, DaveOpcode, DaveText
from voicepool.testing.voice_crypto import transport_mode
from voicepool.testing.voice_grant import VoiceGrant
from voicepool.testing.voice_rtp import RTP_HEADER
from voicepool.testing.voice_server import DiscordVoiceServer


class DaveClient(VoiceClient):
    """Answers what DAVE asks while it waits for something else."""

    def __init__(
        self, server: DiscordVoiceServer, grant: VoiceGrant, kind: type[DaveMember] = DaveSpeaker
    ) -> None:
        super().__init__(server, grant)
        self.member: Any = kind(grant.user_id, grant.channel_id)
        self.numbers: list[int] = []
        self.opcodes: list[int] = []

    async def identify(self, **changes: object) -> None:
        await super().identify(**{"max_dave_protocol_version": 1, **changes})

    async def receive(self, op: int) -> dict[str, Any]:
        while True:
            message = await self.take()
            if message.get("op") == op:
                return message

    async def take(self) -> dict[str, Any]:
        """Take one message and answer it; return it, if it is binary with its opcode only."""
        assert self.websocket is not None
        return await self._process(await self.websocket.recv())

    async def _process(self, raw: str | bytes) -> dict[str, Any]:
        if isinstance(raw, bytes):
            self.numbers.append(int.from_bytes(raw[:2]))
            message: dict[str, Any] = {"op": raw[2]}
            self.member.receive(DaveBinary(DaveOpcode(raw[2]), raw[3:]), self.now)
        else:
            message = json.loads(raw)
            if "seq" in message:
                self.numbers.append(message["seq"])
            self._take_text(message["op"], message["d"])
        self.messages.append(message)
        self.opcodes.append(message["op"])
        await self.answer()
        return message

    async def answer(self) -> None:
        for answer in self.member.outgoing():
            if isinstance(answer, DaveText):
                await self.send(int(answer.opcode), answer.data)
            else:
                await self.send_raw(bytes((answer.opcode,)) + answer.payload)

    async def until(self, holds: Callable[[], object]) -> None:
        """Take messages until something holds."""
        while not holds():
            await self.take()

    async def attend(self, stop: asyncio.Event, changed: Callable[[], None]) -> None:
        """Take messages until `stop` is set, and tell of each."""
        assert self.websocket is not None
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                received = asyncio.ensure_future(self.websocket.recv())
                await asyncio.wait({received, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not received.done():
                    received.cancel()
                    await asyncio.wait({received})
                    return
                await self._process(received.result())
                changed()
        finally:
            stopped.cancel()

    def send_sealed(self, opus: bytes) -> None:
        frame = self.member.seal(opus)
        assert frame is not None
        self.send_frame(frame)

    async def hear(self) -> tuple[int, int, bytes]:
        """Return SSRC, timestamp and frame, transport encryption taken off, of the next packet."""
        datagram = await asyncio.get_running_loop().sock_recv(self.udp, 2_048)
        mode = transport_mode(self.mode)
        assert mode is not None
        _, _, _, timestamp, ssrc = RTP_HEADER.unpack_from(datagram)
        return ssrc, timestamp, mode.make_opener(self.key)(datagram)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _take_text(self, opcode: int, data: Any) -> None:
        if opcode == 4:
            self.member.describe(data["dave_protocol_version"], self.now)
        elif opcode == 11:
            self.member.users_connected(int(user) for user in data["user_ids"])
        elif opcode == 13:
            self.member.user_disconnected(int(data["user_id"]))
        elif opcode in {21, 22, 24}:
            self.member.receive(DaveText(DaveOpcode(opcode), data), self.now)


async def together(clients: Sequence[DaveClient], holds: Callable[[], object]) -> None:
    """Have all clients take messages until something holds."""
    stop = asyncio.Event()

    def look() -> None:
        if holds():
            stop.set()

    look()
    await asyncio.gather(*(client.attend(stop, look) for client in clients))


def agree(server: DiscordVoiceServer, place: tuple[int, int], clients: Sequence[DaveClient]) -> bool:
    """Return whether all clients are in the group's epoch and nothing is pending."""
    call = server.calls.get(place)
    assert call is not None
    users = {client.grant.user_id for client in clients} | set(call.played)
    return (
        set(call.service.leaves) == users
        and not call.service.pending_transitions
        and not call.service.open_changes
        and {client.member.epoch for client in clients} == {call.service.epoch}
        and {client.member.version for client in clients} == {1}
        and all(client.member.seal(b"\xfc") for client in clients if hasattr(client.member, "seal"))
    )
