"""Tracks on their way into a deck: let in when they can be heard, told of when that is made, or refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from tests.workers.audio.shaped import Item, Listed, feed_of
from tests.workers.audio.traced import Traced, sound
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.audio.arrivals import Arrival, Arrivals
from voicepool.workers.audio.deck import Deck
from voicepool.workers.audio.mixer_input import MixerFullError
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

BROKEN = SourceError(ErrorCode.SOURCE_FAILED, "the server hung up")


class Coming:
    """One arrival, and all that is told of it."""

    def __init__(self, items: Sequence[Item], *, refused_by_deck: SourceError | None = None) -> None:
        self.source = Listed(items)
        self.told: list[str] = []
        self._refused_by_deck = refused_by_deck
        self.arrival = Arrival(
            feed_of(self.source),
            self._enter,
            on_ready=lambda: self.told.append("ready"),
            on_refused=lambda error: self.told.append(error.text),
        )

    def _enter(self, _: Deck) -> None:
        if self._refused_by_deck is not None:
            raise self._refused_by_deck
        self.told.append("entered")


class Hall:
    def __init__(self, *coming: Coming) -> None:
        self.arrivals = Arrivals()
        self._traced = Traced()
        for one in coming:
            self.arrivals.add(one.arrival)

    def admit(self) -> int:
        changes = self.arrivals.admit(self._traced.deck)
        for change in changes:
            change(self._traced.program.mixer)
        return len(changes)


def test_it_is_let_in_when_it_has_something_and_told_of_when_that_is_made() -> None:
    one = Coming([NOT_YET, NOT_YET, sound(0, 0)])
    hall = Hall(one)
    for _ in range(2):
        assert hall.admit() == 0
        assert (hall.arrivals.waits, hall.arrivals.are_entering) == (True, False)
    assert hall.admit() == 1
    assert (hall.arrivals.waits, hall.arrivals.are_entering) == (False, True)
    assert one.told == ["entered"]
    hall.arrivals.tell_ready()
    hall.arrivals.tell_ready()
    assert one.told == ["entered", "ready"]
    assert not hall.arrivals.are_entering


def test_one_that_waits_keeps_no_other_waiting() -> None:
    slow, quick = Coming([NOT_YET] * 9), Coming([sound(0, 0)])
    hall = Hall(slow, quick)
    assert hall.admit() == 1
    hall.arrivals.tell_ready()
    assert (slow.told, quick.told) == ([], ["entered", "ready"])
    assert hall.arrivals.waits


def test_an_empty_one_is_let_in_to_end_at_once() -> None:
    one = Coming([])
    assert Hall(one).admit() == 1
    assert one.told == ["entered"]


def test_one_with_nothing_but_an_error_is_refused_with_it() -> None:
    one = Coming([BROKEN])
    hall = Hall(one)
    assert hall.admit() == 0
    assert (one.told, one.source.closed) == (["the server hung up"], 1)
    assert not hall.arrivals.waits
    assert not hall.arrivals.are_entering


def test_one_that_breaks_later_is_let_in() -> None:
    one = Coming([sound(0, 0), BROKEN])
    assert Hall(one).admit() == 1


def test_a_defect_of_ours_in_one_refuses_it_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    one = Coming([ZeroDivisionError("oops")])
    with caplog.at_level(logging.ERROR):
        Hall(one).admit()
    [text] = one.told
    assert "voicepool failed while it opened a source: ZeroDivisionError('oops')" in text
    assert "ZeroDivisionError" in caplog.text
    assert one.source.closed == 1


def test_one_that_the_deck_does_not_take_is_refused_once_the_others_are_told() -> None:
    one = Coming([sound(0, 0)], refused_by_deck=MixerFullError(24))
    hall = Hall(one)
    assert hall.admit() == 1
    assert one.told == []
    hall.arrivals.tell_ready()
    [text] = one.told
    assert text.startswith("24 tracks play")
    assert one.source.closed == 1


@pytest.mark.parametrize("moment", ["while it waits", "while it enters"])
def test_one_that_is_called_off_is_closed_and_not_let_in(moment: str) -> None:
    one = Coming([sound(0, 0)])
    hall, traced = Hall(one), Traced()
    changes = [] if moment == "while it waits" else hall.arrivals.admit(traced.deck)
    one.arrival.cancelled = True
    for change in changes or hall.arrivals.admit(traced.deck):
        change(traced.program.mixer)
    assert one.source.closed == 1
    assert "entered" not in one.told
    assert not hall.arrivals.waits


def test_all_are_refused_when_the_call_has_failed() -> None:
    entering, waiting = Coming([sound(0, 0)]), Coming([NOT_YET])
    hall = Hall(entering, waiting)
    hall.admit()
    hall.arrivals.refuse(ErrorInfo(code=ErrorCode.INTERNAL, text="broken"))
    assert (entering.told, waiting.told) == (["entered", "broken"], ["broken"])
    assert (entering.source.closed, waiting.source.closed) == (1, 1)
    assert not hall.arrivals.waits
    assert not hall.arrivals.are_entering


def test_what_is_forgotten_is_handed_over_unclosed() -> None:
    entering, waiting = Coming([sound(0, 0)]), Coming([NOT_YET])
    hall = Hall(entering, waiting)
    hall.admit()
    feeds = hall.arrivals.clear()
    assert set(feeds) == {entering.arrival.feed, waiting.arrival.feed}
    assert (entering.source.closed, waiting.source.closed) == (0, 0)
    assert hall.arrivals.clear() == []
    assert waiting.told == []
