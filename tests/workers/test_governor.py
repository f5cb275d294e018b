"""When the complexity is lowered and raised again, on a clock moved by hand."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from voicepool.workers.governor import (
    EARLY_S,
    FIRST_CALM_S,
    LONGEST_CALM_S,
    LOOK_S,
    PRESSED_S,
    STEPS,
    Governor,
    Load,
    Verdict,
    cost,
)

RING_S = 0.16
FRAMES_PER_S = 50


@dataclass
class Model:
    """A worker whose encoder threads do what they can in the time there is.

    Attributes
    ----------
    demand
        Time per time that all frames would take at complexity 10, of which libopus takes `opus_share`.
    foreign_share
        What others take of the core while the threads want it.
    """

    demand: float = 0.5
    opus_share: float = 0.7
    foreign_share: float = 0.0
    wanted: int = 10
    calls: int = 100
    rescuing: bool = False
    tells_cpu: bool = True

    def __post_init__(self) -> None:
        self.governor = Governor(RING_S)
        self.now_s = 100.0
        self.load = Load(0.0, 0.001, 0.0, 0.0, 0, 0, 0, self.rescuing, self.wanted)
        self.verdicts: list[tuple[float, Verdict]] = []
        self.look()

    @property
    def complexity(self) -> int:
        ceiling = self.governor.ceiling
        return self.wanted if ceiling is None else min(ceiling, self.wanted)

    @property
    def ceilings(self) -> list[int | None]:
        return [verdict.ceiling for _, verdict in self.verdicts]

    def look(self) -> None:
        verdict = self.governor.look(self.now_s, self.load)
        if verdict is not None:
            self.verdicts.append((self.now_s, verdict))

    def run(self, seconds: float, **changes: float) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        for _ in range(round(seconds / LOOK_S)):
            self._step()
            self.look()

    def run_until(self, ceiling: int | None, at_most_s: float) -> float:
        """Run until this ceiling is in force; how long that took, in seconds."""
        begun_s = self.now_s
        while self.governor.ceiling != ceiling:
            self.run(LOOK_S)
            assert self.now_s - begun_s <= at_most_s, self.verdicts
        return self.now_s - begun_s

    def _step(self) -> None:
        load, due = self.load, round(self.calls * FRAMES_PER_S * LOOK_S)
        need = self.demand * (
            1 - self.opus_share + self.opus_share * cost(self.complexity) / cost(self.wanted)
        )
        room = 1.0 - self.foreign_share
        backlog_s = load.lag_s * need
        cpu_s = min(room * LOOK_S, need * LOOK_S + backlog_s)
        lag_s = (backlog_s + need * LOOK_S - cpu_s) / need
        made = round(due * cpu_s / (need * LOOK_S))
        opus_part = 1 - self.demand * (1 - self.opus_share) / need
        nulled = due if lag_s > RING_S else 0
        self.now_s += LOOK_S
        self.load = replace(
            load,
            worked_s=load.worked_s + cpu_s / room,
            cpu_s=load.cpu_s + cpu_s if self.tells_cpu else 0.0,
            opus_s=load.opus_s + cpu_s * opus_part,
            lag_s=min(lag_s, RING_S + LOOK_S),
            nulled=load.nulled + nulled,
            made=load.made + made,
            due=load.due + due,
            rescuing=self.rescuing,
        )


# Down.


@pytest.mark.parametrize("demand", [0.1, 0.5, 0.9])
def test_what_fits_is_left_alone(demand: float) -> None:
    model = Model(demand=demand)
    model.run(60.0)
    assert model.verdicts == []


@pytest.mark.parametrize("tells_cpu", [True, False])
def test_a_load_that_grows_is_met_before_any_frame_is_missing(*, tells_cpu: bool) -> None:
    model = Model(demand=0.5, tells_cpu=tells_cpu)
    for demand in range(50, 131):
        model.run(0.1, demand=demand / 100)
    model.run(10.0)
    assert model.load.nulled == 0
    assert model.ceilings[0] == 5
    assert model.complexity < 10


@pytest.mark.parametrize("demand", [1.1, 1.3, 1.6])
def test_too_much_at_once_is_met_within_half_a_second(demand: float) -> None:
    model = Model()
    model.run(5.0)
    begun_s = model.now_s
    model.run(3.0, demand=demand)
    first_s, verdict = model.verdicts[0]
    assert first_s - begun_s <= EARLY_S + LOOK_S
    assert verdict.ceiling == 5
    assert verdict.worked_share > 0.93
    model.run(2.0)
    assert model.load.lag_s == 0.0, "the rings have recovered"


def test_the_rings_are_not_left_to_run_dry_while_it_is_found_out_for_sure() -> None:
    model = Model()
    model.run(5.0)
    begun_s = model.now_s
    model.run(1.0, demand=1.6)
    assert model.verdicts[0][0] - begun_s <= PRESSED_S + 2 * LOOK_S
    assert model.load.nulled == 0


def test_it_goes_down_step_by_step_and_no_further_than_it_helps() -> None:
    model = Model(demand=1.5)
    model.run(3.0)
    assert model.ceilings == list(STEPS)[: len(model.ceilings)]
    before = list(model.ceilings)
    model.run(FIRST_CALM_S - 1.0)
    assert model.ceilings == before
    assert model.governor.sheds == len(before)


def test_when_nothing_helps_it_stays_at_the_lowest() -> None:
    model = Model(demand=4.0)
    model.run(30.0)
    assert model.ceilings == [5, 2, 0]


@pytest.mark.parametrize(("wanted", "steps"), [(10, [5, 2, 0]), (5, [2, 0]), (3, [2, 0]), (1, [0]), (0, [])])
def test_it_is_never_above_what_is_configured(wanted: int, steps: list[int]) -> None:
    model = Model(demand=4.0, wanted=wanted)
    model.run(10.0)
    assert model.ceilings == steps


def test_many_calls_that_begin_at_once_are_no_overload() -> None:
    model = Model(demand=0.55)
    model.run(2.0)
    # Their rings are to be filled first, and their sources opened by others on the same core.
    model.load = replace(model.load, lag_s=0.12)
    model.run(0.3, foreign_share=0.4)
    model.run(5.0, foreign_share=0.0)
    assert model.verdicts == []


def test_a_thread_of_the_idle_class_that_gets_no_turn_is_the_business_of_the_rescue() -> None:
    model = Model(demand=0.3)
    model.run(1.0)
    model.run(0.5, foreign_share=0.95)
    assert model.verdicts == []
    model.rescuing = True
    model.run(1.0)
    assert model.ceilings[:1] == [5], "the rescue does not get enough either"


def test_a_machine_that_slept_is_no_overload() -> None:
    model = Model(demand=0.5)
    model.run(2.0)
    model.now_s += 3_600.0
    model.load = replace(
        model.load,
        worked_s=model.load.worked_s + 3_600.0,
        cpu_s=model.load.cpu_s + 3_600.0,
        lag_s=0.5,
        nulled=model.load.nulled + 100,
    )
    model.look()
    model.load = replace(model.load, lag_s=0.0)
    model.run(5.0)
    assert model.verdicts == []


def test_two_looks_at_the_same_time_are_one() -> None:
    model = Model(demand=0.5)
    model.look()
    model.run(5.0)
    assert model.verdicts == []


# Up.


def test_it_recovers_slowly_a_step_at_a_time() -> None:
    model = Model(demand=2.0)
    model.run(3.0)
    assert model.governor.ceiling == 0
    model.demand = 0.3
    times_s = [model.run_until(ceiling, at_most_s=20.0) for ceiling in (2, 5, None)]
    assert all(time_s >= FIRST_CALM_S for time_s in times_s)
    assert model.ceilings == [5, 2, 0, 2, 5, None]
    model.run(60.0)
    assert model.ceilings == [5, 2, 0, 2, 5, None]


def test_it_does_not_rise_into_what_would_not_fit() -> None:
    model = Model(demand=1.2)
    model.run(300.0)
    assert model.ceilings in ([5], [5, 2])


def test_what_it_has_foreseen_is_what_libopus_costs() -> None:
    # All but libopus takes 60 %: a higher complexity is dear in proportion to the rest only.
    model = Model(demand=2.0, opus_share=0.4)
    model.run(3.0)
    model.run(40.0, demand=0.7)
    assert model.governor.ceiling is None


def test_a_relapse_doubles_the_calm_before_the_next_rise() -> None:
    model = Model(demand=2.0, wanted=2)
    model.run(2.0)
    assert model.governor.ceiling == 0
    calms_s = []
    for _ in range(9):
        # Whenever it has risen, others come.
        model.demand = 0.4
        calms_s.append(model.run_until(None, at_most_s=3 * LONGEST_CALM_S))
        model.demand = 2.0
        model.run_until(0, at_most_s=2.0)
    assert calms_s[0] == pytest.approx(FIRST_CALM_S, abs=1.0)
    for before_s, after_s in itertools.pairwise(calms_s):
        assert after_s == pytest.approx(min(2 * before_s, LONGEST_CALM_S), abs=2.0)
    assert calms_s[-1] == pytest.approx(LONGEST_CALM_S, abs=2.0)


def test_a_relapse_after_a_long_time_is_another_matter() -> None:
    model = Model(demand=2.0, wanted=2)
    model.run(2.0)
    model.demand = 0.4
    model.run_until(None, at_most_s=20.0)
    model.demand = 2.0
    model.run_until(0, at_most_s=2.0)
    model.demand = 0.4
    model.run_until(None, at_most_s=20.0)
    model.run(600.0)
    model.demand = 2.0
    model.run_until(0, at_most_s=2.0)
    model.demand = 0.4
    assert model.run_until(None, at_most_s=20.0) == pytest.approx(FIRST_CALM_S, abs=1.0)


def test_a_missing_frame_begins_the_calm_anew() -> None:
    model = Model(demand=2.0, wanted=2)
    model.run(2.0)
    model.run(FIRST_CALM_S - 1.0, demand=0.3)
    model.load = replace(model.load, nulled=model.load.nulled + 1)
    assert model.run_until(None, at_most_s=20.0) >= FIRST_CALM_S


def test_the_verdict_says_what_led_to_it() -> None:
    model = Model(demand=1.6, foreign_share=0.2)
    model.run(3.0)
    _, verdict = model.verdicts[0]
    assert verdict.worked_share == pytest.approx(1.0)
    assert verdict.cpu_share == pytest.approx(0.8)
    assert verdict.lag_ms > 0.0


def test_costs_between_those_that_were_measured_lie_between() -> None:
    costs = [cost(complexity) for complexity in range(11)]
    assert costs == sorted(costs)
    assert (costs[0], costs[10]) == (0.37, 1.0)
    assert PRESSED_S < EARLY_S
