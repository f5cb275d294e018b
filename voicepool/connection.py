"""The bot's end of one call: what is wanted of it, and nothing of how it is done.

A connection holds the wanted state (credentials, what plays, volume, paused) and counts its connection
attempts; all below the voice websocket is the worker's. It knows no bot library: `voicepool.hikari` builds
on it, and `VoicePool.connect` returns it as it is.

::

    new ── connect ──> connecting ────> connected ──> closed
                           ^  ^             │  │         ^
                           │  └── connect ──┘  │         └── disconnect, or the call is lost
                           └──── its worker ───┘

The loss of a worker does not end a call that was up: it seeks another worker, which the pool finds for it,
and goes on there with the newest credentials; see `voicepool._calls.crossing`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Final

from voicepool._calls.crossing import Crossing
from voicepool._calls.host import CallHost
from voicepool._calls.listening import Listening
from voicepool._calls.view import CallView
from voicepool._hearers import Hearers
from voicepool._playing.playing import Playing
from voicepool._process.link import CallEvent, Link, Request, TrackEvent, fresh_copy
from voicepool._subject_log import Place, about
from voicepool.credentials import VoiceCredentials
from voicepool.errors import (
    CallGoneError,
    UnverifiableError,
    VoicePoolError,
    WorkerError,
    from_info,
)
from voicepool.events import ConnectionEvent, Interrupted, Restored, ServerWanted
from voicepool.ipc.commands import CloseCall, Verify
from voicepool.ipc.events import CallClosed, CallOpened, CallStats, Done, VerificationCode
from voicepool.ipc.ids import UserId, WorkerId
from voicepool.player import Player

__all__ = ["BaseVoiceConnection", "CallHost"]

_LOGGER: Final = logging.getLogger("voicepool.connection")


class BaseVoiceConnection(Crossing, Playing, Listening):
    """A bot's call in one guild, as `VoicePool.connect` returns it.

    All methods and properties belong to the event loop of the pool. A connection that has closed stays
    closed: playing on it raises `CallGoneError`; connect again for a new one.

    Parameters
    ----------
    host
        The pool.
    credentials
        What the main gateway handed out.
    """

    def __init__(self, host: CallHost, credentials: VoiceCredentials) -> None:
        place = Place(credentials.guild_id)
        Crossing.__init__(self)
        self._host = host
        Listening.__init__(self, CallView(), Hearers(place, self._spawn_for_listener))
        tell = self._hearers.tell
        player = Player(
            self.call_id,
            host.config,
            place=place,
            spawn=self.spawn,
            tell=tell,
            now=self._now,
            suspicion=host.suspicion,
        )
        Playing.__init__(self, player, host.config, tell=tell, now=self._now, place=place)
        self._credentials = credentials
        self._closing = False
        self._closed = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected" if self.connected else "connecting"
        state = "interrupted" if self.interrupted else state
        return f"<{type(self).__name__} guild={self.guild_id} channel={self.channel_id} {state}>"

    # What it is.

    @property
    def guild_id(self) -> int:
        """ID of the guild."""
        return self._credentials.guild_id

    @property
    def channel_id(self) -> int:
        """ID of the voice channel."""
        return self._credentials.channel_id

    @property
    def user_id(self) -> int:
        """ID of the bot's own user."""
        return self._credentials.user_id

    @property
    def closed(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self._closing

    @property
    def error(self) -> VoicePoolError | None:
        """Why it ended; None while it has not, and if it was disconnected."""
        return self._error

    async def verification_code(self, user_id: int) -> str:
        """Return the code by which the bot and a member make sure of each other.

        Parameters
        ----------
        user_id
            The member, one of ``encryption.members``.

        Returns
        -------
        str
            45 digits; the member's client shows the same (DAVE protocol, Displayable Codes).

        Raises
        ------
        CallGoneError
            The connection has closed.
        UnverifiableError
            There is no end-to-end encrypted group now, or the user is not in it; the text tells. Also while
            the call goes on to another worker.
        WorkerError
            The worker does not answer, or was lost.
        """
        if self._closing:
            raise self._gone()
        if self._link is None:
            raise CallGoneError(
                f"the connection in guild {self.guild_id} was never made; await connect() first"
            )
        if self._seeks_worker:
            raise UnverifiableError(
                f"the call in guild {self.guild_id} is on its way to another worker; ask again then"
            )
        request = self._link.request(
            lambda number: Verify(request=number, call=self.call_id, user=UserId(int(user_id))),
            VerificationCode,
            timeout_s=self._host.config.command_timeout_s,
        )
        return (await request.answer()).code

    # Joining and leaving.

    async def connect(self, credentials: VoiceCredentials | None = None) -> None:
        """Join the call, or join it anew with other credentials. For adapters of bot libraries.

        The first time, what is wrong is raised at once. A call that was up is mended: its worker tries again
        as long as the config's ``reconnect_…`` settings allow, and what plays goes on after that.

        A newer attempt overtakes an older one, which then raises `SupersededError`. Any other failure, or a
        cancellation, closes the connection. The loss of a worker is no failure of a call that was up: this
        then returns when another one has taken it over, which uses the newest credentials.

        Parameters
        ----------
        credentials
            Of the same guild and user; None to use those it has.

        Raises
        ------
        ConnectError
            The voice server cannot be reached or refuses.
        WorkerError
            The pool is full, or a worker was lost or does not answer.
        CallGoneError
            The connection has closed.
        """
        if self._closing:
            raise self._gone()
        if credentials is not None:
            self._take_credentials(credentials)
        self._efforts += 1
        effort = self._efforts
        self._joined.set()
        try:
            if not self._seeks_worker:
                await self._open(effort)
            await self._until_joined(effort)
        except BaseException as error:
            if effort == self._efforts:
                self._send_close()
                self._end(error if isinstance(error, VoicePoolError) else None)
            raise

    async def disconnect(self) -> None:
        """Leave the call, and return when all is done. What plays ends as if stopped.

        On a closed connection it waits for what remains to be done, if anything. The bot's main gateway is
        not told: that is up to the bot, or to the adapter of its library.
        """
        self.leave()
        await self.wait_closed()

    def server_gone(self) -> None:
        """Take note that Discord took the voice server away and will name another, for adapters.

        That is a voice server update without an endpoint (Voice Connections, Connecting to Voice). What plays
        is kept; `connect` with the next update's credentials goes on. Without effect before the first
        `connect`, and on a closed connection.
        """
        if self._closing or self._link is None:
            return
        self._server_is_gone = True
        self._tell(self._view.server_gone(self._now()))
        if self._seeks_worker:
            # The one that is found will be told.
            return
        self._be_patient(self._host.config.server_wait_s)
        self._post_server_gone(self._link)

    def leave(self) -> None:
        """Begin to `disconnect`."""
        self._send_close()
        self._end(None)

    async def wait_closed(self) -> None:
        """Wait until the connection has closed, for whatever reason, and all that follows is done."""
        await self._closed.wait()
        while others := self._background - {asyncio.current_task()}:
            await asyncio.wait(others)

    def on_closed(self, error: VoicePoolError | None) -> None:
        """Override to learn of the end: called once, on the event loop.

        Parameters
        ----------
        error
            Why; None if it was disconnected.
        """

    def on_server_wanted(self, *, rejoin: bool) -> None:
        """Override to get new credentials; called on the event loop, see `voicepool.events.ServerWanted`."""

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run something that `wait_closed` waits for. The pool ends it at its own end, if need be."""
        task = self._host.spawn(work, name=f"{name} of guild {self.guild_id}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def left(self) -> None:
        """Wait until the worker has left the call, or need not any more. For what comes after."""
        if self._leaving is not None:
            await asyncio.wait({self._leaving})

    def supersede(self) -> None:
        """Close because another connection of this user took the guild over. For the pool."""
        self._send_close()
        self._end(CallGoneError(f"a newer connection has taken over guild {self.guild_id}; use that one"))

    # What the worker says; see `voicepool._process.link.CallListener`.

    def on_track_event(self, event: TrackEvent) -> None:
        """Take news of what plays."""
        self._player.on_track_event(event)

    def on_stats(self, stats: CallStats) -> None:
        """Take the figures of the call."""
        self._player.on_stats(stats)
        self._tell(self._view.roll_call(self._now()))

    def on_call_closed(self, event: CallClosed) -> None:
        """Take the end of the call, which a newer attempt, if there is one, begins again."""
        if event.generation == self._view.generation:
            self._end(from_info(event.error))
        else:
            self._tell(self._view.begun_afresh())

    def on_call_event(self, event: CallEvent) -> None:
        """Take news of the call."""
        told = self._view.take(event, self._now())
        generation = self._view.generation
        if isinstance(event, CallOpened) and event.generation == generation and not self._closing:
            self._opened_generation = generation
            self._server_is_gone = False
            self._joined.set()
            self.refresh_encoding()
            self._arrived()
        self._tell(told)
        for wanted in told:
            if isinstance(wanted, ServerWanted) and not self._closing:
                self.on_server_wanted(rejoin=wanted.rejoin)

    # How it is done.

    async def _place(self, *, avoid: Collection[WorkerId] = ()) -> Link:
        return await self._host.place(self, avoid=avoid)

    def _seek_worker(self, *, was_opening: bool) -> bool:
        return self._host.recover(self, was_opening=was_opening)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _tell(self, told: list[ConnectionEvent]) -> None:
        """Tell whoever listens; positions stand still while no sound can be sent."""
        for event in told:
            if isinstance(event, Interrupted):
                self._player.roster.on_interrupted()
            elif isinstance(event, Restored):
                self._player.roster.on_restored(event.gap_ms / 1_000)
        self._hearers.tell(told)

    def _spawn_for_listener(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        # Not one of those that `wait_closed` waits for: a listener may be who calls it.
        return self._host.spawn(work, name=f"{name} of guild {self.guild_id}")

    def _take_credentials(self, credentials: VoiceCredentials) -> None:
        if (credentials.guild_id, credentials.user_id) != (self.guild_id, self.user_id):
            raise ValueError(
                f"these credentials are for guild {credentials.guild_id} and user {credentials.user_id}, the "
                f"connection is for guild {self.guild_id} and user {self.user_id}; make a new connection"
            )
        self._credentials = credentials
        self._server_is_gone = False
        if self._passage is not None:
            self._passage.renewed = True

    def _gone(self) -> CallGoneError:
        return CallGoneError(f"the connection in guild {self.guild_id} has ended; connect again")

    def _send_close(self) -> None:
        """Tell the worker to leave; the answer is waited for in the background."""
        if self._closing or self._seeks_worker or self._link is None or self._link.lost is not None:
            return
        try:
            request = self._link.request(
                lambda number: CloseCall(request=number, call=self.call_id),
                Done,
                timeout_s=self._host.config.command_timeout_s,
            )
        except WorkerError as error:
            _LOGGER.warning(
                "guild %s: the worker cannot be told to leave: %s",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id, worker=self._link.worker),
            )
        else:
            self._leaving = self.spawn(self._await_left(request), name="leave")

    async def _await_left(self, request: Request[Done]) -> None:
        try:
            await request.answer()
        except VoicePoolError as error:
            # It is over for the bot either way; a worker that is gone has left the call too.
            _LOGGER.warning(
                "guild %s: the call was not left in order: %s",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id),
            )

    def _end(self, error: VoicePoolError | None) -> None:
        if self._closing:
            return
        was_connected = self.connected
        self._closing = True
        self._error = error
        told = self._view.close(error)
        self._stop_crossing()
        self._joined.set()
        self._give_up_opening(fresh_copy(error) if error is not None else self._overtaken())
        self._player.end_all(error)
        self._host.release(self)
        self._closed.set()
        if error is not None and was_connected:
            _LOGGER.warning(
                "guild %s: the connection has ended: %s",
                self.guild_id,
                error,
                extra=about(guild=self.guild_id),
            )
        self._hearers.tell(told)
        try:
            self.on_closed(error)
        except Exception:
            _LOGGER.exception(
                "guild %s: on_closed of %s failed",
                self.guild_id,
                type(self).__name__,
                extra=about(guild=self.guild_id),
            )
