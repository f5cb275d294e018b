"""Connections to a voice server by script, in place of `VoiceServerConnection`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from voicepool.ipc.commands import Credentials, OpenCall
from voicepool.ipc.ids import CallId, ChannelId, GuildId, RequestId, UserId
from voicepool.workers import session as session_module
from voicepool.workers.connection import MemberEvent, Transport
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.events import DaveEvent
from voicepool.workers.errors import CallError
from voicepool.workers.transport.modes import TransportMode

__all__ = ["Script", "ScriptedConnection", "open_command"]

_MODE: Final = TransportMode("aead_aes256_gcm_rtpsize")


class ScriptedConnection:
    """One connection attempt: opens when the test says so, and is lost when it says so."""

    def __init__(
        self,
        script: Script,
        number: int,
        credentials: Credentials,
        callbacks: dict[str, Callable[[Any], Any]],
    ) -> None:
        self._script = script
        self.number = number
        self.credentials = credentials
        self.lose: Callable[[CallError], object] = callbacks["on_lost"]
        self.become_useless: Callable[[CallError], object] = callbacks["on_broken"]
        self.tell_dave: Callable[[DaveEvent], object] = callbacks["on_dave"]
        self.tell_member: Callable[[MemberEvent], object] = callbacks["on_member"]
        self.verification_of: dict[int, VerificationPair | str] = {}
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.resumption: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.may_close = asyncio.Event()
        self.begun_to_close = asyncio.Event()
        self.opened = self.closing = self.closed = False
        self.rtt_ms = 12.5
        self.messages_skipped = 3
        self.frames_failed = 0
        self.sent: list[bytes] = []
        if not script.closes_slowly:
            self.may_close.set()

    async def open(self) -> Transport:
        self._script.attempts.append(self)
        self._script.changed.set()
        if self._script.opens_at_once and not self.outcome.done():
            self.outcome.set_result(None)
        try:
            await self.outcome
        except BaseException:
            await self.close()
            raise
        self.opened = True
        self._script.at_open(self)
        return Transport(_MODE, self.number, lambda header, frame: header + frame, self._send)

    async def resume(self) -> None:
        await self.resumption

    def verification(self, user_id: int) -> VerificationPair | str:
        return self.verification_of[user_id]

    async def wait_until_left(self) -> None:
        await self.begun_to_close.wait()

    async def close(self) -> None:
        self.closing = True
        self.begun_to_close.set()
        await self.may_close.wait()
        self.closed = True

    def _send(self, packet: bytes) -> None:
        assert not self.closed, "sent through a closed connection"
        self.sent.append(packet[12:])


class Script:
    """All attempts made so far, and how the next ones go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts: list[ScriptedConnection] = []
        self.opens_at_once = True
        self.closes_slowly = False
        self.unmakeable: CallError | None = None
        self.at_open: Callable[[ScriptedConnection], object] = lambda _: None
        self.changed = asyncio.Event()
        self._made = 0

        def make(
            credentials: Credentials,
            *,
            settings: object,
            ssl_context: object,
            **callbacks: Callable[[Any], Any],
        ) -> ScriptedConnection:
            self._made += 1
            if self.unmakeable is not None:
                raise self.unmakeable
            return ScriptedConnection(self, self._made, credentials, callbacks)

        monkeypatch.setattr(session_module, "VoiceServerConnection", make)

    async def wait_for_attempt(self, number: int) -> ScriptedConnection:
        """Wait until the attempt with this number, from 1, has begun."""
        while len(self.attempts) < number:
            self.changed.clear()
            await self.changed.wait()
        return self.attempts[number - 1]


def open_command(request: int = 1, generation: int = 1, call: str = "call", *, channel: int = 2) -> OpenCall:
    return OpenCall(
        request=RequestId(request),
        call=CallId(call),
        generation=generation,
        credentials=Credentials(
            guild_id=GuildId(1),
            channel_id=ChannelId(channel),
            user_id=UserId(3),
            session_id="SECRET-session",
            endpoint="voice.invalid:443",
            token="SECRET-token",
        ),
    )
