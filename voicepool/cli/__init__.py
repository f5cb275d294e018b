"""The ``voicepool`` command.

Each sub-command is a module beside this one with ``add_arguments(parser)`` and ``run(args) -> int``, the
exit code. Only the module of the command that was asked for is imported: ``voicepool doctor`` must run on a
machine where what ``voicepool demo`` needs is missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Final, Protocol, cast

from voicepool.errors import VoicePoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS: Final = {
    "config": "show, check and explain the settings, or write a file of them",
    "demo": "play music through a pool into stand-ins for Discord, and compare what arrives",
    "doctor": "show what is installed and active, and how to fix what is missing",
    "top": "watch the workers and calls of a pool that runs",
}
_FAILED: Final = 1
_INTERRUPTED: Final = 128 + 2
"""What a shell reports for a process that SIGINT ended."""
_CUT_OFF: Final = 128 + 13
"""And for one that SIGPIPE ended."""


class _Command(Protocol):
    """What the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        The arguments after the program's name; if None, those of this process.

    Returns
    -------
    int
        The exit code: the command's own, 1 after an error of voicepool, 130 after Ctrl-C, 141 if nobody reads
        what it prints.

    Raises
    ------
    SystemExit
        From argparse: after ``--help`` and ``--version``, and with 2 for arguments it does not know.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="voicepool", description="A voice worker pool for Discord bots.")
    parser.add_argument("--version", action="version", version=f"voicepool {_version()}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    command: _Command | None = None
    for name, summary in _COMMANDS.items():
        if importlib.util.find_spec(f"{__name__}.{name}") is None:
            continue
        subparser = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name == chosen:
            command = cast("_Command", importlib.import_module(f"{__name__}.{name}"))
            command.add_arguments(subparser)
    args = parser.parse_args(arguments)
    assert command is not None, "argparse accepts registered commands only"
    try:
        code = command.run(args)
        sys.stdout.flush()
    except VoicePoolError as error:
        print(f"voicepool {chosen}: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who reads has seen enough, as `head` does. What is still to be written must not fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CUT_OFF
    return code


def _version() -> str:
    try:
        return importlib.metadata.version("voicepool")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: running from its source)"
