"""A pool as its observatory sees it, without a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.figures import call_figures, report
from voicepool._watching.status_view import Playing
from voicepool.ipc.events import Stats
from voicepool.ipc.ids import CallId
from voicepool.stats import WorkerInfo, WorkerState

__all__ = ["FakeLink", "FakeSubject", "busy_subject"]


@dataclass
class FakeLink:
    """What an observatory wants of a link."""

    worker: str
    stats: Stats | None = None
    cpu_share: float | None = 0.25
    unreadable: int = 0


@dataclass
class FakeSubject:
    """What an observatory wants of a pool."""

    links: Sequence[FakeLink] = ()
    infos: tuple[WorkerInfo, ...] = ()
    wanted: int = 0
    guilds: Mapping[CallId, int] = field(default_factory=dict)
    plays: Sequence[Playing] = ()

    def playing(self) -> Sequence[Playing]:
        return self.plays


def busy_subject(calls: int = 2, **more: Any) -> FakeSubject:
    """Return a pool of one worker that has reported on some calls, in guilds from 100 on."""
    figures = [call_figures(f"c{number}", frames_sent=10 + number) for number in range(calls)]
    stats = report("w0.1", [100, 200, 30_000], calls=figures, **more)
    info = WorkerInfo(slot=0, name="w0.1", state=WorkerState.READY, pid=4711, core=1, calls=calls, rtt_ms=2.0)
    return FakeSubject(
        links=[FakeLink("w0.1", stats)],
        infos=(info,),
        wanted=1,
        guilds={CallId(f"c{number}"): 100 + number for number in range(calls)},
        plays=[
            Playing(guild=100 + number, channel=1, state="playing", label="song", position_s=61.0)
            for number in range(calls)
        ],
    )
