"""[pure] What processes use over hours: samples of their memory, and the straight line through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Slope", "slope"]

_ENOUGH: Final = 3
_LIKELY: Final = 1.96
"""Standard errors that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast something grows.

    Attributes
    ----------
    an_hour
        Best guess, in units an hour.
    uncertainty
        Half the width of the interval that holds the true value in 95 of 100 cases; infinite for too few
        samples.
    """

    an_hour: float
    uncertainty: float

    @property
    def at_least(self) -> float:
        """The lower end of that interval: what can be said to grow; 0 or less is no growth that is known."""
        return self.an_hour - self.uncertainty


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line by least squares.

    Parameters
    ----------
    seconds
        When each value was taken.
    values
        In any unit.
    """
    if len(values) < _ENOUGH:
        return Slope(0.0, math.inf)
    hours = np.asarray(seconds, float) / 3_600
    hours -= hours.mean()
    found = np.asarray(values, float)
    spread = float(hours @ hours)
    an_hour = float(hours @ (found - found.mean())) / spread
    residuals = found - found.mean() - an_hour * hours
    # Neighbouring samples are alike, so there are fewer independent ones than samples.
    alike = float(residuals[1:] @ residuals[:-1]) / max(float(residuals @ residuals), 1e-12)
    independent = max(_ENOUGH, len(found) * (1 - alike) / (1 + alike)) if alike > 0 else len(found)
    variance = float(residuals @ residuals) / (independent - 2)
    error = math.sqrt(variance / (spread * independent / len(found)))
    return Slope(an_hour, _LIKELY * error)
