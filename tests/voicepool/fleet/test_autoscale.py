"""How many workers there should be, on traces of what they have to do. The time is the test's."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from voicepool._fleet.autoscale import COMING_S, SLACK_S, Autoscaler, Bounds
from voicepool._fleet.placement import Ceilings, Load

CEILINGS = Ceilings(max_calls=100, full_share=0.8)
BOUNDS = Bounds(1, 8)


class Trace:
    """A pool that obeys: a new worker is there at the next second, and the load spreads evenly."""

    def __init__(self, wanted: int = 1) -> None:
        self.scaler = Autoscaler()
        self.wanted = wanted
        self.now = 1_000.0
        self.refused = 0
        self.changes: list[tuple[float, int]] = []

    def run(self, seconds: float, demand: Callable[[float], float], calls: int = 0) -> list[int]:
        """Let time pass; ``demand(t)`` is in cores. Returns the numbers of workers that were wanted."""
        seen = []
        begin = self.now
        while self.now < begin + seconds:
            share = demand(self.now - begin) / self.wanted
            loads = [
                Load(name=f"w{index}.1", calls=calls // self.wanted, cpu_share=share, steady_share=share)
                for index in range(self.wanted)
            ]
            self.look(loads)
            seen.append(self.wanted)
            self.now += 1.0
        return seen

    def look(self, loads: list[Load], bounds: Bounds = BOUNDS) -> int:
        target = self.scaler.look(
            self.now,
            loads,
            wanted=self.wanted,
            refused=self.refused,
            ceilings=CEILINGS,
            bounds=bounds,
        )
        if target != self.wanted:
            self.changes.append((self.now, target))
            self.wanted = target
        return target


def load(share: float, **more: int) -> Load:
    fields: dict[str, int] = {"calls": 0} | more
    return Load(name="w0.1", cpu_share=share, steady_share=share, **fields)  # type: ignore[arg-type]


def test_a_quiet_pool_stays_as_it_is() -> None:
    assert set(Trace().run(3_600, lambda _t: 0.05)) == {1}


def test_a_worker_is_added_within_seconds_of_want_and_not_at_a_spike() -> None:
    trace = Trace()
    trace.run(60, lambda _t: 0.1)
    trace.run(1, lambda _t: 0.78)
    assert set(trace.run(120, lambda _t: 0.1)) == {1}
    seen = trace.run(5, lambda _t: 0.75)
    assert seen[:2] == [1, 1]
    assert seen[-1] > 1


def test_a_call_that_found_no_place_adds_a_worker_at_once() -> None:
    trace = Trace()
    assert trace.look([load(0.2)]) == 1
    trace.refused = 1
    assert trace.look([load(0.2)]) == 2


def test_what_came_within_a_minute_may_come_again() -> None:
    slow, fast = Trace(), Trace()
    slow.run(600, lambda t: 0.5 * min(1.0, t / 500))
    fast.run(20, lambda t: 0.5 * min(1.0, t / 10))
    assert slow.wanted == 1
    assert fast.wanted == 2


def test_calls_are_a_load_too() -> None:
    trace = Trace()
    trace.run(10, lambda _t: 0.0, calls=90)
    assert trace.wanted > 1


def test_it_goes_down_after_minutes_one_at_a_time() -> None:
    trace = Trace(wanted=4)
    trace.run(4 * SLACK_S, lambda _t: 0.1)
    assert trace.wanted == 1
    assert [target for _, target in trace.changes] == [3, 2, 1]
    pauses = [
        after - before for (before, _), (after, _) in zip(trace.changes, trace.changes[1:], strict=False)
    ]
    assert trace.changes[0][0] - 1_000.0 >= SLACK_S
    assert all(pause >= SLACK_S for pause in pauses)


def test_load_that_comes_and_goes_by_the_minute_keeps_its_workers() -> None:
    trace = Trace()
    trace.run(300, lambda t: 1.1 if t % 60 < 30 else 0.1)
    settled = trace.wanted
    assert settled > 1
    assert set(trace.run(1_800, lambda t: 1.1 if t % 60 < 30 else 0.1)) == {settled}


def test_a_worker_that_sheds_has_no_headroom_though_it_has_time() -> None:
    trace = Trace()
    for _ in range(4):
        trace.look([load(0.1, shed=3)])
        trace.now += 1.0
    assert trace.wanted == 2


def test_one_that_sheds_beside_an_empty_one_adds_nothing() -> None:
    trace = Trace(wanted=2)
    for _ in range(30):
        trace.look([load(0.7, shed=3), load(0.0)])
        trace.now += 1.0
    assert trace.wanted == 2


def test_while_workers_come_up_no_more_are_wanted() -> None:
    trace = Trace(wanted=3)
    for _ in range(30):
        trace.look([load(0.79)])
        trace.now += 1.0
    assert trace.wanted == 3


def test_bounds_that_were_lowered_leave_each_call_its_place() -> None:
    trace = Trace(wanted=4)
    three_and_a_half = [load(0.1, calls=calls) for calls in (100, 100, 100, 50)]
    assert trace.look(three_and_a_half, Bounds(1, 2)) == 4
    assert trace.look([load(0.1, calls=70)] * 4, Bounds(1, 2)) == 3
    assert trace.look([load(0.1, calls=60)] * 3, Bounds(1, 2)) == 2


def test_other_bounds_hold_at_once() -> None:
    trace = Trace(wanted=4)
    assert trace.look([load(0.1)] * 4, Bounds(1, 2)) == 2
    assert trace.look([load(0.1)] * 2, Bounds(3, 8)) == 3


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 120), st.integers(0, 5), st.integers(0, 2)),
        min_size=1,
        max_size=200,
    ),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_it_never_leaves_the_bounds(steps: list[tuple[float, int, int, int]], fewest: int, more: int) -> None:
    bounds = Bounds(fewest, fewest + more)
    trace = Trace(wanted=fewest)
    for share, calls, shed, refused in steps:
        trace.refused += refused
        before = trace.wanted
        after = trace.look([load(share, calls=calls, shed=shed)] * before, bounds)
        assert fewest <= after <= fewest + more
        assert after >= before - 1
        trace.now += 1.0


def test_a_worker_that_never_comes_keeps_no_others_from_coming() -> None:
    trace = Trace(wanted=2)
    for _ in range(round(COMING_S)):
        trace.refused += 1
        assert trace.look([load(0.79)]) == 2
        trace.now += 1.0
    trace.refused += 1
    assert trace.look([load(0.79)]) > 2
