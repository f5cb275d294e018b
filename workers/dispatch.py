"""Commands to session methods, and what comes of them back to the bot.

Every command with a request number is answered exactly once. It runs as a task of its own, so that one slow
call holds up no other. What needs no answer, an *intention*, waits for its turn like the first step of a task
does: commands about calls are begun in the order in which they came.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Final, TypeAlias

from voicepool.ipc.commands import (
    AlignTracks,
    ChangeTrack,
    CloseCall,
    Command,
    OpenCall,
    Pause,
    Ping,
    Play,
    PrepareCall,
    ReleaseCall,
    ReportStats,
    Resume,
    Seek,
    ServerGone,
    SetEncoding,
    Setup,
    SetVolume,
    Shutdown,
    Skip,
    Stop,
    StreamAudio,
    Verify,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import (
    CallReleased,
    CallStats,
    Done,
    Event,
    Failed,
    TrackReady,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, RequestId
from voicepool.workers.errors import CallError, WorkerSideError
from voicepool.workers.session import Session
from voicepool.workers.sound import Studio
from voicepool.workers.verification import Verifier

__all__ = ["Dispatcher"]

_LOGGER: Final = logging.getLogger("voicepool.worker")

_Intention: TypeAlias = ServerGone | Pause | Resume | SetVolume | SetEncoding | StreamAudio
"""What needs no answer."""


class Dispatcher:
    """Owns the worker's sessions, the tasks that serve commands, and the thread that makes codes.

    Parameters
    ----------
    studio
        The worker's threads and settings.
    ssl_context
        For voice servers' certificates.
    report
        Takes events for the bot.
    report_stats, shut_down
        What the worker itself does.
    """

    def __init__(
        self,
        *,
        studio: Studio,
        ssl_context: ssl.SSLContext,
        report: Callable[[Event], None],
        report_stats: Callable[[RequestId], None],
        shut_down: Callable[[], None],
    ) -> None:
        self._studio = studio
        self._ssl_context = ssl_context
        self._report = report
        self._report_stats = report_stats
        self._shut_down = shut_down
        self._verifier = Verifier()
        self._sessions: dict[CallId, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = False

    def handle(self, command: Command, attachments: list[bytes]) -> None:
        """Carry out a command, or start to."""
        match command:
            case Play():
                self._spawn(command.request, self._play(command, attachments))
            case PrepareCall() | OpenCall() | ReleaseCall() | CloseCall():
                self._spawn(command.request, self._host(command))
            case Stop() | Skip() | Seek() | ChangeTrack() | AlignTracks():
                self._spawn(command.request, self._change(command))
            case Verify():
                self._spawn(command.request, self._verify(command))
            case ServerGone() | Pause() | Resume() | SetVolume() | SetEncoding() | StreamAudio():
                asyncio.get_running_loop().call_soon(self._intend, command, attachments)
            case Ping() | ReportStats() | Shutdown() | Setup():
                self._attend(command)

    @property
    def calls(self) -> int:
        """How many calls are held."""
        return len(self._sessions)

    def call_stats(self) -> list[CallStats]:
        """Return the figures of all calls; what is new of their streams is reported on the way.

        Those that are prepared are up at another worker, which reports on them.
        """
        opened = [session for session in self._sessions.values() if session.was_opened]
        for session in opened:
            session.player.report_titles()
        return [session.stats() for session in opened]

    async def close(self) -> None:
        """End all calls, and wait until every command is answered."""
        self._leaving = True
        for session in list(self._sessions.values()):
            self._forget(session.call)
        # Their calls being closed, none of these has anything left to wait for.
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._verifier.close()

    def _attend(self, command: Ping | ReportStats | Shutdown | Setup) -> None:
        """Carry out what concerns the worker, and no call."""
        match command:
            case Ping():
                self._report(Done(request=command.request))
            case ReportStats():
                self._report_stats(command.request)
            case Shutdown():
                self._shut_down()
            case Setup():
                _LOGGER.warning("a second Setup was ignored")

    def _intend(self, command: _Intention, attachments: list[bytes]) -> None:
        """Carry out what needs no answer, unless its call is gone: then it has no object any more."""
        session = self._sessions.get(command.call)
        if session is None:
            _LOGGER.debug("an intention for a call that is gone: %s", type(command).__name__)
            return
        try:
            _carry_out(command, attachments, session)
        except Exception:
            # There is no request to fail; and asyncio would log the command, with the audio that is in it.
            _LOGGER.exception("a %s failed inside voicepool", type(command).__name__)

    async def _host(self, command: PrepareCall | OpenCall | ReleaseCall | CloseCall) -> None:
        match command:
            case PrepareCall():
                self._require_session(command.call).prepare()
                self._report(Done(request=command.request))
            case OpenCall():
                await self._open(command)
            case ReleaseCall():
                await self._release(command)
            case CloseCall():
                await self._close(command)

    async def _open(self, command: OpenCall) -> None:
        session = self._require_session(command.call)
        try:
            await session.open(command)
        except BaseException as error:
            superseded = isinstance(error, CallError) and error.code is ErrorCode.SUPERSEDED
            if not superseded and self._sessions.get(command.call) is session:
                del self._sessions[command.call]
                await session.close(error if isinstance(error, CallError) else None)
            raise

    async def _release(self, command: ReleaseCall) -> None:
        session = self._session(command.call)
        del self._sessions[command.call]
        try:
            places = await session.release()
            self._report(CallReleased(request=command.request, call=command.call, places=places))
        finally:
            # What the voice server takes to answer is nobody else's business.
            await session.close()

    async def _close(self, command: CloseCall) -> None:
        session = self._sessions.pop(command.call, None)
        if session is not None:
            await session.close()
        self._report(Done(request=command.request))

    async def _play(self, command: Play, attachments: list[bytes]) -> None:
        info = await self._session(command.call).player.play(command, attachments)
        self._report(
            TrackReady(request=command.request, call=command.call, playback=command.playback, info=info)
        )

    async def _change(self, command: Stop | Skip | Seek | ChangeTrack | AlignTracks) -> None:
        player = self._session(command.call).player
        match command:
            case Stop():
                player.stop(command.playback, fade_out_s=command.fade_out_s)
            case Skip():
                player.skip(command.playback)
            case Seek():
                await player.seek(command)
            case ChangeTrack():
                player.change_track(command)
            case AlignTracks(places=places):
                await player.align(places)
        self._report(Done(request=command.request))

    async def _verify(self, command: Verify) -> None:
        found = self._session(command.call).verification(command.user)
        code = found if isinstance(found, str) else await self._verifier.code(found)
        self._report(VerificationCode(request=command.request, code=code))

    def _session(self, call: CallId) -> Session:
        try:
            return self._sessions[call]
        except KeyError:
            msg = "the call has ended; connect again"
            raise CallError(ErrorCode.NO_SUCH_CALL, msg) from None

    def _require_session(self, call: CallId) -> Session:
        """Return a call's session, or a new one."""
        session = self._sessions.get(call)
        if session is None:
            if self._leaving:
                raise CallError(ErrorCode.SUPERSEDED, "this worker is leaving; connect through another one")
            if len(self._sessions) >= self._studio.settings.max_calls:
                msg = f"this worker holds {len(self._sessions)} calls, as many as max_calls_per_worker allows"
                raise CallError(ErrorCode.WORKER_FULL, msg, calls=len(self._sessions))
            session = self._sessions[call] = Session(
                call,
                studio=self._studio,
                ssl_context=self._ssl_context,
                report=self._report,
                on_closed=self._forget,
            )
        return session

    def _forget(self, call: CallId) -> None:
        session = self._sessions.pop(call, None)
        if session is not None:
            self._keep(asyncio.create_task(session.close(), name=f"close call {call}"))

    def _spawn(self, request: RequestId, work: Coroutine[object, object, None]) -> None:
        self._keep(asyncio.create_task(self._answer(request, work), name=f"request {request}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: RequestId, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except WorkerSideError as error:
            self._report(Failed(request=request, error=error.info))
        except Exception as error:
            _LOGGER.exception("a command failed inside voicepool")
            text = f"voicepool failed: {error!r}; the worker's log has the traceback"
            self._report(Failed(request=request, error=ErrorInfo(code=ErrorCode.INTERNAL, text=text)))


def _carry_out(intention: _Intention, attachments: list[bytes], session: Session) -> None:
    match intention:
        case ServerGone(generation=generation):
            session.server_gone(generation)
        case Pause():
            session.player.pause()
        case Resume():
            session.player.resume()
        case SetVolume(volume=volume):
            session.player.set_volume(volume)
        case SetEncoding(encoding=encoding):
            session.player.set_encoding(encoding)
        case StreamAudio():
            session.player.stream_audio(intention, attachments)
