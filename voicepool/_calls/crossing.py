"""How a call gets from one worker to another: the half of a connection that is about where the call is held.

From `Crossing.depart` to `Crossing.go_on` no worker holds it, and from there to the worker's `CallOpened`
none can send. Whoever listens to the connection is told of the whole as one interruption, or not at all.
"""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import logging
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from voicepool._calls.host import CallHost
from voicepool._calls.patience import joining_patience_s
from voicepool._calls.recovery import Urgency
from voicepool._calls.view import CallView
from voicepool._playing.line import ANSWER_MARGIN_S
from voicepool._process.link import Link, Request, fresh_copy
from voicepool._subject_log import about
from voicepool.credentials import VoiceCredentials
from voicepool.errors import SupersededError, VoicePoolError, WorkerError, WorkerLostError
from voicepool.events import ConnectionEvent
from voicepool.ipc.commands import OpenCall, ServerGone
from voicepool.ipc.events import CallOpened
from voicepool.ipc.ids import CallId, PlaybackId, WorkerId, new_call_id
from voicepool.player import Adopted, Player
from voicepool.pool_events import CallMoved, MoveReason

__all__ = ["QUIET_MOVE_S", "Crossing", "Understudy"]

_LOGGER: Final = logging.getLogger("voicepool.connection")

QUIET_MOVE_S: Final = 1.0
"""A call that moves to another worker and is silent for no longer than this is not said to be interrupted."""


class Understudy(Protocol):
    """What prepares another worker for a call; see `voicepool._calls.moving`."""

    def dismiss(self) -> None:
        """Leave that worker: the call does not move there. Returns at once."""


@dataclasses.dataclass(slots=True)
class _Passage:
    """A call's way from one worker to another, from the last sound at the one to the first at the other."""

    worker: WorkerId
    since: float
    reason: MoveReason
    renewed: bool = False


