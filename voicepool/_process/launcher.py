"""Starting a worker process, and nothing else: what it is told and what it says is for `worker`.

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

from voicepool._process.leash import Leash
from voicepool.ipc.endpoint import Bootstrap

__all__ = [
    "Inspectable",
    "LaunchedProcess",
    "Launcher",
    "LocalLauncher",
    "describe_exit",
    "process_state",
    "worker_command",
    "worker_environment",
]

KEPT_LINES: Final = 20
KEPT_CHARS: Final = 500
MAX_DUMP_LINES: Final = 2_000
"""Of the stacks of all threads."""
_DUMP_PAUSE_S: Final = 0.1
"""After which what has come of the stacks is all there is."""
_OUTPUT_GRACE_S: Final = 0.1
"""How long output is still read after the exit; only a stray child of the worker keeps it open longer."""
_CLOSING_S: Final = 1.0
_STOPPED: Final = frozenset("Tt")

_T = TypeVar("_T")


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
        spawning = asyncio.create_task(self._spawn(bootstrap.to_line()), name="voicepool launch")
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # A start cannot be broken off half-way: event loops do not agree on what is left of it then.
            await asyncio.wait({spawning})
            if not spawning.cancelled() and spawning.exception() is None:
                process = spawning.result()
                process.kill()
                await process.wait()
            raise

    async def _spawn(self, line: bytes) -> LocalProcess:
        leash, read_end = Leash.with_line(line)
        try:
            transport, ear = await asyncio.get_running_loop().subprocess_exec(
                _Ear,
                *self._command,
                stdin=read_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=worker_environment(os.environ),
                **_own_group(),
            )
        except BaseException:
            leash.let_go()
            raise
        finally:
            os.close(read_end)
        return LocalProcess(transport, ear, leash)


class LocalProcess:
    """A child process; see `LaunchedProcess` and `Inspectable`.

    In a fork of the process that started it, it is nobody's child, and nothing here touches it.

    Parameters
    ----------
    transport, ear
        From the event loop.
    leash
        Its standard input.
    """

    def __init__(self, transport: asyncio.SubprocessTransport, ear: _Ear, leash: Leash) -> None:
        self._transport = transport
        self._ear = ear
        self._leash = leash
        self._owner = os.getpid()
        self._pid: Final = transport.get_pid()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._pid

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines it wrote, each cut to a bearable length."""
        return tuple(self._ear.lines)

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped; False where the platform does not tell."""
        return process_state(self._pid) in _STOPPED

    async def wait(self) -> int:
        """Wait for its end; see `LaunchedProcess.wait`.

        The end of the process is what counts. A stray child of it may keep its output open for ever.
        """
        status = await asyncio.shield(self._ear.exited)
        try:
            # Whatever it has written is in the pipe already.
            await asyncio.wait({self._ear.silent}, timeout=_OUTPUT_GRACE_S)
        finally:
            self._leash.let_go()
            self._transport.close()
        await asyncio.wait({self._ear.closed}, timeout=_CLOSING_S)
        return status

    async def dump_stacks(self, timeout_s: float) -> Sequence[str]:
        """Send SIGUSR1, at which a worker writes its stacks, and collect what comes."""
        if not hasattr(signal, "SIGUSR1"):
            return ()
        with self._ear.collecting() as dump:
            self._signal(signal.SIGUSR1)
            deadline = asyncio.get_running_loop().time() + timeout_s
            written = -1
            while not self._ear.exited.done() and asyncio.get_running_loop().time() < deadline:
                if dump and len(dump) == written:
                    # It is written without a pause, by no thread that could be held up.
                    break
                written = len(dump)
                await asyncio.wait({self._ear.exited}, timeout=_DUMP_PAUSE_S)
            return tuple(dump)

    def say_goodbye(self) -> None:
        """Close its standard input."""
        self._leash.let_go()

    def terminate(self) -> None:
        """Send SIGTERM, or what the platform has."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, or what the platform has."""
        self._signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if os.getpid() == self._owner and not self._ear.exited.done():
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(number)


class _Ear(asyncio.SubprocessProtocol):
    """Hears of the end of a process, and what it says, which is passed on to standard error."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        """Its status, as soon as it has ended."""
        self.silent: asyncio.Future[None] = loop.create_future()
        """Done when nobody can write any more."""
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when everything of it is released."""
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = ""
        self._dump: list[str] | None = None
        self._transport: asyncio.SubprocessTransport | None = None

    @contextlib.contextmanager
    def collecting(self) -> Iterator[list[str]]:
        """Collect the lines that come instead of passing them on."""
        self._dump = []
        try:
            yield self._dump
        finally:
            self._dump = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of what the process is reached by."""
        # uvloop's has the same methods and another base.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Take what it says."""
        text = data.decode(errors="replace")
        if self._dump is None and sys.stderr is not None:
            # It may be closed; that is no reason to let the worker block on a full pipe.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
        *lines, rest = (self._rest + text).split("\n")
        self._keep(lines)
        self._rest = rest[:KEPT_CHARS]

    def pipe_connection_lost(self, _fd: int, _exc: Exception | None) -> None:
        """Take note that nothing more comes."""
        self._keep([self._rest])
        self._rest = ""
        _settle(self.silent, None)

    def process_exited(self) -> None:
        """Take note of its end, whoever still holds its output open."""
        assert self._transport is not None
        status = self._transport.get_returncode()
        assert status is not None
        _settle(self.exited, status)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Take note that all is over."""
        _settle(self.silent, None)
        _settle(self.closed, None)

    def _keep(self, lines: Sequence[str]) -> None:
        said = [line[:KEPT_CHARS] for line in lines if line.strip()]
        if self._dump is None:
            self.lines.extend(said)
        else:
            self._dump.extend(said[: MAX_DUMP_LINES - len(self._dump)])


def process_state(pid: int) -> str | None:
    """Return the letter for what a process does, as in ``ps`` (R, S, D, T, t, Z); None where nobody tells.

    Parameters
    ----------
    pid
        Its process id.
    """
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name of the program, in parentheses, may hold anything.
    return facts.rpartition(")")[2].split()[0]


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


def _settle(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _site_folders() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages()]


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
