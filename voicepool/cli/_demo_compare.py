"""[pure] How much what was received is like what was played.

Opus is lossy and adds a few milliseconds, so samples cannot be compared for equality. The two are aligned by
their cross-correlation and then compared by Pearson's correlation coefficient: about 0.99 for music that went
through Opus at 128 kbit/s, about 0 for anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE_HZ", "SEARCH_S", "Likeness", "compare"]

RATE_HZ: Final = 48_000
SEARCH_S: Final = 1.0
"""How far apart the beginnings may lie."""

Pcm: TypeAlias = NDArray[np.int16]
"""Shape (samples, 2), 48 kHz."""

_EXCERPT_S: Final = 5.0
"""Length of the loudest part, by which the two are aligned."""
_SHORTEST_S: Final = 0.1
_BLOCK: Final = 1 << 20
"""Samples taken at once: an hour of stereo as 64-bit floats would need gigabytes."""
_SILENT_RMS: Final = 16.0
"""About -66 dB of full scale: noise of encoders, nothing anyone compares."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a comparison found.

    Attributes
    ----------
    correlation
        Pearson's, over both channels of the part that both have: 1 is the same but for a factor, 0 unrelated.
        1 if both are silent, 0 if only one is, or if they share less than a tenth of a second.
    delay_samples
        How much later a sound comes in what was received; negative if its beginning is missing.
    """

    correlation: float
    delay_samples: int


def compare(received: Pcm, source: Pcm) -> Likeness:
    """Compare what was received with its source.

    Parameters
    ----------
    received, source
        int16, shape (samples, 2), 48 kHz. Either may be longer.
    """
    delay = _delay(received, source)
    begin, end = max(0, delay), min(len(received), len(source) + delay)
    if end - begin < _SHORTEST_S * RATE_HZ:
        return Likeness(0.0, delay)
    return Likeness(_correlation(received[begin:end], source[begin - delay : end - delay]), delay)


def _delay(received: Pcm, source: Pcm) -> int:
    """Find the offset within `SEARCH_S` at which the loudest part of the received is most like the source.

    It is looked for in the source, and not the other way round: what was received has a counterpart there,
    while any part of the source may be missing from it.
    """
    search = round(SEARCH_S * RATE_HZ)
    length = min(len(received), len(source), round(_EXCERPT_S * RATE_HZ))
    if length == 0:
        return 0
    # The louder channel, and not the sum: opposite channels would cancel out.
    channel = int(np.argmax([_energies(received[:, side])[-1] for side in (0, 1)]))
    start = _loudest(received[:, channel], length)
    excerpt = received[start : start + length, channel].astype(np.float64)
    first, last = max(0, start - search), min(len(source), start + length + search)
    if last <= first or not excerpt.any():
        return 0
    # Padded at both ends, so that every lag can be tried; where little overlaps, little can be alike.
    around = np.zeros(length + 2 * search)
    around[first - start + search : last - start + search] = source[first:last, channel]
    size = 1 << (len(around) - 1).bit_length()
    product = np.fft.rfft(around, size) * np.fft.rfft(excerpt, size).conj()
    scores = np.fft.irfft(product, size)[: 2 * search + 1]
    # Divided by the energy it was held against, so that a louder passage does not win by being louder.
    sums = np.concatenate([[0.0], np.cumsum(around**2)])
    energies = sums[length:] - sums[:-length]
    scores /= np.sqrt(np.maximum(energies, _SILENT_RMS**2 * length))
    return search - int(np.argmax(scores))


def _loudest(samples: NDArray[np.int16], length: int) -> int:
    """Return where the part of `length` samples with the most energy begins, to a tenth of a second."""
    sums = np.concatenate([[0.0], _energies(samples)])
    starts = np.arange(0, len(samples) - length + 1, RATE_HZ // 10)
    return int(starts[np.argmax(sums[starts + length] - sums[starts])])


def _energies(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    return np.cumsum(samples.astype(np.float64) ** 2)


def _correlation(received: Pcm, source: Pcm) -> float:
    count = 0
    sums = np.zeros(2)
    products = np.zeros((2, 2))
    for start in range(0, len(source), _BLOCK):
        block = slice(start, start + _BLOCK)
        both = np.stack([received[block].reshape(-1), source[block].reshape(-1)]).astype(np.float64)
        count += both.shape[1]
        sums += both.sum(axis=1)
        products += both @ both.T
    silent = np.sqrt(products.diagonal() / count) < _SILENT_RMS
    if silent.any():
        return 1.0 if silent.all() else 0.0
    covariances = products / count - np.outer(sums, sums) / count**2
    variances = covariances.diagonal()
    if not variances.all():
        # A constant has no shape to compare.
        return 0.0
    return float(np.clip(covariances[0, 1] / np.sqrt(variances.prod()), -1.0, 1.0))
