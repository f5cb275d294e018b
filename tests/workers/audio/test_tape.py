"""A tape keeps what a feed gave, gives it back, and is levelled the same way each time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workers.audio.shaped import Item, Listed, cut, feed_of, packets_of
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.loudness import LOOK_AHEAD_FRAMES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.tape import LevelledTape, Tape
from voicepool.workers.errors import SourceError


def noise(frames: int, level: float = 0.1) -> PcmFrame:
    return (level * np.random.default_rng(2).standard_normal((frames * 960, 2))).astype(np.float32)


FRAMES = cut(noise(60))


def feed_after(items: list[Item], frames: int) -> Feed:
    feed = feed_of(Listed(items))
    assert feed.skip(frames) == frames
    return feed


def test_frames_have_the_feeds_numbers() -> None:
    tape = Tape(feed_after([*FRAMES], 10), FRAMES[7:10])
    assert (tape.first, tape.end) == (7, 10)
    assert tape.frame(8) is FRAMES[8]
    assert tape.frame(12) is FRAMES[12]
    assert (tape.first, tape.end) == (7, 13)
    assert tape.frame(60) is None
    assert tape.end == 60


def test_what_was_trimmed_is_gone() -> None:
    tape = Tape(feed_after([*FRAMES], 0))
    tape.frame(20)
    tape.trim(15)
    assert (tape.first, tape.end) == (15, 21)
    assert tape.frame(15) is FRAMES[15]
    with pytest.raises(ValueError, match="begins at 15"):
        tape.frame(14)
    tape.trim(100)
    assert (tape.first, tape.end) == (21, 21)
    assert tape.frame(21) is FRAMES[21]


def test_it_starves_and_fails_with_its_source() -> None:
    error = SourceError(ErrorCode.SOURCE_FAILED, "broken")
    tape = Tape(feed_after([FRAMES[0], NOT_YET, FRAMES[1], error], 0))
    assert tape.frame(1) is NOT_YET
    assert tape.frame(1) is FRAMES[1]
    assert not tape.has_failed
    assert tape.frame(2) is None
    assert tape.has_failed
    assert tape.take_failure() is error
    assert tape.take_failure() is None
    assert tape.frame(2) is None


def test_what_is_given_back_is_handed_out_by_the_feed() -> None:
    feed = feed_of(Listed(packets := packets_of(noise(30))))
    tape = Tape(feed)
    assert tape.frame(30) is None
    tape.give_back(20)
    assert tape.end == 20
    assert feed.take_packets(24) == packets[20:]


def test_it_gives_back_no_more_than_the_feed_can_take() -> None:
    feed = feed_after([*FRAMES], 0)
    tape = Tape(feed)
    tape.frame(40)
    tape.give_back(5)
    assert tape.end == 41 - 10
    assert feed.position_frames == tape.end
    assert tape.frame(35) is FRAMES[35]


def test_after_a_failure_nothing_is_given_back() -> None:
    feed = feed_after([*FRAMES[:5], SourceError(ErrorCode.SOURCE_FAILED, "broken")], 0)
    tape = Tape(feed)
    assert tape.frame(5) is None
    tape.give_back(3)
    assert tape.end == 5


def test_positions_are_those_of_the_source() -> None:
    feed = feed_of(Listed([*FRAMES], start_s=5.0))
    tape = Tape(feed)
    assert tape.position_s(0.0) == 0.0
    tape.frame(20)
    tape.trim(5)
    assert tape.position_s(10.5 * 960) == pytest.approx(5.21)
    assert tape.position_s(30 * 960) == pytest.approx(5.6)


def test_values_that_are_no_numbers_are_silenced() -> None:
    bad = FRAMES[0].copy()
    bad[3] = np.nan, np.inf
    bad[4] = 1e30, 0.5
    frame = Tape(feed_after([bad], 0)).frame(0)
    assert isinstance(frame, np.ndarray)
    assert not frame[3].any()
    assert frame[4].tolist() == [1.0, 0.5]
    assert np.array_equal(frame[5:], bad[5:])
    assert np.isnan(bad[3, 0]), "the source's array stays as it is"


def test_levelled_frames_stay_as_they_are_and_are_read_a_little_ahead() -> None:
    tape = Tape(feed_after([*FRAMES], 0))
    levelled = LevelledTape(tape, -30.0, 0)
    first = levelled.frame(0)
    assert tape.end == LOOK_AHEAD_FRAMES + 1
    later = levelled.frame(10)
    assert levelled.frame(0) is first
    assert levelled.frame(10) is later
    levelled.trim(5)
    assert levelled.first == 5
    assert levelled.frame(10) is later
    assert levelled.frame(60) is None


def test_another_target_goes_on_with_the_measure() -> None:
    quiet_then_loud = cut(np.concatenate((noise(50, 0.01), noise(10, 0.5))))
    tape = Tape(feed_after([*quiet_then_loud], 0))
    before = LevelledTape(tape, -30.0, 0)
    before.frame(20)
    after = LevelledTape(tape, -40.0, 10, before=before)
    one, other = before.frame(10), after.frame(10)
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    # The measure is of all that was read; what it was before is in `one`.
    assert 20 * np.log10(one.std() / other.std()) == pytest.approx(10.0, abs=1.0)
    assert after.frame(59) is not None


def test_a_levelled_tape_starves_for_want_of_the_frame_after() -> None:
    tape = Tape(feed_after([FRAMES[0], NOT_YET, NOT_YET, FRAMES[1]], 0))
    levelled = LevelledTape(tape, -30.0, 0)
    assert levelled.frame(0) is NOT_YET
    assert isinstance(levelled.frame(0), np.ndarray)
    assert isinstance(levelled.frame(1), np.ndarray)
    assert levelled.frame(2) is None
