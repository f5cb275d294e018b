"""The worker's life: link up, set up, serve, end in order.

The main thread runs the control loop (ZeroMQ, websockets, UDP discovery). Two threads beside it make the
sound: the encoder, which works ahead into rings, and the pacer, which sends from them. The control loop looks
after both: it lowers the encoders' complexity in time (`shedding`), and tells the bot how things are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import zmq.asyncio

from voicepool.ipc.channel import LinkFullError, WorkerEnd
from voicepool.ipc.commands import CloseCall, Command, OpenCall, ReleaseCall, Setup, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.errors import ErrorCode, ErrorInfo, UnreadableMessageError
from voicepool.ipc.events import (
    Bye,
    CallClosed,
    CallReleased,
    CallRestored,
    Event,
    Failed,
    Hello,
    Ready,
    StartFailed,
    Stats,
    TrackEnded,
)
from voicepool.ipc.ids import CallId, RequestId, WorkerId
from voicepool.ipc.version import WIRE_VERSION
from voicepool.workers import logs
from voicepool.workers.audio.encoding import EncoderThreads
from voicepool.workers.audio.libopus import libopus_info
from voicepool.workers.audio.opening import Opener
from voicepool.workers.audio.opus_encoder import Ceiling, Encoder
from voicepool.workers.audio.station_sharing import Stations
from voicepool.workers.clock import MonotonicClock, lower_thread_priority, raise_thread_priority
from voicepool.workers.dispatch import Dispatcher
from voicepool.workers.errors import WorkerSideError
from voicepool.workers.garbage import STEP_S, GarbageSteps
from voicepool.workers.hardening import Step, limit_memory, limit_pieces, log_steps
from voicepool.workers.looking import Looks
from voicepool.workers.machine import pin_to_core, rss_bytes, step_back
from voicepool.workers.meters import LoopLag, ProportionalMemory, Share
from voicepool.workers.pacing.loop import Pacer
from voicepool.workers.sampling import DECODING, ENCODING, SEALING
from voicepool.workers.shedding import Shedding
from voicepool.workers.sound import Studio
from voicepool.workers.sourcing import Sourcing

__all__ = ["Worker", "serve"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

_SWITCH_INTERVAL_S: Final = 0.000_05
"""How long the pacing thread may wait for the interpreter while another thread computes."""
_LINGER_MS: Final = 1_000
_LEAVING_GARBAGE: Final = (TrackEnded, CallClosed, CallReleased, CallRestored, Failed)
"""What has ended when one of these is told; errors and their tracebacks are cycles most of the time."""
_SUBJECTS_PER_CALL: Final = 2
"""Of calls that came to nothing something is kept for the log, for a while."""


class Worker:
    """A worker that has been set up: its threads, its calls, its figures.

    Parameters
    ----------
    name
        From the bootstrap.
    settings
        From `Setup`.
    link
        To the bot.

    Raises
    ------
    WorkerSideError
        Something it cannot do without is missing.
    """

    def __init__(self, name: WorkerId, settings: WorkerSettings, link: WorkerEnd) -> None:
        self._name = name
        self._settings = settings
        self._link = link
        self._started_s = time.monotonic()
        self.finished = asyncio.Event()
        self._libopus = libopus_info(settings.libopus)
        self._core = pin_to_core(settings.core)
        self._encoders = EncoderThreads(
            make_clock=MonotonicClock,
            lower_priority=lower_thread_priority,
            role="normal" if settings.encoder_class == "normal" else "idle",
            ring_frames=settings.ring_frames,
        )
        self._pacer = Pacer(
            raise_priority=raise_thread_priority if settings.pacing_class == "auto" else None,
            watch=self._encoders.watch,
        )
        opener = Opener(
            open_timeout_s=settings.source_open_timeout_s,
            read_timeout_s=settings.source_read_timeout_s,
            read_ahead_s=settings.read_ahead_s,
            ca_file=settings.ca_file,
        )
        self._ceiling = Ceiling()
        self._shedding = Shedding(
            self._ceiling,
            self._encoders,
            self._pacer,
            configured=settings.complexity,
            ring_frames=settings.ring_frames,
        )
        self._subjects = logs.Subjects(_SUBJECTS_PER_CALL * settings.max_calls)
        self._lag = LoopLag()
        self._looks = Looks(
            self._lag, self._shedding.look if settings.shed_complexity else lambda _now_ns: None
        )
        self._share = Share(self._started_s)
        self._memory = ProportionalMemory(prepare_thread=step_back)
        self._stations = Stations(self._encoders, make_encoder=self._station_encoder)
        self._garbage = GarbageSteps()
        sample = Encoder()
        sourcing = Sourcing(
            opener,
            self._stations,
            ring_frames=settings.ring_frames,
            early_samples=sample.lookahead_samples,
        )
        sample.close()
        self._dispatcher = Dispatcher(
            studio=Studio(settings, sourcing, self._encoders, self._pacer, self._ceiling),
            ssl_context=_ssl_context(settings.ca_file),
            report=self._report,
            report_stats=self._report_stats,
            shut_down=self.finished.set,
        )

    def _station_encoder(self) -> Encoder:
        settings = self._settings
        return Encoder(
            bitrate_bps=settings.bitrate_bps, complexity=settings.complexity, ceiling=self._ceiling
        )

    async def run(self) -> None:
        """Serve commands until `finished` is set, then end everything in order."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        pacing_class = self._pacer.start()
        if pacing_class == "fifo":
            # It gets the core from any other thread anyway. But one of the idle class that is kept from the
            # core while it holds the interpreter's lock would keep the pacing thread waiting for that.
            self._encoders.role = "normal"
        encoder_class = self._encoders.start()
        self._garbage.start()
        self._looks.start()
        self._report(
            Ready(
                libopus=self._libopus.version,
                libopus_origin=self._libopus.origin,
                loop="uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio",
                encoder_class=encoder_class,
                core=self._core,
                pacing_class=pacing_class,
            )
        )
        tasks = [
            asyncio.create_task(self._serve_commands(), name="commands"),
            asyncio.create_task(self._report_regularly(), name="stats"),
            asyncio.create_task(self._collect_garbage(), name="garbage"),
        ]
        # Apart from those above, for it ends where the platform does not tell.
        memory = asyncio.create_task(self._memory.keep_reading(), name="memory")
        finished = asyncio.create_task(self._until_finished(), name="until finished")
        try:
            await asyncio.wait({finished, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            ending = (finished, memory, *tasks)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            self._looks.stop()
            try:
                await self._dispatcher.close()
                self._stations.close()
            finally:
                self._pacer.stop()
                self._encoders.stop()
                self._garbage.stop()
        self._report(Bye())

    async def _serve_commands(self) -> None:
        while True:
            try:
                command, attachments = await self._link.receive()
            except UnreadableMessageError as error:
                _LOGGER.warning("a command could not be read and was skipped: %s", error)
                continue
            self._looks.hurry()
            with self._subject(command):
                try:
                    self._dispatcher.handle(command, attachments)
                except Exception:
                    # A defect that one call shows must not end the others.
                    _LOGGER.exception("a %s failed inside voicepool", type(command).__name__)

    def _subject(self, command: Command) -> AbstractContextManager[None]:
        """Return what marks the lines that come of a command as being about its call."""
        call: CallId | None = getattr(command, "call", None)
        if call is None:
            return contextlib.nullcontext()
        if isinstance(command, OpenCall):
            given = command.credentials
            self._subjects.note(call, given.guild_id, secrets=(given.token, given.session_id))
        subject = self._subjects.about(call)
        if isinstance(command, CloseCall | ReleaseCall):
            self._subjects.forget(call)
        return subject

    async def _until_finished(self) -> None:
        await self.finished.wait()

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stats_interval_s)
            self._report_stats(None)
            now_s = time.monotonic()
            self._lag.restart()
            self._share.restart(now_s, self._encoders.worked_s(time.monotonic_ns()))

    async def _collect_garbage(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            self._garbage.step(
                calls=self._dispatcher.calls, sending=self._pacer.sends, memory_bytes=rss_bytes()
            )

    def _report(self, event: Event) -> None:
        if isinstance(event, _LEAVING_GARBAGE):
            self._garbage.ends += 1
        if isinstance(event, CallClosed):
            self._subjects.forget(event.call)
        try:
            self._link.post(event)
        except LinkFullError:
            # Thousands of answers unread: whoever was to read them is as good as gone.
            _LOGGER.critical("the bot reads nothing any more; worker %s leaves", self._name)
            self.finished.set()

    def _report_stats(self, request: RequestId | None) -> None:
        pacer, now_s = self._pacer, time.monotonic()
        counts = list(pacer.lateness.counts)
        while counts and counts[-1] == 0:
            counts.pop()
        stats = Stats(
            request=request,
            worker=self._name,
            cpu_s=time.process_time(),
            uptime_s=now_s - self._started_s,
            rss_bytes=rss_bytes(),
            frames_sent=pacer.packets,
            frames_nulled=pacer.nulled,
            ticks_skipped=pacer.turns_skipped,
            lateness_counts=counts,
            lateness_max_us=pacer.lateness.max_us,
            encoder_class=self._encoders.role,
            rescues=self._encoders.rescues,
            dropped_stats=self._link.dropped,
            encode_cpu_s=self._encoders.cpu_s,
            pacing_cpu_s=pacer.cpu_s,
            decode_s=DECODING.seconds,
            opus_s=ENCODING.seconds,
            seal_s=SEALING.seconds,
            pss_bytes=self._memory.pss_bytes,
            complexity=self._shedding.complexity,
            sheds=self._shedding.sheds,
            encoder_share=self._share.at(now_s, self._encoders.worked_s(time.monotonic_ns())),
            loop_lag_ms=self._lag.worst_s * 1_000,
            stations=list(self._stations.names),
            calls=self._dispatcher.call_stats(),
        )
        if request is not None:
            self._report(stats)
        else:
            with contextlib.suppress(LinkFullError):
                self._link.post(stats, lossy=True)


async def serve(bootstrap: Bootstrap, gone: asyncio.Event, hardened: Sequence[Step] = ()) -> int:
    """Be the worker that a bootstrap line asks for.

    Parameters
    ----------
    bootstrap
        Address, name and keys.
    gone
        Set when the bot is no more, or a signal asks to leave.
    hardened
        What the process has given up at its start, for the log.

    Returns
    -------
    int
        The process's exit code.
    """
    context = zmq.asyncio.Context()
    link = WorkerEnd(
        context,
        bootstrap.address,
        curve=bootstrap.curve,
        max_attachment_bytes=bootstrap.max_attachment_bytes,
    )
    serving = asyncio.create_task(_serve_link(bootstrap, link, hardened), name="serve")
    leaving = asyncio.create_task(gone.wait(), name="until the bot is gone")
    try:
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        # Cancelled, the worker still ends its calls in order.
        serving.cancel()
        try:
            return await serving
        except asyncio.CancelledError:
            return 0
    finally:
        leaving.cancel()
        await link.close(linger_ms=0 if gone.is_set() else _LINGER_MS)
        context.term()


async def _serve_link(bootstrap: Bootstrap, link: WorkerEnd, hardened: Sequence[Step]) -> int:
    link.post(
        Hello(
            wire_version=WIRE_VERSION,
            worker=bootstrap.worker,
            start_token=bootstrap.start_token,
            pid=os.getpid(),
        )
    )
    try:
        setup, _ = await link.receive()
    except UnreadableMessageError as error:
        _LOGGER.error("the bot's first message cannot be read: %s", error)  # noqa: TRY400  # says it all
        return 1
    if not isinstance(setup, Setup):
        _LOGGER.error("the bot's first message is a %s and not a Setup", type(setup).__name__)
        return 1
    settings = setup.settings
    logs.configure(worker=bootstrap.worker, level=settings.log_level, log_format=settings.log_format)
    limits = [] if settings.memory_limit_bytes is None else [limit_memory(settings.memory_limit_bytes)]
    log_steps([*hardened, limit_pieces(), *limits])
    try:
        worker = Worker(bootstrap.worker, settings, link)
    except WorkerSideError as error:
        return await _fail(link, error.info)
    except Exception as error:
        _LOGGER.exception("the worker could not be set up")
        return await _fail(link, ErrorInfo(code=ErrorCode.INTERNAL, text=f"set-up failed: {error!r}"))
    await worker.run()
    await _deliver(link)
    return 0


async def _fail(link: WorkerEnd, error: ErrorInfo) -> int:
    link.post(StartFailed(error=error))
    await _deliver(link)
    return 1


async def _deliver(link: WorkerEnd) -> None:
    # A bot that reads nothing any more must not keep its worker.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_MS / 1_000):
            await link.flush()


def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            text = f"ca_file {ca_file} cannot be used ({error.strerror}); name a readable PEM file"
            raise WorkerSideError(ErrorCode.CERTIFICATE, text) from None
    return context
