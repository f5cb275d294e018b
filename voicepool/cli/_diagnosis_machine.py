"""[pure] What ``voicepool doctor`` thinks of the machine as the bot finds it: cores, limits, links.

What a worker finds is judged in `voicepool.cli._diagnosis`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from voicepool._machine.isolation import Topology, explain_plan, plan_cores
from voicepool.cli._diagnosis import Check, Verdict

if TYPE_CHECKING:
    from voicepool._machine.preflight import FileLimit, FileNeeds
    from voicepool.config import PoolConfig

__all__ = ["LinkFacts", "judge_cores", "judge_files", "judge_links", "judge_workers"]


@dataclasses.dataclass(frozen=True, slots=True)
class LinkFacts:
    """How bot and workers can talk here.

    Attributes
    ----------
    unix
        Whether ZeroMQ has Unix sockets on this platform.
    curve
        Whether it was built with CURVE.
    place
        The directory in which the sockets' own directory was made; empty if there is none.
    problem
        Why there is none.
    """

    unix: bool
    curve: bool
    place: str = ""
    problem: str = ""


def judge_cores(topology: Topology) -> Check:
    """Judge the cores this process may use."""
    quota = "no CPU quota" if topology.quota is None else f"a CPU quota of {topology.quota:g}"
    threads = "" if topology.physical == topology.allowed else f" threads of {topology.physical}"
    strongest = max((core.capacity for core in topology.cores), default=0)
    weak = sum(core.capacity < strongest for core in topology.cores)
    kinds = f", {weak} of them weaker" if weak else ""
    return Check("cores", Verdict.OK, f"{topology.allowed}{threads}{kinds}, {quota}")


def judge_workers(config: PoolConfig, topology: Topology, workers: int) -> Check:
    """Judge the number of `workers` that `config` comes to, and say where each runs."""
    source = "auto" if config.workers == "auto" else "from the config"
    found = f"{workers} ({source}), {_places(config, topology, workers)}"
    cost = explain_plan(workers, topology)
    if cost:
        return Check("workers", Verdict.WARN, found, f"{cost[0].upper()}{cost[1:]}.")
    return Check("workers", Verdict.OK, found)


def judge_files(needs: FileNeeds, limit: FileLimit | None) -> Check:
    """Judge the limit on open files by what a full pool needs."""
    name = "open files"
    wanted = f"a full worker needs {needs.worker}, the bot {needs.bot}"
    if limit is None:
        return Check(name, Verdict.OK, f"no limit on this platform; {wanted}")
    found = f"limit {limit.soft}, may be raised to {limit.hard}; {wanted}"
    most = max(needs.worker, needs.bot)
    if limit.hard < most:
        fix = (
            f"Allow {most} files (ulimit -n {most}; systemd: LimitNOFILE={most}), or lower "
            "max_calls_per_worker: joining and playing will fail when they are used up."
        )
        return Check(name, Verdict.WARN, found, fix)
    return Check(name, Verdict.OK, found)


def judge_links(config: PoolConfig, links: LinkFacts) -> Check:
    """Judge how bot and workers will talk, and who else can."""
    name = "links"
    curve = "encrypted, both sides prove who they are (CURVE)"
    if config.ipc != "tcp" and links.unix and not links.problem:
        place = f"Unix sockets in a directory of {links.place} that only this user can enter"
        if links.curve:
            return Check(name, Verdict.OK, f"{place}; {curve}")
        fix = "Reinstall pyzmq from its wheel, so that other programs of this user are kept out by keys, too."
        return Check(name, Verdict.WARN, f"{place}; without keys, this ZeroMQ has no CURVE", fix)
    why = f" ({links.problem})" if links.problem and config.ipc != "tcp" else ""
    if config.ipc == "unix":
        fix = 'Give TMPDIR a directory with a short path that can be written, or set ipc to "auto".'
        return Check(name, Verdict.FAIL, f"no Unix sockets to be had{why}", fix)
    if not links.curve:
        fix = "Reinstall pyzmq from its wheel: without CURVE, TCP is not safe and the pool does not start."
        return Check(name, Verdict.FAIL, f"TCP on loopback, and this ZeroMQ has no CURVE{why}", fix)
    if config.ipc == "auto" and links.unix:
        fix = "Give TMPDIR a directory with a short path that can be written, to have Unix sockets."
        return Check(name, Verdict.WARN, f"TCP on loopback, {curve}{why}", fix)
    return Check(name, Verdict.OK, f"TCP on loopback, {curve}")


def _places(config: PoolConfig, topology: Topology, workers: int) -> str:
    if not config.pin_workers:
        return "on any core, as the config says"
    plan = plan_cores(workers, topology)
    if topology.shared:
        return "on any core: under a quota none is theirs alone"
    if not topology.cores:
        return "on any core: this platform cannot pin a process"
    cores = [core for core in plan if core is not None]
    bot = topology.cores[0].number
    rest = f"core {bot} is left to the bot" if bot not in cores else f"core {bot} is the bot's as well"
    return f"on core{'s' if len(cores) > 1 else ''} {', '.join(map(str, cores))}; {rest}"
