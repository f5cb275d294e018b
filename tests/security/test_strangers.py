"""Nobody but the bot speaks with its workers, and nobody but its workers with the bot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import zmq.asyncio

from tests.fakes.monitoring import monitor_of
from tests.fakes.pool import pool_of, until
from tests.fakes.running import asyncio_test
from tests.fakes.worker import InProcess, ScriptedWorker
from tests.integration.calls import assert_nothing_lost, world
from tests.security.attacker import NOBODY, attack
from tests.workers.audio.media_files import encode
from voicepool import PoolConfig, VoicePool
from voicepool._process.rendezvous import Doorman, Rendezvous
from voicepool.errors import WorkerStartError
from voicepool.ipc import sockets
from voicepool.ipc.channel import BotEnd, WorkerEnd
from voicepool.ipc.commands import Shutdown
from voicepool.ipc.endpoint import Bootstrap, has_unix_sockets, new_bot_keys
from voicepool.ipc.events import Bye, Hello
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.version import WIRE_VERSION

if not has_unix_sockets():
    pytest.skip("no unix sockets here; those over TCP are in test_rendezvous", allow_module_level=True)

NAME = WorkerId("w0.1")
TRIES_WITHOUT_KEYS = ("list_directory", "connect_raw", "knock_without_keys")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@contextlib.asynccontextmanager
async def address() -> AsyncIterator[tuple[BotEnd, Bootstrap, Path]]:
    place = Rendezvous("unix", max_attachment_bytes=1 << 20)
    end, bootstrap = place.open(NAME)
    try:
        yield end, bootstrap, Path(bootstrap.address.removeprefix("ipc://"))
    finally:
        await end.close()
        await place.close()


@contextlib.asynccontextmanager
async def worker_end(bootstrap: Bootstrap) -> AsyncIterator[WorkerEnd]:
    context = zmq.asyncio.Context()
    end = WorkerEnd(context, bootstrap.address, curve=bootstrap.curve)
    try:
        yield end
    finally:
        await end.close()
        context.term()


def hello(bootstrap: Bootstrap) -> Hello:
    return Hello(wire_version=WIRE_VERSION, worker=NAME, start_token=bootstrap.start_token, pid=1)


def sockets_of_pools() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("voicepool.ipc-*/*.sock"))


@pytest.fixture
def public_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets lie where everybody may go, as in /tmp; only their own directory keeps others out."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(sockets, "_parents", lambda: [Path(folder)])
        yield


@as_root
@pytest.mark.usefixtures("public_place")
@asyncio_test
async def test_another_user_cannot_even_see_the_socket() -> None:
    async with address() as (_end, bootstrap, _path):
        outcome = await attack(bootstrap.address, "list_directory", "connect_raw", uid=NOBODY)
        assert outcome == {"list_directory": "PermissionError", "connect_raw": "PermissionError"}


@as_root
@pytest.mark.usefixtures("public_place")
@asyncio_test
async def test_another_user_with_the_keys_and_an_open_directory_is_refused_by_the_kernels_word() -> None:
    async with address() as (end, bootstrap, path):
        path.parent.chmod(0o755)
        path.chmod(0o777)
        receiving = asyncio.create_task(end.receive())
        tries = ("list_directory", "knock_with_stolen_keys")
        outcome = await attack(bootstrap.address, *tries, uid=NOBODY, bootstrap=bootstrap.to_line())
        assert outcome == {"list_directory": "saw 1", "knock_with_stolen_keys": "refused"}
        assert not receiving.done()
        # It is for the user that this one was refused.
        outcome = await attack(bootstrap.address, *tries, bootstrap=bootstrap.to_line())
        assert outcome["knock_with_stolen_keys"] == "let in"
        event, _ = await receiving
        assert isinstance(event, Hello)


@asyncio_test
async def test_the_same_user_without_keys_hears_nothing_and_is_not_heard() -> None:
    async with address() as (end, bootstrap, _path):
        receiving = asyncio.create_task(end.receive())
        outcome = await attack(
            bootstrap.address, *TRIES_WITHOUT_KEYS, "knock_with_own_keys", bootstrap=bootstrap.to_line()
        )
        assert outcome == {
            "list_directory": "saw 1",
            "connect_raw": "got 0 bytes",
            "knock_without_keys": "refused",
            "knock_with_own_keys": "refused",
        }
        assert not receiving.done()
        async with worker_end(bootstrap) as worker:
            worker.post(hello(bootstrap))
            assert (await receiving)[0] == hello(bootstrap)


@asyncio_test
async def test_knocking_at_a_pool_that_plays_changes_nothing() -> None:
    async with world(ipc="unix") as here:
        voice = await here.join()
        music = voice.play_no_wait(encode("flac", "flac", seconds=30.0))
        session = here.session()
        await session.wait_for_packets(5)
        (path,) = sockets_of_pools()
        for _ in range(3):
            outcome = await attack(f"ipc://{path}", *TRIES_WITHOUT_KEYS)
            assert outcome["connect_raw"] == "got 0 bytes"
            assert outcome["knock_without_keys"] == "refused"
        await session.wait_for_packets(session.packets + 5)
        await voice.stop()
        await music
        assert [worker.restarts for worker in here.pool.workers] == [0]
        assert_nothing_lost(session)


@asyncio_test
async def test_the_keys_and_the_token_open_the_door_once() -> None:
    async with (
        address() as (end, bootstrap, _path),
        worker_end(bootstrap) as worker,
        worker_end(bootstrap) as double,
    ):
        worker.post(hello(bootstrap))
        assert (await end.receive())[0] == hello(bootstrap)
        end.accept_peer()
        # All that the worker has, and too late: who came first is spoken with, and only he.
        double.post(hello(bootstrap))
        await until(lambda: end.has_message)
        worker.post(Bye())
        assert (await end.receive())[0] == Bye()
        waiting = asyncio.create_task(double.receive())
        end.post(Shutdown())
        assert (await worker.receive())[0] == Shutdown()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})


@asyncio_test
async def test_whoever_takes_over_the_path_learns_nothing_from_a_worker() -> None:
    async with address() as (_end, bootstrap, path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
            async with worker_end(bootstrap) as worker:
                worker.post(hello(bootstrap))
                loop = asyncio.get_running_loop()
                connection, _ = await loop.sock_accept(listener)
                with connection:
                    # ZMTP's greeting (RFC 23), as a server that speaks CURVE.
                    await loop.sock_sendall(
                        connection,
                        b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + b"\x01" + bytes(31),
                    )
                    said = b""
                    while b"HELLO" not in said:
                        said += await loop.sock_recv(connection, 4_096)
                    # It goes on only with an answer that the bot's secret key alone can make.
                    await loop.sock_sendall(connection, b"\x06\x8e\x07WELCOME" + os.urandom(134))
                    while data := await loop.sock_recv(connection, 4_096):
                        said += data
        assert bootstrap.start_token.encode() not in said
        assert b"Hello" not in said
        # The greeting of 64 bytes, and CURVE's HELLO (RFC 26): a command of 200 bytes behind two of framing.
        assert len(said) == 64 + 2 + 200


@asyncio_test
async def test_a_false_bot_at_the_path_gets_no_hello() -> None:
    async with address() as (_end, bootstrap, path):
        path.unlink()
        assert bootstrap.curve is not None
        context = zmq.asyncio.Context()
        doorman = Doorman(context)
        doorman.allow(NAME, bootstrap.curve.client_public)
        false = BotEnd(context, bootstrap.address, max_attachment_bytes=1, curve=new_bot_keys(NAME))
        receiving = asyncio.create_task(false.receive())
        async with worker_end(bootstrap) as worker:
            monitor = monitor_of(
                worker._socket,
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED,
            )
            worker.post(hello(bootstrap))
            frames = await monitor.recv_multipart()
            assert int.from_bytes(frames[0][:2], "little") != zmq.EVENT_HANDSHAKE_SUCCEEDED
            worker._socket.disable_monitor()
            monitor.close(linger=0)
        assert not receiving.done()
        receiving.cancel()
        await asyncio.wait({receiving})
        await false.close()
        await doorman.close()
        context.destroy(linger=0)


@asyncio_test
async def test_a_wrong_token_gets_no_setup_and_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    setups = []

    async def script(worker: ScriptedWorker) -> None:
        worker.say(Hello(wire_version=WIRE_VERSION, worker=NAME, start_token="SECRET guess", pid=os.getpid()))
        await worker._link.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                setups.append(await worker._link.receive())

    pool, _ = pool_of(launcher=InProcess(script))
    with pytest.raises(WorkerStartError) as caught:
        await pool.start()
    await pool.close()
    assert setups == []
    assert "without the right start token" in caplog.text
    assert "SECRET" not in caplog.text + str(caught.value)


@asyncio_test
async def test_a_worker_listens_nowhere() -> None:
    async with VoicePool(PoolConfig(workers=1)) as pool:
        (worker,) = pool.workers
        try:
            found = psutil.Process(worker.pid).net_connections("all")
        except psutil.AccessDenied:
            pytest.skip("what a process that is not dumpable has open is told to root alone (CAP_SYS_PTRACE)")
        assert found
        assert [each for each in found if each.status == psutil.CONN_LISTEN] == []
