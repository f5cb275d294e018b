"""``voicepool doctor``: what is installed and active here, and how to fix what is missing.

Most of it is asked of a worker process, started the way a pool starts one, because that is where sound is
made. The exit code is 0 if sound can be made, 1 if not.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Final

import msgspec

from voicepool._machine.cores import read_topology
from voicepool._settings.file import variable
from voicepool.cli._diagnosis import (
    Check,
    Requirement,
    Verdict,
    WorkerFacts,
    judge_dependency,
    judge_python,
    judge_worker,
)
from voicepool.cli._diagnosis_machine import (
    LinkFacts,
    judge_cores,
    judge_files,
    judge_links,
    judge_workers,
)
from voicepool.config import PoolConfig
from voicepool.errors import ConfigError, WorkerStartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["Diagnosis", "add_arguments", "ask_worker", "examine", "render", "run"]

_WIDTH: Final = 100
_REASON_CHARACTERS: Final = 300
_COLOURS: Final = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "31"}
"""ECMA-48 foreground colours: green, yellow, red."""


class Diagnosis(msgspec.Struct, frozen=True):
    """The whole report; ``--json`` prints it as one object.

    Attributes
    ----------
    sound
        Whether sound can be made: no check has failed.
    voicepool
        Our version.
    checks
        The lines, in the order they are shown.
    worker
        What the worker process reported; None if it could not be asked.
    """

    sound: bool
    voicepool: str
    checks: list[Check]
    worker: WorkerFacts | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument(
        "--config", metavar="FILE", help="the TOML file to check with (default: as a pool finds it)"
    )


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return the exit code."""
    diagnosis = examine(args.config)
    if args.json:
        print(msgspec.json.encode(diagnosis).decode())
    else:
        print(render(diagnosis, colour=_wants_colour(sys.stdout)))
    return 0 if diagnosis.sound else 1


def examine(config_file: str | None = None, worker_command: Sequence[str] | None = None) -> Diagnosis:
    """Look at everything. Takes about a second.

    Parameters
    ----------
    config_file
        What `PoolConfig.load` is given.
    worker_command
        How to start a worker; None for the way a pool does it.
    """
    # It knows ZeroMQ, which `--help` need not wait for.
    from voicepool._process.launcher import worker_command as launch_command

    command = worker_command or launch_command()
    from voicepool._machine.preflight import FileNeeds, most_workers, read_file_limit

    config, config_check = _load_config(config_file)
    topology = read_topology()
    needs = FileNeeds.of(workers=most_workers(config), calls=config.max_calls_per_worker)
    checks = [
        judge_python(sys.version_info[:3], platform.python_implementation()),
        Check("platform", Verdict.OK, platform.platform()),
        config_check,
        judge_cores(topology),
        judge_workers(config, topology, config.resolve_workers()),
        judge_files(needs, read_file_limit()),
        judge_links(config, _look_at_links()),
        *_judge_dependencies(),
    ]
    facts = None
    try:
        facts = ask_worker(command, libopus=config.libopus, timeout_s=config.start_timeout_s)
    except WorkerStartError as error:
        fix = f"Try it by hand: {' '.join(command)} --doctor"
        checks.append(Check("worker process", Verdict.FAIL, str(error), fix))
    else:
        checks += judge_worker(facts, config, sys.platform)
    sound = all(check.verdict is not Verdict.FAIL for check in checks)
    return Diagnosis(sound=sound, voicepool=_version("voicepool") or "unknown", checks=checks, worker=facts)


