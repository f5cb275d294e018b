"""Where a worker finds its bot."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
import zmq

from voicepool.ipc.endpoint import Bootstrap, CurveKeys, SocketDirectory, has_unix_sockets, new_curve_keys
from voicepool.ipc.ids import WorkerId

needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets here")


def test_a_bootstrap_is_one_line_and_comes_back() -> None:
    bootstrap = Bootstrap(
        address="ipc:///tmp/x.sock",
        worker=WorkerId("w0.1"),
        start_token="start\nwith a line break",
        curve=CurveKeys("server", "client", "key"),
    )
    line = bootstrap.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Bootstrap.from_line(line) == bootstrap


def test_no_secret_of_it_shows() -> None:
    bootstrap = Bootstrap(
        address="ipc:///x", worker=WorkerId("w0.1"), start_token="key 1", curve=CurveKeys("a", "b", "key 2")
    )
    assert "key" not in repr(bootstrap)
    assert "key 2" not in repr(bootstrap.curve)


@pytest.mark.parametrize("line", [b"", b"\n", b"{}", b'{"address": 5}', b"hello\n", b"\xff\xfe"])
def test_any_other_line_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Bootstrap.from_line(line)


def test_each_worker_gets_keys_that_fit() -> None:
    server, _ = zmq.curve_keypair()
    first, second = new_curve_keys(server.decode()), new_curve_keys(server.decode())
    assert first.client_secret != second.client_secret
    assert first.server_public == server.decode()
    assert zmq.curve_public(first.client_secret.encode()) == first.client_public.encode()


def test_unix_sockets_are_known_where_they_are() -> None:
    assert has_unix_sockets() == (sys.platform != "win32")


@needs_unix
def test_a_socket_directory_is_private_and_goes_away() -> None:
    directory = SocketDirectory()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.address(WorkerId("w3.12")) == f"ipc://{directory.path}/w3.12.sock"
    (directory.path / "w3.12.sock").touch()
    directory.close()
    assert not directory.path.exists()
    directory.close()


@needs_unix
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
