"""Calls that move to other workers one by one, because theirs is to end, or has too much to do.

Most of a move happens while the call plays on: the new worker has its sources open and its first frames
made before the old one lets go, and says exactly where. What is left is the handshake with the voice server,
which takes one session of a user in a guild at a time. No frame is sent twice, and none is left out.

The rule for listeners: of a call that is silent for up to a second (`voicepool._calls.crossing.QUIET_MOVE_S`)
they hear nothing. One that takes longer is `Interrupted` and `Restored`, as after any other loss.

Until the old worker is told to let go, a move that fails changes nothing. Off a worker that is to end it is
tried `MOST_TRIES` times; off one that has too much to do, the call stays. After that, and after the last try,
the call is begun again elsewhere like one that has lost its worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from voicepool._calls.recovery import Recovery
from voicepool._calls.rehearsal import Rehearsal
from voicepool._fleet.balancing import Transfer
from voicepool._fleet.fleet import Fleet
from voicepool._process.link import CallEvent, Link, Request, TrackEvent
from voicepool._subject_log import about
from voicepool.config import PoolConfig
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import VoicePoolError, WorkerError, WorkerTimeoutError
from voicepool.ipc.commands import AlignTracks, ReleaseCall
from voicepool.ipc.events import CallClosed, CallReleased, CallStats, Done, StreamCredit, TrackReady
from voicepool.ipc.ids import CallId
from voicepool.pool_events import MoveReason

__all__ = ["MOST_TRIES", "Moving"]

_LOGGER: Final = logging.getLogger("voicepool.pool")

MOST_TRIES: Final = 3
REHEARSAL_S: Final = 50.0
"""How long the new worker may take to be ready; after 60 s it gives up what was prepared there."""
_NAME: Final = "move"


class Moving:
    """Moves calls.

    Parameters
    ----------
    fleet
        Has places.
    config
        The pool's.
    recovery
        Takes what cannot be moved.
    connections
        Returns the connections that have not closed.
    spawn
        Starts a task that someone else sees to the end of.
    """

    def __init__(
        self,
        fleet: Fleet,
        config: PoolConfig,
        recovery: Recovery,
        connections: Callable[[], Sequence[BaseVoiceConnection]],
        spawn: Callable[[Coroutine[None, None, None], str], asyncio.Task[None]],
    ) -> None:
        self._fleet = fleet
        self._config = config
        self._recovery = recovery
        self._connections = connections
        self._spawn = spawn

    async def run(self, link: Link) -> None:
        """Move all calls off a worker, and return when none is left there; no new ones may be placed there.

        When cancelled, calls that were not told to go yet stay.
        """
        places = asyncio.Semaphore(self._config.moves_at_once)
        tries: Counter[CallId] = Counter()
        while here := [each for each in self._connections() if each.link is link]:
            if any(tries[each.call_id] for each in here):
                await asyncio.sleep(self._config.reconnect_first_pause_s)
            async with asyncio.TaskGroup() as group:
                for connection in here:
                    tries[connection.call_id] += 1
                    is_last = tries[connection.call_id] >= MOST_TRIES
                    group.create_task(
                        self._try(connection, link, places, is_last=is_last),
                        name=f"voicepool move of guild {connection.guild_id}",
                    )

    async def run_some(self, transfers: Sequence[Transfer]) -> None:
        """Move these calls, each to the worker that is named for it; one that cannot, stays where it is."""
        places = asyncio.Semaphore(self._config.moves_at_once)
        there = {each.call_id: each for each in self._connections()}
        async with asyncio.TaskGroup() as group:
            for transfer in transfers:
                if (connection := there.get(transfer.call)) is not None:
                    group.create_task(
                        self._try_to(connection, transfer, places),
                        name=f"voicepool move of guild {connection.guild_id}",
                    )

    async def _try_to(
        self, connection: BaseVoiceConnection, transfer: Transfer, places: asyncio.Semaphore
    ) -> None:
        async with places:
            link = connection.link
            if link is None or link.worker != transfer.source:
                return
            try:
                there = self._fleet.reserve_at(transfer.call, transfer.target, station=connection.station)
                await self._move(connection, link, there, MoveReason.RELIEVED)
            except VoicePoolError as error:
                text = "guild %s: stays at worker %s, which has too much to do: %s"
                _LOGGER.warning(
                    text,
                    connection.guild_id,
                    link.worker,
                    error,
                    extra=about(guild=connection.guild_id, worker=link.worker),
                )

    async def _try(
        self, connection: BaseVoiceConnection, link: Link, places: asyncio.Semaphore, *, is_last: bool
    ) -> None:
        # One that is joining for the first time cannot go on anywhere yet.
        await connection.wait_decided()
        async with places:
            if connection.link is not link:
                return
            try:
                there = await self._fleet.reserve(
                    connection.call_id, avoid=(link.worker,), station=connection.station
                )
                await self._move(connection, link, there, MoveReason.DRAINED)
            except VoicePoolError as error:
                text = "guild %s: cannot move off worker %s%s: %s"
                then = ", and begins again elsewhere" if is_last else ", and stays for now"
                _LOGGER.warning(
                    text,
                    connection.guild_id,
                    link.worker,
                    then,
                    error,
                    extra=about(guild=connection.guild_id, worker=link.worker),
                )
                if is_last and connection.link is link:
                    await asyncio.shield(self._spawn(self._let_go(connection, link), _NAME))

    async def _move(
        self, connection: BaseVoiceConnection, link: Link, there: Link, reason: MoveReason
    ) -> None:
        """Move a call to where a place is reserved for it."""
        call = connection.call_id
        rehearsal = Rehearsal(there, call, connection.player)
        connection.understudy = rehearsal
        try:
            if connection.link is not link:
                rehearsal.dismiss()
            else:
                await self._rehearse(rehearsal)
            if rehearsal.dismissed:
                # It has ended, or lost its worker.
                self._fleet.cancel_reservation(call)
                return
            releasing = self._tell_to_release(link, call)
        except BaseException:
            connection.understudy = None
            rehearsal.dismiss()
            self._fleet.cancel_reservation(call)
            raise
        # Nothing may come between what was compared last and this: from here on, wishes are only remembered.
        connection.understudy = None
        left = self._leave(connection, link, reason)
        # Nor is there a way back, whoever asked for the move.
        await asyncio.shield(self._spawn(self._arrive(connection, rehearsal, left, releasing), _NAME))

    @staticmethod
    async def _rehearse(rehearsal: Rehearsal) -> None:
        try:
            async with asyncio.timeout(REHEARSAL_S):
                await rehearsal.rehearse()
        except TimeoutError:
            raise WorkerTimeoutError(
                f"worker {rehearsal.link.worker} has not made its sound ready within {REHEARSAL_S:g} s"
            ) from None

    async def _arrive(
        self,
        connection: BaseVoiceConnection,
        rehearsal: Rehearsal,
        left: Callable[[], None],
        releasing: Request[CallReleased],
    ) -> None:
        """Go on at the new worker once the old one has let go."""
        call, there = connection.call_id, rehearsal.link
        # Who leaves meanwhile, leaves the new worker too.
        connection.understudy = rehearsal
        await self._hear_places(connection, releasing)
        left()
        if connection.closed:
            return
        connection.understudy = None
        if there.lost is not None:
            rehearsal.dismiss()
            self._fleet.cancel_reservation(call)
            self._begin_again(connection)
            return
        self._fleet.shift(call, there, connection)
        try:
            adopted = rehearsal.adopted()
            places = [place for place in connection.player.places() if place.playback in adopted]
            if places:
                # Not waited for: the worker sends nothing before it is done.
                there.request(
                    lambda number: AlignTracks(request=number, call=call, places=places),
                    Done,
                    timeout_s=self._config.command_timeout_s,
                ).abandon()
            await connection.go_on(there, adopted)
        except WorkerError as error:
            _LOGGER.warning(
                "guild %s: its move begins anew: %s",
                connection.guild_id,
                error,
                extra=about(guild=connection.guild_id, worker=there.worker),
            )
            self._begin_again(connection)

    def _begin_again(self, connection: BaseVoiceConnection) -> None:
        if connection.seeks_worker and not connection.closed:
            self._recovery.add(connection)

    async def _let_go(self, connection: BaseVoiceConnection, link: Link) -> None:
        """Have a worker let go of a call for which no other is prepared."""
        try:
            releasing = self._tell_to_release(link, connection.call_id)
        except WorkerError as error:
            _LOGGER.warning(
                "guild %s: its worker cannot be told: %s",
                connection.guild_id,
                error,
                extra=about(guild=connection.guild_id, worker=link.worker),
            )
            self._leave(connection, link)()
        else:
            left = self._leave(connection, link)
            await self._hear_places(connection, releasing)
            left()
        self._begin_again(connection)

    def _tell_to_release(self, link: Link, call: CallId) -> Request[CallReleased]:
        return link.request(
            lambda number: ReleaseCall(request=number, call=call),
            CallReleased,
            timeout_s=self._config.command_timeout_s,
        )

    @staticmethod
    def _leave(
        connection: BaseVoiceConnection, link: Link, reason: MoveReason = MoveReason.DRAINED
    ) -> Callable[[], None]:
        """Take note that a worker lets go; return what is to be called when it has."""
        link.listen(connection.call_id, _LastWords(connection))
        connection.depart(reason)
        connection.tell_if_overdue()
        return lambda: link.unlisten(connection.call_id)

    @staticmethod
    async def _hear_places(connection: BaseVoiceConnection, releasing: Request[CallReleased]) -> None:
        try:
            connection.player.take_places((await releasing.answer()).places)
        except VoicePoolError as error:
            # The places that are known from the last report are near enough.
            _LOGGER.warning(
                "guild %s: its worker does not say where it was: %s",
                connection.guild_id,
                error,
                extra=about(guild=connection.guild_id),
            )


class _LastWords:
    """Hears a worker that was told to let go of a call: which tracks have ended, and begun, before that."""

    def __init__(self, connection: BaseVoiceConnection) -> None:
        self._connection = connection

    def on_track_event(self, event: TrackEvent) -> None:
        # What is ready there is of no use elsewhere, and what it would take is given to another.
        if not isinstance(event, TrackReady | StreamCredit):
            self._connection.on_track_event(event)

    def on_call_closed(self, event: CallClosed) -> None:
        """Take no note: the call goes on elsewhere."""

    def on_call_event(self, event: CallEvent) -> None:
        """Take no note: the call goes on elsewhere."""

    def on_stats(self, stats: CallStats) -> None:
        """Take no note: the places come more exactly."""

    def on_worker_lost(self, error: VoicePoolError) -> None:
        """Take no note: whoever waits for the places is told."""
