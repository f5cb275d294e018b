from __future__ import annotations

import os

import pytest

from voicepool.testing.voice_crypto import ALL_MODES, OpenError, transport_mode
from voicepool.testing.voice_downlink import Downlink
from voicepool.testing.voice_rtp import RTP_HEADER


@pytest.mark.parametrize("name", ALL_MODES)
def test_what_is_sealed_opens_with_the_same_key(name: str) -> None:
    mode = transport_mode(name)
    assert mode is not None
    key = os.urandom(32)
    downlink, opener = Downlink(mode, key), mode.make_opener(key)
    datagrams = []
    for sequence in range(3):
        header = RTP_HEADER.pack(0x80, 0x78, sequence, 960 * sequence, 7)
        datagrams.append(downlink.seal(header, b"opus"))
        assert datagrams[-1].startswith(header)
        assert len(datagrams[-1]) == len(header) + 4 + mode.overhead_bytes
        assert opener(datagrams[-1]) == b"opus"
    assert len({datagram[mode.nonce] for datagram in datagrams}) == 3
    with pytest.raises(OpenError):
        mode.make_opener(os.urandom(32))(datagrams[0])


def test_nonces_keep_away_from_those_of_the_client() -> None:
    mode = transport_mode("aead_aes256_gcm_rtpsize")
    assert mode is not None
    sealed = Downlink(mode, bytes(32)).seal(RTP_HEADER.pack(0x80, 0x78, 0, 0, 7), b"")
    assert int.from_bytes(sealed[mode.nonce]) == 2**31
