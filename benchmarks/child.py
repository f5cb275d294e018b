"""Child processes of a benchmark: asked by JSON lines on their stdin, they answer by JSON lines on stdout.

A child leaves when its stdin closes, so none outlives a benchmark, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.machine import ROOT, keep_to

__all__ = ["Child", "ChildError", "keep_to_argument", "serve"]

_LONGEST_LINE_BYTES: Final = 1 << 22
_LEAVE_TIMEOUT_S: Final = 5.0


class ChildError(Exception):
    """A child could not do what it was asked, or is gone."""


class Child:
    """A running ``python -m benchmarks.NAME``. An async context manager.

    Parameters
    ----------
    module
        What to run; it calls `serve`.
    core
        The core to keep it to; None for any.
    """

    def __init__(self, module: str, *, core: int | None) -> None:
        self._module = module
        self._core = core
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        arguments = [] if self._core is None else [str(self._core)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            limit=_LONGEST_LINE_BYTES,
            # Ctrl-C is the benchmark's to handle; its children see their stdin close.
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await process.wait()
        except BaseException as error:
            process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def ask(self, what: str, *, timeout_s: float = 60.0, **arguments: object) -> Any:
        """Ask for something and return the answer. One request at a time.

        Raises
        ------
        ChildError
            It failed, has left, or has not answered within `timeout_s` seconds.
        """
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        request = json.dumps({"do": what, "with": arguments}).encode() + b"\n"
        try:
            process.stdin.write(request)
            await process.stdin.drain()
            async with asyncio.timeout(timeout_s):
                line = await process.stdout.readline()
        except ConnectionError:
            line = b""
        except TimeoutError:
            raise ChildError(f"{self._module} has not answered {what!r} within {timeout_s:g} s") from None
        if not line:
            raise ChildError(f"{self._module} has left before it answered {what!r}; its stderr says why")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(f"{self._module} cannot do {what!r}: {answer['error']}")
        return answer["result"]


async def serve(deeds: Mapping[str, Callable[..., object]]) -> None:
    """Answer requests until stdin closes. In the child.

    Parameters
    ----------
    deeds
        What can be asked for, by name; functions or coroutine functions with keyword arguments, which
        return JSON types.
    """
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            try:
                result = deeds[request["do"]](**request["with"])
                if inspect.isawaitable(result):
                    result = await result
                answer = {"result": result}
            except Exception as error:  # noqa: BLE001 - told to the benchmark, which ends with it
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def keep_to_argument() -> None:
    """Keep this child to the core that its command line names, if it names one."""
    if len(sys.argv) > 1:
        keep_to(int(sys.argv[1]))
