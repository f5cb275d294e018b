"""Where a worker finds its bot, and the line on standard input that tells it.

On Unix the address is a socket file in a directory that only this user can enter. Elsewhere it is a TCP port
on loopback, and CURVE keys (made for this one worker) keep other processes out. Both addresses and keys go to
the child on its standard input: argv and the environment can be read by others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import zmq

from voicepool.ipc.ids import WorkerId
from voicepool.ipc.secret import REDACTED

__all__ = [
    "Bootstrap",
    "CurveKeys",
    "SocketDirectory",
    "clear_remains",
    "has_unix_sockets",
    "new_curve_keys",
]

_SUN_PATH_BYTES: Final = 104 if sys.platform == "darwin" else 107
"""Room for a path in ``sockaddr_un``, its terminating zero excluded."""


class CurveKeys(msgspec.Struct, frozen=True):
    """What a worker needs to speak CURVE (ZeroMQ RFC 26) with its bot. All Z85 text."""

    server_public: str
    client_public: str
    client_secret: str

    def __repr__(self) -> str:
        return f"CurveKeys({REDACTED})"


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """The one line of JSON that a worker reads from its standard input."""

    address: str
    worker: WorkerId
    start_token: str
    curve: CurveKeys | None = None

    def __repr__(self) -> str:
        return f"Bootstrap(address={self.address!r}, worker={self.worker!r}, start_token={REDACTED})"

    def to_line(self) -> bytes:
        """Return the line, newline included."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Bootstrap:
        """Read the line.

        Raises
        ------
        msgspec.DecodeError
            It is no such line.
        """
        try:
            return msgspec.json.decode(line, type=cls)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None


def has_unix_sockets() -> bool:
    """Say whether ZeroMQ can use ``ipc://`` here."""
    return bool(zmq.has("ipc")) and sys.platform != "win32"


def new_curve_keys(server_public: str) -> CurveKeys:
    """Make the key pair of one worker."""
    public, secret = zmq.curve_keypair()
    return CurveKeys(server_public, public.decode(), secret.decode())


def clear_remains(address: str) -> None:
    """Remove what a bot that died could not: the socket file at `address`, and its directory once empty."""
    scheme, _, path = address.partition("://")
    if scheme == "ipc":
        socket_file = Path(path)
        with contextlib.suppress(OSError):
            socket_file.unlink(missing_ok=True)
            # Fails while other workers' sockets are in it; the last one to leave succeeds.
            socket_file.parent.rmdir()


class SocketDirectory:
    """A private directory for socket files, removed by `close`.

    Raises
    ------
    OSError
        No temporary directory gives a path short enough for a socket, or none can be written.
    """

    _LONGEST_NAME: Final = len("/w999.99999.sock")

    def __init__(self) -> None:
        self.path = self._make()

    @classmethod
    def _make(cls) -> Path:
        # TMPDIR may be long (macOS, CI), and a socket path has little room: /tmp is the way out.
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  # mkdtemp makes it private
            path = tempfile.mkdtemp(prefix="voicepool-", dir=parent)
            if len(os.fsencode(path)) + cls._LONGEST_NAME <= _SUN_PATH_BYTES:
                return Path(path)
            Path(path).rmdir()
        msg = f"no directory for temporary files is short enough for a socket of {_SUN_PATH_BYTES} bytes"
        raise OSError(msg)

    def address(self, worker: WorkerId) -> str:
        """Return the ``ipc://`` address of a worker's socket."""
        return f"ipc://{self.path}/{worker}.sock"

    def close(self) -> None:
        """Remove the directory and what is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
