"""What ``voicepool top`` looks like: tables that fit 80 columns, with colour where there is some.

Nothing is told by colour alone: what happened just now stands without a time, what happened earlier with one.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from voicepool.cli._top_rows import CallRow, TopView, WorkerRow

__all__ = ["screen"]

_STATES: Final = {
    "ready": "green",
    "spare": "cyan",
    "draining": "cyan",
    "starting": "yellow",
    "restarting": "yellow",
    "looping": "bold red",
    "stopped": "dim",
    "playing": "green",
    "paused": "cyan",
    "silent": "dim",
    "interrupted": "bold red",
}
_LATE_MS: Final = 20.0
"""A packet that is later than the next one is due."""
_BUSY: Final = 0.85
_LOW_FRAMES: Final = 2
_SLOW_MS: Final = 300.0
_LAG_MS: Final = 250.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_FRESH_S: Final = 60.0
"""A process that is younger tells why the one before it has ended."""


def screen(view: TopView, *, rows: int | None = None) -> RenderableType:
    """Return what is to be seen.

    Parameters
    ----------
    view
        The figures.
    rows
        Of how many lines the list of calls may be; None for as many as they take.
    """
    listed = view.calls if rows is None else _fitting(view.calls, rows)
    parts: list[RenderableType] = [_heading(view), Text(), _workers(view.workers)]
    parts += [
        Text(f" {worker.name}: {text}", "yellow") for worker in view.workers for text in _complaints(worker)
    ]
    parts += [Text(), _calls(listed)]
    if view.calls_total > len(listed):
        parts.append(Text(f" … and {view.calls_total - len(listed)} more calls", "dim"))
    return Group(*parts)


def _fitting(calls: list[CallRow], rows: int) -> list[CallRow]:
    """Return the first calls, as many as fit so many lines."""
    lines = list(itertools.accumulate(max(1, len(call.troubles)) for call in calls))
    return calls[: bisect.bisect_right(lines, rows)]


def _heading(view: TopView) -> Text:
    up = sum(worker.state in {"ready", "draining"} for worker in view.workers)
    spare = sum(worker.state == "spare" for worker in view.workers)
    text = Text()
    text.append("voicepool top", "bold")
    text.append(f"  {view.program} (pid {view.pid})\n")
    text.append(f"workers {up} of {view.wanted}", "" if up >= view.wanted else "bold red")
    text.append(f"{f' + {spare} spare' if spare else ''}   calls {view.calls_total}")
    text.append(f"   frames sent {view.sent_hz:,.0f}/s, missing ")
    text.append(f"{view.nulled_hz:,.1f}/s\n", "bold red" if view.nulled_hz else "")
    text.append(f"went on elsewhere: {view.recovered} recovered, {view.moved} moved, {view.lost} lost")
    ends = {reason: count for reason, count in view.exits.items() if count}
    text.append(f"   exits: {_counted(ends) or 'none'}\n")
    text.append(f"bad seconds so far: {_counted(view.stutters) or 'none'}")
    return text


def _workers(workers: list[WorkerRow]) -> Table:
    table = _table()
    table.add_column("worker", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("pid", "core", "calls", "cpu", "enc", "cx", "p99 ms", "max ms", "MiB", "again"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        table.add_row(
            worker.name,
            Text(worker.state, _STATES.get(worker.state, "")),
            _or_dash(worker.pid),
            _or_dash(worker.core),
            str(worker.calls),
            _percent(worker.cpu_share),
            _percent(worker.encoder_share),
            _or_dash(worker.complexity),
            _warned(f"{worker.late_p99_ms:.1f}", alarming=worker.late_p99_ms >= _LATE_MS),
            _warned(f"{worker.late_max_ms:.1f}", alarming=worker.late_max_ms >= _LATE_MS),
            "-" if worker.memory_mib is None else f"{worker.memory_mib:.0f}",
            _warned(str(worker.restarts), alarming=worker.restarts > 0),
        )
    return table


def _complaints(worker: WorkerRow) -> Iterator[str]:
    """Say what is wrong with a worker, and where to look."""
    if worker.state in {"looping", "restarting"}:
        yield worker.last_error or "no reason known"
        return
    if worker.restarts and worker.uptime_s is not None and worker.uptime_s < _FRESH_S:
        yield f"started again {worker.uptime_s:.0f} s ago: {worker.last_error or 'no reason known'}"
    if worker.stalled_ms:
        yield (
            f"{worker.stalled_ms:,.0f} ms were not sent, since it did not get to run: was it stopped, or its "
            "core taken by a CPU quota or other programs?"
        )
    if worker.complexity is not None and worker.complexity < (worker.best_complexity or 0):
        yield (
            f"encodes with Opus complexity {worker.complexity} instead of {worker.best_complexity}, since it "
            "has too much to do: more workers help, or fewer filters"
        )
    if worker.rescues:
        times = "once" if worker.rescues == 1 else f"{worker.rescues} times"
        yield f"its encoder fell behind and was lifted {times}: something else uses its core"
    if worker.loop_lag_ms >= _LAG_MS:
        yield f"its control loop was up to {worker.loop_lag_ms:,.0f} ms late"


def _calls(calls: list[CallRow]) -> Table:
    table = _table()
    table.add_column("guild", no_wrap=True)
    table.add_column("at", no_wrap=True)
    table.add_column("plays", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("where", "ring", "rtt ms", "dave"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("trouble", ratio=2, no_wrap=True, overflow="ellipsis")
    for call in calls:
        is_low = call.state == "playing" and call.ring_low <= _LOW_FRAMES
        table.add_row(
            str(call.guild),
            call.worker,
            Text(call.label or call.state, _STATES.get(call.state, "")),
            _clock(call.position_s) if call.label else "-",
            _warned(str(call.ring_low), alarming=is_low) if call.label else "-",
            "-" if call.rtt_ms is None else _warned(f"{call.rtt_ms:.0f}", alarming=call.rtt_ms >= _SLOW_MS),
            f"v{call.dave_version}" if call.dave_version else "-",
            _trouble(call),
        )
    return table


def _trouble(call: CallRow) -> Text:
    if call.state == "interrupted":
        return Text("interrupted now", "bold red")
    if call.troubles:
        return Text("\n".join(_sorted(call.troubles)), "bold red")
    if not call.before:
        return Text()
    return Text(f"{_ago(call.suffered_s)}: {_counted(call.before)}", "dim")


def _table() -> Table:
    return Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=True)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(_sorted(counts))


def _sorted(counts: dict[str, int]) -> list[str]:
    most = sorted(counts.items(), key=lambda item: -item[1])
    return [f"{name} {count}" for name, count in most]


def _ago(since_s: float | None) -> str:
    if since_s is None:
        return "earlier"
    if since_s < _MINUTE_S:
        return f"{since_s:.0f} s ago"
    return f"{since_s / _MINUTE_S:.0f} min ago" if since_s < _HOUR_S else f"{since_s / _HOUR_S:.0f} h ago"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _percent(share: float | None) -> Text:
    if share is None:
        return Text("-")
    return _warned(f"{share:.0%}", alarming=share >= _BUSY)


def _warned(text: str, *, alarming: bool) -> Text:
    return Text(text, "bold red" if alarming else "")


def _clock(position_s: float) -> str:
    minutes, seconds = divmod(int(position_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
