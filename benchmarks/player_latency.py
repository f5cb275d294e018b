"""How soon a change is heard: from the call of the bot's method to the arrival of the first packet with it.

A steady tone plays in one call. Its volume is changed, another place is sought where the tone is another, the
queue skips to a track with another one; what the voice server gets is decoded, and the first packet that
differs counts. The changes are spread evenly over the 20 ms between two packets. Once for a source that is
encoded, and once for one that passes through, whose packets wait in a longer ring.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.ear import HIGH_HZ, LOW_HZ, Ear, Heard, level, share
from benchmarks.machine import Cores, keep_to
from benchmarks.report import Figure, Goal
from benchmarks.rig import BenchmarkError
from benchmarks.sources import Kind, Tones
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.credentials import VoiceCredentials
from voicepool.pool import VoicePool
from voicepool.testing import DiscordVoiceServer

__all__ = ["figures_of_delays", "first_change_ms", "measure_latency"]

PLAY_GOAL_MS: Final = 40.0
CHANGE_GOAL_MS: Final = 60.0
_KINDS: Final[tuple[tuple[Kind, str], ...]] = (("wav", "encoding"), ("ogg", "passing through"))
_PLAYED: Final[tuple[tuple[Kind, str], ...]] = (("wav", "a WAV"), ("mp3", "an MP3"), ("ogg", "Ogg/Opus"))
_BEFORE_PACKETS: Final = 10
"""What is heard before a change, to compare it with."""
_AFTER_PACKETS: Final = 15
"""Far more than a change may take."""
_FRAME_S: Final = 0.02
_QUIET: Final = 0.25
_LOUDER: Final = 1.12
"""1 dB: more than the codec makes of a steady tone."""
_SHARE: Final = 0.02
"""Of the new tone in a packet's energy: it fades in over the first, of which the codec holds 6.5 ms back."""
_NS_PER_MS: Final = 1e6

_Change = Callable[[], Awaitable[object]]
_Differs = Callable[[Heard], bool]


@dataclass(frozen=True, slots=True)
class _Bench:
    voice: BaseVoiceConnection
    ear: Ear


async def measure_latency(cores: Cores, *, repeats: int) -> list[Figure]:
    """Measure everything `repeats` times, on a worker and a voice server of its own."""
    figures = []
    tone_s = 2.0 + repeats * (_BEFORE_PACKETS + _AFTER_PACKETS + 3) * _FRAME_S
    with tempfile.TemporaryDirectory(prefix="voicepool-bench-") as folder:
        tones = {
            kind: await asyncio.to_thread(
                Tones.make, Path(folder), kind, tone_s, low_hz=LOW_HZ, high_hz=HIGH_HZ
            )
            for kind, _ in _PLAYED
        }
        async with _open_bench(cores) as bench:
            for kind, name in _PLAYED:
                delays_ms = await _play(bench, tones[kind].low, repeats)
                figures += figures_of_delays(
                    "from the method to the first packet", f"play {name}", delays_ms, PLAY_GOAL_MS
                )
            for kind, name in _KINDS:
                group = f"from the method to the first packet with the change, {name}"
                for what, measure in (("volume", _volume), ("seek", _seek), ("skip", _skip)):
                    delays_ms = await measure(bench, tones[kind], repeats)
                    figures += figures_of_delays(group, what, delays_ms, CHANGE_GOAL_MS)
    return figures


def figures_of_delays(group: str, name: str, delays_ms: list[float], goal_ms: float) -> list[Figure]:
    """Return the median, and the maximum with its goal."""
    return [
        Figure(group=group, name=f"{name}, p50", value=statistics.median(delays_ms), unit="ms"),
        Figure(group=group, name=f"{name}, max", value=max(delays_ms), unit="ms", goal=Goal(goal_ms)),
    ]


def first_change_ms(heard: list[Heard], since_ns: int, differs: _Differs) -> float:
    """Return how long after `since_ns` the first frame came that differs.

    Raises
    ------
    BenchmarkError
        None did, or what came before was no different.
    """
    if any(differs(frame) for frame in heard if frame.arrival_ns <= since_ns):
        raise BenchmarkError("what was heard before a change cannot be told from what was heard after it")
    for frame in heard:
        if frame.arrival_ns > since_ns and differs(frame):
            return (frame.arrival_ns - since_ns) / _NS_PER_MS
    raise BenchmarkError(f"a change was not heard in the {len(heard)} packets around it")