class Crossing(abc.ABC):
    """Which worker holds a call; mixed into `voicepool.connection.BaseVoiceConnection`, for the pool.

    Attributes
    ----------
    understudy
        Who is preparing another worker for this call; told when that has no object any more.
    station_hint
        Name of the station that it is going to hear, if whoever joined knew.
    """

    _host: CallHost
    _view: CallView
    _player: Player
    _credentials: VoiceCredentials
    _closing: bool

    def __init__(self) -> None:
        self.call_id: Final[CallId] = new_call_id()
        """Identity of the call; it outlives reconnects."""
        self.understudy: Understudy | None = None
        self.station_hint: str | None = None
        self._link: Link | None = None
        self._opening: Request[CallOpened] | None = None
        self._error: VoicePoolError | None = None
        self._efforts = 0
        """Counts the calls of `connect`."""
        self._opened_generation = 0
        self._joined = asyncio.Event()
        """Set, for whoever waits in `connect`, at each change of what it waits for."""
        self._passage: _Passage | None = None
        self._seeks_worker = False
        self._refused_by: WorkerId | None = None
        self._server_is_gone = False
        self._overdue: asyncio.TimerHandle | None = None

    # What the connection brings.

    @property
    @abc.abstractmethod
    def guild_id(self) -> int:
        """ID of the guild."""

    @abc.abstractmethod
    async def _place(self, *, avoid: Collection[WorkerId] = ()) -> Link: ...

    @abc.abstractmethod
    def _seek_worker(self, *, was_opening: bool) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def _now() -> float: ...

    @abc.abstractmethod
    def _tell(self, told: list[ConnectionEvent]) -> None: ...

    @abc.abstractmethod
    def _send_close(self) -> None: ...

    @abc.abstractmethod
    def _end(self, error: VoicePoolError | None) -> None: ...

    # Where it is.

    @property
    def seeks_worker(self) -> bool:
        """Whether no worker holds the call."""
        return self._seeks_worker

    @property
    def link(self) -> Link | None:
        """To the worker that holds the call; None if none does."""
        return None if self._seeks_worker or self._closing else self._link

    @property
    def player(self) -> Player:
        """What it plays."""
        return self._player

    @property
    def station(self) -> str | None:
        """Name of the station that it hears, or as long as it plays nothing, is going to hear."""
        return self._player.station if self._player.roster.playbacks else self.station_hint

    @property
    def urgency(self) -> Urgency:
        """How soon it has to be begun again."""
        roster = self._player.roster
        if not roster.playbacks:
            return Urgency.IDLE
        return Urgency.PAUSED if roster.held else Urgency.PLAYING

    @property
    def refused_by(self) -> Collection[WorkerId]:
        """The worker that could not take the call over the last time it was begun again, if so."""
        return () if self._refused_by is None else (self._refused_by,)

    async def wait_decided(self) -> None:
        """Wait until it has been connected once, or has closed."""
        while not (self._closing or self._view.was_connected):
            self._joined.clear()
            await self._joined.wait()

    def depart(self, reason: MoveReason, silent_s: float = 0.0) -> bool:
        """Take note that no worker holds the call, and that it goes on at another.

        Parameters
        ----------
        reason
            Why.
        silent_s
            For how long no sound has been sent already, in seconds.

        Returns
        -------
        bool
            Whether a source was being opened.
        """
        since = self._now() - silent_s
        assert self._link is not None
        self._refused_by = None if self._link.lost is not None else self._link.worker
        if self._passage is None:
            self._passage = _Passage(self._link.worker, since, reason)
        self._passage.reason = reason
        self._seeks_worker = True
        self._view.left(since)
        self._dismiss_understudy()
        self._give_up_opening(WorkerLostError(f"guild {self.guild_id}: the call goes on at another worker"))
        return self._player.depart(silent_s)

    async def begin_again(self) -> None:
        """Go on at another worker, and return when sound can be sent, or something newer came first.

        What ends the call for good ends the connection, and is not raised.

        Raises
        ------
        WorkerError
            That worker could not take it over, or there is none.
        PoolClosedError
            The pool is being closed.
        """
        if self._closing or not self._seeks_worker:
            # It was superseded, or left, since its turn came: to place it would close the newer connection.
            return
        link = await self._place(avoid=self.refused_by)
        self._refused_by = None
        if self._seeks_worker and not self._closing:
            await self.go_on(link)

    async def go_on(self, link: Link, adopted: Mapping[PlaybackId, Adopted] | None = None) -> None:
        """Go on at a worker that has a place for the call; see `begin_again`.

        Parameters
        ----------
        link
            To the worker.
        adopted
            What it was told to play already.
        """
        assert self._passage is not None
        generation = self._view.attempt(self._credentials.channel_id, renewed=self._passage.renewed)
        self._passage.renewed = False
        self._link, self._seeks_worker = link, False
        try:
            await self._take_over(link, generation, adopted)
        except WorkerLostError:
            # The connection was told before, and seeks another one.
            if not self._seeks_worker and generation == self._view.generation:
                self._refuse()
                raise
        except WorkerError:
            if generation == self._view.generation and not (self._closing or self._seeks_worker):
                self._refuse()
                raise
        except SupersededError as error:
            if generation == self._view.generation and not (self._closing or self._seeks_worker):
                # Nothing of ours: the worker is about to leave.
                self._refuse()
                raise WorkerLostError(f"worker {link.worker} does not take the call over: {error}") from error
        except VoicePoolError as error:
            if generation == self._view.generation:
                self._send_close()
                self._end(error)

    def give_up(self, error: VoicePoolError) -> None:
        """Close, because no worker takes the call over."""
        # One may hold it all the same, if what went wrong is our own mistake.
        self._send_close()
        self._end(error)

    async def _take_over(
        self, link: Link, generation: int, adopted: Mapping[PlaybackId, Adopted] | None
    ) -> None:
        opening = self._request_opening(link, generation, takes_over=True)
        try:
            if self._server_is_gone:
                self._post_server_gone(link)
            # Behind it, so that sources are opened while the handshake is under way.
            self._player.go_on(link, adopted)
            await opening.answer()
        finally:
            # Nobody has waited for it if the player could not go on.
            opening.abandon()

    def _refuse(self) -> None:
        """Seek another worker than the one there is, which cannot take the call over."""
        assert self._passage is not None
        self._send_close()
        self.depart(self._passage.reason)

    def _arrived(self) -> None:
        """Take note that another worker can send, if that was awaited."""
        passage, self._passage = self._passage, None
        if passage is None or self._link is None:
            return
        self._stop_overdue()
        gap_s = self._now() - passage.since
        self._player.roster.on_restored(gap_s)
        self._host.tell(
            CallMoved(self.guild_id, passage.worker, self._link.worker, passage.reason, gap_s * 1_000)
        )

    def tell_if_overdue(self) -> None:
        """Tell that the call is interrupted if it does not go on at another worker within `QUIET_MOVE_S`."""

        def tell() -> None:
            self._overdue = None
            if not self._closing and self._passage is not None:
                reason = WorkerLostError(f"the call in guild {self.guild_id} moves to another worker")
                self._tell(self._view.worker_lost(reason, self._now()))

        self._stop_overdue()
        self._overdue = asyncio.get_running_loop().call_later(QUIET_MOVE_S, tell)

    def _dismiss_understudy(self) -> None:
        understudy, self.understudy = self.understudy, None
        if understudy is not None:
            understudy.dismiss()

    def on_worker_lost(self, error: VoicePoolError) -> None:
        """Take the end of the worker; a call that was up goes on at another."""
        if self._closing or self._seeks_worker:
            return
        if not self._view.was_connected:
            self._end(error)
            return
        silent_s = error.data.get("silent_s", 0.0)
        was_opening = self.depart(MoveReason.LOST, silent_s if isinstance(silent_s, float) else 0.0)
        self._tell(self._view.worker_lost(error, self._now()))
        if not (self._closing or self._seek_worker(was_opening=was_opening)):
            self._end(error)

    # Joining.

    async def _open(self, effort: int) -> None:
        """Join at the worker that holds the call, or at one that is chosen. `_until_joined` is to follow."""
        generation = self._view.attempt(self._credentials.channel_id)
        if self._passage is not None:
            self._passage.renewed = False
        self._give_up_opening(self._overtaken())
        try:
            link = await self._place()
        except WorkerError:
            if self._seeks_worker:
                # The pool's recovery, which has been told meanwhile, goes on looking for one.
                return
            raise
        if self._closing or effort != self._efforts:
            raise self._overtaken()
        if self._seeks_worker or generation != self._view.generation:
            # It was lost meanwhile.
            return
        if self._link is not link:
            self._link = link
            self._player.use(link)
        try:
            await self._request_opening(link, generation, takes_over=False).answer()
        except WorkerLostError:
            if self._closing or (self._passage is None and generation == self._view.generation):
                raise

    async def _until_joined(self, effort: int) -> None:
        """Wait until the newest attempt has succeeded, wherever."""
        while True:
            if self._closing:
                raise fresh_copy(self._error) if self._error is not None else self._overtaken()
            if effort != self._efforts:
                raise self._overtaken()
            if not self._seeks_worker and self._opened_generation == self._view.generation:
                return
            self._joined.clear()
            await self._joined.wait()

    # How it is done.

    def _request_opening(self, link: Link, generation: int, *, takes_over: bool) -> Request[CallOpened]:
        self._opening = link.request(
            lambda number: OpenCall(
                request=number,
                call=self.call_id,
                generation=generation,
                credentials=self._credentials.to_wire(),
                takes_over=takes_over,
            ),
            CallOpened,
            timeout_s=joining_patience_s(self._host.config, mending=self._view.was_connected),
        )
        return self._opening

    def _post_server_gone(self, link: Link) -> None:
        try:
            link.post(ServerGone(call=self.call_id, generation=self._view.generation))
        except WorkerError as error:
            _LOGGER.warning(
                "guild %s: the worker cannot be told that its server is gone: %s",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id, worker=link.worker),
            )

    def _be_patient(self, wait_s: float) -> None:
        """Let an attempt that is under way take as long as the worker waits for other credentials."""
        if self._opening is not None:
            self._opening.allow(wait_s + ANSWER_MARGIN_S)

    def _give_up_opening(self, error: VoicePoolError) -> None:
        if self._opening is not None:
            self._opening.fail(error)

    def _stop_overdue(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _stop_crossing(self) -> None:
        """Take note that the call has ended."""
        self._dismiss_understudy()
        self._stop_overdue()

    def _overtaken(self) -> SupersededError:
        return SupersededError(f"guild {self.guild_id}: a newer connect or disconnect came first")
