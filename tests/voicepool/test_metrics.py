"""The metrics are those of the table, and both of Prometheus's parsers read them."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.fakes.figures import report
from tests.fakes.running import asyncio_test
from tests.fakes.subject import FakeSubject, busy_subject
from voicepool import metrics
from voicepool._watching.observatory import Observatory, View
from voicepool.config import PoolConfig
from voicepool.metrics import PoolCollector, families, render
from voicepool.pool_events import CallMoved, ExitReason, MoveReason, WorkerLost
from voicepool.stats import WorkerInfo, WorkerState

CONFIG = PoolConfig(attach=False)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def view_of(subject: FakeSubject) -> View:
    view = Observatory(lambda: subject).look()
    assert view is not None
    return view


def samples(found: Iterable[Metric]) -> dict[tuple[str, tuple[str, ...]], float]:
    """The samples by name and label values, those of histograms with their bounds."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in found
        for sample in family.samples
    }


def table() -> dict[str, tuple[str, str]]:
    """Name, type and labels of each metric, from the module's own table."""
    assert metrics.__doc__ is not None
    rows = [line for line in metrics.__doc__.splitlines() if line.startswith("voicepool_")]
    bar = next(line for line in metrics.__doc__.splitlines() if line.startswith("==="))
    starts = [
        index for index, letter in enumerate(bar) if letter == "=" and bar[index - 1 : index] in ("", " ")
    ]
    columns = [*itertools.pairwise(starts)]
    found = {}
    for row in rows:
        name, kind, labels = (row[start:end].strip() for start, end in columns)
        found[name] = kind, labels
    return found


def test_the_table_is_what_there_is() -> None:
    view = view_of(busy_subject())
    told = {
        (f"{family.name}_total" if family.type == "counter" else family.name): family
        for family in families(view)
    }
    assert told.keys() == table().keys()
    for name, (kind, labels) in table().items():
        assert told[name].type == kind, name
        names = cast("Any", told[name])._labelnames
        if name != "voicepool_worker_info":
            assert ", ".join(names) == labels, name


def test_units_are_the_ones_prometheus_wants() -> None:
    for name, (kind, _) in table().items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_us", "_mib", "_percent")), name


@pytest.mark.parametrize(
    ("accept", "parse", "content_type"),
    [("", parse_text, "text/plain"), (OPENMETRICS, parse_openmetrics, "application/openmetrics-text")],
)
def test_the_official_parsers_read_it(accept: str, parse: Any, content_type: str) -> None:
    text, told_type = render(view_of(busy_subject()), accept)
    assert told_type.startswith(content_type)
    found = samples(parse(text.decode()))
    assert found["voicepool_running", ()] == 1
    assert found["voicepool_call_frames_sent_total", ("101",)] == 11
    assert found["voicepool_worker_heartbeat_rtt_seconds", ("w0",)] == 0.002
    assert found["voicepool_worker_resident_memory_bytes", ("w0",)] == 1 << 20
    lateness = "voicepool_worker_packet_lateness_seconds"
    assert found[f"{lateness}_count", ("w0",)] == 3
    buckets = {key[1]: value for key, value in found.items() if key[0] == f"{lateness}_bucket"}
    by_bound = {next(label for label in labels if label != "w0"): value for labels, value in buckets.items()}
    assert (by_bound["0.000128"], by_bound["0.02048"], by_bound["0.04096"], by_bound["+Inf"]) == (1, 2, 3, 3)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_pool_that_does_not_run_says_so(accept: str) -> None:
    parse = parse_openmetrics if accept else parse_text
    found = samples(parse(render(None, accept)[0].decode()))
    assert found["voicepool_running", ()] == 0
    assert ("voicepool_figures_age_seconds", ()) not in found


