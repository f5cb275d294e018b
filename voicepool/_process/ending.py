"""How the process of a worker is ended: asked to leave and waited for, or at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from voicepool._process.launcher import Inspectable, LaunchedProcess
from voicepool._subject_log import about
from voicepool.ipc.ids import WorkerId

__all__ = ["execute", "see_off"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

_DUMP_S: Final = 1.0
"""How long a worker that hangs may take to write where it does."""


async def see_off(
    process: LaunchedProcess,
    end: asyncio.Task[int],
    *,
    worker: WorkerId,
    ask: Callable[[], None] | None,
    patience_s: float,
) -> None:
    """Have a process leave. It may be there even then, and has to be killed.

    Parameters
    ----------
    process
        Of the worker.
    end
        Done when the process has ended.
    worker
        Its name, for texts.
    ask
        Asks it to leave; None if it cannot be asked.
    patience_s
        How long to wait after each step, in seconds; at 0 it is neither asked nor waited for.
    """
    if ask is not None and patience_s > 0:
        ask()
        await asyncio.wait({end}, timeout=patience_s)
    if end.done():
        return
    process.say_goodbye()
    process.terminate()
    if patience_s > 0:
        _LOGGER.warning(
            "worker %s does not leave when asked; sent SIGTERM", worker, extra=about(worker=worker)
        )
        await asyncio.wait({end}, timeout=patience_s)
        if not end.done():
            _LOGGER.error(
                "worker %s does not leave at SIGTERM; sending SIGKILL", worker, extra=about(worker=worker)
            )


async def execute(process: LaunchedProcess, *, worker: WorkerId, inquire: bool) -> None:
    """Kill a process; first ask it where it hangs, if that is wanted and it can answer."""
    try:
        if inquire and isinstance(process, Inspectable) and not process.is_stopped:
            stacks = await process.dump_stacks(_DUMP_S)
            where = "\n".join(["; its threads:", *stacks]) if stacks else ", and does not say where"
            _LOGGER.error(
                "worker %s (pid %s) hangs%s", worker, process.pid, where, extra=about(worker=worker)
            )
    finally:
        process.kill()
