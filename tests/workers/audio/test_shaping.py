"""A feed's sound is shaped, and left alone again; changes in mid-play are in ``test_shaping_changes.py``."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.shaped import (
    KEPT,
    PACKETS,
    SWEEP,
    Item,
    Listed,
    cut,
    decoded_early,
    error_db,
    feed_of,
    rest,
    shaped,
    taken,
    through,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.filters import FilterError
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.audio.shaping import ShapedFeed
from voicepool.workers.errors import SourceError

# Left alone


def test_packets_pass_as_if_it_were_not_there() -> None:
    feed = shaped(PACKETS[:40])
    assert feed.take_packets(24) == PACKETS[:24]
    assert feed.position_frames == 24
    assert feed.rewindable_frames == 24
    feed.rewind(20)
    assert feed.peek() == PACKETS[4]
    feed.go_on()
    assert feed.keeps(4)
    assert not feed.keeps(5)
    assert feed.take_packets(100) == PACKETS[5:24]
    assert feed.take_packets(100) == PACKETS[24:40]
    assert feed.next_frame() is None
    assert feed.skipped_packets == 3
    assert feed.is_early


def test_pcm_passes_as_the_same_arrays() -> None:
    frames = cut(SWEEP[: 960 * 20])
    feed = shaped(frames)
    assert feed.take_packets(24) == []
    assert feed.peek() is frames[0]
    assert not feed.is_early
    assert feed.skip(3) == 3
    assert all(a is b for a, b in zip(rest(feed), frames[3:], strict=True))
    assert feed.heard(1) is frames[-1]


def test_a_shape_that_changes_nothing_leaves_it_alone() -> None:
    feed = shaped(PACKETS[:40])
    feed.take_packets(10)
    feed.shape(None, 1.0, None)
    assert feed.take_packets(10) == PACKETS[10:20]


# One shape from the start


@pytest.mark.parametrize(
    ("filters", "speed", "chain", "bound_db"),
    [
        ("anull", 1.0, "anull", -140.0),
        ("bass=g=8", 1.0, "bass=g=8", -120.0),
        ("aecho=0.8:0.9:40:0.3", 1.0, "aecho=0.8:0.9:40:0.3", -120.0),
        ("loudnorm=I=-16", 1.0, "loudnorm=I=-16", -100.0),
        ("afftdn", 1.0, "afftdn", -100.0),
        ("dynaudnorm=f=150:g=9", 1.0, "dynaudnorm=f=150:g=9", -100.0),
        (None, 1.25, "atempo=1.25", -100.0),
        (None, 0.5, "atempo=0.5", -100.0),
        (None, 4.0, "atempo=2,atempo=2", -100.0),
        (None, 0.25, "atempo=0.5,atempo=0.5", -100.0),
        ("treble=g=3", 1.5, "treble=g=3,atempo=1.5", -100.0),
        ("asetrate=60000", 0.8, "asetrate=60000,atempo=0.8", -100.0),
    ],
)
def test_frames_sound_like_one_chain_over_the_whole(
    filters: str | None, speed: float, chain: str, bound_db: float
) -> None:
    feed = shaped(cut(SWEEP))
    feed.shape(filters, speed, None)
    assert feed.is_early
    assert feed.take_packets(24) == []
    heard = np.concatenate(list(rest(feed)))
    expected = through(chain, SWEEP)
    # What atempo makes of its last window depends on how its input was cut.
    common = min(len(heard), len(expected)) - (4_800 if "atempo" in chain else 0)
    assert error_db(heard[:common], expected[:common]) < bound_db
    assert len(heard) == pytest.approx(len(expected), abs=4_800)
    assert feed.next_frame() is None
    assert feed.peek() is None


def test_packets_are_decoded_for_filters() -> None:
    feed = shaped(PACKETS)
    feed.shape("bass=g=8", 1.0, None)
    heard = np.concatenate(list(rest(feed)))
    expected = through("bass=g=8", decoded_early(PACKETS))
    # The last frame ends in silence, as there is no packet to follow it.
    assert error_db(heard[: len(expected) - 1_920], expected[:-1_920]) < -120.0


def test_loudness_is_levelled_before_the_filters() -> None:
    sound = (0.1 * np.random.default_rng(5).standard_normal((48_000 * 4, 2))).astype(np.float32)
    levels = []
    for filters in (None, "volume=0.25"):
        feed = shaped(cut(sound))
        feed.shape(filters, 1.0, -14.0)
        levels.append(np.concatenate(list(rest(feed))))
    assert error_db(levels[1], np.float32(0.25) * levels[0]) < -100.0
    assert levels[0].shape == sound.shape
    assert np.abs(levels[0]).max() <= 10 ** (-1 / 20) + 1e-5


def test_what_is_no_number_in_the_source_does_not_stay_in_the_filters() -> None:
    frames = cut(SWEEP[: 960 * 30])
    frames[5] = np.full((960, 2), np.nan, np.float32)
    feed = shaped(frames)
    feed.shape("bass=g=8", 1.0, -20.0)
    heard = np.concatenate(list(rest(feed)))
    assert np.isfinite(heard).all()
    assert np.abs(heard[-960:]).max() > 0.01


# Back and again


@settings(deadline=None, max_examples=60)
@given(
    shape=st.sampled_from(
        [("bass=g=8", 1.0, None), ("afftdn", 1.3, -16.0), (None, 2.0, None), (None, 1.0, -20.0)]
    ),
    of_packets=st.booleans(),
    moves=st.lists(st.tuples(st.integers(0, 25), st.integers(0, KEPT)), max_size=12),
)
def test_going_back_gives_the_same_again(
    *, shape: tuple[str | None, float, float | None], of_packets: bool, moves: list[tuple[int, int]]
) -> None:
    items: list[Any] = PACKETS[:100] if of_packets else cut(SWEEP)[:100]
    straight = shaped(items)
    straight.shape(*shape)
    expected = list(rest(straight))
    feed = shaped(items)
    feed.shape(*shape)
    for ahead, back in moves:
        for _ in range(ahead):
            number = feed.position_frames
            frame = feed.next_frame()
            if frame is None:
                assert number == len(expected)
                break
            assert isinstance(frame, np.ndarray)
            assert np.array_equal(frame, expected[number])
            assert feed.heard(1) is frame
        feed.rewind(min(back, feed.rewindable_frames))
    number = feed.position_frames
    for frame in rest(feed):
        assert np.array_equal(frame, expected[number])
        number += 1
    assert number == len(expected)


def test_it_keeps_no_more_than_it_must() -> None:
    source = Listed(cut(np.tile(SWEEP, (5, 1))))
    feed = ShapedFeed(feed_of(source, kept_frames=KEPT), kept_frames=KEPT)
    feed.shape("bass=g=3", 1.25, -16.0)
    for _ in range(1_000):
        taken(feed, 1)
        assert len(feed._kept) <= KEPT + PREROLL_PACKETS
        assert feed._tape is not None
        # What is kept at 1.25 times the speed, what atempo holds, and what is measured ahead.
        assert len(feed._tape._frames) <= (KEPT + PREROLL_PACKETS) * 1.25 + 5 + 22
        assert len(feed._stretches) < 5
    assert feed.rewindable_frames == KEPT
    with pytest.raises(ValueError, match="0 to 10 frames"):
        feed.rewind(11)
    with pytest.raises(ValueError, match="not kept"):
        feed.heard(15)


# Sources that starve, fail and end


def test_it_starves_only_with_its_source() -> None:
    frames: list[Item] = list(cut(SWEEP[: 960 * 40]))
    feed = shaped([*frames[:10], NOT_YET, *frames[10:], NOT_YET])
    feed.shape("volume=0.5", 1.0, None)
    taken(feed, 10)
    assert feed.peek() is NOT_YET
    assert len(taken(feed, 30)) == 30
    assert feed.next_frame() is NOT_YET
    assert feed.next_frame() is None


def test_a_source_that_starves_in_a_change_goes_on_afterwards() -> None:
    frames: list[Item] = list(cut(SWEEP[: 960 * 40]))
    feed = shaped([*frames[:10], NOT_YET, NOT_YET, *frames[10:]])
    taken(feed, 10)
    feed.shape("volume=0.5", 1.0, None)
    assert feed.next_frame() is NOT_YET
    heard = np.concatenate(list(rest(feed)))
    assert error_db(heard, 0.5 * SWEEP[960 * 10 : 960 * 40]) < -120.0


@pytest.mark.parametrize("shape", [("dynaudnorm=f=100:g=5:m=1:b=1", 1.0, None), (None, 1.0, -20.0)])
def test_a_failure_comes_after_all_that_was_before_it(shape: Any) -> None:
    frames: list[Item] = list(cut(SWEEP[: 960 * 40]))
    feed = shaped([*frames, SourceError(ErrorCode.SOURCE_FAILED, "broken")])
    feed.shape(*shape)
    taken(feed, 40)
    assert feed.peek() is None
    with pytest.raises(SourceError, match="broken"):
        feed.next_frame()
    assert feed.next_frame() is None


def test_a_live_source_is_levelled_one_frame_behind_it() -> None:
    frames = cut(SWEEP[: 960 * 40])
    items: list[Item] = []
    for frame in frames:
        items += [frame, NOT_YET, NOT_YET, NOT_YET]
    feed = shaped(items)
    feed.shape(None, 1.0, -20.0)
    heard: list[PcmFrame] = []
    while (found := feed.next_frame()) is not None:
        if found is not NOT_YET:
            heard.append(found)
            # All that came is heard but for the last: it has to be known that the next is no louder.
            assert feed._feed.position_frames - feed.position_frames <= 1
    assert len(heard) == len(frames)


def test_a_failure_that_was_read_ahead_is_not_lost_when_all_is_left_alone() -> None:
    frames: list[Item] = list(cut(SWEEP[: 960 * 40]))
    feed = shaped([*frames, SourceError(ErrorCode.SOURCE_FAILED, "broken")])
    feed.shape(None, 1.0, -20.0)
    taken(feed, 35)
    feed.shape(None, 1.0, None)
    taken(feed, 5)
    with pytest.raises(SourceError, match="broken"):
        feed.next_frame()
    assert feed.next_frame() is None


def test_a_change_after_the_end_is_heard_in_what_is_left() -> None:
    feed = shaped(cut(SWEEP[: 960 * 40]))
    feed.shape("volume=0.5", 1.0, None)
    list(rest(feed))
    feed.rewind(5)
    feed.shape("volume=0.25", 1.0, None)
    assert error_db(np.concatenate(list(rest(feed)))[960:], 0.25 * SWEEP[960 * 36 : 960 * 40]) < -120.0
    feed.rewind(5)
    feed.shape(None, 1.0, None)
    assert error_db(np.concatenate(list(rest(feed)))[960:], SWEEP[960 * 36 : 960 * 40]) < -120.0


def test_an_empty_source_ends_at_once() -> None:
    feed = shaped([])
    feed.shape("bass=g=3", 1.5, -14.0)
    assert feed.next_frame() is None
    feed.shape(None, 1.0, None)
    assert feed.next_frame() is None


def test_positions_are_those_of_the_source() -> None:
    feed = shaped(cut(SWEEP), start_s=30.0)
    taken(feed, 50)
    assert feed.source_position_s(50) == pytest.approx(31.0)
    feed.shape(None, 2.0, None)
    taken(feed, 25)
    assert feed.source_position_s(50) == pytest.approx(31.0)
    assert feed.source_position_s(60) == pytest.approx(31.4)
    assert feed.source_position_s(75) == pytest.approx(32.0)
    assert feed.source_position_s(25) == pytest.approx(30.5)
    feed.shape(None, 1.0, None)
    taken(feed, 25)
    assert feed.source_position_s(100) == pytest.approx(32.5)


def test_positions_follow_a_source_that_repeats() -> None:
    class Repeating(Listed):
        @property
        def position_s(self) -> float:
            return (self.handed_out - 1) % 50 * 0.02

    feed = ShapedFeed(feed_of(Repeating(cut(SWEEP)), kept_frames=KEPT), kept_frames=KEPT)
    feed.shape("bass=g=3", 1.0, None)
    for number in range(120):
        taken(feed, 1)
        assert feed.source_position_s(number) == pytest.approx(number % 50 * 0.02, abs=0.001)


# What goes wrong


def test_a_refused_shape_changes_nothing() -> None:
    feed = shaped(PACKETS)
    feed.take_packets(10)
    with pytest.raises(FilterError):
        feed.shape("bass=g=99999", 1.0, None)
    assert feed.take_packets(10) == PACKETS[10:20]
    feed.shape("volume=0.5", 1.0, None)
    taken(feed, 5)
    with pytest.raises(FilterError):
        feed.shape("nonsense", 1.0, None)
    assert error_db(taken(feed, 1)[0], 0.5 * decoded_early(PACKETS)[25 * 960 : 26 * 960]) < -40.0


def test_a_chain_that_breaks_is_left_out_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    sound = np.tile(SWEEP, (6, 1))
    feed = shaped(cut(sound))
    taken(feed, 50)
    with caplog.at_level(logging.WARNING, logger="voicepool.worker.audio"):
        # It holds back more than is allowed, which no look at its text could tell.
        feed.shape("dynaudnorm=f=8000:g=301", 1.0, None)
        heard = np.concatenate(list(rest(feed)))
    assert feed.broken_chains == 1
    assert [record.getMessage().count("holds back") for record in caplog.records] == [1]
    assert error_db(heard, sound[50 * 960 :]) < -120.0
    assert len(heard) == len(sound) - 50 * 960


def test_without_the_filters_that_broke_the_speed_stays() -> None:
    sound = np.tile(SWEEP, (6, 1))
    feed = shaped(cut(sound))
    feed.shape("dynaudnorm=f=8000:g=301", 2.0, None)
    taken(feed, 100)
    assert feed.broken_chains == 1
    assert feed.source_position_s(100) == pytest.approx(4.0)
    feed.shape("volume=0.5", 1.0, None)
    heard = np.concatenate(taken(feed, 20))
    begin = 4 * 48_000
    assert error_db(heard[960:], 0.5 * sound[begin + 960 : begin + len(heard)]) < -120.0


def test_closing_closes_the_source_and_forgets_the_frames() -> None:
    source = Listed(cut(SWEEP))
    feed = ShapedFeed(feed_of(source, kept_frames=KEPT), kept_frames=KEPT)
    feed.shape("bass=g=3", 1.5, -14.0)
    taken(feed, 20)
    feed.close()
    feed.close()
    assert source.closed == 1
    assert feed.position_frames == 20
    assert feed.rewindable_frames == 0
    assert not feed.keeps(19)
    assert feed.next_frame() is None


def test_it_keeps_a_number_of_frames() -> None:
    with pytest.raises(ValueError, match="kept_frames"):
        ShapedFeed(feed_of(Listed([])), kept_frames=-1)
