"""What can be asked of the stand-ins, without the process around it."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import re
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.testing.gateway_client import gateway_client, log_in
from tests.testing.voice_client import VoiceClient, encode_opus, play, run, tone
from voicepool.testing import DiscordVoiceServer, FakeDiscord, StandInProcess
from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.stand_in_requests import (
    StandInRequests,
    UnreadableRequestError,
    description,
    read_request,
)
from voicepool.testing.stand_in_values import read_bot, read_error, read_guild, read_report, read_wav


@dataclasses.dataclass
class World:
    """Running stand-ins, and their requests."""

    discord: FakeDiscord
    servers: list[DiscordVoiceServer]
    requests: StandInRequests

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Ask the way a process does: everything passes through JSON both ways."""
        line = json.dumps({"id": 1, "do": what, "with": arguments}).encode()
        _, asked, read = read_request(line)
        return json.loads(json.dumps(await self.requests.carry_out(asked, read)))

    def client(self, guild: int, server: int = 0) -> VoiceClient:
        found = self.discord.guilds[guild]
        grant = self.servers[server].grant(found.id, found.voice_channels[0].id, self.discord.bot_user_id)
        return VoiceClient(self.servers[server], grant)


@contextlib.asynccontextmanager
async def world(guilds: int = 2, servers: int = 1) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        authority = stack.enter_context(CertificateAuthority())
        running = [
            await stack.enter_async_context(DiscordVoiceServer(authority=authority)) for _ in range(servers)
        ]
        discord = await stack.enter_async_context(FakeDiscord.with_guilds(guilds, voice_servers=running))
        yield World(discord, running, StandInRequests(discord, running))


async def in_call(client: VoiceClient, frames: list[bytes]) -> None:
    await client.open()
    await client.join()
    await play(client, frames)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "not an object"),
        (b'{"id": 1}', "not an object"),
        (b'{"do": 1}', "not an object"),
        (b'{"do": "reports", "with": [1]}', "by name"),
        (b'{"do": "reports", "with": {"guild_id": "x"}}', "whole numbers"),
        (b'{"do": "reports", "with": {"guild_id": {}}}', "whole numbers"),
    ],
)
def test_what_is_no_request_is_told(line: bytes, expected: str) -> None:
    with pytest.raises(UnreadableRequestError, match=expected):
        read_request(line)


def test_ids_are_strings_outside_and_numbers_inside() -> None:
    line = b'{"id": "x", "do": "move", "with": {"guild_id": "1573638537155182592", "channel_id": null}}'
    assert read_request(line) == ("x", "move", {"guild_id": 1573638537155182592, "channel_id": None})
    assert read_request(b'{"do": "reset"}') == (None, "reset", {})


def test_everything_that_can_be_asked_is_described_and_asked_by_name() -> None:
    requests = {
        name: getattr(StandInRequests, name)
        for name in dir(StandInRequests)
        if not name.startswith("_") and name != "carry_out"
    }
    assert len(requests) > 20
    for name, request in requests.items():
        assert inspect.iscoroutinefunction(request), name
        assert request.__doc__, name
        kinds = {parameter.kind for parameter in list(inspect.signature(request).parameters.values())[1:]}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY}, name
    # Those with a method of their own take the same arguments there.
    for name in requests.keys() & set(dir(StandInProcess)):
        given = set(inspect.signature(getattr(StandInProcess, name)).parameters) - {"self", "timeout_s"}
        assert given <= set(inspect.signature(requests[name]).parameters), name


def test_what_the_readme_says_can_be_made_to_happen_can() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Testing your own bot")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", section))
    assert len(named) > 15
    assert named <= {name for name in dir(StandInRequests) if not name.startswith("_")}


@run
async def test_the_description_reads_back() -> None:
    async with world(guilds=2, servers=2) as here:
        told = json.loads(json.dumps(description(here.discord, here.servers)))
        assert told == await here.ask("describe")
        assert read_bot(told["bots"][0]).token == here.discord.token
        assert [read_guild(guild).id for guild in told["guilds"]] == [
            guild.id for guild in here.discord.guilds
        ]
        assert read_guild(told["guilds"][0]).stage_channel_ids == (
            here.discord.guilds[0].stage_channels[0].id,
        )
        assert told["voice_endpoints"] == [server.endpoint for server in here.servers]


