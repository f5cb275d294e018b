"""Which violations are the machine's own, when it stops for a while, and which are never excused."""

from __future__ import annotations

import dataclasses

import pytest

from tests.fakes.running import asyncio_test
from tests.integration.calls import rules_broken, world

LEAP = "an RTP timestamp moved by {} after a frame of 960 samples; only after five silence frames may it leap"


@pytest.mark.parametrize(
    ("sentence", "excused"),
    [
        (LEAP.format(10_560), True),
        (LEAP.format(10_561), False),
        (LEAP.format(-960), False),
        ("opcode 3 came before opcode 0", False),
    ],
)
def test_only_a_leap_by_whole_frames_is_excused(sentence: str, *, excused: bool) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with world() as here:
            voice = await here.join()
            report = dataclasses.replace(here.session().report(), violations=(sentence,))
            await voice.disconnect()
        assert rules_broken(report) == ([] if excused else [sentence])

    scenario()
