"""Encrypted calls through the running server: websocket, UDP, listener, resume."""

from __future__ import annotations

import json

import numpy as np

from tests.testing.dave_client import DaveClient, agree, together
from tests.testing.voice_client import SILENCE, VoiceClient, best_correlation, encode_opus, run, tone
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_settings import LISTENER_USER_ID

OPUS = b"\xfc" + bytes(range(60))
PLACE = (1, 2)


async def join(client: DaveClient, *, secure: bool = True) -> None:
    await client.join()
    if secure:
        await client.until(lambda: client.member.version == 1 and client.member.seal(OPUS))


def test_a_client_alone_is_heard_by_the_listener() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            assert client.messages[0]["op"] == 8
            (connected,) = [m["d"] for m in client.messages if m["op"] == 11]
            assert connected == {"user_ids": [str(LISTENER_USER_ID)]}
            sent = tone()
            frames = encode_opus(sent)
            for frame in frames:
                client.send_sealed(frame)
            for _ in range(5):
                client.send_frame(SILENCE)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(len(frames) + 5)
            report = session.report()
            assert (report.dave_protocol_version, report.dave_epoch) == (1, 1)
            assert (report.dave_failures, report.dave_transitions) == (0, 1)
            assert (report.frames, report.silence_frames) == (len(frames), 5)
            assert best_correlation(session.pcm(), sent) > 0.98
            assert json.dumps(report.to_dict())
            assert not session.violations

    scenario()


def test_binary_messages_share_the_numbering() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer(first_sequence=65_534, dave_first_transition_id=65_535) as server,
            DaveClient(server, server.grant(1, 2, 3)) as client,
        ):
            await join(client)
            expected = [(65_534 + i) % 65_536 for i in range(len(client.numbers))]
            assert client.numbers == expected
            assert [op for op in client.opcodes if op not in {8, 2, 4, 6}] == [11, 25, 27, 29, 22]

    scenario()


def test_two_clients_and_one_that_comes_and_goes() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer() as server,
            DaveClient(server, server.grant(1, 2, 3)) as first,
            DaveClient(server, server.grant(1, 2, 4)) as second,
        ):
            both = (first, second)
            await join(first)
            await second.join()
            await together(both, lambda: agree(server, PLACE, both))
            async with DaveClient(server, server.grant(1, 2, 5)) as third:
                await third.join()
                three = (*both, third)
                await together(three, lambda: agree(server, PLACE, three))
            await together(both, lambda: agree(server, PLACE, both))
            assert first.member.epoch_authenticator == second.member.epoch_authenticator
            for client in both:
                client.send_sealed(OPUS)
                session = await server.wait_for_session(1, client.grant.user_id)
                await session.wait_for_packets(1)
                assert session.report().dave_failures == 0
                assert session.media.kept[0][1] == OPUS
                assert session.dave_epoch == 4

    scenario()


def test_one_without_dave_downgrades_the_call_while_it_is_there() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            async with VoiceClient(server, server.grant(1, 2, 9)) as old:
                await old.join()
                await client.until(lambda: client.member.version == 0)
                client.send_frame(OPUS)
                session = await server.wait_for_session(1, 3)
                await session.wait_for_packets(1)
                assert session.dave_protocol_version == 0
            await client.until(lambda: client.member.version == 1)
            client.send_sealed(OPUS)
            await session.wait_for_packets(2)
            assert [payload for _, payload in session.media.kept] == [OPUS, OPUS]
            assert session.report().dave_failures == 0

    scenario()


def test_where_dave_is_required_a_client_without_it_is_refused() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer(dave="required") as server,
            VoiceClient(server, server.grant(1, 2, 3)) as old,
            DaveClient(server, server.grant(1, 2, 4)) as client,
        ):
            await old.open()
            await old.identify()
            assert await old.closed() == 4017
            assert "max_dave_protocol_version" in server.violations[-1]
            await join(client)

    scenario()


