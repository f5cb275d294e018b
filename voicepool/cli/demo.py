"""``voicepool demo``: hear it and check every frame, without Discord and without a bot of one's own.

A stand-in for Discord, an ordinary hikari bot and a pool of workers play a piece of music in several guilds.
Calls are end-to-end encrypted (DAVE), as Discord demands. What the stand-in received and decrypted is written
as one WAV file a guild and compared with the source. The exit code is 0 only if every frame arrived and
sounds like what was played.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voicepool.config import PoolConfig

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]

_NEEDED: Final = ("hikari", "aiohttp")
_MOST_GUILDS: Final = 50
"""Each is joined and left, and the main gateway takes 120 messages a minute (Gateway, Rate Limiting)."""
_MOST_SECONDS: Final = 600.0
_SPARE_S: Final = 5.0
"""How much more of the source is compared with than is played: guilds do not all begin at once."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--guilds", type=int, default=8, metavar="N", help="how many guilds listen (8)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="how many worker processes (2)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to play (10)")
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="what to play (default: a piece of music of our own)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), metavar="DIR", help="where the WAV files go (demo-out)"
    )
    parser.add_argument("--no-dave", action="store_true", help="do without end-to-end encryption (DAVE)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument(
        "--config", metavar="FILE", help="settings of the pool, a TOML file (default: as a pool finds it)"
    )


def run(args: argparse.Namespace) -> int:
    """Play, print, and return the exit code."""
    refused = _refuse(args)
    if refused is not None:
        return _fail(refused)
    config = PoolConfig.load(args.config)
    config = dataclasses.replace(config, workers=args.workers, dave=config.dave and not args.no_dave)

    # Only now: they need what may be missing.
    from voicepool.cli._demo_bot import DemoError
    from voicepool.cli._demo_media import DEMO_MUSIC, decode
    from voicepool.cli._demo_progress import Progress
    from voicepool.cli._demo_report import render, to_json, verdict
    from voicepool.cli._demo_run import Plan, perform
    from voicepool.testing.stand_in_values import StandInError

    # As `AudioFile` does it: Path's own raises where there is no such user.
    source = DEMO_MUSIC if args.source is None else Path(os.path.expanduser(args.source))  # noqa: PTH111
    plan = Plan(
        guilds=args.guilds,
        seconds=args.seconds,
        source=source,
        music=decode(source, args.seconds + _SPARE_S),
        out=args.out,
        config=config,
    )
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with Progress() as progress:
            report = asyncio.run(perform(plan, progress))
    except (DemoError, StandInError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or args.out}")
    print(json.dumps(to_json(report), ensure_ascii=False) if args.json else render(report))
    problem = verdict(report)
    return 0 if problem is None else _fail(problem)


def _refuse(args: argparse.Namespace) -> str | None:
    """Say what is wrong with the arguments or the installation; None when nothing is."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f'it needs {" and ".join(missing)}; install them: pip install "voicepool[hikari,testing]"'
    if not 1 <= args.guilds <= _MOST_GUILDS:
        return f"--guilds must be from 1 to {_MOST_GUILDS}; it is {args.guilds}"
    if not 0 < args.seconds <= _MOST_SECONDS:
        return f"--seconds must be more than 0 and at most {_MOST_SECONDS:g}; it is {args.seconds:g}"
    return None


def _fail(problem: str) -> int:
    print(f"voicepool demo: {problem}", file=sys.stderr)
    return 1
