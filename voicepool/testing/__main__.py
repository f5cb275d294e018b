"""``python -m voicepool.testing``: the stand-ins in a process of their own, for bots in any language.

It prints one line of JSON when it is ready (`stand_in_requests.description`), then answers requests, one line
each, until its stdin closes; so it never outlives who started it. Requests are carried out side by side and
answered in the order they end. What goes wrong before it is ready is one line too: ``{"error": "…"}``.
"""

from __future__ import annotations

__all__ = ["main"]

import argparse
import asyncio
import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from voicepool.testing.stand_in_requests import StandInRequests

_MAX_REQUESTS: Final = 256
"""Requests at once; one more is refused."""
_MAX_ANSWERS: Final = 4_096
"""Answers that wait to be read; with one more the process ends, because nobody listens."""
_MAX_LINE_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 16
_LAST_WORDS_S: Final = 1.0
_FAILED: Final = 1
_INTERRUPTED: Final = 128 + 2
_NAMED: Final = (LookupError, TimeoutError, TypeError, ValueError, OSError)
"""Kinds of error that a client may want to tell apart."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin closes.

    Returns
    -------
    int
        0; 1 if it cannot start, 130 after Ctrl-C.
    """
    wanted = _parser().parse_args(arguments)
    with _answers() as answers:
        try:
            return asyncio.run(_serve(wanted, answers))
        except KeyboardInterrupt:
            return _INTERRUPTED
        except (ImportError, OSError, ValueError) as error:
            answers.put({"error": f"{error}"})
            sys.stderr.write(f"voicepool.testing: {error}\n")
            return _FAILED


async def _serve(wanted: argparse.Namespace, answers: _Answers) -> int:
    desk = _Desk(answers)
    serving = asyncio.create_task(_stand_in(wanted, desk, answers), name="stand-in")
    leaving = asyncio.create_task(desk.wait_done(), name="until stdin closes")
    try:
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        serving.cancel()
        leaving.cancel()
        await asyncio.wait({serving, leaving})
    if not serving.cancelled():
        serving.result()
    return 0


async def _stand_in(wanted: argparse.Namespace, desk: _Desk, answers: _Answers) -> None:
    """Run the stand-ins until cancelled."""
    from voicepool.testing.certificates import CertificateAuthority  # noqa: PLC0415 - may be missing parts
    from voicepool.testing.fake_discord import FakeDiscord  # noqa: PLC0415
    from voicepool.testing.guild_model import BotUser  # noqa: PLC0415
    from voicepool.testing.stand_in_requests import StandInRequests, description  # noqa: PLC0415
    from voicepool.testing.voice_server import DiscordVoiceServer  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        authority = stack.enter_context(CertificateAuthority())
        servers = [
            await stack.enter_async_context(
                DiscordVoiceServer(
                    host=wanted.host,
                    authority=authority,
                    inspect=wanted.inspect,
                    keep_audio_s=wanted.keep_audio_s,
                    heartbeat_interval_ms=wanted.voice_heartbeat_ms,
                    dave=not wanted.no_dave,
                    **({"modes": wanted.mode} if wanted.mode else {}),
                )
            )
            for _ in range(wanted.voice_servers)
        ]
        discord = await stack.enter_async_context(
            FakeDiscord.with_guilds(
                wanted.guilds,
                voice_channels=wanted.voice_channels,
                stage_channels=wanted.stage_channels,
                bots=[BotUser(name=f"bot-{index}") for index in range(wanted.bots)],
                voice_servers=servers,
                host=wanted.host,
                port=wanted.port,
            )
        )
        answers.put(description(discord, servers))
        await desk.work(StandInRequests(discord, servers))


