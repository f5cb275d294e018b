"""A call at a worker that does not hold it yet: its sources are open there, and its first frames made.

The worker that holds the call plays on meanwhile, and its bot may want other things at any time. So what is
prepared is compared with what is wanted again and again, until both are the same; `Rehearsal.rehearse`
returns in such a moment.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from voicepool._playing.identity import identify
from voicepool._playing.snapshot import PlayAgain, Snapshot
from voicepool._process.link import Link, Request
from voicepool._subject_log import about
from voicepool.errors import VoicePoolError, WorkerError
from voicepool.ipc.commands import CloseCall, Play, PrepareCall, SetEncoding, SetVolume, Stop, TrackRole
from voicepool.ipc.events import Done, MediaInfo, TrackReady
from voicepool.ipc.ids import CallId, PlaybackId, new_playback_id
from voicepool.ipc.sources import StationSource
from voicepool.player import Adopted, Player

__all__ = ["Rehearsal"]

_LOGGER: Final = logging.getLogger("voicepool.pool")


class _State(enum.Enum):
    OPENING = "opening"
    READY = "ready"
    FAILED = "failed"
    """It cannot be opened there now: perhaps a second reader is refused. It is tried again once it moves."""


@dataclasses.dataclass(slots=True)
class _Part:
    """One playback at the new worker."""

    command: Play
    request: Request[TrackReady]
    alias: PlaybackId
    """By which the worker's end, should it come, counts against the source."""
    state: _State = _State.OPENING
    info: MediaInfo | None = None
    waiting: asyncio.Task[None] | None = None


class Rehearsal:
    """Prepares a worker for a call.

    Parameters
    ----------
    link
        To the worker.
    call
        The call.
    player
        What it plays.
    """

    def __init__(self, link: Link, call: CallId, player: Player) -> None:
        self.link: Final = link
        self._call = call
        self._player = player
        self._parts: dict[PlaybackId, _Part] = {}
        self._is_prepared = False
        self.dismissed = False
        """Whether the call does not move there after all."""

    async def rehearse(self) -> None:
        """Have the worker open all that the call plays, and return when it is ready.

        Returns without a wait once everything that is wanted at that moment is ready, or cannot be, so that
        whoever awaits this can go on in the same moment. Also returns when `dismiss` is called.

        Raises
        ------
        WorkerError
            The worker is gone, or does not answer.
        VoicePoolError
            It does not take the call.
        """
        await self._request(PrepareCall).answer()
        if self.dismissed:
            return
        self._is_prepared = True
        snapshot = self._player.snapshot()
        if snapshot.encoding is not None:
            self.link.post(SetEncoding(call=self._call, encoding=snapshot.encoding))
        self.link.post(SetVolume(call=self._call, volume=snapshot.volume))
        while not self.dismissed:
            snapshot = self._player.snapshot()
            if await self._drop_unwanted(snapshot):
                continue
            self._add_wanted(snapshot)
            opening = {part.waiting for part in self._parts.values() if part.waiting is not None}
            if not opening:
                return
            await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)
            if self.link.lost is not None:
                raise self.link.lost

    def adopted(self) -> dict[PlaybackId, Adopted]:
        """Hand over what is ready; the worker holds the call from now on."""
        suspicion = self._player.line.suspicion
        ready: dict[PlaybackId, Adopted] = {}
        for ident, part in self._parts.items():
            suspicion.on_ended(part.alias, finished=False)
            if part.info is not None:
                ready[ident] = Adopted(part.request, part.info, part.command)
        self._parts.clear()
        return ready

    def dismiss(self) -> None:
        """Leave that worker: the call does not move there. Returns at once."""
        if self.dismissed:
            return
        self.dismissed = True
        for part in self._parts.values():
            self._player.line.suspicion.on_ended(part.alias, finished=False)
            if part.waiting is not None:
                part.waiting.cancel()
        if self.link.lost is None:
            try:
                self._request(CloseCall).abandon()
            except WorkerError as error:
                _LOGGER.warning(
                    "%s: cannot leave the worker it was to move to: %s",
                    self._call,
                    error,
                    extra=about(place=self._player.line.place, worker=self.link.worker),
                )

    # How it is done.

    def _request(self, make: Callable[..., PrepareCall | CloseCall | Stop]) -> Request[Done]:
        timeout_s = self._player.line.config.command_timeout_s
        return self.link.request(
            lambda number: make(request=number, call=self._call), Done, timeout_s=timeout_s
        )

    async def _drop_unwanted(self, snapshot: Snapshot) -> bool:
        """End what is not wanted any more, or in another role; return whether there was any."""
        wanted = {each.playback.ident: each.command.role for each in snapshot.plays}
        unwanted = [ident for ident, part in self._parts.items() if wanted.get(ident) != part.command.role]
        for ident in unwanted:
            part = self._parts.pop(ident)
            self._player.line.suspicion.on_ended(part.alias, finished=False)
            await self._request(functools.partial(Stop, playback=ident)).answer()
            if part.waiting is not None:
                await asyncio.wait({part.waiting})
        return bool(unwanted)

    def _add_wanted(self, snapshot: Snapshot) -> None:
        """Have opened what is to be heard first, and what follows it once that is ready."""
        is_first_ready = True
        has_main = False
        for each in snapshot.plays:
            role, part = each.command.role, self._parts.get(each.playback.ident)
            if each.is_pushed:
                # It is made once, and goes to where it is heard.
                has_main = has_main or role is TrackRole.MAIN
                continue
            if role is TrackRole.MAIN and has_main:
                # It is being opened where the call is now, and may fail there.
                continue
            if part is None and (role is not TrackRole.NEXT or is_first_ready):
                part = self._parts[each.playback.ident] = self._open(each)
            if role is TrackRole.MAIN:
                has_main = True
                is_first_ready = part is not None and part.state is not _State.OPENING

    def _open(self, each: PlayAgain) -> _Part:
        line = self._player.line
        request = self.link.request(
            lambda number: msgspec.structs.replace(each.command, request=number),
            TrackReady,
            timeout_s=line.opening_limit_s(each.command.source),
            attachments=each.attachments,
        )
        part = _Part(each.command, request, new_playback_id())
        line.suspicion.on_sent(
            part.alias,
            identify(each.command.source, each.attachments),
            worker=self.link.worker,
            label=each.playback.source.label,
            is_shared=isinstance(each.command.source, StationSource),
            now=self._player.now(),
        )
        part.waiting = self._player.spawn(self._await(part), name="rehearse")
        return part

    async def _await(self, part: _Part) -> None:
        try:
            part.info = (await part.request.answer()).info
            part.state = _State.READY
            self._player.line.suspicion.on_opened(part.alias, self._player.now())
        except VoicePoolError as error:
            part.state = _State.FAILED
            _LOGGER.info(
                "%s: not opened ahead of a move: %s",
                self._call,
                error,
                extra=about(place=self._player.line.place, worker=self.link.worker),
            )
        finally:
            part.waiting = None
