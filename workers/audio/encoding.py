"""The encoder threads: keep every playing call's ring full, most urgent first; and every station's log.

One thread works at a time. Normally it is the *idle* one: in ``SCHED_IDLE`` it never keeps the pacing
thread from the core, which brings lateness p99 from some 4 ms down to 0.2 ms. But a thread in that class
starves when a foreign process uses the core, and an unprivileged thread can't leave the class. So a second,
*normal* thread stands by: when the idle one falls behind by half a ring, it takes over until things have
been calm for a while.

It can't take over the one item that the idle thread is at work on: that one's codec and source are in
the middle of a call. Where this process may (CAP_SYS_NICE, or an ``RLIMIT_NICE`` of 20 or more), the idle
thread itself is lifted into the normal class instead, and has soon done with it. Where not, that item's
call lacks frames until the kernel gives the thread a turn, at worst a second or so later. Smaller bursts
would make that rarer but no shorter, and wake the thread more often.

Work is a heap of (due, ticket, item), of which the last ticket of an item counts and older ones are
void: so one that is in a hurry is put on the heap once more, wherever it stands. A thread holds `busy` of the
item that it fills, and the lock of the heap never, so nobody waits for anything to be decoded or encoded.
If the other thread comes upon that item meanwhile it leaves it alone, since who fills an item puts it
back, at once if it was hurried meanwhile.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Literal

from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.item import EncoderItem
from voicepool.workers.clock import Clock, lift_thread

__all__ = ["EncoderThreads", "Role"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

_IDLE_STEP_NS: Final = 10_000_000
"""Shortest sleep once nothing is due: what becomes due meanwhile is done in one go."""
_FIRST_CALM_NS: Final = 2_000_000_000
_LONGEST_CALM_NS: Final = 60_000_000_000

Role = Literal["idle", "normal"]


class EncoderThreads:
    """Owns the items that have something to encode, and the threads that do it.

    Parameters
    ----------
    make_clock
        Makes the clock of one thread.
    lower_priority
        Called on the idle thread as it starts, and when it works again after it was lifted; returns the
        class it got, ``idle`` or ``normal``.
    lift
        Called on the pacing thread with the idle thread's native id when the rescue takes over; says whether
        the thread is in the normal class now.
    role
        ``idle`` to work in the idle class with a rescue standing by, ``normal`` to do without both.
    ring_frames
        Frames each ring holds; falling behind by half of them calls the rescue.
    """

    def __init__(
        self,
        *,
        make_clock: Callable[[], Clock],
        lower_priority: Callable[[], str],
        lift: Callable[[int], bool] = lift_thread,
        role: Role = "idle",
        ring_frames: int = 8,
    ) -> None:
        self._make_clock = make_clock
        self._lower_priority = lower_priority
        self._lift = lift
        self._lifted = False
        self._heap: list[tuple[int, int, EncoderItem]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._items: set[EncoderItem] = set()
        """All that were submitted and are not closed, the parked ones and those being filled among them."""
        self._stopping = False
        self._clocks: dict[Role, Clock] = {}
        self._threads: dict[Role, threading.Thread] = {}
        self._lag_limit_ns = max(1, ring_frames // 2) * FRAME_NS
        self._calm_ns = _FIRST_CALM_NS
        self._calm_since_ns = 0
        self._has_rescue = False
        self._accounts: dict[Role, tuple[int, int | None]] = {}
        """Of each thread, how long it has been at work before this turn, and since when it is now."""
        self.role: Role = role
        """Which thread works now."""
        self.rescues = 0
        """How often the normal thread had to take over."""

    def start(self) -> str:
        """Start the working thread, and its rescue; return the scheduling class the former got."""
        # Where the platform has no idle class, the thread that runs is as good as the rescue.
        self.role = self._start_thread(self.role)
        if self.role == "idle":
            # Now, because the pacing thread calls it and can't wait for a thread to start.
            self._start_thread("normal")
            self._has_rescue = True
        return self.role

    def stop(self) -> None:
        """End the threads, wait for them, and close what they still held."""
        with self._lock:
            self._stopping = True
        for clock in self._clocks.values():
            clock.wake()
        for thread in self._threads.values():
            thread.join()
        self._threads.clear()
        with self._lock:
            left, self._items = self._items, set()
            self._heap.clear()
        for item in left:
            item.close()

    @property
    def cpu_s(self) -> float:
        """CPU time of the threads in seconds; 0.0 where the platform does not tell."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return sum(
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for thread in self._threads.values()
            if thread.ident is not None and thread.is_alive()
        )

    def worked_s(self, now_ns: int) -> float:
        """Return how long, in seconds, the threads have been at work; from any thread.

        That is all time in which they did not sleep for want of something to do, so also that in which the
        kernel had others run.
        """
        accounts = list(self._accounts.values())
        return (
            sum(worked + (0 if since is None else max(0, now_ns - since)) for worked, since in accounts) / 1e9
        )

    def lag_ns(self, now_ns: int) -> int:
        """Return how long ago the ring that is behind most should have been looked after; from any thread."""
        return max(0, now_ns - self._earliest_due_ns(now_ns))

    def submit(self, item: EncoderItem) -> None:
        """Take an item on; it goes before all that have frames in their rings.

        It is closed here once it is cancelled, when the threads stop, or at once if they have.
        """
        with self._lock:
            if not self._stopping:
                self._items.add(item)
                self._push(0, item)
                return
        item.close()

    def nudge(self, item: EncoderItem) -> None:
        """Look at an item again that may be parked: its call sends again, or it was cancelled."""
        with self._lock:
            if not item.parked:
                return
            item.parked = False
            self._push(0, item)

    def hurry(self, item: EncoderItem) -> None:
        """Look at an item soon, wherever it stands: something was changed that waits to be heard."""
        with self._lock:
            if item.hurried:
                return
            item.hurried, item.parked = True, False
            self._push(0, item)

    def watch(self, now_ns: int) -> None:
        """Call the rescue when the idle thread is behind, and send it home after a calm time.

        Runs on the pacing thread, which gets the core even when the idle thread does not.
        """
        if not self._has_rescue:
            return
        lag_ns = now_ns - self._earliest_due_ns(now_ns)
        if self.role == "idle":
            if lag_ns > self._lag_limit_ns:
                self.rescues += 1
                self._calm_since_ns = now_ns
                self._hand_over("normal")
                native_id = self._threads["idle"].native_id
                self._lifted = native_id is not None and self._lift(native_id)
        elif lag_ns > FRAME_NS:
            self._calm_since_ns = now_ns
        elif now_ns - self._calm_since_ns > self._calm_ns:
            # Each rescue doubles the calm that the next return wants: others use this core.
            self._calm_ns = min(2 * self._calm_ns, _LONGEST_CALM_NS)
            self._hand_over("idle")

    def _earliest_due_ns(self, now_ns: int) -> int:
        try:
            due_ns = self._heap[0][0]
        except IndexError:
            return now_ns
        # A newcomer on top (due 0) can't be late, and must not hide those that are.
        return due_ns or min((due for due, _, _ in list(self._heap) if due), default=now_ns)

    def _hand_over(self, role: Role) -> None:
        self.role = role
        self._clocks[role].wake()

    def _push(self, due_ns: int, item: EncoderItem) -> None:
        """Put an item on the heap, in place of where it was. Under the lock."""
        if item not in self._items:
            # Closed: whoever asked for something came too late.
            return
        item.ticket = next(self._numbers)
        heapq.heappush(self._heap, (due_ns, item.ticket, item))
        if due_ns == 0:
            self._clocks[self.role].wake()

    def _start_thread(self, wanted: Role) -> Role:
        got: SimpleQueue[Role] = SimpleQueue()
        clock = self._make_clock()

        def run() -> None:
            role: Role = "normal"
            try:
                if wanted == "idle" and self._lower_priority() == "idle":
                    role = "idle"
            finally:
                got.put(role)
            try:
                self._work(role, clock)
            except BaseException:
                _LOGGER.critical("an encoder thread died; this worker will fall silent", exc_info=True)
                raise

        thread = threading.Thread(target=run, name=f"voicepool-encoder-{wanted}", daemon=True)
        thread.start()
        role = got.get()
        self._clocks[role], self._threads[role] = clock, thread
        return role

    def _rest(self, role: Role, clock: Clock, until_ns: int | None) -> bool:
        """Sleep as `Clock` does, and keep account of the time between."""
        worked_ns, since_ns = self._accounts[role]
        now_ns = clock.now_ns()
        self._accounts[role] = worked_ns + now_ns - (now_ns if since_ns is None else since_ns), None
        woken = clock.sleep_until(until_ns)
        # In one piece, since another thread reads it.
        self._accounts[role] = self._accounts[role][0], clock.now_ns()
        return woken

    def _work(self, role: Role, clock: Clock) -> None:
        heap, now = self._heap, clock.now_ns
        self._accounts[role] = 0, now()
        while not self._stopping:
            if self.role != role:
                if self._rest(role, clock, None) and self.role != role and not self._stopping:
                    self._clocks[self.role].wake()
                continue
            if self._lifted and role == "idle":
                self._lifted = False
                self._lower_priority()
            try:
                entry = heapq.heappop(heap)
            except IndexError:
                self._rest(role, clock, None)
                continue
            now_ns = now()
            due_ns, ticket, item = entry
            if ticket != item.ticket:
                # It was put on the heap again meanwhile.
                continue
            if due_ns > now_ns:
                heapq.heappush(heap, entry)
                self._wake_if_handed_over(role)
                self._rest(role, clock, max(due_ns, now_ns + _IDLE_STEP_NS))
                continue
            if not item.busy.acquire(blocking=False):
                continue
            # Before it is filled: what is asked for from now on may be missed, and needs another turn.
            item.hurried = False
            try:
                again_ns = item.fill(now_ns)
            finally:
                item.busy.release()
            self._put_back(again_ns, item)
            self._wake_if_handed_over(role)

    def _put_back(self, again_ns: int | None, item: EncoderItem) -> None:
        with self._lock:
            if again_ns is None:
                self._items.discard(item)
                return
            # Looked at under the lock: a nudge or a hurry just before would be lost otherwise.
            item.parked = item.may_park and not (item.hurried or item.cancelled)
            if not item.parked:
                self._push(0 if item.hurried else again_ns, item)

    def _wake_if_handed_over(self, role: Role) -> None:
        if self.role != role:
            # The other may have found the heap empty and gone to sleep for good.
            self._clocks[self.role].wake()
