"""What is looked at before the first worker starts."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from voicepool._machine import preflight
from voicepool._machine.preflight import FileLimit, FileNeeds, most_workers, prepare_start, read_file_limit
from voicepool.config import PoolConfig
from voicepool.errors import WorkerStartError

NEEDS = FileNeeds.of(workers=4, calls=500)


class Kernel:
    """Raises the limit as far as it likes."""

    def __init__(self, *, refuses: int | None = None) -> None:
        self.asked: list[int] = []
        self._refuses = refuses

    def __call__(self, wanted: int) -> int:
        self.asked.append(wanted)
        return wanted if self._refuses is None else self._refuses


def test_the_numbers_are_those_of_a_full_pool() -> None:
    assert NEEDS.worker == 64 + 500 * 5
    assert NEEDS.bot == 256 + 4 * 12


@pytest.mark.parametrize("limit", [None, FileLimit(304, 2_564), FileLimit(1_024, 1 << 20)])
def test_a_limit_that_is_high_enough_is_left_alone(
    limit: FileLimit | None, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = Kernel()
    preflight._ensure_files(NEEDS, limit, raise_to=kernel)
    assert kernel.asked == []
    assert caplog.text == ""


def test_one_that_may_be_raised_is_raised_as_far_as_the_bot_needs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = Kernel()
    with caplog.at_level(logging.INFO):
        preflight._ensure_files(NEEDS, FileLimit(256, 1 << 20), raise_to=kernel)
    assert kernel.asked == [304]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "the limit on open files was 256 and is 304 now")
    ]


def test_a_hard_limit_too_low_for_a_full_worker_is_a_warning_with_the_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    preflight._ensure_files(NEEDS, FileLimit(1_024, 1_024), raise_to=Kernel())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "needs 2564" in record.getMessage()
    assert "beyond some 192 calls" in record.getMessage()
    assert "ulimit -n 2564" in record.getMessage()
    assert "max_calls_per_worker to 192" in record.getMessage()


@pytest.mark.parametrize(
    ("limit", "kernel"),
    [(FileLimit(1_400, 1_400), Kernel()), (FileLimit(1_400, 1 << 20), Kernel(refuses=1_400))],
)
def test_one_that_stays_too_low_for_the_bot_is_a_warning_too(
    limit: FileLimit, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    preflight._ensure_files(FileNeeds.of(workers=100, calls=1), limit, raise_to=kernel)
    (record,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert f"it may need {256 + 1_200}" in record.getMessage()


def test_too_few_for_the_start_is_an_error() -> None:
    needs = FileNeeds.of(workers=64, calls=500)
    with pytest.raises(WorkerStartError, match=r"256 files may be open.*ulimit -n 2564"):
        preflight._ensure_files(needs, FileLimit(256, 256), raise_to=Kernel())


def test_as_many_workers_are_counted_as_there_may_be() -> None:
    assert most_workers(PoolConfig(workers=3)) == 4
    assert most_workers(PoolConfig(workers=3, spare_workers=2)) == 6
    assert most_workers(PoolConfig(workers=1, autoscale=True, max_workers=8, spare_workers=1)) == 10
    assert most_workers(PoolConfig(workers=1, autoscale=True)) >= 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_the_limit_of_this_process_is_read() -> None:
    limit = read_file_limit()
    assert limit is not None
    assert 0 < limit.soft <= limit.hard


def test_a_start_removes_what_dead_bots_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preflight, "remove_stale_directories", lambda: [Path("/tmp/voicepool-dead")])
    with caplog.at_level(logging.INFO):
        prepare_start(PoolConfig(workers=4, max_calls_per_worker=1))
    assert "removed /tmp/voicepool-dead" in caplog.text
