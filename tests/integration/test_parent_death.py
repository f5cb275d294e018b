"""However a bot dies, its workers leave."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import USER
from tests.workers.audio.media_files import encode
from voicepool.testing import DiscordVoiceServer

LONGEST_GOODBYE_S = 2.0

BOT = """
import asyncio, json, sys
import voicepool

async def main():
    given = json.loads(sys.argv[1])
    # The place that `voicepool top` looks for is the bot's own to clear up, which a killed one cannot.
    config = voicepool.PoolConfig(workers=2, ca_file=given["ca_file"], attach=False)
    async with voicepool.VoicePool(config) as pool:
        voices = [
            await pool.connect(voicepool.VoiceCredentials(**credentials))
            for credentials in given["credentials"]
        ]
        for voice in voices:
            voice.play_no_wait(voicepool.AudioFile(given["song"]))
        print(json.dumps([worker.pid for worker in pool.workers]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@asyncio_test
async def test_no_worker_outlives_its_bot(how: signal.Signals, tmp_path: Path) -> None:
    song = tmp_path / "song.flac"
    song.write_bytes(encode("flac", "flac", seconds=30.0))
    async with DiscordVoiceServer() as server:
        credentials = []
        for guild in (100, 200):
            grant = server.grant(guild_id=guild, channel_id=guild + 1, user_id=USER)
            credentials.append(
                {
                    "guild_id": guild,
                    "channel_id": guild + 1,
                    "user_id": USER,
                    "session_id": grant.session_id,
                    "endpoint": grant.endpoint,
                    "token": grant.token,
                }
            )
        given = {"ca_file": str(server.ca_file), "song": str(song), "credentials": credentials}
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BOT, json.dumps(given), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert bot.stdout is not None
            workers = [psutil.Process(pid) for pid in json.loads(await bot.stdout.readline())]
            for guild in (100, 200):
                await (await server.wait_for_session(guild)).wait_for_packets(10, timeout_s=30)
        finally:
            bot.send_signal(how)
            await bot.wait()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=LONGEST_GOODBYE_S)
        assert not alive
        assert len(gone) == 2
        # In order: the voice servers were told, they need not wait for heartbeats that never come.
        for guild in (100, 200):
            session = server.session(guild)
            assert session is not None
            await session.wait_closed()
            assert session.close_code_received == 1000
