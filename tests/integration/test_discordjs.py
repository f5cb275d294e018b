"""@discordjs/voice, a client that no one here wrote, plays and listens in encrypted calls on the stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import assert_nothing_lost, heard
from tests.workers.audio.media_files import delay_and_correlation, opus
from voicepool.testing import DiscordVoiceServer
from voicepool.workers.audio.media import open_media

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicepool.testing import VoiceGrant

CLIENT = Path(__file__).with_name("discordjs")
NODE, NPM = shutil.which("node"), shutil.which("npm")
INSTALL_TIMEOUT_S = 120
SAFETY_S = 20.0
LONGEST_LINE_BYTES = 1 << 22
GUILD, CHANNEL, USER, SPEAKER = 100, 101, 42, 77
PLAYED_S = 2
FRAMES = PLAYED_S * 50
SPOKEN = 50

pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="Node.js or npm is not installed")


@pytest.fixture(scope="module")
def client(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the client's packages, once for as long as pytest's cache lasts; return its script."""
    cache = getattr(pytestconfig, "cache", None)
    # A folder for each of pytest-xdist's processes: two of them may come here at the same time.
    name = f"discordjs-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    folder = tmp_path_factory.mktemp(name) if cache is None else cache.mkdir(name)
    manifest = (CLIENT / "package.json").read_text()
    installed = folder / "installed.json"
    if not installed.exists() or installed.read_text() != manifest:
        installed.unlink(missing_ok=True)
        (folder / "package.json").write_text(manifest)
        install(folder)
        installed.write_text(manifest)
    return Path(shutil.copy(CLIENT / "play.mjs", folder))


def install(folder: Path) -> None:
    assert NPM is not None
    command = [NPM, "install", "--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install @discordjs/voice within {INSTALL_TIMEOUT_S} s")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        pytest.skip(f"npm cannot install @discordjs/voice: {' '.join(lines[:3]) or done.returncode}")


class DiscordJs:
    """The client's process: requests go in, events come out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def ask(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def join(self, grant: VoiceGrant) -> None:
        self.ask(
            guild_id=str(grant.guild_id),
            channel_id=str(grant.channel_id),
            user_id=str(grant.user_id),
            session_id=grant.session_id,
            token=grant.token,
            endpoint=grant.endpoint,
        )

    async def expect(self, event: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(SAFETY_S):
            line = await self._process.stdout.readline()
        assert line, "the client has ended; its last words are on stderr"
        answer: dict[str, Any] = json.loads(line)
        assert answer["event"] == event, answer
        return answer

    async def leave(self) -> None:
        """End its stdin; wait until it has left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(SAFETY_S):
            assert await self._process.wait() == 0


@contextlib.asynccontextmanager
async def running(script: Path, ca_file: Path) -> AsyncIterator[DiscordJs]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(ca_file)},
        limit=LONGEST_LINE_BYTES,
    )
    try:
        yield DiscordJs(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Reads its pipes to their ends as well, which closes them.
        await process.communicate()


def sweep() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what the client plays."""
    t = np.arange(PLAYED_S * 48_000) / 48_000
    return (0.5 * np.sin(2 * np.pi * (300 * t + 60 * t**2))).astype(np.float32)


@functools.cache
def spoken() -> tuple[bytes, ...]:
    """Return a second of Opus packets."""
    reader = open_media(opus(), open_timeout_s=5, read_timeout_s=5)
    try:
        packets = [bytes(packet) for packet in iter(reader.read, None)]
    finally:
        reader.close()
    return tuple(packets[:SPOKEN])


@asyncio_test
async def test_it_plays_end_to_end_encrypted(client: Path) -> None:
    async with DiscordVoiceServer() as server, running(client, server.ca_file) as discordjs:
        discordjs.join(server.grant(GUILD, CHANNEL, USER))
        await discordjs.expect("encrypted")
        discordjs.ask(play_s=PLAYED_S)
        await discordjs.expect("played")
        session = await server.wait_for_session(GUILD, USER)
        await discordjs.leave()
        await session.wait_closed(timeout_s=SAFETY_S)
        report = session.report()
        assert report.frames == FRAMES
        assert report.frames_kept == report.frames + report.silence_frames
        assert (report.dave_protocol_version, report.dave_epoch, report.dave_failures) == (1, 1, 0)
        assert_nothing_lost(session)
        assert not server.violations
        assert delay_and_correlation(heard(session), sweep())[1] > 0.98


@asyncio_test
async def test_it_hears_what_others_say_end_to_end_encrypted(client: Path) -> None:
    async with DiscordVoiceServer() as server, running(client, server.ca_file) as discordjs:
        speaker = server.add_speaker(GUILD, CHANNEL, SPEAKER)
        discordjs.join(server.grant(GUILD, CHANNEL, USER))
        await discordjs.expect("encrypted")
        session = await server.wait_for_session(GUILD, USER)
        await session.wait_until(lambda _: speaker.ready, timeout_s=SAFETY_S)
        discordjs.ask(hear=SPOKEN)
        await speaker.play(spoken())
        packets = [bytes.fromhex(packet) for packet in (await discordjs.expect("heard"))["packets"]]
        await discordjs.leave()
        assert packets == list(spoken())
        assert session.report().violations == ()
        assert not server.violations
