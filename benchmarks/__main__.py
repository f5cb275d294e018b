"""``python -m benchmarks [NAME ...]``: run benchmarks, print a table, write JSON or Markdown if asked to."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import ChildError
from benchmarks.machine import ROOT, Cores, commit, describe
from benchmarks.outcomes import markdown, spliced
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Report, render, to_json
from benchmarks.rig import BenchmarkError
from voicepool.errors import VoicePoolError

__all__ = ["main"]

_INTERRUPTED = 130
_WITH_OUTCOMES = "life_cycle"
_MOST_MINUTES = 24 * 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line names.

    Returns
    -------
    int
        0 when they ran, whether or not the goals are met: a busy machine is no defect. 1 when one could not
        run, or found a fault that does not end as expected; 130 after Ctrl-C.
    """
    parser = _parser()
    wanted = parser.parse_args(arguments)
    if unknown := [name for name in wanted.names if name not in BENCHMARKS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    _check_files(parser, wanted)
    lasting = {name for name, benchmark in BENCHMARKS.items() if benchmark.minutes is not None}
    if wanted.minutes is not None and not lasting & set(wanted.names):
        parser.error(f"--minutes is for {', '.join(sorted(lasting))}; name one of them")
    if wanted.list:
        for benchmark in BENCHMARKS.values():
            print(f"{benchmark.name:12} {benchmark.question}")
        return 0
    names = wanted.names or [name for name in BENCHMARKS if name not in lasting]
    try:
        report = asyncio.run(_run(names, quick=wanted.quick, minutes=wanted.minutes))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (BenchmarkError, ChildError, VoicePoolError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(render(report))
    if wanted.json is not None:
        text = json.dumps(to_json(report), indent=1, ensure_ascii=False)
        wanted.json.write_text(f"{text}\n", encoding="utf-8")
    outcomes = [outcome for result in report.results for outcome in result.outcomes]
    if wanted.markdown is not None:
        document = wanted.markdown.read_text(encoding="utf-8")
        wanted.markdown.write_text(spliced(document, markdown(outcomes)), encoding="utf-8")
    return int(any(outcome.complaint is not None for outcome in outcomes))


def _check_files(parser: argparse.ArgumentParser, wanted: argparse.Namespace) -> None:
    if wanted.json is not None and not wanted.json.parent.is_dir():
        # Known before the minutes are spent, not after.
        parser.error(f"there is no folder {wanted.json.parent} to write {wanted.json.name} to")
    if wanted.markdown is not None:
        _check_markdown(parser, wanted)


def _check_markdown(parser: argparse.ArgumentParser, wanted: argparse.Namespace) -> None:
    if wanted.quick or (wanted.names and _WITH_OUTCOMES not in wanted.names):
        parser.error(f"--markdown is for the whole of {_WITH_OUTCOMES}; name it, and leave --quick out")
    if not wanted.markdown.is_file():
        parser.error(f"there is no {wanted.markdown} to put a table into")
    try:
        spliced(wanted.markdown.read_text(encoding="utf-8"), "")
    except ValueError as error:
        parser.error(f"{wanted.markdown}: {error}")


async def _run(names: Sequence[str], *, quick: bool, minutes: float | None) -> Report:
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    options = Options(cores=Cores.plan(), quick=quick, minutes=minutes)
    results = []
    for name in names:
        print(f"benchmarks: {name} is running", file=sys.stderr, flush=True)
        results.append(await BENCHMARKS[name].load()(options))
    return Report(machine=describe(), commit=commit(), date=date, quick=quick, results=results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure voicepool.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; default: all that take no --minutes",
    )
    parser.add_argument("--list", action="store_true", help="tell what there is, and end")
    parser.add_argument("--quick", action="store_true", help="run briefly; the figures mean little")
    parser.add_argument(
        "--minutes", type=_minutes, metavar="N", help="how long to go on, for those that go on for a time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument(
        "--markdown",
        type=Path,
        nargs="?",
        const=ROOT / "ARCHITECTURE.md",
        metavar="FILE",
        help="put the table of life_cycle between its markers in that file (ARCHITECTURE.md)",
    )
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0.0 < minutes <= _MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and {_MOST_MINUTES:g}")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
