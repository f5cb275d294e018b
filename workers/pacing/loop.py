"""The pacing thread: sends the frame of every call when it is due.

The thread does as little as it can: wait for an absolute instant, then for each call of that slot take a
frame from the ring, put the RTP header before it, seal, send, and write down how late that was. Frames
are encoded ahead by another thread. Nothing here logs, or waits for a lock that another thread holds for
longer than a list operation, or talks to the event loop except when a call comes to a mark.
"""

from __future__ import annotations

import functools
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from voicepool.ipc.histogram import LatenessHistogram, bucket_of
from voicepool.workers.audio.frame import FRAME_SAMPLES, SILENCE, SILENCE_FRAMES_AT_END, Mark, Note
from voicepool.workers.clock import Clock, MonotonicClock, sharpen_timers
from voicepool.workers.pacing.lane import Ended, Lane
from voicepool.workers.pacing.schedule import CATCH_UP_CAP_NS, SLOTS, Schedule, choose_slot
from voicepool.workers.sampling import SEALING

__all__ = ["Pacer"]

_LOGGER: Final = logging.getLogger("voicepool.worker.pacing")

_FIRST_16_BITS: Final = 0x8078
"""RTP version 2, no padding, extension, CSRC or marker; payload type 0x78."""
_QUICK_US: Final = 4_096
_QUICK_BUCKETS: Final = [bucket_of(us) for us in range(_QUICK_US)]
"""Buckets of the latenesses that happen, so that the hot loop looks them up instead of computing."""


