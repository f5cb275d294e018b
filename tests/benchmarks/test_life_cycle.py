"""The life-cycle matrix: a few rows of it run, and the table in ARCHITECTURE.md has them all."""

from __future__ import annotations

import asyncio

from benchmarks.life_cycle import rows
from benchmarks.machine import ROOT, Cores
from benchmarks.outcomes import MARKERS, names
from benchmarks.registry import BENCHMARKS, Options


def test_the_quick_version_ends_as_expected() -> None:
    async def scenario() -> None:
        result = await BENCHMARKS["life_cycle"].load()(Options(cores=Cores.plan(), quick=True))
        assert result.name == "life_cycle"
        assert [outcome.fault for outcome in result.outcomes] == [row.fault for row in rows(quick=True)]
        assert [outcome.complaint for outcome in result.outcomes] == [None] * len(rows(quick=True))
        (figure,) = result.figures
        assert (figure.name, figure.value) == ("unexpected ends", 0)
        heard = {outcome.fault: outcome for outcome in result.outcomes}
        assert heard["nothing at all"].lost == 0
        assert heard["nothing at all"].ops == ""
        assert heard["voice websocket cut"].ops.startswith("7")
        assert heard["kicked"].lost is None

    asyncio.run(scenario())


def test_the_table_in_the_document_has_these_rows_and_no_others() -> None:
    document = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = document.partition(MARKERS[0])[2].partition(MARKERS[1])[0]
    expected = [(row.fault, row.expected.text) for row in rows()]
    assert names(table) == expected, "run: python -m benchmarks life_cycle --markdown"
