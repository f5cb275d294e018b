"""Which worker takes a call, and which core a worker gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._placement import Load, choose_worker, cost, plan_cores
from voicepool.errors import PoolFullError

LOADS = st.lists(
    st.builds(
        Load,
        calls=st.integers(0, 20),
        playing=st.integers(0, 20),
        cpu_share=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=8,
)


def test_without_figures_the_count_decides() -> None:
    assert choose_worker([Load(calls=2), Load(calls=1), Load(calls=3)], max_calls=10) == 1


def test_equal_workers_are_filled_in_order() -> None:
    assert choose_worker([Load(calls=1), Load(calls=1)], max_calls=10) == 0


def test_the_measured_load_outweighs_the_count() -> None:
    busy = Load(calls=1, playing=1, cpu_share=0.5)
    idle = Load(calls=5, playing=0, cpu_share=0.0)
    assert choose_worker([busy, idle], max_calls=10) == 1


def test_calls_that_came_since_the_report_count() -> None:
    reported_idle = Load(calls=30, playing=0, cpu_share=0.0)
    reported_busy = Load(calls=10, playing=10, cpu_share=0.1)
    assert choose_worker([reported_idle, reported_busy], max_calls=100) == 1


def test_a_report_that_is_older_than_the_calls_it_counts_lowers_nothing() -> None:
    assert cost(Load(calls=0, playing=5, cpu_share=0.2)) == 0.2


def test_a_full_worker_is_passed_over_whatever_it_costs() -> None:
    assert choose_worker([Load(calls=1, cpu_share=0.0), Load(calls=0, cpu_share=0.9)], max_calls=1) == 1


def test_a_full_pool_is_refused_with_its_figures() -> None:
    with pytest.raises(PoolFullError, match=r"6 calls on 2 running workers, 3 allowed") as caught:
        choose_worker([Load(calls=3), Load(calls=3)], max_calls=3)
    assert caught.value.data == {"calls": 6, "workers": 2, "max_calls_per_worker": 3}


@given(LOADS)
def test_the_choice_is_open_and_the_cheapest(loads: list[Load]) -> None:
    if all(load.calls >= 10 for load in loads):
        with pytest.raises(PoolFullError):
            choose_worker(loads, max_calls=10)
        return
    chosen = loads[choose_worker(loads, max_calls=10)]
    assert chosen.calls < 10
    assert cost(chosen) == min(cost(load) for load in loads if load.calls < 10)


@pytest.mark.parametrize(
    ("workers", "cores", "plan"),
    [
        (1, [0, 1], [1]),
        (3, [0, 1, 2, 3], [1, 2, 3]),
        (2, [4, 9, 11], [9, 11]),
        (2, [0, 1], [0, 1]),
        (3, [0, 1], [0, 1, 0]),
        (5, [0, 1], [0, 1, 0, 1, 0]),
        (2, [0], [0, 0]),
        (2, [], [None, None]),
    ],
)
def test_cores_are_planned(workers: int, cores: list[int], plan: list[int | None]) -> None:
    assert plan_cores(workers, cores) == plan


@given(st.integers(1, 40), st.lists(st.integers(0, 200), max_size=20, unique=True))
def test_each_worker_has_a_core_of_its_own_when_there_are_enough(workers: int, cores: list[int]) -> None:
    plan = plan_cores(workers, cores)
    assert len(plan) == workers
    if len(cores) >= workers:
        assert len(set(plan)) == workers
    if len(cores) > workers:
        assert cores[0] not in plan
    if cores:
        shares = [plan.count(core) for core in set(plan)]
        assert max(shares) - min(shares) <= 1