class _Desk:
    """Takes requests from stdin until it closes, or until one is to shut down.

    It listens from the start, so that a process whose parent gives up early clears away what it has made.
    """

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._requests: StandInRequests | None = None
        self._done = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        answers.on_end(lambda: _call(loop, self._done.set))
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(signal.SIGTERM, self._done.set)
        # Read in a thread, because Windows cannot wait for a pipe; a daemon, because it cannot be woken.
        threading.Thread(target=self._read, args=(loop,), name="requests", daemon=True).start()

    async def wait_done(self) -> None:
        """Return when nothing more is wanted."""
        await self._done.wait()

    async def work(self, requests: StandInRequests) -> None:
        """Carry requests out until cancelled."""
        self._requests = requests
        try:
            # Not until it is done: to be cancelled while all is being closed would leave some of it open.
            await asyncio.get_running_loop().create_future()
        finally:
            self._requests = None
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not through sys.stdin: a daemon thread that holds its lock is fatal to the interpreter's end.
        rest = b""
        with contextlib.suppress(OSError):
            while len(rest) <= _MAX_LINE_BYTES and (chunk := os.read(0, _CHUNK_BYTES)):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip() and not _call(loop, self._take, line):
                        return
        _call(loop, self._done.set)

    def _take(self, line: bytes) -> None:
        from voicepool.testing.stand_in_requests import UnreadableRequestError, read_request  # noqa: PLC0415

        try:
            ident, what, arguments = read_request(line)
        except UnreadableRequestError as error:
            self._answers.put({"id": None, "error": _as_error(error)})
            return
        if what == "shutdown":
            self._answers.put({"id": ident, "result": None})
            self._done.set()
        elif self._requests is None or len(self._working) >= _MAX_REQUESTS:
            text = f"it takes requests once it is ready, and at most {_MAX_REQUESTS} at a time"
            self._answers.put({"id": ident, "error": {"kind": "Busy", "text": text}})
        else:
            work = self._answer(self._requests, ident, what, arguments)
            task = asyncio.create_task(work, name=what)
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _answer(
        self, requests: StandInRequests, ident: object, what: str, arguments: dict[str, Any]
    ) -> None:
        try:
            result = await requests.carry_out(what, arguments)
        except Exception as error:  # noqa: BLE001 - the client's to judge; the stand-in serves on
            self._answers.put({"id": ident, "error": _as_error(error)})
        else:
            self._answers.put({"id": ident, "result": result})


class _Answers:
    """Writes lines to what was stdout, in a thread: a client that does not read must not stall the stand-in.

    Everything else that is printed goes to stderr, so that nothing comes between the answers.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_MAX_ANSWERS)
        self._ended: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._write, name="answers", daemon=True)

    def put(self, answer: object) -> None:
        """Hand over an answer; when too many wait already, nobody reads them, and that is the end."""
        try:
            self._lines.put_nowait(json.dumps(answer))
        except queue.Full:
            sys.stderr.write("voicepool.testing: the answers are not read\n")
            self._ended()

    def on_end(self, call: Callable[[], object]) -> None:
        """Call something, from any thread, when answers can no longer be written."""
        self._ended = call

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what is left, if anyone reads it."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(_LAST_WORDS_S)
        if not self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._stream.close()

    def _write(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                self._stream.write(f"{line}\n")
                self._stream.flush()
        except (OSError, ValueError):
            self._ended()


@contextlib.contextmanager
def _answers() -> Iterator[_Answers]:
    answers = _Answers(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answers.start()
    try:
        yield answers
    finally:
        answers.close()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> bool:
    """Call something on the loop from another thread; tell whether the loop is still there."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True


def _as_error(error: Exception) -> dict[str, str]:
    kind = next((named.__name__ for named in _NAMED if isinstance(error, named)), type(error).__name__)
    # A KeyError's text is the repr of its key.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return {"kind": kind, "text": text or type(error).__name__}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m voicepool.testing",
        description="Stand-ins for Discord's REST API, main gateway and voice server. Prints one line of "
        "JSON (addresses, tokens, ids), then answers requests, one JSON object a line, until stdin closes.",
    )
    positive = _whole(minimum=1)
    parser.add_argument("--guilds", type=positive, default=1, metavar="N", help="how many (1)")
    parser.add_argument("--bots", type=positive, default=1, metavar="N", help="accounts, in each guild (1)")
    parser.add_argument("--voice-channels", type=positive, default=2, metavar="N", help="in each guild (2)")
    parser.add_argument(
        "--stage-channels", type=_whole(minimum=0), default=1, metavar="N", help="likewise (1)"
    )
    parser.add_argument("--voice-servers", type=positive, default=1, metavar="N", help="how many (1)")
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=_whole(minimum=0), default=0, help="of REST and main gateway (0: a free one)"
    )
    parser.add_argument("--mode", action="append", help="transport mode to offer; may be repeated (all)")
    parser.add_argument(
        "--inspect",
        choices=("full", "headers"),
        default="full",
        help="headers: decrypt and keep nothing (full)",
    )
    parser.add_argument(
        "--keep-audio-s", type=float, default=600.0, metavar="SECONDS", help="of each session (600)"
    )
    parser.add_argument(
        "--voice-heartbeat-ms", type=float, default=13_750.0, metavar="MS", help="interval to ask for (13750)"
    )
    parser.add_argument("--no-dave", action="store_true", help="calls are not end-to-end encrypted")
    return parser


def _whole(*, minimum: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {minimum} or more")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