def test_causes_and_reasons_are_there_before_their_first() -> None:
    observatory = Observatory(busy_subject)
    before = samples(families(observatory.look()))
    assert before["voicepool_stutters_total", ("source starved",)] == 0
    assert before["voicepool_worker_exits_total", ("killed",)] == 0
    observatory.on_event(WorkerLost(0, "w0.1", ExitReason.KILLED, "was killed by SIGKILL", 1))
    observatory.on_event(CallMoved(100, "w0.1", "w1.1", MoveReason.LOST, 240.0))
    after = samples(families(observatory.look()))
    assert after["voicepool_worker_exits_total", ("killed",)] == 1
    assert after["voicepool_calls_recovered_total", ()] == 1
    assert after["voicepool_call_gap_seconds_sum", ()] == 0.24
    assert (
        after["voicepool_call_gap_seconds_bucket", ("0.2",)],
        after["voicepool_call_gap_seconds_bucket", ("0.3",)],
    ) == (0, 1)
    assert after["voicepool_stutters_total", ("worker lost",)] == 1


def test_counters_do_not_fall_when_a_worker_dies() -> None:
    subject = busy_subject(frames_sent=500)
    observatory = Observatory(lambda: subject)
    before = samples(families(observatory.look()))
    observatory.on_event(WorkerLost(0, "w0.1", ExitReason.KILLED, "was killed by SIGKILL", 2))
    subject.links[0].worker, subject.links[0].stats = "w0.2", report("w0.2", frames_sent=1, uptime_s=0.1)
    after = samples(families(observatory.look()))
    assert after["voicepool_worker_frames_sent_total", ("w0",)] == 501
    fallen = {
        key: (value, after.get(key))
        for key, value in before.items()
        if key[0].endswith(("_total", "_bucket", "_count")) and after.get(key, -1.0) < value
    }
    assert fallen == {}


def test_of_two_processes_in_one_place_the_one_that_is_up_is_shown() -> None:
    subject = busy_subject()
    [old] = subject.infos
    subject.infos = (old, WorkerInfo(slot=0, name="w0.2", state=WorkerState.STARTING))
    found = samples(families(view_of(subject)))
    assert found["voicepool_worker_up", ("w0",)] == 1
    assert found["voicepool_worker_uptime_seconds", ("w0",)] == 10.0


def test_beyond_a_bound_calls_are_in_the_sums_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LISTED_CALLS", 3)
    found = samples(families(view_of(busy_subject(5))))
    listed = [labels for name, labels in found if name == "voicepool_call_frames_sent_total"]
    assert listed == [("100",), ("101",), ("102",)]
    assert (found["voicepool_calls", ()], found["voicepool_calls_unlisted", ()]) == (5, 2)


def test_two_calls_in_one_guild_are_one_series() -> None:
    subject = busy_subject(2)
    subject.guilds = dict.fromkeys(subject.guilds, 100)
    text, _ = render(view_of(subject), "")
    assert text.count(b'voicepool_call_frames_sent_total{guild="100"}') == 1


class TestPoolCollector:
    """In a registry of the bot's own."""

    @staticmethod
    def collector(observatory: Observatory) -> PoolCollector:
        return PoolCollector(cast("Any", SimpleNamespace(observatory=observatory)))

    def test_it_says_beforehand_what_it_collects(self) -> None:
        registry = CollectorRegistry()
        registry.register(self.collector(Observatory(lambda: None)))
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(self.collector(Observatory(lambda: None)))

    def test_figures_are_taken_on_the_loop_whoever_asks(self) -> None:
        looked_in: list[int] = []
        subject = busy_subject()

        def look() -> FakeSubject:
            looked_in.append(threading.get_ident())
            return subject

        @asyncio_test
        async def scenario() -> None:
            observatory = Observatory(look)
            await observatory.open(CONFIG)
            collector = self.collector(observatory)
            here = samples(collector.collect())
            there = await asyncio.to_thread(lambda: samples(collector.collect()))
            assert here["voicepool_calls", ()] == there["voicepool_calls", ()] == 2
            await observatory.close()

        scenario()
        assert set(looked_in) == {threading.get_ident()}


def test_without_the_library_one_sentence_says_what_to_do() -> None:
    script = (
        "import sys\n"
        "sys.modules['prometheus_client'] = None\n"
        "from voicepool.errors import ConfigError\n"
        "try:\n"
        "    import voicepool.metrics\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "try:\n"
        "    import voicepool._watching.metrics_server\n"
        "except ConfigError as error:\n"
        "    print(error.key, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    first, second = done.stdout.splitlines()
    assert 'pip install "voicepool[prometheus]"' in first
    assert second.startswith("metrics_port metrics_port needs prometheus-client")
    assert 'pip install "voicepool[prometheus]"' in second
