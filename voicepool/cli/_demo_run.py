"""One performance: a real hikari bot plays in many guilds of a stand-in, through a pool of real workers.

The stand-in has a process of its own and the samples are compared afterwards, so that what this process costs
meanwhile is what a bot costs that plays music.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicepool.cli._demo_bot import cancelled, join_all, running_bot
from voicepool.cli._demo_compare import RATE_HZ, compare
from voicepool.cli._demo_media import read_wav
from voicepool.cli._demo_progress import Progress
from voicepool.cli._demo_report import DemoReport
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.pool import VoicePool
from voicepool.source import AudioFile
from voicepool.stats import PoolStats
from voicepool.testing.process import StandInProcess
from voicepool.testing.stand_in_values import WavFile
from voicepool.testing.voice_report import SessionReport

__all__ = ["Plan", "perform"]

_LOOK_S: Final = 0.05
_PROGRESS_S: Final = 0.25
_SETTLE_S: Final = 3.0
_CLOSING_SILENCE_FRAMES: Final = 5
_FRAME_SAMPLES: Final = 960
_FRAME_S: Final = _FRAME_SAMPLES / RATE_HZ
_KEEP_SPARE_S: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be played, where, and for how long.

    Attributes
    ----------
    guilds
        How many.
    seconds
        How long; a shorter source ends by itself.
    source
        The file.
    music
        The same file as samples: int16, shape (samples, 2), 48 kHz, from its beginning, some seconds longer
        than `seconds` if it is.
    out
        The directory for WAV files.
    config
        Of the pool; its ``ca_file`` is replaced by the stand-in's. Without ``dave`` the stand-in does without
        it as well.
    """

    guilds: int
    seconds: float
    source: Path
    music: NDArray[np.int16]
    out: Path
    config: PoolConfig


@dataclasses.dataclass(frozen=True, slots=True)
class _Moment:
    """Counters at one moment."""

    process_cpu_s: float
    stats: PoolStats

    @classmethod
    async def now(cls, pool: VoicePool) -> _Moment:
        stats = await pool.refresh_stats()
        return cls(time.process_time(), stats)

    @property
    def worker_cpu_s(self) -> float:
        return sum(worker.cpu_s for worker in self.stats.workers)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Performance:
    """What the pool knows when all is over."""

    begin: _Moment
    end: _Moment
    total: PoolStats
    modes: str
    libopus: str
    workers: int

    @property
    def _frames(self) -> int:
        return self.end.stats.frames_sent - self.begin.stats.frames_sent

    @property
    def bot_cpu_us(self) -> float:
        return 1e6 * (self.end.process_cpu_s - self.begin.process_cpu_s) / max(1, self._frames)

    @property
    def worker_cpu_us(self) -> float:
        return 1e6 * (self.end.worker_cpu_s - self.begin.worker_cpu_s) / max(1, self._frames)


async def perform(plan: Plan, progress: Progress) -> DemoReport:
    """Play, and return what was measured. All that was started has ended then, whatever happens.

    Raises
    ------
    VoicePoolError
        The pool, a connection or a playback failed.
    StandInError, DemoError
        The stand-in or the bot did not come up.
    OSError
        A WAV file cannot be written.
    """
    progress.say("starting the stand-in for Discord")
    async with StandInProcess(
        guilds=plan.guilds,
        voice_channels=1,
        stage_channels=0,
        keep_audio_s=plan.seconds + _KEEP_SPARE_S,
        dave=plan.config.dave,
    ) as discord:
        config = dataclasses.replace(plan.config, ca_file=discord.ca_file)
        progress.say("starting workers")
        async with VoicePool(config) as pool, running_bot(discord) as bot:
            voices = await join_all(bot, pool, discord, progress)
            performance = await _play(pool, voices, plan, progress)
            progress.say("leaving")
        reports = await _wait_for_arrival(discord, performance.total.frames_sent)
        violations = await discord.violations()
        remarks = [text for text in await discord.problems() if text not in violations]
        drops = await discord.kernel_drops()
        progress.say("writing what was heard")
        files = sorted(await discord.write_wavs(plan.out), key=lambda file: file.guild_id)
        names = {guild.id: guild.name for guild in discord.guilds}
    progress.say("comparing")
    heard = {report.guild_id: _audio_s(report) for report in reports}
    whole_s = min(plan.seconds, len(plan.music) / RATE_HZ)
    return DemoReport(
        guilds=plan.guilds,
        workers=performance.workers,
        seconds=plan.seconds,
        source=plan.source.name,
        source_s=whole_s,
        frames_sent=performance.total.frames_sent,
        frames_received=_received(reports),
        sequence_gaps=sum(report.sequence_gaps for report in reports),
        nonce_reuses=sum(report.nonce_reuses for report in reports),
        kernel_drops=drops,
        violations=violations,
        remarks=remarks,
        underruns=performance.total.frames_nulled,
        ticks_skipped=performance.total.ticks_skipped,
        lateness_p50_ms=performance.total.lateness.p50_ms,
        lateness_p99_ms=performance.total.lateness.p99_ms,
        lateness_p999_ms=performance.total.lateness.p999_ms,
        lateness_max_ms=performance.total.lateness.max_ms,
        bot_cpu_us_per_frame=performance.bot_cpu_us,
        worker_cpu_us_per_frame=performance.worker_cpu_us,
        correlations=_correlations(names, files, plan.music),
        heard_s=min((heard.get(guild, 0.0) for guild in names), default=0.0),
        libopus=performance.libopus,
        mode=performance.modes,
        dave=plan.config.dave,
        dave_protocol_version=min((report.dave_protocol_version for report in reports), default=0),
        dave_failures=sum(report.dave_failures for report in reports),
        wav_dir=plan.out,
        wav_files=[file.path.name for file in files],
    )


