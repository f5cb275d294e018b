from __future__ import annotations

import array
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio.media_files import signal
from voicepool.errors import VoicePoolError
from voicepool.ipc.commands import StreamAudio
from voicepool.ipc.ids import CallId
from voicepool.streams import OpusStream, PcmStream, PushedSource, StreamClosedError
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.streams import StreamReader

PACKET = b"\xfc" + bytes(9)


def recorded(stream: PushedSource, credit_ms: int | None = None) -> list[bytes]:
    """Attach a stream to a list of what it sends."""
    sent: list[bytes] = []
    stream.attach(lambda attachments, _: sent.extend(attachments))
    stream.grant(stream.buffer_ms if credit_ms is None else credit_ms)
    return sent


# PCM.


@pytest.mark.parametrize(
    "data",
    [
        np.arange(8, dtype=np.int16),
        np.arange(8, dtype=np.int16).reshape(4, 2),
        np.arange(16, dtype=np.int16)[::2],
        np.arange(8, dtype="<i2"),
        np.asfortranarray(np.arange(8, dtype=np.int16).reshape(4, 2)),
        np.arange(8, dtype=np.int16).view(np.uint8),
        array.array("h", range(8)),
        bytearray(16),
        memoryview(bytes(16)),
    ],
)
@asyncio_test
async def test_anything_with_a_buffer_is_written(data: Any) -> None:
    stream = PcmStream()
    sent = recorded(stream)
    await stream.write(data)
    assert stream.write_nowait(data)
    assert b"".join(sent) == memoryview(data).tobytes() * 2
    assert stream.written_bytes == 32


@pytest.mark.parametrize("data", [b"", bytearray(), np.empty((0, 2), np.int16), np.empty(0, np.int16)])
@asyncio_test
async def test_nothing_is_written_as_nothing(data: Any) -> None:
    stream = PcmStream()
    sent = recorded(stream)
    await stream.write(data)
    assert stream.write_nowait(data)
    assert sent == []


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (np.zeros((4, 2)), TypeError, r"format 'd' to a stream of int16.*astype\('int16'\)"),
        (np.zeros(4, np.float32), TypeError, "format 'f'"),
        (np.zeros(4, np.uint16), TypeError, "format 'H'"),
        (np.zeros(4, ">i2"), TypeError, "format '>h'"),
        (np.zeros((4, 1), np.int16), ValueError, r"shape \(4, 1\) is not \(samples, 2\)"),
        (np.zeros((2, 960), np.int16), ValueError, r"shape \(2, 960\)"),
        ("text", TypeError, "cannot write str"),
        ([1, 2], TypeError, "cannot write list"),
    ],
)
@asyncio_test
async def test_what_is_no_sample_of_the_stream_is_refused(
    data: Any, kind: type[Exception], words: str
) -> None:
    stream = PcmStream()
    sent = recorded(stream)
    with pytest.raises(kind, match=words):
        await stream.write(data)
    with pytest.raises(kind, match=words):
        stream.write_nowait(data)
    assert sent == []


@asyncio_test
async def test_float_arrays_go_to_a_float_stream() -> None:
    stream = PcmStream(dtype="float32")
    sent, data = recorded(stream), signal(seconds=0.1)
    await stream.write(data)
    assert b"".join(sent) == data.tobytes()
    with pytest.raises(TypeError, match="format 'h'"):
        await stream.write(np.zeros(4, np.int16))


@asyncio_test
async def test_a_sample_may_come_in_parts() -> None:
    stream = PcmStream()
    sent = recorded(stream)
    for part in (b"a", b"bc", b"", b"def", b"g"):
        await stream.write(part)
    assert stream.write_nowait(b"h")
    await stream.write(b"ijklm")
    assert [len(piece) for piece in sent] == [4, 4, 4]
    assert b"".join(sent) == b"abcdefghijkl"
    assert stream.written_bytes == 13


