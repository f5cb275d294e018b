"""A pool with a real call, looked at by Prometheus's own parsers and by ``voicepool top``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.integration.calls import World, world
from tests.voicepool.test_metrics import OPENMETRICS, samples
from tests.voicepool.watching.test_metrics_server import ask, free_port, get
from tests.workers.audio.media_files import opus
from voicepool import AudioFile
from voicepool.metrics import PoolCollector

GUILD = 100
Samples = dict[tuple[str, tuple[str, ...]], float]


def read_openmetrics(text: str) -> Samples:
    return samples(parse_openmetrics(text))  # type: ignore[no-untyped-call]  # as it is published


async def scrape(port: int) -> Samples:
    status, _, body = await ask(port, get("/metrics", f"Accept: {OPENMETRICS}"))
    assert status == "200 OK"
    return read_openmetrics(body.decode())


async def reported(here: World) -> None:
    """Wait until the worker has told of sound in the call."""
    while not any(  # noqa: ASYNC110 - asked for, so that nobody waits for the next report
        call.frames_sent for call in (await here.pool.refresh_stats()).calls
    ):
        await asyncio.sleep(0.01)


@pytest.fixture
def song(tmp_path: Path) -> AudioFile:
    path = tmp_path / "song.opus"
    path.write_bytes(opus(seconds=10.0))
    return AudioFile(path)


def test_a_scrape_of_a_call_is_read_by_both_parsers(song: AudioFile) -> None:
    @asyncio_test
    async def scenario() -> None:
        port = free_port()
        async with world(metrics_port=port) as here:
            voice = await here.join(GUILD)
            await voice.start(song)
            await reported(here)
            found = await scrape(port)
            plain = samples(parse_text((await ask(port, get()))[2].decode()))
            registry = CollectorRegistry()
            registry.register(PoolCollector(here.pool))
            own = await asyncio.to_thread(generate_latest, registry)
        assert found["voicepool_call_frames_sent_total", (str(GUILD),)] > 0
        assert found["voicepool_worker_packet_lateness_seconds_count", ("w0",)] > 0
        assert found["voicepool_call_playing", (str(GUILD),)] == 1
        assert found["voicepool_workers", ("ready",)] == 1
        assert plain.keys() == found.keys() == samples(parse_text(own.decode())).keys()
        with pytest.raises(ConnectionError):
            await ask(port, get())

    scenario()


def test_counters_do_not_fall_when_a_worker_is_killed(song: AudioFile) -> None:
    @asyncio_test
    async def scenario() -> None:
        port = free_port()
        async with world(metrics_port=port) as here:
            voice = await here.join(GUILD)
            await voice.start(song)
            await reported(here)
            before = await scrape(port)
            [info] = here.pool.workers
            assert info.pid is not None
            os.kill(info.pid, signal.SIGKILL)
            await until(lambda: here.pool.workers[0].name == "w0.2" and here.pool.workers[0].pid)
            await here.pool.refresh_stats()
            after = await scrape(port)
        monotonic = ("_total", "_bucket", "_count")
        pools = {
            key: value
            for key, value in before.items()
            if key[0].endswith(monotonic) and "_call_" not in key[0]
        }
        assert {key: (value, after[key]) for key, value in pools.items() if after[key] < value} == {}
        assert after["voicepool_worker_exits_total", ("killed",)] == 1
        assert after["voicepool_worker_restarts_total", ("w0",)] == 1

    scenario()


def test_top_looks_at_a_pool_that_runs(song: AudioFile) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with world() as here:
            credentials = here.credentials(GUILD)
            voice = await here.pool.connect(credentials)
            await voice.start(song)
            await reported(here)
            command = (
                sys.executable,
                "-m",
                "voicepool",
                "top",
                "--pid",
                str(os.getpid()),
                "--interval",
                "0.1",
            )
            told = await asyncio.to_thread(
                subprocess.run, (*command, "--json"), capture_output=True, text=True, check=True, timeout=60
            )
            shown = await asyncio.to_thread(
                subprocess.run, (*command, "--once"), capture_output=True, text=True, check=True, timeout=60
            )
        view = json.loads(told.stdout)
        assert [(worker["name"], worker["state"]) for worker in view["workers"]] == [("w0.1", "ready")]
        assert [(call["guild"], call["label"]) for call in view["calls"]] == [(GUILD, "song.opus")]
        assert "song.opus" in shown.stdout
        for secret in (credentials.token, credentials.session_id):
            assert secret not in told.stdout + shown.stdout

    scenario()
