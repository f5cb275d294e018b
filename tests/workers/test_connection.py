"""The whole handshake against the stand-in of Discord's voice server: real TLS, real UDP."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.joining import SHORT_S, Joining, send
from tests.workers.live_studio import GCM, XCHACHA
from voicepool.ipc.errors import ErrorCode
from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.voice_crypto import ALL_MODES
from voicepool.testing.voice_faults import Step
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session_view import SessionState
from voicepool.workers import connection as connection_module
from voicepool.workers.connection import Transport
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import (
    GatewayClosed,
    GatewayFailed,
)
from voicepool.workers.gateway.states import GatewayState, IllegalMoveError
from voicepool.workers.transport.modes import TransportMode

# The good way.


@pytest.mark.parametrize("mode", ALL_MODES)
def test_what_is_sealed_and_sent_arrives_in_every_mode(mode: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            joining = Joining(server, modes=(mode,))
            transport = await joining.open()
            send(transport, 10)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(10)
            await session.wait_until(lambda it: bool(it.speaking))
            await joining.connection.close()
            await session.wait_closed()
            report = session.report()
            assert report.problems == ()
            assert (report.mode, report.ssrc, report.frames) == (mode, transport.ssrc, 10)
            assert (report.discovery_requests, report.speaking_updates) == (1, (1,))
            assert report.close_code_received == 1000
            assert transport.mode.value == mode
            assert joining.lost == []

    scenario()


@pytest.mark.parametrize(
    ("offered", "allowed", "chosen"),
    [
        ((XCHACHA, GCM), (GCM, XCHACHA), GCM),
        ((GCM, XCHACHA), (XCHACHA, GCM), XCHACHA),
        ((XCHACHA,), (GCM, XCHACHA), XCHACHA),
    ],
)
def test_our_preference_decides(offered: tuple[str, ...], allowed: tuple[str, ...], chosen: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer(modes=offered) as server:
            joining = Joining(server, modes=allowed)
            assert (await joining.open()).mode.value == chosen
            await joining.connection.close()

    scenario()


@asyncio_test
async def test_the_server_can_know_that_we_leave_before_it_has_answered() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        assert joining.connection.frames_failed == 0
        session = await server.wait_for_session(1)
        closing = asyncio.create_task(joining.connection.close())
        await joining.connection.wait_until_left()
        await session.wait_closed()
        assert session.close_code_received == 1000
        await closing


@asyncio_test
async def test_keepalives_go_out_even_when_nothing_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL_S", 0.01)
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        session = await server.wait_for_session(1)
        await session.wait_until(lambda it: it.media.keepalives >= 3)
        await joining.connection.close()
        assert session.report().problems == ()


@asyncio_test
async def test_the_round_trip_is_known_after_the_first_answered_heartbeat() -> None:
    async with DiscordVoiceServer(heartbeat_interval_ms=50.0, heartbeat_timeout_ms=60_000.0) as server:
        joining = Joining(server)
        assert joining.connection.rtt_ms is None
        await joining.open()
        session = await server.wait_for_session(1)
        # Sent after the answer to the first one was read.
        await session.wait_until(lambda it: it.heartbeats >= 3)
        assert joining.connection.rtt_ms is not None
        assert joining.connection.rtt_ms > 0.0
        await joining.connection.close()


# Steps without an answer.


@pytest.mark.parametrize(
    ("step", "named"),
    [("ready", "IDENTIFY"), ("discovery", "IP discovery"), ("session_description", "SELECT PROTOCOL")],
)
def test_a_step_without_an_answer_is_named(step: Step, named: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            server.mute_step(step)
            error = await Joining(server, connect_timeout_s=SHORT_S).fail()
            assert error.code is ErrorCode.CONNECT_TIMEOUT
            assert named in error.text
            assert named in str(error.data["step"])
            assert server.endpoint in error.text

    scenario()


@asyncio_test
async def test_a_server_that_accepts_and_says_nothing_is_a_timeout_of_the_websocket() -> None:
    async with DiscordVoiceServer() as server:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            endpoint = f"127.0.0.1:{mute.getsockname()[1]}"
            error = await Joining(server, changed={"endpoint": endpoint}, connect_timeout_s=0.2).fail()
        assert error.code is ErrorCode.CONNECT_TIMEOUT
        assert "the websocket" in error.text


@asyncio_test
async def test_a_server_without_hello_is_lost_after_the_same_time() -> None:
    async with DiscordVoiceServer() as server:
        server.mute_step("hello")
        joining = Joining(server, connect_timeout_s=SHORT_S)
        await joining.open()
        error = await joining.lost.wait()
        assert (error.code, error.data) == (ErrorCode.CONNECT_TIMEOUT, {"step": "HELLO"})
        await joining.connection.close()
        assert len(joining.lost) == 1


@asyncio_test
async def test_lost_discovery_packets_are_asked_for_again() -> None:
    async with DiscordVoiceServer() as server:
        server.drop_discovery_requests(1)
        joining = Joining(server)
        await joining.open()
        session = await server.wait_for_session(1)
        assert session.discovery_requests == 2
        await joining.connection.close()


# Refusals.


@pytest.mark.parametrize(
    ("close_code", "code"),
    [
        (4004, ErrorCode.AUTHENTICATION),
        (4006, ErrorCode.CLOSED_BY_SERVER),
        (4011, ErrorCode.CLOSED_BY_SERVER),
        (4016, ErrorCode.CLOSED_BY_SERVER),
        (4017, ErrorCode.DAVE_REQUIRED),
    ],
)
def test_a_refusal_is_the_error_of_its_close_code(close_code: int, code: ErrorCode) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            server.close_next_identify(close_code)
            error = await Joining(server).fail()
            assert (error.code, error.data["close_code"]) == (code, close_code)

    scenario()


@asyncio_test
async def test_a_wrong_token_is_no_authentication() -> None:
    async with DiscordVoiceServer() as server:
        error = await Joining(server, changed={"token": "not-the-token"}).fail()
        assert error.code is ErrorCode.AUTHENTICATION
        assert "not-the-token" not in repr(error.info)


@asyncio_test
async def test_a_port_where_nothing_listens_refuses() -> None:
    async with DiscordVoiceServer() as server:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        error = await Joining(server, changed={"endpoint": endpoint}).fail()
        assert error.code is ErrorCode.CONNECT_REFUSED


@pytest.mark.parametrize("endpoint", ["", "wss://", "host:99999", "ws://127.0.0.1:1"])
def test_an_endpoint_that_is_none_refuses(endpoint: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            with pytest.raises(CallError) as caught:
                await Joining(server, changed={"endpoint": endpoint}).open()
            assert caught.value.code is ErrorCode.CONNECT_REFUSED

    scenario()


@asyncio_test
async def test_a_certificate_of_a_stranger_is_refused_before_the_token_is_sent() -> None:
    with CertificateAuthority() as stranger:
        async with DiscordVoiceServer() as server:
            tls = ssl.create_default_context(cafile=stranger.ca_file)
            error = await Joining(server, tls=tls).fail()
            assert error.code is ErrorCode.CERTIFICATE
            assert server.sessions == []


@asyncio_test
async def test_without_a_common_mode_both_sides_are_named() -> None:
    async with DiscordVoiceServer(modes=(XCHACHA,)) as server:
        error = await Joining(server, modes=(GCM,)).fail()
        assert error.code is ErrorCode.NO_COMMON_MODE
        assert XCHACHA in error.text
        assert GCM in error.text


@asyncio_test
async def test_another_mode_than_the_one_selected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        select = joining.connection._gateway.select_protocol

        def select_another(address: str, port: int, _: str) -> None:
            select(address, port, XCHACHA)

        monkeypatch.setattr(joining.connection._gateway, "select_protocol", select_another)
        error = await joining.fail()
        assert error.code is ErrorCode.PROTOCOL
        assert GCM in error.text
        assert XCHACHA in error.text


@asyncio_test
async def test_a_close_during_discovery_is_told_at_once() -> None:
    async with DiscordVoiceServer() as server:
        server.mute_step("discovery")
        joining = Joining(server)
        failing = asyncio.create_task(joining.fail())
        session = await server.wait_for_session(1)
        await session.wait_until(lambda it: it.discovery_requests > 0)
        await session.close(4014)
        error = await failing
        assert (error.code, error.data["close_code"]) == (ErrorCode.CLOSED_BY_SERVER, 4014)


@pytest.mark.parametrize("step", ["select_protocol", "set_speaking"])
def test_a_close_just_before_our_next_message_is_its_reason(step: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            joining = Joining(server)

            def too_late(*_: object) -> None:
                joining.connection._on_event(GatewayClosed(code=4014, reason="", by_us=False, server="s"))
                raise IllegalMoveError(GatewayState.CLOSED, step, ())

            setattr(joining.connection._gateway, step, too_late)
            error = await joining.fail()
            assert (error.code, error.data) == (ErrorCode.CLOSED_BY_SERVER, {"close_code": 4014})

    scenario()


@asyncio_test
async def test_a_verdict_of_our_own_goes_before_the_close_that_follows_it() -> None:
    async with DiscordVoiceServer() as server:
        server.mute_step("ready")
        joining = Joining(server)
        failing = asyncio.create_task(joining.fail())
        await server.wait_for_session(1)
        ours = CallError(ErrorCode.PROTOCOL, "a READY that cannot be read")
        joining.connection._on_event(GatewayFailed(error=ours))
        joining.connection._on_event(GatewayClosed(code=1000, reason="", by_us=True, server="s"))
        assert await failing is ours


# Afterwards.


@pytest.mark.parametrize(
    ("close_code", "code"),
    [
        (4014, ErrorCode.CLOSED_BY_SERVER),
        (4022, ErrorCode.CLOSED_BY_SERVER),
        (None, ErrorCode.CLOSED_BY_SERVER),
    ],
)
def test_an_open_connection_that_ends_is_lost_once(close_code: int | None, code: ErrorCode) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            joining = Joining(server)
            await joining.open()
            session = await server.wait_for_session(1)
            if close_code is None:
                session.abort()
            else:
                await session.close(close_code)
            error = await joining.lost.wait()
            assert (error.code, error.data["close_code"]) == (code, close_code or 1006)
            await joining.connection.close()
            await joining.connection.close()
            assert len(joining.lost) == 1
            assert joining.connection._socket is not None
            assert joining.connection._socket.closed

    scenario()


@asyncio_test
async def test_our_own_close_is_no_loss() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        transport = await joining.open()
        await joining.connection.close()
        session = server.sessions[0]
        await session.wait_closed()
        assert session.close_code_received == 1000
        assert joining.lost == []
        with pytest.raises(OSError):  # noqa: PT011  # any: the socket is closed
            transport.send(b"late")


@pytest.mark.parametrize("step", ["ready", "discovery", "session_description"])
def test_cancelled_at_any_step_it_leaves_nothing_open(step: Step) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            server.mute_step(step)
            joining = Joining(server)
            task = asyncio.create_task(joining.open())
            session = await server.wait_for_session(1)
            if step == "discovery":
                await session.wait_until(lambda it: it.discovery_requests > 0)
            if step == "session_description":
                await session.wait_until(lambda it: it.mode is not None)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await session.wait_closed()
            assert session.state is SessionState.ENDED
            assert session.close_code_received == 1000
            assert joining.lost == []

    scenario()


@asyncio_test
async def test_no_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with DiscordVoiceServer() as server:
            joining = Joining(server)
            await joining.open()
            await (await server.wait_for_session(1)).close(4014)
            await joining.lost.wait()
            await joining.connection.close()
    ours = "".join(record.getMessage() for record in caplog.records if "testing" not in record.name)
    assert "voice gateway" in ours
    assert joining.grant.token not in ours
    assert joining.grant.session_id not in ours


def test_a_transport_shows_neither_key_nor_socket() -> None:
    transport = Transport(TransportMode(GCM), 7, lambda header, payload: header, lambda packet: None)
    assert repr(transport) == f"Transport(mode={GCM}, ssrc=7)"
