# ruff: noqa: E402  # the signal is set before the slow imports
"""``python -m voicepool.workers``: one worker process, started by a `voicepool.VoicePool` and by nobody else.

Signals first: a worker must not die of a Ctrl-C that was meant for the bot, however early it comes. Then it
gives up what it does not need (`hardening`), before it reads anything at all.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)

import asyncio
import contextlib
import json
import os
import sys
import threading
from typing import Final

import msgspec

from voicepool.ipc.endpoint import Bootstrap, clear_remains
from voicepool.workers import logs, stackdump
from voicepool.workers.hardening import Step, harden, limit_pieces
from voicepool.workers.heaps import share_heaps
from voicepool.workers.parent import read_bootstrap, watch_parent

_USAGE: Final = "A voicepool worker is started by a VoicePool. To see what it would use: voicepool doctor"
_LONGEST_GOODBYE_S: Final = 1.5
"""How long calls may take to end in order once the bot is gone; nothing is left of the process after that."""


def main() -> int:
    """Run a worker, or with ``--doctor`` print what one would find here as JSON."""
    stackdump.enable()
    hardened = harden()
    # Before there are threads.
    share_heaps()
    logs.configure()
    if "--doctor" in sys.argv[1:]:
        from voicepool.workers.doctor import report  # noqa: PLC0415  # loads every library there is

        print(json.dumps(report([*hardened, limit_pieces()])))  # noqa: T201  # the answer to `voicepool doctor`
        return 0
    if len(sys.argv) > 1 or sys.stdin is None or sys.stdin.isatty():
        print(_USAGE, file=sys.stderr)  # noqa: T201  # for a person who typed it
        return 2
    try:
        bootstrap = read_bootstrap()
    except (msgspec.DecodeError, UnicodeDecodeError):
        print(_USAGE, file=sys.stderr)  # noqa: T201  # likewise
        return 2
    return 0 if bootstrap is None else _run(bootstrap, hardened)


def _run(bootstrap: Bootstrap, hardened: list[Step]) -> int:
    from voicepool.workers.process import serve  # noqa: PLC0415  # only now is it worth loading

    async def until_gone() -> int:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def leave() -> None:
            # Whatever holds the loop up, this process does not outlive its bot.
            deadline = threading.Timer(_LONGEST_GOODBYE_S, os._exit, (1,))
            deadline.daemon = True
            deadline.start()
            clear_remains(bootstrap.address)
            with contextlib.suppress(RuntimeError):  # the loop has closed: it is leaving as it is
                loop.call_soon_threadsafe(gone.set)

        watch_parent(leave)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGTERM, gone.set)
        return await serve(bootstrap, gone, hardened)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(until_gone())


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not on every platform
    except ImportError:
        # ZeroMQ needs `add_reader`, which Windows' default loop does not have.
        return asyncio.SelectorEventLoop if sys.platform == "win32" else None
    return uvloop.Loop


if __name__ == "__main__":
    code = main()
    # Threads that still wait for a dead server must not hold the process up.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
