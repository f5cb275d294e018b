"""Where the workers of one pool find it: the ZeroMQ context, and a private address for each worker.

On Unix an address is a socket file in a directory only this user can enter, elsewhere a port on loopback.
Both speak CURVE only, and a doorman (ZeroMQ RFC 27, ZAP) lets each worker's key in at that worker's address
and at no other. A worker knows its bot by the bot's public key, which it got on its standard input; so
whoever takes over the path of a socket cannot pass for the bot either. Last, a worker has to show its
one-time start token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from typing import Final, Literal

import zmq
import zmq.asyncio
from zmq.utils import z85

from voicepool.errors import PoolClosedError, WorkerStartError
from voicepool.ipc.channel import BotEnd
from voicepool.ipc.codec import MAX_MESSAGE_BYTES
from voicepool.ipc.endpoint import (
    Bootstrap,
    BotKeys,
    CurveKeys,
    SocketDirectory,
    has_curve,
    has_unix_sockets,
    new_bot_keys,
    new_curve_keys,
)
from voicepool.ipc.ids import WorkerId

__all__ = ["Doorman", "Rendezvous"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_TOKEN_BYTES: Final = 32
_ZAP_FRAMES: Final = 7
"""version, request id, domain, address, identity, mechanism, and the public key for CURVE."""


class Doorman:
    """Lets in the CURVE keys that were handed out, each in its domain, and nobody else.

    Parameters
    ----------
    context
        The context whose sockets it guards; there can be one doorman in each.
    """

    def __init__(self, context: zmq.asyncio.Context) -> None:
        self._keys: set[tuple[bytes, bytes]] = set()
        self._socket = context.socket(zmq.REP)
        self._socket.bind(_ZAP_ENDPOINT)
        self._task = asyncio.create_task(self._answer(), name="voicepool doorman")

    def allow(self, domain: str, public_key: str) -> None:
        """Let this key (Z85) in at the sockets of a domain from now on."""
        self._keys.add((domain.encode(), public_key.encode()))

    def forbid(self, domain: str, public_key: str) -> None:
        """Do not let this key in again. Who is in stays."""
        self._keys.discard((domain.encode(), public_key.encode()))

    async def close(self) -> None:
        """Let nobody in any more."""
        self._task.cancel()
        try:
            await asyncio.wait({self._task})
        finally:
            self._socket.close(linger=0)

    async def _answer(self) -> None:
        while True:
            frames: list[bytes] = await self._socket.recv_multipart()
            welcome = (
                len(frames) == _ZAP_FRAMES
                and frames[5] == b"CURVE"
                and (frames[2], z85.encode(frames[6])) in self._keys
            )
            verdict = [b"200", b"OK"] if welcome else [b"400", b"no key of a voicepool worker"]
            await self._socket.send_multipart([*frames[:2], *verdict, b"", b""])


class Rendezvous:
    """The addresses of one pool. Made and closed on the pool's event loop.

    Parameters
    ----------
    kind
        ``unix``, ``tcp``, or ``auto`` for the first of them that works here.
    max_attachment_bytes
        The most that a source handed over as bytes may have; pushed audio has a bound of its own.

    Raises
    ------
    WorkerStartError
        There is no place for the socket files, or neither kind can be made safe here.
    """

    def __init__(self, kind: Literal["auto", "unix", "tcp"], *, max_attachment_bytes: int) -> None:
        self._max_attachment_bytes = max(max_attachment_bytes, MAX_MESSAGE_BYTES)
        self._pid = os.getpid()
        self._directory = None if kind == "tcp" else _socket_directory(required=kind == "unix")
        self._doorman: Doorman | None = None
        self._keys: BotKeys | None = None
        self.context: Final = zmq.asyncio.Context()
        if has_curve():
            self._keys = new_bot_keys("")
            self._doorman = Doorman(self.context)
        elif self._directory is None:
            self.context.term()
            raise WorkerStartError(
                "the workers' links over TCP cannot be made safe, since this ZeroMQ was built without CURVE; "
                'reinstall pyzmq from its wheel, or set ipc to "unix"'
            )

    @property
    def kind(self) -> Literal["unix", "tcp"]:
        """What the addresses are."""
        return "tcp" if self._directory is None else "unix"

    def open(self, worker: WorkerId) -> tuple[BotEnd, Bootstrap]:
        """Bind the bot's end for one worker, and say what the worker has to be told.

        Raises
        ------
        zmq.ZMQError
            The address cannot be bound.
        PoolClosedError
            See `check_process`.
        """
        self.check_process()
        address = "tcp://127.0.0.1:*" if self._directory is None else self._directory.address(worker)
        bot_keys: BotKeys | None = None
        worker_keys: CurveKeys | None = None
        if self._keys is not None:
            bot_keys = BotKeys(self._keys.public, self._keys.secret, domain=worker)
            worker_keys = new_curve_keys(bot_keys.public)
        end = BotEnd(self.context, address, max_attachment_bytes=self._max_attachment_bytes, curve=bot_keys)
        if self._doorman is not None and worker_keys is not None:
            self._doorman.allow(worker, worker_keys.client_public)
        return end, Bootstrap(
            address=end.address,
            worker=worker,
            start_token=secrets.token_urlsafe(_TOKEN_BYTES),
            curve=worker_keys,
            max_attachment_bytes=self._max_attachment_bytes,
        )

    def forget(self, bootstrap: Bootstrap) -> None:
        """Void what a worker was told: it has gone, or never came."""
        if self._doorman is not None and bootstrap.curve is not None:
            self._doorman.forbid(bootstrap.worker, bootstrap.curve.client_public)

    def check_process(self) -> None:
        """Check that this is the process that made it.

        Raises
        ------
        PoolClosedError
            It is a fork of that one: the links, their threads and the event loop did not come along.
        """
        if os.getpid() != self._pid:
            raise PoolClosedError(
                f"this pool belongs to process {self._pid} and cannot be used in its fork {os.getpid()}; "
                "start a pool in the fork, or fork before the pool starts (multiprocessing: use spawn)"
            )

    async def close(self) -> None:
        """Release everything. The ends have been closed by their owners."""
        try:
            if self._doorman is not None:
                await self._doorman.close()
        finally:
            with contextlib.suppress(zmq.ZMQError):
                self.context.destroy(linger=0)
            if self._directory is not None:
                self._directory.close()


def _socket_directory(*, required: bool) -> SocketDirectory | None:
    """Make a directory for Unix sockets; None where TCP has to do instead."""
    if not has_unix_sockets():
        if required:
            raise WorkerStartError('there are no Unix sockets for ZeroMQ here; set ipc to "auto" or "tcp"')
        return None
    try:
        return SocketDirectory()
    except OSError as error:
        if required or not has_curve():
            raise WorkerStartError(str(error.strerror)) from error
        _LOGGER.warning("the workers are talked to over TCP on loopback instead: %s", error.strerror)
        return None
