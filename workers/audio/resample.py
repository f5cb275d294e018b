"""Decoded audio of any shape to 20 ms frames of 48 kHz stereo float32.

One FFmpeg filter graph converts rate, sample format and channels, and cuts its output into blocks of some
frames. Frames are views into such a block, so no sample is copied in Python. A block lives as long as a
frame of it, and nothing else looks at it: whoever gets a frame may write to it.

`av.AudioResampler` would do, but its graph starts a thread for each core, and it offers no way to keep
a mono source at its level.
"""

from __future__ import annotations

from collections import deque
from math import sqrt
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.filter.context import FilterContext

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.graphs import building_graph
from voicepool.workers.audio.opus import PcmFrame

__all__ = ["FrameCutter"]

_BLOCK_FRAMES: Final = 4
"""Fetching a block costs some microseconds, which four frames share; decoding it is a burst of 0.15 ms."""
_DEFAULT_LAYOUTS: Final = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
"""What FFmpeg takes 1 to 8 channels for when the file does not say which they are."""


class FrameCutter:
    """Takes decoded frames, gives 20 ms frames.

    Rate, format and channels may change between any two frames, as they do at the seams of a chained Ogg
    stream. Five-channel and other surround sound is mixed down so that it cannot clip; mono goes to both
    sides at its own level.

    Parameters
    ----------
    block_frames
        How many frames to convert at a time, at least 1. What is live gives one: it would wait for the rest.
    """

    def __init__(self, *, block_frames: int = _BLOCK_FRAMES) -> None:
        if block_frames < 1:
            raise ValueError(f"block_frames must be 1 or more, not {block_frames}")
        self._block_samples = block_frames * FRAME_SAMPLES
        self._shape: tuple[int, str, str] | None = None
        self._source: FilterContext | None = None
        self._sink: FilterContext | None = None
        self._graph: Graph | None = None
        self._ready_samples = 0.0
        self._scale = 1.0
        self._block: PcmFrame = np.empty((0, CHANNELS), dtype=np.float32)
        self._at = 0
        self._drained: deque[PcmFrame] = deque()
        self._finished = False

    def push(self, frame: AudioFrame) -> None:
        """Take a decoded frame.

        Raises
        ------
        av.FFmpegError
            FFmpeg cannot convert audio of this shape.
        """
        shape = (frame.sample_rate, frame.format.name, frame.layout.name)
        if shape != self._shape:
            self._drain()
            self._start(frame)
            self._shape = shape
        assert self._source is not None
        # Timestamps would only invite the filters to complain about gaps that the decoder has not filled.
        frame.pts = None
        self._source.push(frame)
        self._ready_samples += frame.samples * self._scale

    def finish(self) -> None:
        """Let out what the converter still holds; no `push` follows."""
        self._drain()
        self._finished = True

    def take(self) -> PcmFrame | None:
        """Return the next frame, shape ``(960, 2)``.

        Returns
        -------
        PcmFrame | None
            `None` while more input is needed, and after `finish` at the end. The last frame is filled up
            with silence.
        """
        at = self._at
        end = at + FRAME_SAMPLES
        if end <= len(self._block):
            self._at = end
            return self._block[at:end]
        return self._take_from_next_block()

    def _take_from_next_block(self) -> PcmFrame | None:
        while len(self._block) - self._at < FRAME_SAMPLES:
            block = self._drained.popleft() if self._drained else self._pull()
            if block is None:
                rest = len(self._block) - self._at
                if not self._finished or rest == 0:
                    return None
                block = np.zeros((FRAME_SAMPLES - rest, CHANNELS), dtype=np.float32)
            if self._at < len(self._block):
                block = np.concatenate((self._block[self._at :], block))
            self._block, self._at = block, 0
        return self.take()

    def _pull(self) -> PcmFrame | None:
        if self._sink is None or self._ready_samples < self._block_samples:
            return None
        try:
            block = _samples(self._sink)
        except av.BlockingIOError:
            # The converter holds some back, so that its filter sees beyond the block's end.
            return None
        self._ready_samples -= len(block)
        return block

    def _drain(self) -> None:
        if self._source is None or self._sink is None:
            return
        self._source.push(None)
        while True:
            try:
                self._drained.append(_samples(self._sink))
            except (av.EOFError, av.BlockingIOError):
                break
        self._graph = self._source = self._sink = self._shape = None

    def _start(self, frame: AudioFrame) -> None:
        layout = frame.layout.name
        channels = frame.layout.nb_channels
        if layout.endswith("channels") and channels <= len(_DEFAULT_LAYOUTS):
            layout = _DEFAULT_LAYOUTS[channels - 1]
        with building_graph() as graph:
            source = graph.add(
                "abuffer",
                sample_rate=str(frame.sample_rate),
                sample_fmt=frame.format.name,
                channel_layout=layout,
                time_base=f"1/{frame.sample_rate}",
            )
            resample = graph.add(
                "aresample",
                out_sample_rate=str(SAMPLE_RATE_HZ),
                out_sample_fmt="flt",
                out_chlayout="stereo",
                rematrix_maxval="1.0",
                # FFmpeg puts mono on both sides 3 dB softer; the same song in stereo would be louder.
                rematrix_volume=str(sqrt(2.0) if channels == 1 else 1.0),
            )
            sink = graph.add("abuffersink")
            source.link_to(resample)
            resample.link_to(sink)
            graph.configure()
            graph.set_audio_frame_size(self._block_samples)
        # Kept only now: a graph that could not be configured must never see a frame.
        self._graph, self._source, self._sink = graph, source, sink
        self._scale = SAMPLE_RATE_HZ / frame.sample_rate
        self._ready_samples = 0.0


def _samples(sink: FilterContext) -> PcmFrame:
    """Pull a frame and return its samples, in FFmpeg's own memory."""
    frame = sink.pull()
    assert isinstance(frame, AudioFrame)
    samples = np.frombuffer(memoryview(frame.planes[0]), dtype=np.float32, count=frame.samples * CHANNELS)
    return samples.reshape(frame.samples, CHANNELS)
