"""What the memory of a worker calls for."""

from __future__ import annotations

from voicepool._process.memory import YOUNG_S, MemoryUse, MemoryWatch, Weight

LIMIT = 1_000
GROWN = YOUNG_S


def test_each_step_is_told_once() -> None:
    watch = MemoryWatch(LIMIT, now=0.0)
    told = [watch.weigh(used, GROWN) for used in (700, 799, 800, 900, 999, 1_000, 1_100, 1_249, 1_250, 1_300)]
    assert [weight for weight in told if weight] == [Weight.HEAVY, Weight.FULL, Weight.OVER]
    assert told.index(Weight.HEAVY) == 2
    assert told.index(Weight.FULL) == 5
    assert told.index(Weight.OVER) == 8


def test_a_leap_is_told_as_what_it_is() -> None:
    assert MemoryWatch(LIMIT, now=0.0).weigh(5_000, 0.0) is Weight.OVER
    assert MemoryWatch(LIMIT, now=0.0).weigh(1_000, GROWN) is Weight.FULL


def test_around_the_mark_it_is_told_once_and_again_after_it_was_well_below() -> None:
    watch = MemoryWatch(LIMIT, now=0.0)
    told = [watch.weigh(used, GROWN) for used in (800, 790, 805, 700, 801, 699, 800)]
    assert [bool(weight) for weight in told] == [True, False, False, False, False, False, True]


def test_a_young_worker_at_its_limit_is_replaced_only_when_it_is_older() -> None:
    watch = MemoryWatch(LIMIT, now=50.0)
    assert watch.weigh(1_100, 51.0) is Weight.HEAVY
    assert watch.weigh(1_100, 50.0 + YOUNG_S - 0.1) is Weight.LIGHT
    assert watch.weigh(1_100, 50.0 + YOUNG_S) is Weight.FULL


def test_what_was_added_since_the_last_reading_counts() -> None:
    use = MemoryUse()
    assert use.estimate(pss_bytes=None, rss_bytes=500, uptime_s=0.5) is None
    assert use.estimate(pss_bytes=400, rss_bytes=520, uptime_s=1.5) == 400
    assert use.estimate(pss_bytes=400, rss_bytes=620, uptime_s=2.5) == 500
    assert use.estimate(pss_bytes=400, rss_bytes=510, uptime_s=3.5) == 400
    assert use.estimate(pss_bytes=480, rss_bytes=610, uptime_s=4.5) == 480
    assert use.estimate(pss_bytes=480, rss_bytes=615, uptime_s=5.5) == 485


def test_where_nothing_better_is_known_it_is_what_it_holds_in_all() -> None:
    use = MemoryUse()
    assert use.estimate(pss_bytes=None, rss_bytes=500, uptime_s=YOUNG_S) == 500


def test_without_a_limit_nothing_is_too_much() -> None:
    watch = MemoryWatch(0, now=0.0)
    assert watch.weigh(1 << 50, GROWN) is Weight.LIGHT
