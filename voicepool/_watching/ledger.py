"""[pure] What a pool has counted, over all worker processes and calls that ever were.

Counters of a process begin anew with it, and those of a call with each worker that takes it. The ledger adds
what was counted before, so that its own figures never fall: Prometheus takes a counter that falls for one
that began again.

A report of a worker costs about a microsecond a call. `Ledger.photograph` copies references only, so it is
cheap on the event loop; `voicepool._watching.report.develop` makes figures of it in any thread.
"""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from voicepool._watching.stutter import BUSY_SHARE, WorkerTrouble, stutters_between
from voicepool.ipc.events import CallStats, Stats
from voicepool.ipc.histogram import LatenessHistogram
from voicepool.ipc.ids import CallId
from voicepool.pool_events import CallMoved, ExitReason, MoveReason, PoolEvent, WorkerLost
from voicepool.stats import Gaps
from voicepool.stutters import Stutter, StutterCause

__all__ = [
    "CALL_COUNTERS",
    "WORKER_COUNTERS",
    "CallSheet",
    "Ledger",
    "Photograph",
    "SlotSheet",
    "add",
    "slot_of",
]

CALL_COUNTERS: Final = (
    "frames_sent",
    "silence_sent",
    "frames_nulled",
    "send_errors",
    "nulled_by_source",
    "nulled_by_encoder",
    "reconnects",
    "dave_epochs",
    "dave_failures",
)
"""Fields of `CallStats` that only rise."""
WORKER_COUNTERS: Final = (
    "cpu_s",
    "encode_cpu_s",
    "pacing_cpu_s",
    "decode_s",
    "opus_s",
    "seal_s",
    "frames_sent",
    "frames_nulled",
    "ticks_skipped",
    "rescues",
    "sheds",
    "dropped_stats",
)
"""Fields of `Stats` that only rise."""
KEPT_STUTTERS: Final = 1_000
"""The newest; an older one is only counted."""
MOST_INSTANCES: Final = 4
"""Processes that may share a place, and workers that may know one call; of more, the oldest has ended."""
_FRAME_MS: Final = 20
_REMEMBERED_ENDS: Final = 256
_REMEMBERED_CALLS: Final = 10_000
"""Processes and calls that have ended, whose reports may still come."""
_SPARE_SHEETS: Final = 1_000
"""Calls that have ended and were not folded into the sums yet."""

Counts = tuple[float, ...]
_call_counts: Final[Callable[[CallStats], Counts]] = operator.attrgetter(*CALL_COUNTERS)
_worker_counts: Final[Callable[[Stats], Counts]] = operator.attrgetter(*WORKER_COUNTERS)
_NO_CALL_COUNTS: Final[Counts] = (0,) * len(CALL_COUNTERS)
_NO_WORKER_COUNTS: Final[Counts] = (0,) * len(WORKER_COUNTERS)
_NOTHING_SENT: Final = LatenessHistogram()


class Instance(NamedTuple):
    """One process: its last report, and the highest complexity it ever had, which is the configured one."""

    last: Stats
    best_complexity: int


class SlotSheet(NamedTuple):
    """One place of the pool: its processes, and what others that have ended had counted.

    While a worker is replaced, two processes share its place.
    """

    instances: Mapping[str, Instance] = MappingProxyType({})
    carried: Counts = _NO_WORKER_COUNTS
    carried_lateness: LatenessHistogram = _NOTHING_SENT

    @property
    def reports(self) -> Iterator[Stats]:
        """The last report of each process."""
        return (instance.last for instance in self.instances.values())

    def counts(self) -> Counts:
        """Return all that was counted, in the order of `WORKER_COUNTERS`."""
        return add(self.carried, *map(_worker_counts, self.reports))

    def lateness(self) -> LatenessHistogram:
        """Return the lateness of all packets, as a histogram of its own."""
        merged = LatenessHistogram(self.carried_lateness.counts, self.carried_lateness.max_us)
        for report in self.reports:
            merged.merge(LatenessHistogram(report.lateness_counts, report.lateness_max_us))
        return merged

    def without(self, worker: str) -> SlotSheet:
        """Return the same with one process among those that have ended."""
        left = {name: instance for name, instance in self.instances.items() if name != worker}
        gone = SlotSheet({worker: self.instances[worker]}, self.carried, self.carried_lateness)
        return SlotSheet(left, gone.counts(), gone.lateness())


