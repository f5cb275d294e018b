from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voicepool.workers.audio.frame import FRAME_NS
from voicepool.workers.audio.gap import GapMeter

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 200_000_000)), max_size=20)


def test_nothing_is_missed_until_something_is() -> None:
    meter = GapMeter()
    assert meter.frames(10**12) == 0
    meter.run(missing=False, now_ns=10**12)
    assert meter.take_frames(2 * 10**12) == 0


def test_missed_time_is_counted_while_it_runs_and_after() -> None:
    meter = GapMeter()
    meter.run(missing=True, now_ns=1_000)
    assert meter.frames(1_000 + 3 * FRAME_NS - 1) == 2
    assert meter.frames(1_000 + 3 * FRAME_NS) == 3
    meter.run(missing=False, now_ns=1_000 + 3 * FRAME_NS)
    assert meter.frames(10**12) == 3


def test_saying_it_again_counts_no_time_twice() -> None:
    meter = GapMeter()
    for now_ns in (0, FRAME_NS, 2 * FRAME_NS):
        meter.run(missing=True, now_ns=now_ns)
    assert meter.frames(4 * FRAME_NS) == 4


def test_what_is_paid_out_while_it_runs_is_not_paid_again() -> None:
    meter = GapMeter()
    meter.run(missing=True, now_ns=0)
    assert meter.take_frames(10 * FRAME_NS + 5) == 10
    assert meter.take_frames(12 * FRAME_NS) == 2


def test_parts_of_frames_add_up_over_many_gaps() -> None:
    meter, paid = GapMeter(), 0
    for gap in range(10):
        began_ns = gap * 10 * FRAME_NS
        meter.run(missing=True, now_ns=began_ns)
        meter.run(missing=False, now_ns=began_ns + FRAME_NS // 2)
        paid += meter.take_frames(began_ns + FRAME_NS)
    assert paid == 5


@given(steps=STEPS, pay=st.lists(st.booleans(), min_size=20, max_size=20))
def test_all_missed_time_is_paid_once_but_for_less_than_a_frame(
    steps: list[tuple[bool, int]], pay: list[bool]
) -> None:
    meter, now_ns, missed_ns, paid = GapMeter(), 0, 0, 0
    for (missing, lasts_ns), pays in zip(steps, pay, strict=False):
        meter.run(missing=missing, now_ns=now_ns)
        now_ns += lasts_ns
        missed_ns += lasts_ns if missing else 0
        if pays:
            paid += meter.take_frames(now_ns)
            assert 0 <= missed_ns - paid * FRAME_NS < FRAME_NS
    paid += meter.take_frames(now_ns)
    assert paid == missed_ns // FRAME_NS
