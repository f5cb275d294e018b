"""A connection to the stand-in of Discord's voice server, and all it said."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from tests.workers.live_studio import credentials, settings, trusting
from voicepool.testing.voice_grant import VoiceGrant
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.workers.connection import MemberEvent, Transport, VoiceServerConnection
from voicepool.workers.dave.events import DaveEvent
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.states import GatewayState

__all__ = ["MUSIC", "SHORT_S", "Joining", "Told", "send"]

MUSIC = b"\xfc" + bytes(60)
SHORT_S = 1.0
"""Long enough for a TLS handshake on the loopback, and what a test of a timeout costs."""


T = TypeVar("T")


class Told(list[T]):
    """Collects what a callback is called with, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __call__(self, what: T) -> None:
        self.append(what)
        self._news.set()

    async def wait(self, predicate: Callable[[T], bool] = lambda _: True, *, count: int = 1) -> T:
        """Wait until there are so many that fit; the last of them."""
        while len(fitting := [what for what in self if predicate(what)]) < count:
            self._news.clear()
            await self._news.wait()
        return fitting[count - 1]


class Joining:
    """A connection to a server, and what it said."""

    def __init__(
        self,
        server: DiscordVoiceServer,
        grant: VoiceGrant | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        changed: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.grant = grant or server.grant(1, 2, 3)
        self.lost: Told[CallError] = Told()
        self.broken: Told[CallError] = Told()
        self.dave: Told[DaveEvent] = Told()
        self.members: Told[MemberEvent] = Told()
        self.connection = VoiceServerConnection(
            credentials(self.grant, **(changed or {})),
            settings=settings(**options),
            ssl_context=tls or trusting(server),
            on_lost=self.lost,
            on_broken=self.broken,
            on_dave=self.dave,
            on_member=self.members,
        )

    async def open(self) -> Transport:
        return await self.connection.open()

    async def fail(self) -> CallError:
        """Open in vain; see that nothing of it is left open."""
        with pytest.raises(CallError) as caught:
            await self.connection.open()
        udp = self.connection._socket
        assert udp is None or udp.closed
        assert self.connection._gateway.protocol.state in {GatewayState.NEW, GatewayState.CLOSED}
        assert self.lost == []
        for secret in (self.grant.token, self.grant.session_id):
            assert secret not in repr(caught.value.info) + str(caught.value) + repr(self.connection)
        return caught.value


def send(transport: Transport, count: int) -> None:
    for number in range(count):
        header = struct.pack(">BBHII", 0x80, 0x78, number, number * 960, transport.ssrc)
        transport.send(transport.seal(header, MUSIC))
