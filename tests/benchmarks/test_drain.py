"""A very short run: two workers are drained, then there is one, and no frame is missing or repeated."""

from __future__ import annotations

import asyncio

from benchmarks.machine import Cores
from benchmarks.registry import BENCHMARKS, Options


def test_no_guild_and_no_frame_is_lost() -> None:
    async def scenario() -> None:
        result = await BENCHMARKS["drain"].load()(Options(cores=Cores.plan(), quick=True))
        assert result.name == "drain"
        groups = {figure.group.partition(":")[0] for figure in result.figures}
        assert {"drain a worker", "file"} <= groups
        values = {figure.name: figure.value for figure in result.figures}
        for name in ("guilds lost", "frames left out", "frames repeated", "orphans at the end"):
            assert values[name] == 0, (name, result.notes)
        assert values["rules broken"] == values["nonces used twice"] == 0

    asyncio.run(scenario())
