"""What waits to be sent: its order, what is taken back, and what had left already."""

from __future__ import annotations

import pytest

from voicepool.workers.audio.frame import SILENCE, Mark, Note
from voicepool.workers.audio.ring import FrameRing

END = Mark()


def nothing() -> None:
    """Report nothing."""


def frames(count: int) -> list[bytes]:
    return [b"frame %d" % number for number in range(count)]


def test_what_is_put_in_leaves_in_order_and_is_counted() -> None:
    ring = FrameRing()
    ring.put(frames(3))
    assert (len(ring), ring.frames_waiting, ring.frames_made, ring.frames_sent) == (3, 3, 3, 0)
    assert ring.queue.popleft() == b"frame 0"
    assert (len(ring), ring.frames_waiting, ring.frames_made, ring.frames_sent) == (2, 2, 3, 1)


def test_a_note_goes_in_before_the_next_frame_and_is_no_frame() -> None:
    ring = FrameRing()
    ring.note(nothing)
    assert len(ring) == 0
    assert ring.put_notes() == 1
    assert ring.put_notes() == 0, "once only"
    ring.put(frames(1))
    [note, frame] = ring.queue
    assert isinstance(note, Note)
    assert note.report is nothing
    assert frame == b"frame 0"
    assert (len(ring), ring.frames_waiting) == (2, 1)


def test_what_closes_it_is_no_frame_of_audio() -> None:
    ring = FrameRing()
    ring.put(frames(2))
    ring.close([SILENCE, SILENCE, END])
    assert (len(ring), ring.frames_waiting, ring.closing_items, ring.frames_made) == (5, 2, 3, 2)
    for _ in range(3):
        ring.queue.popleft()
    assert (ring.frames_waiting, ring.frames_sent) == (0, 2)


@pytest.mark.parametrize(("left", "whole"), [(0, True), (1, True), (2, False), (3, False), (4, False)])
def test_reopening_takes_out_what_is_left_of_the_end(left: int, *, whole: bool) -> None:
    ring = FrameRing()
    ring.put(frames(1))
    ring.close([SILENCE, SILENCE, END])
    for _ in range(left):
        ring.queue.popleft()
    assert ring.reopen() is whole
    assert list(ring.queue) == frames(1)[left:]
    assert ring.closing_items == 0


@pytest.mark.parametrize("wanted", range(5))
def test_frames_are_taken_back_as_far_as_they_are_there(wanted: int) -> None:
    ring = FrameRing()
    ring.put(frames(4))
    ring.queue.popleft()
    assert ring.take_back_frames(wanted) == min(wanted, 3)
    assert ring.frames_made == 4 - min(wanted, 3)
    assert ring.frames_sent == 1, "what has left stays counted"


def test_notes_that_are_taken_back_go_in_again_only_if_they_stay() -> None:
    ring, told = FrameRing(), list[str]()
    for name, stays in (("first", True), ("second", False), ("third", True)):
        ring.note(lambda name=name: told.append(name), stays=stays)  # type: ignore[misc]
    assert ring.put_notes() == 3
    ring.take_back_notes(3)
    assert len(ring) == 0
    assert ring.put_notes() == 2
    for note in ring.queue:
        assert isinstance(note, Note)
        note.report()
    assert told == ["first", "third"], "in the order they were made"


def test_notes_that_have_left_are_not_missed() -> None:
    ring = FrameRing()
    ring.note(nothing, stays=True)
    ring.put_notes()
    ring.queue.popleft()
    ring.take_back_notes(1)
    assert ring.put_notes() == 0


def test_what_was_to_go_in_is_forgotten_but_for_what_stays() -> None:
    ring = FrameRing()
    ring.note(nothing)
    ring.note(nothing, stays=True)
    ring.forget_notes()
    assert ring.put_notes() == 1


def test_notes_take_no_room() -> None:
    ring = FrameRing()
    assert ring.room(8) == 8
    for _ in range(20):
        ring.note(nothing)
    ring.put_notes()
    assert ring.room(8) == 8
    ring.put(frames(5))
    assert ring.room(8) == 3
    ring.put(frames(3))
    assert ring.room(8) == 0
    ring.put(frames(1))
    assert ring.room(8) < 0
    for _ in range(20):
        ring.queue.popleft()
    assert ring.room(8) < 0
    ring.queue.popleft()
    assert ring.room(8) == 0
