"""The private directory of a pool's sockets, and what dead bots leave behind."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from voicepool.ipc import sockets
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.sockets import SocketDirectory, remove_stale_directories

if sys.platform == "win32":
    pytest.skip("no unix sockets here", allow_module_level=True)

import fcntl

_BOT = """
import os, signal, socket
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.sockets import SocketDirectory
directory = SocketDirectory()
socket.socket(socket.AF_UNIX).bind(directory.address(WorkerId("w0.1")).removeprefix("ipc://"))
print(directory.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only directory for temporary files there is, its path short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(sockets, "_parents", lambda: [Path(folder)])
        yield Path(folder)


def directory_of_a_dead_bot(parent: Path) -> Path:
    environment = {**os.environ, "TMPDIR": str(parent)}
    done = subprocess.run(
        [sys.executable, "-c", _BOT], env=environment, capture_output=True, text=True, check=False
    )
    path = Path(done.stdout.strip())
    assert path.parent == parent, done.stderr
    assert (path / "w0.1.sock").is_socket()
    return path


def left(parent: Path, name: str = "voicepool.ipc-left", *, mode: int = 0o700, file: str = "") -> Path:
    """A directory like a dead bot's, but for one thing."""
    path = parent / name
    path.mkdir(mode=mode)
    path.chmod(mode)
    if file:
        (path / file).touch()
    return path


def test_it_is_private_and_goes_away() -> None:
    directory = SocketDirectory()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.address(WorkerId("w3.12")) == f"ipc://{directory.path}/w3.12.sock"
    (directory.path / "w3.12.sock").touch()
    directory.close()
    assert not directory.path.exists()
    directory.close()


def test_a_long_temporary_directory_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    directory = SocketDirectory()
    try:
        address = directory.address(WorkerId("w999.99999")).removeprefix("ipc://")
        assert len(os.fsencode(address)) <= 107
        assert list(long.iterdir()) == []
    finally:
        directory.close()


def test_without_any_place_the_error_names_all_reasons_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(sockets, "_parents", lambda: [long, tmp_path / "missing"])
    with pytest.raises(OSError, match=r"too long for a socket.*No such file.*set TMPDIR"):
        SocketDirectory()


def test_the_directory_of_a_dead_bot_is_removed(parent: Path) -> None:
    dead = directory_of_a_dead_bot(parent)
    assert remove_stale_directories() == [dead]
    assert not dead.exists()
    assert remove_stale_directories() == []


def test_that_of_a_living_bot_is_not(parent: Path) -> None:
    directory = SocketDirectory()
    assert directory.path.parent == parent
    assert remove_stale_directories() == []
    assert directory.path.is_dir()
    directory.close()


def test_one_that_is_removed_while_it_is_made_is_made_again(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    take = sockets._take

    def take_late(directory: int) -> object:
        if not made:
            (path,) = parent.iterdir()
            made.append(path)
            path.rmdir()
        return take(directory)

    monkeypatch.setattr(sockets, "_take", take_late)
    directory = SocketDirectory()
    assert directory.path not in made
    assert directory.path.is_dir()
    directory.close()


def test_what_is_not_surely_ours_is_left_alone(parent: Path, tmp_path: Path) -> None:
    elsewhere = left(tmp_path, "voicepool.ipc-elsewhere")
    (parent / "voicepool.ipc-link").symlink_to(elsewhere)
    (parent / "voicepool.ipc-file").touch()
    left(parent, "voicepool.ipc-open", mode=0o755)
    left(parent, "voicepool.ipc-with-a-file", file="notes.txt")
    left(parent, "other-programs")
    # Such as the stand-ins make; empty for a moment.
    (parent / "voicepool-ca-1").mkdir(mode=0o700)
    before = set(parent.iterdir())
    assert remove_stale_directories() == []
    assert set(parent.iterdir()) == before
    assert elsewhere.is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_is_left_alone(parent: Path) -> None:
    path = left(parent)
    os.chown(path, 65_534, 65_534)
    assert remove_stale_directories() == []
    assert path.is_dir()


def test_a_link_to_a_socket_inside_keeps_the_directory(parent: Path, tmp_path: Path) -> None:
    path = left(parent)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        target = parent / "s"
        bound.bind(str(target))
        (path / "w0.1.sock").symlink_to(target)
        assert remove_stale_directories() == []
        assert target.is_socket()


def test_without_locks_nothing_is_removed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(parent)

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert remove_stale_directories() == []
    directory = SocketDirectory()
    directory.close()
    assert path.is_dir()
