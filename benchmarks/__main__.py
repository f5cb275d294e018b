"""``python -m benchmarks [NAME ...] [--list] [--quick] [--json FILE]``: run, print a table, write JSON."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import ChildError
from benchmarks.machine import Cores, commit, describe
from benchmarks.registry import BENCHMARKS, Options
from benchmarks.report import Report, render, to_json
from benchmarks.rig import BenchmarkError
from voicepool.errors import VoicePoolError

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line names.

    Returns
    -------
    int
        0 when they ran, whether or not the goals are met: a busy machine is no defect. 1 when one could not
        run, 130 after Ctrl-C.
    """
    parser = _parser()
    wanted = parser.parse_args(arguments)
    if unknown := [name for name in wanted.names if name not in BENCHMARKS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if wanted.json is not None and not wanted.json.parent.is_dir():
        # Known before the minutes are spent, not after.
        parser.error(f"there is no folder {wanted.json.parent} to write {wanted.json.name} to")
    if wanted.list:
        for benchmark in BENCHMARKS.values():
            print(f"{benchmark.name:12} {benchmark.question}")
        return 0
    try:
        report = asyncio.run(_run(wanted.names or list(BENCHMARKS), quick=wanted.quick))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (BenchmarkError, ChildError, VoicePoolError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(render(report))
    if wanted.json is not None:
        text = json.dumps(to_json(report), indent=1, ensure_ascii=False)
        wanted.json.write_text(f"{text}\n", encoding="utf-8")
    return 0


async def _run(names: Sequence[str], *, quick: bool) -> Report:
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    options = Options(cores=Cores.plan(), quick=quick)
    results = []
    for name in names:
        print(f"benchmarks: {name} is running", file=sys.stderr, flush=True)
        results.append(await BENCHMARKS[name].load()(options))
    return Report(machine=describe(), commit=commit(), date=date, quick=quick, results=results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure voicepool.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--list", action="store_true", help="tell what there is, and end")
    parser.add_argument("--quick", action="store_true", help="run briefly; the figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
