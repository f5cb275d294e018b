"""What the benchmarks run on: facts for the report, and who gets which core."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voicepool.workers.audio.libopus import libopus_info

__all__ = ["ROOT", "Cores", "commit", "describe", "keep_to", "others_cpu_s", "stolen_s"]

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout."""
_CAN_PIN: Final = hasattr(os, "sched_setaffinity")
_STAT: Final = Path("/proc/stat")
_TASKS: Final = Path("/proc/self/task")
_CPU_TIMES: Final = slice(11, 15)
"""User and system time in ``/proc/PID/stat``, own and of dead children, counted from behind the name."""
_STOLEN: Final = 8
"""Time lost to other guests in a ``cpuN`` line of ``/proc/stat``, counted from the label."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where.

    Attributes
    ----------
    worker
        The core that is the worker's alone, and the bare costs' while it rests; None if nothing is pinned.
    rest
        The core of the bot and of the stand-in; None likewise.
    allowed
        All that this process could use before.
    """

    worker: int | None
    rest: int | None
    allowed: tuple[int, ...] = ()

    @classmethod
    def plan(cls) -> Cores:
        """Give the worker the last core this process may use, and everything else the first."""
        if not _CAN_PIN:
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[-1], allowed[0], tuple(allowed))

    @property
    def note(self) -> str | None:
        """What a reader must know about it; None when each has its own core."""
        if self.worker is None:
            return "this platform pins no process to a core: worker, bot and stand-in disturb each other"
        if self.worker == self.rest:
            return "there is one core only: the stand-in's work delays the worker's, figures are too high"
        return None


def keep_to(*cores: int | None) -> None:
    """Keep all threads of this process to these cores; those that are to come inherit it (Linux)."""
    wanted = {core for core in cores if core is not None}
    if not _CAN_PIN or not wanted:
        return
    threads = [int(task.name) for task in _TASKS.iterdir()] if _TASKS.is_dir() else [0]
    for thread in threads:
        try:
            os.sched_setaffinity(thread, wanted)
        except ProcessLookupError:
            continue


def others_cpu_s(own: Collection[int]) -> float | None:
    """Return the CPU time that all processes but `own` have used so far, in seconds; None if unknown.

    The counters of ``/proc/stat`` will not do: where the kernel samples them at its ticks, as most do, they
    count a thread that wakes with the ticks, as a pacing thread may, for hundreds of times what it uses.
    """
    if not _STAT.exists():
        return None
    ticks = 0
    for process in _STAT.parent.iterdir():
        if process.name.isdecimal() and int(process.name) not in own:
            # A process may end while it is looked at; its time is its parent's from then on.
            with contextlib.suppress(OSError):
                ticks += _used_ticks((process / "stat").read_text(encoding="utf-8", errors="replace"))
    return ticks / os.sysconf("SC_CLK_TCK")


def _used_ticks(stat: str) -> int:
    # The name, in parentheses, may hold anything; what follows it is numbers (proc_pid_stat(5)).
    return sum(int(ticks) for ticks in stat.rpartition(")")[2].split()[_CPU_TIMES])


def stolen_s(core: int | None) -> float | None:
    """Return how long the hypervisor has kept a core from us, in seconds; None if unknown."""
    if core is None or not _STAT.exists():
        return None
    for line in _STAT.read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            return int(fields[_STOLEN]) / os.sysconf("SC_CLK_TCK")
    return None


def describe() -> dict[str, object]:
    """Return what is worth knowing of this machine."""
    libopus = libopus_info()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "cores_allowed": len(os.sched_getaffinity(0)) if _CAN_PIN else os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libopus": libopus.version,
        "libopus_origin": libopus.origin,
    }


def commit() -> str | None:
    """Return the checkout's commit, with ``+changes`` when files differ from it; None outside git."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return None
    return f"{head}+changes" if _git("status", "--porcelain") else head


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
