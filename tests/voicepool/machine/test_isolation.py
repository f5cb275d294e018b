"""Who gets which core, on machines as they are."""

from __future__ import annotations

import pytest

from voicepool._machine.isolation import Core, Topology, explain_plan, parse_cpu_list, plan_cores


def plain(count: int, *, quota: float | None = None) -> Topology:
    """Cores with one thread each, all equal."""
    cores = tuple(Core(number, frozenset({number})) for number in range(count))
    return Topology(count, cores, quota)


def threaded(cores: int, *, allowed: set[int] | None = None) -> Topology:
    """Two threads a core, numbered as on x86: 0 and `cores` are the first core."""
    found = tuple(
        Core(number, frozenset({number % cores, number % cores + cores}))
        for number in range(2 * cores)
        if allowed is None or number in allowed
    )
    return Topology(len(found), found)


LAPTOP = threaded(8)
BIG_LITTLE = Topology(
    8, tuple(Core(number, frozenset({number}), 1_024 if number >= 4 else 446) for number in range(8))
)
CONTAINER = plain(64, quota=1.5)
MAC = Topology(10)


@pytest.mark.parametrize(
    ("topology", "count", "plan"),
    [
        pytest.param(plain(4), 3, [1, 2, 3], id="a core each, the first is the bot's"),
        pytest.param(plain(4), 4, [1, 2, 3, 0], id="the bot's core at last"),
        pytest.param(plain(4), 6, [1, 2, 3, 0, 1, 2], id="more workers than cores"),
        pytest.param(plain(1), 2, [0, 0], id="one core"),
        pytest.param(LAPTOP, 7, [1, 2, 3, 4, 5, 6, 7], id="8c/16t: no two threads of a core"),
        pytest.param(LAPTOP, 9, [1, 2, 3, 4, 5, 6, 7, 9, 10], id="8c/16t: then second threads"),
        pytest.param(LAPTOP, 16, [*range(1, 8), *range(9, 16), 8, 0], id="8c/16t: the bot's core at last"),
        pytest.param(threaded(8, allowed={2, 3}), 1, [3], id="cpuset 2-3"),
        pytest.param(threaded(8, allowed={2, 10}), 1, [10], id="cpuset of one core's threads"),
        pytest.param(BIG_LITTLE, 3, [4, 5, 6], id="big.LITTLE: the strong cores"),
        pytest.param(BIG_LITTLE, 6, [4, 5, 6, 7, 1, 2], id="big.LITTLE: then the others"),
        pytest.param(CONTAINER, 2, [None, None], id="a quota: nobody has a core to himself"),
        pytest.param(plain(4, quota=4.0), 2, [1, 2], id="a quota as large as the cores"),
        pytest.param(MAC, 2, [None, None], id="macOS, Windows"),
        pytest.param(plain(4), 0, [], id="no worker"),
    ],
)
def test_plans(topology: Topology, count: int, plan: list[int | None]) -> None:
    assert plan_cores(count, topology) == plan


@pytest.mark.parametrize("topology", [LAPTOP, BIG_LITTLE, plain(64), threaded(4, allowed={1, 2, 5})])
def test_those_who_are_there_keep_their_cores_while_there_is_one_for_each(topology: Topology) -> None:
    longest = plan_cores(topology.allowed, topology)
    assert sorted(core for core in longest if core is not None) == [core.number for core in topology.cores]
    for count in range(topology.allowed):
        assert plan_cores(count, topology) == longest[:count]


@pytest.mark.parametrize(
    ("topology", "usable"),
    [
        (LAPTOP, 8),
        (BIG_LITTLE, 8),
        (CONTAINER, 1),
        (plain(64, quota=4.0), 4),
        (plain(8, quota=0.5), 1),
        (plain(2, quota=8.0), 2),
        (MAC, 10),
    ],
)
def test_usable_cores_are_physical_and_within_the_quota(topology: Topology, usable: int) -> None:
    assert topology.usable == usable


@pytest.mark.parametrize(
    ("topology", "count", "words"),
    [
        (LAPTOP, 7, ""),
        (plain(2), 1, ""),
        (plain(64, quota=4.0), 3, ""),
        (CONTAINER, 1, "one worker and the bot share a CPU quota of 1.5 cores"),
        (CONTAINER, 1, "raise the quota to 2 cores"),
        (CONTAINER, 2, "the kernel stops all of them for the rest of each period"),
        (CONTAINER, 2, "set workers to 1"),
        (plain(2), 2, "2 workers and the bot share 2 cores: sound may be late while the bot computes"),
        (plain(2), 3, "3 workers share 2 cores: while one encodes another waits"),
        (plain(1), 1, "one worker and the bot share one core"),
        (LAPTOP, 8, "8 workers and the bot share 8 cores with several threads each"),
        (LAPTOP, 8, "give this process 9 cores"),
        (MAC, 10, "set workers to 9"),
    ],
)
def test_what_is_put_up_with_is_said(topology: Topology, count: int, words: str) -> None:
    said = explain_plan(count, topology)
    assert (words in said) if words else said == ""


@pytest.mark.parametrize(
    ("text", "numbers"), [("0\n", [0]), ("0-3,8\n", [0, 1, 2, 3, 8]), ("2,10", [2, 10]), ("4-4", [4])]
)
def test_lists_of_cpus(text: str, numbers: list[int]) -> None:
    assert parse_cpu_list(text) == numbers


@pytest.mark.parametrize("text", ["", "all", "1-", "1,,2"])
def test_what_is_no_list_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_cpu_list(text)
