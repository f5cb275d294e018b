"""Finds running pools, and makes one sentence of whatever else answers."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.voicepool.cli.test_top_rows import status
from voicepool._watching.status_view import write
from voicepool.cli import _top_client
from voicepool.cli._top_client import PoolGoneError, PoolSilentError, RunningPool, ask, find


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setattr(_top_client, "folders", lambda: [Path(name), Path(name) / "none"])
        yield Path(name)


@contextmanager
def answering(path: Path, *answers: bytes | None) -> Iterator[list[bytes]]:
    """Listen at a socket file and answer one connection after the other; None says nothing at all."""
    asked: list[bytes] = []
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(1_000))
                    if answer is None:
                        done.wait()
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            done.set()
            thread.join()


def test_a_pool_is_found_and_asked(folder: Path) -> None:
    with answering(folder / "4711-0.sock", write(status())) as asked:
        [pool] = find()
        assert (pool.name, pool.pid) == ("4711-0", "4711")
        assert ask(pool) == status()
    assert asked == [b"\n"]


def test_what_dead_bots_left_is_removed(folder: Path) -> None:
    for name in ("1-0.sock", "2-0.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(folder / name))
    os.utime(folder / "1-0.sock", (1.0, 1.0))
    (folder / "notes.txt").touch()
    # The other one may have been made just now.
    assert [pool.name for pool in find()] == ["2-0"]
    assert not (folder / "1-0.sock").exists()


def test_a_directory_that_others_may_have_filled_is_not_looked_into(folder: Path) -> None:
    with answering(folder / "4711-0.sock"):
        assert len(find()) == 1
        folder.chmod(0o755)
        assert find() == []
        folder.chmod(0o700)


def test_a_port_is_asked_with_its_token(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"port": server.getsockname()[1], "token": "t0k3n"}
        (folder / "4711-0.json").write_text(json.dumps(place), encoding="utf-8")
        asked: list[bytes] = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(1_000))
                connection.sendall(write(status()))

        thread = threading.Thread(target=serve)
        thread.start()
        [pool] = find()
        assert ask(pool) == status()
        thread.join()
    assert asked == [b"t0k3n\n"]


def test_a_pool_that_is_gone_is_told(folder: Path) -> None:
    with pytest.raises(PoolGoneError, match="the pool of process 4711 has gone"):
        ask(RunningPool("4711-0", folder / "4711-0.sock"))
    (folder / "5-0.json").write_text("nonsense", encoding="utf-8")
    with pytest.raises(PoolGoneError, match="process 5"):
        ask(RunningPool("5-0", folder / "5-0.json"))


def test_a_pool_that_hangs_up_is_told(folder: Path) -> None:
    with answering(folder / "4711-0.sock", b""), pytest.raises(PoolGoneError, match="ending, or too many"):
        ask(find()[0])


def test_a_pool_that_says_nothing_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_top_client, "PATIENCE_S", 0.05)
    with answering(folder / "4711-0.sock", None), pytest.raises(PoolSilentError, match="event loop"):
        ask(find()[0])


def test_another_version_is_told(folder: Path) -> None:
    with (
        answering(folder / "4711-0.sock", b'{"version": 7}'),
        pytest.raises(PoolSilentError, match="version"),
    ):
        ask(find()[0])


def test_an_answer_without_end_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_top_client, "LONGEST_ANSWER_BYTES", 100)
    with answering(folder / "4711-0.sock", b"x" * 200), pytest.raises(PoolGoneError):
        ask(find()[0])
