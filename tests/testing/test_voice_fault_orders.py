"""Faults that are ordered of a voice server: for all guilds or for one, on the websocket, UDP and in DAVE."""

from __future__ import annotations

import asyncio

import pytest

from tests.testing.dave_client import DaveClient, agree, together
from tests.testing.voice_client import VoiceClient, play, run
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session_view import SessionState

MUSIC = b"\xfc" + bytes(60)
OPUS = b"\xfc" + bytes(range(60))
PLACE = (1, 2)


async def join(client: DaveClient) -> None:
    await client.join()
    await client.until(lambda: client.member.version == 1 and client.member.epoch)


@run
async def test_a_refused_resume_leaves_the_session_to_be_resumed_later() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        session = await server.wait_for_session(1)
        server.close_next_resume(4006)
        server.close_next_resume(1006)
        for expected in (4006, 1006):
            session.abort()
            await client.closed()
            await client.open()
            await client.resume(-1)
            assert await client.closed() == expected
            assert session.state is SessionState.DETACHED
        await client.open()
        await client.resume(-1)
        await client.receive(9)
        assert session.resumes == 1
        assert not server.violations


@run
async def test_a_fault_for_one_guild_spares_the_others() -> None:
    async with (
        DiscordVoiceServer() as server,
        VoiceClient(server, server.grant(1, 2, 3)) as victim,
        VoiceClient(server, server.grant(8, 9, 3)) as other,
    ):
        server.close_next_identify(4006, guild_id=1)
        server.mute_step("heartbeat_ack", guild_id=1)
        server.drop_discovery_requests(1, guild_id=1)
        await other.join()
        await victim.open()
        await victim.identify()
        assert await victim.closed() == 4006
        await victim.open()
        await victim.identify()
        await victim.ready()
        session = await server.wait_for_session(1)
        victim.send_discovery()
        await session.wait_until(lambda session: session.discovery_requests == 1)
        assert session.udp_address is None
        await victim.send(3, {"t": 1, "seq_ack": -1})
        await session.wait_until(lambda session: session.heartbeats == 1)
        server.unmute_step("heartbeat_ack")
        await victim.beat()
        assert [message["op"] for message in victim.messages].count(6) == 1


@run
async def test_1006_cuts_instead_of_closing() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        server.close_next_identify(1006)
        await client.open()
        await client.identify()
        assert await client.closed() == 1006
        await client.join()
        session = await server.wait_for_session(1)
        await session.close(1006)
        assert await client.closed() == 1006
        assert session.state is SessionState.DETACHED
        with pytest.raises(ValueError, match="no websocket close code"):
            await session.close(40)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("code", [1006, 4015])
def test_a_server_that_has_crashed_comes_back_at_the_same_address(code: int, *, keep: bool) -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            await play(client, [MUSIC])
            session, endpoint = await server.wait_for_session(1), server.endpoint
            await session.wait_for_packets(6)
            await server.crash(code, keep_sessions=keep)
            assert server.crashed
            assert await client.closed() == code
            assert session.state is (SessionState.DETACHED if keep else SessionState.ENDED)
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await client.open()
            await play(client, [MUSIC])
            await server.recover()
            assert (server.crashed, server.endpoint) == (False, endpoint)
            assert session.packets == 6
            await client.open()
            await client.resume(-1)
            if not keep:
                assert await client.closed() == 4006
                await client.join()
                return
            await client.receive(9)
            await play(client, [MUSIC])
            await session.wait_for_packets(12)
            assert session.report().sequence_gaps == 6

    scenario()


@run
async def test_only_a_running_server_crashes_and_only_a_crashed_one_recovers() -> None:
    server = DiscordVoiceServer()
    with pytest.raises(RuntimeError, match="not running"):
        await server.crash()
    async with server:
        with pytest.raises(RuntimeError, match="not down"):
            await server.recover()
        with pytest.raises(ValueError, match="no websocket close code"):
            await server.crash(7)
        assert not server.crashed
        await server.crash()
        with pytest.raises(RuntimeError, match="not running"):
            await server.crash()
        with pytest.raises(RuntimeError, match="started before"):
            await server.start()


