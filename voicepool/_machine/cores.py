"""Which CPU cores this process may use: its affinity, which of them are one, and the time its cgroup grants.

A container is often given two CPUs' worth of time on a host of 64 cores, and every core is in its
affinity. A worker for each of the 64 would then be stopped for most of each scheduling period, which
audio does not survive; so the quota counts as much as the affinity. `voicepool._machine.isolation` says
what is made of it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from voicepool._machine.isolation import Core, Topology, parse_cpu_list

__all__ = ["Cores", "count_cores", "read_topology"]

_CPUS: Final = "sys/devices/system/cpu"
_WEAK_CORES: Final = "sys/devices/cpu_atom/cpus"
"""The E cores of an Intel processor that has both kinds; it states no capacity."""
_FULL_CAPACITY: Final = 1_024
"""``cpu_capacity`` of the strongest core (Linux, Documentation/devicetree/bindings/cpu/cpu-capacity.txt)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cores:
    """What was found.

    Attributes
    ----------
    allowed
        Cores that the scheduler may put this process on.
    quota
        CPU time per wall time that the cgroup and its parents grant, in cores; None without a limit.
    physical
        How many of the allowed ones there are when the threads of one core count once; None if not known.
    """

    allowed: int
    quota: float | None
    physical: int | None = None

    @property
    def usable(self) -> int:
        """Whole cores that can be kept busy without being stopped or slowed down; at least 1."""
        cores = self.allowed if self.physical is None else self.physical
        return max(1, cores if self.quota is None else min(cores, math.floor(self.quota)))


def read_topology(root: Path = Path("/"), allowed: Collection[int] | None = None) -> Topology:
    """Find out what this process may run on.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted. What cannot be read there is taken to be the plain case: each
        logical CPU a core of its own, all of them equal, no quota.
    allowed
        Numbers of the logical CPUs it may use; None asks the kernel.
    """
    if allowed is None and hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
    if not allowed:
        return Topology(allowed=_count_allowed(), quota=_read_quota(root))
    weak = _cpu_list(root / _WEAK_CORES) or []
    cores = tuple(_core(root, number, weak=number in weak) for number in sorted(allowed))
    return Topology(allowed=len(cores), cores=cores, quota=_read_quota(root))


def count_cores(root: Path = Path("/")) -> Cores:
    """Count the cores available to this process.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted. Where there is no ``proc`` (not Linux), no quota is found.
    """
    topology = read_topology(root)
    # Python can be told to count fewer (-X cpu_count); those are not known by number.
    allowed = min(_count_allowed(), topology.allowed)
    return Cores(allowed=allowed, quota=topology.quota, physical=min(allowed, topology.physical))


def _core(root: Path, number: int, *, weak: bool) -> Core:
    folder = root / _CPUS / f"cpu{number}"
    siblings = _cpu_list(folder / "topology/core_cpus_list")
    if siblings is None:
        # Its name before Linux 5.7.
        siblings = _cpu_list(folder / "topology/thread_siblings_list")
    try:
        capacity = int((folder / "cpu_capacity").read_text(encoding="ascii"))
    except (OSError, ValueError):
        capacity = _FULL_CAPACITY // 2 if weak else _FULL_CAPACITY
    return Core(number, frozenset({number, *(siblings or ())}), capacity)


def _cpu_list(file: Path) -> list[int] | None:
    try:
        return parse_cpu_list(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _count_allowed() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_quota(root: Path) -> float | None:
    try:
        membership = (root / "proc/self/cgroup").read_text(encoding="utf-8")
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    quotas = [
        quota
        for folder, version in _controlling_folders(membership, mounts)
        if (quota := _quota_of(root / folder.relative_to("/"), version)) is not None
    ]
    return min(quotas, default=None)


def _controlling_folders(membership: str, mounts: str) -> list[tuple[PurePosixPath, int]]:
    """List the cgroup folders, own and ancestors', that may limit the CPU, each with its cgroup version.

    Lines of ``/proc/self/cgroup`` are ``hierarchy:controllers:path`` (cgroups(7)); version 2 has hierarchy 0
    and no controllers. The path counts from the root of the hierarchy, a mount may show only a part of it
    (field 4 of ``/proc/self/mountinfo``, proc_pid_mountinfo(5)).
    """
    paths: dict[int, PurePosixPath] = {}
    for line in membership.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            paths[2] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            paths[1] = PurePosixPath(path)
    folders = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        version = 2 if kind == "cgroup2" else 1
        if not kind.startswith("cgroup") or version not in paths:
            continue
        if version == 1 and "cpu" not in options.split(" ")[-1].split(","):
            continue
        shown_root, mount_point = (PurePosixPath(field) for field in before.split(" ")[3:5])
        own = paths[version]
        inside = own.relative_to(shown_root) if own.is_relative_to(shown_root) else PurePosixPath()
        folder = mount_point / inside
        folders += [(parent, version) for parent in (folder, *folder.parents) if mount_point <= parent]
    return folders


def _quota_of(folder: Path, version: int) -> float | None:
    """Read one folder's limit: CPU time over period, both in microseconds; -1 or "max" is no limit."""
    try:
        if version == 2:  # noqa: PLR2004 - the number is the name: cgroup v2
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        if quota == "max" or int(quota) < 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
