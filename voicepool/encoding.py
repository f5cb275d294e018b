"""[pure] How the Opus packets of one connection are made."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from voicepool.ipc import commands

__all__ = ["Encoding"]

LOWEST_BITRATE_BPS: Final = 6_000
HIGHEST_BITRATE_BPS: Final = 510_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Settings of the Opus encoder. Packets of a source that pass through are not touched by them.

    ::

        voice.encoding = dataclasses.replace(voice.encoding, fec=True, expected_loss_percent=10)

    Parameters
    ----------
    bitrate_bps
        6,000 to 510,000 bit/s. ``"auto"`` takes that of the voice channel where it is known, which it is with
        hikari, and else that of the pool's config.
    complexity
        0 to 10; 0 costs a third of the processor time of 10.
    fec
        Whether packets carry a coarse copy of the one before (RFC 6716 §2.1.7), which helps listeners that
        lose some. It takes effect together with `expected_loss_percent`.
    expected_loss_percent
        How many packets are thought to be lost on the way, 0 to 100.
    dtx
        Whether silence is sent as next to nothing (RFC 6716 §2.1.9).
    mono
        Encode one channel; for speech.

    Raises
    ------
    ValueError
        A value is not allowed.
    """

    bitrate_bps: int | Literal["auto"] = "auto"
    complexity: int = 10
    fec: bool = False
    expected_loss_percent: int = 0
    dtx: bool = False
    mono: bool = False

    def __post_init__(self) -> None:
        """Check each value."""
        if self.bitrate_bps != "auto":
            _check("bitrate_bps", self.bitrate_bps, LOWEST_BITRATE_BPS, HIGHEST_BITRATE_BPS, ', or "auto"')
        _check("complexity", self.complexity, 0, 10)
        _check("expected_loss_percent", self.expected_loss_percent, 0, 100)
        for name in ("fec", "dtx", "mono"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False; it is {value!r}")  # noqa: TRY004 - one type for all

    def to_wire(self, *, auto_bps: int) -> commands.Encoding:
        """Return it as a worker is told.

        Parameters
        ----------
        auto_bps
            What ``"auto"`` is, bit/s; brought into the range of Opus.
        """
        auto_bps = min(max(auto_bps, LOWEST_BITRATE_BPS), HIGHEST_BITRATE_BPS)
        return commands.Encoding(
            bitrate_bps=auto_bps if self.bitrate_bps == "auto" else self.bitrate_bps,
            complexity=self.complexity,
            fec=self.fec,
            expected_loss_percent=self.expected_loss_percent,
            dtx=self.dtx,
            mono=self.mono,
        )


def _check(name: str, value: object, least: int, most: int, more: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}{more}; it is {value!r}")
