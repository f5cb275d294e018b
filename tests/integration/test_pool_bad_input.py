"""A pool on a machine that is not as it should be, or in a bot that does what it should not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import voicepool
from tests.fakes.running import SAFETY_S, asyncio_test
from tests.integration.bots import own_place, running_bot, socket_directories
from tests.integration.calls import assert_nothing_lost, world
from tests.integration.player_hearing import tone_wav
from voicepool import PoolConfig, VoicePool
from voicepool.ipc import sockets
from voicepool.ipc.endpoint import has_unix_sockets

needs_unix = pytest.mark.skipif(not has_unix_sockets(), reason="no unix sockets here")

LIMITED_BOT = """
import asyncio, resource, sys
import voicepool

async def main():
    limits = tuple(map(int, sys.argv[1:]))
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    try:
        async with voicepool.VoicePool(voicepool.PoolConfig(workers=1)):
            print("running with", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    except voicepool.WorkerStartError as error:
        print(error)

asyncio.run(main())
"""


@contextlib.contextmanager
def tiny_disk(*, files: int) -> Iterator[Path]:
    """A file system with room for so many files, where we may mount one."""
    with tempfile.TemporaryDirectory() as folder:
        options = f"size=16k,nr_inodes={files + 1},mode=0777"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            pytest.skip("no file system may be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_place(monkeypatch) as folder:
        yield folder


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@needs_unix
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root may mount")
def test_a_full_disk_is_told_or_got_round(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @asyncio_test
    async def run(disk: Path) -> None:
        monkeypatch.setattr(sockets, "_parents", lambda: [disk])
        with pytest.raises(voicepool.WorkerStartError, match=r"No space left.*free some space.*TMPDIR"):
            await VoicePool(PoolConfig(workers=1, ipc="unix")).start()
        async with world() as here:
            voice = await here.join()
            await voice.play(tone_wav(400, 0.2))
            assert_nothing_lost(here.session())
        assert "over TCP on loopback instead" in caplog.text

    with tiny_disk(files=0) as disk:
        run(disk)


@needs_unix
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root may mount")
def test_a_disk_that_is_full_at_the_first_socket_is_told() -> None:
    @asyncio_test
    async def run(disk: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sockets, "_parents", lambda: [disk])
            with pytest.raises(voicepool.WorkerStartError, match="No space left"):
                await VoicePool(PoolConfig(workers=1, ipc="unix")).start()
        assert names_in(disk) == []

    with tiny_disk(files=1) as disk:
        run(disk)


@needs_unix
@asyncio_test
async def test_a_long_path_for_temporary_files_is_got_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 110)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with VoicePool(PoolConfig(workers=1, ipc="unix")) as pool:
        assert pool.running
    assert [name for name in names_in(long) if name.startswith("voicepool.ipc-")] == []


@needs_unix
@asyncio_test
async def test_what_a_killed_bot_left_is_removed_by_the_next(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_bot() as bot:
        assert bot.stdout is not None
        assert await bot.stdout.readline() == b"running\n"
        workers = psutil.Process(bot.pid).children()
        # All at once, so that none can clear up behind the others.
        for process in workers:
            process.suspend()
        bot.kill()
    for process in workers:
        process.kill()
    await asyncio.to_thread(psutil.wait_procs, workers, timeout=SAFETY_S)
    (left,) = socket_directories(place)
    assert len(list(left.glob("*.sock"))) == 2
    with caplog.at_level(logging.INFO, "voicepool.pool"):
        async with VoicePool(PoolConfig(workers=1, ipc="unix")):
            assert not left.exists()
    assert f"removed {left}" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (200, 4_096, "running with 280"),
        (24, 24, r"the workers cannot be started: 24 files may be open in the bot.*ulimit -n 2564"),
    ],
)
def test_the_limit_on_open_files_is_raised_or_the_number_is_told(soft: int, hard: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED_BOT, str(soft), str(hard)], capture_output=True, text=True, check=True
    )
    assert re.search(said, done.stdout, re.DOTALL), done.stdout


@asyncio_test
async def test_more_workers_than_cores_run_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    cores = len(psutil.Process().cpu_affinity())
    if cores > 4:
        pytest.skip("so many processes would take long")
    async with VoicePool(PoolConfig(workers=cores + 1)) as pool:
        assert len(pool.workers) == cores + 1
    (warning,) = [record.getMessage() for record in caplog.records if "workers share" in record.getMessage()]
    assert "sound may be late" in warning
    assert "set workers to" in warning


@asyncio_test
async def test_two_pools_in_one_process_do_not_meet() -> None:
    async with world() as one, world() as other:
        voices = [await here.join() for here in (one, other)]
        await asyncio.gather(*(voice.play(tone_wav(400, 0.5)) for voice in voices))
        for here in (one, other):
            assert here.session().report().frames >= 24
            assert_nothing_lost(here.session())
        pids = {worker.pid for here in (one, other) for worker in here.pool.workers}
        assert len(pids) == 2
        await other.pool.close()
        await voices[0].play(tone_wav(400, 0.2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@asyncio_test
async def test_a_pool_in_a_fork_says_that_it_is_not_there() -> None:
    async with world() as here:
        voice = await here.join()
        credentials = here.credentials(200)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                # There is no event loop in a fork of one, so the coroutine is begun by hand.
                here.pool.connect(credentials).send(None)
            except BaseException as error:  # noqa: BLE001 - the parent is told whatever it is
                os.write(writing, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: ASYNC230, PTH123 - the child ends at once
            said = pipe.read().decode()
        await asyncio.to_thread(os.waitpid, child, 0)
        assert said.startswith("PoolClosedError: this pool belongs to process")
        assert "fork" in said
        # The bot itself has lost nothing.
        await voice.play(tone_wav(400, 0.2))
        assert [worker.restarts for worker in here.pool.workers] == [0]


@asyncio_test
async def test_a_metrics_port_in_use_names_the_port_and_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pool = VoicePool(PoolConfig(workers=1, metrics_port=port))
        with pytest.raises(voicepool.ConfigError, match=rf"metrics_port = {port} .*in use"):
            await pool.start()
        assert pool.workers == ()
        await pool.close()
