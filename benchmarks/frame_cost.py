"""What CPU time does a worker spend on a frame, and how much of it is overhead?

One worker plays in 1, 16 and 64 guilds: a WAV (encoding, next to nothing to decode), an MP3 (encoding) and an
Ogg/Opus file (passing through). What is measured is the worker's own account of its process's CPU time over
the packets it sent in the same span, and how that divides among its encoder threads, its pacing thread and
everything else.

Rounds of it alternate with the same work done bare on the worker's core while it rests: libopus on the same
PCM, PyAV on the same file, seal and send on as many sockets with the same pauses. Of the rounds the one is
shown whose ratio to the bare cost before and after it is the median, so that no disturbance decides. The
source's decoding is PyAV's cost, not voicepool's, so the goal for encoding is about what is left without it;
the goal for passing through is about the whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result
from benchmarks.rig import Rig, open_rig, open_sources
from benchmarks.rounds import Round, maker, means, middle, of_sending, of_threads
from benchmarks.span import doubts

__all__ = ["run"]

ENCODING_GOAL: Final = 1.15
"""Times the bare cost of libopus, at `GOAL_GUILDS`."""
PASSTHROUGH_GOAL_US: Final = 8.0
GOAL_GUILDS: Final = 64


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    guilds: tuple[int, ...]
    rounds: int
    span_s: float
    settle_s: float
    bare_s: float
    paced_s: float
    start_s: float
    """How long opening all sources may take, during which the first play already."""

    @property
    def source_s(self) -> float:
        return self.start_s + self.settle_s + self.span_s


_THOROUGH: Final = _Plan(
    guilds=(1, 16, GOAL_GUILDS), rounds=3, span_s=4.0, settle_s=1.5, bare_s=0.3, paced_s=1.0, start_s=20.0
)
_QUICK: Final = _Plan(guilds=(2,), rounds=1, span_s=0.2, settle_s=0.05, bare_s=0.01, paced_s=0.1, start_s=8.0)


async def run(options: Options) -> Result:
    """Measure."""
    plan = _QUICK if options.quick else _THOROUGH
    began_s = time.monotonic()
    figures: list[Figure] = []
    notes = [note for note in (options.cores.note,) if note]
    async with open_sources(plan.source_s) as sources, open_rig(options.cores) as rig:
        for guilds in plan.guilds:
            await rig.join(guilds)
            for what, file, figures_of in (
                ("encoding a WAV", sources.wav, _of_encoding),
                ("encoding an MP3", sources.mp3, _of_encoding),
                ("passing Ogg/Opus through", sources.opus, _of_passthrough),
            ):
                group = f"{guilds} {'guild' if guilds == 1 else 'guilds'}, {what}"
                costs = _Costs(rig, plan, guilds, file, sources.opus)
                before, rounds = await costs.measure(), []
                for _ in range(plan.rounds):
                    await rig.play(file, guilds, settle_s=plan.settle_s)
                    span = await rig.measure(plan.span_s)
                    await rig.stop()
                    after = await costs.measure()
                    rounds.append(Round(span, means(before, after)))
                    before = after
                figures += figures_of(group, guilds, middle(rounds))
                notes += doubts(group, [each.span for each in rounds])
        figures += rig.figures_of_loss(await rig.totals())
        config = rig.pool.config
        notes.append(f"Opus at {config.bitrate_bps // 1_000} kbit/s, complexity {config.complexity}")
    return Result(
        name="frame_cost",
        question=BENCHMARKS["frame_cost"].question,
        seconds=time.monotonic() - began_s,
        figures=figures,
        notes=notes,
    )


class _Costs:
    """Measures the bare costs of what one span plays."""

    def __init__(self, rig: Rig, plan: _Plan, guilds: int, file: Path, opus: Path) -> None:
        self._rig = rig
        self._plan = plan
        self._guilds = guilds
        self._file = file
        self._opus = opus

    async def measure(self) -> dict[str, float]:
        """Return costs per frame in microseconds, by name."""
        rig, seconds, target = self._rig, self._plan.bare_s, list(self._rig.sink)
        hot = await rig.bare("packets_hot", self._opus, target=target, seconds=seconds / 3)
        paced = await rig.bare(
            "packets_paced", self._opus, target=target, streams=self._guilds, seconds=self._plan.paced_s
        )
        packets = {"hot": hot["both"], "seal": hot["seal"], "send": hot["send"]}
        packets |= {"paced": paced["work"], "woken": paced["whole"]}
        if self._file == self._opus:
            read = await rig.bare("demux_paced", self._file, streams=self._guilds, seconds=self._plan.paced_s)
            return packets | {
                "source": read["work"],
                "read hot": await rig.bare("demux", self._file, seconds=seconds),
            }
        opus = {"complexity": rig.pool.config.complexity, "bitrate_bps": rig.pool.config.bitrate_bps}
        return packets | {
            "source": await rig.bare("decode_in_turn", self._file, seconds=seconds, streams=self._guilds),
            "read hot": await rig.bare("decode", self._file, seconds=seconds),
            "opus": await rig.bare("encode", self._file, seconds=seconds, streams=1, **opus),
            "in turn": await rig.bare("encode", self._file, seconds=seconds, streams=self._guilds, **opus),
        }


def _of_encoding(group: str, guilds: int, measured: Round) -> list[Figure]:
    figure, span, bare = maker(group), measured.span, measured.bare
    goal = Goal(ENCODING_GOAL, of="ratio") if guilds == GOAL_GUILDS else None
    own_us = span.frame_us - bare["source"]
    encoder_us = bare["source"] + bare["in turn"]
    return [
        figure("worker, all in all", span.frame_us, measured.everything_us, "PyAV, libopus, seal and send"),
        figure("worker, without the decoding", own_us, bare["opus"], "libopus, one encoder", goal=goal),
        figure("  encoder threads", span.encode_us, encoder_us, "PyAV, libopus in turn"),
        *of_threads(figure, measured),
        figure("PyAV, decoders in turn", bare["source"], bare["read hot"], "PyAV, one decoder"),
        figure("libopus, encoders in turn", bare["in turn"], bare["opus"], "libopus, one encoder"),
        *of_sending(figure, bare),
    ]


def _of_passthrough(group: str, guilds: int, measured: Round) -> list[Figure]:
    figure, span, bare = maker(group), measured.span, measured.bare
    goal = Goal(PASSTHROUGH_GOAL_US) if guilds == GOAL_GUILDS else None
    own_us = span.frame_us - bare["source"]
    return [
        figure(
            "worker, all in all",
            span.frame_us,
            measured.everything_us,
            "PyAV, seal and send, paced",
            goal=goal,
        ),
        figure("worker, without the reading", own_us, bare["paced"], "seal and send, paced"),
        figure("  encoder threads", span.encode_us, bare["source"], "PyAV, paced"),
        *of_threads(figure, measured),
        figure("PyAV, reading packets, paced", bare["source"], bare["read hot"], "the same in a tight loop"),
        *of_sending(figure, bare),
    ]
