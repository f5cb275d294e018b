"""What a frame costs: passed through, encoded, mixed of four tracks, filtered. All end-to-end encrypted.

As in `frame_cost`, spans alternate with the same work done bare on the worker's core: PyAV, libavfilter,
libopus, and DAVE, seal and send on as many sockets after the same sleeps. So each figure is there twice, in
microseconds and as a ratio to a bare cost of the same minute; on a machine that is shared, trust the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.report import Figure, Goal
from benchmarks.rig import Rig
from benchmarks.rounds import Round, maker, means, middle, of_sending, of_threads
from benchmarks.sources import Sources
from benchmarks.span import doubts
from voicepool._playing.options import PlayOptions
from voicepool.source import Playable
from voicepool.station import Station

__all__ = [
    "FILTERS",
    "GOAL_GUILDS",
    "Case",
    "Lengths",
    "Measured",
    "cases",
    "figures_of",
    "measure",
]

FILTERS: Final = "bass=g=6,treble=g=2,acompressor"
MIXED: Final = 4
ENCODING_GOAL: Final = 1.15
"""Times the bare cost of libopus."""
PASSTHROUGH_GOAL_US: Final = 10.0
GOAL_GUILDS: Final = 64
"""The goals are about so many; with few, each frame bears a good part of a wake-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each part of a measurement takes.

    Attributes
    ----------
    rounds
        Spans of a case.
    span_s, settle_s
        Of one span, and of what plays before it.
    bare_s
        CPU time of a bare cost in a tight loop.
    paced_s
        Length of one with sleeps.
    start_s
        How long opening all sources may take, during which the first play already.
    """

    rounds: int
    span_s: float
    settle_s: float
    bare_s: float
    paced_s: float
    start_s: float

    @property
    def source_s(self) -> float:
        """How long sources have to be."""
        return self.start_s + self.settle_s + self.span_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to play.

    Attributes
    ----------
    name
        What is done.
    file
        What is played.
    guilds
        In how many calls.
    tracks
        How many times it is played in each, at the same time.
    filters
        An audio chain as FFmpeg writes it; None for none.
    passes
        Whether its packets pass through.
    station
        Whether it is one for all calls.
    """

    name: str
    file: Path
    guilds: int
    tracks: int = 1
    filters: str | None = None
    passes: bool = False
    station: bool = False

    @property
    def group(self) -> str:
        """The heading of its figures."""
        return f"{self.guilds} {'guild' if self.guilds == 1 else 'guilds'}, {self.name}"

    @property
    def source(self) -> Playable:
        """What the main track plays."""
        return Station("benchmark", self.file, repeats=True) if self.station else self.file

    @property
    def options(self) -> PlayOptions:
        """How each track is played."""
        options = PlayOptions()
        if self.tracks > 1:
            options["volume"] = 1 / self.tracks
        if self.filters is not None:
            options["filters"] = self.filters
        return options

    @property
    def sharing(self) -> int:
        """How many calls share what is read and encoded."""
        return self.guilds if self.station else 1


@dataclass(frozen=True, slots=True)
class Measured:
    """A case, the round to show, and what taints it."""

    case: Case
    round: Round
    doubts: Sequence[str] = field(default=())


