"""What each setting about the workers may be: their number, supervision, recovery and cores."""

from __future__ import annotations

from typing import Final

from voicepool._settings.knobs import Choice, Flag, Number, TakesEffect, WholeNumber

__all__ = [
    "AUTOSCALE",
    "COMMAND_TIMEOUT_S",
    "ENCODER_CLASS",
    "FULL_SHARE",
    "HANG_TIMEOUT_S",
    "HEARTBEAT_INTERVAL_S",
    "IPC",
    "MAX_CALLS_PER_WORKER",
    "MAX_WORKERS",
    "MEMORY_LIMIT_MIB",
    "MIN_WORKERS",
    "MOVES_AT_ONCE",
    "PACING_CLASS",
    "PIN_WORKERS",
    "REBALANCE",
    "RECOVERY_RATE_HZ",
    "SHED_COMPLEXITY",
    "SPARE_WORKERS",
    "START_TIMEOUT_S",
    "STOP_TIMEOUT_S",
    "WORKERS",
]

_PROCESSES: Final = "processes"
_MOST_WORKERS: Final = 1024
_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 600.0

WORKERS: Final = WholeNumber(
    minimum=1,
    maximum=_MOST_WORKERS,
    word="auto",
    unit=_PROCESSES,
    effect="How many worker processes run; auto is a core each, one core left to the bot.",
)
SPARE_WORKERS: Final = WholeNumber(
    minimum=0,
    maximum=64,
    unit=_PROCESSES,
    effect="Workers that are kept up without calls, to take over at once from one that is lost.",
)
AUTOSCALE: Final = Flag(
    effect="Workers are added and taken away by what they have to do; workers is the start."
)
MIN_WORKERS: Final = WholeNumber(
    minimum=1, maximum=_MOST_WORKERS, unit=_PROCESSES, effect="The fewest workers that autoscale leaves."
)
MAX_WORKERS: Final = WholeNumber(
    minimum=1,
    maximum=_MOST_WORKERS,
    word="auto",
    unit=_PROCESSES,
    effect="The most workers that autoscale starts; auto is a core each, one core left to the bot.",
)
MAX_CALLS_PER_WORKER: Final = WholeNumber(
    minimum=1,
    maximum=10_000,
    unit="calls",
    effect="Calls a worker takes before it is full.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
FULL_SHARE: Final = Number(
    minimum=0.05,
    maximum=1.0,
    unit="of a core",
    effect="CPU time per time beyond which a worker takes no further call.",
)
REBALANCE: Final = Flag(
    effect="Calls move off a worker beyond full_share, or that sheds complexity, to one that has room."
)
SHED_COMPLEXITY: Final = Flag(
    effect="A worker with too much to encode lowers its Opus complexity rather than be late.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
HEARTBEAT_INTERVAL_S: Final = Number(
    minimum=0.05,
    maximum=60.0,
    unit="s",
    effect="How long a worker may say nothing before it is asked to show life.",
)
HANG_TIMEOUT_S: Final = Number(
    minimum=_SHORTEST_S,
    maximum=_LONGEST_S,
    unit="s",
    effect="How long a worker may give no sign of life before it is ended and its calls move.",
)
MEMORY_LIMIT_MIB: Final = WholeNumber(
    minimum=0,
    maximum=1 << 20,
    unit="MiB",
    effect="Memory of a worker beyond which its calls move to a new one; 0 sets no limit.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
RECOVERY_RATE_HZ: Final = Number(
    minimum=0.1,
    maximum=10_000.0,
    unit="calls/s",
    effect="How many calls of lost workers are begun again each second, those that play first.",
)
MOVES_AT_ONCE: Final = WholeNumber(
    minimum=1,
    maximum=100,
    unit="calls",
    effect="Calls that move at a time off a worker; each is silent for a handshake.",
)
PIN_WORKERS: Final = Flag(
    effect="Each worker stays on a core of its own, where the platform allows it.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
ENCODER_CLASS: Final = Choice(
    options=("idle", "normal"),
    effect="Scheduling class of the encoder thread, unless sending is real-time; idle does not delay it.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
PACING_CLASS: Final = Choice(
    options=("auto", "normal"),
    effect="Scheduling class of the pacing thread; auto is real-time where this user may have it.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
START_TIMEOUT_S: Final = Number(
    minimum=_SHORTEST_S, maximum=_LONGEST_S, unit="s", effect="How long a worker may take to come up."
)
STOP_TIMEOUT_S: Final = Number(
    minimum=_SHORTEST_S,
    maximum=_LONGEST_S,
    unit="s",
    effect="How long a worker may take to leave when asked, before it is ended by force.",
)
COMMAND_TIMEOUT_S: Final = Number(
    minimum=_SHORTEST_S,
    maximum=_LONGEST_S,
    unit="s",
    effect="How long a worker may take to answer a request that needs no network.",
)
IPC: Final = Choice(
    options=("auto", "unix", "tcp"),
    effect="How bot and workers talk: unix sockets, or encrypted TCP on the loopback interface.",
    takes_effect=TakesEffect.NEXT_WORKER,
)
