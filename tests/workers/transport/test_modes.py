"""The modes of transport encryption, and which one is chosen."""

from __future__ import annotations

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.transport.aead import make_sealer
from voicepool.workers.transport.modes import KEY_BYTES, MODES, TransportMode, choose_mode
from voicepool.workers.transport.rtp import build_header

ALL = tuple(TransportMode)


def test_the_first_allowed_mode_that_is_offered_is_chosen() -> None:
    offered = ["xsalsa20_poly1305", "aead_xchacha20_poly1305_rtpsize", "aead_aes256_gcm_rtpsize", "new_mode"]
    assert choose_mode(offered, ALL) is TransportMode.AES256_GCM_RTPSIZE
    assert choose_mode(offered, ALL[1:]) is TransportMode.XCHACHA20_POLY1305_RTPSIZE
    assert choose_mode(iter(offered), [TransportMode.XSALSA20_POLY1305]) is TransportMode.XSALSA20_POLY1305


def test_no_common_mode_names_both_sides() -> None:
    with pytest.raises(CallError) as caught:
        choose_mode(["new_mode", "x" * 500], ALL[:2])
    assert caught.value.code is ErrorCode.NO_COMMON_MODE
    assert "new_mode" in caught.value.text
    assert "aead_aes256_gcm_rtpsize" in caught.value.text
    assert len(caught.value.text) < 400
    with pytest.raises(CallError, match="nothing"):
        choose_mode([], [])


def test_modes_are_the_documented_seven_and_the_two_current_ones_lead() -> None:
    assert {str(mode) for mode in MODES} == {
        "aead_aes256_gcm_rtpsize",
        "aead_xchacha20_poly1305_rtpsize",
        "xsalsa20_poly1305_lite_rtpsize",
        "aead_aes256_gcm",
        "xsalsa20_poly1305_lite",
        "xsalsa20_poly1305_suffix",
        "xsalsa20_poly1305",
    }
    assert [mode for mode in ALL if not MODES[mode].deprecated] == list(ALL[:2])


@pytest.mark.parametrize("mode", ALL)
def test_a_sealed_packet_is_longer_by_the_overhead(mode: TransportMode) -> None:
    header = build_header(sequence=1, timestamp=960, ssrc=42)
    packet = make_sealer(mode, bytes(KEY_BYTES)).seal(header, b"opus")
    assert len(packet) == len(header) + len(b"opus") + MODES[mode].overhead_bytes
