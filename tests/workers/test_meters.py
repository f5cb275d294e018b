from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.fakes.running import asyncio_test
from voicepool.workers import meters
from voicepool.workers.meters import LoopLag, ProportionalMemory, Share

ROLLUP = """55d6-7ffd ---p 00000000 00:00 0    [rollup]
Rss:              123456 kB
Pss:               65432 kB
Pss_Dirty:          1000 kB
"""


def test_the_lag_is_the_worst_of_its_period() -> None:
    lag = LoopLag()
    for due_s, now_s in ((1.0, 1.001), (2.0, 2.25), (3.0, 3.002)):
        lag.note(due_s, now_s)
    assert lag.worst_s == 0.25
    lag.restart()
    assert lag.worst_s == 0.0
    lag.note(4.0, 3.999)
    assert lag.worst_s == 0.0, "early is not late"


def test_a_share_is_of_its_period() -> None:
    share = Share(100.0)
    assert share.at(100.0, 0.0) == 0.0
    assert share.at(102.0, 1.0) == 0.5
    share.restart(102.0, 1.0)
    assert share.at(104.0, 1.5) == 0.25
    assert share.at(104.0, 9.0) == 1.0, "two clocks that are read one after the other"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # there is no event for it, on purpose
        await asyncio.sleep(0)


@asyncio_test
async def test_memory_is_read_again_and_again_on_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(meters, "PSS_EVERY_S", 0.0)
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text(ROLLUP)
    prepared: list[str] = []
    memory = ProportionalMemory(
        rollup, prepare_thread=lambda: prepared.append(threading.current_thread().name)
    )
    assert memory.pss_bytes is None
    reading = asyncio.create_task(memory.keep_reading())
    await until(lambda: memory.pss_bytes == 65432 * 1024)
    # In one step, since it may be read at any moment.
    (tmp_path / "next").write_text(ROLLUP.replace("65432", "7"))
    (tmp_path / "next").replace(rollup)
    await until(lambda: memory.pss_bytes == 7 * 1024)
    [thread] = prepared
    assert thread.startswith("voicepool-memory")
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()


@asyncio_test
async def test_it_is_added_up_when_the_use_has_changed_or_after_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits: list[float] = []
    reads: list[int] = []
    """How often it had waited at each reading."""
    used_bytes = 100 << 20
    memory = ProportionalMemory(tmp_path / "none", rss=lambda: used_bytes)

    async def wait(pause_s: float) -> None:
        nonlocal used_bytes
        waits.append(pause_s)
        # A little first, and then enough.
        used_bytes += {2: meters.CHANGE_BYTES - 1, 3: 1}.get(len(waits), 0)

    def read() -> int | None:
        reads.append(len(waits))
        return 7 if len(reads) < 4 else None

    monkeypatch.setattr(memory, "_read", read)
    monkeypatch.setattr(asyncio, "sleep", wait)
    await memory.keep_reading()
    assert reads == [0, 3, 3 + meters.LONGEST_WAITS, 3 + 2 * meters.LONGEST_WAITS]
    assert set(waits) == {meters.PSS_EVERY_S}


@pytest.mark.parametrize("content", [None, "", "Rss: 5 kB\n"])
def test_where_the_platform_does_not_tell_it_is_not_asked_again(tmp_path: Path, content: str | None) -> None:
    @asyncio_test
    async def scenario() -> None:
        rollup = tmp_path / "smaps_rollup"
        if content is not None:
            rollup.write_text(content)
        memory = ProportionalMemory(rollup)
        await memory.keep_reading()
        assert memory.pss_bytes is None

    scenario()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux adds it up")
@asyncio_test
async def test_it_is_what_the_system_says() -> None:
    memory = ProportionalMemory()
    reading = asyncio.create_task(memory.keep_reading())
    await until(lambda: memory.pss_bytes is not None)
    reading.cancel()
    await asyncio.wait({reading})
    if sys.platform == "linux":
        assert memory.pss_bytes == pytest.approx(psutil.Process().memory_full_info().pss, rel=0.2)