class CallSheet(NamedTuple):
    """One call: its last figures at each worker, the one it sends at, and what was counted before those.

    `home` is the worker that it was said to have gone to, until that reports on it: one that is silent shows
    by no packet where it is.
    """

    worker: str
    at: Mapping[str, CallStats]
    carried: Counts = _NO_CALL_COUNTS
    deficit: int = 0
    stutters: Mapping[StutterCause, int] = MappingProxyType({})
    home: str = ""

    @property
    def last(self) -> CallStats:
        """The last figures at the worker where it sends."""
        return self.at[self.worker]

    def counts(self) -> Counts:
        """Return all that was counted, in the order of `CALL_COUNTERS`."""
        if self.carried is _NO_CALL_COUNTS and len(self.at) == 1:
            return _call_counts(self.last)
        return add(self.carried, *map(_call_counts, self.at.values()))

    def without(self, worker: str) -> CallSheet:
        """Return the same with what was counted at one worker among what was counted before."""
        left = {name: figures for name, figures in self.at.items() if name != worker}
        carried = add(self.carried, _call_counts(self.at[worker]))
        return self._replace(at=left, carried=carried)


class Photograph(NamedTuple):
    """All there is to know at one instant. Nothing in it changes any more.

    Attributes
    ----------
    slots
        By name, ``w0`` for the first.
    calls
        Pairs of a guild and its sheet, of the calls that are up.
    gone, gone_deficit
        What calls that have ended had counted.
    stutters
        Of all calls that ever were, by cause.
    exits, recovered, moved, lost, gaps
        As in `voicepool.stats.PoolStats`.
    """

    slots: Mapping[str, SlotSheet]
    calls: tuple[tuple[int, CallSheet], ...]
    gone: Counts
    gone_deficit: int
    stutters: Mapping[StutterCause, int]
    exits: Mapping[ExitReason, int]
    recovered: int
    moved: int
    lost: int
    gaps: Gaps


