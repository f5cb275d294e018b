"""Where workers find their pool, and who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from tests.fakes.monitoring import monitor_of
from tests.fakes.running import asyncio_test
from voicepool._process import rendezvous as _rendezvous
from voicepool._process.rendezvous import Rendezvous
from voicepool.errors import PoolClosedError, WorkerStartError
from voicepool.ipc import sockets
from voicepool.ipc.channel import WorkerEnd
from voicepool.ipc.commands import StreamAudio
from voicepool.ipc.endpoint import Bootstrap, CurveKeys, has_unix_sockets, new_curve_keys
from voicepool.ipc.events import Bye
from voicepool.ipc.ids import CallId, StreamId, WorkerId

NAME = WorkerId("w0.1")
KINDS = ["unix", "tcp"] if has_unix_sockets() else ["tcp"]


@contextlib.asynccontextmanager
async def rendezvous(kind: Any) -> AsyncIterator[Rendezvous]:
    place = Rendezvous(kind, max_attachment_bytes=1 << 20)
    try:
        yield place
    finally:
        await place.close()


def assert_private(socket: Path) -> None:
    assert socket.is_socket()
    folder = socket.parent.stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == os.getuid()


def gone(folder: Path) -> bool:
    return not folder.exists()


@contextlib.asynccontextmanager
async def knocking(address: str, curve: CurveKeys | None) -> AsyncIterator[asyncio.Task[int]]:
    """A peer that says something; the task ends with how its handshake went."""
    context = zmq.asyncio.Context()
    end = WorkerEnd(context, address, curve=curve)
    monitor = monitor_of(end._socket)
    verdicts = (
        zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    )

    async def outcome() -> int:
        while True:
            frames = await monitor.recv_multipart()
            event = int.from_bytes(frames[0][:2], "little")
            if event & (verdicts | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED):
                return event

    end.post(Bye())
    task = asyncio.create_task(outcome())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        end._socket.disable_monitor()
        monitor.close(linger=0)
        await end.close()
        context.term()


@pytest.mark.skipif(not has_unix_sockets(), reason="no unix sockets here")
@asyncio_test
async def test_unix_sockets_lie_in_a_private_directory_that_goes_away() -> None:
    async with rendezvous("auto") as place:
        end, bootstrap = place.open(NAME)
        socket = Path(bootstrap.address.removeprefix("ipc://"))
        assert_private(socket)
        assert bootstrap.curve is not None
        await end.close()
    assert gone(socket.parent)


@pytest.mark.skipif(not has_unix_sockets(), reason="no unix sockets here")
@asyncio_test
async def test_without_a_place_for_sockets_auto_is_tcp_and_unix_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "_parents", lambda: [tmp_path / "missing"])
    with pytest.raises(WorkerStartError, match=r"no place for the socket files.*No such file.*TMPDIR"):
        Rendezvous("unix", max_attachment_bytes=1)
    async with rendezvous("auto") as place:
        assert place.kind == "tcp"
    assert "over TCP on loopback instead" in caplog.text


@asyncio_test
async def test_without_curve_there_are_unix_sockets_and_a_token_or_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_rendezvous, "has_curve", lambda: False)
    with pytest.raises(WorkerStartError, match="without CURVE"):
        Rendezvous("tcp", max_attachment_bytes=1)
    if has_unix_sockets():
        async with rendezvous("auto") as place:
            end, bootstrap = place.open(NAME)
            assert bootstrap.curve is None
            async with knocking(bootstrap.address, None):
                assert (await end.receive())[0] == Bye()
            await end.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@asyncio_test
async def test_a_fork_gets_a_clear_error_and_removes_nothing() -> None:
    async with rendezvous("auto") as place:
        end, bootstrap = place.open(NAME)
        child = os.fork()
        if child == 0:
            try:
                assert place._directory is not None
                place._directory.close()
                place.open(WorkerId("w1.1"))
            except PoolClosedError as error:
                os._exit(17 if "fork" in str(error) else 18)
            finally:
                os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 17
        assert_private(Path(bootstrap.address.removeprefix("ipc://")))
        await end.close()


@asyncio_test
async def test_small_sources_leave_room_for_pushed_audio() -> None:
    place = Rendezvous("auto", max_attachment_bytes=1)
    end, bootstrap = place.open(NAME)
    assert bootstrap.max_attachment_bytes >= 1 << 20
    end.post(StreamAudio(call=CallId("call"), stream=StreamId("stream")), [bytes(1 << 18)])
    await end.close()
    await place.close()


@asyncio_test
async def test_each_worker_gets_a_token_and_keys_of_its_own() -> None:
    async with rendezvous("tcp") as place:
        ends, told = zip(*(place.open(WorkerId(f"w{index}.1")) for index in range(2)), strict=True)
        assert told[0].start_token != told[1].start_token
        assert len(told[0].start_token) >= 40
        assert told[0].curve is not None
        assert told[0].address.startswith("tcp://127.0.0.1:")
        assert told[0].address != told[1].address
        assert told[0].curve != told[1].curve
        assert "secret" not in repr(told)
        assert told[0].curve.client_secret not in repr(told)
        assert told[0].start_token not in repr(told)
        for end in ends:
            await end.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_that_were_handed_out_open_the_door(kind: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous(kind) as place:
            end, bootstrap = place.open(NAME)
            async with knocking(bootstrap.address, bootstrap.curve) as outcome:
                event, _ = await end.receive()
                assert event == Bye()
                assert await outcome == zmq.EVENT_HANDSHAKE_SUCCEEDED
            await end.close()

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_of_one_worker_do_not_open_the_door_of_another(kind: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous(kind) as place:
            end, bootstrap = place.open(NAME)
            other_end, other = place.open(WorkerId("w1.1"))
            async with knocking(bootstrap.address, other.curve) as outcome:
                assert await outcome != zmq.EVENT_HANDSHAKE_SUCCEEDED
            await end.close()
            await other_end.close()

    run()


def _own_keys(bootstrap: Bootstrap) -> CurveKeys:
    assert bootstrap.curve is not None
    return new_curve_keys(bootstrap.curve.server_public)


def _keys_for_another_server(_bootstrap: Bootstrap) -> CurveKeys:
    return new_curve_keys(zmq.curve_keypair()[0].decode())


def _no_keys(_bootstrap: Bootstrap) -> None:
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [_own_keys, _keys_for_another_server, _no_keys])
def test_nobody_else_gets_in(keys: Any, kind: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with rendezvous(kind) as place:
            end, bootstrap = place.open(NAME)
            receiving = asyncio.create_task(end.receive())
            async with knocking(bootstrap.address, keys(bootstrap)) as outcome:
                assert await outcome != zmq.EVENT_HANDSHAKE_SUCCEEDED
                assert not receiving.done()
                # The door is still there for who has the key.
                async with knocking(bootstrap.address, bootstrap.curve):
                    event, _ = await receiving
                    assert event == Bye()
            await end.close()

    run()


@asyncio_test
async def test_keys_that_were_taken_back_open_nothing() -> None:
    async with rendezvous("tcp") as place:
        end, bootstrap = place.open(NAME)
        place.forget(bootstrap)
        async with knocking(bootstrap.address, bootstrap.curve) as outcome:
            assert await outcome != zmq.EVENT_HANDSHAKE_SUCCEEDED
        await end.close()
