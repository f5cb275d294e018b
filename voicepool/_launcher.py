"""Starting a worker process, and nothing else: what it is told and what it says is `voicepool._worker`'s.

`Launcher` is the place where another engine can start workers elsewhere. `LocalLauncher` starts them on this
machine, with this interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import site
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from voicepool.ipc.endpoint import Bootstrap

__all__ = [
    "LaunchedProcess",
    "Launcher",
    "LocalLauncher",
    "describe_exit",
    "worker_command",
    "worker_environment",
]

KEPT_LINES: Final = 20
KEPT_CHARS: Final = 500
_CHUNK_BYTES: Final = 8_192
_OUTPUT_GRACE_S: Final = 1.0
"""How long output is still read after the exit; only a stray child of the worker keeps it open longer."""


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
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=worker_environment(os.environ),
            **_own_group(),
        )
        launched = LocalProcess(process)
        try:
            await launched.tell(bootstrap.to_line())
        except BaseException:
            launched.kill()
            await launched.wait()
            raise
        return launched


class LocalProcess:
    """A child process; see `LaunchedProcess`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._output = asyncio.create_task(self._relay_output(), name=f"voicepool output of {process.pid}")

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines it wrote, each cut to a bearable length."""
        return tuple(self._lines)

    async def tell(self, line: bytes) -> None:
        """Write to its standard input. That it has ended already is seen by `wait`."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(line)
            await self._process.stdin.drain()

    async def wait(self) -> int:
        """Wait for its end; see `LaunchedProcess.wait`."""
        status = await self._process.wait()
        try:
            await asyncio.wait({self._output}, timeout=_OUTPUT_GRACE_S)
        finally:
            self._output.cancel()
            self.say_goodbye()
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        return status

    def say_goodbye(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def terminate(self) -> None:
        """Send SIGTERM, or what the platform has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL, or what the platform has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _relay_output(self) -> None:
        assert self._process.stdout is not None
        rest = ""
        while chunk := await self._process.stdout.read(_CHUNK_BYTES):
            text = chunk.decode(errors="replace")
            if sys.stderr is not None:
                # It may be closed; that is no reason to let the worker block on a full pipe.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(text)
            *lines, rest = (rest + text).split("\n")
            self._lines.extend(line[:KEPT_CHARS] for line in lines if line.strip())
            rest = rest[:KEPT_CHARS]
        if rest.strip():
            self._lines.append(rest)


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
    home = str(Path(__file__).absolute().parents[1])
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


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
