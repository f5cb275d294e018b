"""The shell on real loopback sockets, with and without TLS, against a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.fakes.clock import ManualClock
from voicepool.ipc.errors import ErrorCode
from voicepool.testing.certificates import CertificateAuthority
from voicepool.workers.errors import CallError
from voicepool.workers.gateway import connection
from voicepool.workers.gateway.connection import MESSAGE_MAX_BYTES, VoiceGateway
from voicepool.workers.gateway.events import (
    ClientsConnected,
    DaveMessage,
    GatewayClosed,
    GatewayEvent,
    GatewayFailed,
    HeartbeatLost,
    Ready,
    Resumed,
    SessionDescription,
    VoiceIdentity,
)
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol
from voicepool.workers.gateway.states import GatewayState
from voicepool.workers.once import LogOnce

SAFETY_S = 20.0
IDENTITY = VoiceIdentity(server_id=41, user_id=10, session_id="SECRET-session", token="SECRET-token")
READY = {"op": 2, "d": {"ssrc": 7, "ip": "127.0.0.1", "port": 1234, "modes": ["a"]}}
DESCRIPTION = {"op": 4, "d": {"mode": "a", "secret_key": [1] * 32, "dave_protocol_version": 0}}
HELLO = {"op": 8, "d": {"heartbeat_interval": 41_250}}

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
Handler = Callable[[ServerConnection], Awaitable[None]]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run[Any]:
    def run_with_loop(main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(main, SAFETY_S))

    return run_with_loop


@pytest.fixture(scope="module")
def authority() -> Iterator[CertificateAuthority]:
    with CertificateAuthority() as made:
        yield made


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


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_whole_call(run: Run[None], authority: CertificateAuthority, encrypted: bool) -> None:  # noqa: FBT001 - parametrized
    seen: dict[str, Any] = {}

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        seen["path"] = websocket.request.path
        seen["extensions"] = websocket.request.headers.get("Sec-WebSocket-Extensions")
        await send(websocket, HELLO, {"op": 11, "d": {"user_ids": ["1"]}, "seq": 1}, b"\x00\x02\x19abc")
        seen["identify"] = await receive(websocket, 0)
        await send(websocket, READY)
        seen["select"] = await receive(websocket, 1)
        await send(websocket, DESCRIPTION)
        seen["speaking"] = await receive(websocket, 5)
        await until_closed(websocket)
        seen["close"] = websocket.close_code

    async def main() -> None:
        server_tls, client_tls = (
            (authority.server_context(), authority.client_context()) if encrypted else (None, None)
        )
        async with serving(handler, server_tls) as port:
            async with established(port, tls=client_tls) as (voice, events):
                voice.set_speaking(1, 7)
                assert voice.protocol.state is GatewayState.ESTABLISHED
                assert ClientsConnected((1,)) in events.all
                assert DaveMessage(25, b"abc", 2, binary=True) in events.all
                assert voice.protocol.last_seq == 2
            assert isinstance(events.all[-1], GatewayClosed)
            assert (events.all[-1].code, events.all[-1].by_us) == (1000, True)

    run(main())
    assert seen["path"] == "/?v=8"
    assert seen["extensions"] is None
    assert seen["identify"]["token"] == "SECRET-token"
    assert seen["select"]["data"]["address"] == "203.0.113.9"
    assert seen["speaking"] == {"speaking": 1, "delay": 0, "ssrc": 7}
    assert seen["close"] == 1000


def test_resume(run: Run[None]) -> None:
    async def handler(websocket: ServerConnection) -> None:
        assert (await receive(websocket, 7))["seq_ack"] == -1
        await send(websocket, HELLO, {"op": 9, "d": None})
        await until_closed(websocket)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events, resume=True)
            await voice.open()
            await events.wait_for(Resumed)
            await voice.close(3000)
            assert (await events.wait_for(GatewayClosed)).code == 3000

    run(main())


def test_heartbeats_go_out_and_are_answered(run: Run[None]) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await send(websocket, {"op": 8, "d": {"heartbeat_interval": 50}})
        await receive(websocket, 0)
        for _ in range(3):
            message = json.loads(await websocket.recv())
            assert message["op"] == 3
            await send(websocket, {"op": 6, "d": message["d"]})
        await websocket.close(4015)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            closed = await events.wait_for(GatewayClosed)
            assert closed.code == 4015
            assert voice.protocol.rtt_s is not None
            await voice.close()

    run(main())


def test_a_server_that_never_pauses_cannot_put_heartbeats_off(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        clock = ManualClock()
        real_recv = ClientConnection.recv
        left = 200

        async def recv_at_once(websocket: ClientConnection) -> str | bytes:
            nonlocal left
            if left == 0:
                return await real_recv(websocket)
            left -= 1
            clock.advance(1.0)
            return '{"op": 20, "d": {}}'

        async with (
            serving(shake_hands_and_wait) as port,
            established(port, clock=clock) as (voice, events),
        ):
            monkeypatch.setattr(ClientConnection, "recv", recv_at_once)
            voice.set_speaking(1, 7)
            # None of them was answered: that this is noticed shows that they were due in the midst of it.
            assert (await events.wait_for(HeartbeatLost)).unanswered == 3
            assert left > 0

    run(main())


def test_leaving_is_known_before_the_server_has_answered(run: Run[None]) -> None:
    reads, may_read = asyncio.Event(), asyncio.Event()
    codes: list[int | None] = []

    async def handler(websocket: ServerConnection) -> None:
        await shake_hands(websocket)
        websocket.transport.pause_reading()
        reads.set()
        await may_read.wait()
        websocket.transport.resume_reading()
        await until_closed(websocket)
        codes.append(websocket.close_code)

    async def main() -> None:
        async with serving(handler) as port, established(port) as (voice, _):
            await reads.wait()
            closing = asyncio.create_task(voice.close())
            await voice.wait_until_leaving()
            assert not closing.done()
            may_read.set()
            await closing
            await voice.wait_until_leaving()

    run(main())
    assert codes == [1000]


def test_who_never_came_need_not_wait_to_leave(run: Run[None]) -> None:
    async def main() -> None:
        voice = gateway(1, lambda _: None)
        await voice.wait_until_leaving()

    run(main())


def test_a_silent_server_is_left_with_a_resumable_close(run: Run[None]) -> None:
    codes = []

    async def handler(websocket: ServerConnection) -> None:
        await send(websocket, {"op": 8, "d": {"heartbeat_interval": 50}})
        await until_closed(websocket)
        codes.append(websocket.close_code)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.by_us) == (3000, True)
            assert [type(event) for event in events.all] == [HeartbeatLost, GatewayClosed]
            await voice.close()

    run(main())
    assert codes == [3000]


@pytest.mark.parametrize("code", [1001, 4004, 4006, 4014, 4017])
def test_the_servers_close_is_told_once_with_its_code(run: Run[None], code: int) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await receive(websocket, 0)
        await websocket.close(code, "so be it")

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.reason, closed.by_us) == (code, "so be it", False)
            assert closed.server == f"127.0.0.1:{port}"
            await voice.close()
            await voice.close()
            assert events.all == [closed]

    run(main())


def test_a_connection_that_breaks_off_is_1006(run: Run[None]) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await shake_hands(websocket)
        await receive(websocket, 5)
        websocket.transport.abort()

    async def main() -> None:
        async with serving(handler) as port, established(port) as (voice, events):
            voice.set_speaking(1, 7)
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.by_us) == (1006, False)

    run(main())


def test_an_oversized_frame_ends_the_connection(run: Run[None]) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await receive(websocket, 0)
        await websocket.send(bytes(MESSAGE_MAX_BYTES + 1))
        await until_closed(websocket)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.by_us) == (1009, True)
            await voice.close()

    run(main())


def test_text_that_is_no_utf8_ends_the_connection(run: Run[None]) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await receive(websocket, 0)
        await websocket.send(b"\xff\xfe", text=True)
        await until_closed(websocket)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            assert (await events.wait_for(GatewayClosed)).code == 1007
            await voice.close()

    run(main())


def test_a_failed_handshake_is_told_and_closed(run: Run[None]) -> None:
    codes = []

    async def handler(websocket: ServerConnection) -> None:
        await send(websocket, HELLO, {"op": 2, "d": {}})
        await until_closed(websocket)
        codes.append(websocket.close_code)

    async def main() -> None:
        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events)
            await voice.open()
            await events.wait_for(GatewayClosed)
            assert [type(event) for event in events.all] == [GatewayFailed, GatewayClosed]
            await voice.close()

    run(main())
    assert codes == [1000]


def test_a_server_that_says_nothing_fails_by_step(run: Run[None]) -> None:
    async def main() -> None:
        async with serving(until_closed) as port:
            events = Events()
            voice = gateway(port, events, step_timeout_s=0.02)
            await voice.open()
            failed = await events.wait_for(GatewayFailed)
            assert failed.error.code is ErrorCode.CONNECT_TIMEOUT
            assert "HELLO" in failed.error.text
            await events.wait_for(GatewayClosed)
            await voice.close()

    run(main())


def test_a_listener_that_fails_is_logged_and_does_no_harm(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        events = Events()

        def failing(event: GatewayEvent) -> None:
            events(event)
            raise LookupError("the session's defect")

        async with serving(shake_hands) as port:
            voice = gateway(port, failing)
            await voice.open()
            await events.wait_for(Ready)
            voice.select_protocol("203.0.113.9", 4242, "a")
            await events.wait_for(GatewayClosed)
            await voice.close()
        kinds = [type(event) for event in events.all]
        assert kinds == [Ready, SessionDescription, GatewayClosed]

    run(main())
    assert [record.exc_info is not None for record in caplog.records if record.levelno >= logging.ERROR] == [
        True
    ] * 3


def test_what_has_no_use_is_logged_once_in_all_calls(
    run: Run[None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SKIPPED", LogOnce(logging.getLogger("voicepool.gateway")))

    async def talk_nonsense(websocket: ServerConnection) -> None:
        await receive(websocket, 0)
        await send(websocket, HELLO, {"op": 77, "d": 1}, {"op": 77, "d": 2}, {"op": 5, "d": []}, READY)
        await receive(websocket, 1)

    async def main() -> None:
        async with serving(talk_nonsense) as port:
            for _ in range(2):
                events = Events()
                voice = gateway(port, events)
                await voice.open()
                await events.wait_for(Ready)
                voice.select_protocol("203.0.113.9", 4242, "a")
                await events.wait_for(GatewayClosed)
                await voice.close()
                assert [type(event) for event in events.all] == [Ready, GatewayClosed]
                assert voice.protocol.skipped.total == 3

    with caplog.at_level(logging.INFO, logger="voicepool.gateway"):
        run(main())
    said = [text for text in caplog.messages if "skipped" in text]
    assert len(said) == 2
    assert "unknown opcode 77" in said[0]
    assert "a malformed SPEAKING" in said[1]


def test_a_listener_may_answer_at_once(run: Run[None]) -> None:
    spoken = asyncio.Event()

    async def handler(websocket: ServerConnection) -> None:
        await shake_hands(websocket)
        await receive(websocket, 5)
        spoken.set()
        await until_closed(websocket)

    async def main() -> None:
        async with serving(handler) as port:

            def session(event: GatewayEvent) -> None:
                if isinstance(event, Ready):
                    voice.select_protocol("203.0.113.9", 4242, "a")
                elif isinstance(event, SessionDescription):
                    voice.set_speaking(1, 7)

            voice = gateway(port, session)
            await voice.open()
            await spoken.wait()
            await voice.close()

    run(main())


def test_two_wishes_at_once(run: Run[None]) -> None:
    """The second comes while the first one's wake-up is already on its way."""
    heard: list[int] = []

    async def handler(websocket: ServerConnection) -> None:
        await shake_hands(websocket)
        heard.append((await receive(websocket, 5))["speaking"])
        heard.append((await receive(websocket, 5))["speaking"])
        await websocket.close(4014)

    async def main() -> None:
        async with serving(handler) as port, established(port) as (voice, events):
            await asyncio.sleep(0)
            voice.set_speaking(1, 7)
            await asyncio.sleep(0)
            voice.set_speaking(0, 7)
            assert (await events.wait_for(GatewayClosed)).code == 4014

    run(main())
    assert heard == [1, 0]


