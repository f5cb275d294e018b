"""The stand-in of the load benchmarks: what its listeners hear goes to the trace of their guild."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av

from benchmarks.chaos_source import write_numbered
from benchmarks.chaos_stand_in import _breaks, _Listeners
from benchmarks.chaos_trace import Trace
from voicepool.testing.voice_server import DiscordVoiceServer

MS = 1_000_000


def server(answers: list[bytes | None]) -> DiscordVoiceServer:
    def hear(*_: Any) -> bytes | None:
        return answers.pop(0)

    return cast("DiscordVoiceServer", SimpleNamespace(calls=SimpleNamespace(hear=hear)))


def test_frames_go_to_the_guild_they_came_from_and_on_to_the_server() -> None:
    listeners = _Listeners(server([b"\xfc1", b"\xfc2", None, b"", b"\xfc3"]))
    listeners.traces = {1: Trace(), 2: Trace()}
    heard = [listeners.hear((guild, 10), 1, 0, b"sealed") for guild in (1, 2, 2, 1, 3)]
    assert heard == [b"\xfc1", b"\xfc2", None, b"", b"\xfc3"]
    assert {guild: len(trace) for guild, trace in listeners.traces.items()} == {1: 1, 2: 1}
    assert listeners.undecrypted == 2


def test_breaks_are_told_as_json(tmp_path: Path) -> None:
    file = tmp_path / "numbered.ogg"
    write_numbered(file, 1.0)
    with av.open(str(file)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    traces = {1: Trace(), 2: Trace()}
    for number, packet in enumerate(packets):
        traces[1].add((number * 20 + (number >= 25) * 300) * MS, packet)
    assert _breaks(traces, from_ns=300 * MS, until_ns=1_000 * MS, guilds=[1, 2]) == [
        {"guild": 1, "gap_ms": 320.0, "moved_ms": 0.0},
        {"guild": 2, "gap_ms": None, "moved_ms": None},
    ]
