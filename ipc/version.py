"""The version of the wire contract and the check made on the first message."""

from __future__ import annotations

import hmac
from typing import Final

from voicepool.ipc.errors import ForeignPeerError, WrongVersionError
from voicepool.ipc.events import Hello

__all__ = ["WIRE_VERSION", "check_hello"]

WIRE_VERSION: Final = 1


def check_hello(hello: Hello, *, start_token: str) -> None:
    """Refuse a worker that is not the one the bot started, or speaks another version.

    Parameters
    ----------
    hello
        The worker's first message.
    start_token
        The one-time token that was written to that worker's standard input.

    Raises
    ------
    ForeignPeerError
        The token is wrong: some other process is knocking.
    WrongVersionError
        The token is right and the version is not; the sentence names both.
    """
    if not hmac.compare_digest(hello.start_token.encode(), start_token.encode()):
        msg = "a process without the right start token tried to act as a voicepool worker"
        raise ForeignPeerError(msg)
    if hello.wire_version != WIRE_VERSION:
        msg = (
            f"the worker speaks wire version {hello.wire_version}, this bot {WIRE_VERSION}: "
            "two versions of voicepool are mixed; reinstall it in the environment of the workers"
        )
        raise WrongVersionError(msg)
