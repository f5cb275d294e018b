"""Audio that the bot makes itself and pushes while it plays: PCM from speech or a game, or Opus packets.

A stream is a source like any other, with a writing end. How much may wait to be heard is bounded: the worker
grants credit, and `write` waits until there is some, so a fast writer is held to the speed of hearing and
memory stays flat. Up to ``buffer_ms`` can be written before the stream is played; a short clip can so be
written and closed first, and played then.

A stream belongs to one event loop. From other threads, such as a sound card's callback, write with
`asyncio.run_coroutine_threadsafe`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, cast

from voicepool._playing.pushed import PushedSource, StreamClosedError, checked_whole

if TYPE_CHECKING:
    from typing_extensions import Buffer

    class _Array(Protocol):
        """A numpy array: a buffer too, but type checkers know that from Python 3.12 on only."""

        @property
        def __array_interface__(self) -> dict[str, Any]: ...

    _Samples: TypeAlias = Buffer | _Array

__all__ = ["OpusStream", "PcmStream", "PushedSource", "StreamClosedError"]

_OPUS_RATE_HZ: Final = 48_000
_PACKET_MS: Final = 20
_PACKET_SAMPLES: Final = _OPUS_RATE_HZ * _PACKET_MS // 1_000
_MAX_PACKET_BYTES: Final = 1_500
"""510 kbit/s, the most that RFC 6716 §2.1.1 names, are 1,275 bytes; no datagram carries more than this."""
_STEPS_PER_PACKET: Final = 8
"""Durations are counted in the shortest frame there is, 2.5 ms."""
_FORMATS: Final = {"int16": ("s16", 2, "h"), "float32": ("f32", 4, "f")}
_BYTE_ITEMS: Final = ("B", "b", "c")


class PcmStream(PushedSource):
    """Samples that the bot makes, of any rate, one to eight channels, interleaved.

    Parameters
    ----------
    sample_rate_hz
        1,000 to 384,000; the worker converts to Discord's 48,000.
    channels
        1 to 8, in the order of WAV files: left, right, centre, low frequency, ... More than two are mixed
        down.
    dtype
        ``"int16"``, or ``"float32"`` in [-1, 1]; in the machine's byte order. What is no number in float
        input (NaN, infinite) is heard as silence.
    buffer_ms
        How much may wait to be heard, 20 to 10,000 ms. Small: what is written now is heard soon. Large: the
        writer may be late for long.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Examples
    --------
    Speech that comes in chunks of any size, played while it comes::

        async with PcmStream(sample_rate_hz=24_000, channels=1) as stream:
            playing = voice.play_no_wait(stream)
            async for chunk in synthesize("Hello there"):
                await stream.write(chunk)
        await playing

    A short clip, written first::

        stream = PcmStream(dtype="float32")
        await stream.write(numpy_array)  # shape (samples, 2)
        await stream.close()
        await voice.play(stream)
    """

    def __init__(
        self,
        sample_rate_hz: int = 48_000,
        channels: int = 2,
        dtype: Literal["int16", "float32"] = "int16",
        buffer_ms: int = 1_000,
    ) -> None:
        checked_whole("sample_rate_hz", sample_rate_hz, 1_000, 384_000)
        checked_whole("channels", channels, 1, 8)
        if dtype not in _FORMATS:
            raise ValueError(f"dtype must be 'int16' or 'float32', not {dtype!r}")
        wire_format, item_bytes, self._item = _FORMATS[dtype]
        super().__init__(
            wire_format=wire_format,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            buffer_ms=buffer_ms,
            unit_samples=1,
        )
        self.dtype: Final[str] = dtype
        self._sample_bytes = item_bytes * channels
        """One sample of all channels."""
        self._rest = b""
        """The beginning of a sample, whose end the next write brings."""

    @property
    def written_bytes(self) -> int:
        """Bytes taken over by the writing methods so far, those of an unfinished sample included."""
        return self._accepted_samples * self._sample_bytes + len(self._rest)

    async def write(self, data: _Samples) -> None:
        """Write samples; wait while as much as ``buffer_ms`` waits to be heard.

        If it is cancelled, it has taken over the beginning of the data, and `written_bytes` has grown by just
        that much; the rest has not been looked at, and can be written again.

        Parameters
        ----------
        data
            Anything with the buffer protocol: bytes of any number (a write may end inside a sample, which the
            next one then completes), or an array of the stream's dtype, of shape ``(samples * channels,)`` or
            ``(samples, channels)``. Not to be changed before this returns.

        Raises
        ------
        StreamClosedError
            The stream was closed, or its track has ended.
        TypeError
            It is no buffer, or an array of another dtype.
        ValueError
            It is an array of another shape.
        """
        with self._bytes_of(data) as view:
            async with self._turn:
                self._require_open()
                at = 0
                while self._whole_bytes(len(view) - at):
                    at += self._take(view[at:], await self._wait_for_room())
                self._rest += view[at:]

    def write_nowait(self, data: _Samples) -> bool:
        """Write all of the data if there is room for it now; return whether there was.

        For live sound, where late is worse than left out. Parameters and errors are those of `write`.

        Raises
        ------
        ValueError
            It is longer than ``buffer_ms`` and would never fit.
        """
        with self._bytes_of(data) as view:
            self._require_open()
            samples = self._whole_bytes(len(view)) // self._sample_bytes
            if samples > self.buffer_ms * self.sample_rate_hz // 1_000:
                raise ValueError(f"{samples} samples never fit into {self.buffer_ms} ms; use write()")
            if self._turn.locked() or samples > self._room_samples():
                return False
            at = 0
            while self._whole_bytes(len(view) - at):
                at += self._take(view[at:], samples)
            self._rest += view[at:]
            return True

    def _whole_bytes(self, size_bytes: int) -> int:
        """Return how much of the rest and so many further bytes is whole samples."""
        size_bytes += len(self._rest)
        return size_bytes - size_bytes % self._sample_bytes

    def _take(self, view: memoryview, room_samples: int) -> int:
        """Accept one message of whole samples; return how many bytes of the view are in it."""
        samples = min(room_samples, self._message_samples, self._whole_bytes(len(view)) // self._sample_bytes)
        size_bytes = samples * self._sample_bytes - len(self._rest)
        piece = self._rest + view[:size_bytes]
        self._rest = b""
        self._accept((piece,), samples)
        return size_bytes

    def _close(self) -> None:
        rest, self._rest = len(self._rest), b""
        first, open_before = not self._closing, not self._detached
        self._end()
        if rest and first and open_before:
            raise ValueError(
                f"{self.label} ends inside a sample: {rest} bytes are left over, and one of {self.channels} "
                f"channels of {self.dtype} has {self._sample_bytes}"
            )

    def _bytes_of(self, data: _Samples) -> memoryview:
        """Return the bytes of a buffer, checked to hold samples of this stream."""
        try:
            view = memoryview(cast("Buffer", data))
        except TypeError:
            text = f"cannot write {type(data).__name__}; it must be bytes or an array of {self.dtype}"
            raise TypeError(text) from None
        if view.format not in _BYTE_ITEMS:
            if _native(view.format) != self._item:
                raise TypeError(
                    f"cannot write items of format {view.format!r} to a stream of {self.dtype}; "
                    f"convert them, in numpy by array.astype({self.dtype!r})"
                )
            if view.ndim > 1 and view.shape is not None and view.shape[1:] != (self.channels,):
                raise ValueError(f"an array of shape {view.shape} is not (samples, {self.channels})")
        if view.c_contiguous and view.nbytes and view.format in (*_BYTE_ITEMS, self._item):
            return view.cast("B")
        return memoryview(view.tobytes())


class OpusStream(PushedSource):
    """Opus packets of 20 ms, as another encoder makes them; they pass through untouched at volume 1.

    Parameters
    ----------
    buffer_ms
        How much may wait to be heard, 20 to 10,000 ms.

    Raises
    ------
    ValueError
        The parameter is out of its range.

    Examples
    --------
    ::

        async with OpusStream() as stream:
            playing = voice.play_no_wait(stream)
            async for packet in packets_of_a_call():
                await stream.write(packet)
        await playing
    """

    def __init__(self, buffer_ms: int = 1_000) -> None:
        super().__init__(
            wire_format="opus",
            sample_rate_hz=_OPUS_RATE_HZ,
            channels=2,
            buffer_ms=buffer_ms,
            unit_samples=_PACKET_SAMPLES,
        )

    @property
    def written_packets(self) -> int:
        """Packets taken over by the writing methods so far."""
        return self._accepted_samples // _PACKET_SAMPLES

    async def write(self, packet: bytes) -> None:
        """Write one packet; wait while as much as ``buffer_ms`` waits to be heard.

        If it is cancelled, the packet has not been taken over.

        Raises
        ------
        StreamClosedError
            The stream was closed, or its track has ended.
        TypeError
            It is not bytes.
        ValueError
            It is no packet of exactly 20 ms (RFC 6716 §3.1), or larger than 1,500 bytes.
        """
        await self.write_many((packet,))

    async def write_many(self, packets: Iterable[bytes]) -> None:
        """Write packets, which come one after the other; wait as `write` does, with the same errors.

        All are checked before the first is taken over. If it is cancelled, it has taken over the first of
        them, and `written_packets` has grown by just as many.
        """
        checked = [_checked_packet(packet) for packet in packets]
        async with self._turn:
            self._require_open()
            at = 0
            while at < len(checked):
                room = min(await self._wait_for_room(), self._message_samples) // _PACKET_SAMPLES
                message = tuple(checked[at : at + room])
                self._accept(message, len(message) * _PACKET_SAMPLES)
                at += len(message)

    def write_nowait(self, packet: bytes) -> bool:
        """Write one packet if there is room for it now; return whether there was. Errors as `write`."""
        checked = _checked_packet(packet)
        self._require_open()
        if self._turn.locked() or not self._room_samples():
            return False
        self._accept((checked,), _PACKET_SAMPLES)
        return True


def _native(item_format: str) -> str:
    """Return a `struct` format without a prefix that says what is so anyway."""
    return item_format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))


def _checked_packet(packet: bytes) -> bytes:
    if not isinstance(packet, bytes | bytearray | memoryview):
        raise TypeError(f"an Opus packet is bytes, not {type(packet).__name__}")
    packet = bytes(packet)
    if not packet:
        raise ValueError("an Opus packet has at least one byte")
    if len(packet) > _MAX_PACKET_BYTES:
        raise ValueError(f"an Opus packet of {len(packet)} bytes is larger than {_MAX_PACKET_BYTES}")
    steps = _packet_steps(packet)
    if steps != _STEPS_PER_PACKET:
        plays_ms = steps * _PACKET_MS / _STEPS_PER_PACKET
        raise ValueError(f"an Opus packet must play for 20 ms, not {plays_ms:g} ms; set the encoder to that")
    return packet


def _packet_steps(packet: bytes) -> int:
    """Return how long a packet plays, in steps of 2.5 ms (RFC 6716 §3.1)."""
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:  # noqa: PLR2004 - SILK, configurations 0 to 11: 10, 20, 40, 60 ms
        frame = (4, 8, 16, 24)[configuration & 3]
    elif configuration < 16:  # noqa: PLR2004 - hybrid, 12 to 15: 10, 20 ms
        frame = (4, 8)[configuration & 1]
    else:
        frame = (1, 2, 4, 8)[configuration & 3]
    if code < 3:  # noqa: PLR2004 - one frame, or two
        return frame * (1, 2, 2)[code]
    return frame * (packet[1] & 0x3F) if len(packet) > 1 else 0
