"""[pure] Which calls leave a worker that has too much to do, and where they go.

New calls are placed where there is room, so a pool that is busy everywhere and gets another worker would stay
as uneven as it is. A worker is *over* while it needs ``full_share`` of a core, or sheds complexity for want
of time, for `LASTING_S` on end; it is relieved until it needs `RELIEVED_PART` of that. Who takes a call keeps
below `ROOM_PART`. So nothing swings: whoever gives has more left than whoever takes comes to, a call that has
moved stays for `REST_S`, and the last one that plays stays where it is.

Each move is a handshake, and silence as long as that. Calls that nobody hears go first, then those that are
held, then those whose station is on the air elsewhere, and of the rest those with the fewest members, since
end-to-end encryption has all of them follow. A round is small; the next one goes by what came of it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from voicepool._fleet.gauge import Costs
from voicepool._fleet.placement import SHED_SHARE, Ceilings, Load, cost, refusal
from voicepool.ipc.ids import CallId, WorkerId

__all__ = ["Balancer", "Movable", "Transfer"]

LASTING_S: Final = 5.0
"""How long a worker has to be over before the first call moves."""
RELIEVED_PART: Final = 0.9
"""Of ``full_share``: what a worker that was over is brought down to."""
ROOM_PART: Final = 0.8
"""Of ``full_share``: what a worker that takes calls from others may come to."""
ROUND_S: Final = 3.0
"""From one round to the next: until the reports tell what came of it."""
REST_S: Final = 60.0
"""How long a call that has moved stays where it is."""


@dataclass(frozen=True, slots=True)
class Movable:
    """A call that could move.

    Attributes
    ----------
    call, worker
        Which, and who holds it.
    playing
        Whether it plays something, held or not.
    held
        Whether that is held by ``pause``.
    station
        Key of the station that it hears.
    members
        How many are in the channel besides the bot.
    """

    call: CallId
    worker: WorkerId
    playing: bool = True
    held: bool = False
    station: str | None = None
    members: int = 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A call that is to move, from where and to where."""

    call: CallId
    source: WorkerId
    target: WorkerId


