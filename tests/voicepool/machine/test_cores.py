"""What the cores are, from ``/proc`` and ``/sys`` trees as machines have them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from voicepool._machine.cores import Cores, count_cores, read_topology
from voicepool._machine.isolation import plan_cores

if TYPE_CHECKING:
    from pathlib import Path

V2_MOUNT = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1_MOUNT = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_OTHER = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
PLAIN = "23 1 0:1 / / rw - ext4 /dev/root rw\n31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"


def machine(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    tree = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": PLAIN + mountinfo, **files}
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cpus(root: Path, files: dict[str, str]) -> Path:
    """Files below ``/sys/devices``."""
    for name, text in files.items():
        path = root / "sys/devices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_laptop_with_two_threads_a_core(tmp_path: Path) -> None:
    root = cpus(
        tmp_path,
        {f"system/cpu/cpu{n}/topology/core_cpus_list": f"{n % 8},{n % 8 + 8}\n" for n in range(16)},
    )
    topology = read_topology(root, allowed=range(16))
    assert (topology.allowed, topology.physical, topology.usable) == (16, 8, 8)
    assert plan_cores(3, topology) == [1, 2, 3]


def test_an_old_kernel_with_neighbouring_threads(tmp_path: Path) -> None:
    siblings = {
        f"system/cpu/cpu{n}/topology/thread_siblings_list": f"{n // 2 * 2}-{n // 2 * 2 + 1}\n"
        for n in range(8)
    }
    topology = read_topology(cpus(tmp_path, siblings), allowed=range(8))
    assert topology.physical == 4
    assert plan_cores(4, topology) == [2, 4, 6, 3]


def test_big_and_little_cores_of_an_arm(tmp_path: Path) -> None:
    files = {f"system/cpu/cpu{n}/topology/core_cpus_list": f"{n}\n" for n in range(8)}
    files |= {f"system/cpu/cpu{n}/cpu_capacity": "446\n" if n < 4 else "1024\n" for n in range(8)}
    topology = read_topology(cpus(tmp_path, files), allowed=range(8))
    assert plan_cores(5, topology) == [4, 5, 6, 7, 1]


def test_the_weak_cores_of_a_desktop_come_after_the_strong_ones_but_before_their_threads(
    tmp_path: Path,
) -> None:
    # 2 P cores with two threads each (0-1, 2-3) and 2 E cores (4, 5).
    files = {f"system/cpu/cpu{n}/topology/core_cpus_list": f"{n // 2 * 2}-{n // 2 * 2 + 1}" for n in range(4)}
    files |= {f"system/cpu/cpu{n}/topology/core_cpus_list": f"{n}" for n in (4, 5)}
    topology = read_topology(cpus(tmp_path, files | {"cpu_atom/cpus": "4-5\n"}), allowed=range(6))
    assert plan_cores(6, topology) == [2, 4, 5, 3, 1, 0]


def test_a_container_of_one_and_a_half_cpus_on_a_large_host(tmp_path: Path) -> None:
    root = machine(
        tmp_path, "0::/\n", V2_MOUNT.format(root="/"), {"sys/fs/cgroup/cpu.max": "150000 100000\n"}
    )
    topology = read_topology(root, allowed=range(64))
    assert (topology.allowed, topology.quota, topology.usable) == (64, 1.5, 1)
    assert plan_cores(1, topology) == [None]


def test_a_cpuset(tmp_path: Path) -> None:
    root = cpus(
        tmp_path, {f"system/cpu/cpu{n}/topology/core_cpus_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)}
    )
    topology = read_topology(root, allowed={2, 3})
    assert (topology.allowed, topology.physical) == (2, 2)
    assert plan_cores(1, topology) == [3]


@pytest.mark.parametrize("text", ["", "all", "0-\n", "\xff"])
def test_siblings_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    root = cpus(tmp_path, {"system/cpu/cpu0/topology/core_cpus_list": text})
    assert read_topology(root, allowed={0}).cores[0].siblings == {0}


def test_macos_and_windows_have_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    if hasattr(os, "process_cpu_count"):
        monkeypatch.setattr(os, "process_cpu_count", lambda: 10)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    topology = read_topology(tmp_path)
    assert (topology.allowed, topology.cores, topology.quota, topology.usable) == (10, (), None, 10)
    assert plan_cores(2, topology) == [None, None]
    assert count_cores(tmp_path) == Cores(10, None, physical=10)


def test_no_proc_means_no_quota(tmp_path: Path) -> None:
    assert count_cores(tmp_path).quota is None


def test_version_2_in_a_container(tmp_path: Path) -> None:
    root = machine(
        tmp_path, "0::/\n", V2_MOUNT.format(root="/"), {"sys/fs/cgroup/cpu.max": "250000 100000\n"}
    )
    assert count_cores(root).quota == 2.5


def test_version_2_without_a_limit(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", V2_MOUNT.format(root="/"), {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert count_cores(root).quota is None


def test_the_tightest_of_own_and_ancestors_counts(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "0::/system.slice/bot.service\n",
        V2_MOUNT.format(root="/"),
        {
            "sys/fs/cgroup/system.slice/bot.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/cpu.max": "150000 50000\n",
        },
    )
    assert count_cores(root).quota == 3.0


def test_version_1(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "9:memory:/bot\n4:cpu,cpuacct:/bot\n0::/\n",
        V1_MOUNT.format(root="/") + V1_OTHER,
        {
            "sys/fs/cgroup/cpu,cpuacct/bot/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu,cpuacct/bot/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert count_cores(root).quota == 4.0


@pytest.mark.parametrize("membership", ["/docker/0123", "/elsewhere"])
def test_a_mount_may_show_only_a_part_of_the_hierarchy(tmp_path: Path, membership: str) -> None:
    root = machine(
        tmp_path,
        f"4:cpu,cpuacct:{membership}\n",
        V1_MOUNT.format(root="/docker/0123"),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert count_cores(root).quota == 1.5


@pytest.mark.parametrize("text", ["", "many 100000\n", "100000\n", "100000 0\n", "\xff"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str) -> None:
    root = machine(tmp_path, "0::/\n", V2_MOUNT.format(root="/"), {"sys/fs/cgroup/cpu.max": text})
    assert count_cores(root).quota is None


@pytest.mark.parametrize(
    ("allowed", "quota", "usable"), [(8, None, 8), (8, 2.5, 2), (2, 4.0, 2), (8, 0.5, 1), (1, None, 1)]
)
def test_a_quota_counts_in_whole_cores(allowed: int, quota: float | None, usable: int) -> None:
    assert Cores(allowed, quota).usable == usable


def test_threads_of_one_core_count_once() -> None:
    assert Cores(16, None, physical=8).usable == 8
    assert Cores(16, 4.0, physical=8).usable == 4


def test_this_machine_has_a_core() -> None:
    assert count_cores().usable >= 1
