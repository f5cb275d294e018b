"""The core count, from made-up ``/proc`` and ``/sys`` trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from voicepool._cores import Cores, count_cores

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


def test_this_machine_has_a_core() -> None:
    assert count_cores().usable >= 1
