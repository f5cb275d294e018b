"""The whole server against a hand-written client: the good path in every mode, life cycle, waiting."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
from pathlib import Path

import pytest

from tests.testing.voice_client import (
    GCM,
    SILENCE,
    VoiceClient,
    best_correlation,
    encode_opus,
    play,
    run,
    tone,
)
from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.voice_crypto import ALL_MODES
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session_view import SessionEndedError, SessionState

MUSIC = b"\xfc" + bytes(60)
UNPACED = {"4 silence frames sent in a burst"}
"""The tests send without a clock, so this is the one thing their streams do wrong."""


@pytest.mark.parametrize("mode", ALL_MODES)
def test_good_path_in_every_mode(mode: str) -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            async with VoiceClient(server, server.grant(1, 2, 3)) as client:
                await client.open()
                hello = await client.receive(8)
                assert hello == {"op": 8, "d": {"v": 8, "heartbeat_interval": 13_750.0}}
                await client.identify()
                ready = await client.ready()
                assert ready["modes"] == list(ALL_MODES)
                assert ready["heartbeat_interval"] == 1
                assert client.voice == server.udp_address
                client.send_discovery()
                assert await client.discovered() == client.udp.getsockname()
                await client.select(mode)
                description = await client.described()
                assert (description["mode"], description["dave_protocol_version"]) == (mode, 0)
                assert len(description["secret_key"]) == 32
                await client.speak()
                assert await client.beat() == 7
                client.send_datagram(bytes(8))
                await play(client, [MUSIC] * 40)
                session = await server.wait_for_session(1)
                await session.wait_for_packets(45)
            await session.wait_closed()
            report = session.report()
            assert set(report.problems) <= UNPACED
            assert (report.mode, report.frames, report.silence_frames) == (mode, 40, 5)
            assert (report.keepalives, report.discovery_requests, report.heartbeats) == (1, 1, 1)
            assert (report.guild_id, report.channel_id, report.user_id) == (1, 2, 3)
            assert (report.ssrc, report.speaking_updates) == (client.ssrc, (1,))
            assert (report.close_code_sent, report.close_code_received) == (None, 1000)
            assert report.max_dave_protocol_version == 0
            assert (report.dave_protocol_version, report.dave_epoch, report.dave_failures) == (0, 0, 0)
            assert report.state == "ended"
            assert client.grant.token not in json.dumps(report.to_dict())
            assert server.stray_datagrams == server.kernel_drops == 0

    scenario()


@run
async def test_received_audio_is_what_was_sent(tmp_path: Path) -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        sent = tone(2.0)
        await play(client, encode_opus(sent))
        session = await server.wait_for_session(1)
        await session.wait_for_packets(105)
        pcm = session.pcm()
        assert len(pcm) == 105 * 960
        assert best_correlation(pcm, sent) > 0.98
        session.write_wav(tmp_path / "out.wav")
        assert (tmp_path / "out.wav").stat().st_size == 44 + pcm.nbytes


@run
async def test_headers_only_counts_without_decrypting() -> None:
    async with DiscordVoiceServer(inspect="headers") as server:
        async with VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            await play(client, [MUSIC] * 20)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(25)
            client.key = bytes(32)
            client.send_frame(MUSIC)
            await session.wait_for_packets(26)
        report = session.report()
        assert (report.frames, report.silence_frames, report.frames_kept) == (21, 5, 0)
        assert report.decrypt_failures == 0
        assert not len(session.pcm())


@run
async def test_audio_kept_is_bounded() -> None:
    async with DiscordVoiceServer(keep_audio_s=0.2) as server:
        async with VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            await play(client, [MUSIC] * 20)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(25)
        assert (session.report().frames_kept, session.report().frames_forgotten) == (10, 15)


@run
async def test_several_clients_are_kept_apart() -> None:
    async with DiscordVoiceServer() as server, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(VoiceClient(server, server.grant(guild, 2, 3)))
            for guild in range(8)
        ]
        await asyncio.gather(*(client.join(ALL_MODES[i % 7]) for i, client in enumerate(clients)))
        for count, client in enumerate(clients):
            for _ in range(count + 1):
                client.send_frame(MUSIC)
        for count, client in enumerate(clients):
            session = await server.wait_for_session(client.grant.guild_id)
            await session.wait_for_packets(count + 1)
            assert session.packets == count + 1
            assert not session.violations
        assert len({session.ssrc for session in server.sessions}) == 8


@run
async def test_members_of_a_channel_hear_of_each_other() -> None:
    async with (
        DiscordVoiceServer() as server,
        VoiceClient(server, server.grant(1, 2, 3)) as first,
        VoiceClient(server, server.grant(1, 2, 4)) as second,
        VoiceClient(server, server.grant(1, 9, 5)) as elsewhere,
    ):
        await elsewhere.join()
        await first.join()
        await second.join()
        assert [m["d"] for m in second.messages if m["op"] == 11] == [{"user_ids": ["3"]}]
        assert [m["d"]["user_id"] for m in second.messages if m["op"] == 5] == ["3"]
        joined = await first.receive(11)
        assert joined["d"] == {"user_ids": ["4"]}
        assert joined["seq"] == 1
        spoke = await first.receive(5)
        assert spoke["d"] == {"user_id": "4", "ssrc": second.ssrc, "speaking": 1}
        await second.__aexit__()
        left = await first.receive(13)
        assert left["d"] == {"user_id": "4"}
        assert left["seq"] == 3
        await elsewhere.beat()
        assert not {m["op"] for m in elsewhere.messages} & {11, 13}


@run
async def test_leaving_the_block_closes_everything() -> None:
    authority_file = None
    async with DiscordVoiceServer() as server:
        client = VoiceClient(server, server.grant(1, 2, 3))
        await client.join()
        authority_file = server.ca_file
        session = await server.wait_for_session(1)
    assert await client.closed() == 1001
    assert session.state is SessionState.ENDED
    assert session.report().close_code_sent == 1001
    assert not authority_file.parent.exists()
    await client.__aexit__()
    await server.close()
    with pytest.raises(RuntimeError, match="started before"):
        await server.start()
    gc.collect()


@run
async def test_a_server_that_cannot_listen_leaves_nothing_behind() -> None:
    async with DiscordVoiceServer() as server:
        port = int(server.endpoint.rpartition(":")[2])
        second = DiscordVoiceServer(port=port)
        with pytest.raises(OSError, match=r"address already in use|Address already in use"):
            await second.start()
    gc.collect()


@run
async def test_a_certificate_that_does_not_verify() -> None:
    with CertificateAuthority() as trusted:
        async with (
            DiscordVoiceServer() as server,
            VoiceClient(server, server.grant(1, 2, 3)) as client,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.open(authority=trusted)
        async with (
            DiscordVoiceServer(tls=trusted.server_context(expired=True)) as server,
            VoiceClient(server, server.grant(1, 2, 3)) as client,
        ):
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await client.open(authority=trusted)
            with pytest.raises(RuntimeError, match="tls="):
                _ = server.ca_file


@run
async def test_waiting_says_what_it_saw_instead() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        with pytest.raises(TimeoutError, match=r"nobody has a session in guild 1.*none"):
            await server.wait_for_session(1, timeout_s=0)
        await client.join()
        client.send_frame(MUSIC)
        session = await server.wait_for_session(1, 3)
        await session.wait_for_packets(1)
        with pytest.raises(TimeoutError, match="expected 2 packets; the session is described, has 1 packets"):
            await session.wait_for_packets(2, timeout_s=0)
        waiting = asyncio.create_task(session.wait_for_packets(2))
        await session.close(4014)
        with pytest.raises(SessionEndedError, match=r"closed with 4014 \(server\)"):
            await waiting


@run
async def test_disconnect_closes_and_voids_the_grant() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        await client.join()
        await asyncio.gather(server.disconnect(1, 3), client.closed())
        session = server.session(1)
        assert session is not None
        await session.wait_closed()
        assert session.close_code_sent == 4014
        await server.disconnect(1, 3)
        await client.open()
        await client.identify()
        assert await client.closed() == 4011
        assert server.session(404) is None


@run
async def test_the_stray_and_the_silent_do_no_harm() -> None:
    async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
        client.voice = server.udp_address
        client.send_datagram(b"noise")
        client.send_discovery(ssrc=1)
        await server.wait_until(lambda server: server.stray_datagrams == 2)
        assert "SSRC 1, which no session has" in server.violations[0]
        await client.join()
        client.send_frame(SILENCE)
        session = await server.wait_for_session(1)
        await session.wait_for_packets(1)
        assert session.mode == GCM


def test_the_server_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        async with DiscordVoiceServer() as server, VoiceClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            await play(client, [MUSIC] * 5)
            await (await server.wait_for_session(1)).wait_for_packets(10)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
