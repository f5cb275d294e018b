"""What the work itself costs, with no voicepool around it: libopus, PyAV, the seals of DAVE and AEAD, send.

Runs as a child on the worker's core while the worker rests. Each figure is CPU time per 20 ms frame, in
microseconds, of loops that do nothing else. They exist hot and as the work really comes along:

* decoding and libopus: one codec whose state stays in the cache, and as many as there are calls, in turn.
* reading and sending packets: one after the other, and *paced*: the same number of files and sockets, in
  groups, after the same sleeps as the worker's threads make. A core that has slept has cold caches, and under
  a hypervisor it may have been someone else's meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Final, TypeVar

import numpy as np

from benchmarks.bare_reading import decoded, demuxed, endless, filtered
from benchmarks.child import keep_to_argument, serve
from benchmarks.end_to_end import FrameSeal, frame_seals
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.workers.audio.frame import CHANNELS, FRAME_NS, FRAME_SAMPLES, FRAMES_PER_S
from voicepool.workers.audio.opus_encoder import Encoder
from voicepool.workers.clock import MonotonicClock, sharpen_timers
from voicepool.workers.pacing.schedule import SLOT_NS, SLOTS, choose_slot
from voicepool.workers.transport.aead import make_sealer
from voicepool.workers.transport.modes import TransportMode

__all__ = ["decode", "decode_in_turn", "demux", "demux_paced", "encode", "packets_hot", "packets_paced"]

_KEPT_FRAMES: Final = 8 * FRAMES_PER_S
_WARM_UP_FRAMES: Final = 50
_BATCH: Final = 50
_BURST: Final = 2
"""Frames that the worker encodes of one call before it turns to the next: a quarter of its ring of 8."""
_READ_BURST: Final = 24
"""Packets that it passes through likewise: half of its ring of 48."""
_READ_STEP_NS: Final = FRAME_NS // 2
"""How long the encoder thread sleeps at least; meanwhile a part of the calls comes to want packets."""
_READ_TURNS: Final = _READ_BURST * FRAME_NS // _READ_STEP_NS
"""Sleeps until each of the calls has been served, if no two are served after the same."""
_MODE: Final = TransportMode("aead_aes256_gcm_rtpsize")
_MAX_PACKET_BYTES: Final = 4_000
_US: Final = 1e6
_NS_PER_US: Final = 1e3
_NS_PER_S: Final = 1_000_000_000

_Read = TypeVar("_Read")


def encode(file: str, *, seconds: float, streams: int, complexity: int, bitrate_bps: int) -> float:
    """Return the cost of ``opus_encode_float`` called in a loop, with nothing copied before or after.

    Parameters
    ----------
    file
        Whose first 8 s are encoded over and over; decoded beforehand.
    seconds
        CPU time to spend.
    streams
        How many encoders take turns, each with another part of the music.
    complexity, bitrate_bps
        As the worker has them.
    """
    pcm = np.ascontiguousarray(np.concatenate(list(itertools.islice(decoded(file), _KEPT_FRAMES))))
    frames = len(pcm) // FRAME_SAMPLES
    step_bytes = FRAME_SAMPLES * CHANNELS * pcm.itemsize
    encoders = [Encoder(complexity=complexity, bitrate_bps=bitrate_bps) for _ in range(streams)]
    # The worker's own method makes a bytes object of each packet; below it lies the C function.
    calls = [(encoder._encode, encoder._state, encoder._packet_address) for encoder in encoders]
    start = pcm.ctypes.data
    done = 0

    def run(bursts: int) -> None:
        nonlocal done
        for _ in range(bursts):
            function, state, packet = calls[done // _BURST % streams]
            assert state is not None
            # Each stream is further on in the music than the one before, as if it had begun earlier.
            first = done // (_BURST * streams) * _BURST + done // _BURST % streams * 7
            for at in range(first, first + _BURST):
                function(state, start + at % frames * step_bytes, FRAME_SAMPLES, packet, _MAX_PACKET_BYTES)
            done += _BURST

    run(max(_WARM_UP_FRAMES, streams * _BURST * 2) // _BURST)
    warm = done
    cost_s = _spend(lambda: run(_BATCH // _BURST), seconds)
    for encoder in encoders:
        encoder.close()
    return cost_s / (done - warm) * _US


def decode(file: str, *, seconds: float, filters: str | None = None) -> float:
    """Return the cost of PyAV demuxing, decoding and converting a file to 48 kHz stereo float32.

    With `filters`, an audio chain as FFmpeg writes it, libavfilter's cost is in it.
    """
    read = decoded if filters is None else functools.partial(filtered, filters=filters)
    samples, cost_s = _read_through(read, len, file, seconds)
    return cost_s / (samples / FRAME_SAMPLES) * _US


def decode_in_turn(file: str, *, streams: int, seconds: float) -> float:
    """Return what `decode` does, of as many decoders of the same file, which take turns.

    Each is further on in the file than the one before, and decodes about a burst before the next one does.
    """
    with ExitStack() as files:
        readers = [files.enter_context(closing(endless(file, decoded))) for _ in range(streams)]
        for number, reader in enumerate(readers):
            for _ in range(1 + number % _WARM_UP_FRAMES):
                next(reader)
        samples = 0

        def run() -> None:
            nonlocal samples
            for reader in readers:
                wanted = samples_of_burst = _BURST * FRAME_SAMPLES
                while wanted > 0:
                    wanted -= len(next(reader))
                samples += samples_of_burst - wanted

        cost_s = _spend(run, seconds)
    return cost_s / (samples / FRAME_SAMPLES) * _US


def demux(file: str, *, seconds: float) -> float:
    """Return the cost of PyAV reading one Opus packet out of a file, as bytes."""
    packets, cost_s = _read_through(demuxed, lambda _: 1, file, seconds)
    return cost_s / packets * _US


def demux_paced(file: str, *, streams: int, seconds: float) -> dict[str, float]:
    """Read Opus packets as the encoder thread does: from as many files, 24 from each in turn, with sleeps.

    Returns
    -------
    dict
        ``work``: CPU time of reading, per packet, in µs. ``whole``: the same with the sleeps between.
    """
    clock = MonotonicClock()
    due_ns = clock.now_ns()
    work_ns = read = 0
    with ExitStack() as files:
        readers = [files.enter_context(closing(endless(file, demuxed))) for _ in range(streams)]
        for number, reader in enumerate(readers):
            for _ in range(1 + number % _WARM_UP_FRAMES):
                next(reader)
        began_ns = time.thread_time_ns()
        for turn in range(max(_READ_TURNS, round(seconds * _NS_PER_S / _READ_STEP_NS))):
            due_ns += _READ_STEP_NS
            served = readers[turn % _READ_TURNS :: _READ_TURNS]
            if not served:
                continue
            clock.sleep_until(due_ns)
            first_ns = time.thread_time_ns()
            for reader in served:
                for _ in range(_READ_BURST):
                    next(reader)
                read += _READ_BURST
            work_ns += time.thread_time_ns() - first_ns
        whole_ns = time.thread_time_ns() - began_ns
    return {"work": work_ns / read / _NS_PER_US, "whole": whole_ns / read / _NS_PER_US}


def packets_hot(
    file: str, *, target: tuple[str, int], seconds: float, end_to_end: bool = False
) -> dict[str, float]:
    """Return the cost of a packet's seal, of its send, and of header, seal and send, in tight loops.

    Parameters
    ----------
    file
        Ogg/Opus; its packets are the payloads.
    target
        Where to send: someone who reads, as the stand-in does.
    seconds
        CPU time to spend on each.
    end_to_end
        Encrypt each frame by DAVE first; ``dave`` is then the cost of that alone, and is in ``both``.
    """
    payloads = itertools.cycle(itertools.islice(demuxed(file), 200))
    with ExitStack() as sockets:
        encrypt = frame_seals(1)[0] if end_to_end else None
        stream = _Stream.open(target, sockets, encrypt)
        sealed = stream.seal(_pack_header(0x80, 0x78, 0, 0, 1), next(payloads))
        header = _pack_header(0x80, 0x78, 0, 0, 1)

        def seal() -> None:
            for payload in itertools.islice(payloads, _BATCH):
                stream.seal(header, payload)

        def send() -> None:
            for _ in range(_BATCH):
                stream.send(sealed)

        def whole() -> None:
            for payload in itertools.islice(payloads, _BATCH):
                stream.send_packet(payload)

        deeds = {"seal": seal, "send": send, "both": whole}
        if encrypt is not None:
            deeds["dave"] = lambda: _drop(map(encrypt, itertools.islice(payloads, _BATCH)))
        return {name: _per_frame_us(deed, seconds) for name, deed in deeds.items()}


def packets_paced(
    file: str, *, target: tuple[str, int], streams: int, seconds: float, end_to_end: bool = False
) -> dict[str, object]:
    """Send as the pacing thread would, with as many sockets, and nothing else to do.

    With `end_to_end` each frame is encrypted by DAVE first, with a key for each socket.

    Returns
    -------
    dict
        ``work``: CPU time from the first packet of a group to its last, per packet, in µs. ``whole``: with
        the sleeps and wake-ups between, per packet, in µs. ``lateness_counts``, ``lateness_max_us``: of
        the packets (`LatenessHistogram`).
    """
    payloads = list(itertools.islice(demuxed(file), 200))
    clock = MonotonicClock()
    lateness = LatenessHistogram()
    sharpen_timers()
    seals: Sequence[FrameSeal | None] = frame_seals(streams) if end_to_end else [None] * streams
    with ExitStack() as sockets:
        wheel: list[list[_Stream]] = [[] for _ in range(SLOTS)]
        for encrypt in seals:
            slot = choose_slot([len(group) for group in wheel], after=0)
            wheel[slot].append(_Stream.open(target, sockets, encrypt))
        work_ns = sent = 0
        origin_ns = clock.now_ns() + FRAME_NS
        began_ns = time.thread_time_ns()
        for index in range(round(seconds * _NS_PER_S / SLOT_NS)):
            group = wheel[index % SLOTS]
            if not group:
                continue
            due_ns = origin_ns + index * SLOT_NS
            clock.sleep_until(due_ns)
            first_ns = time.thread_time_ns()
            for stream in group:
                stream.send_packet(payloads[sent % len(payloads)])
                sent += 1
            work_ns += time.thread_time_ns() - first_ns
            lateness.record((clock.now_ns() - due_ns) // 1_000)
        whole_ns = time.thread_time_ns() - began_ns
    return {
        "work": work_ns / sent / _NS_PER_US,
        "whole": whole_ns / sent / _NS_PER_US,
        "lateness_counts": lateness.counts,
        "lateness_max_us": lateness.max_us,
    }


_pack_header: Final = struct.Struct(">BBHII").pack


class _Stream:
    """The least that an RTP stream needs."""

    __slots__ = ("encrypt", "seal", "send", "sequence", "timestamp")

    def __init__(self, udp: socket.socket, encrypt: FrameSeal | None) -> None:
        self.encrypt: Final = encrypt
        self.send: Final = udp.send
        self.seal: Final = make_sealer(_MODE, secrets.token_bytes(32)).seal
        self.sequence = 0
        self.timestamp = 0

    @classmethod
    def open(cls, target: tuple[str, int], sockets: ExitStack, encrypt: FrameSeal | None = None) -> _Stream:
        """Connect a socket that `sockets` closes."""
        udp = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        host, port = target  # a list, after its way through JSON
        udp.connect((host, port))
        return cls(udp, encrypt)

    def send_packet(self, payload: bytes) -> None:
        """Encrypt end to end if that is wanted, pack a header, seal, send."""
        if self.encrypt is not None:
            payload = self.encrypt(payload)
        self.send(self.seal(_pack_header(0x80, 0x78, self.sequence, self.timestamp, 1), payload))
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + FRAME_SAMPLES) & 0xFFFF_FFFF


def _drop(results: Iterator[object]) -> None:
    """Have all of them made, at next to no cost."""
    deque(results, maxlen=0)


def _spend(run: Callable[[], None], seconds: float) -> float:
    """Call `run` until that much CPU time is spent; return how much it was."""
    # Of the process: PyAV's converter has threads of its own.
    began = time.process_time()
    while (spent := time.process_time() - began) < seconds:
        run()
    return spent


def _read_through(
    read: Callable[[str], Generator[_Read, None, None]],
    count: Callable[[_Read], int],
    file: str,
    seconds: float,
) -> tuple[int, float]:
    """Read a file again and again until that much CPU time is spent.

    Returns
    -------
    tuple
        The sum of what `count` said, and the CPU time. Opening and the first frames, which a call pays once,
        are left out of both.
    """
    counted, spent_s = 0, 0.0
    while spent_s < seconds:
        with closing(read(file)) as frames:
            for _ in range(_WARM_UP_FRAMES):
                next(frames)
            began_s = time.process_time()
            for number, frame in enumerate(frames):
                counted += count(frame)
                if number % _BATCH == 0 and spent_s + time.process_time() - began_s > seconds:
                    break
            spent_s += time.process_time() - began_s
    return counted, spent_s


def _per_frame_us(run_batch: Callable[[], None], seconds: float) -> float:
    batches = 0

    def run() -> None:
        nonlocal batches
        run_batch()
        batches += 1

    return _spend(run, seconds) / (batches * _BATCH) * _US


def main() -> None:
    """Serve until stdin closes."""
    keep_to_argument()
    deeds = (encode, decode, decode_in_turn, demux, demux_paced, packets_hot, packets_paced)
    asyncio.run(serve({deed.__name__: deed for deed in deeds}))


if __name__ == "__main__":
    main()