@run
async def test_reports_and_wavs_of_what_was_heard(tmp_path: Path) -> None:
    music = encode_opus(tone())
    async with world() as here:
        async with here.client(0) as first, here.client(1) as second:
            await in_call(first, music)
            await in_call(second, music[:10])
            for guild, frames in zip(here.discord.guilds, (len(music), 10), strict=True):
                await here.ask("wait_for_packets", guild_id=str(guild.id), count=frames)
            both = [read_report(report) for report in await here.ask("reports")]
            assert both == [session.report() for session in here.servers[0].sessions]
            (only,) = await here.ask("reports", guild_id=str(here.discord.guilds[1].id))
            assert read_report(only) == both[1]
            # They send without a clock; nothing else is wrong with them.
            assert {text.split(": ")[2] for text in await here.ask("problems")} == {
                "4 silence frames sent in a burst"
            }
            assert await here.ask("violations") == []
            assert await here.ask("kernel_drops") == 0
        files = [read_wav(file) for file in await here.ask("write_wavs", directory=str(tmp_path / "a/b"))]
        assert [file.path.name for file in files] == ["guild-0.wav", "guild-1.wav"]
        assert [file.frames for file in files] == [len(music) + 5, 15]
        assert [file.user_id for file in files] == [here.discord.bot_user_id] * 2
        for file in files:
            with wave.open(str(file.path)) as wav:
                assert (wav.getframerate(), wav.getnchannels()) == (48_000, 2)
                assert wav.getnframes() == file.frames * 960


@run
async def test_a_second_session_of_a_guild_gets_a_file_of_its_own(tmp_path: Path) -> None:
    music = encode_opus(tone(0.2))
    async with world(guilds=1) as here:
        for _ in range(2):
            async with here.client(0) as client:
                await in_call(client, music)
                await here.servers[0].sessions[-1].wait_for_packets(len(music))
        files = await here.ask("write_wavs", directory=str(tmp_path))
        assert [Path(file["path"]).name for file in files] == ["guild-0.wav", "guild-0-2.wav"]


@run
async def test_reset_forgets_what_is_over_and_keeps_what_goes_on() -> None:
    music = encode_opus(tone(0.2))
    async with world() as here:
        async with here.client(0) as gone:
            await in_call(gone, music)
            await gone.send(99, {})
            await here.servers[0].sessions[0].wait_closed()
        async with here.client(1) as stays:
            await in_call(stays, music)
            await here.ask("wait_for_packets", guild_id=str(here.discord.guilds[1].id), count=len(music))
            await here.ask("mute_step", step="hello")
            await here.ask("close_next_identify", code=4006)
            async with gateway_client(here.discord) as bot:
                await bot.send(1, "not a number")
                await bot.close_code()
            assert any(text.startswith("gateway: ") for text in await here.ask("violations"))
            assert any("guild" in text for text in await here.ask("violations"))
            await here.ask("reset")
            assert await here.ask("violations") == []
            (left,) = await here.ask("reports")
            assert left["guild_id"] == str(here.discord.guilds[1].id)
        async with here.client(0) as again:
            await in_call(again, music)


@run
async def test_requests_that_rest_lacks_are_a_problem_until_reset() -> None:
    import aiohttp

    async with world() as here:
        async with aiohttp.ClientSession() as http:
            for path in ("dance", "sing"):
                async with http.get(
                    f"{here.discord.rest_url}/{path}", headers={"Authorization": f"Bot {here.discord.token}"}
                ) as answer:
                    assert answer.status == 404
                if path == "dance":
                    (problem,) = await here.ask("problems")
                    assert problem == "REST: the stand-in has no GET /dance"
                    await here.ask("reset")
                    assert await here.ask("problems") == []
        (problem,) = await here.ask("problems")
        assert "sing" in problem


