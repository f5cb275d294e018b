from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.machine import Cores
from benchmarks.rig import BenchmarkError, Rig, Totals, open_rig, open_sources


def test_what_was_played_is_what_was_counted() -> None:
    async def scenario() -> Totals:
        async with open_sources(20.0) as sources, open_rig(Cores.plan(), complexity=0) as rig:
            await rig.play(sources.opus, 2, settle_s=0.0)
            span = await rig.measure(0.2)
            assert span.frames > 0
            with pytest.raises(BenchmarkError, match="while the worker works"):
                await rig.bare("demux", sources.opus, seconds=0.001)
            await rig.stop()
            assert await rig.bare("demux", sources.opus, seconds=0.001) > 0
            # A call that is there already is used again.
            await rig.play(sources.wav, 1, settle_s=0.0)
            await rig.stop()
            assert len(rig.pool.connections) == 2
            return await rig.totals()

    totals = asyncio.run(scenario())
    assert totals.sent == totals.received > 0
    assert (totals.lost, totals.violations) == (0, [])


def test_overlays_are_heard_beside_the_track_and_end_with_it() -> None:
    async def scenario() -> None:
        async with (
            open_sources(20.0) as sources,
            open_rig(Cores.plan(), dave=True, complexity=0) as rig,
        ):
            await rig.play(sources.wav, 1, settle_s=0.0, overlays=[sources.wav, sources.mp3], volume=0.3)
            (call,) = (await rig.look()).stats.calls
            assert len(call.tracks) == 3
            rig.pause()
            await rig.stop()
            (connection,) = rig.pool.connections
            assert connection.stopped
            assert rig.worker_pid == rig.pool.workers[0].pid

    asyncio.run(scenario())


def test_a_source_that_ends_too_early_is_an_error_and_not_a_figure() -> None:
    async def scenario() -> None:
        async with open_sources(0.3) as sources, open_rig(Cores.plan()) as rig:
            await rig.play(sources.opus, 1, settle_s=0.0)
            await asyncio.wait(rig._tasks, timeout=30)
            await rig.measure(0.01)

    with pytest.raises(BenchmarkError, match="ended before the measurement did"):
        asyncio.run(scenario())


def test_the_sources_are_removed() -> None:
    async def scenario() -> list[Path]:
        async with open_sources(0.1) as sources:
            files = [sources.wav, sources.mp3, sources.opus]
            assert all(file.is_file() for file in files)
        return files

    assert not any(file.parent.exists() for file in asyncio.run(scenario()))


def totals(*, received: int, dropped_by_kernel: int = 0) -> Totals:
    return Totals(sent=10, received=received, dropped_by_kernel=dropped_by_kernel, violations=[])


def test_the_rules_broken_most_often_are_named() -> None:
    broken = [f"guild {guild}, user 1: a nonce was used twice" for guild in (1, 2)]
    broken += [f"guild 1, user 1: fault {number}" for number in range(5)]
    found = Rig.notes_of_loss(Totals(sent=1, received=1, dropped_by_kernel=0, violations=broken))
    assert found[0] == "broken 2 times: a nonce was used twice"
    assert len(found) == 3
    assert Rig.notes_of_loss(totals(received=10)) == []


class TestTotals:
    def test_what_did_not_arrive_is_lost(self) -> None:
        assert totals(received=7).lost == 3

    def test_what_the_stand_in_was_too_slow_for_is_not(self) -> None:
        assert totals(received=7, dropped_by_kernel=2).lost == 1

    def test_more_than_was_sent_is_no_negative_loss(self) -> None:
        assert totals(received=11).lost == 0
