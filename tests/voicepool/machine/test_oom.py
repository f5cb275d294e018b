"""The kernel's count of those it ended for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepool._machine.oom import count_oom_kills

_VMSTAT = Path("/proc/vmstat")


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_the_control_group_is_asked_first(tmp_path: Path) -> None:
    put(tmp_path, proc__self__cgroup="0::/bot.service\n", proc__vmstat="oom_kill 99\n")
    assert count_oom_kills(tmp_path) == 99
    folder = tmp_path / "sys/fs/cgroup/bot.service"
    folder.mkdir(parents=True)
    (folder / "memory.events").write_text("low 0\noom 4\noom_kill 3\noom_group_kill 0\n")
    assert count_oom_kills(tmp_path) == 3


def test_the_root_of_a_container(tmp_path: Path) -> None:
    put(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__memory_dot_events="oom_kill 2\n")
    assert count_oom_kills(tmp_path) == 2


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    put(
        tmp_path,
        proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/docker/b\n1:name=systemd:/c\n",
        proc__vmstat="oom_kill 99\n",
    )
    folder = tmp_path / "sys/fs/cgroup/memory/docker/b"
    folder.mkdir(parents=True)
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert count_oom_kills(tmp_path) == 1


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "no colons"])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, text: str) -> None:
    assert count_oom_kills(tmp_path) is None
    put(tmp_path, proc__self__cgroup=text, proc__vmstat=text)
    assert count_oom_kills(tmp_path) is None


@pytest.mark.skipif(
    not _VMSTAT.is_file() or "\noom_kill " not in _VMSTAT.read_text(), reason="Linux tells from 4.13 on"
)
def test_this_machine_tells() -> None:
    assert count_oom_kills() is not None
