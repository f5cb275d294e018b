"""What the benchmarks run on: facts for the report, and who gets which core."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voicepool.workers.audio.libopus import libopus_info

__all__ = ["ROOT", "Cores", "busy_s", "commit", "describe", "keep_to", "stolen_s"]

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout."""
_CAN_PIN: Final = hasattr(os, "sched_setaffinity")
_STAT: Final = Path("/proc/stat")
_TASKS: Final = Path("/proc/self/task")
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STOLEN = 1, 2, 3, 6, 7, 8
"""Fields of a ``cpuN`` line (proc_stat(5)), the label being field 0."""


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


def busy_s(core: int | None) -> float | None:
    """Return how long a core has worked for anyone since the system's start, in seconds; None if unknown."""
    fields = _fields(core)
    return None if fields is None else _seconds(fields, _USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ)


def stolen_s(core: int | None) -> float | None:
    """Return how long the hypervisor has kept a core from us, in seconds; None if unknown."""
    fields = _fields(core)
    return None if fields is None else _seconds(fields, _STOLEN)


def _fields(core: int | None) -> list[str] | None:
    if core is None or not _STAT.exists():
        return None
    for line in _STAT.read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            return fields
    return None


def _seconds(fields: list[str], *wanted: int) -> float:
    return sum(int(fields[index]) for index in wanted) / os.sysconf("SC_CLK_TCK")


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
