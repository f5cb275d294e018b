"""The stations of a worker by name: who plays one joins it, or opens it; the last one to go ends it.

All of it belongs to the control loop, but for the taps: they are taken from and closed on encoder threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import StationSource
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.audio.station import (
    OpenedStation,
    Station,
    StationEncoder,
    as_source_error,
)
from voicepool.workers.audio.station_tap import StationTap
from voicepool.workers.errors import SourceError, WorkerSideError

__all__ = ["LINGER_S", "EncoderItems", "Stations"]

_T = TypeVar("_T")

LINGER_S: Final = 10.0
"""How long a station goes on with nobody there: a bot that skips back and forth finds it as it was."""


class EncoderItems(Protocol):
    """What a station needs of the encoder threads."""

    def submit(self, item: EncoderItem, /) -> None:
        """Take an item on, to be closed there."""

    def nudge(self, item: EncoderItem, /) -> None:
        """Look at an item again that may be parked."""


class _Timer(Protocol):
    def cancel(self) -> None: ...


@dataclass(slots=True, eq=False)
class _OnAir:
    """A station, from the first wish for it to its end."""

    source: StationSource
    open: Callable[[], Awaitable[OpenedStation]]
    opening: asyncio.Task[Station]
    holders: int = 0
    """Calls that wait for it or play it."""
    lingering: _Timer | None = None
    reopening: asyncio.Task[None] | None = None

    @property
    def station(self) -> Station | None:
        """The station, once it is open."""
        opening = self.opening
        if not opening.done() or opening.cancelled() or opening.exception() is not None:
            return None
        return opening.result()


class Stations:
    """All stations of one worker.

    Parameters
    ----------
    encoders
        The encoder threads, which make the packets.
    make_encoder
        Makes the encoder of a station whose source is no Opus; called on an encoder thread.
    linger_s
        How long, in seconds, a station goes on after the last call has left it.
    now_ns
        Monotonic time in nanoseconds, the encoder threads' own.
    call_later
        Calls a function in so many seconds; the running loop's by None.
    """

    def __init__(
        self,
        encoders: EncoderItems,
        *,
        make_encoder: Callable[[], StationEncoder],
        linger_s: float = LINGER_S,
        now_ns: Callable[[], int] = time.monotonic_ns,
        call_later: Callable[[float, Callable[[], object]], _Timer] | None = None,
    ) -> None:
        self._encoders = encoders
        self._make_encoder = make_encoder
        self._linger_s = linger_s
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._call_later = self._loop.call_later if call_later is None else call_later
        self._on_air: dict[str, _OnAir] = {}
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """The stations that are on air, or about to be."""
        return tuple(self._on_air)

    async def tap(
        self,
        source: StationSource,
        open: Callable[[], Awaitable[OpenedStation]],  # noqa: A002  # what it does
        *,
        heard_in_ns: Callable[[], int] = lambda: 0,
    ) -> StationTap:
        """Join a station; the first to come opens it.

        Parameters
        ----------
        source
            Which station, and what it plays.
        open
            Opens ``source.source`` at its start; cancelled, it closes what it has opened. Kept as long as
            the station is on air, to open it anew if it repeats.
        heard_in_ns
            Returns how long, in nanoseconds, until what is taken next from the tap will be heard. Called on
            an encoder thread.

        Raises
        ------
        SourceError
            It cannot be opened, for all who wait for it; the next to come tries again. Or, with
            ``SOURCE_REFUSED``, others play something else under this name.
        """
        on_air = self._find(source, open)
        self._hold(on_air)
        try:
            # Not the task itself: who is cancelled here leaves the others waiting.
            await asyncio.wait({on_air.opening})
            station = self._result(on_air)
        except BaseException:
            self._release(on_air)
            raise
        return StationTap(
            station.log,
            info=station.info,
            now_ns=self._now_ns,
            heard_in_ns=heard_in_ns,
            on_start=lambda: self._encoders.nudge(station),
            on_close=lambda: self._hand_over(self._release, on_air),
        )

    def close(self) -> None:
        """End all stations: who plays one gets to the end of what is made, who waits for one an error."""
        self._closed = True
        for on_air in list(self._on_air.values()):
            self._end(on_air)

    def _find(self, source: StationSource, open_source: Callable[[], Awaitable[OpenedStation]]) -> _OnAir:
        name = source.station
        if self._closed:
            raise _closing(name)
        on_air = self._on_air.get(name)
        if on_air is not None and on_air.station is not None and on_air.station.is_over:
            # Those who still hear the end of it keep it.
            del self._on_air[name]
            on_air = None
        if on_air is not None and on_air.source != source:
            if on_air.holders:
                text = (
                    f"the station {name!r} plays another source, or repeats it otherwise; "
                    "stop it in all calls first, or give this one another name"
                )
                raise SourceError(ErrorCode.SOURCE_REFUSED, text)
            self._end(on_air)
            on_air = None
        if on_air is None:
            opening = self._loop.create_task(self._open(source, open_source))
            on_air = self._on_air[name] = _OnAir(source, open_source, opening)
            opening.add_done_callback(lambda _: self._on_opened(on_air))
        return on_air

    async def _open(
        self, source: StationSource, open_source: Callable[[], Awaitable[OpenedStation]]
    ) -> Station:
        opened = await open_source()
        station: Station

        def reopen() -> None:
            self._hand_over(self._begin_anew, station)

        station = Station(
            source.station,
            opened,
            make_encoder=self._make_encoder,
            reopen=reopen if source.repeats else None,
        )
        self._encoders.submit(station)
        return station

    def _on_opened(self, on_air: _OnAir) -> None:
        if on_air.station is None:
            # The next to come tries again, also before those who wait have been told.
            self._forget(on_air)

    def _result(self, on_air: _OnAir) -> Station:
        name, opening = on_air.source.station, on_air.opening
        if opening.cancelled() or self._closed:
            raise _closing(name)
        error = opening.exception()
        if isinstance(error, WorkerSideError):
            # One for each who waits, since each raise adds to what a traceback holds.
            raise SourceError(error.code, error.text, **error.data)
        if isinstance(error, Exception):
            raise as_source_error(error, name)
        return opening.result()

    def _begin_anew(self, station: Station) -> None:
        on_air = self._on_air.get(station.name)
        if on_air is not None and on_air.station is station:
            on_air.reopening = self._loop.create_task(self._reopen(on_air, station))

    async def _reopen(self, on_air: _OnAir, station: Station) -> None:
        try:
            opened = await on_air.open()
        except Exception as error:  # noqa: BLE001  # handed to those who listen
            station.go_on(as_source_error(error, station.name))
        else:
            station.go_on(opened.reader)
        self._encoders.nudge(station)

    def _hold(self, on_air: _OnAir) -> None:
        on_air.holders += 1
        if on_air.lingering is not None:
            on_air.lingering.cancel()
            on_air.lingering = None

    def _release(self, on_air: _OnAir) -> None:
        on_air.holders -= 1
        if on_air.holders:
            return
        station = on_air.station
        if self._closed or station is None or station.is_over:
            self._end(on_air)
        else:
            on_air.lingering = self._call_later(self._linger_s, lambda: self._end(on_air))

    def _end(self, on_air: _OnAir) -> None:
        self._forget(on_air)
        if on_air.lingering is not None:
            on_air.lingering.cancel()
            on_air.lingering = None
        on_air.opening.cancel()
        if on_air.reopening is not None:
            on_air.reopening.cancel()
        station = on_air.station
        if station is not None:
            station.cancelled = True
            self._encoders.nudge(station)

    def _forget(self, on_air: _OnAir) -> None:
        name = on_air.source.station
        if self._on_air.get(name) is on_air:
            del self._on_air[name]

    def _hand_over(self, to: Callable[[_T], object], about: _T) -> None:
        # If the loop has closed, the encoder threads are about to close all they have.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(to, about)


def _closing(name: str) -> SourceError:
    return SourceError(ErrorCode.SUPERSEDED, f"the worker closed before the station {name!r} was open")
