"""How many processes the kernel has ended for want of memory, as far as Linux tells.

The control group's own count (cgroup v2, ``memory.events``; v1, ``memory.oom_control``) speaks of this
container or service and no other. Where there is none, the whole machine's (``/proc/vmstat``) has to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["count_oom_kills"]

_KEY: Final = "oom_kill"


def count_oom_kills(root: Path = Path("/")) -> int | None:
    """Return the number so far; None where it cannot be known.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    for file in _places(root):
        count = _read(file)
        if count is not None:
            return count
    return None


def _places(root: Path) -> Iterator[Path]:
    mounted = root / "sys/fs/cgroup"
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            yield mounted / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield mounted / "memory" / path.lstrip("/") / "memory.oom_control"
    yield root / "proc/vmstat"


def _read(file: Path) -> int | None:
    try:
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == _KEY:
                return int(value)
    except (OSError, ValueError):
        return None
    return None
