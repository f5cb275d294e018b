"""Which calls leave a worker that has too much to do: over traces of what workers report."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from voicepool._fleet.balancing import (
    LASTING_S,
    RELIEVED_PART,
    REST_S,
    ROOM_PART,
    ROUND_S,
    Balancer,
    Movable,
    Transfer,
)
from voicepool._fleet.gauge import STEADY_S, Costs
from voicepool._fleet.placement import SHED_SHARE, Ceilings, Load
from voicepool.ipc.ids import CallId, WorkerId

CEILINGS = Ceilings(max_calls=500, full_share=0.85)
COSTS = Costs()
IDLE_SHARE = 0.0004
AT_ONCE = 4


def load(name: str, share: float = 0.0, **more: Any) -> Load:
    fields: dict[str, Any] = {"calls": 10, "playing": 10, "cpu_share": share, "steady_share": share} | more
    return Load(name=name, **fields)


def call(name: str, worker: str = "w0.1", **more: Any) -> Movable:
    return Movable(CallId(name), WorkerId(worker), **more)


def look(balancer: Balancer, now: float, loads: list[Load], calls: list[Movable]) -> list[Transfer]:
    return balancer.look(now, loads, lambda: calls, ceilings=CEILINGS, costs=COSTS, at_once=AT_ONCE)


def relieved(loads: list[Load], calls: list[Movable]) -> list[str]:
    """The calls that move in the first round, in order."""
    balancer = Balancer()
    assert look(balancer, 0.0, loads, calls) == []
    return [transfer.call for transfer in look(balancer, LASTING_S, loads, calls)]


@dataclass
class Trace:
    """Workers that do what their calls need, and report it each second; calls move as they are told."""

    workers: list[str]
    calls: list[Movable]
    cost: float = COSTS.playing
    now: float = 0.0
    steady: dict[str, float] = field(default_factory=dict)
    moves: list[tuple[float, Transfer]] = field(default_factory=list)
    balancer: Balancer = field(default_factory=Balancer)

    def share(self, worker: str) -> float:
        here = [each for each in self.calls if each.worker == worker]
        return min(1.0, sum(self.cost if each.playing else IDLE_SHARE for each in here))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1.0
            loads = []
            for worker in self.workers:
                before = self.steady.get(worker, 0.0)
                share = self.share(worker)
                self.steady[worker] = before + (share - before) * (1 - math.exp(-1 / STEADY_S))
                here = [each for each in self.calls if each.worker == worker]
                loads.append(
                    load(
                        worker,
                        share,
                        steady_share=self.steady[worker],
                        calls=len(here),
                        playing=sum(each.playing for each in here),
                    )
                )
            for transfer in look(self.balancer, self.now, loads, self.calls):
                self.moves.append((self.now, transfer))
                self.calls = [
                    replace(each, worker=transfer.target) if each.call == transfer.call else each
                    for each in self.calls
                ]


def playing(count: int, worker: str = "w0.1") -> list[Movable]:
    return [call(f"{worker} {number:03}", worker) for number in range(count)]


def test_an_added_worker_takes_what_is_too_much_and_no_more() -> None:
    trace = Trace(["w0.1"], playing(90))
    trace.run(60)
    assert trace.moves == [], "there is nowhere to go"
    trace.workers.append("w1.1")
    trace.run(120)
    least = math.floor((trace.cost * 90 - RELIEVED_PART * CEILINGS.full_share) / trace.cost)
    assert least <= len(trace.moves) <= least + 2 * AT_ONCE
    assert trace.share("w0.1") <= CEILINGS.full_share
    assert {transfer.source for _, transfer in trace.moves} == {"w0.1"}
    done = len(trace.moves)
    trace.run(600)
    assert len(trace.moves) == done, "nothing swings"


def test_rounds_are_small_and_wait_for_what_the_one_before_has_brought() -> None:
    trace = Trace(["w0.1", "w1.1"], playing(90))
    trace.run(120)
    times = sorted({at for at, _ in trace.moves})
    assert all(later - earlier >= ROUND_S for earlier, later in itertools.pairwise(times))
    assert all(sum(at == time for at, _ in trace.moves) <= AT_ONCE for time in times)


def test_where_all_are_busy_nothing_moves() -> None:
    trace = Trace(["w0.1", "w1.1"], [*playing(90), *playing(64, "w1.1")])
    trace.run(300)
    assert trace.moves == []


def test_an_uneven_pool_that_has_enough_time_stays_as_it_is() -> None:
    trace = Trace(["w0.1", "w1.1"], playing(75))
    trace.run(300)
    assert trace.moves == []


@pytest.mark.parametrize("seed", range(20))
def test_no_call_goes_to_and_fro(seed: int) -> None:
    dice = random.Random(seed)
    workers = [f"w{number}.1" for number in range(dice.randint(2, 5))]
    calls = [
        call(str(number), dice.choice(workers[:2]), playing=dice.random() < 0.8)
        for number in range(dice.randint(20, 220))
    ]
    trace = Trace(workers, calls, cost=COSTS.playing * dice.uniform(0.5, 1.5))
    trace.run(900)
    moved = [transfer.call for _, transfer in trace.moves]
    assert len(moved) == len(set(moved))
    assert not any(at > 700 for at, _ in trace.moves), "it comes to rest"
    if min(trace.share(worker) for worker in workers) < CEILINGS.full_share * ROOM_PART - trace.cost * 2:
        assert max(trace.share(worker) for worker in workers) < CEILINGS.full_share


def test_a_moment_of_too_much_moves_nobody() -> None:
    balancer = Balancer()
    loads, calls = [load("w0.1", 0.95), load("w1.1")], playing(80)
    assert look(balancer, 0.0, loads, calls) == []
    assert look(balancer, LASTING_S - 0.1, loads, calls) == []
    assert look(balancer, LASTING_S, [load("w0.1", 0.8), load("w1.1")], calls) == []
    assert look(balancer, LASTING_S + 1, loads, calls) == []
    assert balancer.relieving == frozenset()


def test_it_goes_on_below_the_limit_until_there_is_a_reserve() -> None:
    balancer = Balancer()
    calls, limit = playing(80), CEILINGS.full_share
    steps = [(0.0, 0.9), (5.0, 0.9), (8.0, limit * 0.95), (11.0, limit * RELIEVED_PART), (14.0, limit * 0.95)]
    moves = [len(look(balancer, now, [load("w0.1", share), load("w1.1")], calls)) for now, share in steps]
    assert moves == [0, 4, 4, 0, 0]


def test_what_nobody_hears_goes_first_and_then_the_cheapest_handshake() -> None:
    calls = [
        call("many", members=40),
        call("few", members=2),
        call("alone", members=1),
        call("held", held=True, members=50),
        call("station", station="lofi", members=50),
        call("idle", playing=False),
        call("there", "w1.1", station="lofi"),
    ]
    loads = [load("w0.1", 0.99), load("w1.1", 0.1)]
    assert relieved(loads, calls) == ["idle", "held", "station", "alone", "few"]


def test_guilds_of_a_station_stay_together_as_long_as_others_can_go() -> None:
    calls = [
        call("a", station="lofi"),
        call("b", station="lofi"),
        call("c", members=9),
        call("d", members=9),
    ]
    assert relieved([load("w0.1", 0.99), load("w1.1", 0.1)], calls) == ["c", "d", "a"]


def test_a_station_call_joins_the_others_that_hear_it() -> None:
    calls = [call("a", station="lofi"), call("x"), call("b", "w2.1", station="lofi")]
    balancer = Balancer()
    loads = [load("w0.1", 0.99), load("w1.1", 0.0), load("w2.1", 0.5)]
    look(balancer, 0.0, loads, calls)
    [transfer] = look(balancer, LASTING_S, loads, calls)
    assert transfer == Transfer(CallId("a"), WorkerId("w0.1"), WorkerId("w2.1"))


def test_a_worker_that_sheds_complexity_has_too_much_to_do() -> None:
    assert relieved([load("w0.1", 0.6, shed=5), load("w1.1")], playing(8)) != []
    assert relieved([load("w0.1", 0.4, shed=5, encoder_share=0.9), load("w1.1")], playing(8)) != []
    assert relieved([load("w0.1", 0.84 - SHED_SHARE, shed=5), load("w1.1")], playing(8)) == []


@pytest.mark.parametrize(
    "full",
    [{"calls": 500}, {"shed": 5}, {"late_p99_ms": 30.0}, {"fresh": 80, "calls": 80}, {"cpu_share": 0.7}],
)
def test_nobody_goes_where_there_is_no_room(full: dict[str, Any]) -> None:
    assert relieved([load("w0.1", 0.99), load("w1.1")], playing(8)) != []
    assert relieved([load("w0.1", 0.99), load("w1.1", **full)], playing(8)) == []


def test_many_idle_calls_are_no_reason_to_have_no_room() -> None:
    assert relieved([load("w0.1", 0.99), load("w1.1", calls=400, playing=0)], playing(8)) != []


def test_places_are_counted_too() -> None:
    target = load("w1.1", calls=498)
    assert len(relieved([load("w0.1", 0.99), target], playing(8))) == 2


def test_the_only_call_of_a_worker_stays_with_it() -> None:
    loads = [load("w0.1", 0.99), load("w1.1")]
    assert relieved(loads, [call("heavy")]) == []
    assert relieved(loads, [call("heavy"), call("idle", playing=False)]) == ["idle"]


def test_a_call_that_has_moved_stays_for_a_while() -> None:
    balancer = Balancer()
    here = [call("a"), call("b")]
    loads = [load("w0.1", 0.99), load("w1.1")]
    look(balancer, 0.0, loads, here)
    [transfer] = look(balancer, LASTING_S, loads, here)
    assert look(balancer, LASTING_S + 20, loads, here) == [], "the move has failed, and one has to stay"
    assert look(balancer, LASTING_S + REST_S, loads, here) == [transfer]


def test_the_calls_are_not_asked_for_as_long_as_all_is_well() -> None:
    def ask() -> list[Movable]:
        raise AssertionError("thousands of calls each second for nothing")

    balancer, all_busy = Balancer(), [load("w0.1", 0.95), load("w1.1", 0.75)]
    for now in (0.0, LASTING_S, LASTING_S + ROUND_S):
        assert balancer.look(now, all_busy, ask, ceilings=CEILINGS, costs=COSTS, at_once=1) == []
    assert balancer.relieving == {"w0.1"}
    for share in (0.1, 0.95):
        assert (
            Balancer().look(0.0, [load("w0.1", share)], ask, ceilings=CEILINGS, costs=COSTS, at_once=1) == []
        )


def test_a_worker_that_is_gone_is_forgotten() -> None:
    balancer = Balancer()
    loads, calls = [load("w0.1", 0.99), load("w1.1")], playing(8)
    look(balancer, 0.0, loads, calls)
    look(balancer, LASTING_S, loads, calls)
    assert balancer.relieving == {"w0.1"}
    assert look(balancer, LASTING_S + ROUND_S, loads[1:], []) == []
    assert balancer.relieving == frozenset()
    assert look(balancer, LASTING_S + 2 * ROUND_S, loads, calls) == []
