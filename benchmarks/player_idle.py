"""How often the threads that pace and encode wake up for calls that have nothing to send: idle, or paused.

What is counted is the kernel's own count of their context switches, voluntary or not; a thread that sleeps
has none. The same calls while they play show that it would be seen. The control loop is left out, which
answers heartbeats and reports each second, and so are ZeroMQ's threads, which carry that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, Goal
from benchmarks.rig import BenchmarkError, Rig
from benchmarks.sources import Sources

__all__ = ["NOT_COUNTED", "count_wake_ups", "switches"]

NOT_COUNTED: Final = "wake-ups are not counted: this platform has no /proc with them"
_PROC: Final = Path("/proc")
_COUNTERS: Final = frozenset({"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"})
_ZEROMQ: Final = "ZMQbg"
_SETTLE_S: Final = 0.5
_PAUSED_S: Final = 1.5
"""After a pause comes silence, and each encoder thread looks at the ring once more, up to a second later."""


@dataclass(frozen=True, slots=True)
class _Counted:
    name: str
    switches: int


async def count_wake_ups(rig: Rig, sources: Sources, *, calls: int, span_s: float) -> list[Figure]:
    """Return the figures; none where the platform does not tell.

    Parameters
    ----------
    rig
        Nothing plays in it.
    calls
        How many are idle, or paused, at the same time.
    span_s
        How long each is watched.
    """
    pid = rig.worker_pid
    if switches(pid) is None:
        return []
    await rig.join(calls)
    group = f"{calls} calls, wake-ups of the pacing and encoder threads"
    figures = [_figure(group, "idle", await _rate(pid, span_s), goal=Goal(0))]
    for what, file in (("encoding", sources.wav), ("passing through", sources.opus)):
        await rig.play(file, calls, settle_s=_SETTLE_S)
        playing = await _rate(pid, span_s)
        rig.pause()
        await asyncio.sleep(_PAUSED_S)
        figures.append(_figure(group, f"paused, {what}", await _rate(pid, span_s), goal=Goal(0)))
        figures.append(_figure(group, f"playing, {what}", playing))
        await rig.stop()
    return figures


def switches(pid: int, proc: Path = _PROC) -> dict[int, int] | None:
    """Return how often each thread of a worker has been switched to so far; None if that is not known.

    Parameters
    ----------
    pid
        Its process.
    proc
        Where the process file system is.

    Returns
    -------
    dict or None
        By thread id, without the control loop's and ZeroMQ's.
    """
    tasks = proc / str(pid) / "task"
    if not tasks.is_dir():
        return None
    found = {int(task.name): _counted(task / "status") for task in tasks.iterdir() if task.name != str(pid)}
    if any(counted is None for counted in found.values()):
        return None
    return {
        thread: counted.switches
        for thread, counted in found.items()
        if counted is not None and not counted.name.startswith(_ZEROMQ)
    }


def _counted(status: Path) -> _Counted | None:
    fields = dict(
        line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line
    )
    if not fields.keys() >= _COUNTERS:
        return None
    return _Counted(fields["Name"].strip(), sum(int(fields[counter]) for counter in _COUNTERS))


async def _rate(pid: int, seconds: float) -> float:
    """Return the switches of all threads a second."""
    before = switches(pid)
    await asyncio.sleep(seconds)
    after = switches(pid)
    if before is None or after is None:
        raise BenchmarkError("the worker is gone, and its threads with it")
    return sum(count - before.get(thread, 0) for thread, count in after.items()) / seconds


def _figure(group: str, name: str, value: float, goal: Goal | None = None) -> Figure:
    return Figure(group=group, name=name, value=value, unit="a second", goal=goal)
