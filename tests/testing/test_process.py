"""The stand-ins in a process of their own: what it tells, what it answers, and that it never stays."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool.testing import StandInError, StandInProcess

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

PARENT = """
import asyncio, sys
from voicepool.testing import StandInProcess

async def main():
    async with StandInProcess() as discord:
        print(discord.pid, discord.ca_file, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def reaped(pid: int) -> None:
    """Wait until a process has gone."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    await asyncio.to_thread(process.wait, SAFETY_S)


@asyncio_test
async def test_it_tells_what_a_bot_needs_and_answers_until_it_is_closed() -> None:
    discord = StandInProcess(guilds=2, bots=2, voice_channels=3, voice_servers=2)
    with pytest.raises(RuntimeError, match="async with"):
        _ = discord.rest_url
    async with discord:
        assert discord.rest_url.startswith("http://127.0.0.1:")
        assert discord.gateway_url.startswith("ws://127.0.0.1:")
        assert discord.ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
        assert len(set(discord.voice_endpoints)) == 2
        assert [guild.name for guild in discord.guilds] == ["guild-0", "guild-1"]
        assert [len(guild.voice_channel_ids) for guild in discord.guilds] == [3, 3]
        assert len({bot.token for bot in discord.bots}) == 2
        assert discord.token == discord.bots[0].token
        assert discord.token not in repr(discord.bots) + repr(discord)
        assert await discord.reports() == []
        assert await discord.problems() == await discord.violations() == []
        with pytest.raises(RuntimeError, match="started already"):
            await discord.start()
        # Side by side: the one that waits holds nobody up.
        guild = discord.guilds[0]
        waiting = asyncio.create_task(discord.wait_for_packets(guild.id, 1, timeout_s=SAFETY_S))
        person = await discord.request("join_voice", guild_id=guild.id, channel_id=guild.voice_channel_ids[0])
        await discord.request(
            "wait_for_voice_state",
            guild_id=guild.id,
            user_id=person,
            channel_id=guild.voice_channel_ids[0],
            timeout_s=SAFETY_S,
        )
        assert not waiting.done()
        pid, ca_file = discord.pid, discord.ca_file
    with pytest.raises(StandInError, match="ended"):
        await waiting
    with pytest.raises(StandInError, match="'reports'"):
        await discord.reports()
    assert not psutil.pid_exists(pid)
    assert not ca_file.parent.exists()
    await discord.close()


@asyncio_test
async def test_what_goes_wrong_in_it_is_raised_here() -> None:
    async with StandInProcess() as discord:
        guild = discord.guilds[0].id
        with pytest.raises(TimeoutError, match=f"guild {guild}: 3 packets .* nobody"):
            await discord.wait_for_packets(guild, 3, timeout_s=0)
        with pytest.raises(LookupError, match="kick_voice"):
            await discord.request("dance")
        with pytest.raises(LookupError, match="not in voice"):
            await discord.request("kick_voice", guild_id=guild, user_id=discord.bots[0].id)
        with pytest.raises(TypeError, match="guild_id"):
            await discord.request("kick_voice")
        with pytest.raises(ValueError, match="step"):
            await discord.request("mute_step", step="sing")
        with pytest.raises(OSError, match=r"not a directory|exists"):
            await discord.write_wavs(discord.ca_file)
        with pytest.raises(StandInError, match="not answered 'wait_for_packets' within 0 s"):
            await discord.request("wait_for_packets", answer_timeout_s=0, guild_id=guild, count=1)
        assert await discord.reports() == []


@asyncio_test
async def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    with pytest.raises(StandInError, match="did not start: DiscordVoiceServer: modes must be one or more of"):
        await StandInProcess(modes=["rot13"]).start()
    with pytest.raises(StandInError, match="exited with code 2"):
        await StandInProcess(guilds=0).start()
    with pytest.raises(StandInError, match=r"not ready within 0\.01 s"):
        await StandInProcess(start_timeout_s=0.01).start()


@asyncio_test
async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    starting = asyncio.create_task(StandInProcess().start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


@POSIX
@asyncio_test
async def test_a_child_that_dies_is_told_to_whoever_waits() -> None:
    async with StandInProcess() as discord:
        waiting = asyncio.create_task(discord.wait_for_packets(discord.guilds[0].id, 1))
        await discord.reports()
        psutil.Process(discord.pid).kill()
        with pytest.raises(StandInError, match="ended before"):
            await waiting
        with pytest.raises(StandInError, match="has ended"):
            await discord.reports()
        ca_file = discord.ca_file
    assert not ca_file.parent.exists()


@POSIX
@asyncio_test
async def test_a_child_that_does_not_leave_is_killed() -> None:
    async with StandInProcess(stop_timeout_s=0.05) as discord:
        stopped = psutil.Process(discord.pid)
        stopped.suspend()
        ca_file = discord.ca_file
    assert not stopped.is_running()
    assert not ca_file.parent.exists()


@POSIX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@asyncio_test
async def test_it_leaves_when_its_parent_dies(how: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid, ca_file = (await parent.stdout.readline()).decode().split()
    parent.send_signal(how)
    await parent.wait()
    await reaped(int(pid))
    assert not Path(ca_file).parent.exists()


def by_hand(requests: Sequence[object]) -> tuple[int, list[Any]]:
    """Run the module as a program in another language would; return its exit code and its lines."""
    lines = "".join(
        f"{request if isinstance(request, str) else json.dumps(request)}\n" for request in requests
    )
    with subprocess.Popen(
        [sys.executable, "-m", "voicepool.testing", "--guilds", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = process.stdout.readline()
        rest, _ = process.communicate(lines, timeout=SAFETY_S)
    return process.returncode, [json.loads(line) for line in [ready, *rest.splitlines()]]


def test_any_language_can_speak_with_it() -> None:
    code, (ready, *answers) = by_hand(
        [
            {"id": "a", "do": "describe"},
            "",
            "no JSON",
            [],
            {"id": 1, "do": "reports", "with": []},
            {"id": 2, "do": "reports", "with": {"guild_id": "guild-0"}},
            {"id": 3, "do": "wait_for_packets", "with": {"guild_id": "1", "count": 1, "timeout_s": 600}},
            {"id": 4, "do": "shutdown"},
        ]
    )
    assert code == 0
    assert all(isinstance(guild["id"], str) for guild in ready["guilds"])
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id["a"]["result"] == ready
    unreadable = [answer["error"]["text"] for answer in answers if answer["id"] is None]
    for text, expected in zip(unreadable, ["no JSON", "an object", "by name", "in strings"], strict=True):
        assert expected in text
    assert by_id[4] == {"id": 4, "result": None}
    # It left without waiting for the packet.
    assert 3 not in by_id
    assert not Path(ready["ca_file"]).exists()


def test_the_end_of_its_input_is_its_end() -> None:
    code, lines = by_hand([])
    assert (code, len(lines)) == (0, 1)


def test_too_many_requests_are_refused_and_the_others_answered() -> None:
    many = [
        {"id": number, "do": "wait_for_packets", "with": {"guild_id": "1", "count": 1, "timeout_s": 600}}
        for number in range(300)
    ]
    code, (_, *answers) = by_hand([*many, {"id": "end", "do": "shutdown"}])
    assert code == 0
    assert answers[-1]["id"] == "end"
    assert {answer["error"]["kind"] for answer in answers[:-1]} == {"Busy"}
    assert len(answers) - 1 == 300 - 256


@POSIX
def test_sigterm_ends_it_in_order() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "voicepool.testing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(SAFETY_S) == 0
    assert not Path(ready["ca_file"]).exists()


@pytest.mark.parametrize("wrong", [["--guilds", "none"], ["--port", "-1"], ["--inspect", "closely"]])
def test_wrong_arguments_are_usage_errors(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "voicepool.testing", *wrong],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SAFETY_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: python -m voicepool.testing" in done.stderr
