"""A very short run: that it comes to its end with all its figures, and that all it did went well."""

from __future__ import annotations

import asyncio

from benchmarks.machine import Cores
from benchmarks.registry import BENCHMARKS, Options


def test_everything_goes_well_and_is_counted() -> None:
    async def scenario() -> None:
        result = await BENCHMARKS["soak"].load()(Options(cores=Cores.plan(), quick=True))
        assert result.name == "soak"
        values = {(figure.group, figure.name): figure.value for figure in result.figures}
        whole = {name: value for (group, name), value in values.items() if group.startswith("the whole run")}
        assert whole == {"guilds lost": 0, "workers lost": 0, "deeds that failed": 0, "rules broken": 0}, (
            result.notes
        )
        for part in ("the bot", "worker w0.1", "worker w1.1"):
            assert values[f"memory of {part}", "at first"] > 1.0
            assert (f"memory of {part}", "slope") in values
        for what in ("descriptors", "threads"):
            assert values[f"{what} of the workers", "at first"] > 0
        for deed in ("play", "seek", "go through queue", "rejoin"):
            assert deed in result.notes[0]

    asyncio.run(scenario())
