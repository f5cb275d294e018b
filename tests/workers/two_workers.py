"""A call that moves between two workers, by the commands of such a move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.workers.dispatch_bench import Bench, dispatching
from tests.workers.hand_studio import HandSource, name_of
from tests.workers.scripted_connection import open_command
from voicepool.ipc.commands import (
    AlignTracks,
    OpenCall,
    Play,
    PrepareCall,
    ReleaseCall,
    TrackOptions,
    TrackRole,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import CallOpened, CallReleased, Event, TrackPlace
from voicepool.ipc.ids import CallId, PlaybackId
from voicepool.ipc.sources import FileSource, Source
from voicepool.workers.audio.assembling import OpenedTrack
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.errors import CallError

__all__ = [
    "CALL",
    "LOST",
    "REFUSED",
    "VOID",
    "NumberedSource",
    "align",
    "has_songs",
    "heard",
    "patiently",
    "places_of",
    "play",
    "prepare",
    "release",
    "take_over",
    "two_workers",
]

CALL = CallId("call")
LOST = CallError(ErrorCode.CLOSED_BY_SERVER, "the connection was lost", close_code=1006)
VOID = CallError(ErrorCode.CLOSED_BY_SERVER, "no such session", close_code=4006)
REFUSED = CallError(ErrorCode.CONNECT_REFUSED, "nobody listens")


class NumberedSource(HandSource):
    """Packets that are named by their number in the whole song, from one of them on."""

    def __init__(self, name: str, count: int, first: int) -> None:
        super().__init__(name)
        self.first = first
        self.steps = list(self.packets(count - first, first))

    @property
    def position_s(self) -> float:
        return self.first / FRAMES_PER_S + super().position_s


def has_songs(bench: Bench, **songs: int) -> None:
    """Have songs of so many packets opened at the place that is asked for."""
    opener = bench.hand.opener

    async def open_song(
        source: Source, options: TrackOptions, _: Sequence[bytes], *, position_s: float | None = None
    ) -> Any:
        assert isinstance(source, FileSource)
        wanted_s = (options.position_s if position_s is None else position_s) or 0.0
        opener.places.append((source.path, wanted_s))
        found = opener.sources.get(source.path)
        if isinstance(found, asyncio.Future):
            await found
        elif isinstance(found, Exception):
            raise found
        first = int(wanted_s * FRAMES_PER_S + 1e-6)
        song = NumberedSource(source.path, songs[source.path], first)
        opener.opened.append(song)
        return OpenedTrack(song, song.info, source, first / FRAMES_PER_S)  # type: ignore[arg-type]

    opener.open = open_song  # type: ignore[method-assign, assignment]


def play(bench: Bench, name: str, *, role: TrackRole = TrackRole.MAIN, **fields: Any) -> int:
    options = TrackOptions(**{key: fields.pop(key) for key in list(fields) if key in {"position_s"}})
    return bench.send(
        Play(
            request=bench._next(),
            call=CALL,
            playback=PlaybackId(name),
            source=FileSource(name),
            role=role,
            options=options,
            **fields,
        )
    )


def take_over(bench: Bench, generation: int = 2) -> int:
    command = open_command(bench._next(), generation)
    return bench.send(
        OpenCall(
            request=command.request,
            call=command.call,
            generation=generation,
            credentials=command.credentials,
            takes_over=True,
        )
    )


def prepare(bench: Bench, call: str = "call") -> int:
    return bench.send(PrepareCall(request=bench._next(), call=CallId(call)))


def release(bench: Bench) -> int:
    return bench.send(ReleaseCall(request=bench._next(), call=CALL))


def align(bench: Bench, places: Sequence[TrackPlace]) -> int:
    return bench.send(AlignTracks(request=bench._next(), call=CALL, places=list(places)))


async def patiently(bench: Bench, request: int) -> Event:
    """The answer to what takes more turns than most."""
    while not bench.answers(request):
        await bench.hand.settle()
    return await bench.answer(request)


def heard(bench: Bench) -> list[str]:
    """Names of all that was sent."""
    return [name_of(sent) for attempt in bench.script.attempts for sent in attempt.sent]


async def places_of(bench: Bench) -> list[TrackPlace]:
    answer = await bench.answer(release(bench))
    assert isinstance(answer, CallReleased)
    return answer.places


@asynccontextmanager
async def two_workers(**songs: int) -> AsyncIterator[tuple[Bench, Bench]]:
    """One that holds the call, and one that does not know it."""
    async with dispatching() as old:
        has_songs(old, **songs)
        assert isinstance(await old.answer(old.open()), CallOpened)
        async with dispatching() as new:
            has_songs(new, **songs)
            yield old, new
