"""A real worker process over a real link: from Hello to Bye, and every way in which it can have to leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import psutil
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.audio.media_files import encode
from tests.workers.live_studio import CALL, GCM, credentials, open_command, play_command
from tests.workers.worker_process import WorkerProcess, worker_process
from voicepool.ipc.channel import LinkFullError, WorkerEnd
from voicepool.ipc.commands import (
    CloseCall,
    Command,
    OpenCall,
    Pause,
    Play,
    ReportStats,
    Setup,
    Shutdown,
    WorkerSettings,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import (
    Bye,
    CallOpened,
    Done,
    EndReason,
    Event,
    Failed,
    Ready,
    StartFailed,
    Stats,
    TrackEnded,
    TrackReady,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, WorkerId
from voicepool.ipc.sources import FileSource
from voicepool.ipc.version import WIRE_VERSION
from voicepool.testing.voice_server import DiscordVoiceServer
from voicepool.testing.voice_session import VoiceSession
from voicepool.workers import process
from voicepool.workers.clock import raise_thread_priority
from voicepool.workers.sampling import EVERY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and ipc:// are of POSIX systems")


async def join(worker: WorkerProcess, server: DiscordVoiceServer) -> VoiceSession:
    worker.post(open_command(server.grant(1, 2, 3)))
    opened = await worker.wait_for(CallOpened)
    assert (opened.generation, opened.mode) == (1, GCM)
    return await server.wait_for_session(1)


async def play(worker: WorkerProcess, seconds: float) -> None:
    worker.post(*play_command(seconds=seconds))
    await worker.wait_for(TrackReady)


# The life of a worker.


@asyncio_test
async def test_from_hello_to_bye() -> None:
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    async with worker_process() as worker:
        hello = await worker.greet()
        assert (hello.worker, hello.wire_version, hello.pid) == ("w0.1", WIRE_VERSION, worker.process.pid)
        worker.post(Setup(settings=WorkerSettings(core=core)))
        ready = await worker.wait_for(Ready)
        assert ready.libopus.startswith("libopus")
        assert ready.libopus_origin in {"system", "pyav", "configured"}
        assert ready.loop in {"uvloop", "asyncio"}
        assert ready.encoder_class in {"idle", "normal"}
        assert ready.core == core
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0
        assert await worker.output() == ""


def may_be_real_time() -> bool:
    """Whether a thread of this user may be of the class that workers send in."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(raise_thread_priority).result() == "fifo"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the idle class")
@pytest.mark.parametrize("pacing_class", ["auto", "normal"])
@asyncio_test
async def test_the_encoder_is_idle_unless_sending_is_real_time(pacing_class: str) -> None:
    expected = "normal" if pacing_class == "auto" and may_be_real_time() else "idle"
    async with worker_process() as worker:
        await worker.greet()
        worker.post(Setup(settings=WorkerSettings(encoder_class="idle", pacing_class=pacing_class)))
        assert (await worker.wait_for(Ready)).encoder_class == expected


@asyncio_test
async def test_it_plays_through_and_leaves_in_order() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file))
        session = await join(worker, server)
        await play(worker, seconds=0.5)
        ended = await worker.wait_for(TrackEnded)
        assert (ended.reason, ended.error) == (EndReason.FINISHED, None)
        await session.wait_for_packets(ended.frames_sent + 5)
        worker.post(CloseCall(request=RequestId(9), call=CALL))
        assert (await worker.wait_for(Done)).request == 9
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0
        assert session.report().problems == ()
        assert session.report().frames == ended.frames_sent
        assert await worker.output() == ""


@asyncio_test
async def test_a_shutdown_in_mid_song_ends_call_and_track_first() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file))
        session = await join(worker, server)
        await play(worker, seconds=30.0)
        await session.wait_for_packets(5)
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert [event.reason for event in worker.events if isinstance(event, TrackEnded)] == [
            EndReason.STOPPED
        ]
        assert await worker.exit_code() == 0
        await session.wait_closed()
        assert session.close_code_received == 1000


