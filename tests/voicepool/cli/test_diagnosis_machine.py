"""Cores, limits and links: each finding gets the right verdict, and whatever is not well a way out."""

from __future__ import annotations

from typing import Any

import pytest

from voicepool._machine.isolation import Core, Topology
from voicepool._machine.preflight import FileLimit, FileNeeds
from voicepool.cli._diagnosis import Check, Verdict
from voicepool.cli._diagnosis_machine import LinkFacts, judge_cores, judge_files, judge_links, judge_workers
from voicepool.config import PoolConfig

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

EIGHT = Topology(8, tuple(Core(number, frozenset({number})) for number in range(8)))
LAPTOP = Topology(4, tuple(Core(number, frozenset({number % 2, number % 2 + 2})) for number in range(4)))
ARM = Topology(
    4, tuple(Core(number, frozenset({number}), 1_024 if number > 1 else 400) for number in range(4))
)
CONTAINER = Topology(EIGHT.allowed, EIGHT.cores, quota=1.5)
MAC = Topology(10)
CURVE = "encrypted, both sides prove who they are (CURVE)"


def well_said(check: Check) -> Check:
    assert (check.verdict is OK) == (not check.fix)
    assert not check.fix or check.fix.endswith(".")
    return check


@pytest.mark.parametrize(
    ("topology", "found"),
    [
        (EIGHT, "8, no CPU quota"),
        (LAPTOP, "4 threads of 2, no CPU quota"),
        (ARM, "4, 2 of them weaker, no CPU quota"),
        (CONTAINER, "8, a CPU quota of 1.5"),
        (MAC, "10, no CPU quota"),
    ],
)
def test_cores(topology: Topology, found: str) -> None:
    assert judge_cores(topology) == Check("cores", OK, found)


@pytest.mark.parametrize(
    ("config", "topology", "count", "verdict", "found"),
    [
        ({}, EIGHT, 3, OK, "3 (auto), on cores 1, 2, 3; core 0 is left to the bot"),
        ({"workers": 1}, LAPTOP, 1, OK, "1 (from the config), on core 1; core 0 is left to the bot"),
        (
            {"workers": 8},
            EIGHT,
            8,
            WARN,
            "8 (from the config), on cores 1, 2, 3, 4, 5, 6, 7, 0; core 0 is the",
        ),
        ({}, CONTAINER, 1, WARN, "1 (auto), on any core: under a quota none is theirs alone"),
        ({}, MAC, 9, OK, "9 (auto), on any core: this platform cannot pin a process"),
        ({"pin_workers": False}, EIGHT, 2, OK, "2 (auto), on any core, as the config says"),
    ],
)
def test_workers(
    config: dict[str, Any], topology: Topology, count: int, verdict: Verdict, found: str
) -> None:
    check = well_said(judge_workers(PoolConfig(**config), topology, count))
    assert check.verdict is verdict
    assert check.found.startswith(found)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(None, OK), (FileLimit(1_024, 1 << 20), OK), (FileLimit(256, 2_564), OK), (FileLimit(256, 2_563), WARN)],
)
def test_open_files(limit: FileLimit | None, verdict: Verdict) -> None:
    check = well_said(judge_files(FileNeeds.of(workers=2, calls=500), limit))
    assert check.verdict is verdict
    assert "a full worker needs 2564, the bot 280" in check.found
    assert verdict is OK or "ulimit -n 2564" in check.fix


UNIX = LinkFacts(unix=True, curve=True, place="/tmp")
NO_PLACE = LinkFacts(unix=True, curve=True, problem="no space left")


@pytest.mark.parametrize(
    ("ipc", "links", "verdict", "found"),
    [
        ("auto", UNIX, OK, f"Unix sockets in a directory of /tmp that only this user can enter; {CURVE}"),
        ("unix", UNIX, OK, "Unix sockets"),
        ("auto", LinkFacts(unix=True, curve=False, place="/tmp"), WARN, "Unix sockets"),
        ("tcp", UNIX, OK, f"TCP on loopback, {CURVE}"),
        ("tcp", NO_PLACE, OK, f"TCP on loopback, {CURVE}"),
        ("auto", NO_PLACE, WARN, f"TCP on loopback, {CURVE} (no space left)"),
        ("unix", NO_PLACE, FAIL, "no Unix sockets to be had (no space left)"),
        ("auto", LinkFacts(unix=False, curve=True), OK, f"TCP on loopback, {CURVE}"),
        ("unix", LinkFacts(unix=False, curve=True), FAIL, "no Unix sockets to be had"),
        ("auto", LinkFacts(unix=False, curve=False), FAIL, "TCP on loopback, and this ZeroMQ has no CURVE"),
    ],
)
def test_links(ipc: Any, links: LinkFacts, verdict: Verdict, found: str) -> None:
    check = well_said(judge_links(PoolConfig(ipc=ipc), links))
    assert check.verdict is verdict
    assert check.found.startswith(found)
