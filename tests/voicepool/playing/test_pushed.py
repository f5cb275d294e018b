from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.fakes.running import asyncio_test
from voicepool._playing.pushed import PushedSource, StreamClosedError
from voicepool.errors import SourceFailedError, VoicePoolError, WorkerLostError
from voicepool.streams import OpusStream, PcmStream


class Worker:
    """The far end of a stream at 1,000 Hz, mono, int16: a millisecond is two bytes."""

    def __init__(self, stream: PushedSource, *credits_ms: int) -> None:
        self.messages: list[tuple[Sequence[bytes], bool]] = []
        self.error: VoicePoolError | None = None
        stream.attach(self.take)
        for credit_ms in credits_ms:
            stream.grant(credit_ms)

    def take(self, attachments: Sequence[bytes], ends: bool) -> None:  # noqa: FBT001  # as the player's
        if self.error is not None:
            raise self.error
        self.messages.append((attachments, ends))

    @property
    def data(self) -> bytes:
        return b"".join(piece for attachments, _ in self.messages for piece in attachments)

    @property
    def ended(self) -> bool:
        """Whether the end was said, once and last."""
        ends = [end for _, end in self.messages]
        assert not any(ends[:-1])
        return bool(ends and ends[-1])


def new_stream(buffer_ms: int = 100) -> PcmStream:
    return PcmStream(sample_rate_hz=1_000, channels=1, buffer_ms=buffer_ms)


def pattern(count: int) -> bytes:
    return bytes(n % 251 for n in range(count))


