"""Where the workers of one pool find it: the ZeroMQ context, and a private address for each worker.

On Unix an address is a socket file in a directory only this user can enter. Elsewhere it is a port on
loopback that speaks CURVE only, and a doorman (ZeroMQ RFC 27, ZAP) who knows the keys handed out. Either
way a worker then has to show its one-time start token.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final, Literal

import zmq
import zmq.asyncio
from zmq.utils import z85

from voicepool.ipc.channel import BotEnd
from voicepool.ipc.endpoint import Bootstrap, CurveKeys, SocketDirectory, has_unix_sockets, new_curve_keys
from voicepool.ipc.ids import WorkerId

__all__ = ["Doorman", "Rendezvous"]

_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_TOKEN_BYTES: Final = 32
_ZAP_FRAMES: Final = 7
"""version, request id, domain, address, identity, mechanism, and the public key for CURVE."""


class Doorman:
    """Lets in the CURVE keys that were handed out, and nobody else.

    Parameters
    ----------
    context
        The context whose sockets it guards; there can be one doorman in each.
    """

    def __init__(self, context: zmq.asyncio.Context) -> None:
        self._keys: set[bytes] = set()
        self._socket = context.socket(zmq.REP)
        self._socket.bind(_ZAP_ENDPOINT)
        self._task = asyncio.create_task(self._answer(), name="voicepool doorman")

    def allow(self, public_key: str) -> None:
        """Let this key (Z85) in from now on."""
        self._keys.add(public_key.encode())

    def forbid(self, public_key: str) -> None:
        """Do not let this key in again. Who is in stays."""
        self._keys.discard(public_key.encode())

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
                len(frames) == _ZAP_FRAMES and frames[5] == b"CURVE" and z85.encode(frames[6]) in self._keys
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
        Bound on what a worker may send in one frame.

    Raises
    ------
    OSError
        There is no place for the socket files.
    """

    def __init__(self, kind: Literal["auto", "unix", "tcp"], *, max_attachment_bytes: int) -> None:
        self._max_attachment_bytes = max_attachment_bytes
        self._directory: SocketDirectory | None = None
        self._doorman: Doorman | None = None
        if kind == "unix" or (kind == "auto" and has_unix_sockets()):
            self._directory = SocketDirectory()
        else:
            self._public, self._secret = zmq.curve_keypair()
        self.context: Final = zmq.asyncio.Context()
        if self._directory is None:
            self._doorman = Doorman(self.context)

    def open(self, worker: WorkerId) -> tuple[BotEnd, Bootstrap]:
        """Bind the bot's end for one worker, and say what the worker has to be told.

        Raises
        ------
        zmq.ZMQError
            The address cannot be bound.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        curve: CurveKeys | None = None
        if self._directory is not None:
            end = BotEnd(
                self.context,
                self._directory.address(worker),
                max_attachment_bytes=self._max_attachment_bytes,
            )
        else:
            assert self._doorman is not None
            curve = new_curve_keys(self._public.decode())
            end = BotEnd(
                self.context,
                "tcp://127.0.0.1:*",
                max_attachment_bytes=self._max_attachment_bytes,
                curve_public=self._public,
                curve_secret=self._secret,
            )
            self._doorman.allow(curve.client_public)
        return end, Bootstrap(address=end.address, worker=worker, start_token=token, curve=curve)

    def forget(self, bootstrap: Bootstrap) -> None:
        """Void what a worker was told: it has gone, or never came."""
        if self._doorman is not None and bootstrap.curve is not None:
            self._doorman.forbid(bootstrap.curve.client_public)

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
