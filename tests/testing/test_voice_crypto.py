from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.voice_client import seal
from voicepool.testing.voice_crypto import (
    ALL_MODES,
    CounterLedger,
    OpenError,
    RecentLedger,
    new_ledger,
    transport_mode,
)

KEY = bytes(range(32))
HEADER = struct.pack(">BBHII", 0x80, 0x78, 1, 2, 3)


def test_table_has_every_documented_mode_once_preferred_first() -> None:
    assert len(set(ALL_MODES)) == len(ALL_MODES) == 7
    assert ALL_MODES[:2] == ("aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize")
    assert transport_mode("rot13") is None


@pytest.mark.parametrize("name", ALL_MODES)
def test_opens_what_was_sealed_and_nothing_else(name: str) -> None:
    mode = transport_mode(name)
    assert mode is not None
    opener = mode.make_opener(KEY)
    packet = seal(name, KEY, HEADER, b"opus frame", 5)
    assert opener(packet) == b"opus frame"
    assert len(packet) == 12 + len(b"opus frame") + mode.overhead_bytes
    if mode.counted:
        assert int.from_bytes(packet[mode.nonce]) == 5
    with pytest.raises(OpenError):
        opener(packet[:14] + bytes([packet[14] ^ 1]) + packet[15:])
    with pytest.raises(OpenError):
        mode.make_opener(bytes(32))(packet)
    with pytest.raises(OpenError):
        opener(packet[:13])


@pytest.mark.parametrize("name", [name for name in ALL_MODES if name.endswith("_rtpsize")])
def test_rtpsize_leaves_csrcs_and_extension_header_clear(name: str) -> None:
    header = b"\x91" + HEADER[1:] + b"CSRC" + b"\xbe\xde\x00\x01"
    mode = transport_mode(name)
    assert mode is not None
    assert mode.make_opener(KEY)(seal(name, KEY, header, b"EXTNopus", 1)) == b"EXTNopus"


def test_header_is_authenticated_by_aead_modes() -> None:
    for name in ("aead_aes256_gcm_rtpsize", "aead_xchacha20_poly1305_rtpsize", "aead_aes256_gcm"):
        mode = transport_mode(name)
        assert mode is not None
        packet = seal(name, KEY, HEADER, b"opus", 1)
        with pytest.raises(OpenError):
            mode.make_opener(KEY)(packet[:3] + b"\x09" + packet[4:])


def test_counting_up_needs_one_run_and_no_more() -> None:
    ledger = CounterLedger()
    assert all(ledger.use(nonce) for nonce in range(100_000))
    assert not ledger._starts
    assert not ledger.use(0)
    assert not ledger.use(99_999)
    assert ledger.use(100_000)


@given(st.lists(st.integers(0, 40), max_size=80))
def test_counter_ledger_agrees_with_a_set(nonces: list[int]) -> None:
    ledger, seen = CounterLedger(), set[int]()
    for nonce in nonces:
        assert ledger.use(nonce) is (nonce not in seen)
        seen.add(nonce)


def test_counter_ledger_survives_loss_and_reordering() -> None:
    ledger = CounterLedger()
    order = list(range(0, 1_000, 2)) + list(range(1, 1_000, 2))
    random.Random(1).shuffle(order)
    assert all(ledger.use(nonce) for nonce in order)
    assert not any(ledger.use(nonce) for nonce in order)
    assert ledger.exact


def test_counter_ledger_is_bounded_and_says_when_it_forgets() -> None:
    ledger = CounterLedger(max_runs=10)
    assert all(ledger.use(nonce * 10) for nonce in range(50))
    assert len(ledger._starts) == len(ledger._ends) == 10
    assert not ledger.exact
    assert not ledger.use(480)


def test_recent_ledger_is_bounded_and_says_when_it_forgets() -> None:
    ledger = RecentLedger(limit=3)
    assert all(ledger.use(nonce) for nonce in (9, 2, 7))
    assert ledger.exact
    assert not ledger.use(9)
    assert ledger.use(1)
    assert not ledger.exact
    assert ledger.use(9)


def test_each_mode_gets_the_ledger_that_suits_its_nonces() -> None:
    for name in ALL_MODES:
        mode = transport_mode(name)
        assert mode is not None
        assert isinstance(new_ledger(mode), CounterLedger if mode.counted else RecentLedger)