@run
async def test_people_come_move_write_and_leave() -> None:
    async with world(guilds=1) as here:
        guild = here.discord.guilds[0]
        first, second = (str(channel.id) for channel in guild.voice_channels)
        where = {"guild_id": str(guild.id)}
        person = await here.ask("join_voice", **where, channel_id=first)
        await here.ask("wait_for_voice_state", **where, user_id=person, channel_id=first)
        await here.ask("move_member", **where, user_id=person, channel_id=second)
        await here.ask("wait_for_voice_state", **where, user_id=person, channel_id=second)
        assert await here.ask("join_voice", **where, channel_id=first, user_id=person) == person
        await here.ask("kick_voice", **where, user_id=person)
        await here.ask("wait_for_voice_state", **where, user_id=person, channel_id=None)
        text = str(guild.text_channels[0].id)
        await here.ask("post_message", channel_id=text, content="!play", user_id=person)
        await here.ask("post_message", channel_id=text, content="who?")
        assert [message.content for message in here.discord.messages] == ["!play", "who?"]
        assert here.discord.messages[0].author.id == int(person)
        with pytest.raises(LookupError, match="has a member 7"):
            await here.ask("post_message", channel_id=text, content="!play", user_id="7")


@run
async def test_faults_of_the_main_gateway() -> None:
    async with world(guilds=1, servers=2) as here, log_in(here.discord) as (bot, _):
        guild = here.discord.guilds[0]
        handle = await here.ask("withhold", event="VOICE_STATE_UPDATE", guild_id=str(guild.id))
        person = await here.ask(
            "join_voice", guild_id=str(guild.id), channel_id=str(guild.voice_channels[0].id)
        )
        await here.ask("release", handle=handle)
        told = await bot.dispatch("VOICE_STATE_UPDATE")
        assert told["user_id"] == person
        with pytest.raises(LookupError, match="handle"):
            await here.ask("release", handle=handle)
        await here.ask("withhold", event="VOICE_STATE_UPDATE")
        await here.ask("reset")
        await here.ask("kick_voice", guild_id=str(guild.id), user_id=person)
        assert (await bot.dispatch("VOICE_STATE_UPDATE"))["channel_id"] is None
        await here.ask("change_voice_server", guild_id=str(guild.id), endpoint=here.servers[1].endpoint)
        await here.ask("drop_gateway")
        assert await bot.close_code() == 4000


@run
async def test_faults_of_the_voice_servers() -> None:
    music = encode_opus(tone(0.2))
    async with world(guilds=1, servers=2) as here:
        guild = str(here.discord.guilds[0].id)
        user = str(here.discord.bot_user_id)
        with pytest.raises(LookupError, match="nobody has a voice session"):
            await here.ask("close_session", guild_id=guild, code=4014)
        # The second server has it, and is found.
        async with here.client(0, server=1) as client:
            await in_call(client, music)
            await here.ask("wait_for_packets", guild_id=guild, count=len(music))
            await here.ask("close_session", guild_id=guild, code=4015)
            assert await client.closed() == 4015
        async with here.client(0) as client:
            await in_call(client, music)
            await here.ask("disconnect", guild_id=guild, user_id=user, code=4014)
            assert await client.closed() == 4014
        async with here.client(0) as client:
            await in_call(client, music)
            await here.ask("abort_session", guild_id=guild)
            assert await client.closed() == 1006
        await here.ask("close_next_identify", code=4006)
        async with here.client(0) as client:
            await client.open()
            await client.identify()
            assert await client.closed() == 4006
        await here.ask("drop_discovery_requests", count=1)
        assert here.servers[0].faults.take_discovery_drop()
        assert not here.servers[0].faults.take_discovery_drop()
        await here.ask("mute_step", step="ready")
        assert all(server.faults.muted("ready") for server in here.servers)
        await here.ask("unmute_step", step="ready")
        assert not any(server.faults.muted("ready") for server in here.servers)


@run
async def test_a_voice_server_goes_down_and_comes_back() -> None:
    async with world(guilds=1, servers=2) as here:
        second = here.servers[1].endpoint
        with pytest.raises(LookupError, match=f"there are .*{second}"):
            await here.ask("crash_voice_server", endpoint="127.0.0.1:1")
        await here.ask("crash_voice_server", endpoint=second, code=4015, keep_sessions=True)
        assert [server.crashed for server in here.servers] == [False, True]
        await here.ask("recover_voice_server", endpoint=second)
        assert not here.servers[1].crashed


