"""What a voice server sends in vain is counted within bounds, and told once."""

from __future__ import annotations

from voicepool.workers.gateway.opcodes import VoiceOpcode
from voicepool.workers.gateway.skipped import OTHER_OPCODES, UNKNOWN_OPCODES_KEPT, SkippedMessages


def test_each_kind_is_told_once_and_counted_always() -> None:
    skipped = SkippedMessages()
    told = [
        count
        for _ in range(3)
        for count in (
            skipped.count_malformed("a malformed READY"),
            skipped.count_unknown(99),
            skipped.count_unexpected(VoiceOpcode.RESUMED),
        )
    ]
    assert told == ["a malformed READY", "unknown opcode 99", "an unexpected RESUMED"] + [None] * 6
    assert (skipped.malformed, skipped.unknown_opcodes, skipped.unexpected) == (
        3,
        {99: 3},
        {VoiceOpcode.RESUMED: 3},
    )
    assert skipped.total == 9


def test_many_opcodes_are_counted_together() -> None:
    skipped = SkippedMessages()
    told = [skipped.count_unknown(1_000 + op) for op in range(10 * UNKNOWN_OPCODES_KEPT)]
    assert [kind for kind in told if kind is not None][-1] == "other unknown opcodes"
    assert len(skipped.unknown_opcodes) == UNKNOWN_OPCODES_KEPT + 1
    assert skipped.unknown_opcodes[OTHER_OPCODES] == 9 * UNKNOWN_OPCODES_KEPT


def test_an_opcode_with_thousands_of_digits_is_not_written_out() -> None:
    assert SkippedMessages().count_unknown(10**10_000) == "other unknown opcodes"