@asynccontextmanager
async def _open_bench(cores: Cores) -> AsyncIterator[_Bench]:
    try:
        keep_to(cores.rest, cores.worker)
        # Without end-to-end encryption, whose place at the stand-in is the ear's.
        async with DiscordVoiceServer(dave=False, keep_audio_s=0) as server:
            config = PoolConfig(workers=1, ca_file=str(server.ca_file), dave=False)
            async with VoicePool(config) as pool:
                keep_to(cores.rest)
                grant = server.grant(guild_id=1, channel_id=2, user_id=3)
                voice = await pool.connect(
                    VoiceCredentials(
                        guild_id=grant.guild_id,
                        channel_id=grant.channel_id,
                        user_id=grant.user_id,
                        session_id=grant.session_id,
                        token=grant.token,
                        endpoint=grant.endpoint,
                    )
                )
                yield _Bench(voice, Ear(await server.wait_for_session(grant.guild_id)))
    finally:
        keep_to(*cores.allowed)


async def _play(bench: _Bench, file: Path, repeats: int) -> list[float]:
    delays_ms = []
    for number in range(repeats):
        bench.ear.forget()
        await asyncio.sleep(number / repeats * _FRAME_S)
        began_ns = time.monotonic_ns()
        await bench.voice.start(file)
        await bench.ear.wait_for_sound()
        heard = await bench.ear.sound()
        delays_ms.append(
            first_change_ms(
                [frame for frame in heard if frame.arrival_ns > began_ns],
                began_ns,
                lambda frame: not frame.is_silence,
            )
        )
        await bench.voice.stop()
        await bench.ear.wait_for_silence()
    return delays_ms


async def _volume(bench: _Bench, tones: Tones, repeats: int) -> list[float]:
    voice, delays_ms = bench.voice, []
    await voice.start(tones.low)
    await _settle(bench)

    async def turn_to(volume: float) -> None:
        voice.volume = volume

    for number in range(repeats):
        volume = 1.0 if number % 2 else _QUIET
        delays_ms.append(await _change(bench, partial(turn_to, volume), number / repeats, _leaves_its_level))
    voice.volume = 1.0
    await _finish(bench)
    return delays_ms


async def _seek(bench: _Bench, tones: Tones, repeats: int) -> list[float]:
    delays_ms = []
    track = await bench.voice.start(tones.both)
    await _settle(bench)
    for number in range(repeats):
        to_low = number % 2 == 1
        place_s = (0.0 if to_low else tones.seconds) + 0.5
        delays_ms.append(
            await _change(bench, partial(track.seek, place_s), number / repeats, _has(low=to_low))
        )
    await _finish(bench)
    return delays_ms


async def _skip(bench: _Bench, tones: Tones, repeats: int) -> list[float]:
    queue = bench.voice.queue
    queue.add(*(tones.high if number % 2 else tones.low for number in range(repeats + 2)))
    await _settle(bench)
    delays_ms = [
        await _change(bench, queue.skip, number / repeats, _has(low=number % 2 == 1))
        for number in range(repeats)
    ]
    queue.clear()
    await _finish(bench)
    return delays_ms


async def _change(
    bench: _Bench, change: _Change, phase: float, differing: Callable[[list[Heard]], _Differs]
) -> float:
    """Change something at a phase of the packets' 20 ms; return after how many ms it was heard."""
    ear = bench.ear
    ear.forget()
    await ear.wait_for(_BEFORE_PACKETS)
    await asyncio.sleep(phase * _FRAME_S)
    began_ns = time.monotonic_ns()
    await change()
    await ear.wait_for(_AFTER_PACKETS)
    heard = await ear.sound()
    known = [frame for frame in heard if frame.arrival_ns <= began_ns][-_BEFORE_PACKETS:]
    later = [frame for frame in heard if frame.arrival_ns > began_ns]
    return first_change_ms([*known, *later], began_ns, differing(known))


def _leaves_its_level(known: list[Heard]) -> _Differs:
    usual = level(known)
    return lambda frame: not usual / _LOUDER < level([frame]) < usual * _LOUDER


def _has(*, low: bool) -> Callable[[list[Heard]], _Differs]:
    """Return what tells a frame with one of the tones in it."""
    frequency_hz = LOW_HZ if low else HIGH_HZ
    return lambda _: lambda frame: share(frame, frequency_hz) > _SHARE


async def _settle(bench: _Bench) -> None:
    """Wait until the sound is steady: a tone that begins is not yet as loud."""
    await bench.ear.wait_for_sound()
    await bench.ear.wait_for(_BEFORE_PACKETS)


async def _finish(bench: _Bench) -> None:
    await bench.voice.stop()
    await bench.ear.wait_for_silence()