async def started(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Let a task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_on_the_wire() -> None:
    stream = PcmStream(44_100, 1, "float32", 250)
    source, attachments = stream.to_wire()
    assert (source.format, source.sample_rate_hz, source.channels) == ("f32", 44_100, 1)
    assert source.capacity_ms == 250
    assert attachments == ()
    assert stream.to_wire()[0].stream == source.stream
    assert new_stream().to_wire()[0].stream != source.stream
    assert source.stream in stream.label
    assert source.stream in repr(stream)
    assert stream.size_bytes == 0
    opus, _ = OpusStream().to_wire()
    assert (opus.format, opus.sample_rate_hz, opus.capacity_ms) == ("opus", 48_000, 1_000)


@asyncio_test
async def test_a_clip_can_be_written_and_closed_before_it_is_played() -> None:
    stream, clip = new_stream(), pattern(200)
    await stream.write(clip)
    await stream.close()
    assert stream.closed
    assert not stream.was_played
    worker = Worker(stream)
    assert not worker.messages
    stream.grant(100)
    assert worker.data == clip
    assert worker.ended
    assert stream.was_played


@asyncio_test
async def test_credit_before_the_way_is_there_is_not_lost() -> None:
    stream = new_stream()
    await stream.write(pattern(20))
    stream.grant(100)
    assert Worker(stream).data == pattern(20)


@asyncio_test
async def test_an_empty_stream_ends_once_the_worker_has_opened_it() -> None:
    stream = new_stream()
    worker = Worker(stream)
    await stream.close()
    assert not worker.messages
    stream.grant(100)
    assert worker.messages == [((), True)]
    stream.grant(100)
    assert worker.ended


@asyncio_test
async def test_a_write_waits_for_credit_and_never_sends_without() -> None:
    stream, data = new_stream(), pattern(600)
    worker = Worker(stream, 100)
    task = await started(asyncio.create_task(stream.write(data)))
    for granted_ms in (100, 125, 225, 226):
        assert not task.done()
        assert worker.data == data[: 2 * granted_ms]
        stream.grant({100: 25, 125: 100, 225: 1, 226: 74}[granted_ms])
        await started(task)
    await task
    assert worker.data == data
    assert stream.written_bytes == 600
    assert stream.written_s == pytest.approx(0.3)


@asyncio_test
async def test_no_message_is_longer_than_100_ms() -> None:
    stream = new_stream(10_000)
    worker = Worker(stream, 10_000)
    await stream.write(bytes(20_000))
    assert len(worker.messages) == 100
    assert {len(attachments[0]) for attachments, _ in worker.messages} == {200}


@asyncio_test
async def test_what_was_written_before_fits_into_small_credit_too() -> None:
    stream, data = new_stream(20), pattern(40)
    await stream.write(data)
    worker = Worker(stream)
    for credit_ms, sent_ms in ((4, 0), (1, 5), (9, 10), (6, 20)):
        stream.grant(credit_ms)
        assert worker.data == data[: 2 * sent_ms]


@asyncio_test
async def test_writes_of_several_tasks_follow_each_other_each_in_one_piece() -> None:
    stream = new_stream(20)
    worker = Worker(stream, 20)
    writes = [asyncio.create_task(stream.write(bytes([n]) * 100)) for n in range(8)]
    closing = asyncio.create_task(stream.close())
    while not worker.ended:
        stream.grant(7)
        await asyncio.sleep(0)
    await asyncio.gather(*writes, closing)
    assert worker.data == b"".join(bytes([n]) * 100 for n in range(8))


@asyncio_test
async def test_a_cancelled_write_has_written_just_what_the_count_says() -> None:
    stream, data = new_stream(), pattern(1_000)
    worker = Worker(stream, 100)
    await stream.write(b"\1\2\3")
    task = await started(asyncio.create_task(stream.write(data)))
    waiting = await started(asyncio.create_task(stream.write(b"never")))
    waiting.cancel()
    task.cancel()
    assert [type(e) for e in await asyncio.gather(task, waiting, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    written = stream.written_bytes - 3
    assert written == 197
    stream.grant(1_000)
    await stream.write(data[written:] + b"\4")
    assert worker.data == b"\1\2\3" + data + b"\4"


@asyncio_test
async def test_a_write_that_was_cancelled_before_its_first_sample_leaves_the_rest_of_the_last() -> None:
    stream = new_stream(20)
    worker = Worker(stream, 20)
    await stream.write(bytes(40))
    await stream.write(b"\7")
    task = await started(asyncio.create_task(stream.write(b"lost")))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stream.written_bytes == 41
    stream.grant(20)
    await stream.write(b"\x08")
    assert worker.data == bytes(40) + b"\7\x08"


@asyncio_test
async def test_after_close_nothing_can_be_written() -> None:
    stream = new_stream()
    worker = Worker(stream, 100)
    await stream.close()
    await stream.close()
    assert worker.ended
    with pytest.raises(StreamClosedError, match="is closed"):
        await stream.write(b"\0\0")
    with pytest.raises(StreamClosedError, match="is closed"):
        stream.write_nowait(b"\0\0")


@asyncio_test
async def test_a_stream_is_played_once() -> None:
    stream = new_stream()
    worker = Worker(stream, 100)
    with pytest.raises(StreamClosedError, match="make a new stream"):
        Worker(stream)
    await stream.write(b"\0\0")
    assert worker.data == b"\0\0"
    stream.detach(None)
    with pytest.raises(StreamClosedError, match="make a new stream"):
        Worker(stream)


@asyncio_test
async def test_all_who_wait_learn_why_the_track_has_ended() -> None:
    stream = new_stream()
    worker = Worker(stream, 100)
    tasks = [asyncio.create_task(stream.write(bytes(300))) for _ in range(3)]
    closing = await started(asyncio.create_task(stream.close()))
    error = SourceFailedError("the guitar broke")
    stream.detach(error)
    stream.detach(None)
    for task in tasks:
        with pytest.raises(StreamClosedError, match="has ended: the guitar broke") as caught:
            await task
        assert caught.value.__cause__ is error
    await closing
    sent = len(worker.messages)
    stream.grant(100)
    assert len(worker.messages) == sent
    assert stream.closed


@asyncio_test
async def test_a_track_that_was_stopped_ends_the_stream_without_a_cause() -> None:
    stream = new_stream()
    Worker(stream, 100)
    stream.detach(None)
    with pytest.raises(StreamClosedError, match=r"has ended$") as caught:
        await stream.write(b"\0\0")
    assert caught.value.__cause__ is None
    await stream.close()


@asyncio_test
async def test_a_track_that_never_began_frees_who_waits_to_be_played() -> None:
    stream = new_stream()
    task = await started(asyncio.create_task(stream.write(bytes(300))))
    stream.detach(None)
    with pytest.raises(StreamClosedError):
        await task
    assert not stream._held, "audio is kept that nobody will hear"


@asyncio_test
async def test_a_message_that_cannot_be_sent_ends_the_stream_at_that_write() -> None:
    stream = new_stream()
    worker = Worker(stream, 100)
    worker.error = WorkerLostError("the worker is gone")
    with pytest.raises(StreamClosedError, match="the worker is gone") as caught:
        await stream.write(b"\0\0")
    assert caught.value.__cause__ is worker.error
    worker.error = None
    with pytest.raises(StreamClosedError):
        await stream.write(b"\0\0")
    assert worker.data == b""


@asyncio_test
async def test_a_block_that_raises_lets_out_what_was_written_and_waits_for_nothing() -> None:
    stream = new_stream()
    worker = Worker(stream, 100)
    await stream.write(pattern(40) + b"x")
    other = await started(asyncio.create_task(stream.write(bytes(300))))

    async def fail() -> None:
        async with stream:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(StreamClosedError, match="is closed"):
        await other
    assert worker.data[:40] == pattern(40)
    assert worker.ended
    await stream.close()


@asyncio_test
async def test_a_block_that_is_done_closes() -> None:
    async with new_stream() as stream:
        worker = Worker(stream, 100)
        await stream.write(pattern(40))
    assert worker.data == pattern(40)
    assert worker.ended


@pytest.mark.parametrize("buffer_ms", [19, 10_001, 100.0, True, "100"])
def test_the_buffer_has_bounds(buffer_ms: object) -> None:
    with pytest.raises(ValueError, match="buffer_ms must be a whole number from 20 to 10000"):
        OpusStream(buffer_ms)  # type: ignore[arg-type]
