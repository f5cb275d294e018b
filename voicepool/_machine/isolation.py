"""[pure] Which core each worker gets, and what it costs when there are too few.

Audio suffers from company: two workers on one core encode in turns, two on the threads of one core (SMT,
"hyper-threading") slow each other down, and one beside the bot waits while the bot computes. So, in this
order, a worker gets

1. the first thread of a core that is not the bot's, the strongest cores first (big.LITTLE, P and E cores);
2. the second thread of such a core;
3. the other thread of the bot's core, which is the first core of the process, and at last the bot's own;
4. a core that another worker has already, evenly.

A quota (cgroup ``cpu.max``) is another thing than cores: a container with 1.5 CPUs on a host of 64 cores runs
on any of them, and has none to itself. When the workers have used the quota up, all are stopped for the rest
of the period (0.1 s as a rule), which is five frames. Two workers that are both busy would do so, one and the
bot will not; so ``workers = "auto"`` takes the whole cores of the quota and leaves one to the bot, but at
least one worker: 1.5 CPUs give one, 4 give three. Nobody is pinned under such a quota, since all containers
of the host that count from the first core would meet on the same ones; the kernel spreads them better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Core", "Topology", "explain_plan", "parse_cpu_list", "plan_cores"]


@dataclass(frozen=True, slots=True)
class Core:
    """One logical CPU.

    Attributes
    ----------
    number
        As the scheduler counts.
    siblings
        The logical CPUs of the same physical core, itself included, also those the process may not use.
    capacity
        How strong it is, in whatever unit the kernel has; equal where all are.
    """

    number: int
    siblings: frozenset[int]
    capacity: int = 1_024


@dataclass(frozen=True, slots=True)
class Topology:
    """What the process may run on.

    Attributes
    ----------
    allowed
        How many logical CPUs.
    cores
        Which ones; empty where processes cannot be pinned (macOS, Windows).
    quota
        CPU time per wall time that the cgroup and its parents grant, in cores; None without a limit.
    """

    allowed: int
    cores: tuple[Core, ...] = ()
    quota: float | None = None

    @property
    def physical(self) -> int:
        """How many physical cores; threads of one core count once."""
        return len(_physical_cores(self.cores)) or self.allowed

    @property
    def shared(self) -> bool:
        """Whether a quota grants less than the cores, so that others run on them too."""
        return self.quota is not None and self.quota < self.allowed

    @property
    def usable(self) -> int:
        """Whole cores that can be kept busy without being stopped or slowed down; at least 1."""
        return max(1, self.physical if self.quota is None else min(self.physical, math.floor(self.quota)))


def plan_cores(count: int, topology: Topology) -> list[int | None]:
    """Return the core to pin each worker to.

    Parameters
    ----------
    count
        How many workers there are.
    topology
        What there is to give.

    Returns
    -------
    list of int or None
        As the module says; None where a worker is left to the kernel, which then holds for all of them. With
        more workers, the first ones keep their cores while there is one for each.
    """
    if not topology.cores or topology.shared:
        return [None] * count
    order = _order(topology.cores)
    return [order[index % len(order)] for index in range(count)]


def explain_plan(count: int, topology: Topology) -> str:
    """Say what `count` workers have to put up with on this machine, as a sentence; empty if nothing.

    The sentence names the consequence and the way out.
    """
    fewer = f"set workers to {max(1, topology.usable - 1)}, or give this process {count + 1} cores"
    if topology.quota is not None and topology.shared and count + 1 > topology.quota:
        way_out = fewer if count > 1 else "raise the quota to 2 cores"
        return (
            f"{_workers(count)} and the bot share a CPU quota of {topology.quota:g} cores: when it is used "
            f"up, the kernel stops all of them for the rest of each period, which is heard; {way_out}"
        )
    if count > topology.allowed:
        return (
            f"{count} workers share {_cores(topology.allowed)}: while one encodes another waits, so each "
            f"holds fewer calls and sound may be late; {fewer}"
        )
    if count + 1 > topology.allowed:
        return (
            f"{_workers(count)} and the bot share {_cores(topology.allowed)}: sound may be late while the "
            f"bot computes; {fewer}"
        )
    if count + 1 > topology.physical:
        return (
            f"{_workers(count)} and the bot share {_cores(topology.physical)} with several threads each: "
            f"those on one core slow each other down by a third or more; {fewer}"
        )
    return ""


def parse_cpu_list(text: str) -> list[int]:
    """Read a list of CPUs as the kernel writes it: ``0-3,8`` (cpuset(7), "List format").

    Raises
    ------
    ValueError
        It is no such list.
    """
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        numbers += range(int(first), int(last if dash else first) + 1)
    return numbers


def _order(cores: Iterable[Core]) -> list[int]:
    """Return the logical CPUs in the order in which workers get them."""
    groups = _physical_cores(cores)
    bot = groups[0]
    others = sorted(groups[1:], key=lambda group: -group[0].capacity)
    firsts = [group[0].number for group in others]
    seconds = [core.number for group in others for core in group[1:]]
    beside_the_bot = [core.number for core in bot[1:]]
    return [*firsts, *seconds, *beside_the_bot, bot[0].number]


def _physical_cores(cores: Iterable[Core]) -> list[Sequence[Core]]:
    groups: dict[frozenset[int], list[Core]] = {}
    for core in sorted(cores, key=lambda core: core.number):
        groups.setdefault(core.siblings, []).append(core)
    return list(groups.values())


def _cores(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"