@run
async def test_a_region_moves_to_the_next_server_and_back() -> None:
    async with world(guilds=1, servers=2) as here:
        guild = str(here.discord.guilds[0].id)
        first = await here.ask("move_region", guild_id=guild)
        second = await here.ask("move_region", guild_id=guild, null_first=True)
        assert {first, second} == {server.endpoint for server in here.servers}
        assert await here.ask("move_region", guild_id=guild) == first


@run
async def test_faults_of_one_session() -> None:
    async with world(guilds=1, servers=2) as here, here.client(0, server=1) as client:
        guild = str(here.discord.guilds[0].id)
        await in_call(client, [])
        await here.ask("wait_for_packets", guild_id=guild, count=5)
        await here.ask("drop_packets", guild_id=guild, received=2)
        await play(client, [])
        await here.ask("wait_for_packets", guild_id=guild, count=10)
        (report,) = await here.ask("reports")
        assert report["dropped_packets"] == 2
        await here.ask("close_next_resume", guild_id=guild)
        await here.ask("stall_session", guild_id=guild)
        await here.ask("abort_session", guild_id=guild)
        await client.closed()
        await client.open()
        await client.resume(-1)
        assert await client.closed() == 4006


@run
async def test_others_in_a_call_and_what_goes_wrong_with_its_encryption() -> None:
    async with world(guilds=1) as here, here.client(0) as client:
        guild = here.discord.guilds[0]
        place = {"guild_id": str(guild.id), "channel_id": str(guild.voice_channels[0].id)}
        await in_call(client, [])
        await here.ask("add_speaker", **place, user_id="9", dave=False)
        with pytest.raises(ValueError, match="already"):
            await here.ask("add_speaker", **place, user_id="9")
        await here.ask("remove_speaker", **place, user_id="9")
        await here.ask("add_speaker", **place, user_id="9")
        with pytest.raises(LookupError, match="no encrypted call"):
            await here.ask("renew_dave_group", **place)
        with pytest.raises(ValueError, match="commit and welcome can"):
            await here.ask("spoil_dave", user_id="3", kind="proposal")
        await here.ask("spoil_dave", user_id="3", kind="commit")
        assert here.servers[0].calls._spoiled == {(3, "commit")}


@run
async def test_channels_are_bounded_and_deleted() -> None:
    async with world(guilds=1) as here:
        guild = here.discord.guilds[0]
        channel = guild.voice_channels[0]
        place = {"guild_id": str(guild.id), "channel_id": str(channel.id)}
        await here.ask("set_user_limit", **place, user_limit=3)
        assert channel.user_limit == 3
        await here.ask("delete_channel", **place)
        assert channel not in guild.voice_channels


@run
async def test_waiting_has_an_end_that_tells_what_was_seen() -> None:
    async with world(guilds=1) as here, here.client(0) as client:
        guild = str(here.discord.guilds[0].id)
        with pytest.raises(TimeoutError, match="nobody has a session there"):
            await here.ask("wait_for_packets", guild_id=guild, count=1, timeout_s=0)
        await in_call(client, encode_opus(tone(0.2))[:3])
        await here.ask("wait_for_packets", guild_id=guild, count=8)
        with pytest.raises(TimeoutError, match="9 packets were expected within 0 s; 8 have come"):
            await here.ask("wait_for_packets", guild_id=guild, count=9, timeout_s=0)


@run
async def test_wrong_arguments_name_the_right_ones() -> None:
    async with world() as here:
        with pytest.raises(TypeError, match=r"release: .*handel.*; it takes handle, discard"):
            await here.ask("release", handle=1, handel=1)
        with pytest.raises(LookupError, match="there is no request '_sessions'"):
            await here.ask("_sessions")
        with pytest.raises(LookupError, match="there is no request 'carry_out'"):
            await here.ask("carry_out")


def test_errors_keep_their_kind() -> None:
    assert isinstance(read_error({"kind": "TimeoutError", "text": "late"}), TimeoutError)
    strange = read_error({"kind": "SessionEndedError", "text": "gone"})
    assert (type(strange).__name__, str(strange)) == ("StandInError", "SessionEndedError: gone")