class Balancer:
    """Decides for one pool. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._over_since: dict[str, float] = {}
        self._relieving: set[str] = set()
        self._moved_at: dict[CallId, float] = {}
        self._rests_until = float("-inf")

    @property
    def relieving(self) -> frozenset[str]:
        """Names of the workers that are being relieved."""
        return frozenset(self._relieving)

    def look(
        self,
        now: float,
        loads: Sequence[Load],
        movables: Callable[[], Sequence[Movable]],
        *,
        ceilings: Ceilings,
        costs: Costs,
        at_once: int,
    ) -> list[Transfer]:
        """Say which calls are to move now; as a rule none.

        Parameters
        ----------
        now
            The time.
        loads
            Of the workers that take calls.
        movables
            Returns the calls that could move; asked only if some have to.
        ceilings
            What makes a worker full.
        costs
            What a call costs.
        at_once
            How many that are heard may move in a round, and as many again that are not.
        """
        self._take_note(now, loads, ceilings)
        if not self._relieving or now < self._rests_until:
            return []
        takers = [load for load in loads if load.name not in self._relieving and not load.shed]
        room = {
            WorkerId(load.name): _Room(
                ROOM_PART * ceilings.full_share - _cost_now(load, costs), ceilings.max_calls - load.calls
            )
            for load in takers
            if refusal(load, ceilings) is None
        }
        if not any(each.share > 0 for each in room.values()):
            return []
        self._moved_at = {call: at for call, at in self._moved_at.items() if now - at < REST_S}
        calls = movables()
        plan = _Round(room, calls, costs, at_once)
        over = [load for load in loads if load.name in self._relieving]
        for load in sorted(over, key=_need, reverse=True):
            here = [each for each in calls if each.worker == load.name and each.call not in self._moved_at]
            plan.relieve(_need(load) - RELIEVED_PART * ceilings.full_share, here)
        if plan.transfers:
            self._rests_until = now + ROUND_S
            self._moved_at.update((transfer.call, now) for transfer in plan.transfers)
        return plan.transfers

    def _take_note(self, now: float, loads: Sequence[Load], ceilings: Ceilings) -> None:
        there = {load.name for load in loads}
        self._relieving &= there
        self._over_since = {name: at for name, at in self._over_since.items() if name in there}
        for load in loads:
            need = _need(load)
            if need < ceilings.full_share:
                self._over_since.pop(load.name, None)
            elif now - self._over_since.setdefault(load.name, now) >= LASTING_S:
                self._relieving.add(load.name)
            if need <= RELIEVED_PART * ceilings.full_share:
                self._relieving.discard(load.name)


@dataclass(slots=True)
class _Room:
    """What a worker can take: a share of a core, and a number of calls."""

    share: float
    calls: int


class _Round:
    """The moves of one round, each planned with those before it in mind."""

    def __init__(
        self,
        room: dict[WorkerId, _Room],
        calls: Sequence[Movable],
        costs: Costs,
        at_once: int,
    ) -> None:
        self.transfers: list[Transfer] = []
        self._room = room
        self._costs = costs
        self._left = {True: at_once, False: at_once}
        """How many may still move, of those that play and of the others."""
        self._hearing = Counter((each.worker, each.station) for each in calls)
        """How many hear each station at each worker."""

    def relieve(self, excess: float, here: Sequence[Movable]) -> None:
        """Plan moves off one worker until it has a share of a core less to do."""
        staying = sum(each.playing for each in here)
        for each in sorted(here, key=self._rank):
            if excess <= 0:
                return
            if not self._left[each.playing] or (each.playing and staying == 1):
                continue
            target = self._choose(each)
            if target is None:
                continue
            excess -= self._relief(each)
            staying -= each.playing
            self._left[each.playing] -= 1
            self._room[target].share -= self._burden(each, target)
            self._room[target].calls -= 1
            self._hearing[each.worker, each.station] -= 1
            self._hearing[target, each.station] += 1
            self.transfers.append(Transfer(each.call, each.worker, target))

    def _rank(self, each: Movable) -> tuple[int, int, CallId]:
        if not each.playing:
            kind = 0
        elif each.held:
            kind = 1
        elif each.station is None:
            kind = 3
        elif self._is_shared(each):
            # What it costs here is less than what it would cost elsewhere, unless others hear it there.
            kind = 4
        else:
            kind = 2 if any(self._is_on_air(each.station, worker) for worker in self._room) else 3
        return kind, each.members, each.call

    def _choose(self, each: Movable) -> WorkerId | None:
        fitting = [
            worker
            for worker, room in self._room.items()
            if room.calls > 0 and room.share >= self._burden(each, worker)
        ]
        return max(
            fitting,
            key=lambda worker: (self._is_on_air(each.station, worker), self._room[worker].share),
            default=None,
        )

    def _is_shared(self, each: Movable) -> bool:
        return each.station is not None and self._hearing[each.worker, each.station] > 1

    def _is_on_air(self, station: str | None, worker: WorkerId) -> bool:
        return station is not None and self._hearing[worker, station] > 0

    def _relief(self, each: Movable) -> float:
        return self._costs.playing if each.playing and not self._is_shared(each) else self._costs.passing

    def _burden(self, each: Movable, target: WorkerId) -> float:
        if not each.playing:
            return self._costs.passing
        return self._costs.passing if self._is_on_air(each.station, target) else self._costs.playing


def _cost_now(load: Load, costs: Costs) -> float:
    # What idle calls may need some day is no reason to leave others where they are too many today.
    return cost(dataclasses.replace(load, playing=load.calls), costs)


def _need(load: Load) -> float:
    """Return the share of a core that a worker needs now.

    Smoothed figures tell what lasts, and the latest ones what has become of it: a worker that was relieved is
    not relieved again for what it had to do before.
    """
    present = min(load.steady_share, load.cpu_share)
    return max(present, load.encoder_share) + SHED_SHARE if load.shed else present