def test_a_server_without_dave_knows_none_of_its_opcodes() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer(dave=False) as server,
            DaveClient(server, server.grant(1, 2, 3)) as client,
        ):
            await join(client, secure=False)
            assert client.member.version == 0
            assert 11 not in client.opcodes
            client.send_frame(OPUS)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(1)
            assert session.media.kept[0][1] == OPUS
            await client.send(23, {"transition_id": 1})
            assert await client.closed() == 4001

    scenario()


def test_audio_in_the_clear_is_a_problem_in_an_encrypted_call() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            for _ in range(3):
                client.send_frame(OPUS)
            session = await server.wait_for_session(1)
            await session.wait_for_packets(3)
            report = session.report()
            assert (report.dave_failures, report.frames, report.frames_kept) == (3, 3, 0)
            assert any("3 frames that no member" in problem for problem in report.problems)
            assert report.sequence_gaps == 0

    scenario()


def test_without_a_listener_encrypted_audio_is_counted_and_not_kept() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer(dave_listener_id=None) as server,
            DaveClient(server, server.grant(1, 2, 3)) as first,
            DaveClient(server, server.grant(1, 2, 4)) as second,
        ):
            both = (first, second)
            await first.join()
            assert first.member.seal(OPUS) is None
            await second.join()
            await together(both, lambda: agree(server, PLACE, both))
            second.send_sealed(OPUS)
            session = await server.wait_for_session(1, 4)
            await session.wait_for_packets(1)
            report = session.report()
            assert (report.frames, report.frames_kept, report.dave_failures) == (1, 0, 0)
            assert len(session.pcm()) == 0

    scenario()


def test_what_was_missed_is_delivered_after_a_resume() -> None:
    @run
    async def scenario() -> None:
        # Nobody waits for the one who is away.
        async with (
            DiscordVoiceServer(dave_transition_timeout_s=0.05) as server,
            DaveClient(server, server.grant(1, 2, 3)) as first,
            DaveClient(server, server.grant(1, 2, 4)) as second,
        ):
            await join(first)
            session = await server.wait_for_session(1, 3)
            session.abort()
            await session.wait_until(lambda s: s.state.value == "detached")
            await join(second)
            assert second.member.epoch == 2
            await first.open()
            await first.resume(first.numbers[-1])
            both = (first, second)
            await together(both, lambda: agree(server, PLACE, both))
            for client in both:
                client.send_sealed(OPUS)
                heard = await server.wait_for_session(1, client.grant.user_id)
                await heard.wait_for_packets(1)
                assert heard.media.kept[-1][1] == OPUS

    scenario()


def test_a_bad_commit_and_a_bad_welcome_are_recovered_from() -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer() as server,
            DaveClient(server, server.grant(1, 2, 3)) as first,
            DaveClient(server, server.grant(1, 2, 4)) as second,
            DaveClient(server, server.grant(1, 2, 5)) as third,
        ):
            await join(first)
            server.spoil_dave(4, "welcome")
            await second.join()
            two = (first, second)
            await together(two, lambda: second.member.invalid_reports == 1 and agree(server, PLACE, two))
            server.spoil_dave(3, "commit")
            await third.join()
            three = (*two, third)
            await together(three, lambda: first.member.invalid_reports == 1 and agree(server, PLACE, three))

    scenario()


def test_a_bad_key_package_is_a_violation() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            await client.send_raw(b"\x1aabc")
            session = await server.wait_for_session(1)
            await session.wait_until(lambda s: bool(s.violations))
            assert "op 26 from user 3" in session.violations[0]

    scenario()


def test_a_move_begins_another_call() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as here:
            await join(here)
            async with DaveClient(server, server.grant(1, 7, 3)) as there:
                await join(there)
                assert server.calls.get((1, 2)) is None
                there.send_sealed(OPUS)
                session = await server.wait_for_session(1, 3)
                assert session.channel_id == 7
                await session.wait_for_packets(1)
                assert session.media.kept[0][1] == OPUS

    scenario()


def test_noise_is_heard_as_nothing() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            random = np.random.default_rng(1)
            for size in (1, 12, 50, 300):
                client.send_frame(random.bytes(size) + b"\x0c\xfa\xfa")
            session = await server.wait_for_session(1)
            await session.wait_for_packets(4)
            assert session.report().dave_failures == 4
            assert len(session.pcm()) == 0

    scenario()
