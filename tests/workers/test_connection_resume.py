"""Lost connections that are resumed, and what could leave one half dead."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.running import asyncio_test
from tests.workers.joining import MUSIC, SHORT_S, Joining, send
from tests.workers.live_studio import GCM
from voicepool.ipc.errors import ErrorCode
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session import VoiceSession
from voicepool.workers.connection import UNSENT_MAX
from voicepool.workers.dave.events import DaveFailed, GroupChanged
from voicepool.workers.dave.messages import ready_reply
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.events import (
    ClientDisconnected,
    ClientsConnected,
    GatewayClosed,
    GatewayEvent,
    Resumed,
    SessionDescription,
    SpeakingUpdate,
)
from voicepool.workers.gateway.opcodes import SpeakingFlag
from voicepool.workers.gateway.states import GatewayState, IllegalMoveError

# What could leave a call half dead.


@asyncio_test
async def test_a_close_while_the_group_is_being_formed_fails_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        forming = asyncio.Event()

        async def form(_: float) -> None:
            forming.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(joining.connection._encryption, "wait_until_settled", form)
        failing = asyncio.create_task(joining.fail())
        await forming.wait()
        await (await server.wait_for_session(1)).close(4015)
        assert (await failing).data == {"close_code": 4015}


@asyncio_test
async def test_a_close_in_the_very_moment_of_the_last_step_fails_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)

        async def form(_: float) -> None:
            closed = GatewayClosed(code=1006, reason="", by_us=False, server="s")
            asyncio.get_running_loop().call_soon(joining.connection._on_event, closed)

        monkeypatch.setattr(joining.connection._encryption, "wait_until_settled", form)
        assert (await joining.fail()).data == {"close_code": 1006}


@asyncio_test
async def test_a_websocket_that_closes_without_having_said_why_is_a_loss_and_no_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)

        def too_late(*_: object) -> None:
            raise IllegalMoveError(GatewayState.CLOSING, "set_speaking", ())

        monkeypatch.setattr(joining.connection._gateway, "set_speaking", too_late)
        error = await joining.fail()
        assert (error.code, error.data) == (ErrorCode.CLOSED_BY_SERVER, {"close_code": 1006})


@asyncio_test
async def test_encryption_that_fails_in_the_handshake_fails_the_handshake() -> None:
    async with DiscordVoiceServer() as server:
        server.mute_step("session_description")
        joining = Joining(server)
        failing = asyncio.create_task(joining.fail())
        await (await server.wait_for_session(1)).wait_until(lambda it: it.mode is not None)
        # A description of version 99 came.
        joining.connection._encryption.described(99)
        error = await failing
        assert error.code is ErrorCode.PROTOCOL
        assert "DAVE version 99" in error.text
        assert joining.broken == []


@asyncio_test
async def test_encryption_that_fails_later_makes_the_session_useless() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        joining.connection._encryption.described(99)
        [error] = joining.broken
        assert "DAVE version 99" in error.text
        assert joining.lost == []
        await joining.connection.close()
        joining.connection._on_dave(DaveFailed("once more"))
        assert len(joining.broken) == 1


@asyncio_test
async def test_a_description_that_comes_again_starts_nothing_anew() -> None:
    async with DiscordVoiceServer(dave=False) as server:
        joining = Joining(server)
        transport = await joining.open()
        description = joining.connection._description
        assert description is not None
        told = len(joining.dave)
        joining.connection._on_event(description)
        assert len(joining.dave) == told
        session = await server.wait_for_session(1)
        send(transport, 5)
        await session.wait_for_packets(5)
        assert joining.broken == []
        await joining.connection.close()
        assert session.report().problems == ()


@asyncio_test
async def test_a_description_with_another_key_makes_the_session_useless() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        other = SessionDescription(mode=GCM, secret_key=b"K" * 32, dave_protocol_version=1)
        joining.connection._on_event(other)
        [error] = joining.broken
        assert error.code is ErrorCode.PROTOCOL
        assert "KKK" not in repr(error.info) + repr(joining.connection._description)
        await joining.connection.close()


@asyncio_test
async def test_unanswered_heartbeats_are_a_loss_that_can_be_resumed() -> None:
    async with DiscordVoiceServer(heartbeat_interval_ms=50.0, heartbeat_timeout_ms=60_000.0) as server:
        server.mute_step("heartbeat_ack")
        joining = Joining(server)
        transport = await joining.open()
        error = await joining.lost.wait()
        assert error.data == {"close_code": 3000}
        server.unmute_step("heartbeat_ack")
        await joining.connection.resume()
        send(transport, 5)
        session = await server.wait_for_session(1)
        await session.wait_for_packets(5)
        assert session.resumes == 1
        await joining.connection.close()


# Resuming.


async def lose(joining: Joining, server: DiscordVoiceServer) -> VoiceSession:
    """Cut the websocket of a connection that is open."""
    session = await server.wait_for_session(1)
    session.abort()
    await joining.lost.wait()
    return session


@asyncio_test
async def test_a_resumed_session_goes_on_with_its_keys_and_says_who_speaks() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        transport = await joining.open()
        send(transport, 5)
        session = await lose(joining, server)
        await joining.connection.resume()
        send(transport, 5)
        await session.wait_for_packets(10)
        await session.wait_until(lambda it: len(it.report().speaking_updates) == 2)
        await joining.connection.close()
        await session.wait_closed()
        report = session.report()
        assert (report.resumes, report.speaking_updates) == (1, (1, 1))
        assert (report.nonce_reuses, report.decrypt_failures, report.violations) == (0, 0, ())
        assert len(server.sessions) == 1


@asyncio_test
async def test_a_resumed_session_that_is_lost_again_is_told_again() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        session = await lose(joining, server)
        await joining.connection.resume()
        await session.close(4014)
        await session.wait_closed()
        await joining.lost.wait(count=2)
        assert [error.data["close_code"] for error in joining.lost] == [1006, 4014]
        await joining.connection.close()


@pytest.mark.parametrize("close_code", [4006, 4009])
def test_a_resume_that_is_refused_is_its_error(close_code: int) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            joining = Joining(server)
            await joining.open()
            await lose(joining, server)
            server.mute_step("resumed")
            resuming = asyncio.create_task(joining.connection.resume())
            session = await server.wait_for_session(1)
            await session.wait_until(lambda it: it.resumes == 1)
            await session.close(close_code)
            with pytest.raises(CallError) as caught:
                await resuming
            assert caught.value.data == {"close_code": close_code}
            assert len(joining.lost) == 1
            await joining.connection.close()

    scenario()


@asyncio_test
async def test_a_resume_without_an_answer_is_a_timeout() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server, connect_timeout_s=SHORT_S)
        await joining.open()
        server.mute_step("resumed")
        await lose(joining, server)
        with pytest.raises(CallError) as caught:
            await joining.connection.resume()
        assert caught.value.code is ErrorCode.CONNECT_TIMEOUT
        assert "RESUME" in str(caught.value.data["step"])
        await joining.connection.close()


@asyncio_test
async def test_a_resumed_websocket_that_closes_at_once_is_a_loss_and_no_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        await lose(joining, server)

        def close_after_resumed(event: GatewayEvent) -> None:
            told(event)
            if isinstance(event, Resumed):
                told(GatewayClosed(code=4014, reason="", by_us=False, server="s"))

        told = joining.connection._on_event
        monkeypatch.setattr(joining.connection, "_on_event", close_after_resumed)
        with pytest.raises(CallError) as caught:
            await joining.connection.resume()
        assert caught.value.data == {"close_code": 4014}
        assert len(joining.lost) == 1, "whoever waits for the resume has heard of it"
        await joining.connection.close()


@asyncio_test
async def test_a_cancelled_resume_can_be_closed() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        server.mute_step("resumed")
        session = await lose(joining, server)
        resuming = asyncio.create_task(joining.connection.resume())
        await session.wait_until(lambda it: it.resumes == 1)
        resuming.cancel()
        await asyncio.wait({resuming})
        assert resuming.cancelled()
        await joining.connection.close()
        await session.wait_closed()
        assert joining.connection._socket is not None
        assert joining.connection._socket.closed


@asyncio_test
async def test_messages_of_the_encryption_wait_until_the_session_is_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sent before RESUME would be a breach of the protocol, and end the session."""
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        await lose(joining, server)
        resuming = asyncio.create_task(joining.connection.resume())
        # Its task has one turn to begin, the step inside another.
        for _ in range(2):
            await asyncio.sleep(0)
        assert joining.connection._gateway.protocol.state is GatewayState.NEW
        sent: list[str | bytes] = []
        monkeypatch.setattr(joining.connection._gateway, "send_dave", sent.append)
        replies = [ready_reply(number) for number in range(UNSENT_MAX + 1)]
        for reply in replies:
            joining.connection._send_dave(reply)
        assert sent == []
        await resuming
        assert sent[:UNSENT_MAX] == [reply.data for reply in replies[1:]]
        joining.connection._send_dave(replies[0])
        assert sent[-1] == replies[0].data
        await joining.connection.close()