@asyncio_test
async def test_an_end_inside_a_sample_is_named_and_the_rest_plays_out() -> None:
    stream = PcmStream()
    ends: list[bool] = []
    stream.attach(lambda _, end: ends.append(end))
    stream.grant(1_000)
    with pytest.raises(ValueError, match="3 bytes are left over, and one of 2 channels of int16 has 4"):
        async with stream:
            await stream.write(bytes(7))
    assert ends == [False, True]
    await stream.close()


@asyncio_test
async def test_a_track_that_has_ended_makes_no_error_of_an_unfinished_sample() -> None:
    stream = PcmStream()
    recorded(stream)
    await stream.write(bytes(3))
    stream.detach(None)
    await stream.close()


@asyncio_test
async def test_write_nowait_takes_all_or_nothing() -> None:
    stream = PcmStream(1_000, 1, buffer_ms=100)
    sent = recorded(stream)
    assert stream.write_nowait(bytes(150))
    assert not stream.write_nowait(bytes(52))
    assert stream.write_nowait(bytes(50))
    assert sum(map(len, sent)) == 200
    waiting = asyncio.create_task(stream.write(b"\1\1" * 200))
    await asyncio.sleep(0)
    stream.grant(150)
    # The task waits for its turn to go on, and is not to be overtaken.
    assert not stream.write_nowait(b"\2\2")
    stream.grant(50)
    await waiting
    assert b"".join(sent)[200:] == b"\1\1" * 200
    with pytest.raises(ValueError, match="101 samples never fit into 100 ms"):
        stream.write_nowait(bytes(202))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sample_rate_hz": 999}, "sample_rate_hz must be a whole number from 1000 to 384000, not 999"),
        ({"sample_rate_hz": 44_100.0}, "sample_rate_hz"),
        ({"channels": 0}, "channels must be a whole number from 1 to 8"),
        ({"channels": 9}, "channels"),
        ({"dtype": "int32"}, "dtype must be 'int16' or 'float32', not 'int32'"),
        ({"buffer_ms": 0}, "buffer_ms"),
    ],
)
def test_parameters_are_checked(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PcmStream(**arguments)


# Opus.


@asyncio_test
async def test_packets_are_sent_one_an_attachment_at_most_five_a_message() -> None:
    stream = OpusStream()
    messages: list[Sequence[bytes]] = []
    stream.attach(lambda attachments, _: messages.append(attachments))
    stream.grant(1_000)
    packets = [PACKET + bytes([n]) for n in range(12)]
    await stream.write(packets[0])
    await stream.write_many(iter(packets[1:]))
    assert [packet for message in messages for packet in message] == packets
    assert [len(message) for message in messages] == [1, 5, 5, 1]
    assert stream.written_packets == 12
    await stream.write_many([])
    assert len(messages) == 4


@asyncio_test
async def test_packets_wait_for_credit_in_whole_packets() -> None:
    stream = OpusStream(buffer_ms=50)
    sent = recorded(stream)
    task = asyncio.create_task(stream.write_many([PACKET] * 4))
    await asyncio.sleep(0)
    assert len(sent) == 2
    assert not stream.write_nowait(PACKET)
    stream.grant(10)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(sent) == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stream.written_packets == 3
    assert not stream.write_nowait(PACKET)
    stream.grant(20)
    assert stream.write_nowait(PACKET)
    assert len(sent) == 4


@pytest.mark.parametrize(
    "packet",
    [
        bytes([1 << 3]),  # SILK, 20 ms
        bytes([0 << 3 | 1]),  # SILK, two of 10 ms
        bytes([13 << 3]),  # hybrid, 20 ms
        bytes([12 << 3 | 2]),  # hybrid, two of 10 ms
        b"\xf8\xff\xfe",  # CELT, 20 ms
        bytes([30 << 3 | 1]),  # CELT, two of 10 ms
        bytes([29 << 3 | 3, 4]),  # CELT, four of 5 ms
        bytes([28 << 3 | 3, 0xC8]),  # CELT, eight of 2.5 ms, VBR and padding
        bytearray(PACKET),
        memoryview(PACKET),
        PACKET + bytes(1_490),
    ],
)
@asyncio_test
async def test_any_20_ms_are_a_packet(packet: Any) -> None:
    stream = OpusStream()
    sent = recorded(stream)
    await stream.write(packet)
    assert stream.write_nowait(packet)
    assert sent == [bytes(packet)] * 2


@pytest.mark.parametrize(
    ("packet", "kind", "words"),
    [
        (b"", ValueError, "at least one byte"),
        (bytes([0 << 3]), ValueError, "not 10 ms"),
        (bytes([3 << 3]), ValueError, "not 60 ms"),
        (bytes([28 << 3]), ValueError, "not 2.5 ms"),
        (bytes([31 << 3 | 2]), ValueError, "not 40 ms"),
        (bytes([31 << 3 | 3]), ValueError, "not 0 ms"),
        (bytes([31 << 3 | 3, 0]), ValueError, "not 0 ms"),
        (bytes([31 << 3 | 3, 6]), ValueError, "not 120 ms"),
        (PACKET + bytes(1_491), ValueError, "1501 bytes is larger than 1500"),
        ("text", TypeError, "is bytes, not str"),
        (np.zeros(4, np.uint8), TypeError, "is bytes, not ndarray"),
    ],
)
@asyncio_test
async def test_what_is_no_packet_of_20_ms_is_refused(packet: Any, kind: type[Exception], words: str) -> None:
    stream = OpusStream()
    sent = recorded(stream)
    with pytest.raises(kind, match=words):
        await stream.write(packet)
    with pytest.raises(kind, match=words):
        await stream.write_many([PACKET, packet])
    with pytest.raises(kind, match=words):
        stream.write_nowait(packet)
    assert sent == []


# Both ends together.


class Line:
    """A stream and the worker's reader of it, without what lies between them.

    As in a pool, the reader is opened after the stream was attached, and messages are one turn of the loop on
    their way.
    """

    def __init__(self, stream: PushedSource) -> None:
        self.source, attachments = stream.to_wire()
        assert attachments == ()
        self._loop = asyncio.get_running_loop()
        self.messages = 0
        stream.attach(self._carry)
        self.reader = StreamReader(
            self.source, on_credit=lambda credit_ms: self._post(stream.grant, credit_ms)
        )

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon(call, *arguments)

    def _carry(self, attachments: Sequence[bytes], ends: bool) -> None:  # noqa: FBT001  # as the player's
        self.messages += 1
        message = StreamAudio(call=CallId("c"), stream=self.source.stream, ends=ends)
        self._loop.call_soon(lambda: self.reader.push(list(attachments), ends=message.ends))

    async def heard(self) -> AsyncIterator[bytes | NDArray[np.float32]]:
        """Read to the end, as an encoder thread does, and see that the bound holds."""
        while (frame := self.reader.poll()) is not None:
            assert self.reader.buffered_s * 1_000 <= self.source.capacity_ms
            if frame is NOT_YET:
                await asyncio.sleep(0)
            else:
                yield frame


def played(stream: PcmStream, pieces: Sequence[bytes], *, before: bool = False) -> NDArray[np.float32]:
    """Write pieces one after the other; return what the worker's encoder gets."""

    async def write() -> None:
        async with stream:
            for piece in pieces:
                await stream.write(piece)

    async def run() -> NDArray[np.float32]:
        async with asyncio.timeout(SAFETY_S):
            writing = asyncio.create_task(write())
            if before:
                await asyncio.sleep(0)
            frames = [frame async for frame in Line(stream).heard()]
            await writing
        assert all(isinstance(frame, np.ndarray) for frame in frames)
        return np.concatenate(frames) if frames else np.empty((0, 2), np.float32)

    return asyncio.run(run())


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut data into pieces of the sizes, which repeat."""
    pieces, at, n = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[n % len(sizes)]])
        at, n = at + sizes[n % len(sizes)], n + 1
    return pieces


SIZES = st.tuples(st.lists(st.integers(1, 30_000), max_size=7), st.integers(500, 30_000)).map(
    lambda drawn: [*drawn[0], drawn[1]]
)
"""Of chunks, in bytes; one at least is large, or there would be a hundred thousand writes."""


@settings(max_examples=100, deadline=None)
@given(
    sizes=SIZES,
    channels=st.sampled_from([1, 2]),
    dtype=st.sampled_from(["int16", "float32"]),
    buffer_ms=st.sampled_from([20, 33, 100, 1_000]),
    samples=st.integers(1, 12_000),
    before=st.booleans(),
)
def test_any_chunking_at_48_khz_is_heard_sample_by_sample(
    sizes: list[int],
    channels: int,
    dtype: Literal["int16", "float32"],
    buffer_ms: int,
    samples: int,
    before: bool,  # noqa: FBT001  # hypothesis passes by name
) -> None:
    sound = signal(channels=channels, seconds=0.25)[:samples]
    data = sound if dtype == "float32" else np.round(sound * 20_000).astype(np.int16)
    want = data if dtype == "float32" else data / np.float32(32_768)
    stream = PcmStream(48_000, channels, dtype, buffer_ms)
    heard = played(stream, cut(data.tobytes(), sizes), before=before)
    assert len(heard) == -(-samples // 960) * 960
    assert np.array_equal(heard[:samples], np.broadcast_to(want, (samples, 2)))
    assert not heard[samples:].any()


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    rate_hz=st.sampled_from([1_000, 8_000, 11_025, 24_000, 44_100, 96_000]),
    channels=st.sampled_from([1, 2, 3, 6, 8]),
    dtype=st.sampled_from(["int16", "float32"]),
    buffer_ms=st.sampled_from([20, 33, 100, 1_000]),
)
def test_any_chunking_at_another_rate_is_heard_as_one_write_is(
    sizes: list[int], rate_hz: int, channels: int, dtype: Literal["int16", "float32"], buffer_ms: int
) -> None:
    sound = signal(rate_hz=rate_hz, channels=channels, seconds=0.25)
    data = sound if dtype == "float32" else np.round(sound * 20_000).astype(np.int16)
    want = played(PcmStream(rate_hz, channels, dtype), [data.tobytes()])
    got = played(PcmStream(rate_hz, channels, dtype, buffer_ms), cut(data.tobytes(), sizes))
    assert want.any()
    assert got.shape == want.shape
    assert np.allclose(got, want, atol=1e-6)


@asyncio_test
async def test_packets_arrive_untouched() -> None:
    packets = [PACKET + n.to_bytes(2) for n in range(300)]
    stream = OpusStream(buffer_ms=110)

    async def write() -> None:
        async with stream:
            await stream.write(packets[0])
            await stream.write_many(packets[1:])

    writing = asyncio.create_task(write())
    line = Line(stream)
    assert [packet async for packet in line.heard()] == packets
    assert line.reader.skipped_packets == 0
    await writing


@asyncio_test
async def test_credit_costs_few_messages() -> None:
    stream = PcmStream()
    grants: list[int] = []
    grant = stream.grant

    def counted(credit_ms: int) -> None:
        grants.append(credit_ms)
        grant(credit_ms)

    stream.grant = counted  # type: ignore[method-assign]

    async def write() -> None:
        async with stream:
            await stream.write(bytes(192_000 * 10))

    writing = asyncio.create_task(write())
    line = Line(stream)
    assert len([frame async for frame in line.heard()]) == 500
    await writing
    assert len(grants) <= 1 + 4 * 10
    assert line.messages <= 10 * 10 + len(grants) + 1


@pytest.mark.parametrize("error", [None, VoicePoolError("gone")])
@asyncio_test
async def test_nobody_hangs_when_the_track_ends_in_the_middle(error: VoicePoolError | None) -> None:
    stream = PcmStream()
    writing = [asyncio.create_task(stream.write(bytes(400_000))) for _ in range(3)]
    line = Line(stream)
    count = 0
    async for _ in line.heard():
        count += 1
        if count == 30:
            line.reader.close()
            stream.detach(error)
    outcomes = await asyncio.gather(*writing, stream.close(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StreamClosedError] * 3 + [type(None)]
    assert line.reader.poll() is None
