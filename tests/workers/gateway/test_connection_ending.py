"""How a voice websocket ends, by the server or by us, on real loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import weakref

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.workers.gateway.scripted_server import (
    HELLO,
    SAFETY_S,
    Events,
    Run,
    established,
    gateway,
    no_event,
    receive,
    send,
    serving,
    shake_hands,
    shake_hands_and_wait,
    until_closed,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.connection import MESSAGE_MAX_BYTES
from voicepool.workers.gateway.events import (
    GatewayClosed,
    GatewayFailed,
    HeartbeatLost,
    Ready,
    SessionDescription,
)


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


def test_close_before_open(run: Run[None]) -> None:
    async def main() -> None:
        voice = gateway(9, no_event)
        await voice.close()
        with pytest.raises(RuntimeError, match="opened once"):
            await voice.open()

    run(main())


def test_who_was_to_listen_is_let_go_of_also_when_nothing_was_opened(run: Run[None]) -> None:
    async def main() -> None:
        events = Events()
        known = weakref.ref(events)
        voice = gateway(9, events)
        del events
        assert known() is not None
        await voice.close()
        assert known() is None

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
