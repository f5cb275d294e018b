"""One worker process from its start to its end.

Start: launch, wait for `Hello`, send `Setup`, wait for `Ready`. End: ask (`Shutdown`), wait, SIGTERM, wait,
SIGKILL. Whatever happens in between, the process is reaped and the socket closed.

A worker is lost when its process has ended, and all it had said before has been read; or when it is
condemned, see `voicepool._process.supervision`. Then its calls go on elsewhere at once, and the process is
ended behind their back. In a fork of the bot a worker is nobody's, and nothing is done to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Final

import zmq

from voicepool._machine.oom import count_oom_kills
from voicepool._process.ending import execute, see_off
from voicepool._process.exits import Exit, judge
from voicepool._process.launcher import Inspectable, LaunchedProcess, Launcher, describe_exit
from voicepool._process.link import Link
from voicepool._process.meeting import meet
from voicepool._process.rendezvous import Rendezvous
from voicepool._process.stops import StopWatch
from voicepool._process.supervision import Supervision
from voicepool._subject_log import about
from voicepool.errors import VoicePoolError, WorkerLostError, WorkerStartError
from voicepool.ipc.channel import BotEnd
from voicepool.ipc.commands import Shutdown, WorkerSettings
from voicepool.ipc.endpoint import Bootstrap
from voicepool.ipc.events import Ready, Stats
from voicepool.ipc.ids import WorkerId
from voicepool.pool_events import ExitReason

__all__ = ["Worker"]

_LOGGER: Final = logging.getLogger("voicepool.worker")


class Worker:
    """One process instance. Used once: `start`, then `stop`; its successor is another object.

    Parameters
    ----------
    name
        Of this instance.
    settings
        What the process is told after its `Hello`.
    rendezvous, launcher
        Where it finds the bot, and who starts it.
    start_timeout_s
        From the launch to `Ready`.
    stop_timeout_s
        For each step of the end.
    heartbeat_interval_s, hang_timeout_s
        How long nothing may have been heard of it before it is asked for a sign of life, and how long it may
        give none.
    memory_limit_bytes
        What it may use; 0 for any amount.
    on_crash
        Told its name if it is lost by what it may have been playing, before those whose calls it held are.

    Attributes
    ----------
    on_memory
        Handed its memory in bytes, and whether it has to be replaced, when it uses most of what it may. To be
        set before `start`.
    on_complexity
        Likewise. Handed its Opus complexity when it changes that.
    on_report
        Likewise. Handed each of its reports.
    """

    def __init__(
        self,
        name: WorkerId,
        *,
        settings: WorkerSettings,
        rendezvous: Rendezvous,
        launcher: Launcher,
        start_timeout_s: float,
        stop_timeout_s: float,
        heartbeat_interval_s: float = 1.5,
        hang_timeout_s: float = 3.0,
        memory_limit_bytes: int = 0,
        on_crash: Callable[[WorkerId], None] = lambda _worker: None,
    ) -> None:
        self.name: Final = name
        self.on_memory: Callable[[int, bool], None] = lambda _used_bytes, _replace: None
        self.on_complexity: Callable[[int], None] = lambda _complexity: None
        self.on_report: Callable[[Stats], None] = lambda _stats: None
        self._settings = settings
        self._rendezvous = rendezvous
        self._launcher = launcher
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._heartbeat_interval_s = heartbeat_interval_s
        self._hang_timeout_s = hang_timeout_s
        self.memory_limit_bytes: Final = memory_limit_bytes
        self._on_crash = on_crash
        self._owner = os.getpid()
        self._oom_kills_before = count_oom_kills()
        self._is_dismissed = False
        self._channel: BotEnd | None = None
        self._bootstrap: Bootstrap | None = None
        self._process: LaunchedProcess | None = None
        self._process_end: asyncio.Task[int] | None = None
        self._stops: StopWatch | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._care: asyncio.Task[None] | None = None
        self._supervision: Supervision | None = None
        self._execution: asyncio.Task[None] | None = None
        self._ready: Ready | None = None
        self._link: Link | None = None
        self._exit: Exit | None = None
        self._is_lost = asyncio.Event()

    @property
    def link(self) -> Link:
        """The conversation with it; only after `start`."""
        assert self._link is not None
        return self._link

    @property
    def ready(self) -> Ready:
        """What it said of itself; only after `start`."""
        assert self._ready is not None
        return self._ready

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def lost(self) -> VoicePoolError | None:
        """What those are told who wait for it, once it is lost; None before that."""
        return self._link.lost if self._link is not None else None

    @property
    def exit(self) -> Exit | None:
        """Why it was lost; None before that, and of one that did not start."""
        return self._exit

    async def start(self) -> None:
        """Bring it up. When this fails or is cancelled, nothing is left of it.

        Raises
        ------
        WorkerStartError
            It cannot be launched, has ended, refused, or not answered in time; the text tells which.
        LibopusMissingError
            It finds no libopus.
        """
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._launch()
                self._ready = await self._meet()
        except TimeoutError:
            error = WorkerStartError(
                self._told(f"is not ready after start_timeout_s = {self._start_timeout_s:g}")
            )
            await self._release(0.0)
            raise error from None
        except BaseException:
            await self._release(0.0)
            raise
        assert self._channel is not None
        assert self._process is not None
        care = self._supervision = Supervision(
            heartbeat_interval_s=self._heartbeat_interval_s,
            hang_timeout_s=self._hang_timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            complexity=self._settings.complexity,
            condemn=self.condemn,
            is_stopped=self._is_stopped,
            stopped_s=self._stops.stopped_s if self._stops is not None else lambda: None,
            on_memory=self.on_memory,
            on_complexity=self.on_complexity,
        )

        def on_stats(stats: Stats) -> None:
            self.on_report(stats)
            care.on_stats(stats)

        self._link = Link(self._channel, worker=self.name, on_stats=on_stats, on_flood=care.on_flood)
        self._reader = asyncio.create_task(self._link.run(), name=f"voicepool reader of {self.name}")
        self._watch = asyncio.create_task(self._watch_exit(), name=f"voicepool watch of {self.name}")
        self._care = asyncio.create_task(care.run(self._link), name=f"voicepool care of {self.name}")

    def configure(self, *, heartbeat_interval_s: float, hang_timeout_s: float, stop_timeout_s: float) -> None:
        """Go by other settings from now on, up or not."""
        self._heartbeat_interval_s, self._hang_timeout_s = heartbeat_interval_s, hang_timeout_s
        self._stop_timeout_s = stop_timeout_s
        if self._supervision is not None:
            self._supervision.configure(
                heartbeat_interval_s=heartbeat_interval_s, hang_timeout_s=hang_timeout_s
            )

    async def wait_lost(self) -> VoicePoolError:
        """Wait until it is lost, for whatever reason, and say how; `stop` still has to be awaited."""
        await self._is_lost.wait()
        assert self.link.lost is not None
        return self.link.lost

    async def stop(self) -> None:
        """End it in order, by force if need be. When cancelled, by force at once."""
        await self._release(self._stop_timeout_s)

    def kill(self) -> None:
        """End it at once; `stop` still has to be awaited."""
        self._dismiss()
        if self._process is not None and os.getpid() == self._owner:
            self._process.kill()

    def condemn(
        self,
        reason: ExitReason,
        what: str,
        *,
        is_fault: bool = True,
        inquire: bool = False,
        silent_s: float = 0.0,
    ) -> None:
        """Give it up: whoever waits for it is told now, and the process is ended.

        Parameters
        ----------
        reason
            Why.
        what
            What it does, behind its name.
        is_fault
            Whether what it plays may be to blame.
        inquire
            Whether it is asked first where it hangs.
        silent_s
            For how long it has sent no sound already, in seconds.
        """
        if self._exit is not None or self._is_dismissed:
            return
        _LOGGER.error(
            "worker %s (pid %s) %s; it is ended (%s)",
            self.name,
            self.pid,
            what,
            reason,
            extra=about(worker=self.name),
        )
        text = f"worker {self.name} {what}"
        self._conclude(Exit(reason, text, is_fault=is_fault, silent_s=silent_s))
        assert self._process is not None
        self._execution = asyncio.create_task(
            execute(self._process, worker=self.name, inquire=inquire), name=f"voicepool end of {self.name}"
        )

    # The start.

    async def _launch(self) -> None:
        try:
            self._channel, self._bootstrap = self._rendezvous.open(self.name)
            self._process = await self._launcher.launch(self._bootstrap)
        except (OSError, zmq.ZMQError) as error:
            raise WorkerStartError(f"worker {self.name} cannot be started: {error}") from error
        self._process_end = asyncio.create_task(self._process.wait(), name=f"voicepool exit of {self.name}")
        if isinstance(self._process, Inspectable) and self._process.pid is not None:
            self._stops = StopWatch(self._process.pid)

    async def _meet(self) -> Ready:
        assert self._channel is not None
        assert self._bootstrap is not None
        end = self._process_end
        assert end is not None
        ready = await meet(self._channel, self._bootstrap, self._settings, end=end)
        if ready is None:
            raise WorkerStartError(self._told(f"{describe_exit(end.result())} before it was ready"))
        return ready

    def _told(self, what: str) -> str:
        lines = self._process.last_lines if self._process is not None else ()
        heading = f"worker {self.name} {what}"
        return "\n".join([f"{heading}; its last words:", *lines]) if lines else f"{heading}, and said nothing"

    # The end.

    async def _watch_exit(self) -> None:
        assert self._process_end is not None
        await asyncio.wait({self._process_end})
        # What it had said before, of the end of a track for example, is true, and may still be on its way.
        await self.link.catch_up()
        if self._process_end.cancelled():
            reason = ExitReason.ASKED if self._is_dismissed else ExitReason.CRASHED
            self._conclude(Exit(reason, f"worker {self.name} was given up"))
            return
        status = self._process_end.result()
        self._conclude(
            judge(
                self.name,
                status,
                describe_exit(status),
                wanted=self._is_dismissed,
                oom_kills=self._oom_kills(),
            )
        )

    def _conclude(self, exit_: Exit) -> None:
        """Take note of why it is lost, unless that is known already, and tell everybody."""
        if self._exit is not None:
            return
        self._exit = exit_
        if exit_.is_fault:
            try:
                self._on_crash(self.name)
            except Exception:
                # Those who wait for the worker have to be told in any case.
                _LOGGER.exception(
                    "worker %s: cannot take note of what it died of", self.name, extra=about(worker=self.name)
                )
        facts: dict[str, str | int | float] = {"worker": self.name, "reason": exit_.reason.value}
        if exit_.status is not None:
            facts["exit_status"] = exit_.status
        if exit_.silent_s:
            facts["silent_s"] = exit_.silent_s
        self.link.lose(WorkerLostError(exit_.text, **facts))
        self._is_lost.set()

    def _oom_kills(self) -> int | None:
        now, before = count_oom_kills(), self._oom_kills_before
        return None if now is None or before is None else now - before

    def _is_stopped(self) -> bool:
        return isinstance(self._process, Inspectable) and self._process.is_stopped

    async def _release(self, patience_s: float) -> None:
        if os.getpid() != self._owner:
            return
        self._dismiss()
        # The stack goes on with the next step when one is cancelled or fails.
        async with contextlib.AsyncExitStack() as stack:
            if self._bootstrap is not None:
                stack.callback(self._rendezvous.forget, self._bootstrap)
            if self._channel is not None:
                stack.push_async_callback(self._channel.close)
            for task in (self._reader, self._care, self._execution):
                if task is not None:
                    stack.push_async_callback(self._end_task, task)
            if self._process_end is not None:
                stack.push_async_callback(self._reap, self._process_end)
                await self._end_process(self._process_end, patience_s)

    def _dismiss(self) -> None:
        """Take note that its end is wanted, unless it has come already."""
        end = self._process_end
        self._is_dismissed = self._is_dismissed or end is None or not (end.done() or self._exit is not None)

    async def _reap(self, end: asyncio.Task[int]) -> None:
        self.kill()
        await asyncio.wait({end}, timeout=self._stop_timeout_s)
        if not end.done():
            _LOGGER.error(
                "worker %s (pid %s) has not ended at SIGKILL; it is left behind",
                self.name,
                self.pid,
                extra=about(worker=self.name),
            )
            end.cancel()
            await asyncio.wait({end})
        if self._watch is not None:
            await asyncio.wait({self._watch})

    @staticmethod
    async def _end_task(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task})

    async def _end_process(self, end: asyncio.Task[int], patience_s: float) -> None:
        assert self._process is not None
        if self._execution is not None:
            await asyncio.wait({self._execution})
        elif not end.done():
            ask = self._ask_to_leave if self._link is not None else None
            await see_off(self._process, end, worker=self.name, ask=ask, patience_s=patience_s)

    def _ask_to_leave(self) -> None:
        try:
            self.link.post(Shutdown())
        except VoicePoolError as error:
            _LOGGER.debug(
                "worker %s cannot be asked to leave: %s", self.name, error, extra=about(worker=self.name)
            )