class Ledger:
    """Keeps count. Times are seconds of the event loop's clock.

    Parameters
    ----------
    guilds
        Says which calls there are, and the guild of each.
    """

    def __init__(self, guilds: Callable[[], Mapping[CallId, int]]) -> None:
        self._guilds = guilds
        self._slots: dict[str, SlotSheet] = {}
        self._calls: dict[CallId, CallSheet] = {}
        self._ended: deque[str] = deque(maxlen=_REMEMBERED_ENDS)
        self._folded: dict[CallId, None] = {}
        self._most_calls = _SPARE_SHEETS
        self._gone: Counts = _NO_CALL_COUNTS
        self._gone_deficit = 0
        self._stutters: Counter[StutterCause] = Counter()
        self._recent: deque[Stutter] = deque(maxlen=KEPT_STUTTERS)
        self._exits: Counter[ExitReason] = Counter()
        self._recovered = self._moved = self._lost = 0
        self._gaps = Gaps()

    # What happens.

    def take_report(self, stats: Stats, now: float) -> None:
        """Take in a report; one that is not newer than the last of its worker changes nothing."""
        slot = slot_of(stats.worker)
        sheet = self._slots.get(slot, SlotSheet())
        before = sheet.instances.get(stats.worker)
        if stats.worker in self._ended or (before is not None and not _is_newer(stats, before.last)):
            return
        best = stats.complexity if before is None else max(before.best_complexity, stats.complexity)
        instances = {**sheet.instances, str(stats.worker): Instance(stats, best)}
        self._slots[slot] = sheet._replace(instances=instances)
        trouble = WorkerTrouble(
            ticks_skipped=stats.ticks_skipped - (0 if before is None else before.last.ticks_skipped),
            overloaded=stats.complexity < best or stats.encoder_share >= BUSY_SHARE,
        )
        heard: list[tuple[CallId, StutterCause, int]] = []
        for call in stats.calls:
            # A worker may take a while to leave a call that the bot has forgotten.
            if call.call not in self._folded:
                heard += self._take_call(call, stats.worker, trouble)
        if heard:
            self._note(heard, stats.worker, now)
        if len(instances) > MOST_INSTANCES:
            self._end_instance(next(iter(instances)))
        if len(self._calls) > self._most_calls:
            self._fold_ended(self._guilds())

    def take_event(self, event: PoolEvent, now: float) -> None:
        """Take in what has happened to the pool."""
        if isinstance(event, WorkerLost):
            self._exits[event.reason] += 1
            self._end_instance(event.worker)
        elif isinstance(event, CallMoved):
            is_lost = event.reason is MoveReason.LOST
            if is_lost:
                self._recovered += 1
            else:
                self._moved += 1
            self._gaps = _with_gap(self._gaps, event.gap_ms)
            self._note_move(event, StutterCause.WORKER_LOST if is_lost else StutterCause.MOVED, now)

    def count_lost_call(self) -> None:
        """Take note that a call ended, since its worker was lost and no other could take it over."""
        self._lost += 1

    # What is asked.

    def stutters(self, guild_id: int | None = None) -> tuple[Stutter, ...]:
        """Return the newest stutters, the oldest of them first; of one guild only, if it is named."""
        return tuple(each for each in self._recent if guild_id is None or each.guild_id == guild_id)

    def photograph(self) -> Photograph:
        """Return all there is to know, of the calls that are up."""
        guilds = self._guilds()
        self._fold_ended(guilds)
        return Photograph(
            slots=dict(self._slots),
            calls=tuple((guilds[call], sheet) for call, sheet in self._calls.items()),
            gone=self._gone,
            gone_deficit=self._gone_deficit,
            stutters=dict(self._stutters),
            exits=dict(self._exits),
            recovered=self._recovered,
            moved=self._moved,
            lost=self._lost,
            gaps=self._gaps,
        )

    # How it is done.

    def _take_call(
        self, call: CallStats, worker: str, trouble: WorkerTrouble
    ) -> list[tuple[CallId, StutterCause, int]]:
        sheet = self._calls.get(call.call)
        if sheet is None:
            sheet = CallSheet(worker, {})
        before = sheet.at.get(worker)
        if (
            before is not None
            and call.frames_sent + call.silence_sent < before.frames_sent + before.silence_sent
        ):
            # It was elsewhere, and came back.
            sheet, before = sheet.without(worker), None
        before = CallStats(call=call.call) if before is None else before
        stutters = sheet.stutters
        if heard := stutters_between(before, call, trouble):
            stutters = {**stutters, **{cause: stutters.get(cause, 0) + 1 for cause, _ in heard}}
        # A worker that is to take the call over knows it before the one that has it lets go.
        sends = call.frames_sent > before.frames_sent or sheet.worker not in sheet.at or worker == sheet.home
        sheet = CallSheet(
            worker=worker if sends else sheet.worker,
            at={**sheet.at, worker: call},
            carried=sheet.carried,
            deficit=sheet.deficit + (trouble.ticks_skipped if call.tracks else 0),
            stutters=stutters,
            home="" if worker == sheet.home else sheet.home,
        )
        if len(sheet.at) > MOST_INSTANCES:
            sheet = sheet.without(next(name for name in sheet.at if name != sheet.worker))
        self._calls[call.call] = sheet
        return [(call.call, cause, frames) for cause, frames in heard]

    def _end_instance(self, worker: str) -> None:
        """Take note that no further report of a process will count."""
        self._ended.append(worker)
        sheet = self._slots.get(slot_of(worker))
        if sheet is not None and worker in sheet.instances:
            self._slots[slot_of(worker)] = sheet.without(worker)

    def _note(self, heard: list[tuple[CallId, StutterCause, int]], worker: str, now: float) -> None:
        guilds = self._guilds()
        for call, cause, frames in heard:
            self._stutters[cause] += 1
            if (guild := guilds.get(call)) is not None:
                self._recent.append(
                    Stutter(guild_id=guild, worker=worker, cause=cause, frames=frames, at_s=now)
                )

    def _note_move(self, event: CallMoved, cause: StutterCause, now: float) -> None:
        for call, guild in self._guilds().items():
            sheet = self._calls.get(call)
            if guild != event.guild_id or sheet is None:
                continue
            # Nobody hears that a call without sound moves.
            if sheet.last.tracks:
                sheet = sheet._replace(stutters={**sheet.stutters, cause: sheet.stutters.get(cause, 0) + 1})
                self._note([(call, cause, round(event.gap_ms / _FRAME_MS))], event.new, now)
            self._calls[call] = sheet._replace(home=event.new)
            return

    def _fold_ended(self, guilds: Mapping[CallId, int]) -> None:
        for call in self._calls.keys() - guilds.keys():
            sheet = self._calls.pop(call)
            self._gone = add(self._gone, sheet.counts())
            self._gone_deficit += sheet.deficit
            self._folded[call] = None
        while len(self._folded) > _REMEMBERED_CALLS:
            del self._folded[next(iter(self._folded))]
        self._most_calls = _SPARE_SHEETS + 2 * len(self._calls)


def slot_of(worker: str) -> str:
    """Return the place of a process instance: ``w0`` of ``w0.2``."""
    return worker.partition(".")[0]


def add(*all_counts: Counts) -> Counts:
    """Return the sums, one by one."""
    return tuple(map(sum, zip(*all_counts, strict=True)))


def _is_newer(stats: Stats, last: Stats) -> bool:
    return stats is not last and stats.uptime_s >= last.uptime_s


def _with_gap(gaps: Gaps, gap_ms: float) -> Gaps:
    return Gaps(
        count=gaps.count + 1,
        sum_ms=gaps.sum_ms + gap_ms,
        max_ms=max(gaps.max_ms, gap_ms),
        buckets=tuple((bound, count + (gap_ms <= bound)) for bound, count in gaps.buckets),
    )
