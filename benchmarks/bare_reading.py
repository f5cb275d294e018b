"""Reading sources by PyAV's plainest means, for the bare costs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from typing import TypeVar

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from numpy.typing import NDArray

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE_HZ

__all__ = ["decoded", "demuxed", "endless", "filtered"]

_Read = TypeVar("_Read")


def decoded(file: str) -> Generator[NDArray[np.float32], None, None]:
    """Decode a file, to blocks of shape (samples, 2)."""
    yield from map(_samples, _resampled(file))


def filtered(file: str, *, filters: str) -> Generator[NDArray[np.float32], None, None]:
    """Decode a file and send it through an audio chain, to blocks of shape (960, 2)."""
    graph = Graph()
    # As the worker does: audio filters gain nothing from threads.
    graph.threads = 1
    source = graph.add_abuffer(
        sample_rate=SAMPLE_RATE_HZ, format="flt", layout="stereo", time_base=Fraction(1, SAMPLE_RATE_HZ)
    )
    sink = graph.add("abuffersink")
    last = source
    for step in (*filters.split(","), f"aformat=flt:{SAMPLE_RATE_HZ}:stereo"):
        name, _, arguments = step.partition("=")
        added = graph.add(name, arguments)
        last.link_to(added)
        last = added
    last.link_to(sink)
    graph.configure()
    graph.set_audio_frame_size(FRAME_SAMPLES)
    for frame in _resampled(file):
        source.push(frame)
        yield from _pulled(sink)


def endless(file: str, read: Callable[[str], Iterator[_Read]]) -> Generator[_Read, None, None]:
    """Read a file again and again."""
    while True:
        yield from read(file)


def demuxed(file: str) -> Generator[bytes, None, None]:
    """Read the Opus packets of a file."""
    with av.open(file) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size:
                yield bytes(packet)


def _resampled(file: str) -> Iterator[av.AudioFrame]:
    with av.open(file) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        resampler = av.AudioResampler(
            format="flt", layout="stereo", rate=SAMPLE_RATE_HZ, frame_size=FRAME_SAMPLES
        )
        for frame in container.decode(stream):
            yield from resampler.resample(frame)


def _pulled(sink: FilterContext) -> Iterator[NDArray[np.float32]]:
    try:
        while True:
            frame = sink.pull()
            assert isinstance(frame, av.AudioFrame)
            yield _samples(frame)
    except av.BlockingIOError:
        return


def _samples(frame: av.AudioFrame) -> NDArray[np.float32]:
    # A view, of the type that the converter was asked for.
    return frame.to_ndarray().reshape(-1, CHANNELS).astype(np.float32, copy=False)
