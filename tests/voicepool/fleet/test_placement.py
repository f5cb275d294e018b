"""Which worker takes a call."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.voicepool.fleet.test_gauge import report
from voicepool._fleet.gauge import Costs, Gauge
from voicepool._fleet.placement import (
    LATE_MS,
    Ceilings,
    Load,
    Refusal,
    choose_worker,
    cost,
    measure,
    refusal,
)
from voicepool.errors import PoolFullError

CEILINGS = Ceilings(max_calls=100, full_share=0.85)
COSTS = Costs()
IDLE = Load(name="w0.1", calls=0)
LOADS = st.lists(
    st.builds(
        Load,
        name=st.sampled_from(["w0.1", "w1.4"]),
        calls=st.integers(0, 20),
        playing=st.integers(0, 20),
        fresh=st.integers(0, 3),
        cpu_share=st.floats(0, 1),
        steady_share=st.floats(0, 1),
        late_p99_ms=st.floats(0, 50),
        lag_ms=st.floats(0, 1_000),
        shed=st.integers(0, 3),
        exhausted=st.booleans(),
        on_air=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def choose(*loads: Load, ceilings: Ceilings = CEILINGS, exists: bool = False) -> int:
    return choose_worker(loads, ceilings, COSTS, exists=exists)


def with_(**fields: object) -> Load:
    return dataclasses.replace(IDLE, **fields)  # type: ignore[arg-type]


def test_without_figures_the_count_decides() -> None:
    assert choose(with_(calls=2, fresh=2), with_(calls=1, fresh=1), with_(calls=3, fresh=3)) == 1


def test_equal_workers_are_filled_in_order() -> None:
    assert choose(with_(calls=1), with_(calls=1)) == 0


def test_the_measured_load_outweighs_the_count() -> None:
    assert choose(with_(calls=1, playing=1, cpu_share=0.5), with_(calls=5)) == 1


def test_an_encoder_at_work_counts_though_it_is_kept_from_the_core() -> None:
    assert choose(with_(encoder_share=0.6, cpu_share=0.1), with_(cpu_share=0.3)) == 1


def test_calls_that_came_since_the_report_count() -> None:
    assert choose(with_(calls=30, fresh=30), with_(calls=10, playing=10, cpu_share=0.1)) == 1


def test_calls_that_do_not_play_count_for_less_than_those_that_do() -> None:
    idle, playing = with_(calls=10), with_(calls=10, playing=10, cpu_share=10 * COSTS.playing)
    assert 0 < cost(idle, COSTS) < cost(playing, COSTS)


@pytest.mark.parametrize(
    "trouble",
    [{"late_p99_ms": 8.0}, {"lag_ms": 400.0}, {"shed": 1}],
)
def test_a_worker_in_trouble_is_avoided(trouble: dict[str, float]) -> None:
    assert choose(with_(**trouble), with_(cpu_share=0.2)) == 1


def test_what_any_machine_has_is_no_trouble() -> None:
    assert cost(with_(late_p99_ms=1.0, lag_ms=20.0), COSTS) == 0.0


def test_calls_of_a_station_are_kept_together_until_the_worker_is_full() -> None:
    on_air = with_(calls=50, playing=50, cpu_share=0.6, on_air=True)
    assert choose(on_air, IDLE) == 0
    assert choose(dataclasses.replace(on_air, calls=100), IDLE) == 1


@pytest.mark.parametrize("trouble", [{"shed": 5}, {"late_p99_ms": 15.0}])
def test_a_station_is_not_gone_after_to_where_it_would_sound_worse(trouble: dict[str, float]) -> None:
    assert choose(with_(on_air=True, **trouble), IDLE) == 1
    assert choose(with_(on_air=True, **trouble)) == 0, "rather there than nowhere"


def test_calls_that_hear_a_station_cost_next_to_nothing() -> None:
    ten = cost(with_(calls=10, fresh=10, fresh_passing=10), COSTS)
    assert ten < cost(with_(calls=2, fresh=2), COSTS)


def test_a_full_worker_is_passed_over_whatever_it_costs() -> None:
    one = Ceilings(max_calls=1)
    assert choose(with_(calls=1), with_(cpu_share=0.9), ceilings=one) == 1


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (with_(calls=100), Refusal.CALLS),
        (with_(steady_share=0.85), Refusal.CPU),
        (with_(shed=10, exhausted=True), Refusal.ENCODER),
        (with_(calls=99, steady_share=0.84, cpu_share=1.0, shed=5), None),
    ],
)
def test_what_makes_a_worker_full(load: Load, why: Refusal | None) -> None:
    assert refusal(load, CEILINGS) is why


def test_a_full_pool_is_refused_with_the_figures_of_each_worker() -> None:
    loads = (
        with_(calls=100, steady_share=0.5),
        with_(name="w1.3", calls=7, steady_share=0.912),
        with_(name="w2.1", calls=40, steady_share=0.7, shed=10, exhausted=True),
    )
    with pytest.raises(PoolFullError, match=r"147 calls on 3 running workers, 100 allowed on each") as caught:
        choose(*loads)
    text = str(caught.value)
    for figures in ("w0.1: 100 calls, 0.50 of a core", "w1.3: 7 calls, 0.91 of a core", "complexity"):
        assert figures in text
    for knob in ("workers", "max_calls_per_worker", "full_share", "complexity"):
        assert knob in text.rpartition("change")[2]
    assert caught.value.data == {
        "calls": 147,
        "workers": 3,
        "max_calls_per_worker": 100,
        "full_share": 0.85,
        "w0.1:calls": 100,
        "w0.1:cpu_share": 0.5,
        "w0.1:refusal": "calls",
        "w1.3:calls": 7,
        "w1.3:cpu_share": 0.912,
        "w1.3:refusal": "cpu",
        "w2.1:calls": 40,
        "w2.1:cpu_share": 0.7,
        "w2.1:refusal": "encoder",
    }


def test_a_call_that_exists_goes_where_new_ones_are_refused_but_never_where_there_is_no_room() -> None:
    busy, exhausted = with_(steady_share=0.95, cpu_share=0.95), with_(shed=10, exhausted=True)
    assert choose(busy, exhausted, exists=True) == 1
    assert choose(busy, with_(cpu_share=0.8), exists=True) == 1, "others come first"
    with pytest.raises(PoolFullError):
        choose(busy, exhausted)
    with pytest.raises(PoolFullError):
        choose(with_(calls=100), exists=True)


def test_a_hundred_calls_within_a_second_are_spread_by_what_each_worker_has_left() -> None:
    loads = [with_(cpu_share=share) for share in (0.0, 0.0, 0.5)]
    for _ in range(100):
        index = choose(*loads)
        loads[index] = dataclasses.replace(
            loads[index], calls=loads[index].calls + 1, fresh=loads[index].fresh + 1
        )
    first, second, busy = (load.calls for load in loads)
    assert abs(first - second) <= 1
    assert busy < 20


def test_a_worker_is_measured_by_its_reports_and_its_calls() -> None:
    gauge = Gauge()
    assert measure(gauge, name="w0.1", calls=3, fresh=3, complexity=10) == with_(calls=3, fresh=3)
    gauge.take(report(1.0, 0.0))
    gauge.take(report(2.0, 0.5, playing=2, idle=1, encoder_share=0.3, loop_lag_ms=7.0, complexity=4))
    load = measure(gauge, name="w0.1", calls=4, fresh=1, fresh_passing=1, complexity=10, on_air=True)
    assert (load.cpu_share, load.encoder_share, load.lag_ms) == (0.5, 0.3, 7.0)
    assert (load.calls, load.playing, load.fresh, load.fresh_passing, load.on_air) == (4, 2, 1, 1, True)
    assert (load.shed, load.exhausted) == (6, False)
    assert load.steady_share == gauge.steady_share > 0


@pytest.mark.parametrize(
    ("configured", "reported", "shed", "exhausted"),
    [(10, 10, 0, False), (10, 0, 10, True), (0, 0, 0, False), (3, 10, 0, False)],
)
def test_only_what_was_shed_is_overload(configured: int, reported: int, shed: int, exhausted: bool) -> None:  # noqa: FBT001
    gauge = Gauge()
    gauge.take(report(1.0, 0.0, complexity=reported))
    load = measure(gauge, name="w0.1", calls=0, fresh=0, complexity=configured)
    assert (load.shed, load.exhausted) == (shed, exhausted)


@given(LOADS, st.booleans())
def test_the_choice_is_open_and_the_cheapest(loads: list[Load], exists: bool) -> None:  # noqa: FBT001
    ceilings = Ceilings(max_calls=10, full_share=0.85)
    refusals = [refusal(load, ceilings) for load in loads]
    open_for_it = [load for load, why in zip(loads, refusals, strict=True) if why is None]
    if not open_for_it and exists:
        open_for_it = [load for load in loads if load.calls < 10]
    if not open_for_it:
        with pytest.raises(PoolFullError):
            choose_worker(loads, ceilings, COSTS, exists=exists)
        return
    chosen = loads[choose_worker(loads, ceilings, COSTS, exists=exists)]
    assert chosen in open_for_it
    rivals = [each for each in open_for_it if each.on_air and not each.shed and each.late_p99_ms < LATE_MS]
    rivals = rivals or open_for_it
    assert cost(chosen, COSTS) == min(cost(load, COSTS) for load in rivals)
