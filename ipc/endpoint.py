"""Where a worker finds its bot, and the line on standard input that tells it.

On Unix the address is a socket file in a directory that only this user can enter, elsewhere a TCP port on
loopback. On both, CURVE keys (made for this one worker) prove each side to the other. Address and keys go to
the child on its standard input: argv and the environment can be read by others.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import msgspec
import zmq

from voicepool.ipc.codec import DEFAULT_ATTACHMENT_BYTES
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.secret import REDACTED
from voicepool.ipc.sockets import SocketDirectory

__all__ = [
    "Bootstrap",
    "BotKeys",
    "CurveKeys",
    "SocketDirectory",
    "clear_remains",
    "has_curve",
    "has_unix_sockets",
    "new_bot_keys",
    "new_curve_keys",
]


class BotKeys(msgspec.Struct, frozen=True):
    """What the bot's end of one link needs to speak CURVE (ZeroMQ RFC 26).

    Attributes
    ----------
    public, secret
        The pool's key pair, Z85.
    domain
        Whom to let in: the name under which the doorman (ZeroMQ RFC 27, ZAP) keeps this worker's key.
    """

    public: str
    secret: str
    domain: str

    def __repr__(self) -> str:
        return f"BotKeys(domain={self.domain!r}, {REDACTED})"


class CurveKeys(msgspec.Struct, frozen=True):
    """What a worker needs to speak CURVE with its bot, and to know that it is its bot. All Z85 text."""

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
    """None where ZeroMQ was built without CURVE; the directory and the token then have to do."""
    max_attachment_bytes: int = DEFAULT_ATTACHMENT_BYTES
    """The most that the attachments of one command may come to."""

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


def has_curve() -> bool:
    """Say whether ZeroMQ was built with CURVE; pyzmq's wheels are."""
    return bool(zmq.has("curve"))


def new_bot_keys(domain: str) -> BotKeys:
    """Make a key pair for the bot's ends; see `BotKeys.domain`."""
    public, secret = zmq.curve_keypair()
    return BotKeys(public.decode(), secret.decode(), domain)


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
