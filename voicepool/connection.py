"""The bot's end of one call: what is wanted of it, and nothing of how it is done.

A connection holds the wanted state (credentials, what plays, volume, paused) and counts its connection
attempts; all below the voice websocket is the worker's. It knows no bot library: `voicepool.hikari` builds
on it, and `VoicePool.connect` returns it as it is.

::

    new ── connect ──> connecting ────> connected ──> closed
                           ^                │            ^
                           └── connect ─────┘            └── disconnect, or the call or its worker is lost
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import msgspec

from voicepool._link import Link, Request, fresh_copy
from voicepool.config import PoolConfig
from voicepool.credentials import VoiceCredentials
from voicepool.errors import CallGoneError, SupersededError, VoicePoolError, WorkerError, from_info
from voicepool.events import (
    ConnectionEvent,
    EncryptionChanged,
    Interrupted,
    Listener,
    Restored,
    ServerWanted,
)
from voicepool.ipc import events as wire
from voicepool.ipc.commands import CloseCall, OpenCall
from voicepool.ipc.events import (
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallRestored,
    CallStats,
    Done,
    EncryptionState,
    TrackEnded,
)
from voicepool.ipc.ids import CallId, new_call_id
from voicepool.player import ANSWER_MARGIN_S, Player, checked_volume
from voicepool.source import AudioFile, Playable, as_audio

__all__ = ["BaseVoiceConnection", "CallHost"]

_LOGGER: Final = logging.getLogger("voicepool.connection")


class CallHost(Protocol):
    """What a connection needs of its pool."""

    @property
    def config(self) -> PoolConfig:
        """The pool's settings."""

    async def place(self, connection: BaseVoiceConnection) -> Link:
        """Return the link to the worker that holds the connection's call, choosing one if none does."""

    def release(self, connection: BaseVoiceConnection) -> None:
        """Forget a connection that has closed."""

    def spawn(self, work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
        """Run something on a connection's behalf, and see to its end."""


class BaseVoiceConnection:
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
        self.call_id: Final[CallId] = new_call_id()
        """Identity of the call; it outlives reconnects."""
        self._host = host
        self._credentials = credentials
        self._generation = 0
        self._opened: CallOpened | None = None
        self._closing = False
        self._closed = asyncio.Event()
        self._error: VoicePoolError | None = None
        place = f"guild {credentials.guild_id}"
        self._player = Player(self.call_id, host.config, place=place, spawn=self.spawn)
        self._link: Link | None = None
        self._opening: Request[CallOpened] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._interrupted = False
        self._encryption: EncryptionChanged | None = None
        self._hearers: list[Listener] = []

    def __repr__(self) -> str:
        state = "connected" if self.connected else "closed" if self.closed else "connecting"
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
    def connected(self) -> bool:
        """Whether sound can be sent now."""
        return self._opened is not None

    @property
    def closed(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self._closing

    @property
    def error(self) -> VoicePoolError | None:
        """Why it ended; None while it has not, and if it was disconnected."""
        return self._error

    @property
    def mode(self) -> str | None:
        """Transport encryption in use, by its name on Discord's wire; None while not connected."""
        return self._opened.mode if self._opened is not None else None

    @property
    def ssrc(self) -> int | None:
        """RTP synchronisation source of what is sent; None while not connected."""
        return self._opened.ssrc if self._opened is not None else None

    @property
    def interrupted(self) -> bool:
        """Whether the voice server was lost and the connection is being mended. What plays is kept."""
        return self._interrupted

    @property
    def encryption(self) -> EncryptionChanged | None:
        """End-to-end encryption as it is now: version, privacy code, members; None until it is known."""
        return self._encryption

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a function called, on the event loop, with each event of this connection.

        Parameters
        ----------
        listener
            Takes one of `voicepool.events`; must not block. What it raises is logged.

        Returns
        -------
        Callable
            Call it to stop.
        """
        self._hearers.append(listener)

        def stop() -> None:
            if listener in self._hearers:
                self._hearers.remove(listener)

        return stop

    # Playing.

    async def play(self, audio: Playable) -> None:
        """Play, and return when playback has stopped: at the end, by `stop`, or because another took over.

        What plays already goes on until this one is ready. Cancelling this stops the playback.

        Parameters
        ----------
        audio
            An `AudioFile`, or what one is made from: a path, an http(s) URL, or a file's content as bytes.

        Raises
        ------
        SourceError
            It cannot be played, or broke off; the class tells why. The connection stays.
        CallGoneError
            The connection has closed.
        ConnectError, WorkerError
            The connection ended while it played.
        TypeError, ValueError
            It is nothing that can be played.
        """
        await self._player.run(self._player.begin(as_audio(audio)))

    def play_no_wait(self, audio: Playable) -> asyncio.Task[None]:
        """Play, and return at once.

        Parameters
        ----------
        audio
            As for `play`.

        Returns
        -------
        asyncio.Task
            Ends as `play` would; cancelling it stops the playback. It need not be awaited or kept: a failure
            is logged once, at the level WARNING by ``voicepool.player``, awaited or not.

        Raises
        ------
        CallGoneError, WorkerError, TypeError, ValueError
            It cannot even begin; what goes wrong later is the task's.
        """
        return self._player.run_detached(self._player.begin(as_audio(audio)))

    async def stop(self) -> None:
        """End what plays, and return when it has ended. Without effect when nothing plays.

        Raises
        ------
        WorkerError
            The worker does not answer, or is gone.
        """
        await self._player.stop()

    def pause(self) -> None:
        """Hold what plays; the sound ends with a moment of silence. Without effect when nothing plays."""
        self._player.pause()

    def resume(self) -> None:
        """Go on where `pause` held it."""
        self._player.resume()

    async def wait_for_stopped(self) -> None:
        """Wait until nothing plays and nothing is about to; returns at once when that is so already."""
        await self._player.wait_for_stopped()

    @property
    def volume(self) -> float:
        """Linear gain of all that is played; 1.0 leaves the sound, and Opus packets, as they are.

        Setting it takes effect at once.

        Raises
        ------
        ValueError
            When set to anything but a finite number of 0 or more.
        """
        return self._player.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._player.set_volume(checked_volume(volume))

    @property
    def current_audio(self) -> AudioFile | None:
        """What plays, is held, or is being opened; None when nothing is."""
        current = self._player.current
        return current.audio if current is not None else None

    @property
    def playing(self) -> bool:
        """Whether something plays or is being opened, and is not held."""
        current = self._player.current
        return current is not None and not current.paused

    @property
    def paused(self) -> bool:
        """Whether something is held by `pause`."""
        current = self._player.current
        return current is not None and current.paused

    @property
    def stopped(self) -> bool:
        """Whether nothing plays, is held, or is being opened."""
        return self._player.current is None

    @property
    def position_s(self) -> float:
        """How much of the current source has been sent, in seconds, as of the worker's last report."""
        return self._player.position_s

    # Joining and leaving.

    async def connect(self, credentials: VoiceCredentials | None = None) -> None:
        """Join the call, or join it anew with other credentials. For adapters of bot libraries.

        What plays goes on in between. A newer attempt overtakes an older one, which then raises
        `SupersededError`. Any other failure, or a cancellation, closes the connection.

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
            raise CallGoneError(f"the connection in guild {self.guild_id} has ended; connect again")
        if credentials is not None:
            self._take_credentials(credentials)
        self._generation += 1
        generation = self._generation
        self._opened = None
        self._give_up_opening()
        try:
            opened = await self._open(generation)
        except BaseException as error:
            if generation == self._generation:
                self._send_close()
                self._end(error if isinstance(error, VoicePoolError) else None)
            raise
        if self._closing:
            # It ended between the worker's answer and this line.
            raise fresh_copy(self._error) if self._error is not None else self._overtaken()
        if generation != self._generation:
            raise self._overtaken()
        self._opened = opened
        self._interrupted = False

    async def disconnect(self) -> None:
        """Leave the call, and return when all is done. What plays ends as if stopped.

        On a closed connection it waits for what remains to be done, if anything. The bot's main gateway is
        not told: that is up to the bot, or to the adapter of its library.
        """
        self.leave()
        await self.wait_closed()

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

    # What the worker says; see `voicepool._link.CallListener`.

    def on_track_ended(self, event: TrackEnded) -> None:
        """Take the end of a playback."""
        self._player.on_track_ended(event)

    def on_stats(self, stats: CallStats) -> None:
        """Take the figures of the call."""
        self._player.on_stats(stats)

    def on_call_closed(self, event: CallClosed) -> None:
        """Take the end of the call, unless it is that of an attempt which a newer one has overtaken."""
        if event.generation == self._generation:
            self._end(from_info(event.error))

    def on_call_event(
        self, event: CallInterrupted | CallRestored | wire.ServerWanted | EncryptionState
    ) -> None:
        """Take news of the call, unless it is that of an attempt which a newer one has overtaken."""
        if self._closing:
            return
        match event:
            case EncryptionState():
                self._encryption = EncryptionChanged(
                    protocol_version=event.protocol_version,
                    sending=event.sending,
                    privacy_code=event.privacy_code,
                    members=frozenset(event.members),
                )
                self._tell(self._encryption)
            case _ if event.generation != self._generation:
                pass
            case CallInterrupted():
                self._interrupted = True
                self._tell(Interrupted(from_info(event.error)))
            case CallRestored():
                self._interrupted = False
                if self._opened is not None:
                    self._opened = msgspec.structs.replace(self._opened, mode=event.mode, ssrc=event.ssrc)
                self._tell(Restored(event.gap_ms, event.resumed))
            case wire.ServerWanted():
                self._tell(ServerWanted(event.rejoin))
                self.on_server_wanted(rejoin=event.rejoin)

    def on_worker_lost(self, error: VoicePoolError) -> None:
        """Take the end of the worker."""
        self._end(error)

    # How it is done.

    def _tell(self, event: ConnectionEvent) -> None:
        for listener in tuple(self._hearers):
            try:
                listener(event)
            except Exception:
                _LOGGER.exception("guild %s: a listener failed on %s", self.guild_id, type(event).__name__)

    def _take_credentials(self, credentials: VoiceCredentials) -> None:
        if (credentials.guild_id, credentials.user_id) != (self.guild_id, self.user_id):
            raise ValueError(
                f"these credentials are for guild {credentials.guild_id} and user {credentials.user_id}, the "
                f"connection is for guild {self.guild_id} and user {self.user_id}; make a new connection"
            )
        self._credentials = credentials

    async def _open(self, generation: int) -> CallOpened:
        link = await self._host.place(self)
        if self._closing or generation != self._generation:
            raise self._overtaken()
        self._link = link
        self._player.use(link)
        self._opening = link.request(
            lambda number: OpenCall(
                request=number,
                call=self.call_id,
                generation=generation,
                credentials=self._credentials.to_wire(),
            ),
            CallOpened,
            timeout_s=self._host.config.connect_timeout_s + ANSWER_MARGIN_S,
        )
        return await self._opening.answer()

    def _give_up_opening(self) -> None:
        if self._opening is not None:
            self._opening.fail(self._overtaken())

    def _overtaken(self) -> SupersededError:
        return SupersededError(f"guild {self.guild_id}: a newer connect or disconnect came first")

    def _send_close(self) -> None:
        """Tell the worker to leave; the answer is waited for in the background."""
        if self._closing or self._link is None or self._link.lost is not None:
            return
        try:
            request = self._link.request(
                lambda number: CloseCall(request=number, call=self.call_id),
                Done,
                timeout_s=self._host.config.command_timeout_s,
            )
        except WorkerError as error:
            _LOGGER.warning("guild %s: the worker cannot be told to leave: %s", self.guild_id, error)
        else:
            self._leaving = self.spawn(self._await_left(request), name="leave")

    async def _await_left(self, request: Request[Done]) -> None:
        try:
            await request.answer()
        except VoicePoolError as error:
            # It is over for the bot either way; a worker that is gone has left the call too.
            _LOGGER.warning("guild %s: the call was not left in order: %s", self.guild_id, error)

    def _end(self, error: VoicePoolError | None) -> None:
        if self._closing:
            return
        was_connected = self.connected
        self._closing = True
        self._error = error
        self._opened = None
        self._give_up_opening()
        self._player.end_all(error)
        self._host.release(self)
        self._closed.set()
        if error is not None and was_connected:
            _LOGGER.warning("guild %s: the connection has ended: %s", self.guild_id, error)
        try:
            self.on_closed(error)
        except Exception:
            _LOGGER.exception("guild %s: on_closed of %s failed", self.guild_id, type(self).__name__)
