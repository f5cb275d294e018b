"""The encoder threads on a time moved by hand, and what stands for the playbacks that they fill."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from tests.fakes.hand_time import HandTime
from voicepool.workers.audio.encoding import EncoderThreads, Role
from voicepool.workers.audio.playback import Playback

__all__ = ["MS", "SAFETY_S", "EncoderBench", "Gate", "S", "Work"]

MS = 1_000_000
S = 1_000 * MS
SAFETY_S = 30.0


class Work:
    """Stands for a playback: each fill is written down and says when it wants the next."""

    def __init__(self, name: str, log: list[str], *again_ms: int | None) -> None:
        self.name = name
        self.log = log
        self.again_ms = list(again_ms)
        self.cancelled = False
        self.parked = False
        self.hurried = False
        self.ticket = -1
        self.busy = threading.Lock()
        self.closes = 0
        self.threads: list[str] = []
        self.may_park_answers: list[bool] = []
        self.during_fill: Callable[[], object] = lambda: None
        self.at_look: Callable[[], object] = lambda: None

    @property
    def may_park(self) -> bool:
        self.at_look()
        return self.may_park_answers.pop(0) if self.may_park_answers else False

    def fill(self, now_ns: int) -> int | None:
        self.log.append(self.name)
        self.threads.append(threading.current_thread().name)
        self.during_fill()
        if self.cancelled:
            if not self.closes:
                self.close()
            return None
        again_ms = self.again_ms.pop(0) if self.again_ms else None
        return None if again_ms is None else now_ns + again_ms * MS

    def close(self) -> None:
        self.closes += 1


class Gate:
    """Holds the thread that comes to it until the test lets it go."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self._came.set()
        assert self._open.wait(SAFETY_S)

    def wait_for_thread(self) -> None:
        assert self._came.wait(SAFETY_S)

    def open(self) -> None:
        self._open.set()


class EncoderBench:
    """Encoder threads on a hand-moved time."""

    def __init__(self, *, role: Role = "idle", got: str = "idle", may_lift: bool = False) -> None:
        self.time = HandTime()
        self.log: list[str] = []
        self.lower_gives = got
        self.may_lift = may_lift
        self.classes: list[tuple[str, int]] = []
        """What was done to the class of which thread."""
        self.threads = EncoderThreads(
            make_clock=self.time.make_clock,
            lower_priority=self._lower,
            lift=self._lift,
            role=role,
            ring_frames=8,
        )
        self.gates: list[Gate] = []
        self.got = self.threads.start()
        self.time.settle()

    def _lower(self) -> str:
        self.classes.append(("lowered", threading.get_native_id()))
        return self.lower_gives

    def _lift(self, native_id: int) -> bool:
        self.classes.append(("lifted", native_id))
        return self.may_lift

    def work(self, name: str, *again_ms: int | None) -> Work:
        return Work(name, self.log, *again_ms)

    def gate(self) -> Gate:
        self.gates.append(Gate())
        return self.gates[-1]

    def submit(self, *works: Work) -> None:
        for work in works:
            self.threads.submit(cast("Playback", work))

    def nudge(self, work: Work) -> None:
        self.threads.nudge(cast("Playback", work))

    def hurry(self, work: Work) -> None:
        self.threads.hurry(cast("Playback", work))

    def hand_over(self) -> None:
        """Call the rescue, since something is late."""
        self.threads.watch(self.time.advance(500 * MS))
        assert self.threads.role == "normal"

    def advance(self, by_ms: int) -> int:
        now_ns = self.time.advance(by_ms * MS)
        self.time.settle()
        return now_ns

    def starve(self) -> tuple[Work, Gate]:
        """Keep the idle thread from its work, as a foreign process on its core would."""
        gate = self.gate()
        hog = self.work("hog", 0)
        hog.during_fill = gate
        self.submit(hog)
        gate.wait_for_thread()
        return hog, gate

    def close(self) -> None:
        for gate in self.gates:
            gate.open()
        self.threads.stop()
