"""Playbacks that are parked, nudged and hurried, at every moment of a turn."""

from __future__ import annotations

from tests.workers.audio.encoder_bench import EncoderBench

# Parking.


def test_a_parked_playback_costs_nothing_until_it_is_nudged(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20, 20)
    work.may_park_answers = [True]
    encoders.submit(work)
    encoders.time.settle()
    assert work.parked
    encoders.advance(60_000)
    assert encoders.log == ["a"]
    encoders.nudge(work)
    encoders.time.settle()
    assert encoders.log == ["a", "a"]
    assert not work.parked


def test_a_nudge_for_one_that_is_not_parked_adds_no_second_turn(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20, 20, 20)
    encoders.submit(work)
    encoders.time.settle()
    for _ in range(5):
        encoders.nudge(work)
    encoders.time.settle()
    assert encoders.log == ["a"]
    encoders.advance(20)
    assert encoders.log == ["a", "a"]


def test_a_call_that_sends_again_while_it_is_filled_is_not_parked(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20)
    # Its call is switched on while it is filled, and the nudge comes too early to find it parked.
    work.during_fill = lambda: encoders.nudge(work)
    work.may_park_answers = [False]
    encoders.submit(work)
    encoders.time.settle()
    assert not work.parked
    encoders.advance(20)
    assert encoders.log == ["a", "a"]


def test_what_is_cancelled_on_the_way_is_not_parked_but_closed(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20)
    work.may_park_answers = [True]
    # After `fill` has looked, and just before it would be parked.
    work.at_look = lambda: setattr(work, "cancelled", True)
    encoders.submit(work)
    encoders.time.settle()
    assert not work.parked
    encoders.advance(20)
    assert work.closes == 1


def test_a_parked_playback_that_is_cancelled_and_nudged_closes_on_the_encoder_thread(
    encoders: EncoderBench,
) -> None:
    work = encoders.work("a", 20)
    work.may_park_answers = [True]
    encoders.submit(work)
    encoders.time.settle()
    work.cancelled = True
    encoders.nudge(work)
    encoders.time.settle()
    assert work.closes == 1
    assert work.threads[-1].startswith("voicepool-encoder")


# Hurry.


def test_a_parked_playback_is_hurried(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20, 20)
    work.may_park_answers = [True]
    encoders.submit(work)
    encoders.time.settle()
    assert work.parked
    encoders.hurry(work)
    encoders.time.settle()
    assert encoders.log == ["a", "a"]
    assert not work.parked


def test_one_that_waits_for_its_turn_is_hurried_and_its_old_turn_is_void(encoders: EncoderBench) -> None:
    work = encoders.work("a", 100, 200, 200)
    encoders.submit(work)
    encoders.time.settle()
    encoders.hurry(work)
    encoders.time.settle()
    assert encoders.log == ["a", "a"]
    encoders.advance(190)
    assert encoders.log == ["a", "a"], "the old turn has gone by"
    encoders.advance(10)
    assert encoders.log == ["a", "a", "a"]


def test_one_that_is_hurried_while_it_is_filled_is_filled_again_at_once(encoders: EncoderBench) -> None:
    work = encoders.work("a", 100, 100, 100)
    gate = encoders.gate()
    work.during_fill = gate
    encoders.submit(work)
    gate.wait_for_thread()
    encoders.hurry(work)
    assert encoders.log == ["a"]
    gate.open()
    encoders.time.settle()
    assert encoders.log == ["a", "a"]
    encoders.advance(100)
    assert encoders.log == ["a", "a", "a"], "and has one turn from then on"


def test_one_that_is_hurried_when_it_would_be_parked_is_not(encoders: EncoderBench) -> None:
    work = encoders.work("a", 20, 20)
    work.may_park_answers = [True, True]

    def hurry_once() -> None:
        if len(encoders.log) == 1:
            encoders.hurry(work)

    work.during_fill = hurry_once
    encoders.submit(work)
    encoders.time.settle()
    assert encoders.log == ["a", "a"]
    assert work.parked, "only when that was done"


def test_hurried_again_and_again_it_has_one_turn(encoders: EncoderBench) -> None:
    work = encoders.work("a", 1_000, 1_000)
    encoders.submit(work)
    encoders.time.settle()
    _, gate = encoders.starve()
    for _ in range(1_000):
        encoders.hurry(work)
    assert len(encoders.threads._heap) == 2, (
        "the void turn and the new one: a hurry without end takes no room"
    )
    gate.open()
    encoders.time.settle()
    assert encoders.log == ["a", "hog", "a", "hog"]


def test_one_that_the_other_thread_fills_is_left_to_it(encoders: EncoderBench) -> None:
    late, work = encoders.work("late", 20, 1_000), encoders.work("a", 1_000, 1_000, None)
    # Parked it would be, had the other thread not just thrown away the turn that it was hurried for.
    work.may_park_answers = [True]
    encoders.submit(late)
    encoders.time.settle()
    gate = encoders.gate()
    work.during_fill = gate
    encoders.submit(work)
    gate.wait_for_thread()
    encoders.hand_over()
    _, normal = encoders.time.clocks
    encoders.time.settle(normal)
    encoders.hurry(work)
    encoders.time.settle(normal)
    assert work.threads == ["voicepool-encoder-idle"], "not by two threads at once"
    gate.open()
    encoders.time.settle()
    assert work.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]
    encoders.advance(1_000)
    assert len(work.threads) == 3


def test_one_that_is_handed_over_while_it_is_in_a_hurry_is_filled_by_the_other(
    encoders: EncoderBench,
) -> None:
    late, work = encoders.work("late", 20, 1_000), encoders.work("a", 900, 1_000)
    encoders.submit(late, work)
    encoders.time.settle()
    _, gate = encoders.starve()
    encoders.hurry(work)
    encoders.hand_over()
    encoders.time.settle(encoders.time.clocks[1])
    assert work.threads == ["voicepool-encoder-idle", "voicepool-encoder-normal"]
    gate.open()
    encoders.time.settle()
    assert len(work.threads) == 2


def test_one_that_is_cancelled_and_hurried_closes_once(encoders: EncoderBench) -> None:
    work = encoders.work("a", 1_000)
    encoders.submit(work)
    encoders.time.settle()
    work.cancelled = True
    encoders.hurry(work)
    encoders.time.settle()
    encoders.hurry(work)
    encoders.nudge(work)
    encoders.advance(2_000)
    encoders.threads.stop()
    assert work.closes == 1
    assert encoders.log == ["a", "a"]
