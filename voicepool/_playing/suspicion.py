"""[pure] Which source crashes workers: who was there when one died, and who is refused from then on.

A decoder that crashes takes its process with it, and a corpse does not say whose fault it was. So:

* **Suspects** of a death are the sources that were being opened or played at that worker. Most crashes come
  with the first bytes, so those that were just being opened are nearest to it, then the *fresh* ones, which
  had been opened, begun or sought within `FRESH_S` before it, then the rest. A station that is on the air
  already is not opened by one more call that joins it.
* **Alibi**: one that had long been played there is not suspected if it is heard well at another worker: what
  all calls of a bot play is there at every death. Begun again elsewhere, a source that does crash workers
  does so at once, and being fresh knows no alibi.
* **A second death** convicts, within `FORGET_AFTER_S`: those suspects that were there at an earlier one too;
  if some of them were fresh both times, these alone, and if some were being opened both times, only those.
  Of these, those that were there most often.
* **Doubt**: more than `MOST_AT_ONCE` of them (many calls that moved to another worker together) are let go
  until further deaths tell them apart, but no longer than `PATIENCE_DEATHS` deaths.
* **Acquittal**: heard for more than `ACQUITTED_AFTER_S` at another worker since, or begun since and heard to
  the end. What a conviction explains is no longer held against the others.

What was not read from anywhere, streams and silence, is never suspected. A worker that was told to leave,
or left by itself in order or at SIGTERM, has not crashed; see
`voicepool._process.exits`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final

from voicepool._playing.identity import SourceId
from voicepool.errors import SourceQuarantinedError
from voicepool.ipc.ids import PlaybackId, WorkerId

__all__ = ["Suspicion"]

FRESH_S: Final = 5.0
ACQUITTED_AFTER_S: Final = 60.0
FORGET_AFTER_S: Final = 3_600.0
MOST_AT_ONCE: Final = 3
PATIENCE_DEATHS: Final = 4
MAX_RECORDS: Final = 4_096
"""Sources that are remembered as suspects; beyond it the one suspected longest ago is forgotten."""
MAX_CONVICTED: Final = 1_000
"""Sources that are refused; beyond it the one convicted first is free."""


class _Nearness(enum.IntEnum):
    """How near a source was to a death."""

    PLAYED = 0
    FRESH = 1
    OPENING = 2


@dataclasses.dataclass(slots=True)
class _Held:
    """One playback at one worker."""

    worker: WorkerId
    source: SourceId
    label: str
    sent_at: float
    touched_at: float
    opening: bool
    is_shared: bool
    heard_s: float = 0.0
    """How much of it has been heard at this worker."""
    mark: tuple[float, float] | None = None
    """Since which death of its source its hearing is counted, and how much had been heard by then."""

    def nearness(self, now: float) -> _Nearness:
        """Return how near it is to what happens now."""
        if self.opening:
            return _Nearness.OPENING
        return _Nearness.FRESH if now - self.touched_at <= FRESH_S else _Nearness.PLAYED


@dataclasses.dataclass(slots=True)
class _Record:
    """What is held against a source."""

    label: str
    last_at: float
    deaths: dict[_Nearness, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(_Nearness, 0))
    """At how many it was at least so near."""


class Suspicion:
    """What the playbacks of a pool are suspected of. All times are seconds of a monotonic clock.

    What is held is bounded: the playbacks by what plays, the rest by `MAX_RECORDS` and `MAX_CONVICTED`.
    """

    def __init__(self) -> None:
        self._held: dict[PlaybackId, _Held] = {}
        self._records: dict[SourceId, _Record] = {}
        self._convicted: dict[SourceId, str] = {}

    # Who is refused.

    @property
    def convicted(self) -> Mapping[SourceId, str]:
        """The label of each source that is refused, the one convicted first at the front."""
        return self._convicted

    def check(self, source: SourceId | None, label: str) -> None:
        """Do nothing, unless a source is refused.

        Raises
        ------
        SourceQuarantinedError
            It is.
        """
        if source in self._convicted:
            raise SourceQuarantinedError(
                f"{label} is quarantined: more than one worker has died while it was opened or played; play "
                "something else, or call pool.quarantine.release(source) once it is mended",
                source=label,
            )

    def release(self, source: SourceId) -> bool:
        """Refuse a source no more, and hold nothing against it; return whether it was refused."""
        self._records.pop(source, None)
        return self._convicted.pop(source, None) is not None

    def clear(self) -> None:
        """Refuse nothing, and suspect nobody of past deaths."""
        self._convicted.clear()
        self._records.clear()

    # What happens.

    def on_sent(
        self,
        playback: PlaybackId,
        source: SourceId | None,
        *,
        worker: WorkerId,
        label: str,
        is_shared: bool,
        now: float,
    ) -> None:
        """Take note that a worker is asked to play.

        Parameters
        ----------
        playback
            Which; `on_ended` or the worker's death forgets it.
        source
            What is played; None for what cannot be to blame.
        worker
            Where.
        label
            Of the source, without secrets.
        is_shared
            Whether it is opened only if the worker does not play it already: a station.
        now
            When.
        """
        if source is None:
            return
        held = _Held(worker, source, label, now, now, opening=True, is_shared=is_shared)
        if is_shared and (on_air := self._on_air(held)) is not None:
            held.touched_at, held.opening = on_air.touched_at, on_air.opening
        self._held[playback] = held

    def on_opened(self, playback: PlaybackId, now: float) -> None:
        """Take note that it is ready, or begins to be heard."""
        held = self._held.get(playback)
        if held is not None and (held.opening or not held.is_shared):
            held.opening, held.touched_at = False, now

    def on_sought(self, playback: PlaybackId, now: float) -> None:
        """Take note that it is to go on elsewhere, for which it is opened once more."""
        if (held := self._held.get(playback)) is not None:
            held.touched_at = now

    def on_heard(self, playback: PlaybackId, heard_s: float, now: float) -> None:
        """Take note of how much of it has been heard in all, in seconds of hearing."""
        held = self._held.get(playback)
        if held is None:
            return
        held.heard_s = heard_s
        record = self._record(held.source, now) if self._records else None
        if record is None:
            return
        if held.mark is None or held.mark[0] != record.last_at:
            held.mark = (record.last_at, heard_s)
        elif heard_s - held.mark[1] > ACQUITTED_AFTER_S:
            del self._records[held.source]

    def on_ended(self, playback: PlaybackId, *, finished: bool) -> None:
        """Take note that it is over, and whether it was heard to its end."""
        held = self._held.pop(playback, None)
        if held is None or not finished:
            return
        record = self._records.get(held.source)
        if record is not None and held.sent_at >= record.last_at:
            del self._records[held.source]

    def on_death(self, worker: WorkerId, now: float) -> list[str]:
        """Take note that a worker has crashed.

        Returns
        -------
        list of str
            The labels of the sources that are refused from now on.
        """
        there: dict[SourceId, _Nearness] = {}
        labels: dict[SourceId, str] = {}
        for playback in [name for name, held in self._held.items() if held.worker == worker]:
            held = self._held.pop(playback)
            there[held.source] = max(held.nearness(now), there.get(held.source, _Nearness.PLAYED))
            labels[held.source] = held.label
        for source in self._heard_well() & {name for name, near in there.items() if near is _Nearness.PLAYED}:
            del there[source]
        for source in there:
            record = self._record(source, now)
            self._records[source] = _Record(labels[source], now) if record is None else record
        # The nearest last, since it is the first ones that are forgotten for want of room.
        for source in sorted(there, key=lambda source: there[source]):
            record = self._records.pop(source)
            self._records[source] = record
            record.last_at = now
            for nearness in _Nearness:
                record.deaths[nearness] += nearness <= there[source]
        self._trim(now)
        guilty = self._guilty(there)
        refused = [self._convict(source) for source in guilty]
        if guilty:
            for source in there:
                self._records.pop(source, None)
        return refused

    # How it is done.

    def _on_air(self, newcomer: _Held) -> _Held | None:
        """Return who plays the same shared source at the same worker already."""
        alike = (newcomer.worker, newcomer.source, True)
        others = self._held.values()
        return next((each for each in others if (each.worker, each.source, each.is_shared) == alike), None)

    def _heard_well(self) -> set[SourceId]:
        """Return what is played without harm, for longer than a crash at its beginning would take."""
        return {held.source for held in self._held.values() if held.heard_s > FRESH_S}

    def _record(self, source: SourceId, now: float) -> _Record | None:
        record = self._records.get(source)
        return None if record is None or now - record.last_at > FORGET_AFTER_S else record

    def _trim(self, now: float) -> None:
        """Forget what is old, and what there is no room for."""
        # They stand in the order of their last deaths.
        for source, record in list(self._records.items()):
            if len(self._records) <= MAX_RECORDS and now - record.last_at <= FORGET_AFTER_S:
                return
            del self._records[source]

    def _guilty(self, there: Mapping[SourceId, _Nearness]) -> list[SourceId]:
        """Choose among the suspects of a death that has just been recorded."""
        accused: dict[SourceId, _Record] = {}
        for level in reversed(_Nearness):
            near = (source for source, nearness in there.items() if nearness >= level)
            known = {source: self._records[source] for source in near if source in self._records}
            accused = {source: record for source, record in known.items() if record.deaths[level] > 1}
            if accused:
                break
        times = {source: record.deaths[_Nearness.PLAYED] for source, record in accused.items()}
        most = max(times.values(), default=0)
        guilty = [source for source in times if times[source] == most]
        return guilty if len(guilty) <= MOST_AT_ONCE or most >= PATIENCE_DEATHS else []

    def _convict(self, source: SourceId) -> str:
        label = self._records[source].label
        self._convicted[source] = label
        while len(self._convicted) > MAX_CONVICTED:
            del self._convicted[next(iter(self._convicted))]
        return label
