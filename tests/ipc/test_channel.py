"""The two ends of a link over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zmq
import zmq.asyncio

from tests.fakes.monitoring import monitor_of
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.ipc.samples import COMMAND_SAMPLES, EVENT_SAMPLES
from voicepool._process.rendezvous import Doorman
from voicepool.ipc import channel
from voicepool.ipc.channel import BotEnd, ForkedError, LinkFullError, MessageTooLargeError, WorkerEnd
from voicepool.ipc.codec import MAX_ATTACHMENTS, MAX_MESSAGE_BYTES
from voicepool.ipc.commands import Pause, Shutdown
from voicepool.ipc.endpoint import SocketDirectory, has_unix_sockets, new_bot_keys, new_curve_keys
from voicepool.ipc.errors import UnreadableMessageError
from voicepool.ipc.events import Bye, Done, Hello
from voicepool.ipc.ids import CallId, RequestId, WorkerId

HELLO = EVENT_SAMPLES["Hello"]
PAUSE = Pause(call=CallId("call"))


@contextlib.asynccontextmanager
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    made = zmq.asyncio.Context()
    try:
        yield made
    finally:
        made.destroy(linger=0)


@contextlib.asynccontextmanager
async def address(kind: str) -> AsyncIterator[str]:
    if kind == "tcp":
        yield "tcp://127.0.0.1:*"
        return
    directory = SocketDirectory()
    try:
        yield directory.address(WorkerId("w0.1"))
    finally:
        directory.close()


@contextlib.asynccontextmanager
async def ends(kind: str = "tcp", *, curve: bool = False) -> AsyncIterator[tuple[BotEnd, WorkerEnd]]:
    """Both ends; the bot has accepted the worker."""
    async with context() as bots, context() as workers, address(kind) as where:
        bot_keys = new_bot_keys("w0.1") if curve else None
        worker_keys = new_curve_keys(bot_keys.public) if bot_keys is not None else None
        bot = BotEnd(bots, where, max_attachment_bytes=1 << 26, curve=bot_keys)
        doorman = Doorman(bots)
        if worker_keys is not None:
            doorman.allow("w0.1", worker_keys.client_public)
        worker = WorkerEnd(workers, bot.address, curve=worker_keys)
        try:
            worker.post(HELLO)
            event, _ = await bot.receive()
            assert event == HELLO
            bot.accept_peer()
            yield bot, worker
        finally:
            await worker.close()
            await bot.close()
            await doorman.close()


@pytest.mark.parametrize(("kind", "curve"), [("unix", False), ("unix", True), ("tcp", False), ("tcp", True)])
def test_every_message_crosses(kind: str, *, curve: bool) -> None:
    @asyncio_test
    async def run() -> None:
        async with ends(kind, curve=curve) as (bot, worker):
            for command in COMMAND_SAMPLES.values():
                bot.post(command, [b"attached", b""])
                assert await worker.receive() == (command, [b"attached", b""])
            for event in EVENT_SAMPLES.values():
                worker.post(event)
                assert await bot.receive() == (event, [])

    run()


@asyncio_test
async def test_messages_keep_their_order() -> None:
    async with ends() as (bot, worker):
        for number in range(2_000):
            worker.post(Done(request=RequestId(number)))
        received = [(await bot.receive())[0] for _ in range(2_000)]
        assert received == [Done(request=RequestId(number)) for number in range(2_000)]


@asyncio_test
async def test_a_large_attachment_crosses_in_one_piece() -> None:
    async with ends("unix" if has_unix_sockets() else "tcp") as (bot, worker):
        content = bytes(range(256)) * (1 << 16)
        bot.post(COMMAND_SAMPLES["Play, bytes"], [content])
        _, [received] = await worker.receive()
        assert received == content


@asyncio_test
async def test_an_unreadable_message_leaves_the_link_usable() -> None:
    async with ends() as (bot, worker):
        worker._socket.send_multipart([b"\xc1"])
        worker.post(Bye())
        with pytest.raises(UnreadableMessageError):
            await bot.receive()
        assert (await bot.receive())[0] == Bye()


@asyncio_test
async def test_after_the_peer_is_accepted_nobody_else_is_heard() -> None:
    async with ends() as (bot, worker), context() as others:
        stranger = WorkerEnd(others, bot.address)
        stranger.post(Hello(wire_version=1, worker=WorkerId("w0.1"), start_token="a guess", pid=1))
        # The worker is silent, so what there is to read now is the stranger's.
        await until(lambda: bot.has_message)
        worker.post(Bye())
        assert (await bot.receive())[0] == Bye()
        bot.post(Shutdown())
        assert (await worker.receive())[0] == Shutdown()
        await stranger.close()


@asyncio_test
async def test_a_peer_that_reads_nothing_fills_the_link_to_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "BACKLOG_MESSAGES", 50)
    async with ends() as (bot, _worker):
        for _ in range(50):
            bot.post(PAUSE)
        with pytest.raises(LinkFullError, match="50 messages wait"):
            bot.post(PAUSE)
        assert len(bot._backlog) == 50


@asyncio_test
async def test_the_bound_counts_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "BACKLOG_BYTES", 1_000)
    async with ends() as (bot, _worker):
        bot.post(PAUSE, [b"x" * 900])
        with pytest.raises(LinkFullError):
            bot.post(PAUSE, [b"x" * 900])
        await bot.flush()
        bot.post(PAUSE, [b"x" * 900])


@asyncio_test
async def test_a_slow_reader_gets_all_in_the_end() -> None:
    async with ends() as (bot, worker):
        count = 3 * channel.HIGH_WATER_MARK
        for _ in range(count):
            bot.post(PAUSE)
        for _ in range(count):
            assert (await worker.receive())[0] == PAUSE
        await bot.flush()


@asyncio_test
async def test_what_may_be_lost_is_dropped_behind_a_backlog() -> None:
    async with ends() as (bot, worker):
        stats = EVENT_SAMPLES["Stats"]
        worker.post(stats, lossy=True)
        worker.post(stats, lossy=True)
        worker.post(Bye())
        assert worker.dropped == 1
        assert [(await bot.receive())[0], (await bot.receive())[0]] == [stats, Bye()]
        await worker.flush()
        worker.post(stats, lossy=True)
        assert worker.dropped == 1
        assert (await bot.receive())[0] == stats


@pytest.mark.parametrize(
    "attachments", [[b"x"] * (MAX_ATTACHMENTS + 1), [b"x" * (1 << 21)] * 3], ids=["frames", "bytes"]
)
def test_a_message_of_too_much_is_neither_sent_nor_read(attachments: list[bytes]) -> None:
    @asyncio_test
    async def run() -> None:
        async with ends() as (bot, worker):
            with pytest.raises(MessageTooLargeError):
                worker.post(Bye(), attachments)
            # Who does not keep to it is not read either.
            worker._socket.send_multipart([*worker._outgoing.encode(Bye()), *attachments])
            with pytest.raises(UnreadableMessageError, match="at most"):
                await bot.receive()
            worker.post(Bye(), lossy=True)
            assert (await bot.receive())[0] == Bye()

    run()


@asyncio_test
async def test_what_may_be_lost_is_dropped_if_it_is_too_large() -> None:
    async with ends() as (_bot, worker):
        worker.post(Bye(), [b"x"] * (MAX_ATTACHMENTS + 1), lossy=True)
        assert worker.dropped == 1


@asyncio_test
async def test_a_command_may_be_as_large_as_the_bot_was_told() -> None:
    async with context() as bots:
        bot = BotEnd(bots, "tcp://127.0.0.1:*", max_attachment_bytes=10)
        bot.post(PAUSE, [b"12345", b"67890"])
        with pytest.raises(MessageTooLargeError, match="11 bytes attached; at most 10"):
            bot.post(PAUSE, [b"12345", b"67890!"])
        await bot.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@asyncio_test
async def test_a_fork_cannot_speak() -> None:
    async with ends() as (bot, worker):
        child = os.fork()
        if child == 0:
            try:
                bot.post(PAUSE)
            except ForkedError:
                os._exit(17)
            finally:
                os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 17
        bot.post(Shutdown())
        assert (await worker.receive())[0] == Shutdown()


@asyncio_test
async def test_without_a_doorman_no_key_opens_the_door() -> None:
    async with context() as bots, context() as workers:
        keys = new_bot_keys("w0.1")
        bot = BotEnd(bots, "tcp://127.0.0.1:*", max_attachment_bytes=1, curve=keys)
        worker = WorkerEnd(workers, bot.address, curve=new_curve_keys(keys.public))
        monitor = monitor_of(worker._socket, zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        frames = await monitor.recv_multipart()
        assert int.from_bytes(frames[0][:2], "little") == zmq.EVENT_DISCONNECTED
        worker._socket.disable_monitor()
        monitor.close(linger=0)
        await worker.close()
        await bot.close()


@asyncio_test
async def test_posting_to_a_peer_that_is_gone_is_no_error() -> None:
    async with context() as bots, context() as workers:
        bot = BotEnd(bots, "tcp://127.0.0.1:*", max_attachment_bytes=1)
        worker = WorkerEnd(workers, bot.address)
        worker.post(HELLO)
        await bot.receive()
        bot.accept_peer()
        monitor = monitor_of(bot._socket, zmq.EVENT_DISCONNECTED)
        await worker.close()
        await monitor.recv_multipart()
        bot.post(PAUSE)
        await bot.flush()
        bot._socket.disable_monitor()
        monitor.close(linger=0)
        await bot.close()


@asyncio_test
async def test_an_address_in_use_is_an_error_and_leaves_no_socket() -> None:
    async with context() as bots:
        first = BotEnd(bots, "tcp://127.0.0.1:*", max_attachment_bytes=1)
        with pytest.raises(zmq.ZMQError):
            BotEnd(bots, first.address, max_attachment_bytes=1)
        await first.close()


def test_a_bound_on_frames_ends_who_breaks_it() -> None:
    @asyncio_test
    async def run() -> None:
        async with context() as bots, context() as workers:
            bot = BotEnd(bots, "tcp://127.0.0.1:*", max_attachment_bytes=1)
            worker = WorkerEnd(workers, bot.address)
            monitor = monitor_of(bot._socket, zmq.EVENT_DISCONNECTED)
            worker._socket.send_multipart([b"", b"x" * (MAX_MESSAGE_BYTES + 1)])
            await monitor.recv_multipart()
            bot._socket.disable_monitor()
            monitor.close(linger=0)
            await worker.close()
            await bot.close()

    run()


@pytest.mark.parametrize("closing", ["bot", "worker"])
def test_closing_twice_and_in_the_middle_is_fine(closing: str) -> None:
    @asyncio_test
    async def run() -> None:
        async with ends() as (bot, worker):
            end: Any = bot if closing == "bot" else worker
            end.post(PAUSE if closing == "bot" else Bye())
            await end.close()
            await end.close()

    run()


@asyncio_test
async def test_closing_waits_for_nothing_so_that_it_cannot_be_cancelled() -> None:
    async with ends() as (bot, _worker):
        bot.post(PAUSE)
        closing = asyncio.create_task(bot.close())
        await asyncio.sleep(0)
        assert closing.done()
        assert bot._socket.closed


@asyncio_test
async def test_after_closing_nothing_is_sent_and_nobody_waits_for_ever() -> None:
    async with ends() as (bot, _worker):
        reading = asyncio.create_task(bot.receive())
        await asyncio.sleep(0)
        bot.post(PAUSE)
        await bot.close()
        bot.post(PAUSE)
        assert len(bot._backlog) == 1
        with pytest.raises(zmq.ZMQError):
            await reading


@asyncio_test
async def test_what_is_posted_while_the_peer_reads_nothing_waits_and_arrives_when_it_reads() -> None:
    """ZeroMQ holds a bounded number of messages; each end keeps the rest, and tries again."""
    async with ends() as (bot, worker):
        # Far more bytes than the kernel holds for a socket.
        content = b"x" * 100_000
        count = 2 * channel.HIGH_WATER_MARK + 500
        for number in range(count):
            bot.post(Pause(call=CallId(str(number))), [content])
        await until(lambda: bot._is_stuck)
        assert 0 < len(bot._backlog) < count
        for number in range(count):
            command, attachments = await worker.receive()
            assert (command, attachments) == (Pause(call=CallId(str(number))), [content])
        await bot.flush()
        assert not bot._backlog


@asyncio_test
async def test_a_burst_is_sent_a_few_at_a_time() -> None:
    async with ends() as (bot, _worker):
        for _ in range(3 * channel.TURN_MESSAGES):
            bot.post(PAUSE)
        await asyncio.sleep(0)
        assert len(bot._backlog) == 2 * channel.TURN_MESSAGES
        await asyncio.sleep(0)
        assert len(bot._backlog) == channel.TURN_MESSAGES


@asyncio_test
async def test_what_comes_in_while_something_is_sent_is_not_missed() -> None:
    """Whoever sends looks at the socket, and the descriptor is quiet after a look."""
    async with ends() as (bot, worker):
        for number in range(300):
            reading = asyncio.create_task(bot.receive())
            await asyncio.sleep(0)
            worker.post(Done(request=RequestId(number)))
            bot.post(PAUSE)
            assert (await reading)[0] == Done(request=RequestId(number))
            assert (await worker.receive())[0] == PAUSE
