"""How much a worker may say."""

from __future__ import annotations

from voicepool._process.flood import MAX_BYTES_PER_S, MAX_MESSAGES_PER_S, SUSTAINED_S, FloodGauge


def test_a_burst_is_no_flood() -> None:
    gauge = FloodGauge(0.0)
    assert not gauge.pour(int(SUSTAINED_S * MAX_MESSAGES_PER_S), 0, 0.0)
    assert gauge.pour(1, 0, 0.0)


def test_it_may_go_on_for_ever_at_the_rate_itself() -> None:
    gauge = FloodGauge(0.0)
    a_tenth = int(MAX_MESSAGES_PER_S / 10)
    assert not any(gauge.pour(a_tenth, int(MAX_BYTES_PER_S / 10), 0.1 * step) for step in range(1, 2_000))


def test_twice_the_rate_is_too_much_in_the_end() -> None:
    gauge = FloodGauge(0.0)
    a_tenth = int(MAX_MESSAGES_PER_S / 5)
    verdicts = [gauge.pour(a_tenth, 0, 0.1 * step) for step in range(1, 200)]
    assert not any(verdicts[: int(SUSTAINED_S * 10) - 2])
    assert verdicts[-1]


def test_few_messages_may_be_too_many_bytes() -> None:
    gauge = FloodGauge(0.0)
    sizes = int(MAX_BYTES_PER_S)
    assert not gauge.pour(1, int(SUSTAINED_S) * sizes, 0.0)
    assert gauge.pour(1, 1_000, 0.0)


def test_what_leaked_makes_room() -> None:
    gauge = FloodGauge(0.0)
    gauge.pour(int(SUSTAINED_S * MAX_MESSAGES_PER_S), 0, 0.0)
    assert not gauge.pour(int(MAX_MESSAGES_PER_S), 0, 1.0)
