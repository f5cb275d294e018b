"""The socket at which a running pool shows how it is; ``voicepool top`` asks there.

It lies in a directory that only this user can enter, in the user's runtime directory or in that for temporary
files. Where asyncio has no unix sockets, it is a port on loopback, and a file that only this user can read
names it with a token, which has to be shown. Either way a connection is good for one answer, and nothing can
be changed by it.

A socket file that nobody listens at is what is left of a dead bot: whoever comes by removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import getpass
import hmac
import itertools
import json
import logging
import os
import secrets
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from voicepool._watching.reception import Reception

__all__ = ["StatusSocket", "check_private", "folders", "has_unix_sockets", "is_stale"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

MOST_CLIENTS: Final = 8
"""Answered at a time; one more is hung up on."""
PATIENCE_S: Final = 5.0
"""How long a client may take to ask, and then to read the answer."""
LONGEST_REQUEST_BYTES: Final = 256
_TOKEN_BYTES: Final = 32
_MOST_SWEPT: Final = 1_000
_SETTLED_S: Final = 10.0
"""Age at which a socket that is being made is listened at for sure."""
_NUMBERS: Final = itertools.count()
_PEER: Final = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""


class StatusSocket:
    """Answers each connection once. Made by `open`, on the pool's event loop.

    Parameters
    ----------
    path
        The socket file, or the file that names the port and the token.
    answer
        Says what to answer: called on the event loop, it returns what makes the bytes, which is called in a
        thread; None to hang up.
    token
        What has to be shown; empty where the file is guard enough.
    """

    def __init__(
        self, path: Path, answer: Callable[[], Callable[[], bytes] | None], *, token: str = ""
    ) -> None:
        self.path: Final = path
        self._answer = answer
        self._token = token
        self._reception = Reception(
            self._serve, most=MOST_CLIENTS, name="voicepool status client", admits=_is_own_user
        )

    @classmethod
    async def open(cls, answer: Callable[[], Callable[[], bytes] | None]) -> StatusSocket | None:
        """Listen; return None, and say why in the log, if there is no place to: the pool does without."""
        for folder in folders():
            with contextlib.suppress(FileNotFoundError):
                try:
                    return await cls._open_in(folder, answer)
                except OSError as error:
                    if error.errno == errno.ENOENT:
                        # Another pool has just ended and taken the empty directory along.
                        raise
                    _LOGGER.debug("no status socket in %s: %s", folder, error)
        _LOGGER.warning(
            "voicepool top cannot look at this pool: no directory for its status socket can be used, of %s",
            ", ".join(map(str, folders())),
        )
        return None

    async def close(self) -> None:
        """Answer nobody any more, and remove the file."""
        try:
            await self._reception.close()
        finally:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
                # Fails while there are other pools; the last one succeeds.
                self.path.parent.rmdir()

    @classmethod
    async def _open_in(cls, folder: Path, answer: Callable[[], Callable[[], bytes] | None]) -> StatusSocket:
        _prepare(folder)
        name = f"{os.getpid()}-{next(_NUMBERS)}"
        if has_unix_sockets():
            opened = cls(folder / f"{name}.sock", answer)
            await opened._reception.open(lambda meet: asyncio.start_unix_server(meet, opened.path))
            return opened
        opened = cls(folder / f"{name}.json", answer, token=secrets.token_urlsafe(_TOKEN_BYTES))
        server = await opened._reception.open(lambda meet: asyncio.start_server(meet, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        _write_private(opened.path, json.dumps({"port": port, "token": opened._token}))
        return opened

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                request = await reader.readuntil(b"\n")
            is_known = hmac.compare_digest(request.strip(), self._token.encode())
            make = self._answer() if is_known and len(request) <= LONGEST_REQUEST_BYTES else None
            if make is not None:
                writer.write(await asyncio.to_thread(make))
                async with asyncio.timeout(PATIENCE_S):
                    await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            _LOGGER.debug("a client of the status socket went away: %s", error)
        except Exception:
            _LOGGER.exception("the status cannot be told")


def has_unix_sockets() -> bool:
    """Say whether asyncio can listen at a socket file here."""
    return hasattr(socket, "AF_UNIX") and hasattr(asyncio, "start_unix_server")


def folders() -> list[Path]:
    """Return the directories in which sockets may lie, the best first. They need not exist."""
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    # A service of the system has no XDG_RUNTIME_DIR where its user's shell has one, and perhaps a TMPDIR.
    parents = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
    if hasattr(os, "getuid"):
        parents += [f"/run/user/{user}", "/tmp"]  # noqa: S108 - the directory in it is checked
    # `voicepool-` begins the names of directories that are removed when their bot is dead.
    return [Path(parent) / f"voicepool.{user}" for parent in dict.fromkeys(parents) if parent]


def is_stale(path: Path) -> bool:
    """Say whether nobody listens at a socket file."""
    if path.suffix != ".sock" or time.time() - path.lstat().st_mtime < _SETTLED_S:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            # Too many wait to be answered, or it is gone already.
            return False
    return False


def check_private(folder: Path) -> None:
    """Make sure that a directory can be entered by this user alone: in /tmp, anybody may have made it.

    Raises
    ------
    OSError
        It is missing, or it is not.
    """
    found = folder.lstat()
    if not hasattr(os, "getuid"):
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is not a directory of this user alone", str(folder))


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _prepare(folder: Path) -> None:
    """Make the directory if it is not there, and remove what dead bots have left in it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_private(folder)
    for path in itertools.islice(folder.iterdir(), _MOST_SWEPT):
        # Another pool may sweep too.
        with contextlib.suppress(FileNotFoundError):
            if is_stale(path):
                path.unlink()


def _is_own_user(writer: asyncio.StreamWriter) -> bool:
    """Say whether the kernel knows the far end for a process of this user; True where it does not tell."""
    peer: socket.socket = writer.get_extra_info("socket")
    if peer.family != getattr(socket, "AF_UNIX", None) or not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(user == os.getuid())