@asyncio_test
async def test_the_figures_are_those_of_what_was_done() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file), stats_interval_s=60.0)
        session = await join(worker, server)
        await play(worker, seconds=30.0)
        await session.wait_for_packets(20)
        worker.post(ReportStats(request=RequestId(77)))
        stats = await worker.wait_for(Stats)
        assert (stats.request, stats.worker) == (77, "w0.1")
        assert stats.frames_sent >= 20
        # The pacing thread does not stop for whoever counts.
        assert stats.frames_sent == pytest.approx(sum(stats.lateness_counts), abs=1)
        assert stats.lateness_counts[-1] > 0, "trailing zeros are cut"
        assert stats.lateness_max_us >= 0
        assert stats.uptime_s > 0.0
        assert stats.cpu_s >= stats.pacing_cpu_s + stats.encode_cpu_s
        assert stats.rss_bytes == pytest.approx(psutil.Process(worker.process.pid).memory_info().rss, rel=0.3)
        if sys.platform == "linux":
            assert stats.pacing_cpu_s > 0.0
        assert (stats.encoder_class, stats.rescues, stats.dropped_stats) == ("normal", 0, 0)
        assert 0.0 <= stats.encoder_share <= 1.0
        assert stats.loop_lag_ms >= 0.0
        assert (stats.complexity, stats.sheds, stats.stations) == (0, 0, []), "as configured here"
        if sys.platform == "linux":
            assert stats.pss_bytes is not None
            assert 0 < stats.pss_bytes <= stats.rss_bytes * 1.3
        [call] = stats.calls
        [track] = call.tracks
        assert (call.call, track.playback) == (CALL, "p")
        assert call.frames_sent == pytest.approx(stats.frames_sent, abs=1)
        # While the ring is being filled, up to a burst is not counted as sent yet.
        assert track.frames_sent == pytest.approx(call.frames_sent, abs=24)
        assert track.position_s == pytest.approx(track.frames_sent / 50, abs=0.5)


@asyncio_test
async def test_it_reports_by_itself_as_often_as_it_is_told() -> None:
    async with worker_process() as worker:
        await worker.set_up(stats_interval_s=0.05)
        stats = [await worker.wait_for(Stats) for _ in range(3)]
        assert [figures.request for figures in stats] == [None] * 3
        assert stats[0].uptime_s < stats[1].uptime_s < stats[2].uptime_s
        assert stats[2].calls == []


@asyncio_test
async def test_the_estimates_grow_with_what_is_done(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    song.write_bytes(encode("libmp3lame", "mp3", seconds=10, bitrate_bps=128_000))
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file), stats_interval_s=60.0, complexity=0)
        session = await join(worker, server)
        worker.post(
            Play(request=RequestId(5), call=CALL, playback=PlaybackId("q"), source=FileSource(str(song)))
        )
        await worker.wait_for(TrackReady)
        await session.wait_for_packets(2 * EVERY)
        worker.post(ReportStats(request=RequestId(6)))
        stats = await worker.wait_for(Stats)
        assert 0.0 < stats.decode_s + stats.opus_s < 4 * stats.encode_cpu_s
        assert min(stats.decode_s, stats.opus_s, stats.seal_s) > 0.0
        assert stats.encoder_share > 0.0


@asyncio_test
async def test_a_memory_limit_is_in_force_and_what_was_given_up_is_logged() -> None:
    async with worker_process() as worker:
        await worker.set_up(log_level="DEBUG", memory_limit_bytes=1 << 30)
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0
        output = await worker.output()
        for step in ("no new privileges", "not dumpable", "no core dumps", "bounded files", "open files"):
            assert f"{step}: " in output
        assert "bounded memory: " in output
        assert "w0.1 " in output


@asyncio_test
async def test_log_lines_are_json_when_asked_for_and_name_the_guild_but_no_secret() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file), log_level="DEBUG", log_format="json")
        await join(worker, server)
        wrong = credentials(server.grant(4, 5, 6), token="SECRET-wrong")
        worker.post(OpenCall(request=RequestId(6), call=CallId("other"), generation=1, credentials=wrong))
        await worker.wait_for(Failed)
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0
        output = await worker.output()
        lines = [json.loads(line) for line in output.splitlines()]
        assert {line["resource"]["service.instance.id"] for line in lines} == {"w0.1"}
        assert {line["attributes"].get("guild") for line in lines} >= {"1", "4"}
        assert "SECRET" not in output


# What cannot be.


