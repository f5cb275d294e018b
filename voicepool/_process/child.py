"""A worker process on this machine: born in a thread, and kept by a task from before its birth to its end.

Both for the sake of Ctrl-C. Python raises ``KeyboardInterrupt`` in the main thread, wherever that is, so also
between the birth of a process and the note of its number. And at the second one, ``asyncio.run`` cancels all
tasks at once, those included that clear up after the first. Nothing may be left behind even so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from voicepool._process.descriptor import Descriptor
from voicepool._process.hearing import Ending, listen
from voicepool._process.leash import Leash
from voicepool._process.threads import start_thread, tell_loop
from voicepool._process.words import Words

__all__ = ["LocalProcess", "process_state", "spawn"]

_DUMP_PAUSE_S: Final = 0.1
"""After which what has come of the stacks is all there is."""
_OUTLAST_S: Final = 1.0
"""How long a cancellation is put off at most until a process is started, or a killed one has ended."""
_STOPPED: Final = frozenset("Tt")

_T = TypeVar("_T")


class LocalProcess:
    """A child process; see `LaunchedProcess` and `Inspectable` of `voicepool._process.launcher`.

    In a fork of the process that started it, it is nobody's child, and nothing here touches it.

    Parameters
    ----------
    process
        A child, for which nobody else waits.
    leash
        Its standard input; owned from now on.
    output
        What it writes, to be read; owned from now on.

    Raises
    ------
    OSError
        A thread is needed to wait for it, and the system has none to give. The process is killed.
    """

    def __init__(self, process: subprocess.Popen[bytes], leash: Leash, output: Descriptor) -> None:
        self._process = process
        self._leash = leash
        self._owner = os.getpid()
        self._words = Words()
        try:
            self._ending = Ending(process)
            self._output = listen(output, self._words.take)
        except BaseException:
            process.kill()
            # A moment of the loop's, since nothing else could tell of it.
            process.wait()
            raise
        self._keeper: asyncio.Task[Any] | None = None

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], line: bytes) -> Self:
        """Start one, in a session of its own. When cancelled, none is left behind.

        Parameters
        ----------
        command, environment
            What to run, and with which variables.
        line
            What it finds first on its standard input.

        Raises
        ------
        OSError
            The system cannot start it.
        """
        born: asyncio.Future[Self] = asyncio.get_running_loop().create_future()
        keeper = asyncio.create_task(cls._live(command, environment, line, born), name="voicepool child")
        try:
            either: set[asyncio.Future[Any]] = {born, keeper}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            keeper.cancel()
            await _outlast(keeper)
            raise
        if not born.done():
            keeper.result()
        return born.result()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines it wrote, each cut to a bearable length."""
        return self._words.lines

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped; False where the platform does not tell."""
        return process_state(self._process.pid) in _STOPPED

    async def wait(self) -> int:
        """Wait for its end; see `LaunchedProcess.wait`.

        The end of the process is what counts. A stray child of it may keep its output open for ever.
        """
        assert self._keeper is not None
        status: int = await asyncio.shield(self._keeper)
        return status

    async def dump_stacks(self, timeout_s: float) -> Sequence[str]:
        """Send SIGUSR1, at which a worker writes its stacks, and collect what comes."""
        if not hasattr(signal, "SIGUSR1"):
            return ()
        ended = self._ending.status
        with self._words.collecting() as dump:
            self._signal(signal.SIGUSR1)
            deadline = asyncio.get_running_loop().time() + timeout_s
            written = -1
            while not ended.done() and asyncio.get_running_loop().time() < deadline:
                if dump and len(dump) == written:
                    # It is written without a pause, by no thread that could be held up.
                    break
                written = len(dump)
                await asyncio.wait({ended}, timeout=_DUMP_PAUSE_S)
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
        if os.getpid() == self._owner and not self._ending.status.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    @classmethod
    async def _live(
        cls, command: Sequence[str], environment: Mapping[str, str], line: bytes, born: asyncio.Future[Self]
    ) -> int:
        leash, stdin, output, stdout = _pipes(line)

        def start() -> subprocess.Popen[bytes]:
            with stdin, stdout:
                return subprocess.Popen(
                    command,
                    stdin=stdin.fileno(),
                    stdout=stdout.fileno(),
                    stderr=subprocess.STDOUT,
                    env=environment,
                    **_own_session(),
                )

        try:
            child = cls(await spawn(start), leash, output)
        except BaseException:
            leash.let_go()
            output.let_go()
            raise
        child._keeper = asyncio.current_task()
        born.set_result(child)
        return await child._keep()

    async def _keep(self) -> int:
        try:
            await asyncio.wait({self._ending.status})
            await self._output.finish()
        except asyncio.CancelledError:
            # Nobody but `start` and the end of the event loop does that: there will be nobody to reap it.
            self.kill()
            await _outlast(self._ending.status)
            raise
        finally:
            self._leash.let_go()
            self._ending.close()
            self._output.close()
            self._words.end()
        return self._ending.status.result()


async def spawn(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process in a thread of its own. Whatever comes in between, it is returned or ended.

    When cancelled, waits for the thread, which the start of a process keeps for about a millisecond.

    Parameters
    ----------
    start
        Starts it; called once.

    Raises
    ------
    Exception
        Whatever ``start`` raises.
    """
    loop = asyncio.get_running_loop()
    # An error is handed over as a result: asyncio complains of one that nobody fetches.
    born: asyncio.Future[subprocess.Popen[bytes] | Exception] = loop.create_future()
    over: asyncio.Future[None] = loop.create_future()
    decided = threading.Event()
    is_taken = False

    def work() -> None:
        try:
            process = start()
        except Exception as error:  # noqa: BLE001 - whoever waits gets it, whatever it is
            tell_loop(loop, _settle, born, error)
        else:
            if tell_loop(loop, _settle, born, process):
                decided.wait()
            if not is_taken:
                process.kill()
                process.wait()
        tell_loop(loop, _settle, over, None)

    try:
        try:
            start_thread(work, name="voicepool launch")
        except OSError:
            # It can do without: a thread is for what may come in between.
            return start()
        outcome = await born
        if isinstance(outcome, Exception):
            raise outcome
        is_taken = True
    except asyncio.CancelledError:
        decided.set()
        await _outlast(over)
        raise
    finally:
        decided.set()
    return outcome


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


async def _outlast(future: asyncio.Future[Any]) -> None:
    """Wait `_OUTLAST_S` at most for what is as good as done, however often that is cancelled.

    Only for a task that is cancelled already, and goes on to say so.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _OUTLAST_S
    while not future.done() and (left_s := deadline - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=left_s)


def _settle(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _pipes(line: bytes) -> tuple[Leash, Descriptor, Descriptor, Descriptor]:
    """Make the pipes of a child, a line waiting in the first: our end and its end of each."""
    with contextlib.ExitStack() as undo:
        leash, stdin = Leash.with_line(line)
        undo.callback(leash.let_go)
        undo.callback(stdin.let_go)
        output, stdout = Descriptor.pipe()
        undo.pop_all()
    return leash, stdin, output, stdout


def _own_session() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
