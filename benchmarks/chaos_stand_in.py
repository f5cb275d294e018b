"""The stand-in for Discord's voice servers of the load benchmarks: it decrypts, and keeps what arrives when.

Calls are end-to-end encrypted; each has a listener, whose frames go to a `Trace` of the guild. A guild keeps
its trace over all its sessions.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.chaos_trace import Trace
from benchmarks.child import keep_to_argument, serve
from voicepool.testing.voice_server import DiscordVoiceServer

__all__ = ["main"]

_USER: Final = 1
_CHANNEL_OFFSET: Final = 1_000_000
_LOOK_S: Final = 0.004
_VIOLATIONS_SHOWN: Final = 5
_PATIENCE_MS: Final = 60_000.0

Place = tuple[int, int]


class _Listeners:
    """The traces of all guilds, fed with what the server's listeners hear."""

    def __init__(self, server: DiscordVoiceServer) -> None:
        self.traces: dict[int, Trace] = {}
        self._hear = server.calls.hear
        self.undecrypted = 0

    def hear(self, place: Place, user_id: int, timestamp: int, frame: bytes) -> bytes | None:
        """Stand before `DaveCalls.hear`."""
        opus = self._hear(place, user_id, timestamp, frame)
        if opus:
            trace = self.traces.get(place[0])
            if trace is not None:
                trace.add(time.monotonic_ns(), opus)
        else:
            self.undecrypted += 1
        return opus


async def _run() -> None:
    # A worker that is stopped sends no heartbeats; what becomes of its session is not what is asked here.
    async with DiscordVoiceServer(
        keep_audio_s=0, dave="required", heartbeat_timeout_ms=_PATIENCE_MS
    ) as server:
        listeners = _Listeners(server)
        server.calls.hear = listeners.hear  # type: ignore[method-assign] # the only place all frames pass
        polling = asyncio.create_task(_poll(server))
        try:
            await serve(_deeds(server, listeners))
        finally:
            polling.cancel()


def _deeds(server: DiscordVoiceServer, listeners: _Listeners) -> dict[str, Callable[..., object]]:
    traces = listeners.traces

    def describe() -> dict[str, object]:
        return {"ca_file": str(server.ca_file)}

    def grant(guilds: list[int], sound: list[int]) -> list[dict[str, object]]:
        """Hand out credentials; the guilds in `sound` play what has no numbers."""
        for guild in guilds:
            traces.setdefault(guild, Trace(keep_sound=guild in sound))
        return [dataclasses.asdict(server.grant(guild, _CHANNEL_OFFSET + guild, _USER)) for guild in guilds]

    def packets() -> dict[str, int]:
        return {str(guild): len(trace) for guild, trace in traces.items()}

    def silent(than_ms: float) -> list[int]:
        """Return the guilds of which nothing has come for so long."""
        since_ns = time.monotonic_ns() - round(than_ms * 1e6)
        return [guild for guild, trace in traces.items() if trace.last_ns < since_ns]

    async def breaks(windows: list[dict[str, Any]]) -> list[list[dict[str, float | int | None]]]:
        return [await asyncio.to_thread(_breaks, traces, **window) for window in windows]

    def jumps(guilds: list[int]) -> list[tuple[int, int]]:
        """Return how many packets each guild has lost, and how many came twice."""
        return [traces[guild].jumps() for guild in guilds]

    def totals() -> dict[str, object]:
        return {
            "packets": sum(len(trace) for trace in traces.values()),
            "sessions": len(server.sessions),
            "undecrypted": listeners.undecrypted,
            "dropped_by_kernel": server.kernel_drops,
            "nonce_reuses": sum(session.media.nonce_reuses for session in server.sessions),
            "violations": list(server.violations)[:_VIOLATIONS_SHOWN],
        }

    deeds = (describe, grant, packets, silent, breaks, jumps, totals)
    return {deed.__name__: deed for deed in deeds}


def _breaks(
    traces: dict[int, Trace], *, from_ns: int, until_ns: int, guilds: list[int]
) -> list[dict[str, float | int | None]]:
    found: list[dict[str, float | int | None]] = []
    for guild in guilds:
        broken = traces[guild].longest_break(from_ns, until_ns)
        gap_ms = broken.gap_ms if math.isfinite(broken.gap_ms) else None
        found.append({"guild": guild, "gap_ms": gap_ms, "moved_ms": broken.moved_ms})
    return found


async def _poll(server: DiscordVoiceServer) -> None:
    """Take in what has arrived each `_LOOK_S`: to be woken by each datagram costs its sender CPU time."""
    udp = server._udp
    assert udp is not None
    if udp._transport is None:
        asyncio.get_running_loop().remove_reader(udp._socket)
    while True:
        udp.drain_all()
        await asyncio.sleep(_LOOK_S)


def main() -> None:
    """Serve until stdin closes."""
    keep_to_argument()
    asyncio.run(_run())


if __name__ == "__main__":
    main()
