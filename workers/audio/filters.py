"""Filters on a playing track: a chain of libavfilter's, fed frame by frame.

A `FilterChain` takes frames and gives frames; between the two it may hold some back (loudnorm looks 3 s
ahead) and may give more or fewer than it took (atempo). `FilterChain.held_samples` says at any time how
much of the source has gone in and is not yet heard. How one chain follows another is `ShapedFeed`'s matter.
"""

from __future__ import annotations

from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.filter.context import FilterContext

from voicepool.workers.audio.faults import captured_log
from voicepool.workers.audio.filter_text import ChainPlan, FilterError, Step, plan_chain
from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.graphs import building_graph
from voicepool.workers.audio.opus import PcmFrame

__all__ = ["HOLD_LIMIT_S", "FilterChain", "FilterError", "looks_far_ahead"]

HOLD_LIMIT_S: Final = 30.0
"""How much of a source a chain may hold back, in seconds of the source; FFmpeg's dynaudnorm holds 16."""
_FULL_SCALE: Final = 1.0
_FAR_SIGHTED: Final = frozenset({"dynaudnorm", "loudnorm"})


def looks_far_ahead(chain: str) -> bool:
    """Return whether a chain takes seconds of sound, and many milliseconds of work, before it gives any.

    Raises
    ------
    FilterError
        It breaks a rule of `filter_text`.
    """
    return any(step.name in _FAR_SIGHTED for step in plan_chain(chain).steps)


class FilterChain:
    """A row of libavfilter's filters between 48 kHz stereo float32 and the same again.

    Parameters
    ----------
    chain
        As FFmpeg users write it, for example ``"bass=g=8,atempo=1.25"``.

    Attributes
    ----------
    speed
        Source seconds per output second, as the chain declares it.
    repaired_frames
        How many output frames held values that are no numbers, which were silenced: a filter can be
        driven out of its range, and one such sample would poison everything it is mixed with.

    Raises
    ------
    FilterError
        The chain breaks a rule of `filter_text`, or libavfilter refuses it; the text has its reason.
    """

    def __init__(self, chain: str) -> None:
        plan = plan_chain(chain)
        self.speed: Final = plan.speed
        self.repaired_frames = 0
        self._graph, self._source, self._sink = _build(plan)
        self._pushed_samples = 0
        self._taken_samples = 0
        self._finished = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether nothing more comes: all has been taken after `finish`, or a filter failed."""
        return self._ended

    @property
    def held_samples(self) -> float:
        """How much of the source has been pushed and is not yet in what was taken, in its samples."""
        return max(self._pushed_samples - self._taken_samples * self.speed, 0.0)

    def push(self, samples: PcmFrame) -> None:
        """Take audio.

        Parameters
        ----------
        samples
            Shape ``(n, 2)``, contiguous; commonly one frame of 960. They are copied.

        Raises
        ------
        FilterError
            The chain holds more than `HOLD_LIMIT_S`, or a filter failed. It has ended then.
        """
        count = len(samples)
        if not count:
            return
        frame = AudioFrame("flt", "stereo", count)
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self._pushed_samples
        flat = samples.reshape(-1)
        np.frombuffer(memoryview(frame.planes[0]), dtype=np.float32, count=len(flat))[:] = flat
        self._pushed_samples += count
        try:
            self._source.push(frame)
        except av.FFmpegError as error:
            raise self._broke(error) from error
        if self.held_samples > HOLD_LIMIT_S * SAMPLE_RATE_HZ:
            self._ended = True
            raise FilterError(
                f"the filter chain holds back more than {HOLD_LIMIT_S:g} s of sound; choose shorter windows"
            )

    def finish(self) -> None:
        """Let out what the filters still hold; no `push` follows."""
        if not self._finished:
            self._finished = True
            try:
                self._source.push(None)
            except av.FFmpegError as error:
                raise self._broke(error) from error

    def take(self) -> PcmFrame | None:
        """Return the next frame, shape ``(960, 2)``.

        Returns
        -------
        PcmFrame | None
            `None` while more input is needed, and at the end (`ended`). The last frame is filled up with
            silence.

        Raises
        ------
        FilterError
            A filter failed.
        """
        if self._ended:
            return None
        try:
            frame = self._sink.pull()
        except av.BlockingIOError:
            return None
        except av.EOFError:
            self._ended = True
            return None
        except av.FFmpegError as error:
            raise self._broke(error) from error
        assert isinstance(frame, AudioFrame)
        count = frame.samples * CHANNELS
        flat = np.frombuffer(memoryview(frame.planes[0]), dtype=np.float32, count=count)
        with np.errstate(all="ignore"):
            energy = flat.dot(flat)
        if not np.isfinite(energy):
            self._repair(flat)
        samples = flat.reshape(-1, CHANNELS)
        self._taken_samples += FRAME_SAMPLES
        if frame.samples < FRAME_SAMPLES:
            whole = np.zeros((FRAME_SAMPLES, CHANNELS), dtype=np.float32)
            whole[: frame.samples] = samples
            return whole
        return samples

    def _broke(self, error: av.FFmpegError) -> FilterError:
        self._ended = True
        return FilterError(f"the filter chain broke while it ran: {error.strerror or 'no reason given'}")

    def _repair(self, flat: PcmFrame) -> None:
        np.nan_to_num(flat, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(flat, -_FULL_SCALE, _FULL_SCALE, out=flat)
        self.repaired_frames += 1


def _build(plan: ChainPlan) -> tuple[Graph, FilterContext, FilterContext]:
    with building_graph() as graph:
        source = graph.add(
            "abuffer",
            sample_rate=str(SAMPLE_RATE_HZ),
            sample_fmt="flt",
            channel_layout="stereo",
            time_base=f"1/{SAMPLE_RATE_HZ}",
        )
        last = source
        for step in plan.steps:
            last = _added(graph, last, step)
        shape = graph.add("aformat", f"sample_fmts=flt:sample_rates={SAMPLE_RATE_HZ}:channel_layouts=stereo")
        sink = graph.add("abuffersink")
        log: list[str] = []
        try:
            with captured_log() as log:
                last.link_to(shape)
                shape.link_to(sink)
                graph.configure()
        except av.FFmpegError as error:
            raise _refused("the filter chain", error, log) from error
        graph.set_audio_frame_size(FRAME_SAMPLES)
    return graph, source, sink


def _added(graph: Graph, last: FilterContext, step: Step) -> FilterContext:
    log: list[str] = []
    try:
        with captured_log() as log:
            context = graph.add(step.name, step.options or None)
            last.link_to(context)
    except av.FFmpegError as error:
        raise _refused(step.name, error, log) from error
    return context


def _refused(name: str, error: av.FFmpegError, log: list[str]) -> FilterError:
    # Of several lines the first is the cause; the rest say what did not happen because of it.
    reason = next((line.strip() for line in log if line.strip()), error.strerror or "no reason given")
    filter_name = "" if " " in name else name
    return FilterError(f"{name}: libavfilter refuses it: {reason[:200]}", filter_name=filter_name)
