from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.testing.gateway_client import ALL_INTENTS, GatewayClient, gateway_client, in_loop, log_in
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.gateway_protocol import CloseCode


@in_loop
async def test_heartbeats_are_acknowledged_before_and_after_identify() -> None:
    async with FakeDiscord() as fake, gateway_client(fake) as client:
        await client.send(1)
        assert (await client.receive())["op"] == 11
        await client.send(2, {"token": fake.token, "intents": 0, "properties": {}})
        await client.dispatch("READY")
        await client.send(1, client.seq)
        assert (await client.receive())["op"] == 11
        assert fake.violations == ()


@in_loop
async def test_everything_is_binary_under_zlib_stream() -> None:
    async with FakeDiscord() as fake, log_in(fake, compress="zlib-stream") as (client, ready):
        assert ready["session_id"]
        await client.dispatch("GUILD_CREATE")
        # `GatewayClient.receive` asserts the type of each frame.
        assert await client.flush() == []


@in_loop
async def test_clients_may_send_binary_json() -> None:
    async with FakeDiscord() as fake, gateway_client(fake) as client:
        await client.socket.send(json.dumps({"op": 1, "d": None}).encode())
        assert (await client.receive())["op"] == 11


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"op": 99, "d": null}', CloseCode.UNKNOWN_OPCODE),
        ("{", CloseCode.DECODE_ERROR),
        (json.dumps({"op": 3, "d": "x" * 4096}), CloseCode.DECODE_ERROR),
        ('{"op": 4, "d": {"guild_id": "1", "channel_id": null}}', CloseCode.NOT_AUTHENTICATED),
        ('{"op": 2, "d": {"token": "wrong", "intents": 0}}', CloseCode.AUTHENTICATION_FAILED),
        ('{"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}', CloseCode.AUTHENTICATION_FAILED),
    ],
)
@in_loop
async def test_protocol_errors_close_with_the_documented_code(frame: str, code: CloseCode) -> None:
    async with FakeDiscord() as fake, gateway_client(fake) as client:
        await client.socket.send(frame)
        assert await client.close_code() == code
        (violation,) = fake.violations
        assert violation.close_code is code
        assert violation.bot_id is None


@in_loop
async def test_a_wrong_version_is_closed_before_hello() -> None:
    async with FakeDiscord() as fake, connect(f"{fake.gateway_url}?v=6&encoding=json") as socket:
        assert await GatewayClient(socket, None).close_code() == CloseCode.INVALID_API_VERSION


@in_loop
async def test_identifying_twice_closes_with_4005_and_names_the_bot() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (client, _):
        await client.send(2, {"token": fake.token, "intents": 0, "properties": {}})
        assert await client.close_code() == CloseCode.ALREADY_AUTHENTICATED
        assert fake.violations[0].bot_id == fake.bot_user_id


@in_loop
async def test_too_many_messages_close_with_4008() -> None:
    async with FakeDiscord(clock=lambda: 0.0) as fake, gateway_client(fake) as client:
        for _ in range(121):
            await client.send(1)
        assert await client.close_code() == CloseCode.RATE_LIMITED


@in_loop
async def test_a_client_that_stops_its_heartbeats_is_closed_but_may_resume() -> None:
    async with FakeDiscord(heartbeat_interval_s=0.05) as fake, log_in(fake) as (client, _):
        assert await client.close_code() == CloseCode.UNKNOWN_ERROR
        assert "heartbeat" in fake.violations[0].reason
        await fake.wait_until(lambda: not fake.sessions[0].connected)
        assert fake.sessions[0].alive


def resume(fake: FakeDiscord, ready: dict[str, Any], seq: int | None) -> dict[str, Any]:
    return {"token": fake.token, "session_id": ready["session_id"], "seq": seq}


@in_loop
async def test_resume_replays_what_was_missed_and_then_says_so() -> None:
    async with FakeDiscord() as fake:
        guild = fake.guilds[0]
        async with log_in(fake) as (client, ready):
            await client.dispatch("GUILD_CREATE")
            await client.socket.close(3000)
            seq = client.seq
        await fake.join_voice(guild.id, guild.voice_channels[0].id)
        await fake.post_message(guild.text_channels[0].id, guild.owner, "hello")
        async with gateway_client(fake, compress="zlib-stream") as client:
            await client.send(6, resume(fake, ready, seq))
            names = await client.names_until("RESUMED")
            assert names == ["VOICE_STATE_UPDATE", "MESSAGE_CREATE", "RESUMED"]
            assert client.seq == (seq or 0) + 3
            assert fake.sessions[0].resumes == 1


@in_loop
async def test_resume_can_go_back_to_the_very_beginning() -> None:
    async with FakeDiscord() as fake:
        async with log_in(fake) as (client, ready):
            await client.dispatch("GUILD_CREATE")
            await client.socket.close(3000)
        async with gateway_client(fake) as client:
            await client.send(6, resume(fake, ready, 0))
            assert await client.names_until("RESUMED") == ["READY", "GUILD_CREATE", "RESUMED"]


@in_loop
async def test_resume_of_nothing_is_an_invalid_session_and_identify_still_works() -> None:
    async with FakeDiscord() as fake, gateway_client(fake) as client:
        await client.send(6, {"token": fake.token, "session_id": "gone", "seq": 1})
        answer = await client.receive()
        assert (answer["op"], answer["d"]) == (9, False)
        await client.send(2, {"token": fake.token, "intents": 0, "properties": {}})
        assert (await client.dispatch("READY"))["session_id"]


@in_loop
async def test_resume_from_a_sequence_number_that_never_was_closes_with_4007() -> None:
    async with FakeDiscord() as fake:
        async with log_in(fake) as (client, ready):
            await client.socket.close(3000)
        async with gateway_client(fake) as client:
            await client.send(6, resume(fake, ready, 1000))
            assert await client.close_code() == CloseCode.INVALID_SEQ


@in_loop
async def test_the_newer_connection_wins_when_the_older_has_not_been_noticed_dead() -> None:
    async with FakeDiscord() as fake, log_in(fake) as (old, ready):
        await old.dispatch("GUILD_CREATE")
        async with gateway_client(fake) as new:
            await new.send(6, resume(fake, ready, old.seq))
            assert await new.names_until("RESUMED") == ["RESUMED"]
            assert await old.close_code() == CloseCode.UNKNOWN_ERROR
            (session,) = fake.sessions
            assert session.connected
            guild = fake.guilds[0]
            await fake.join_voice(guild.id, guild.voice_channels[0].id)
            assert (await new.dispatch("VOICE_STATE_UPDATE"))["guild_id"] == str(guild.id)


@pytest.mark.parametrize("code", [1000, 1001])
@in_loop
async def test_a_client_that_closes_for_good_gives_its_session_up(code: int) -> None:
    async with FakeDiscord() as fake:
        async with log_in(fake) as (client, _):
            await client.socket.close(code)
        await fake.wait_until(lambda: not fake.sessions)


@in_loop
async def test_a_socket_that_just_goes_away_leaves_a_session_to_resume() -> None:
    async with FakeDiscord() as fake:
        async with log_in(fake) as (client, _):
            client.socket.transport.abort()
            await fake.wait_until(lambda: not fake.sessions[0].connected)
        assert fake.sessions[0].alive
        assert fake.violations == ()


@in_loop
async def test_presence_and_the_like_are_accepted() -> None:
    async with FakeDiscord() as fake, log_in(fake, intents=ALL_INTENTS) as (client, _):
        for op in (3, 31, 43):
            await client.send(op, {"status": "online"})
        await client.flush()
        assert fake.violations == ()
