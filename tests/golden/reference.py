"""What ought to be heard, computed another way than the worker does.

Whole signals in numpy, in doubles; and FFmpeg's filters in one graph over the whole.
"""

from __future__ import annotations

from typing import cast

import av
import numpy as np
import numpy.typing as npt

from tests.golden.sounds import RATE_HZ, Sound

__all__ = ["FRAME", "Curve", "error_db", "filtered", "ramp", "scaled", "worst_frame_db"]

FRAME = 960
"""Samples of 20 ms at 48 kHz."""
Curve = npt.NDArray[np.float64]


def ramp(count: int, *corners: tuple[int, float]) -> Curve:
    """Return a curve of `count` samples that is straight between its corners, each a sample and a value."""
    at, values = zip(*corners, strict=True)
    curve: Curve = np.interp(np.arange(count), at, values)
    return curve


def scaled(sound: npt.NDArray[np.floating], gain: Curve | float) -> Curve:
    """Return a sound times a gain for each of its samples."""
    factor = np.broadcast_to(np.asarray(gain, dtype=np.float64), (len(sound),))
    return sound.astype(np.float64) * factor[:, None]


def error_db(got: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> float:
    """Return the power of the difference, in dB below that of what was wanted; both of one length."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    wrong = np.square(got.astype(np.float64) - wanted).sum()
    return _db(wrong, np.square(wanted.astype(np.float64)).sum())


def worst_frame_db(got: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> float:
    """Return the error of the worst of all 20 ms, in dB below its power or, if that is more, the mean power.

    A click lasts some samples, and is lost in the mean of a whole signal.
    """
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    wrong, right = _frame_powers(got - wanted.astype(np.float64)), _frame_powers(wanted)
    return max(_db(*pair) for pair in zip(wrong, np.maximum(right, right.mean()), strict=True))


def filtered(chain: str, sound: npt.NDArray[np.floating]) -> Sound:
    """Return what one graph of FFmpeg's makes of a whole sound, pushed in one piece."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=RATE_HZ, layout="stereo", time_base=None)
    last = source
    for step in chain.split(","):
        name, _, options = step.partition("=")
        following = graph.add(name, options or None)
        last.link_to(following)
        last = following
    shape = graph.add("aformat", f"sample_fmts=flt:sample_rates={RATE_HZ}:channel_layouts=stereo")
    sink = graph.add("abuffersink")
    last.link_to(shape)
    shape.link_to(sink)
    graph.configure()
    samples = np.ascontiguousarray(sound, dtype=np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="stereo")
    frame.sample_rate, frame.pts = RATE_HZ, 0
    source.push(frame)
    source.push(None)
    pieces = []
    while True:
        try:
            made = cast("av.AudioFrame", sink.pull())
        except (av.EOFError, av.BlockingIOError):
            break
        pieces.append(made.to_ndarray().reshape(-1, 2))
    return np.concatenate(pieces)


def _frame_powers(sound: npt.NDArray[np.floating]) -> Curve:
    count = len(sound) // FRAME
    powers: Curve = np.square(sound[: count * FRAME].astype(np.float64)).reshape(count, -1).sum(axis=1)
    return powers


def _db(wrong: float, wanted: float) -> float:
    return float(10.0 * np.log10(wrong / wanted + 1e-30))
