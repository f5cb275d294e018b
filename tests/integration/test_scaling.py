"""Workers come and go while calls play: real processes, the stand-in's voice server, sound that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.integration.calls import World
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoicePool
from voicepool.connection import BaseVoiceConnection
from voicepool.pool_events import CallMoved, ConfigReloaded, MoveReason, PoolScaled
from voicepool.stats import WorkerState
from voicepool.testing import DiscordVoiceServer

CALLS = 6
SONG_S = 4.0
FRAMES = 200
AT_ONCE = 6
"""Calls that move at a time here; each is heard again before the next may go."""


@asynccontextmanager
async def playing(
    file: Path, text: str, *, seconds: float = 60.0
) -> AsyncIterator[tuple[World, list[BaseVoiceConnection], list[Any]]]:
    """Six calls that play, as a rule something long, on a pool that reads its settings from a file."""
    async with DiscordVoiceServer() as server:
        write(file, f'ca_file = "{server.ca_file}"\nconfig_check_s = 0.05\nmoves_at_once = {AT_ONCE}\n{text}')
        async with VoicePool(PoolConfig.load(file, env={})) as pool:
            here = World(server, pool)
            events: list[Any] = []
            pool.listen(events.append)
            voices = [await here.join(guild) for guild in guilds()]
            song = encode("flac", "flac", seconds=seconds)
            tracks = [await voice.start(song) for voice in voices]
            await heard_anew(here)
            yield here, voices, events
            assert all(voice.connected and not voice.closed for voice in voices)
            if seconds > SONG_S:
                assert [voice.track for voice in voices] == tracks, "nothing has ended or begun anew"
            await asyncio.gather(*(voice.disconnect() for voice in voices))


def guilds() -> range:
    return range(100, 100 + CALLS)


def write(file: Path, text: str) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    write(file, text.replace(before, after))


async def heard_anew(here: World) -> None:
    """Wait until each call has sent sound from now on."""
    for guild in guilds():
        session = here.session(guild)
        await session.wait_for_packets(session.report().frames + 5)


def up(pool: VoicePool) -> list[str]:
    return [info.name for info in pool.workers if info.state is WorkerState.READY]


async def settled(pool: VoicePool, workers: int) -> None:
    """Wait until there are so many workers, and no other."""
    await until(lambda: len(up(pool)) == workers == len(pool.workers))


def assert_frames_in_order(here: World, voices: list[BaseVoiceConnection]) -> None:
    """What every session heard was sealed and numbered well; a call that moved has had several."""
    for guild in guilds():
        report = here.session(guild).report()
        assert (report.nonce_reuses, report.decrypt_failures, report.duplicates) == (0, 0, 0)
    assert all(voice.position_s > 0 for voice in voices)


@asyncio_test
async def test_one_to_four_and_back_by_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    async with playing(file, "workers = 1\n") as (here, voices, events):
        change(file, "workers = 1", "workers = 4")
        await settled(here.pool, 4)
        await heard_anew(here)
        assert not any(isinstance(event, CallMoved) for event in events), "more workers move nobody"
        # So that calls are on those that go.
        await here.pool.drain("w0.1")
        assert sum(info.calls > 0 for info in here.pool.workers) == 4
        change(file, "workers = 4", "workers = 1")
        await settled(here.pool, 1)
        await heard_anew(here)
        assert [info.calls for info in here.pool.workers] == [CALLS]
        assert_frames_in_order(here, voices)
    scaled = [event for event in events if isinstance(event, PoolScaled)]
    assert scaled == [PoolScaled(1, 4, "config"), PoolScaled(4, 1, "config")]
    reloaded = [event for event in events if isinstance(event, ConfigReloaded)]
    assert reloaded == [ConfigReloaded(frozenset({"workers"}), replaced=False)] * 2


@asyncio_test
async def test_a_drain_under_load_neither_loses_nor_repeats_a_frame(tmp_path: Path) -> None:
    async with playing(tmp_path / "voicepool.toml", "workers = 2\n", seconds=SONG_S) as (
        here,
        voices,
        events,
    ):
        before = [here.session(guild) for guild in guilds()]
        await here.pool.drain(here.pool.workers[0])
        assert up(here.pool) == ["w0.2", "w1.1"]
        await asyncio.gather(*(voice.track.wait() for voice in voices if voice.track is not None))
        after = [here.session(guild) for guild in guilds()]
        for old, new in zip(before, after, strict=True):
            sessions = {old, new}
            assert sum(session.report().frames for session in sessions) == FRAMES
        assert sum(old is not new for old, new in zip(before, after, strict=True)) == CALLS / 2
        moves = [event for event in events if isinstance(event, CallMoved)]
        assert {(move.old, move.reason) for move in moves} == {("w0.1", MoveReason.DRAINED)}
        assert len(moves) == CALLS / 2


@asyncio_test
async def test_a_rolling_restart_and_other_settings(tmp_path: Path) -> None:
    file = tmp_path / "voicepool.toml"
    async with playing(file, "workers = 2\nspare_workers = 1\nbitrate_bps = 64000\n") as (
        here,
        voices,
        events,
    ):
        await until(lambda: any(info.state is WorkerState.SPARE for info in here.pool.workers))
        before = {info.name for info in here.pool.workers}
        await here.pool.restart()
        after = {info.name for info in here.pool.workers}
        assert not before & after
        assert len(up(here.pool)) == 2
        change(file, "bitrate_bps = 64000", "bitrate_bps = 96000")
        assert await here.pool.reload() in ({"bitrate_bps"}, frozenset())
        await until(lambda: not after & {info.name for info in here.pool.workers})
        await heard_anew(here)
        assert ConfigReloaded(frozenset({"bitrate_bps"}), replaced=True) in events
        assert_frames_in_order(here, voices)