@asyncio_test
async def test_a_libopus_that_is_none_fails_the_start(tmp_path: Path) -> None:
    fake = tmp_path / "libopus.so"
    fake.write_bytes(b"no library")
    async with worker_process() as worker:
        await worker.greet()
        worker.post(Setup(settings=WorkerSettings(libopus=str(fake))))
        failed = await worker.wait_for(StartFailed)
        assert failed.error.code is ErrorCode.LIBOPUS_MISSING
        assert str(fake) in failed.error.text
        assert await worker.exit_code() == 1


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_file_that_cannot_be_used_fails_the_start(tmp_path: Path, content: bytes | None) -> None:
    @asyncio_test
    async def scenario() -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        async with worker_process() as worker:
            await worker.greet()
            worker.post(Setup(settings=WorkerSettings(ca_file=str(path))))
            failed = await worker.wait_for(StartFailed)
            assert failed.error.code is ErrorCode.CERTIFICATE
            assert str(path) in failed.error.text
            assert await worker.exit_code() == 1

    scenario()


@asyncio_test
async def test_another_first_message_than_setup_ends_it() -> None:
    async with worker_process() as worker:
        await worker.greet()
        worker.post(Shutdown())
        assert await worker.exit_code() == 1
        assert "Shutdown and not a Setup" in await worker.output()


@asyncio_test
async def test_an_unreadable_first_message_ends_it_without_a_traceback() -> None:
    async with worker_process() as worker:
        await worker.greet()
        worker.link._socket.send_multipart([worker.link._heard, b"\xc1 no msgpack"])
        assert await worker.exit_code() == 1
        output = await worker.output()
        assert "cannot be read" in output
        assert "Traceback" not in output


@asyncio_test
async def test_an_unreadable_command_later_is_skipped() -> None:
    async with worker_process() as worker:
        await worker.set_up()
        worker.link._socket.send_multipart([worker.link._heard, b"\xc1 no msgpack"])
        worker.post(ReportStats(request=RequestId(3)))
        assert (await worker.wait_for(Stats)).request == 3
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0
        assert "was skipped" in await worker.output()


@asyncio_test
async def test_a_bad_source_and_a_refusing_server_are_answers_and_the_song_plays_on(tmp_path: Path) -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file))
        session = await join(worker, server)
        await play(worker, seconds=1.0)
        missing = FileSource(str(tmp_path / "missing.mp3"))
        worker.post(Play(request=RequestId(5), call=CALL, playback=PlaybackId("q"), source=missing))
        failed = await worker.wait_for(Failed)
        assert (failed.request, failed.error.code) == (5, ErrorCode.SOURCE_NOT_FOUND)
        wrong = credentials(server.grant(4, 5, 6), token="SECRET-wrong")
        worker.post(OpenCall(request=RequestId(6), call=CallId("other"), generation=1, credentials=wrong))
        failed = await worker.wait_for(Failed)
        assert (failed.request, failed.error.code) == (6, ErrorCode.AUTHENTICATION)
        ended = await worker.wait_for(TrackEnded)
        assert (ended.playback, ended.reason) == ("p", EndReason.FINISHED)
        await session.wait_until(lambda it: it.media.silence_frames >= 5)
        assert session.report().problems == ()
        assert "SECRET" not in repr(worker.events)


# Ways to leave.


@asyncio_test
async def test_without_its_bot_it_leaves_before_it_is_set_up() -> None:
    async with worker_process() as worker:
        await worker.greet()
        worker.close_input()
        assert await worker.exit_code() == 0


@asyncio_test
async def test_without_its_bot_it_leaves_in_mid_song_and_says_goodbye_to_discord() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file))
        session = await join(worker, server)
        await play(worker, seconds=30.0)
        await session.wait_for_packets(5)
        worker.close_input()
        assert await worker.exit_code() == 0
        await session.wait_closed()
        assert session.close_code_received == 1000


@asyncio_test
async def test_without_its_bot_it_leaves_even_when_the_voice_server_hangs() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        server.mute_step("session_description")
        await worker.set_up(ca_file=str(server.ca_file))
        worker.post(open_command(server.grant(1, 2, 3)))
        session = await server.wait_for_session(1)
        await session.wait_until(lambda it: it.mode is not None)
        worker.close_input()
        assert await worker.exit_code() in {0, 1}


