from __future__ import annotations

import itertools
import struct

import nacl.secret
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as RawCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt

from voicepool.workers.transport.aead import NonceExhaustedError, make_opener, make_sealer
from voicepool.workers.transport.modes import MODES, NonceKind, TransportMode
from voicepool.workers.transport.rtp import PacketRejectedError, RejectReason, build_header

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
ALL = tuple(TransportMode)
COUNTED = [mode for mode in ALL if MODES[mode].nonce is NonceKind.COUNTER]
each_mode = pytest.mark.parametrize("mode", ALL)


def header(sequence: int = 1, timestamp: int = 960) -> bytes:
    return build_header(sequence=sequence, timestamp=timestamp, ssrc=42)


def rejected(mode: TransportMode, packet: bytes) -> RejectReason:
    with pytest.raises(PacketRejectedError) as caught:
        make_opener(mode, KEY).open(packet)
    return caught.value.reason


def raw_gcm(packet: bytes, clear: int) -> bytes:
    """Decrypt with the primitives below the AEAD interface, by the layout in the documentation."""
    nonce, body = packet[-4:] + bytes(8), packet[clear:-4]
    decryptor = RawCipher(algorithms.AES(KEY), modes.GCM(nonce, body[-16:])).decryptor()
    decryptor.authenticate_additional_data(packet[:clear])
    return decryptor.update(body[:-16]) + decryptor.finalize()


# The layout of each mode, read by independent calls of the libraries.


@pytest.mark.parametrize("mode", [TransportMode.AES256_GCM_RTPSIZE, TransportMode.AES256_GCM])
def test_gcm_packet_is_header_ciphertext_tag_counter(mode: TransportMode) -> None:
    packet = make_sealer(mode, KEY, first_counter=0x01020304).seal(header(), b"opus")
    assert packet[:12] == header()
    assert packet[-4:] == bytes([1, 2, 3, 4])
    assert len(packet) == 12 + 4 + 16 + 4
    assert raw_gcm(packet, 12) == b"opus"


def test_xchacha_packet() -> None:
    sealer = make_sealer(TransportMode.XCHACHA20_POLY1305_RTPSIZE, KEY, first_counter=9)
    packet = sealer.seal(header(), b"opus")
    nonce = packet[-4:] + bytes(20)
    assert packet[-4:] == bytes([0, 0, 0, 9])
    assert crypto_aead_xchacha20poly1305_ietf_decrypt(packet[12:-4], packet[:12], nonce, KEY) == b"opus"


@pytest.mark.parametrize(
    "mode", [TransportMode.XSALSA20_POLY1305_LITE, TransportMode.XSALSA20_POLY1305_LITE_RTPSIZE]
)
def test_lite_packet(mode: TransportMode) -> None:
    packet = make_sealer(mode, KEY, first_counter=9).seal(header(), b"opus")
    assert nacl.secret.SecretBox(KEY).decrypt(packet[12:-4], packet[-4:] + bytes(20)) == b"opus"


def test_suffix_packet() -> None:
    packet = make_sealer(TransportMode.XSALSA20_POLY1305_SUFFIX, KEY).seal(header(), b"opus")
    assert nacl.secret.SecretBox(KEY).decrypt(packet[12:-24], packet[-24:]) == b"opus"


def test_plain_packet() -> None:
    packet = make_sealer(TransportMode.XSALSA20_POLY1305, KEY).seal(header(), b"opus")
    assert nacl.secret.SecretBox(KEY).decrypt(packet[12:], header() + bytes(12)) == b"opus"


def test_extension_preamble_is_clear_and_authenticated_with_rtpsize() -> None:
    clear = build_header(
        sequence=1, timestamp=2, ssrc=3, csrcs=[4], extension_profile=0xBEDE, extension_bytes=8
    )
    packet = make_sealer(TransportMode.AES256_GCM_RTPSIZE, KEY).seal(clear, b"extended" + b"opus")
    assert packet[:20] == clear
    assert raw_gcm(packet, 20) == b"extendedopus"


def test_everything_after_twelve_bytes_is_encrypted_without_rtpsize() -> None:
    clear = build_header(sequence=1, timestamp=2, ssrc=3, extension_profile=0xBEDE, extension_bytes=8)
    packet = make_sealer(TransportMode.AES256_GCM, KEY).seal(clear, b"extended" + b"opus")
    assert raw_gcm(packet, 12) == clear[12:] + b"extendedopus"


# Both directions.


@each_mode
@given(
    payload=st.binary(max_size=300),
    csrcs=st.lists(st.integers(0, 2**32 - 1), max_size=15),
    words=st.none() | st.integers(0, 10),
    padding=st.integers(0, 40),
)
def test_open_undoes_seal(
    mode: TransportMode, payload: bytes, csrcs: list[int], words: int | None, padding: int
) -> None:
    clear = build_header(
        sequence=7,
        timestamp=8,
        ssrc=9,
        csrcs=csrcs,
        padding=padding > 0,
        extension_profile=None if words is None else 0xBEDE,
        extension_bytes=4 * (words or 0),
    )
    extension = b"\xab" * (4 * (words or 0))
    pad = bytes(padding - 1) + bytes([padding]) if padding else b""
    packet = make_sealer(mode, KEY).seal(clear, extension + payload + pad)
    assert len(packet) == len(clear + extension + payload + pad) + MODES[mode].overhead_bytes
    read, opened = make_opener(mode, KEY).open(packet)
    assert opened == payload
    assert (read.sequence, read.timestamp, read.ssrc, read.extension) == (7, 8, 9, extension)


