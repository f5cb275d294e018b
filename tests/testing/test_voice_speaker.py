from __future__ import annotations

import pytest

from tests.testing.dave_client import DaveClient
from tests.testing.voice_client import SILENCE, VoiceClient, run
from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.dave_members import DaveListener
from voicepool.testing.voice_crypto import ALL_MODES
from voicepool.testing.voice_server import DiscordVoiceServer

OPUS = b"\xfc" + bytes(range(60))
SPEAKER = 77


async def join(client: DaveClient, epoch: int | None = None) -> None:
    await client.join()
    await client.until(lambda: client.member.version == 1 and client.member.epoch == (epoch or 1))


@pytest.mark.parametrize("mode", ALL_MODES)
def test_an_encrypted_call_is_heard_in_every_mode(mode: str) -> None:
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer() as server,
            DaveClient(server, server.grant(1, 2, 3), DaveListener) as client,
        ):
            await client.join(mode)
            await client.until(lambda: client.member.version == 1 and client.member.epoch == 1)
            speaker = server.add_speaker(1, 2, SPEAKER)
            assert not speaker.ready
            assert not speaker.speak(OPUS)
            assert speaker.frames_withheld == 1
            await client.until(lambda: client.member.epoch == 2)
            # The speaker sends when the transition is carried out; op 22 tells the client at the same time.
            await client.until(lambda: speaker.ready)
            for _ in range(3):
                assert speaker.speak(OPUS)
            speaker.pause()
            heard = [await client.hear() for _ in range(8)]
            assert {ssrc for ssrc, _, _ in heard} == {speaker.ssrc}
            assert [timestamp for _, timestamp, _ in heard] == [960 * i for i in range(1, 9)]
            assert all(is_protocol_frame(frame) for _, _, frame in heard[:3])
            for _, timestamp, frame in heard:
                client.member.hear(SPEAKER, timestamp, frame, client.now)
            assert [opus for _, opus in client.member.packets(SPEAKER)] == [OPUS] * 3 + [SILENCE] * 5
            assert not client.member.failures
            await client.receive(5)
            assert (await client.receive(5))["d"] == {
                "user_id": str(SPEAKER),
                "ssrc": speaker.ssrc,
                "speaking": 0,
            }

    scenario()


def test_a_speaker_can_be_there_before_anybody_comes() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server:
            speaker = server.add_speaker(1, 2, SPEAKER)
            assert speaker.ready, "with the listener it makes a group"
            assert speaker.speak(OPUS)
            async with DaveClient(server, server.grant(1, 2, 3), DaveListener) as client:
                await join(client, epoch=2)
                speaking = next(message for message in client.messages if message["op"] == 5)
                assert speaking["d"] == {"user_id": str(SPEAKER), "ssrc": speaker.ssrc, "speaking": 1}
                await client.until(lambda: server.calls.get((1, 2)).service.pending_transitions == 0)  # type: ignore[union-attr]
                speaker.speak(OPUS)
                _, timestamp, frame = await client.hear()
                assert client.member.hear(SPEAKER, timestamp, frame, client.now) == OPUS
            session = await server.wait_for_session(1) if server.session(1) is None else server.session(1)
            assert session is not None
            await session.wait_closed()
            assert server.calls.get((1, 2)) is not None
            server.remove_speaker(1, 2, SPEAKER)
            server.remove_speaker(1, 2, SPEAKER)
            assert server.calls.get((1, 2)) is None

    scenario()


@pytest.mark.parametrize("dave", [True, False])
def test_without_dave_the_frames_go_out_as_they_are(dave: bool) -> None:  # noqa: FBT001
    @run
    async def scenario() -> None:
        async with (
            DiscordVoiceServer(dave=dave) as server,
            VoiceClient(server, server.grant(1, 2, 3)) as old,
            DaveClient(server, server.grant(1, 2, 4)) as client,
        ):
            await old.join()
            await client.join()
            speaker = server.add_speaker(1, 2, SPEAKER)
            await speaker.play([OPUS, OPUS])
            assert [(await client.hear())[2] for _ in range(7)] == [OPUS] * 2 + [SILENCE] * 5
            assert speaker.frames_sent == 7

    scenario()


def test_who_does_not_support_dave_is_spared_encrypted_frames() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await client.join()
            speaker = server.add_speaker(1, 2, SPEAKER)
            await client.until(lambda: speaker.ready)
            async with DaveClient(server, server.grant(1, 2, 4)) as old:
                await old.open()
                await old.identify(max_dave_protocol_version=0)
                await old.ready()
                old.send_discovery()
                await old.discovered()
                await old.select()
                await old.described()
                # The downgrade waits for the other client, which says nothing; so the speaker still encrypts.
                assert speaker.speak(OPUS)
                assert is_protocol_frame((await client.hear())[2])
                await client.until(lambda: client.member.version == 0)
                assert speaker.speak(OPUS)
                assert (await old.hear())[2] == OPUS
                assert (await client.hear())[2] == OPUS

    scenario()


def test_nobody_is_in_a_channel_twice() -> None:
    @run
    async def scenario() -> None:
        async with DiscordVoiceServer() as server, DaveClient(server, server.grant(1, 2, 3)) as client:
            await join(client)
            server.add_speaker(1, 2, SPEAKER)
            for user in (SPEAKER, 3):
                with pytest.raises(ValueError, match=f"user {user} is in channel 2 already"):
                    server.add_speaker(1, 2, user)
            server.remove_speaker(1, 2, SPEAKER)
            assert (await client.receive(13))["d"] == {"user_id": str(SPEAKER)}

    scenario()
