from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.testing.voice_messages import CloseCode, Refusal
from voicepool.testing.voice_outbox import Outbox


def filled(first: int, count: int, capacity: int = 1_000) -> Outbox:
    outbox = Outbox(first, capacity)
    for _ in range(count):
        outbox.keep(str(outbox.take_number()))
    return outbox


@given(st.integers(0, 65_535), st.integers(1, 50), st.data())
def test_every_number_sent_is_followed_by_exactly_the_later_ones(
    first: int, count: int, data: st.DataObject
) -> None:
    outbox = filled(first, count)
    index = data.draw(st.integers(0, count - 1))
    numbers = [(first + i) % 65_536 for i in range(count)]
    assert outbox.was_sent(numbers[index])
    assert outbox.missed_after(numbers[index]) == [str(number) for number in numbers[index + 1 :]]
    assert outbox.missed_after(-1) == [str(number) for number in numbers]
    assert not outbox.was_sent((first + count) % 65_536)
    assert not outbox.was_sent((first - 1) % 65_536)


def test_a_bounded_outbox_refuses_what_it_has_forgotten() -> None:
    outbox = filled(1, 5, capacity=2)
    assert outbox.missed_after(3) == ["4", "5"]
    with pytest.raises(Refusal, match="the last 3 messages, of which 2 are kept") as caught:
        outbox.missed_after(2)
    assert caught.value.code is CloseCode.SESSION_INVALID
    with pytest.raises(Refusal, match="never sent"):
        outbox.missed_after(6)


def test_without_messages_nothing_was_missed() -> None:
    assert Outbox(1, 0).missed_after(-1) == []
    assert not Outbox(1, 0).was_sent(0)
