"""The places at the workers, as their reports and the calls that came since tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.voicepool.fleet.test_gauge import report
from tests.voicepool.fleet.test_leases import FakeLink
from voicepool._fleet.leases import EXPECTED_S
from voicepool._fleet.placing import Placing
from voicepool.config import PoolConfig
from voicepool.errors import PoolFullError
from voicepool.ipc.ids import CallId


class ReportingLink(FakeLink):
    """Has a report."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.stats: Any = None


def bench(workers: int, **config: Any) -> tuple[Placing, list[Any]]:
    return Placing(PoolConfig(**config)), [ReportingLink(f"w{index}.1") for index in range(workers)]


def place(placing: Placing, links: list[Any], call: str, station: str | None = None, **more: bool) -> str:
    lease = placing.choose(links, station=station, exists=more.get("exists", False))
    placing.leases.take(CallId(call), lease, object())  # type: ignore[arg-type]
    return lease.link.worker


def test_calls_are_spread_before_anything_is_known() -> None:
    placing, links = bench(3)
    taken = [place(placing, links, str(number)) for number in range(99)]
    assert [taken.count(link.worker) for link in links] == [33, 33, 33]


def test_what_reports_say_decides_once_calls_are_in_them() -> None:
    placing, links = bench(2)
    for number in range(10):
        place(placing, links[:1], str(number))
    links[0].stats = report(1.0, 0.0)
    placing.observe(links)
    assert placing.loads(links)[0].fresh == 10
    links[0].stats = report(4.5, 0.035, playing=10)
    placing.observe(links)
    [first, second] = placing.loads(links)
    assert (first.fresh, first.playing) == (0, 10)
    assert first.cpu_share == pytest.approx(0.01)
    assert second.fresh == 0


def test_guilds_of_a_station_go_where_it_is_or_is_about_to_be_on_the_air() -> None:
    placing, links = bench(2)
    assert place(placing, links, "a", "radio") == "w0.1"
    assert place(placing, links, "b", "radio") == "w0.1"
    assert place(placing, links, "c") == "w1.1"
    load = placing.loads(links)[0]
    assert (load.fresh, load.fresh_passing) == (2, 1)
    links[1].stats = report(9.0, 0.0, stations=["jazz"])
    assert place(placing, links, "d", "jazz") == "w1.1"
    assert placing.loads(links, "jazz")[1].on_air


def test_guilds_that_are_going_to_hear_a_station_wait_for_it_at_one_worker() -> None:
    placing, links = bench(2)
    for link in links:
        link.stats = report(10.0, 0.0)
    placing.observe(links)
    assert place(placing, links, "a", "radio") == "w0.1"
    for uptime_s, joined in ((10.0 + EXPECTED_S - 1.0, "w0.1"), (10.0 + 3 * EXPECTED_S, "w1.1")):
        for link in links:
            link.stats = report(uptime_s, 0.0)
        placing.observe(links)
        call = f"at {uptime_s}"
        assert place(placing, links, call, "radio") == joined
        placing.leases.release(CallId(call))


def test_workers_that_are_gone_are_forgotten() -> None:
    placing, links = bench(2)
    for link in links:
        link.stats = report(1.0, 0.0)
    placing.observe(links)
    placing.observe(links[1:])
    assert list(placing._gauges) == ["w1.1"]


def test_costs_are_learned_from_all_workers() -> None:
    placing, links = bench(1)
    before = placing.costs.playing
    links[0].stats = report(0.0, 0.0)
    placing.observe(links)
    links[0].stats = report(100.0, 50.0, playing=10, encode_cpu_s=45.0)
    placing.observe(links)
    assert placing.costs.playing > 2 * before


def test_other_settings_are_other_ceilings() -> None:
    placing, links = bench(1, max_calls_per_worker=1)
    place(placing, links, "a")
    with pytest.raises(PoolFullError):
        place(placing, links, "b")
    placing.config = PoolConfig(max_calls_per_worker=2, full_share=0.5)
    assert place(placing, links, "b") == "w0.1"
    assert placing.ceilings.full_share == 0.5
