"""A process that is not the bot's, and tries things at a worker's address. Run as a program.

It reads one JSON object from its standard input: ``uid`` (whom to become, once everything is loaded),
``tries`` (names of functions below), ``address``, and ``bootstrap`` if the attacker has got hold of it. It
prints a JSON object: what became of each try.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from voicepool.ipc.codec import EVENTS
from voicepool.ipc.endpoint import CurveKeys
from voicepool.ipc.events import Hello
from voicepool.ipc.ids import WorkerId
from voicepool.ipc.version import WIRE_VERSION

__all__ = ["NOBODY", "attack"]

NOBODY = 65_534
_PATIENCE_MS = 20_000
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
"""ZMTP 3.0 (ZeroMQ RFC 23): signature, version, mechanism, as-server, filler."""
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CLOSED
)


async def attack(
    address: str, *tries: str, uid: int | None = None, bootstrap: bytes = b"null"
) -> dict[str, str]:
    """Run the attacker in a process of its own, and return what became of each try."""
    given = {
        "address": address,
        "tries": tries,
        "uid": os.getuid() if uid is None else uid,
        "bootstrap": json.loads(bootstrap),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.security.attacker", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    said, _ = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0
    outcome: dict[str, str] = json.loads(said)
    return outcome


def list_directory(path: Path, _bootstrap: Any) -> str:
    """Look into the directory."""
    return f"saw {len(list(path.parent.iterdir()))}"


def connect_raw(path: Path, _bootstrap: Any) -> str:
    """Speak the protocol by hand and without a key; tells what comes back beyond the greeting."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(_PATIENCE_MS / 1_000)
        raw.connect(str(path))
        got = b""
        # It may hang up at any moment; what it sent before can still be read.
        with contextlib.suppress(ConnectionError):
            raw.sendall(_GREETING)
            raw.sendall(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER")
        with contextlib.suppress(ConnectionError):
            while data := raw.recv(4_096):
                got += data
    return f"got {max(0, len(got) - len(_GREETING))} bytes"


def knock_without_keys(path: Path, _bootstrap: Any) -> str:
    """Connect as a worker would, in the clear."""
    return _knock(path, None)


def knock_with_own_keys(path: Path, bootstrap: Any) -> str:
    """Connect as a worker would, with the bot's public key and a key pair of one's own."""
    public, secret = zmq.curve_keypair()
    server = bootstrap["curve"]["server_public"]
    return _knock(path, CurveKeys(server, public.decode(), secret.decode()))


def knock_with_stolen_keys(path: Path, bootstrap: Any) -> str:
    """Connect with the very keys of the worker."""
    return _knock(path, CurveKeys(**bootstrap["curve"]))


def _knock(path: Path, keys: CurveKeys | None) -> str:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    if keys is not None:
        dealer.curve_serverkey = keys.server_public.encode()
        dealer.curve_publickey = keys.client_public.encode()
        dealer.curve_secretkey = keys.client_secret.encode()
    monitor = dealer.get_monitor_socket(_EVENTS)
    dealer.connect(f"ipc://{path}")
    hello = Hello(wire_version=WIRE_VERSION, worker=WorkerId("w0.1"), start_token="a guess", pid=os.getpid())
    dealer.send_multipart(EVENTS.encode(hello))
    try:
        if not monitor.poll(_PATIENCE_MS):
            return "silence"
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        return "let in" if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else "refused"
    finally:
        dealer.disable_monitor()
        monitor.close(linger=0)
        context.destroy(linger=0)


def _main() -> None:
    given = json.load(sys.stdin)
    if given["uid"] != os.getuid():
        # The interpreter may lie where the other user cannot read it, so it is all loaded by now.
        os.setgroups([])
        os.setgid(given["uid"])
        os.setuid(given["uid"])
    path = Path(given["address"].removeprefix("ipc://"))
    outcome = {}
    for name in given["tries"]:
        attempt: Callable[[Path, Any], str] = globals()[name]
        try:
            outcome[name] = attempt(path, given["bootstrap"])
        except OSError as error:
            outcome[name] = type(error).__name__
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    _main()
