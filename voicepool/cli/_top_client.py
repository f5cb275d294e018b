"""Finds the running pools of this user, and asks one how it is; see `voicepool._watching.status`."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from voicepool._watching.status import check_private, folders, is_stale
from voicepool._watching.status_view import Status, read
from voicepool.errors import VoicePoolError

__all__ = ["PoolGoneError", "PoolSilentError", "RunningPool", "ask", "find"]

PATIENCE_S: Final = 5.0
LONGEST_ANSWER_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 16
_MOST_POOLS: Final = 1_000


class PoolGoneError(VoicePoolError):
    """Raised when a pool is not there any more."""


class PoolSilentError(VoicePoolError):
    """Raised when a pool is there and gives no answer, or none that can be read."""


class RunningPool(NamedTuple):
    """Where a pool can be asked: ``name`` is the bot's process id and a number, as in ``4711-0``."""

    name: str
    path: Path

    @property
    def pid(self) -> str:
        """Of the bot's process."""
        return self.name.partition("-")[0]


def find() -> list[RunningPool]:
    """Return the running pools, in the order of their names; remove what is left of dead ones."""
    found = {pool.name: pool for folder in folders() for pool in _pools_in(folder)}
    return [found[name] for name in sorted(found)][:_MOST_POOLS]


def ask(pool: RunningPool) -> Status:
    """Return how a pool is. Blocks for a moment.

    Raises
    ------
    PoolGoneError
        Nobody listens there any more.
    PoolSilentError
        No answer, as of a bot whose event loop is blocked, or one of another version of voicepool.
    """
    try:
        with _connect(pool.path) as connection:
            text = b"".join(_receive(connection))
    except TimeoutError:
        raise PoolSilentError(
            f"the pool of process {pool.pid} does not answer within {PATIENCE_S:g} s; something blocks the "
            "event loop of its bot"
        ) from None
    except ConnectionResetError:
        text = b""
    except (OSError, ValueError, LookupError) as error:
        raise PoolGoneError(f"the pool of process {pool.pid} has gone") from error
    if not text:
        raise PoolGoneError(f"the pool of process {pool.pid} is ending, or too many look at it now")
    try:
        return read(text)
    except msgspec.DecodeError as error:
        raise PoolSilentError(
            f"the pool of process {pool.pid} runs another version of voicepool: {error}"
        ) from error


def _pools_in(folder: Path) -> Iterator[RunningPool]:
    try:
        check_private(folder)
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        with contextlib.suppress(OSError):
            if is_stale(path):
                path.unlink()
            elif path.suffix in {".sock", ".json"}:
                yield RunningPool(path.stem, path)


def _connect(path: Path) -> socket.socket:
    """Connect and ask.

    Raises
    ------
    OSError, ValueError, LookupError
        That is not possible; or the file does not say where to.
    """
    if path.suffix == ".sock":
        connection = socket.socket(socket.AF_UNIX)
        address: object = str(path)
        token = ""
    else:
        place = json.loads(path.read_text(encoding="utf-8"))
        connection = socket.socket(socket.AF_INET)
        address, token = ("127.0.0.1", int(place["port"])), str(place["token"])
    try:
        connection.settimeout(PATIENCE_S)
        connection.connect(address)  # type: ignore[arg-type]  # what the family wants
        connection.sendall(f"{token}\n".encode())
    except BaseException:
        connection.close()
        raise
    return connection


def _receive(connection: socket.socket) -> Iterator[bytes]:
    size_bytes = 0
    while chunk := connection.recv(_CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > LONGEST_ANSWER_BYTES:
            raise ValueError("that is no status of a pool")
        yield chunk
