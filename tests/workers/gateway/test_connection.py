"""The shell on real loopback sockets, with and without TLS, against a scripted server."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from tests.fakes.clock import ManualClock
from tests.workers.gateway.scripted_server import (
    DESCRIPTION,
    HELLO,
    READY,
    Events,
    Run,
    established,
    gateway,
    receive,
    send,
    serving,
    shake_hands,
    shake_hands_and_wait,
    until_closed,
)
from voicepool.testing.certificates import CertificateAuthority
from voicepool.workers.gateway import connection
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
)
from voicepool.workers.gateway.states import GatewayState
from voicepool.workers.once import LogOnce


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
