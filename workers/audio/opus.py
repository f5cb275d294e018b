"""What Opus encoder and decoder share: the form of PCM, libopus' errors, and its requests."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from voicepool.workers.audio.libopus import OpusFunctions

__all__ = ["OK", "Ctl", "OpusError", "PcmFrame", "address", "check_range", "failure"]

PcmFrame: TypeAlias = npt.NDArray[np.float32]
"""Interleaved float32 in [-1, 1], shape ``(samples, channels)``."""

OK: Final = 0
"""What a call of libopus returns that did not fail (opus_defines.h)."""


class Ctl(enum.IntEnum):
    """Requests of ``opus_encoder_ctl`` and ``opus_decoder_ctl`` (opus_defines.h)."""

    SET_BITRATE = 4002
    SET_COMPLEXITY = 4010
    SET_INBAND_FEC = 4012
    SET_PACKET_LOSS_PERC = 4014
    SET_DTX = 4016
    SET_SIGNAL = 4024
    SET_FORCE_CHANNELS = 4022
    GET_LOOKAHEAD = 4027
    RESET_STATE = 4028
    SET_PREDICTION_DISABLED = 4042


class OpusError(Exception):
    """A call of libopus failed.

    Parameters
    ----------
    action
        What was tried.
    code
        libopus' error code, below 0 (opus_defines.h).
    reason
        libopus' words for it.
    """

    def __init__(self, action: str, code: int, reason: str) -> None:
        super().__init__(f"{action}: {reason} (libopus error {code})")
        self.action = action
        self.code = code
        self.reason = reason


def failure(functions: OpusFunctions, action: str, code: int) -> OpusError:
    """Return the error for what libopus answered, in its own words."""
    return OpusError(action, code, functions.strerror(code).decode("ascii", "replace"))


def address(array: PcmFrame) -> int:
    """Return where the samples of a C-contiguous float32 array lie."""
    return int(array.__array_interface__["data"][0])


def check_range(name: str, value: int, low: int, high: int) -> int:
    """Return a value that lies within a range, both ends included; else raise ValueError."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")
    return value
