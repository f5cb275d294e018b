"""Everything a client can get wrong on the websocket, heartbeats, resuming, and ordered faults."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from tests.testing.voice_client import VoiceClient, run
from voicepool.testing.voice_gateway import GatewayLink
from voicepool.testing.voice_messages import Opcode
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session_view import SessionState

MUSIC = b"\xfc" + bytes(60)

Act = Callable[[VoiceClient], Awaitable[object]]


async def fails_with(act: Act, code: int, hint: str, *, joined: bool) -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        if joined:
            await client.join()
        else:
            await client.open()
        await act(client)
        assert await client.closed() == code
        assert hint in server.violations[-1]
        assert client.grant.token not in str(server.violations)
        assert client.grant.session_id not in str(server.violations)
        if joined:
            session = server.session(1)
            assert session is not None
            await session.wait_closed()
            assert hint in session.violations[-1]
            assert session.close_code_sent == code


@pytest.mark.parametrize(
    ("act", "code", "hint"),
    [
        (lambda c: c.send_raw("{"), 4002, "not valid JSON"),
        (lambda c: c.send_raw(b""), 4002, "was empty"),
        (lambda c: c.send_raw(b"\x1a"), 4003, "op 26 was sent before Identify"),
        (lambda c: c.send_raw(b"\x19"), 4001, "op 25"),
        (lambda c: c.send(99, {}), 4001, "op 99"),
        (lambda c: c.send(23, {"transition_id": 1}), 4003, "op 23 was sent before Identify"),
        (lambda c: c.send(3, {"t": 1, "seq_ack": -1}), 4003, "op 3 was sent before Identify"),
        (lambda c: c.send(5, {"speaking": 1, "delay": 0, "ssrc": 1}), 4003, "op 5"),
        (lambda c: c.select(), 4003, "op 1"),
        (lambda c: c.send(0, {}), 4002, "no `server_id`"),
        (lambda c: c.identify(token="guess"), 4004, "wrong token"),
        (lambda c: c.identify(user_id="9"), 4004, "user 9"),
        (lambda c: c.identify(session_id="guess"), 4006, "wrong session id"),
        (lambda c: c.identify(server_id="9"), 4011, "guild 9"),
        (lambda c: c.resume(-1), 4006, "has ended"),
        (lambda c: c.resume(-1, token="guess"), 4006, "not, or no longer, valid"),
        (lambda c: c.send(7, {"server_id": "1"}), 4020, "no `session_id`"),
    ],
)
def test_errors_before_a_session(act: Act, code: int, hint: str) -> None:
    run(fails_with)(act, code, hint, joined=False)


@pytest.mark.parametrize(
    ("act", "code", "hint"),
    [
        (lambda c: c.identify(), 4005, "op 0 was sent a second time"),
        (lambda c: c.resume(-1), 4005, "op 7 was sent a second time"),
        (lambda c: c.send_raw("[]"), 4002, "JSON"),
        (lambda c: c.send(2, {}), 4001, "op 2"),
        (lambda c: c.send(30, {"transition_id": 1}), 4001, "op 30"),
        (lambda c: c.send(31, {"transition": 1}), 4020, "op 31 needs `transition_id`"),
        (lambda c: c.send(1, {"protocol": "webrtc", "data": {}}), 4012, "'webrtc'"),
        (lambda c: c.select("rot13"), 4016, "'rot13'"),
        (lambda c: c.select(port="x"), 4020, "`port`"),
        (lambda c: c.send(3, 1501184119561), 4020, "since gateway version 8"),
        (lambda c: c.send(3, {"t": 1, "seq_ack": 400}), 4020, "acknowledged message 400"),
        (lambda c: c.speak(ssrc=1), 4020, "SSRC 1"),
        (lambda c: c.speak("yes"), 4020, "`speaking`"),
    ],
)
def test_errors_in_a_session(act: Act, code: int, hint: str) -> None:
    run(fails_with)(act, code, hint, joined=True)


@pytest.mark.parametrize("query", ["", "/", "/?v=7", "/?v=8&v=4", "/?encoding=json"])
def test_any_version_but_8_is_refused(query: str) -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.open(query)
            assert await client.closed() == 4020
            assert "append ?v=8" in server.violations[-1]

    scenario()


@pytest.mark.parametrize("query", ["?v=8", "/?v=8", "/?encoding=json&v=8"])
def test_version_8_is_found_wherever_clients_put_it(query: str) -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.open(query)
            await client.identify()
            await client.ready()

    scenario()


@run
async def test_a_mode_that_was_not_offered_is_unknown() -> None:
    offered = "aead_xchacha20_poly1305_rtpsize"
    async with (
        DiscordVoiceServer(modes=[offered]) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.open()
        await client.identify()
        assert (await client.ready())["modes"] == [offered]
        await client.select("aead_aes256_gcm_rtpsize")
        assert await client.closed() == 4016


@run
async def test_what_discord_py_sends_is_accepted() -> None:
    """Identify before Hello was read, op 5 with flags 0 after the description, op 5 racing with audio."""
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.open()
        await client.identify()
        await client.ready()
        client.send_discovery()
        await client.discovered()
        await client.select("aead_xchacha20_poly1305_rtpsize")
        await client.described()
        await client.speak(0)
        for _ in range(5):
            client.send_frame(MUSIC)
        await client.speak(1)
        await client.beat()
        await client.send(12, {"audio_ssrc": client.ssrc})
        await client.beat()
        session = await server.wait_for_session(1)
        await session.wait_for_packets(5)
        assert not session.violations
        assert session.report().unannounced_frames == 0


@run
async def test_heartbeats_keep_a_session_and_their_absence_ends_it() -> None:
    async with (
        DiscordVoiceServer(heartbeat_interval_ms=20, heartbeat_timeout_ms=60_000) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.open()
        assert (await client.receive(8))["d"]["heartbeat_interval"] == 20.0
        await client.identify()
        await client.ready()
        session = await server.wait_for_session(1)
        link = cast("GatewayLink", session._connection)
        link._last_beat_s -= 100
        assert await client.beat(t=5) == 5
        link._watch_heartbeat()
        assert await client.beat(t=6) == 6
        link._last_beat_s -= 100
        link._watch_heartbeat()
        assert await client.closed() == 4009
        await session.wait_closed()
        assert session.heartbeats == 2
        assert session.violations == ["no heartbeat came for 60000 ms"]


@run
async def test_a_websocket_that_never_identifies_is_closed() -> None:
    async with (
        DiscordVoiceServer(heartbeat_timeout_ms=50) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.open()
        assert await client.closed() == 4009
        assert "no Identify came" in server.violations[-1]


@run
async def test_leaving_seq_ack_out_is_noticed_once_there_was_one() -> None:
    async with (
        DiscordVoiceServer() as server,
        VoiceClient(server, server.grant(1, 2, 3)) as first,
        VoiceClient(server, server.grant(1, 2, 4)) as second,
    ):
        await first.join()
        await first.send(3, {"t": 1})
        await first.receive(6)
        await second.join()
        numbered = (await first.receive(11))["seq"]
        await first.beat(seq_ack=numbered)
        session = server.session(1, 3)
        assert session is not None
        assert session.last_seq_ack == numbered
        assert not session.violations
        await first.send(3, {"t": 1})
        await first.receive(6)
        assert "left out `seq_ack`" in session.violations[0]


@run
async def test_resume_delivers_what_was_missed_and_keeps_the_key() -> None:
    async with (
        DiscordVoiceServer(first_sequence=0xFFFF) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.join()
        client.send_frame(MUSIC)
        session = await server.wait_for_session(1)
        await session.wait_for_packets(1)
        async with VoiceClient(server, server.grant(1, 2, 4)) as other:
            await other.join()
            assert (await client.receive(11))["seq"] == 0xFFFF
            await asyncio.gather(session.close(4015), client.closed())
            assert session.state is SessionState.DETACHED
            client.send_frame(MUSIC)
            await session.wait_for_packets(2)
        await server.wait_until(lambda server: len(server.directory.live()) == 1)
        await client.open()
        await client.resume(0xFFFF)
        assert (await client.receive(9)) == {"op": 9, "d": None}
        assert [(await client.receive(op))["seq"] for op in (5, 13)] == [0, 1]
        client.send_frame(MUSIC)
        await client.beat(seq_ack=1)
        await session.wait_for_packets(3)
        assert session.report().state == "described"
        assert session.resumes == 1
        assert session.report().sequence_gaps == session.report().nonce_reuses == 0
        assert not session.violations
        assert len(server.sessions) == 2


@run
async def test_a_cut_connection_can_be_resumed_by_one_that_knows_nothing() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        session = await server.wait_for_session(1)
        session.abort()
        assert await client.closed() == 1006
        await session.wait_until(lambda session: session.state is SessionState.DETACHED)
        assert session.close_code_received == 1006
        await client.open()
        await client.resume(-1)
        await client.receive(9)


@run
async def test_a_resume_takes_over_from_a_websocket_that_is_still_open() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        old = client.websocket
        assert old is not None
        await client.open()
        await client.resume(-1)
        await client.receive(9)
        await old.wait_closed()
        assert old.close_code == 1000
        assert await client.beat() == 7
        assert (await server.wait_for_session(1)).state is SessionState.DESCRIBED


async def detach(server: DiscordVoiceServer, client: VoiceClient) -> None:
    await client.join()
    session = await server.wait_for_session(1)
    await asyncio.gather(session.close(4015), client.closed())
    await client.open()


@run
async def test_resume_is_refused_when_the_buffer_does_not_reach_back() -> None:
    async with (
        DiscordVoiceServer(resume_buffer_messages=2) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await detach(server, client)
        async with VoiceClient(server, server.grant(1, 2, 4)) as other:
            await other.join()
            await other.speak(0)
            await other.beat()
        await server.wait_until(lambda server: len(server.directory.live()) == 1)
        await client.resume(-1)
        assert await client.closed() == 4006
        assert "the last 4 messages, of which 2 are kept" in server.violations[-1]


@run
async def test_resume_is_refused_for_a_number_never_sent() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await detach(server, client)
        await client.resume(44)
        assert await client.closed() == 4006


@run
async def test_resume_is_refused_after_a_new_grant() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await detach(server, client)
        server.grant(1, 5, 3, client.grant.session_id)
        await client.resume(-1)
        assert await client.closed() == 4006


@run
async def test_resume_is_refused_after_the_window() -> None:
    async with (
        DiscordVoiceServer(resume_window_s=0) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.join()
        session = await server.wait_for_session(1)
        await asyncio.gather(session.close(4015), client.closed())
        await session.wait_closed()
        await client.open()
        await client.resume(-1)
        assert await client.closed() == 4006


@pytest.mark.parametrize(("code", "state"), [(1000, "ended"), (1001, "ended"), (4000, "detached")])
def test_how_the_client_closes_decides_whether_it_may_come_back(code: int, state: str) -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            session = await server.wait_for_session(1)
            assert client.websocket is not None
            await client.websocket.close(code)
            await session.wait_until(lambda session: session.state.value == state)
            assert (session.close_code_sent, session.close_code_received) == (None, code)

    scenario()


@run
async def test_identifying_anew_replaces_the_session_and_the_ssrc() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        first_ssrc, old = client.ssrc, client.websocket
        assert old is not None
        await client.join()
        assert client.ssrc != first_ssrc
        await old.wait_closed()
        assert old.close_code == 4014
        first, second = server.sessions
        await first.wait_closed()
        assert (first.state, second.state) == (SessionState.ENDED, SessionState.DESCRIBED)
        assert server.session(1) is second
        client.send_frame(MUSIC)
        await second.wait_for_packets(1)


@run
async def test_audio_without_op_5_ends_the_session() -> None:
    async with (
        DiscordVoiceServer(speaking_grace_s=0) as server,
        VoiceClient(server, server.grant(1, 2, 3)) as client,
    ):
        await client.open()
        await client.identify()
        await client.ready()
        await client.select()
        await client.described()
        session = await server.wait_for_session(1)
        client.send_frame(MUSIC)
        await session.wait_for_packets(1)
        client.send_frame(MUSIC)
        assert await client.closed() == 4020
        await session.wait_closed()
        assert "invalid SSRC" in session.violations[-1]
        assert session.close_code_sent == 4020


@run
async def test_a_wrong_address_in_select_protocol_is_noticed() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.open()
        await client.identify()
        await client.ready()
        client.send_discovery()
        _, port = await client.discovered()
        await client.select(port=struct.unpack("<H", struct.pack(">H", port))[0])
        await client.described()
        session = await server.wait_for_session(1)
        assert f"IP discovery had answered 127.0.0.1:{port}" in session.violations[0]
        await client.speak()
        await client.beat()
        client.send_frame(MUSIC)
        await session.wait_for_packets(1)


@run
async def test_discovery_is_retried_until_it_is_answered() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        server.drop_discovery_requests(2)
        await client.open()
        await client.identify()
        await client.ready()
        session = await server.wait_for_session(1)
        for attempt in range(1, 4):
            client.send_discovery()
            await session.wait_until(lambda session, n=attempt: session.discovery_requests == n)  # type: ignore[misc]
        assert await client.discovered() == client.udp.getsockname()
        client.send_discovery(length=74)
        await session.wait_until(lambda session: bool(session.violations))
        assert "length as 74" in session.violations[0]


@run
async def test_ordered_closes_answer_identify() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        server.close_next_identify(4004)
        server.close_next_identify(4899)
        for code in (4004, 4899):
            await client.open()
            await client.identify()
            assert await client.closed() == code
        await client.join()
        assert not server.violations


@pytest.mark.parametrize("step", ["hello", "ready", "session_description", "heartbeat_ack"])
def test_muted_steps_are_never_answered(step: str) -> None:
    answers = {"hello": 8, "ready": 2, "session_description": 4, "heartbeat_ack": 6}

    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            server.mute_step(step)  # type: ignore[arg-type]
            await client.open()
            await client.identify()
            await client.select()
            await client.send(3, {"t": 1})
            session = await server.wait_for_session(1)
            await session.wait_until(lambda session: session.heartbeats == 1)
            assert session.mode is not None
            await asyncio.gather(session.close(4022), client.closed())
            seen = {message["op"] for message in client.messages}
            assert seen == {8, 2, 4, 6} - {answers[step]}
            server.unmute_step(step)  # type: ignore[arg-type]
            await client.join()

    scenario()


@run
async def test_muted_discovery_and_resume_are_never_answered() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        server.mute_step("discovery")
        server.mute_step("resumed")
        await client.open()
        await client.identify()
        await client.ready()
        session = await server.wait_for_session(1)
        client.send_discovery()
        await session.wait_until(lambda session: session.discovery_requests == 1)
        assert session.udp_address is None
        await asyncio.gather(session.close(4015), client.closed())
        client.messages.clear()
        await client.open()
        await client.resume(-1)
        await session.wait_until(lambda session: session.resumes == 1)
        await client.beat()
        assert {message["op"] for message in client.messages} == {8, 6}


@run
async def test_selecting_again_brings_a_new_key() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        client.send_frame(MUSIC)
        session = await server.wait_for_session(1)
        await session.wait_for_packets(1)
        old = client.key
        await client.select()
        await client.described()
        assert client.key != old
        client.counter = 0
        client.send_frame(MUSIC)
        await session.wait_for_packets(2)
        assert session.report().nonce_reuses == session.report().decrypt_failures == 0


@run
async def test_a_client_that_stops_reading_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepool.testing.voice_gateway.MAX_UNSENT_BYTES", 0)
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        session = await server.wait_for_session(1)
        assert client.websocket is not None
        client.websocket.transport.pause_reading()
        # The first fills what the kernel buffers on both sides and more; the second is left unsent.
        for size in (32_000_000, 10):
            session.send(Opcode.SPEAKING, {"filler": "x" * size})
        await session.wait_until(lambda session: session.state is SessionState.DETACHED)
        assert "unread" in session.violations[0]
        client.websocket.transport.resume_reading()
