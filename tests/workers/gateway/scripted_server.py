"""A voice websocket on loopback, the scripted server at its other end, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from voicepool.workers.gateway.connection import VoiceGateway
from voicepool.workers.gateway.events import GatewayEvent, Ready, SessionDescription, VoiceIdentity
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol

__all__ = [
    "DESCRIPTION",
    "HELLO",
    "IDENTITY",
    "READY",
    "SAFETY_S",
    "Events",
    "Handler",
    "Run",
    "T",
    "established",
    "gateway",
    "no_event",
    "receive",
    "send",
    "serving",
    "shake_hands",
    "shake_hands_and_wait",
    "until_closed",
]

SAFETY_S = 20.0
IDENTITY = VoiceIdentity(server_id=41, user_id=10, session_id="SECRET-session", token="SECRET-token")
READY = {"op": 2, "d": {"ssrc": 7, "ip": "127.0.0.1", "port": 1234, "modes": ["a"]}}
DESCRIPTION = {"op": 4, "d": {"mode": "a", "secret_key": [1] * 32, "dave_protocol_version": 0}}
HELLO = {"op": 8, "d": {"heartbeat_interval": 41_250}}
T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
Handler = Callable[[ServerConnection], Awaitable[None]]


class Events:
    """Collects the events and lets a test wait for one of a kind."""

    def __init__(self) -> None:
        self.all: list[GatewayEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: GatewayEvent) -> None:
        self.all.append(event)
        self._news.set()

    async def wait_for(self, kind: type[T]) -> T:
        while True:
            for event in self.all:
                if isinstance(event, kind):
                    return event
            self._news.clear()
            await self._news.wait()


def gateway(
    port: int,
    events: Callable[[GatewayEvent], None],
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    resume: bool = False,
    step_timeout_s: float = SAFETY_S,
    **options: Any,
) -> VoiceGateway:
    endpoint = f"{host}:{port}" if tls is not None else f"ws://{host}:{port}"
    return VoiceGateway(
        endpoint=endpoint,
        protocol=VoiceGatewayProtocol(
            IDENTITY,
            server=f"{host}:{port}",
            resume=resume,
            step_timeout_s=step_timeout_s,
            jitter=lambda: 0.0,
        ),
        ssl_context=tls,
        on_event=events,
        **options,
    )


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve, and fail the test with the handler's own failure."""
    failures: list[BaseException] = []

    async def guarded(websocket: ServerConnection) -> None:
        try:
            await handler(websocket)
        except AssertionError as error:
            failures.append(error)

    async with serve(guarded, "127.0.0.1", 0, ssl=tls, ping_interval=None) as server:
        yield server.sockets[0].getsockname()[1]
    if failures:
        raise failures[0]


async def send(websocket: ServerConnection, *messages: object) -> None:
    for message in messages:
        await websocket.send(message if isinstance(message, bytes) else json.dumps(message))


async def receive(websocket: ServerConnection, op: int) -> Any:
    """Return the body of the next message with this opcode; heartbeats in between are passed over."""
    while True:
        message = json.loads(await websocket.recv())
        if message["op"] == op:
            return message["d"]
        assert message["op"] == 3, message


async def shake_hands(websocket: ServerConnection) -> None:
    await send(websocket, HELLO)
    await receive(websocket, 0)
    await send(websocket, READY)
    await receive(websocket, 1)
    await send(websocket, DESCRIPTION)


async def until_closed(websocket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in websocket:
            pass


@contextlib.asynccontextmanager
async def established(port: int, **options: Any) -> AsyncIterator[tuple[VoiceGateway, Events]]:
    events = Events()
    voice = gateway(port, events, **options)
    await voice.open()
    try:
        await events.wait_for(Ready)
        voice.select_protocol("203.0.113.9", 4242, "a")
        await events.wait_for(SessionDescription)
        yield voice, events
    finally:
        await voice.close()


def no_event(event: GatewayEvent) -> None:
    raise AssertionError(event)


async def shake_hands_and_wait(websocket: ServerConnection) -> None:
    await shake_hands(websocket)
    await until_closed(websocket)