@asyncio_test
async def test_sigterm_ends_it_in_order() -> None:
    async with DiscordVoiceServer() as server, worker_process() as worker:
        await worker.set_up(ca_file=str(server.ca_file))
        session = await join(worker, server)
        await play(worker, seconds=30.0)
        await session.wait_for_packets(3)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        await session.wait_closed()
        assert session.close_code_received == 1000


@pytest.mark.parametrize("moment", ["at once", "after Hello", "after Setup", "twice"])
def test_sigterm_during_the_start_leaves_no_traceback(moment: str) -> None:
    @asyncio_test
    async def scenario() -> None:
        async with worker_process() as worker:
            if moment != "at once":
                await worker.greet()
            if moment in {"after Setup", "twice"}:
                worker.post(Setup(settings=WorkerSettings()))
            worker.process.send_signal(signal.SIGTERM)
            if moment == "twice":
                worker.process.send_signal(signal.SIGTERM)
            # So early that nothing was there to handle it, it ends as any program does.
            assert await worker.exit_code() in ({0, -signal.SIGTERM} if moment == "at once" else {0})
            assert "Traceback" not in await worker.output()

    scenario()


@asyncio_test
async def test_ctrl_c_was_meant_for_the_bot() -> None:
    async with worker_process() as worker:
        await worker.greet()
        worker.process.send_signal(signal.SIGINT)
        worker.post(Setup(settings=WorkerSettings()))
        worker.process.send_signal(signal.SIGINT)
        worker.post(ReportStats(request=RequestId(3)))
        assert (await worker.wait_for(Stats)).request == 3
        worker.post(Shutdown())
        await worker.wait_for(Bye)
        assert await worker.exit_code() == 0


@asyncio_test
async def test_what_it_was_given_shows_neither_in_its_arguments_nor_in_its_environment() -> None:
    async with worker_process() as worker:
        await worker.set_up(log_level="DEBUG")
        seen = psutil.Process(worker.process.pid)
        assert "SECRET" not in repr(seen.cmdline())
        # Only root sees the environment of a process that is not dumpable.
        with contextlib.suppress(psutil.AccessDenied):
            assert "SECRET" not in repr(seen.environ())
        worker.post(Shutdown())
        assert await worker.exit_code() == 0
        assert "SECRET" not in await worker.output()


# In this process, with a link that misbehaves.


class Link:
    """Stands for a `WorkerEnd` that is full, or that delivers what it was given."""

    dropped = 3

    def __init__(self, *commands: Command) -> None:
        self._commands = list(commands)
        self.used_up = asyncio.Event()
        self.full = False
        self.posted: list[Event] = []

    def post(self, event: Event, *, lossy: bool = False) -> None:
        if self.full:
            raise LinkFullError
        self.posted.append(event)

    async def receive(self) -> tuple[Command, list[bytes]]:
        if self._commands:
            return self._commands.pop(0), []
        self.used_up.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def flush(self) -> None:
        await asyncio.Event().wait()


def worker_on(link: Link) -> process.Worker:
    return process.Worker(WorkerId("w0.1"), WorkerSettings(), cast("WorkerEnd", link))


@asyncio_test
async def test_a_bot_that_reads_nothing_any_more_is_left() -> None:
    link = Link()
    worker = worker_on(link)
    link.full = True
    worker._report_stats(None)
    assert not worker.finished.is_set(), "figures may be lost"
    worker._report_stats(RequestId(1))
    assert worker.finished.is_set()


@asyncio_test
async def test_what_such_a_bot_does_not_take_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LINGER_MS", 1)
    assert await process._fail(cast("WorkerEnd", Link()), ErrorInfo(ErrorCode.INTERNAL, "x")) == 1


@asyncio_test
async def test_a_command_that_breaks_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(Pause(call=CALL), ReportStats(request=RequestId(5)))
    worker = worker_on(link)
    handle = worker._dispatcher.handle

    def break_on_pause(command: Command, attachments: list[bytes]) -> None:
        if isinstance(command, Pause):
            raise ZeroDivisionError
        handle(command, attachments)

    monkeypatch.setattr(worker._dispatcher, "handle", break_on_pause)
    serving = asyncio.create_task(worker._serve_commands())
    await link.used_up.wait()
    serving.cancel()
    await asyncio.wait({serving})
    [stats] = link.posted
    assert isinstance(stats, Stats)
    assert (stats.request, stats.dropped_stats) == (5, 3)
    assert "a Pause failed inside voicepool" in caplog.text
