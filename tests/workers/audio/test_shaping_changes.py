"""A shape that changes in mid-play: nothing is lost, repeated or clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import (
    KEPT,
    PACKETS,
    SWEEP,
    cut,
    decoded_early,
    error_db,
    packets_from,
    rest,
    shaped,
    taken,
)
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET


def tone(seconds: float, hz: float = 300.0, level: float = 0.4) -> PcmFrame:
    t = np.arange(int(48_000 * seconds)) / 48_000
    return np.repeat((level * np.sin(2 * np.pi * hz * t))[:, None], 2, axis=1).astype(np.float32)


def faded(old: PcmFrame, new: PcmFrame) -> PcmFrame:
    weight = ((1 - np.cos(np.linspace(0, np.pi, FRAME_SAMPLES))) / 2).astype(np.float32)[:, None]
    return old + (new - old) * weight


def time_of_sweep_s(sound: PcmFrame, at: int) -> float:
    """Return which moment of `signal` is heard around a sample, by its frequency."""
    part = sound[at - 1_024 : at + 1_024, 0] * np.hanning(2_048)
    spectrum = np.abs(np.fft.rfft(part, 1 << 17))
    return float((spectrum.argmax() * 48_000 / (1 << 17) - 300.0) / 800.0)


@pytest.mark.parametrize("back", [0, 1, 6])
def test_filters_set_in_mid_play_are_heard_at_once_and_fade_in(back: int) -> None:
    feed = shaped(cut(SWEEP))
    taken(feed, 100)
    feed.rewind(back)
    feed.shape("volume=0.25", 1.0, None)
    cut_at = (100 - back) * 960
    heard = np.concatenate(list(rest(feed)))
    expected = SWEEP[cut_at:]
    assert len(heard) == len(expected)
    assert error_db(heard[:960], faded(expected[:960], 0.25 * expected[:960])) < -120.0
    assert error_db(heard[960:], 0.25 * expected[960:]) < -120.0


def test_before_the_first_frame_filters_are_fed_little_by_little() -> None:
    feed = shaped(cut(SWEEP))
    feed.shape("loudnorm", 1.0, None)
    read_before, peeks = 0, 0
    while feed.peek() is NOT_YET:
        read = feed._feed.position_frames
        assert 0 < read - read_before <= 16
        read_before, peeks = read, peeks + 1

    assert peeks >= 9, "it wants three seconds"
    first = feed.peek()
    assert feed.next_frame() is first


def test_prepared_it_has_the_first_frame_at_once() -> None:
    feed = shaped(cut(SWEEP))
    feed.prepare()
    assert feed._feed.position_frames == 0, "there is nothing to prepare"
    feed.shape("loudnorm", 1.0, None)
    feed.prepare()
    assert isinstance(feed.peek(), np.ndarray)


@pytest.mark.parametrize("back", [0, 4, KEPT])
@pytest.mark.parametrize("before", ["volume=0.5", "dynaudnorm=f=100:g=5:m=1:b=1", "loudnorm"])
def test_one_chain_follows_another_at_the_same_place(before: str, back: int) -> None:
    feed = shaped(cut(SWEEP))
    feed.shape(before, 1.0, None)
    first = taken(feed, 100)
    feed.rewind(back)
    feed.shape("volume=0.25", 1.0, None)
    number = 100 - back
    heard = np.concatenate(list(rest(feed)))
    expected = 0.25 * SWEEP[number * 960 :]
    assert len(heard) == len(expected)
    if back:
        assert error_db(heard[:960], faded(first[number], expected[:960])) < -120.0
    assert error_db(heard[960:], expected[960:]) < -120.0


@pytest.mark.parametrize("of_packets", [False, True])
@pytest.mark.parametrize(("filters", "loudness"), [("bass=g=8", None), ("loudnorm", None), (None, -20.0)])
@pytest.mark.parametrize("back", [0, 5])
def test_without_shape_again_the_source_goes_on_where_it_was(
    *, of_packets: bool, filters: str | None, loudness: float | None, back: int
) -> None:
    items: list[Any] = PACKETS if of_packets else cut(SWEEP)
    feed = shaped(items)
    feed.shape(filters, 1.0, loudness)
    taken(feed, 60)
    feed.rewind(back)
    feed.shape(None, 1.0, None)
    number = 60 - back
    # One frame fades, and what was read further than the feed can go back comes as PCM.
    as_pcm = taken(feed, 1)
    while not feed._is_clear:
        as_pcm += taken(feed, 1)
    sound = decoded_early(PACKETS) if of_packets else SWEEP
    for at, frame in enumerate(as_pcm[1:], number + 1):
        assert error_db(frame, sound[at * 960 : at * 960 + 960]) < -60.0
    goes_on = number + len(as_pcm)
    assert feed.position_frames == goes_on
    if of_packets:
        assert len(as_pcm) == 1 or filters == "loudnorm"
        assert packets_from(feed) == PACKETS[goes_on:]
    else:
        assert all(a is b for a, b in zip(rest(feed), items[goes_on:], strict=True))


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.25, 2.0, 4.0])
def test_speed_comes_and_goes_without_a_jump_in_time(speed: float) -> None:
    sound = signal(seconds=8.0)
    feed = shaped(cut(sound))
    heard = taken(feed, 50)
    feed.rewind(3)
    del heard[-3:]
    feed.shape(None, speed, None)
    heard += taken(feed, 40)
    feed.rewind(5)
    del heard[-5:]
    feed.shape(None, 1.0, None)
    turned_off = len(heard)
    heard += taken(feed, 60)
    whole = np.concatenate(heard)
    off_s = (47 + (turned_off - 47) * speed) * 0.02
    for number, expected_s, rate in (
        (20, 0.4, 1.0),
        (60, (47 + 13 * speed) * 0.02, speed),
        (75, (47 + 28 * speed) * 0.02, speed),
        (turned_off + 3, off_s + 0.06, 1.0),
        (turned_off + 40, off_s + 0.8, 1.0),
    ):
        # What is looked at lies around a place behind the frame's beginning.
        found_s = time_of_sweep_s(whole, number * 960 + 1_024) - 1_024 / 48_000 * rate
        # 20 ms of hearing.
        assert found_s == pytest.approx(expected_s, abs=0.02 * max(1.0, rate))
    assert feed.source_position_s(turned_off) == pytest.approx(off_s, abs=0.0101)
    assert feed.source_position_s(turned_off + 50) == pytest.approx(off_s + 1.0, abs=0.0101)
    late = whole[(turned_off + 2) * 960 :]
    begin = round(feed.source_position_s(turned_off + 2) * 48_000)
    assert error_db(late, sound[begin : begin + len(late)]) < -120.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((None, 1.0, None), ("volume=0.1", 1.0, None)),
        (("volume=0.1", 1.0, None), (None, 1.0, None)),
        (("bass=g=12", 1.0, None), ("bass=g=-12", 1.0, None)),
        ((None, 1.0, None), ("volume=-1", 1.0, None)),
        ((None, 1.5, None), (None, 0.75, None)),
        ((None, 1.0, None), (None, 1.0, -30.0)),
        ((None, 1.0, -30.0), (None, 1.0, -12.0)),
        ((None, 1.0, -30.0), (None, 2.0, None)),
        (("lowpass=f=2000", 1.0, None), ("dynaudnorm=f=200:g=11", 1.0, None)),
        (("asetrate=60000", 1.0, None), (None, 1.0, None)),
    ],
)
@pytest.mark.parametrize("back", [0, 6])
def test_no_change_clicks(before: Any, after: Any, back: int) -> None:
    sent = cut(tone(6.0))
    feed = shaped(sent)
    feed.shape(*before)
    heard = taken(feed, 80)
    feed.rewind(back)
    del heard[80 - back :]
    feed.shape(*after)
    heard += taken(feed, 60)
    steps = np.abs(np.diff(np.concatenate(heard)[4_800:], axis=0)).max()
    alone = []
    for shape in (before, after):
        other = shaped(sent)
        other.shape(*shape)
        alone.append(np.abs(np.diff(np.concatenate(taken(other, 100))[4_800:], axis=0)).max())
    # Two tones of different phase fading into each other may add the slope of the fade, and no more.
    fade_slope = 2 * np.abs(np.concatenate(heard)).max() * np.pi / 2 / 960
    # A filter that begins in the middle of a tone rings for a moment, under the fade.
    assert steps <= 1.2 * max(alone) + fade_slope


def test_a_loudness_set_in_mid_play_is_known_at_once() -> None:
    sound = (0.1 * np.random.default_rng(5).standard_normal((48_000 * 8, 2))).astype(np.float32)
    feed = shaped(cut(sound))
    taken(feed, 100)
    feed.rewind(6)
    feed.shape(None, 1.0, -30.0)
    soon = np.concatenate(taken(feed, 40))[960:]
    later = np.concatenate(taken(feed, 200))[-48_000:]
    assert 20 * np.log10(soon.std() / later.std()) == pytest.approx(0.0, abs=0.5)


def test_filters_change_without_measuring_the_loudness_anew() -> None:
    sound = (0.1 * np.random.default_rng(5).standard_normal((48_000 * 6, 2))).astype(np.float32)
    straight = shaped(cut(sound))
    straight.shape(None, 1.0, -20.0)
    expected = np.concatenate(list(rest(straight)))
    feed = shaped(cut(sound))
    feed.shape(None, 1.0, -20.0)
    heard = taken(feed, 100)[:-6]
    feed.rewind(6)
    feed.shape("anull", 1.0, -20.0)
    heard += list(rest(feed))
    assert error_db(np.concatenate(heard), expected) < -120.0


def test_the_first_frame_is_shaped_from_its_first_sample() -> None:
    feed = shaped(cut(SWEEP))
    taken(feed, 6)
    feed.rewind(6)
    feed.shape("volume=0.5", 1.0, None)
    assert error_db(np.concatenate(list(rest(feed))), 0.5 * SWEEP) < -120.0


def test_several_changes_before_a_frame_are_one() -> None:
    feed = shaped(cut(SWEEP))
    taken(feed, 50)
    feed.rewind(5)
    feed.shape("volume=0.5", 1.0, None)
    feed.shape("loudnorm", 2.0, -14.0)
    feed.shape("volume=0.25", 1.0, None)
    heard = np.concatenate(list(rest(feed)))
    dry = SWEEP[45 * 960 :]
    assert len(heard) == len(dry)
    assert error_db(heard[:960], faded(dry[:960], 0.25 * dry[:960])) < -120.0
    assert error_db(heard[960:], 0.25 * dry[960:]) < -120.0


def test_on_and_off_before_a_frame_is_as_if_nothing_was() -> None:
    feed = shaped(PACKETS)
    feed.take_packets(50)
    feed.rewind(5)
    feed.shape("volume=0.5", 1.0, None)
    feed.shape(None, 1.0, None)
    # It fades from itself to itself.
    faded_frame = taken(feed, 1)[0]
    assert error_db(faded_frame, decoded_early(PACKETS)[45 * 960 : 46 * 960]) < -40.0
    assert packets_from(feed, 30) == PACKETS[46:76]


def test_the_way_back_leads_over_what_was_shaped_before() -> None:
    feed = shaped(PACKETS)
    feed.shape("volume=0.5", 1.0, None)
    frames = taken(feed, 40)
    feed.shape(None, 1.0, None)
    frames += taken(feed, 1)
    assert packets_from(feed, 4) == PACKETS[41:45]
    assert feed.heard(5) is frames[40]
    assert feed.keeps(38)
    assert feed.keeps(44)
    assert not feed.keeps(45)
    assert feed.rewindable_frames >= 14
    feed.rewind(8)
    assert feed.position_frames == 37
    assert not feed.keeps(38)
    assert feed.take_packets(24) == []
    assert all(a is b for a, b in zip(taken(feed, 4), frames[37:], strict=True))
    assert packets_from(feed, 48) == PACKETS[41:89]
    packets_from(feed, 24)
    assert not feed._kept


def test_a_change_among_what_was_shaped_before() -> None:
    feed = shaped(PACKETS)
    feed.shape("volume=0.5", 1.0, None)
    taken(feed, 40)
    feed.shape(None, 1.0, None)
    taken(feed, 1)
    assert packets_from(feed, 4) == PACKETS[41:45]
    feed.rewind(8)
    feed.shape("volume=0.25", 1.0, None)
    heard = np.concatenate(taken(feed, 50))
    expected = 0.25 * decoded_early(PACKETS)[37 * 960 : 87 * 960]
    assert error_db(heard[960:], expected[960:]) < -40.0


def test_packets_heard_before_a_change_can_be_asked_for_after_it() -> None:
    feed = shaped(PACKETS)
    feed.take_packets(50)
    feed.rewind(4)
    before = feed.heard(1), feed.heard(2)
    feed.shape("bass=g=3", 4.0, None)
    taken(feed, 3)
    feed.rewind(3)
    assert np.array_equal(feed.heard(1), before[0])
    assert np.array_equal(feed.heard(2), before[1])


def test_a_change_soon_after_the_end_of_one_that_read_far_ahead() -> None:
    feed = shaped(PACKETS)
    feed.shape("loudnorm", 1.0, None)
    taken(feed, 20)
    feed.shape(None, 1.0, None)
    # They had to be read so far ahead that the feed cannot go back to them.
    taken(feed, 150)
    assert feed._is_clear
    packets_from(feed, 3)
    feed.rewind(8)
    number = feed.position_frames
    feed.shape("volume=0.25", 1.0, None)
    heard = np.concatenate(taken(feed, 50))
    expected = np.float32(0.25) * decoded_early(PACKETS)[number * 960 : (number + 50) * 960]
    assert error_db(heard[960:], expected[960:]) < -40.0
    assert feed.source_position_s(number + 1) == pytest.approx((number + 1) * 0.02)


@settings(deadline=None, max_examples=40)
@given(
    of_packets=st.booleans(),
    moves=st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(0, 26),
            st.sampled_from(["volume=0.5", "anull", "dynaudnorm=f=100:g=5:m=1:b=1", None]),
            st.sampled_from([1.0, 1.0, 1.3]),
            st.sampled_from([None, None, -20.0]),
        ),
        max_size=8,
    ),
)
def test_whatever_is_changed_the_place_is_kept(*, of_packets: bool, moves: list[Any]) -> None:
    items: list[Any] = PACKETS[:200] if of_packets else cut(SWEEP)[:200]
    feed = shaped(items)
    changed_at = 0
    for ahead, back, *shape in moves:
        feed.skip(ahead)
        # Who goes back over a ring comes to no frame before the last change: that is being sent.
        feed.rewind(min(back, feed.rewindable_frames, feed.position_frames - changed_at))
        changed_at = feed.position_frames
        expected_s = feed.source_position_s(feed.position_frames)
        feed.shape(*shape)
        assert feed.source_position_s(feed.position_frames) == pytest.approx(expected_s, abs=0.0101)
        feed.prepare()
        if (found := feed.peek()) is None:
            continue
        assert found is not NOT_YET
        feed.next_frame()
        assert feed.source_position_s(feed.position_frames - 1) == pytest.approx(expected_s, abs=0.0101)
    feed.shape(None, 1.0, None)
    number = feed.position_frames
    begin_s = feed.source_position_s(number)
    left = len(list(rest(feed)))
    assert feed.position_frames == number + left
    assert begin_s + left * 0.02 == pytest.approx(len(items) * 0.02, abs=0.0301)