@run
async def test_opcodes_that_came_are_listed() -> None:
    async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
        await join(client)
        await client.beat(seq_ack=client.numbers[-1])
        assert list(server.opcodes) == [0, 1, 26, 5, 3, 28, 23, 3]


@run
async def test_a_group_created_anew_gets_new_key_packages() -> None:
    async with (
        DiscordVoiceServer() as server,
        DaveClient(server, server.grant(1, 2, 3)) as first,
        DaveClient(server, server.grant(1, 2, 4)) as second,
    ):
        both = (first, second)
        await join(first)
        await second.join()
        await together(both, lambda: agree(server, PLACE, both))
        server.opcodes.clear()
        server.renew_dave_group(*PLACE)
        await together(both, lambda: server.opcodes.count(26) == 2 and agree(server, PLACE, both))
        first.send_sealed(OPUS)
        session = await server.wait_for_session(1, 3)
        await session.wait_for_packets(1)
        assert (session.report().dave_failures, session.violations) == (0, [])


@run
async def test_there_is_no_group_to_renew_without_an_encrypted_call() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        with pytest.raises(LookupError, match="no encrypted call in channel 2 of guild 1"):
            server.renew_dave_group(*PLACE)
        await client.join()
        with pytest.raises(LookupError, match="no encrypted call"):
            server.renew_dave_group(*PLACE)


@run
async def test_a_channel_without_dave_lets_everyone_in_and_is_not_encrypted() -> None:
    async with (
        DiscordVoiceServer(dave="required") as server,
        VoiceClient(server, server.grant(1, 2, 3)) as old,
        DaveClient(server, server.grant(1, 2, 4)) as client,
        VoiceClient(server, server.grant(1, 7, 5)) as elsewhere,
    ):
        server.set_channel_dave(2, enabled=False)
        await old.join()
        await client.join()
        assert client.member.version == 0
        client.send_frame(OPUS)
        session = await server.wait_for_session(1, 4)
        await session.wait_for_packets(1)
        assert session.media.kept[0][1] == OPUS
        assert (session.report().dave_protocol_version, session.report().dave_plaintext) == (0, 0)
        await elsewhere.open()
        await elsewhere.identify()
        assert await elsewhere.closed() == 4017


@run
async def test_a_channel_can_be_encrypted_again() -> None:
    async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
        server.set_channel_dave(2, enabled=False)
        server.set_channel_dave(2, enabled=True)
        await join(client)


@run
async def test_a_stalled_client_hears_nothing_until_it_resumes() -> None:
    async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
        await join(client)
        session = await server.wait_for_session(1)
        session.stall()
        server.add_speaker(1, 2, 9)
        await client.send(3, {"t": 1, "seq_ack": client.numbers[-1]})
        await session.wait_until(lambda session: session.heartbeats == 2)
        session.abort()
        count = len(client.messages)
        assert await client.closed() == 1006
        assert len(client.messages) == count
        await client.open()
        await client.resume(client.numbers[-1])
        await client.until(lambda: client.member.epoch == 2)
        assert 9 in client.member._users
        await client.beat(seq_ack=client.numbers[-1])


@run
async def test_packets_are_lost_either_way_and_not_held_against_the_client() -> None:
    async with DiscordVoiceServer(dave=False) as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        session = await server.wait_for_session(1)
        speaker = server.add_speaker(1, 2, 9)
        client.send_frame(MUSIC)
        await session.wait_for_packets(1)
        session.drop_packets(received=3, sent=2)
        for _ in range(5):
            client.send_frame(MUSIC)
        await session.wait_for_packets(6)
        report = session.report()
        assert (report.frames, report.dropped_packets, report.sequence_gaps) == (3, 3, 3)
        assert report.problems == ()
        for _ in range(3):
            speaker.speak(MUSIC)
        datagram = await asyncio.get_running_loop().sock_recv(client.udp, 2_048)
        assert int.from_bytes(datagram[2:4]) == 2
        with pytest.raises(ValueError, match="0 or more"):
            session.drop_packets(sent=-1)
