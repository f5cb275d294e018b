"""What CPU time does a worker spend on a frame, and how much of it is overhead?

One worker plays in 1, 16 and 64 guilds: a WAV (encoding, next to nothing to decode), an MP3 (encoding) and an
Ogg/Opus file (passing through). What is measured is the worker's own account of its process's CPU time over
the packets it sent in the same span, and how that divides among its encoder threads, its pacing thread and
everything else.

Before and after each span, while the worker rests, the same work is done bare on its core: libopus on the
same PCM, PyAV on the same file, seal and send on as many sockets with the same pauses. The source's decoding is
PyAV's cost, not voicepool's, so the goals are about what is left without it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Figure, Goal, Result, bare_beside
from benchmarks.rig import Rig, open_rig, open_sources
from benchmarks.span import Span

__all__ = ["run"]

ENCODING_GOAL: Final = 1.15
"""Times the bare cost of libopus, at `GOAL_GUILDS`."""
PASSTHROUGH_GOAL_US: Final = 8.0
GOAL_GUILDS: Final = 64


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long and how much: the thorough and the quick version."""

    guilds: tuple[int, ...]
    span_s: float
    settle_s: float
    bare_s: float
    paced_s: float

    @property
    def source_s(self) -> float:
        # Joining and opening take some seconds of which the first calls play already.
        return self.span_s + self.settle_s + 20.0


_THOROUGH: Final = _Plan(guilds=(1, 16, GOAL_GUILDS), span_s=10.0, settle_s=2.0, bare_s=0.5, paced_s=1.5)
_QUICK: Final = _Plan(guilds=(1, 2), span_s=0.4, settle_s=0.1, bare_s=0.02, paced_s=0.1)


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
                before = await costs.measure()
                await rig.play(file, guilds, settle_s=plan.settle_s)
                span = await rig.measure(plan.span_s)
                await rig.stop()
                after = await costs.measure()
                bare = {name: bare_beside(cost_us, after[name]) for name, cost_us in before.items()}
                figures += figures_of(group, guilds, span, bare)
                notes += span.doubts(group)
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
            return packets | {"source": await rig.bare("demux", self._file, seconds=seconds)}
        opus = {"complexity": rig.pool.config.complexity, "bitrate_bps": rig.pool.config.bitrate_bps}
        return packets | {
            "source": await rig.bare("decode", self._file, seconds=seconds),
            "opus": await rig.bare("encode", self._file, seconds=seconds, streams=1, **opus),
            "in turn": await rig.bare("encode", self._file, seconds=seconds, streams=self._guilds, **opus),
        }


def _of_encoding(group: str, guilds: int, span: Span, bare: dict[str, float]) -> list[Figure]:
    figure = _maker(group)
    goal = Goal(ENCODING_GOAL, of="ratio") if guilds == GOAL_GUILDS else None
    everything_us = bare["source"] + bare["opus"] + bare["paced"]
    return [
        figure("worker, all in all", span.frame_us, everything_us, "PyAV, libopus, seal and send"),
        figure(
            "worker, without the decoding",
            span.frame_us - bare["source"],
            bare["opus"],
            "libopus, one encoder",
            goal=goal,
        ),
        figure("  encoder threads", span.encode_us, bare["source"] + bare["in turn"], "PyAV, libopus in turn"),
        *_of_packets(figure, span, bare),
        figure("PyAV, decoding", bare["source"]),
        figure("libopus, encoders in turn", bare["in turn"], bare["opus"], "libopus, one encoder"),
        *_of_sending(figure, bare),
    ]


def _of_passthrough(group: str, guilds: int, span: Span, bare: dict[str, float]) -> list[Figure]:
    figure = _maker(group)
    goal = Goal(PASSTHROUGH_GOAL_US) if guilds == GOAL_GUILDS else None
    return [
        figure("worker, all in all", span.frame_us, bare["source"] + bare["paced"], "PyAV, seal and send"),
        figure(
            "worker, without the reading",
            span.frame_us - bare["source"],
            bare["paced"],
            "seal and send, paced",
            goal=goal,
        ),
        figure("  encoder threads", span.encode_us, bare["source"], "PyAV"),
        *_of_packets(figure, span, bare),
        figure("PyAV, reading packets", bare["source"]),
        *_of_sending(figure, bare),
    ]


def _of_packets(figure: _Make, span: Span, bare: dict[str, float]) -> list[Figure]:
    return [
        figure("  pacing thread", span.pacing_us, bare["woken"], "seal and send, and waking up"),
        figure("  control loop and the rest", span.control_us),
    ]


def _of_sending(figure: _Make, bare: dict[str, float]) -> list[Figure]:
    return [
        figure("seal", bare["seal"]),
        figure("send", bare["send"]),
        figure("seal and send, paced", bare["paced"], bare["hot"], "the same in a tight loop"),
    ]


class _Make(Protocol):
    def __call__(
        self,
        name: str,
        value: float,
        bare: float | None = None,
        bare_name: str = "",
        *,
        goal: Goal | None = None,
    ) -> Figure: ...


def _maker(group: str) -> _Make:
    def make(
        name: str,
        value: float,
        bare: float | None = None,
        bare_name: str = "",
        *,
        goal: Goal | None = None,
    ) -> Figure:
        return Figure(
            group=group, name=name, value=value, unit="µs", bare=bare, bare_name=bare_name, goal=goal
        )

    return make
