"""Messages have their effect once, and not before the session is described."""

from __future__ import annotations

from collections import Counter

from voicepool.workers.dave.inbox import EARLY_MAX, Inbox
from voicepool.workers.gateway.events import DaveMessage


def message(number: int, *, opcode: int = 27, seq: int | None = None) -> DaveMessage:
    return DaveMessage(opcode=opcode, payload=b"payload %d" % number, seq=seq, binary=True)


def test_what_is_early_is_kept_in_order_up_to_a_bound() -> None:
    dropped: Counter[str] = Counter()
    inbox = Inbox(dropped)
    messages = [message(number) for number in range(EARLY_MAX + 3)]
    assert [inbox.takes(each) for each in messages] == [False] * len(messages)
    assert dropped == {"too_early": 3}
    inbox.open()
    assert list(inbox.take_early()) == messages[:EARLY_MAX]
    assert not inbox.take_early()
    assert inbox.takes(message(99))


def test_the_external_sender_is_never_too_early() -> None:
    inbox = Inbox(Counter())
    assert inbox.takes(message(1, opcode=25))
    inbox.open()
    assert not inbox.take_early()


def test_a_repetition_is_the_same_message_under_the_same_number() -> None:
    dropped: Counter[str] = Counter()
    inbox = Inbox(dropped)
    inbox.open()
    assert inbox.takes(message(1, seq=5))
    assert not inbox.takes(message(1, seq=5))
    assert inbox.takes(message(2, seq=5)), "numbers wrap"
    assert inbox.takes(message(1, seq=5, opcode=29))
    assert inbox.takes(message(1, seq=6))
    assert inbox.takes(message(1))
    assert inbox.takes(message(1)), "without a number nothing is known of it"
    assert dropped == {"repeated": 1}


def test_what_was_seen_long_ago_is_forgotten() -> None:
    inbox = Inbox(Counter())
    inbox.open()
    for number in range(1_000):
        assert inbox.takes(message(number, seq=number))
    assert inbox.takes(message(0, seq=0))