# Opening that fails: one typed error each, and no event.


async def failing_open(voice: VoiceGateway) -> CallError:
    with pytest.raises(CallError) as caught:
        await voice.open()
    assert "SECRET" not in caught.value.text
    # The library's own error could quote what was sent.
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    await voice.close()
    return caught.value


def no_event(event: GatewayEvent) -> None:
    raise AssertionError(event)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_nobody_listens(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        port = free_port()
        error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CONNECT_REFUSED
        assert f"127.0.0.1:{port}" in error.text

    run(main())


def test_the_name_does_not_resolve(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        voice = gateway(443, no_event, host="voice.invalid", tls=authority.client_context())
        error = await failing_open(voice)
        assert error.code is ErrorCode.CONNECT_REFUSED
        assert "voice.invalid:443" in error.text

    run(main())


def test_the_certificate_is_from_somebody_else(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        with CertificateAuthority() as stranger:
            async with serving(until_closed, stranger.server_context()) as port:
                error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CERTIFICATE
        assert "ca_file" in error.text

    run(main())


def test_the_certificate_is_for_another_host(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        async with serving(until_closed, authority.server_context(["voice.example"])) as port:
            error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CERTIFICATE

    run(main())


def test_the_server_speaks_no_tls(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        async with serving(until_closed) as port:
            error = await failing_open(gateway(port, no_event, tls=authority.client_context()))
        assert error.code is ErrorCode.CONNECT_REFUSED

    run(main())


@contextlib.asynccontextmanager
async def scripted_tcp(answer: bytes | None) -> AsyncIterator[int]:
    """Accept connections; give each the answer to its request, or with None only listen."""
    handlers: set[asyncio.Task[None]] = set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        if answer is None:
            await reader.read()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        if handlers:
            await asyncio.wait(handlers)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.2:9/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_the_upgrade_is_refused(run: Run[None], answer: bytes) -> None:
    async def main() -> None:
        async with scripted_tcp(answer) as port:
            error = await failing_open(gateway(port, no_event))
        assert error.code is ErrorCode.CONNECT_REFUSED

    run(main())


def test_the_server_accepts_and_says_nothing(run: Run[None]) -> None:
    async def main() -> None:
        async with scripted_tcp(None) as port:
            error = await failing_open(gateway(port, no_event, open_timeout_s=0.05))
        assert error.code is ErrorCode.CONNECT_TIMEOUT
        assert f"127.0.0.1:{port}" in error.text

    run(main())


def test_the_token_is_not_sent_in_the_clear(run: Run[None], authority: CertificateAuthority) -> None:
    async def main() -> None:
        for endpoint, context in (("ws://127.0.0.1:9", authority.client_context()), ("127.0.0.1:9", None)):
            protocol = VoiceGatewayProtocol(IDENTITY)
            voice = VoiceGateway(endpoint=endpoint, protocol=protocol, ssl_context=context, on_event=no_event)
            error = await failing_open(voice)
            assert "in the clear" in error.text

    run(main())


def test_opening_twice_is_a_defect(run: Run[None]) -> None:
    async def main() -> None:
        async with serving(shake_hands) as port, established(port) as (voice, _):
            with pytest.raises(RuntimeError, match="opened once"):
                await voice.open()

    run(main())


# Ends that come from us.


def test_close_before_open(run: Run[None]) -> None:
    async def main() -> None:
        voice = gateway(9, no_event)
        await voice.close()
        with pytest.raises(RuntimeError, match="opened once"):
            await voice.open()

    run(main())


def test_close_during_open(run: Run[None]) -> None:
    async def main() -> None:
        upgrade = asyncio.Event()
        arrived = asyncio.Event()

        async def hold(_connection: ServerConnection, _request: object) -> None:
            arrived.set()
            await upgrade.wait()

        async with serve(until_closed, "127.0.0.1", 0, process_request=hold) as server:
            voice = gateway(server.sockets[0].getsockname()[1], no_event)
            opening = asyncio.create_task(voice.open())
            await arrived.wait()
            await voice.close()
            upgrade.set()
            with pytest.raises(CallError) as caught:
                await opening
            assert caught.value.code is ErrorCode.SUPERSEDED

    run(main())


def test_cancelling_open_leaves_nothing(run: Run[None]) -> None:
    async def main() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            arrived.set()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            gone.set()

        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            voice = gateway(server.sockets[0].getsockname()[1], no_event)
            opening = asyncio.create_task(voice.open())
            await arrived.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await gone.wait()

    run(main())


def test_cancelling_close_drops_the_connection(run: Run[None]) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def handler(websocket: ServerConnection) -> None:
            await shake_hands(websocket)
            # A server that reads no further does not answer our close frame.
            websocket.transport.pause_reading()
            await release.wait()
            websocket.transport.abort()

        async with serving(handler) as port:
            events = Events()
            voice = gateway(port, events, close_timeout_s=SAFETY_S)
            await voice.open()
            await events.wait_for(Ready)
            voice.select_protocol("203.0.113.9", 4242, "a")
            await events.wait_for(SessionDescription)
            closing = asyncio.create_task(voice.close())
            await asyncio.sleep(0)  # it has begun
            assert voice.protocol.closing() == 1000
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.by_us) == (1006, True)
            await voice.close()
            release.set()

    run(main())


def test_a_server_that_does_not_answer_the_close_is_left_after_the_timeout(run: Run[None]) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def handler(websocket: ServerConnection) -> None:
            await shake_hands(websocket)
            websocket.transport.pause_reading()
            await release.wait()
            websocket.transport.abort()

        async with serving(handler) as port:
            async with established(port, close_timeout_s=0.02) as (voice, events):
                await voice.close()
                closed = await events.wait_for(GatewayClosed)
                assert (closed.code, closed.by_us) == (1000, True)
            release.set()

    run(main())


def test_a_server_that_takes_no_frames_is_left(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with (
            serving(shake_hands_and_wait) as port,
            established(port, send_timeout_s=0.02) as (voice, events),
        ):
            stalled = asyncio.Event()

            async def never(_self: object, _frame: object) -> None:
                stalled.set()
                await asyncio.get_running_loop().create_future()

            monkeypatch.setattr("websockets.asyncio.client.ClientConnection.send", never)
            voice.set_speaking(1, 7)
            await stalled.wait()
            closed = await events.wait_for(GatewayClosed)
            assert (closed.code, closed.by_us) == (1006, True)
            assert "took no frame" in closed.reason

    run(main())


async def shake_hands_and_wait(websocket: ServerConnection) -> None:
    await shake_hands(websocket)
    await until_closed(websocket)


def test_time_is_the_clocks(run: Run[None]) -> None:
    """A deadline of the core counts only when its clock says so, not when the loop's does."""

    async def main() -> None:
        clock = ManualClock()
        async with (
            serving(shake_hands_and_wait) as port,
            established(port, step_timeout_s=0.001, clock=clock) as (voice, events),
        ):
            assert voice.protocol.state is GatewayState.ESTABLISHED
            assert not [event for event in events.all if isinstance(event, GatewayFailed)]

    run(main())


# Secrets.


def test_no_secret_in_any_log_even_at_debug(
    run: Run[None], authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "voicepool.gateway")

    async def main() -> None:
        async with (
            serving(shake_hands_and_wait, authority.server_context()) as port,
            established(port, tls=authority.client_context()) as (voice, _),
        ):
            assert "SECRET" not in repr(voice)

    run(main())
    # The scripted server logs what it receives; that is not ours.
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert any("closed: code 1000" in message for message in ours)
    assert not [message for message in ours if "SECRET" in message]