def cases(sources: Sources, guilds: int) -> list[Case]:
    """Return all ways to play but those of a station, in as many guilds; the dear ones in half of them."""
    half = max(1, guilds // 2)
    return [
        Case(name="passing Ogg/Opus through", file=sources.opus, guilds=guilds, passes=True),
        Case(name="a single track", file=sources.wav, guilds=guilds),
        Case(name=f"{MIXED} tracks mixed", file=sources.wav, guilds=half, tracks=MIXED),
        Case(name=f"filters: {FILTERS}", file=sources.wav, guilds=half, filters=FILTERS),
    ]


async def measure(rig: Rig, case: Case, lengths: Lengths, packets: Path) -> Measured:
    """Measure a case.

    Parameters
    ----------
    packets
        Ogg/Opus, whose packets the bare costs send.
    """
    await rig.join(case.guilds)
    rounds = []
    before = await _bare(rig, case, lengths, packets)
    for _ in range(lengths.rounds):
        await rig.play(
            case.source,
            case.guilds,
            settle_s=lengths.settle_s,
            overlays=[case.file] * (case.tracks - 1),
            **case.options,
        )
        span = await rig.measure(lengths.span_s)
        await rig.stop()
        after = await _bare(rig, case, lengths, packets)
        rounds.append(Round(span, means(before, after)))
        before = after
    return Measured(case, middle(rounds), doubts(case.group, [each.span for each in rounds]))


async def _bare(rig: Rig, case: Case, lengths: Lengths, packets: Path) -> dict[str, float]:
    """Return costs for each frame sent, in microseconds, by name."""
    target, seconds, paced_s = list(rig.sink), lengths.bare_s, lengths.paced_s
    hot = await rig.bare("packets_hot", packets, target=target, seconds=seconds / 3, end_to_end=True)
    paced = await rig.bare(
        "packets_paced", packets, target=target, streams=case.guilds, seconds=paced_s, end_to_end=True
    )
    costs = {"hot": hot["both"], "dave": hot["dave"], "seal": hot["seal"], "send": hot["send"]}
    costs |= {"paced": paced["work"], "woken": paced["whole"]}
    if case.passes:
        read = await rig.bare("demux_paced", case.file, streams=case.guilds, seconds=paced_s)
        return costs | {"source": read["work"]}
    decoding = await rig.bare("decode", case.file, seconds=seconds)
    opus = await rig.bare(
        "encode",
        case.file,
        seconds=seconds,
        streams=1,
        complexity=rig.pool.config.complexity,
        bitrate_bps=rig.pool.config.bitrate_bps,
    )
    costs |= {"source": decoding * case.tracks / case.sharing, "opus": opus / case.sharing}
    if case.filters is not None:
        filtering = await rig.bare("decode", case.file, seconds=seconds, filters=case.filters)
        costs["filters"] = max(0.0, filtering - decoding)
    return costs


def figures_of(measured: Measured) -> list[Figure]:
    """Return the figures of a case that is no station."""
    case, span, bare = measured.case, measured.round.span, measured.round.bare
    figure = maker(case.group)
    is_judged = case.guilds >= GOAL_GUILDS
    everything_us, own_us = measured.round.everything_us, span.frame_us - bare["source"]
    if case.passes:
        return [
            figure(
                "worker, all in all",
                span.frame_us,
                everything_us,
                "PyAV, DAVE, seal and send, paced",
                goal=Goal(PASSTHROUGH_GOAL_US) if is_judged else None,
            ),
            figure("worker, without the reading", own_us, bare["paced"], "DAVE, seal and send, paced"),
            figure("  encoder threads", span.encode_us, bare["source"], "PyAV, paced"),
            *of_threads(figure, measured.round),
            figure("PyAV, reading packets, paced", bare["source"]),
            *of_sending(figure, bare),
        ]
    filtering_us = bare.get("filters", 0.0)
    codecs = "libavfilter, libopus" if case.filters else "libopus"
    is_plain = case.tracks == 1 and not case.filters
    goal = Goal(ENCODING_GOAL, of="ratio") if is_plain and is_judged else None
    figures = [
        figure("worker, all in all", span.frame_us, everything_us, f"PyAV, {codecs}, DAVE, seal and send"),
        figure("worker, without the decoding", own_us, bare["opus"] + filtering_us, codecs, goal=goal),
        figure(
            "  encoder threads",
            span.encode_us,
            bare["source"] + filtering_us + bare["opus"],
            f"PyAV, {codecs}",
        ),
        *of_threads(figure, measured.round),
        figure("PyAV, decoding" if case.tracks == 1 else f"PyAV, decoding all {case.tracks}", bare["source"]),
    ]
    if case.filters:
        figures.append(figure("libavfilter", filtering_us))
    return [*figures, figure("libopus", bare["opus"]), *of_sending(figure, bare)]