def ask_worker(
    command: Sequence[str], *, libopus: str | os.PathLike[str] | None, timeout_s: float
) -> WorkerFacts:
    """Start a worker process for its report alone, and wait for its end.

    Parameters
    ----------
    command
        How to start a worker; ``--doctor`` is added.
    libopus
        The library that the config names, or None.
    timeout_s
        Seconds after which the process is killed.

    Raises
    ------
    WorkerStartError
        It could not be started, failed, hung, or printed something else; the text has its reason in one line.
    """
    from voicepool._process.launcher import worker_environment

    env = worker_environment(os.environ)
    if libopus is not None:
        env[variable("libopus")] = os.fspath(libopus)
    try:
        done = subprocess.run(
            [*command, "--doctor"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=env,
        )
    except OSError as error:
        raise WorkerStartError(f"{command[0]} cannot be started ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise WorkerStartError(f"no report within {timeout_s:g} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise WorkerStartError(f"it ended with exit code {done.returncode}: {said[-1][:_REASON_CHARACTERS]}")
    try:
        return msgspec.json.decode(done.stdout, type=WorkerFacts)
    except msgspec.MsgspecError as error:
        raise WorkerStartError(f"its report cannot be read: {error}") from error


def render(diagnosis: Diagnosis, *, colour: bool) -> str:
    """Lay the report out as a table: verdict, subject, what is there, and underneath what to do.

    Parameters
    ----------
    diagnosis
        The report.
    colour
        Whether the verdicts get terminal colours.
    """
    column = max(len(check.name) for check in diagnosis.checks)
    indent = " " * (len("fail") + 2 + column + 2)
    lines = [f"voicepool {diagnosis.voicepool}", ""]
    for check in diagnosis.checks:
        word = f"{check.verdict:<4}"
        shown = f"\x1b[{_COLOURS[check.verdict]}m{word}\x1b[0m" if colour else word
        text = _wrap(check.found, indent)
        lines.append(f"{shown}  {check.name:<{column}}  {text.removeprefix(indent)}")
        if check.fix:
            lines.append(_wrap(f"-> {check.fix}", indent))
    warnings = sum(check.verdict is Verdict.WARN for check in diagnosis.checks)
    failures = sum(check.verdict is Verdict.FAIL for check in diagnosis.checks)
    verdict = (
        "Sound can be made." if diagnosis.sound else "No sound can be made until the failures are fixed."
    )
    lines += ["", f"{verdict} Failures: {failures}, warnings: {warnings}."]
    return "\n".join(lines)


def _load_config(file: str | None) -> tuple[PoolConfig, Check]:
    try:
        config = PoolConfig.load(file)
    except ConfigError as error:
        return PoolConfig(), Check(
            "config",
            Verdict.FAIL,
            str(error),
            "Mend the setting; what follows was checked with the defaults.",
        )
    defaults = PoolConfig().as_dict()
    changed = [f"{key} = {value!r}" for key, value in config.as_dict().items() if value != defaults[key]]
    return config, Check("config", Verdict.OK, ", ".join(changed) or "all settings at their defaults")


def _look_at_links() -> LinkFacts:
    from voicepool.ipc.endpoint import SocketDirectory, has_curve, has_unix_sockets

    if not has_unix_sockets():
        return LinkFacts(unix=False, curve=has_curve())
    try:
        directory = SocketDirectory()
    except OSError as error:
        return LinkFacts(unix=True, curve=has_curve(), problem=error.strerror or str(error))
    directory.close()
    return LinkFacts(unix=True, curve=has_curve(), place=str(directory.path.parent))


def _judge_dependencies() -> list[Check]:
    try:
        requirements = importlib.metadata.requires("voicepool") or []
    except importlib.metadata.PackageNotFoundError:
        fix = "Install it, so that its dependencies come with it: pip install voicepool."
        return [Check("dependencies", Verdict.WARN, "voicepool runs from its source, without metadata", fix)]
    wanted = [Requirement.parse(line) for line in requirements]
    return [judge_dependency(requirement, _version(requirement.name)) for requirement in wanted]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _wants_colour(stream: TextIO) -> bool:
    # https://no-color.org: any value that is not empty switches colours off.
    return stream.isatty() and not os.environ.get("NO_COLOR") and sys.platform != "win32"


def _wrap(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
