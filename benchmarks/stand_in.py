"""The stand-in for Discord's voice server in a process of its own, with any number of calls to join.

`voicepool.testing.DiscordVoiceServer` in its cheap mode: nothing is decrypted, packets are counted. Beside it a
*sink* takes what the bare costs send, so that both are received by the same process on the same core.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from benchmarks.child import keep_to_argument, serve
from voicepool.testing.voice_server import DiscordVoiceServer

__all__ = ["main"]

_USER: Final = 1
_CHANNEL_OFFSET: Final = 1_000_000
_SINK_BATCH: Final = 256


async def _run() -> None:
    async with DiscordVoiceServer(inspect="headers", keep_audio_s=0) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind((server.settings.host, 0))
            sink.setblocking(False)
            asyncio.get_running_loop().add_reader(sink, _drain, sink)

            def describe() -> dict[str, object]:
                return {"ca_file": str(server.ca_file), "sink": list(sink.getsockname())}

            def grant(first: int, count: int) -> list[dict[str, object]]:
                grants = [server.grant(guild, _CHANNEL_OFFSET + guild, _USER) for guild in range(first, first + count)]
                return [
                    {name: getattr(granted, name) for name in granted.__dataclass_fields__}
                    for granted in grants
                ]

            def totals() -> dict[str, object]:
                reports = [session.report() for session in server.sessions]
                return {
                    "packets": sum(report.packets for report in reports),
                    "gaps": sum(report.sequence_gaps for report in reports),
                    "dropped_by_kernel": server.kernel_drops,
                    "violations": list(server.violations),
                }

            await serve({"describe": describe, "grant": grant, "totals": totals})
            asyncio.get_running_loop().remove_reader(sink)


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
