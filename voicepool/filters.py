"""Sound effects by name, for ``filters=``.

Each class is a frozen description that checks its numbers when it is made and writes itself as a chain of
FFmpeg's filters (`Filter.chain`); the worker runs the chain. They combine, with each other and with chains
written by hand, in the order given::

    filters=[BassBoost(6), Nightcore()]
    filters="bass=g=6,tremolo=f=4"
    filters=[Equalizer({60: 4, 8_000: -3}), "aecho=0.8:0.9:40:0.3"]

Sound may leave the range [-1, 1] inside a chain, which is float; what is too loud at the end is limited by
the mixer. Costs named below are processor time for each 20 ms frame on one 2023 cloud core, where encoding
the frame as Opus takes 60 to 190 µs; those without a figure take less than 40 µs. "Holds" is how much of
the source a filter reads ahead: a file gives it at once, a live stream starts that much later.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import ClassVar, Final

from voicepool._filter import Filter, Filters, checked, filter_chain, number, within

__all__ = [
    "BassBoost",
    "Dynamics",
    "Equalizer",
    "Filter",
    "Filters",
    "HighPass",
    "Karaoke",
    "Loudness",
    "LowPass",
    "Nightcore",
    "Pitch",
    "Rotation",
    "Speed",
    "Tremolo",
    "Vaporwave",
    "Vibrato",
    "filter_chain",
]

_RATE_HZ: Final = 48_000
_MAX_ATEMPO: Final = 2.0
"""Beyond it one ``atempo`` leaves samples out instead of blending them (FFmpeg Filters, atempo)."""
_MIN_ATEMPO: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class BassBoost(Filter):
    """More bass: a shelf below a frequency.

    Parameters
    ----------
    gain_db
        How much, from -24 to 24 dB. Loud music limits audibly above about 10.
    frequency_hz
        Where the shelf ends, 20 to 500 Hz.
    """

    gain_db: float = field(default=6.0, metadata=within(-24, 24))
    frequency_hz: float = field(default=100.0, metadata=within(20, 500))

    @property
    def chain(self) -> str:
        """A low shelf."""
        return f"bass=g={number(self.gain_db)}:f={number(self.frequency_hz)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Nightcore(Filter):
    """Faster and higher at once, like a record at the wrong speed.

    Parameters
    ----------
    speed
        How many times as fast, 1.0 to 2.0; the pitch rises as much (1.25 is nearly four semitones).
    """

    speed: float = field(default=1.25, metadata=within(1, 2))

    @property
    def chain(self) -> str:
        """Another sample rate for the same samples."""
        return _at_rate(self.speed)


@dataclasses.dataclass(frozen=True, slots=True)
class Vaporwave(Filter):
    """Slower and lower at once.

    Parameters
    ----------
    speed
        How many times as fast, 0.5 to 1.0; the pitch falls as much.
    """

    speed: float = field(default=0.8, metadata=within(0.5, 1))

    @property
    def chain(self) -> str:
        """Another sample rate for the same samples."""
        return _at_rate(self.speed)


@dataclasses.dataclass(frozen=True, slots=True)
class Rotation(Filter):
    """The sound goes round the listener's head, known as "8D".

    Parameters
    ----------
    frequency_hz
        Turns in a second, 0.01 to 10.
    """

    frequency_hz: float = field(default=0.1, metadata=within(0.01, 10))

    @property
    def chain(self) -> str:
        """Both sides swell in turn; mixed to mono first, or the sides of a wide recording would only fade."""
        return f"pan=stereo|c0=0.5*c0+0.5*c1|c1=0.5*c0+0.5*c1,apulsator=hz={number(self.frequency_hz)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Karaoke(Filter):
    """Takes out what sits in the middle, which mostly is the singer.

    What is left is mono, so that it does not cancel out on a phone. A mono recording leaves only its bass.

    Parameters
    ----------
    keep_below_hz
        The middle stays below this frequency, for bass and drum; 0 to 500 Hz.
    """

    keep_below_hz: float = field(default=120.0, metadata=within(0, 500))

    @property
    def chain(self) -> str:
        """The difference of the sides, and the low end of their sum on a channel of its own between."""
        difference = "0.5*FL-0.5*FR"
        if not self.keep_below_hz:
            return f"pan=stereo|FL={difference}|FR={difference}"
        return (
            f"pan=3.0|FL={difference}|FR={difference}|FC=0.5*FL+0.5*FR,"
            f"lowpass=f={number(self.keep_below_hz)}:c=FC,pan=stereo|FL=FL+FC|FR=FR+FC"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Equalizer(Filter):
    """Up to 15 bands of 2/3 octave. Each that changes something takes about 3 µs.

    Parameters
    ----------
    gains_db
        Gain by the frequency of the band, in Hz; each frequency takes the nearest of `BANDS_HZ`. Or the
        gains in the order of the bands, from the lowest. From -24 to 24 dB, 0 is no change. A Lavalink
        gain ``g`` (-0.25 to 1.0) is about ``20 * log10(1 + g)`` dB, -2.5 to 6. Kept as 15 gains.
    """

    BANDS_HZ: ClassVar[tuple[int, ...]] = (
        25, 40, 63, 100, 160, 250, 400, 630, 1_000, 1_600, 2_500, 4_000, 6_300, 10_000, 16_000,
    )  # fmt: skip
    """The middle of each band, as Lavalink has them."""

    gains_db: Mapping[float, float] | Iterable[float]

    def __post_init__(self) -> None:
        """Check the gains and bring them into the form they are kept in."""
        object.__setattr__(self, "gains_db", self._bands())

    @property
    def chain(self) -> str:
        """A peak filter for each band that changes something."""
        bands = [
            f"equalizer=f={hz}:t=o:w=0.67:g={number(gain_db)}"
            for hz, gain_db in zip(self.BANDS_HZ, self._bands(), strict=True)
            if gain_db
        ]
        return ",".join(bands) or "anull"

    def _bands(self) -> tuple[float, ...]:
        count = len(self.BANDS_HZ)
        if isinstance(self.gains_db, Mapping):
            gains = [0.0] * count
            for hz, gain_db in self.gains_db.items():
                gains[self._nearest(hz)] = checked(f"Equalizer gain at {hz} Hz", gain_db, -24, 24)
            return tuple(gains)
        gains = [checked("an Equalizer gain", gain_db, -24, 24) for gain_db in self.gains_db]
        if len(gains) > count:
            raise ValueError(f"Equalizer takes at most {count} gains, not {len(gains)}")
        return (*gains, *[0.0] * (count - len(gains)))

    @classmethod
    def _nearest(cls, hz: float) -> int:
        wanted = math.log(checked("an Equalizer frequency in Hz", hz, 20, 20_000))
        return min(range(len(cls.BANDS_HZ)), key=lambda band: abs(math.log(cls.BANDS_HZ[band]) - wanted))


@dataclasses.dataclass(frozen=True, slots=True)
class Tremolo(Filter):
    """The loudness trembles.

    Parameters
    ----------
    frequency_hz
        How often in a second, 0.1 to 20.
    depth
        How deep, 0 to 1; at 1 it goes down to silence.
    """

    frequency_hz: float = field(default=5.0, metadata=within(0.1, 20))
    depth: float = field(default=0.5, metadata=within(0, 1))

    @property
    def chain(self) -> str:
        """A sine on the loudness."""
        return f"tremolo=f={number(self.frequency_hz)}:d={number(self.depth)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Vibrato(Filter):
    """The pitch trembles.

    Parameters
    ----------
    frequency_hz
        How often in a second, 0.1 to 20.
    depth
        How far, 0 to 1.
    """

    frequency_hz: float = field(default=5.0, metadata=within(0.1, 20))
    depth: float = field(default=0.5, metadata=within(0, 1))

    @property
    def chain(self) -> str:
        """A sine on a delay of a few milliseconds."""
        return f"vibrato=f={number(self.frequency_hz)}:d={number(self.depth)}"


@dataclasses.dataclass(frozen=True, slots=True)
class LowPass(Filter):
    """Muffled, as through a wall: 12 dB an octave softer above a frequency.

    Parameters
    ----------
    cutoff_hz
        20 to 20,000 Hz.
    """

    cutoff_hz: float = field(default=500.0, metadata=within(20, 20_000))

    @property
    def chain(self) -> str:
        """A second-order low pass."""
        return f"lowpass=f={number(self.cutoff_hz)}"


@dataclasses.dataclass(frozen=True, slots=True)
class HighPass(Filter):
    """Thin, as from a telephone: 12 dB an octave softer below a frequency.

    Parameters
    ----------
    cutoff_hz
        20 to 20,000 Hz.
    """

    cutoff_hz: float = field(default=500.0, metadata=within(20, 20_000))

    @property
    def chain(self) -> str:
        """A second-order high pass."""
        return f"highpass=f={number(self.cutoff_hz)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Speed(Filter):
    """Faster or slower at the same pitch. Takes up to 90 µs, at 4 times the speed; holds up to 0.2 s.

    Parameters
    ----------
    factor
        How many times as fast, 0.25 to 4.0.
    """

    factor: float = field(metadata=within(0.25, 4))

    @property
    def chain(self) -> str:
        """One ``atempo``, or two where one would be out of its range."""
        return _at_tempo(self.factor)


@dataclasses.dataclass(frozen=True, slots=True)
class Pitch(Filter):
    """Higher or lower at the same speed. Holds up to 0.2 s.

    Parameters
    ----------
    semitones
        From -12 (an octave down) to 12; halves and less are fine.
    """

    semitones: float = field(metadata=within(-12, 12))

    @property
    def chain(self) -> str:
        """Another sample rate, and the tempo brought back."""
        rate_hz = round(_RATE_HZ * 2.0 ** (self.semitones / 12))
        return f"asetrate={rate_hz},aresample={_RATE_HZ},{_at_tempo(_RATE_HZ / rate_hz)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Loudness(Filter):
    """Every track equally loud, by EBU R128.

    Works on the running sound, without a first pass over the file: the measure settles over the first
    seconds of a track. Takes about 370 µs for each frame, twice an Opus encoder at its dearest, because it
    watches true peaks at 192 kHz; holds 3 s. `Dynamics` costs a twentieth.

    Parameters
    ----------
    target_lufs
        Integrated loudness, -70 to -5 LUFS. Streaming services aim at about -14, broadcasters at -23.
    range_lu
        Loudness range, 1 to 50 LU.
    true_peak_db
        No peak above this, -9 to 0 dBTP.
    """

    target_lufs: float = field(default=-16.0, metadata=within(-70, -5))
    range_lu: float = field(default=11.0, metadata=within(1, 50))
    true_peak_db: float = field(default=-1.5, metadata=within(-9, 0))

    @property
    def chain(self) -> str:
        """``loudnorm`` in its single-pass form."""
        return (
            f"loudnorm=I={number(self.target_lufs)}:LRA={number(self.range_lu)}"
            f":TP={number(self.true_peak_db)},aresample={_RATE_HZ}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Dynamics(Filter):
    """Soft passages louder, loud ones as they are: cheap, for speech and for listening among noise.

    No standard's loudness: each window of 0.15 s is raised towards full scale, smoothed over its neighbours.
    Holds 1.5 s.

    Parameters
    ----------
    max_gain_db
        No passage is raised by more, 0 to 40 dB.
    peak
        The peaks it aims at, 0.1 to 1.0 of full scale.
    """

    max_gain_db: float = field(default=12.0, metadata=within(0, 40))
    peak: float = field(default=0.9, metadata=within(0.1, 1))

    @property
    def chain(self) -> str:
        """``dynaudnorm`` with short windows; with its own it would hold 16 s."""
        most = 10.0 ** (self.max_gain_db / 20)
        return f"dynaudnorm=f=150:g=9:p={number(self.peak)}:m={number(most)}"


def _at_rate(speed: float) -> str:
    return f"asetrate={round(_RATE_HZ * speed)},aresample={_RATE_HZ}"


def _at_tempo(factor: float) -> str:
    if _MIN_ATEMPO <= factor <= _MAX_ATEMPO:
        return f"atempo={number(factor)}"
    half = number(math.sqrt(factor))
    return f"atempo={half},atempo={half}"
