"""The socket of the status: for this user only, one answer a connection, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.running import asyncio_test
from voicepool._watching import status as _status
from voicepool._watching.status import StatusSocket, folders, has_unix_sockets, is_stale

unix_only = pytest.mark.skipif(not has_unix_sockets(), reason="there are no socket files here")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets go, by a short path; that of `tmp_path` may be too long for one."""
    parent = Path(tempfile.mkdtemp())
    monkeypatch.setattr(_status, "folders", lambda: [parent / "pools"])
    yield parent / "pools"
    # Fails unless the last pool has removed the directory.
    parent.rmdir()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def telling(text: bytes = b"{}") -> Callable[[], Callable[[], bytes] | None]:
    return lambda: lambda: text


async def opened(answer: Callable[[], Callable[[], bytes] | None]) -> StatusSocket:
    status = await StatusSocket.open(answer)
    assert status is not None
    return status


async def ask(status: StatusSocket, request: bytes = b"\n") -> bytes:
    reader, writer = await asyncio.open_unix_connection(status.path)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        # It was hung up on before its request was read.
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


@unix_only
def test_one_connection_is_one_answer(folder: Path) -> None:
    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling(b'{"a": 1}'))
        assert status.path.parent == folder
        assert status.path.name.startswith(f"{os.getpid()}-")
        assert [await ask(status) for _ in range(3)] == [b'{"a": 1}'] * 3
        await status.close()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_only_this_user_can_enter() -> None:
    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        found = status.path.parent.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == os.getuid()
        await status.close()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_a_process_of_another_user_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        user = os.getuid()
        with monkeypatch.context() as patched:
            patched.setattr(os, "getuid", lambda: user + 1)
            answer = await ask(status)
        assert answer == b"" if hasattr(socket, "SO_PEERCRED") else b"{}"
        await status.close()

    scenario()


@unix_only
@pytest.mark.parametrize("spoilt", ["mode", "link", "file"])
def test_a_directory_that_others_may_have_made_is_not_used(
    folder: Path, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = folder.with_name("target")
    if spoilt == "mode":
        folder.mkdir()
        folder.chmod(0o755)
    elif spoilt == "link":
        target.mkdir(mode=0o700)
        folder.symlink_to(target)
    else:
        folder.touch()

    @asyncio_test
    async def scenario() -> None:
        assert await StatusSocket.open(telling()) is None

    scenario()
    assert "voicepool top cannot look at this pool" in caplog.text
    if spoilt == "mode":
        folder.rmdir()
    else:
        folder.unlink()
    if target.exists():
        target.rmdir()


@unix_only
def test_what_a_dead_bot_left_is_removed_and_a_living_one_is_not(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    dead, new = folder / "1-0.sock", folder / "2-0.sock"
    for path in (dead, new):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    os.utime(dead, (1.0, 1.0))
    assert is_stale(dead)
    assert not is_stale(new), "it may be about to listen"

    @asyncio_test
    async def scenario() -> None:
        first = await opened(telling())
        os.utime(first.path, (1.0, 1.0))
        second = await opened(telling())
        assert names(folder) == {"2-0.sock", first.path.name, second.path.name}
        await first.close()
        assert names(folder)
        new.unlink()
        await second.close()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_a_pool_that_does_not_run_hangs_up() -> None:
    @asyncio_test
    async def scenario() -> None:
        status = await opened(lambda: None)
        assert await ask(status) == b""
        await status.close()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise RuntimeError("no status")

    @asyncio_test
    async def scenario() -> None:
        status = await opened(lambda: broken)
        assert await ask(status) == b""
        await status.close()

    scenario()
    assert "the status cannot be told" in caplog.text


@unix_only
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("request_", [b"please\n", b"x" * 300 + b"\n", b"x" * 100_000 + b"\n"])
def test_requests_are_empty(request_: bytes) -> None:
    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        assert await ask(status, request_) == b""
        assert await ask(status) == b"{}"
        await status.close()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_clients_are_bounded_and_silent_ones_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_status, "MOST_CLIENTS", 1)

    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        silent_reader, silent_writer = await asyncio.open_unix_connection(status.path)
        assert await ask(status) == b""
        await status.close()
        assert await silent_reader.read() == b""
        silent_writer.close()
        await silent_writer.wait_closed()

    scenario()


@unix_only
@pytest.mark.usefixtures("folder")
def test_who_asks_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_status, "PATIENCE_S", 0.01)

    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        assert await ask(status, b"") == b""
        await status.close()

    scenario()


def test_without_socket_files_a_token_guards_a_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_status, "has_unix_sockets", lambda: False)

    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling(b"told"))
        assert status.path.parent == folder
        assert stat.S_IMODE(status.path.stat().st_mode) == 0o600
        place = json.loads(status.path.read_text(encoding="utf-8"))
        answers = []
        for token in (place["token"], "", "x" * len(place["token"])):
            reader, writer = await asyncio.open_connection("127.0.0.1", place["port"])
            writer.write(f"{token}\n".encode())
            answers.append(await reader.read())
            writer.close()
            await writer.wait_closed()
        assert answers == [b"told", b"", b""]
        assert not is_stale(status.path)
        await status.close()

    scenario()


def test_the_runtime_directory_comes_first_and_that_for_temporary_files_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    found = folders()
    user = str(os.getuid())
    assert found[0] == Path(f"/run/user/7/voicepool.{user}")
    assert Path(tempfile.gettempdir()) / f"voicepool.{user}" in found
    # Directories with that beginning are taken for those of workers' sockets, and removed.
    assert not any(path.name.startswith("voicepool-") for path in found)


@unix_only
def test_a_path_that_is_too_long_for_a_socket_is_left_for_the_next(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(_status, "folders", lambda: [long / "pools", folder])

    @asyncio_test
    async def scenario() -> None:
        status = await opened(telling())
        assert status.path.parent == folder
        await status.close()

    scenario()