@each_mode
def test_a_change_of_any_byte_is_noticed(mode: TransportMode) -> None:
    packet = make_sealer(mode, KEY).seal(header(), b"opus frame")
    opener = make_opener(mode, KEY)
    assert opener.open(packet)[1] == b"opus frame"
    # secretbox has no additional data: unless the header is the nonce, a change of it passes.
    covered = MODES[mode].cipher.authenticates_header or MODES[mode].nonce is NonceKind.HEADER
    for position in range(0 if covered else 12, len(packet)):
        changed = bytearray(packet)
        changed[position] ^= 0x01
        with pytest.raises(PacketRejectedError):
            opener.open(bytes(changed))


@each_mode
def test_another_key_does_not_open(mode: TransportMode) -> None:
    packet = make_sealer(mode, OTHER_KEY).seal(header(), b"opus")
    assert rejected(mode, packet) is RejectReason.AUTHENTICATION


@each_mode
def test_every_truncation_is_rejected(mode: TransportMode) -> None:
    packet = make_sealer(mode, KEY).seal(header(), b"opus frame")
    for length in range(len(packet)):
        with pytest.raises(PacketRejectedError):
            make_opener(mode, KEY).open(packet[:length])


@each_mode
@given(noise=st.binary(max_size=120))
def test_noise_raises_the_one_error(mode: TransportMode, noise: bytes) -> None:
    opener = make_opener(mode, KEY)
    for packet in (noise, b"\x80\x78" + noise, b"\x90\x78" + noise, b"\xbf\xf8" + noise):
        with pytest.raises(PacketRejectedError):
            opener.open(packet)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        bytes(8),  # a keepalive
        struct.pack(">HHI66x", 2, 70, 42),  # a late answer to a discovery
        b"\x81\xc9\x00\x07" + bytes(28),  # a receiver report
        b"\x80\x65" + bytes(40),  # video
        b"\xff" * 2_000,
    ],
)
@each_mode
def test_what_else_comes_to_a_voice_socket_is_rejected(mode: TransportMode, datagram: bytes) -> None:
    assert rejected(mode, datagram) is not RejectReason.AUTHENTICATION


@pytest.mark.parametrize("mode", COUNTED)
def test_a_sealed_packet_with_a_lying_extension_is_rejected(mode: TransportMode) -> None:
    clear = build_header(sequence=1, timestamp=2, ssrc=3, extension_profile=1, extension_bytes=400)
    packet = make_sealer(mode, KEY).seal(clear, b"far too short")
    assert rejected(mode, packet) is RejectReason.TRUNCATED


# Nonces.


@pytest.mark.parametrize("mode", COUNTED)
def test_counter_goes_up_by_one_and_never_repeats(mode: TransportMode) -> None:
    sealer = make_sealer(mode, KEY)
    nonces = [int.from_bytes(sealer.seal(header(), b"x")[-4:]) for _ in range(1_000)]
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(nonces))


@pytest.mark.parametrize("mode", COUNTED)
def test_calls_count_apart(mode: TransportMode) -> None:
    one, other = (make_sealer(mode, key, first_counter=7) for key in (KEY, OTHER_KEY))
    counters = [sealer.seal(header(), b"x")[-4:] for sealer in (one, other, one, other)]
    assert [int.from_bytes(counter) for counter in counters] == [7, 7, 8, 8]


def test_suffix_nonces_never_repeat() -> None:
    sealer = make_sealer(TransportMode.XSALSA20_POLY1305_SUFFIX, KEY)
    assert len({sealer.seal(header(), b"x")[-24:] for _ in range(1_000)}) == 1_000


def test_counters_start_at_random_below_half() -> None:
    starts = {
        int.from_bytes(make_sealer(TransportMode.AES256_GCM_RTPSIZE, KEY).seal(header(), b"")[-4:])
        for _ in range(50)
    }
    assert len(starts) == 50
    assert max(starts) < 2**31


@pytest.mark.parametrize("mode", [mode for mode in ALL if MODES[mode].nonce is not NonceKind.HEADER])
def test_the_last_nonce_is_used_and_then_never_another(mode: TransportMode) -> None:
    sealer = make_sealer(mode, KEY, first_counter=2**32 - 2)
    last = [sealer.seal(header(), b"x") for _ in range(2)]
    assert [packet[-4:] for packet in last] == [b"\xff\xff\xff\xfe", b"\xff\xff\xff\xff"]
    for _ in range(3):
        with pytest.raises(NonceExhaustedError, match="identify anew"):
            sealer.seal(header(), b"x")


def test_plain_mode_refuses_a_timestamp_that_does_not_go_forward() -> None:
    sealer = make_sealer(TransportMode.XSALSA20_POLY1305, KEY)
    sealer.seal(header(1, 5_000), b"x")
    for timestamp in (5_000, 4_040, 5_000 - 2**31 + 2**32):
        with pytest.raises(NonceExhaustedError):
            sealer.seal(header(2, timestamp), b"x")
    sealer.seal(header(2, 5_960), b"x")


def test_plain_mode_lasts_one_turn_of_the_timestamp() -> None:
    sealer = make_sealer(TransportMode.XSALSA20_POLY1305, KEY)
    start = 0xF000_0000
    for quarter in range(4):
        sealer.seal(header(quarter, (start + quarter * 2**30) % 2**32), b"x")
    sealer.seal(header(4, start - 1), b"x")
    with pytest.raises(NonceExhaustedError):
        sealer.seal(header(5, start), b"x")


# Keys, secrets.


@each_mode
def test_keys_are_of_32_bytes_and_never_shown(mode: TransportMode) -> None:
    for make in (make_sealer, make_opener):
        with pytest.raises(ValueError, match="32 bytes, not 31") as caught:
            make(mode, b"k" * 31)
        assert "kk" not in str(caught.value)
        shown = repr(make(mode, b"k" * 32))
        assert "kk" not in shown
        assert str(mode) in shown
