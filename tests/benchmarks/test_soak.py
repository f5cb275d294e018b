"""A very short run: that it comes to its end with all its figures, and that all it did went well."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from benchmarks.machine import Cores
from benchmarks.registry import BENCHMARKS, Options


def may_look_into_workers() -> bool:
    """Say whether this process has CAP_SYS_PTRACE, without which workers, not dumpable, show nothing."""
    found = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> 19 & 1)


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
        assert values["threads of the workers", "at first"] > 0
        assert values["descriptors of the bot", "at first"] > 0
        if may_look_into_workers():
            assert values["descriptors of the workers", "at first"] > 0
        for deed in ("play", "seek", "go through queue", "rejoin"):
            assert deed in result.notes[0]

    asyncio.run(scenario())
