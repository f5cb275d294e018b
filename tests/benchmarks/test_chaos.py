"""A very short run: that it comes to its end with all its figures, and that nobody is lost."""

from __future__ import annotations

import asyncio

from benchmarks.machine import Cores
from benchmarks.registry import BENCHMARKS, Options


def test_one_worker_is_killed_and_no_guild_is_lost() -> None:
    async def scenario() -> None:
        result = await BENCHMARKS["chaos"].load()(Options(cores=Cores.plan(), quick=True))
        assert result.name == "chaos"
        values = {figure.name: figure.value for figure in result.figures}
        for name in ("guilds lost", "orphans on the way", "orphans at the end", "rules broken"):
            assert values[name] == 0, result.notes
        assert values["nonces used twice"] == 0
        assert values["gap p50"] <= values["gap p99"] <= values["gap max"]
        assert values["position error max"] <= 1_000.0
        (figure,) = [figure for figure in result.figures if figure.name == "late p99, in chaos"]
        assert figure.bare is not None
        assert any("WorkerLost 1" in note for note in result.notes), result.notes

    asyncio.run(scenario())
