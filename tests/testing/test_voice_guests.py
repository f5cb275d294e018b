"""Speakers whose clients lack DAVE; the others are in test_voice_speaker."""

from __future__ import annotations

import pytest

from tests.testing.dave_client import DaveClient, agree, together
from tests.testing.voice_client import run
from voicepool.testing.dave_members import DaveListener
from voicepool.testing.voice_server import DiscordVoiceServer

OPUS = b"\xfc" + bytes(range(60))
PLACE = (1, 2)


async def join(client: DaveClient) -> None:
    await client.join()
    await client.until(lambda: client.member.version == 1 and client.member.epoch)


@run
async def test_a_speaker_without_dave_downgrades_the_call_while_it_is_there() -> None:
    async with (
        DiscordVoiceServer() as server,
        DaveClient(server, server.grant(1, 2, 3), DaveListener) as client,
    ):
        await join(client)
        speaker = server.add_speaker(1, 2, 9, dave=False)
        assert speaker.ready
        with pytest.raises(ValueError, match="already"):
            server.add_speaker(1, 2, 9)
        await client.until(lambda: client.member.version == 0)
        assert 9 in client.member._users
        assert speaker.speak(OPUS)
        assert (await client.hear())[2] == OPUS
        async with DaveClient(server, server.grant(1, 2, 4)) as second:
            await second.join()
            assert 9 in second.member._users
            server.remove_speaker(1, 2, 9)
            both = (client, second)
            await together(both, lambda: agree(server, PLACE, both))


@run
async def test_where_dave_is_required_a_speaker_without_it_is_refused() -> None:
    async with DiscordVoiceServer(dave="required") as server:
        with pytest.raises(ValueError, match="requires it"):
            server.add_speaker(1, 2, 9, dave=False)