async def _play(
    pool: VoicePool, voices: Sequence[BaseVoiceConnection], plan: Plan, progress: Progress
) -> _Performance:
    modes = ", ".join(sorted({voice.mode or "none" for voice in voices}))
    worker = pool.workers[0]
    before = await _Moment.now(pool)
    playing = [asyncio.create_task(voice.play(AudioFile(plan.source))) for voice in voices]
    try:
        started = await _wait_for_sound(pool, playing, len(voices))
        await _wait_until_over(playing, plan, progress)
        end = await _Moment.now(pool)
        await asyncio.gather(*(voice.stop() for voice in voices))
        await asyncio.gather(*playing)
    finally:
        await cancelled(playing)
    total = await _wait_for_silence(pool, len(voices))
    # Opening the source is no part of what a frame costs, unless there is nothing else.
    late = started.stats.frames_sent > (before.stats.frames_sent + end.stats.frames_sent) / 2
    return _Performance(
        begin=before if late else started,
        end=end,
        total=total,
        modes=modes,
        libopus=f"{worker.libopus} ({worker.libopus_origin})",
        workers=len(pool.workers),
    )


async def _wait_for_sound(pool: VoicePool, playing: Sequence[asyncio.Task[None]], calls: int) -> _Moment:
    """Return the moment when every call has sent something; a source that cannot be played raises."""
    while True:
        moment = await _Moment.now(pool)
        sounding = sum(call.frames_sent > 0 for call in moment.stats.calls)
        failed = next((task for task in playing if task.done() and task.exception()), None)
        if failed is not None:
            failed.result()
        if sounding >= calls or all(task.done() for task in playing):
            return moment
        await asyncio.sleep(_LOOK_S)


async def _wait_until_over(playing: Sequence[asyncio.Task[None]], plan: Plan, progress: Progress) -> None:
    """Return when the time is over, or everything has ended; a playback that breaks off raises."""
    whole_s = min(plan.seconds, len(plan.music) / RATE_HZ)
    began_s = time.monotonic()
    until_s = began_s + plan.seconds
    while (left_s := until_s - time.monotonic()) > 0:
        step_s = min(left_s, _PROGRESS_S) if progress.shown else left_s
        done, pending = await asyncio.wait(playing, timeout=step_s, return_when=asyncio.FIRST_EXCEPTION)
        progress.play(time.monotonic() - began_s, whole_s)
        for task in done:
            task.result()
        if not pending:
            return


async def _wait_for_silence(pool: VoicePool, calls: int) -> PoolStats:
    """Return the figures after the silence that ends each playback, or after a time without it."""
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        stats = await pool.refresh_stats()
        ended = sum(call.silence_sent >= _CLOSING_SILENCE_FRAMES for call in stats.calls)
        if ended >= calls or time.monotonic() > deadline_s:
            return stats
        await asyncio.sleep(_LOOK_S)


async def _wait_for_arrival(discord: StandInProcess, frames: int) -> list[SessionReport]:
    """Return the reports when everything has arrived, or after a time in which it has not."""
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        reports = await discord.reports()
        if _received(reports) >= frames or time.monotonic() > deadline_s:
            return reports
        await asyncio.sleep(_LOOK_S)


def _correlations(
    names: dict[int, str], files: Sequence[WavFile], music: NDArray[np.int16]
) -> dict[str, float]:
    found = dict.fromkeys(names.values(), 0.0)
    for file in files:
        # A playback that was stopped ends in silence where its source went on.
        heard = read_wav(file.path)[: -_CLOSING_SILENCE_FRAMES * _FRAME_SAMPLES]
        found[names[file.guild_id]] = compare(heard, music).correlation
    return found


def _received(reports: Sequence[SessionReport]) -> int:
    return sum(report.frames + report.silence_frames for report in reports)


def _audio_s(report: SessionReport) -> float:
    return report.audio_s - report.silence_frames * _FRAME_S