class Pacer:
    """Owns the wheel, and the thread that turns it.

    Parameters
    ----------
    clock
        What the thread waits on.
    raise_priority
        Called on the thread as it starts; returns the scheduling class it got.
    watch
        Called with the time in nanoseconds after each slot that was served; the encoder's rescue looks
        from here whether it is needed.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        raise_priority: Callable[[], str] | None = None,
        watch: Callable[[int], object] | None = None,
    ) -> None:
        self._clock: Clock = clock or MonotonicClock()
        self._raise_priority = raise_priority
        self._watch = watch
        self._schedule = Schedule(self._clock.now_ns())
        self._wheel: list[list[Lane]] = [[] for _ in range(SLOTS)]
        self._lock = threading.Lock()
        self._next = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.lateness = LatenessHistogram()
        self.packets = 0
        """Packets sent, audio and silence, over all calls that ever were."""
        self.nulled = 0
        """Ticks at which an active call had nothing to send."""
        self.nulled_by_source = 0
        """Those of them at which its source had nothing ready; at the others, nothing was encoded in time."""
        self.turns_skipped = 0
        """Turns given up after stalls."""

    # Life cycle, on the control loop's thread.

    def start(self) -> str:
        """Start the thread; return the scheduling class it got."""
        got: SimpleQueue[str] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(got.put,), name="voicepool-pacing", daemon=True
        )
        self._thread.start()
        return got.get()

    def stop(self) -> None:
        """End the thread and wait for it; what is still queued is not sent."""
        self._stopping = True
        self._clock.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def cpu_s(self) -> float:
        """CPU time of the thread in seconds; 0.0 where the platform does not tell."""
        if self._thread is None or self._thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    @property
    def sends(self) -> bool:
        """Whether any call is in the wheel."""
        return any(self._wheel)

    # What calls do, from any thread.

    def switch(self, lane: Lane, queue: deque[bytes | Mark]) -> None:
        """Let a lane send from `queue`, from its next tick on; put it into the wheel if it is not."""
        with self._lock:
            lane.queue = queue
            lane.dry = False
            lane.nulled_run = 0
            lane.ring_low = len(queue)
            if lane.active:
                return
            lane.active = True
            now_ns = self._clock.now_ns()
            lane.due_ns = now_ns
            lane.slot = choose_slot(
                [len(lanes) for lanes in self._wheel], after=self._schedule.index_from(now_ns)
            )
            self._wheel[lane.slot].append(lane)
        self._clock.wake()

    def remove(self, lane: Lane) -> None:
        """Take a lane out at once, without silence. Its transport is not used any more when this returns."""
        with self._lock:
            lane.queue = deque()
            if lane.active:
                lane.active = False
                self._wheel[lane.slot].remove(lane)

    # The thread.

    def _run(self, started: Callable[[str], object]) -> None:
        sharpen_timers()
        try:
            got = "normal" if self._raise_priority is None else self._raise_priority()
        except Exception:
            _LOGGER.exception("the pacing thread keeps the normal scheduling class")
            got = "normal"
        started(got)
        try:
            while not self._stopping:
                self.turn_once()
        except BaseException:
            _LOGGER.critical("the pacing thread died; this worker sends nothing any more", exc_info=True)
            raise

    def turn_once(self) -> None:
        """Wait for the next slot with a call in it and serve it; return early when woken."""
        clock = self._clock
        for index in range(self._next, self._next + SLOTS):
            if lanes := self._wheel[index % SLOTS]:
                break
        else:
            clock.sleep_until(None)
            self._next = max(self._next, self._schedule.index_from(clock.now_ns()))
            return
        due_ns = self._schedule.due_ns(index)
        if clock.sleep_until(due_ns):
            # Woken because a call joined, perhaps in a slot that is due earlier than the one waited for.
            self._next = max(self._next, min(index, self._schedule.index_from(clock.now_ns())))
            return
        now_ns = clock.now_ns()
        if now_ns - due_ns > CATCH_UP_CAP_NS:
            skipped = self._schedule.turns_to_skip(index, now_ns)
            self.turns_skipped += skipped
            index += skipped * SLOTS
            due_ns = self._schedule.due_ns(index)
        self._next = index + 1
        with self._lock:
            # So that `remove` can promise that no packet is under way when it returns.
            begun_ns = SEALING.begin()
            reports = self._serve(lanes, index // SLOTS, due_ns)
            if begun_ns:
                SEALING.end(begun_ns)
        for report in reports:
            report()
        if self._watch is not None:
            self._watch(now_ns)

    def _serve(self, lanes: list[Lane], turn: int, due_ns: int) -> list[Callable[[], object]]:
        """Send what is due; return whom to tell of what was reached. Under the lock.

        One flat loop, and no more than it must: at 64 calls a packet is sent 3,200 times a second, and what
        it touches of its lane is in no cache by then. ``send = lane.send`` is no habit either: a slot is
        read by a specialised instruction, while calling it in place looks for a method of the class first.
        """
        pack, now, lateness = _pack_header, self._clock.now_ns, self.lateness
        counts = lateness.counts
        elapsed_samples = turn * FRAME_SAMPLES
        sent = late_us = 0
        leaving: list[Lane] = []
        reports: list[Callable[[], object]] = []
        for lane in lanes:
            queue = lane.queue
            lane.due_ns = due_ns
            try:
                frame = queue.popleft()
            except IndexError:
                frame = self._starved(lane)
            if not isinstance(frame, bytes):
                passed = self._pass_marks(lane, frame, leaving, reports)
                if passed is None:
                    continue
                frame = passed
            sequence = lane.sequence
            timestamp = (lane.timestamp_base + elapsed_samples) & 0xFFFF_FFFF
            seal, send = lane.seal, lane.send
            try:
                send(seal(pack(_FIRST_16_BITS, sequence, timestamp, lane.ssrc), frame))
            except OSError:
                # Lost on its way out: the sequence number shows the receiver that it is missing.
                lane.send_errors += 1
                lane.sequence = (sequence + 1) & 0xFFFF
                continue
            except Exception as error:  # noqa: BLE001  # one call's defect must not silence the others
                leaving.append(lane)
                reports.append(functools.partial(lane.on_failure, error))
                continue
            late_us = (now() - due_ns) // 1_000
            counts[_QUICK_BUCKETS[late_us] if 0 <= late_us < _QUICK_US else bucket_of(late_us)] += 1
            sent += 1
            lane.sequence = (sequence + 1) & 0xFFFF
            if frame is SILENCE:
                lane.silence += 1
                continue
            lane.frames += 1
            lane.nulled_run = 0
            left = len(queue)
            if left < lane.ring_low:  # noqa: PLR1730  # a call of min() costs more, 3,200 times a second
                lane.ring_low = left
        self.packets += sent
        # All were due at the same instant, so the last was the latest.
        lateness.max_us = max(lateness.max_us, late_us)
        for lane in leaving:
            lane.active = False
            lanes.remove(lane)
        return reports

    def _pass_marks(
        self,
        lane: Lane,
        mark: Mark,
        leaving: list[Lane],
        reports: list[Callable[[], object]],
    ) -> bytes | None:
        """Note what a mark asks for; return the frame that is to be sent all the same, if there is one."""
        reached: bytes | Mark = mark
        while isinstance(reached, Note):
            reports.append(reached.report)
            try:
                reached = lane.queue.popleft()
            except IndexError:
                reached = self._starved(lane)
        if isinstance(reached, bytes):
            return reached
        if reached is not _NOTHING:
            leaving.append(lane)
            if isinstance(reached, Ended):
                reports.append(reached.report)
        return None

    def _starved(self, lane: Lane) -> bytes | Mark:
        """Count a tick without a frame; cover the first five with silence, then leave a gap."""
        self.nulled += 1
        lane.nulled += 1
        if lane.dry:
            self.nulled_by_source += 1
            lane.nulled_by_source += 1
        lane.ring_low = 0
        lane.nulled_run += 1
        return SILENCE if lane.nulled_run <= SILENCE_FRAMES_AT_END else _NOTHING


_pack_header: Final = struct.Struct(">HHII").pack
"""RTP header without extension or CSRC (RFC 3550 §5.1)."""
_NOTHING: Final = Mark()
"""Stands for a tick at which nothing is sent and nothing ends."""
