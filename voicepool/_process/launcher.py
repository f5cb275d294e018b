"""Who starts a worker process, and with which command and environment; what it is told is for `worker`.

`Launcher` is the place where another engine can start workers elsewhere. `LocalLauncher` starts them on this
machine, with this interpreter.
"""

from __future__ import annotations

import os
import signal
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from voicepool._process.child import LocalProcess, process_state
from voicepool.ipc.endpoint import Bootstrap

__all__ = [
    "Inspectable",
    "LaunchedProcess",
    "Launcher",
    "LocalLauncher",
    "LocalProcess",
    "describe_exit",
    "process_state",
    "worker_command",
    "worker_environment",
]


class LaunchedProcess(Protocol):
    """A worker process, wherever it runs."""

    @property
    def pid(self) -> int | None:
        """Its process id; None where that means nothing here."""

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines it wrote, for the text of an error."""

    async def wait(self) -> int:
        """Wait until it has ended and all it held here is released.

        Returns
        -------
        int
            Its exit status; negative is the number of the signal that killed it.
        """

    def say_goodbye(self) -> None:
        """Let it see that the bot is done with it: close what stands for the bot's life."""

    def terminate(self) -> None:
        """Ask the system to end it. Does nothing when it has ended."""

    def kill(self) -> None:
        """End it at once. Does nothing when it has ended."""


class Launcher(Protocol):
    """Starts worker processes."""

    async def launch(self, bootstrap: Bootstrap) -> LaunchedProcess:
        """Start one and hand it its bootstrap.

        When cancelled, no process is left behind.

        Raises
        ------
        OSError
            The system cannot start it.
        """


@runtime_checkable
class Inspectable(Protocol):
    """A `LaunchedProcess` that can be asked what it is doing; one that runs elsewhere need not be."""

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped, as by SIGSTOP or a debugger, so that it cannot do anything."""

    async def dump_stacks(self, timeout_s: float) -> Sequence[str]:
        """Have it write the stacks of all its threads, and return the lines; none if it does not.

        Parameters
        ----------
        timeout_s
            How long to wait for them.
        """


class LocalLauncher:
    """Starts workers as children of this process.

    The child is in a session of its own, so that Ctrl-C in the terminal reaches the bot only, and the bot
    ends its workers in order. Its standard input carries the bootstrap line and stays open: its end of file
    tells the worker that the bot is gone. What it writes goes to this process's standard error, and the last
    lines are kept. The event loop empties that pipe: a worker must not depend on it to send audio.

    Parameters
    ----------
    command
        The command line; the default runs the workers of this very package.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = tuple(command) if command is not None else worker_command()

    async def launch(self, bootstrap: Bootstrap) -> LocalProcess:
        """Start one; see `Launcher.launch`."""
        environment = worker_environment(os.environ)
        return await LocalProcess.start(self._command, environment, bootstrap.to_line())


def worker_command(*arguments: str) -> tuple[str, ...]:
    """Return the command line that runs the workers of this very package.

    ``-P`` keeps the current directory out of the worker's import path: a file ``av.py`` or a folder
    ``voicepool`` beside the bot must not be taken for the real one.
    """
    return (sys.executable, "-P", "-m", "voicepool.workers", *arguments)


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the child imports the same voicepool as this process.

    An installed package is found by itself. A checkout or a vendored copy may have been found through the
    bot's own directory or ``sys.path``, which a child does not inherit, so its folder goes first.
    """
    environment = dict(environ)
    home = str(Path(__file__).absolute().parents[2])
    if home not in {str(Path(folder).absolute()) for folder in _site_folders()}:
        others = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{home}{os.pathsep}{others}" if others else home
    return environment


def describe_exit(status: int) -> str:
    """Say how a process ended: "exited with code 3", "was killed by SIGKILL"."""
    if status >= 0:
        return f"exited with code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _site_folders() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages()]
