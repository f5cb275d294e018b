"""``voicepool top``: a live view of the workers and calls of a pool that runs, in a bot of the same user.

Workers come in the order of their places, with how late packets left since the last look; calls that suffer
come first, with the cause of it. It only looks: nothing of the pool can be changed from here. A pool with
``attach = false`` is not shown.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicepool.cli._top_client import PoolGoneError, PoolSilentError, RunningPool, ask, find
from voicepool.cli._top_rows import TopView, advance, compare, has_news
from voicepool.errors import VoicePoolError

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

__all__ = ["add_arguments", "run"]

_PLAIN_COLUMNS: Final = 80
_PICTURE_COLUMNS: Final = 96
_SHORTEST_S: Final = 0.1
_LONGEST_S: Final = 60.0
_MOST_LOOKS: Final = 3
"""Until a worker has reported; as a rule one is enough."""


class _NoSuchPoolError(VoicePoolError):
    """Raised when there is no pool to look at, or more than one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--pid", metavar="N", help="process id of the bot, if several have pools")
    parser.add_argument("--once", action="store_true", help="print what is seen in one interval, and leave")
    parser.add_argument("--json", action="store_true", help="as --once, but as one JSON object")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between two looks (1)"
    )
    # For the picture in the README.
    parser.add_argument("--svg", type=Path, metavar="FILE", help="as --once, but as a picture")


def run(args: argparse.Namespace) -> int:
    """Look, show, and return the exit code."""
    if not _SHORTEST_S <= args.interval <= _LONGEST_S:
        return _fail(f"--interval must be from {_SHORTEST_S:g} to {_LONGEST_S:g} s; it is {args.interval:g}")
    if not args.json and importlib.util.find_spec("rich") is None:
        return _fail('it needs rich; install it (pip install "voicepool[top]"), or use --json')
    pool = _choose(find(), args.pid)
    try:
        if args.json:
            import msgspec

            print(msgspec.json.encode(_look(pool, args.interval)).decode())
        elif args.svg is not None:
            _draw(_look(pool, args.interval), args.svg)
        elif args.once or not sys.stdout.isatty():
            _print(_look(pool, args.interval))
        else:
            return _watch(pool, args.interval)
    except KeyboardInterrupt:
        # That is how one leaves.
        return 0
    return 0


def _choose(pools: list[RunningPool], pid: str | None) -> RunningPool:
    """Return the pool to look at.

    Raises
    ------
    _NoSuchPoolError
        There is none; or there are several, which the text lists.
    """
    wanted = [pool for pool in pools if pid is None or pid in {pool.pid, pool.name}]
    if len(wanted) == 1:
        return wanted[0]
    if wanted:
        raise _NoSuchPoolError("\n  ".join(["there are several pools, name one with --pid:", *_list(wanted)]))
    if pid is None:
        raise _NoSuchPoolError(
            "no pool of this user runs here; start a bot, or see whether its settings have attach = false"
        )
    raise _NoSuchPoolError("\n  ".join([f"no pool runs in process {pid}; there are:", *_list(pools)]))


def _list(pools: list[RunningPool]) -> list[str]:
    return [_describe(pool) for pool in pools] or ["none"]


def _describe(pool: RunningPool) -> str:
    try:
        status = ask(pool)
    except VoicePoolError as error:
        return f"{pool.name}  ({error})"
    return f"{pool.name}  {status.program}: {len(status.workers)} workers, {status.calls_total} calls"


def _look(pool: RunningPool, interval_s: float) -> TopView:
    before = now = ask(pool)
    for _ in range(_MOST_LOOKS):
        _pause(interval_s)
        now = ask(pool)
        if has_news(before, now):
            break
    return compare(before, now)


def _print(view: TopView) -> None:
    from rich.console import Console

    from voicepool.cli._top_screen import screen

    width = None if sys.stdout.isatty() else _PLAIN_COLUMNS
    Console(color_system=None, highlight=False, width=width).print(screen(view))


def _draw(view: TopView, file: Path) -> None:
    import io
    import re

    from rich.console import Console

    from voicepool.cli._top_screen import screen

    console = Console(record=True, width=_PICTURE_COLUMNS, file=io.StringIO(), highlight=False)
    console.print(screen(view))
    picture = console.export_svg(title="voicepool top")
    # One that fetches fonts from elsewhere would tell others who looks at it.
    file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")


def _watch(pool: RunningPool, interval_s: float) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from voicepool.cli._top_screen import screen

    console = Console(highlight=False)
    try:
        before = last = ask(pool)
        with Live(Text(" looking …"), console=console, screen=True, auto_refresh=False) as live:
            while True:
                _pause(interval_s)
                try:
                    now = ask(pool)
                except PoolSilentError as error:
                    live.update(Text(f" {error}", "bold red"), refresh=True)
                    continue
                before, last = advance(before, last, now), now
                view = compare(before, now)
                live.update(screen(view, rows=_room(console, view)), refresh=True)
    except PoolGoneError as error:
        print(f"voicepool top: {error}", file=sys.stderr)
        return 0


def _pause(interval_s: float) -> None:
    time.sleep(interval_s)


def _room(console: Console, view: TopView) -> int:
    """Return how many lines are left for calls, below all else."""
    from voicepool.cli._top_screen import screen

    return console.height - len(console.render_lines(screen(view, rows=0), pad=False))


def _fail(problem: str) -> int:
    print(f"voicepool top: {problem}", file=sys.stderr)
    return 1