# Who is in the call.


@asyncio_test
async def test_who_comes_speaks_and_goes_is_told() -> None:
    async with DiscordVoiceServer(dave=False) as server:
        joining = Joining(server)
        await joining.open()
        speaker = server.add_speaker(1, 2, 77)
        await joining.members.wait(lambda event: isinstance(event, ClientsConnected) and 77 in event.user_ids)
        speaker.speak(MUSIC)
        speaking = SpeakingUpdate(77, speaker.ssrc, SpeakingFlag.MICROPHONE)
        await joining.members.wait(lambda event: event == speaking)
        server.remove_speaker(1, 2, 77)
        await joining.members.wait(lambda event: event == ClientDisconnected(77))
        await joining.connection.close()


@asyncio_test
async def test_members_are_verified_by_their_group() -> None:
    async with DiscordVoiceServer() as server:
        joining = Joining(server)
        await joining.open()
        await joining.dave.wait(lambda event: isinstance(event, GroupChanged) and len(event.user_ids) > 1)
        [listener] = joining.connection._encryption.protocol.membership.user_ids - {3}
        found = joining.connection.verification(listener)
        code = found if isinstance(found, str) else found.code()
        assert len(code) == 45
        with pytest.raises(CallError, match="user 99"):
            joining.connection.verification(99)
        await joining.connection.close()
