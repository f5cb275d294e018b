"""The stand-in for Discord's voice server in a process of its own, with any number of calls to join.

`voicepool.testing.DiscordVoiceServer` in its cheap mode: nothing is decrypted, packets are counted. Beside it
a *sink* takes what the bare costs send, so that both are received by the same process on the same core.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Callable
from typing import Final

from benchmarks.child import keep_to_argument, serve
from voicepool.testing.voice_server import DiscordVoiceServer

__all__ = ["main"]

_USER: Final = 1
_CHANNEL_OFFSET: Final = 1_000_000
_SINK_BATCH: Final = 4_096
_LOOK_S: Final = 0.005


async def _run() -> None:
    # Whether calls are end-to-end encrypted is left to the pool: they are if it offers that.
    async with DiscordVoiceServer(inspect="headers", keep_audio_s=0, dave=True) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind((server.settings.host, 0))
            sink.setblocking(False)
            polling = asyncio.create_task(_poll(server, sink))
            try:
                await serve(_deeds(server, sink))
            finally:
                polling.cancel()


def _deeds(server: DiscordVoiceServer, sink: socket.socket) -> dict[str, Callable[..., object]]:
    def describe() -> dict[str, object]:
        return {"ca_file": str(server.ca_file), "sink": list(sink.getsockname())}

    def grant(first: int, count: int) -> list[dict[str, object]]:
        return [
            dataclasses.asdict(server.grant(guild, _CHANNEL_OFFSET + guild, _USER))
            for guild in range(first, first + count)
        ]

    def totals() -> dict[str, object]:
        return {
            "packets": sum(session.media.packets for session in server.sessions),
            "dropped_by_kernel": server.kernel_drops,
            "violations": list(server.violations),
        }

    return {"describe": describe, "grant": grant, "totals": totals}


async def _poll(server: DiscordVoiceServer, sink: socket.socket) -> None:
    """Take in what has arrived each `_LOOK_S`, and let no datagram wake this process.

    To wake a process on another core costs the sender 2 to 6 µs for each packet. A network card does not
    ask for that, so a worker in the field does not pay it; here it would be half of its account.
    """
    udp = server._udp
    assert udp is not None
    if udp._transport is None:
        asyncio.get_running_loop().remove_reader(udp._socket)
    while True:
        udp.drain_all()
        _drain(sink)
        await asyncio.sleep(_LOOK_S)


def _drain(sink: socket.socket) -> None:
    try:
        for _ in range(_SINK_BATCH):
            sink.recv(2_048)
    except BlockingIOError:
        pass


def main() -> None:
    """Serve until stdin closes."""
    keep_to_argument()
    asyncio.run(_run())


if __name__ == "__main__":
    main()
