"""A source that begins late: every sample once, and silence behind the last only up to a frame."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workers.audio.shaped import Item, Listed, cut, feed_of, packets_from, rest
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.late import LateSource, sounding_samples
from voicepool.workers.audio.readahead import NOT_YET


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-0.5, 0.5, (samples, 2)).astype(np.float32)


def filled_up(sound: np.ndarray) -> list[np.ndarray]:
    """Cut a sound into frames, the last of them filled up with silence."""
    return cut(np.concatenate([sound, np.zeros((-len(sound) % FRAME_SAMPLES, 2), np.float32)]))


def drain(source: LateSource) -> list[np.ndarray]:
    frames = []
    while (frame := source.poll()) is not None:
        assert frame is not NOT_YET
        frames.append(frame)
    return frames


@pytest.mark.parametrize("late", [1, 123, 959])
@pytest.mark.parametrize("length", [1, 837, 960, 2_000, 2_880])
def test_every_sample_comes_once_and_only_the_last_frame_is_filled_up(late: int, length: int) -> None:
    sound = noise(length)
    frames = filled_up(sound)
    heard = np.concatenate(drain(LateSource(Listed(frames[1:]), [(frames[0], 0.0)], late)))
    assert len(heard) == -(-(late + length) // FRAME_SAMPLES) * FRAME_SAMPLES
    assert np.array_equal(heard[late : late + length], sound)
    assert not heard[:late].any()
    assert not heard[late + length :].any()


def test_a_source_that_starves_is_waited_for_and_loses_nothing() -> None:
    frames = filled_up(noise(3_000))
    items: list[Item] = [NOT_YET, frames[1], NOT_YET, *frames[2:]]
    source = LateSource(Listed(items), [(frames[0], 0.0)], 100)
    polled = [source.poll() for _ in range(6)]
    assert sum(frame is NOT_YET for frame in polled) == 2
    heard = np.concatenate([frame for frame in polled if isinstance(frame, np.ndarray)])
    assert np.array_equal(heard[100:3_100], noise(3_000))


def test_it_says_where_in_the_source_a_frame_begins() -> None:
    frames = filled_up(noise(3 * FRAME_SAMPLES))
    inner = Listed(frames[1:], start_s=7.02)
    source = LateSource(inner, [(frames[0], 7.0)], 480)
    places = []
    while source.poll() is not None:
        places.append(source.position_s)
    assert places == pytest.approx([7.0, 7.01, 7.03, 7.05])
    assert source.skipped_packets == inner.skipped_packets
    assert source.take_packets(5) == []
    source.close()
    assert inner.closed == 1


@pytest.mark.parametrize(("sounding", "found"), [(0, 0), (1, 1), (333, 333), (960, 960)])
def test_what_fills_up_a_frame_is_known_by_its_exact_silence(sounding: int, found: int) -> None:
    frame = np.zeros((FRAME_SAMPLES, 2), np.float32)
    frame[:sounding] = 1e-9
    assert sounding_samples(frame) == found


def test_a_feed_knows_its_last_frame_and_no_other() -> None:
    feed = feed_of(Listed(filled_up(noise(2_000))))
    known = []
    while feed.peek() is not None:
        known.append(feed.last_sounding_samples())
        feed.go_on()
    assert known == [None, None, 80]
    assert feed.last_sounding_samples() is None


def test_a_feed_of_packets_neither_ends_nor_begins_within_a_frame() -> None:
    feed = feed_of(Listed([b"\xfc\xff\xfe"] * 2))
    assert not feed.begin_late(100)
    assert feed.last_sounding_samples() is None
    assert packets_from(feed) == [b"\xfc\xff\xfe"] * 2


def test_a_feed_begins_late_only_before_it_has_begun_and_once() -> None:
    sound = noise(2_000)
    feed = feed_of(Listed(filled_up(sound)))
    assert isinstance(feed.peek(), np.ndarray)
    assert feed.begin_late(500)
    assert feed.begin_late(500)
    assert not feed.begin_late(400)
    heard = [frame.copy() for frame in rest(feed)]
    assert np.array_equal(np.concatenate(heard)[500:2_500], sound)
    assert not feed.begin_late(500)
    feed.rewind(3)
    assert np.array_equal(np.concatenate(list(rest(feed))), np.concatenate(heard))
