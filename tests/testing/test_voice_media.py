from __future__ import annotations

import struct

import pytest

from tests.testing.voice_client import SILENCE, seal
from voicepool.testing.voice_crypto import ALL_MODES, transport_mode
from voicepool.testing.voice_media import NEVER, ReceivedStream

KEY = bytes(range(32))
GCM = "aead_aes256_gcm_rtpsize"
MUSIC = b"\xfc" + bytes(60)
FRAME_NS = 20_000_000
MS = 1_000_000


class Sender:
    """Makes packets and hands them over with a clock of its own; nothing waits."""

    def __init__(
        self, mode: str = GCM, *, inspect: bool = True, announce: bool = True, **options: int
    ) -> None:
        self.complaints: list[str] = []
        self.stream = ReceivedStream(77, self.complaints.append, inspect_payload=inspect, **options)
        self.mode = mode
        self.now_ns = 10**12
        self.sequence, self.timestamp, self.counter = 0xFFFD, 0xFFFF_FF00, 0
        found = transport_mode(mode)
        assert found is not None
        self.stream.set_key(found, KEY)
        if announce:
            self.stream.set_speaking(1)

    def packet(self, opus: bytes = MUSIC, *, first: int = 0x80, kind: int = 0x78, ssrc: int = 77) -> bytes:
        header = struct.pack(">BBHII", first, kind, self.sequence, self.timestamp, ssrc)
        return seal(self.mode, KEY, header, opus, self.counter)

    def step(self, samples: int = 960, packets: int = 1) -> None:
        self.sequence = (self.sequence + packets) & 0xFFFF
        self.timestamp = (self.timestamp + samples * packets) & 0xFFFF_FFFF
        self.counter += 1
        self.now_ns += FRAME_NS * packets

    def deliver(self, packet: bytes) -> bool:
        return self.stream.receive(packet, self.now_ns)

    def send(self, opus: bytes = MUSIC, count: int = 1) -> None:
        for _ in range(count):
            assert not self.deliver(self.packet(opus))
            self.step()


@pytest.mark.parametrize("inspect", [True, False])
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_perfect_stream_is_without_fault_over_all_wraps(mode: str, *, inspect: bool) -> None:
    sender = Sender(mode, inspect=inspect)
    sender.send(count=20)
    sender.send(SILENCE, 5)
    stream = sender.stream
    assert not sender.complaints
    assert (stream.packets, stream.frames, stream.silence_frames, stream.spurts) == (25, 20, 5, 1)
    assert stream.audio_s == pytest.approx(0.5)
    assert stream.sequence_gaps == stream.timestamp_jumps == stream.duplicates == stream.reordered == 0
    assert stream.nonce_reuses == stream.abrupt_pauses == stream.unpaced_silence == 0
    assert stream.lateness.figures().max_ms == 0.0
    assert len(stream.kept) == (25 if inspect else 0)
    assert [kept for kept, _ in stream.kept] == [0xFFFF_FF00 + 960 * i for i in range(len(stream.kept))]


def test_loss_reordering_and_duplicates_are_told_apart() -> None:
    sender = Sender()
    sender.send(count=3)
    late = sender.packet()
    sender.step()
    lost_after = 2
    sender.step(packets=lost_after)
    sender.send()
    assert (sender.stream.sequence_gaps, sender.stream.reordered) == (3, 0)
    sender.deliver(late)
    assert (sender.stream.sequence_gaps, sender.stream.reordered, sender.stream.duplicates) == (2, 1, 0)
    sender.deliver(late)
    assert (sender.stream.sequence_gaps, sender.stream.reordered, sender.stream.duplicates) == (2, 1, 1)
    assert sender.stream.timestamp_jumps == 0
    assert len(sender.stream.kept) == 5


def test_an_immediate_copy_of_a_packet_is_a_duplicate_not_a_reused_nonce() -> None:
    sender = Sender()
    packet = sender.packet()
    sender.deliver(packet)
    sender.deliver(packet)
    assert (sender.stream.duplicates, sender.stream.nonce_reuses) == (1, 0)


@pytest.mark.parametrize("inspect", [True, False])
@pytest.mark.parametrize("mode", [mode for mode in ALL_MODES if mode != "xsalsa20_poly1305_suffix"])
def test_a_reused_nonce_is_found(mode: str, *, inspect: bool) -> None:
    sender = Sender(mode, inspect=inspect)
    sender.send(count=3)
    if mode == "xsalsa20_poly1305":
        # Here the header is the nonce: repeat it with other contents.
        sender.sequence = (sender.sequence - 2) & 0xFFFF
        sender.timestamp -= 2 * 960
        sender.deliver(sender.packet(MUSIC + b"x"))
    else:
        sender.counter = 1
        sender.deliver(sender.packet())
    assert sender.stream.nonce_reuses == 1
    assert "nonce was used twice" in sender.complaints[0]


def test_a_new_key_starts_the_nonces_afresh() -> None:
    sender = Sender()
    sender.send(count=3)
    found = transport_mode(GCM)
    assert found is not None
    sender.stream.set_key(found, KEY)
    sender.counter = 0
    sender.send(count=3)
    assert sender.stream.nonce_reuses == 0
    assert not sender.complaints


def test_timestamps_may_leap_only_after_five_silence_frames() -> None:
    sender = Sender()
    sender.send(count=3)
    sender.timestamp += 960
    sender.send()
    assert sender.stream.timestamp_jumps == 1
    assert "moved by 1920" in sender.complaints[0]
    sender.send(SILENCE, 5)
    sender.now_ns += 50 * FRAME_NS
    sender.timestamp += 50 * 960
    sender.send()
    assert sender.stream.timestamp_jumps == 1
    sender.send(SILENCE, 5)
    sender.timestamp += 100
    sender.send()
    sender.timestamp -= 4_000
    sender.send()
    assert sender.stream.timestamp_jumps == 3
    assert len(sender.complaints) == 1


def test_timestamps_follow_the_duration_in_the_opus_packet() -> None:
    sender = Sender()
    forty_ms = b"\xf9" + bytes(60)
    for _ in range(3):
        sender.deliver(sender.packet(forty_ms))
        sender.step(samples=1_920)
    assert sender.stream.timestamp_jumps == 0
    assert sender.stream.audio_s == pytest.approx(0.12)


def test_a_pause_starts_a_new_spurt_with_its_own_clock() -> None:
    sender = Sender()
    sender.send(count=5)
    sender.send(SILENCE, 5)
    sender.now_ns += 7 * MS + 100 * FRAME_NS
    sender.send(count=5)
    assert sender.stream.spurts == 2
    assert sender.stream.abrupt_pauses == 0
    assert sender.stream.lateness.figures().max_ms == 0.0


def test_a_stall_shows_as_lateness_and_a_pause_without_silence_as_abrupt() -> None:
    sender = Sender()
    sender.send(count=50)
    sender.now_ns += 40 * MS
    sender.send()
    sender.now_ns -= 40 * MS
    sender.send(count=5)
    assert sender.stream.lateness.figures().max_ms == pytest.approx(40.0)
    assert sender.stream.abrupt_pauses == 0
    sender.now_ns += 300 * MS
    sender.send()
    assert sender.stream.abrupt_pauses == 1


def test_silence_in_a_burst_is_counted() -> None:
    sender = Sender()
    sender.send(count=2)
    for _ in range(5):
        sender.deliver(sender.packet(SILENCE))
        sender.step()
        sender.now_ns -= FRAME_NS
    assert sender.stream.unpaced_silence == 4
    assert sender.stream.lateness.figures().max_ms == 0.0


def test_audio_without_any_op_5_is_fatal_after_the_grace() -> None:
    sender = Sender(announce=False, speaking_grace_ns=2 * FRAME_NS)
    sender.send(count=3)
    assert sender.stream.fatal is None
    assert sender.deliver(sender.packet())
    assert "without any Speaking" in str(sender.stream.fatal)


def test_op_5_within_the_grace_is_in_time() -> None:
    sender = Sender(announce=False, speaking_grace_ns=2 * FRAME_NS)
    sender.send(count=3)
    sender.stream.set_speaking(1)
    sender.send(count=20)
    assert sender.stream.fatal is None
    assert sender.stream.unannounced_frames == 0


def test_audio_under_flags_zero_is_a_violation_but_silence_is_not() -> None:
    sender = Sender(announce=False, speaking_grace_ns=2 * FRAME_NS)
    sender.stream.set_speaking(0)
    sender.send(SILENCE, 20)
    assert not sender.complaints
    sender.send(count=5)
    assert sender.stream.unannounced_frames == 2
    assert "flags 0" in sender.complaints[0]
    assert sender.stream.fatal is None


@pytest.mark.parametrize(
    ("change", "counter", "hint"),
    [
        ({"kind": 0x60}, "malformed_packets", "payload type 0x60"),
        ({"ssrc": 78}, "wrong_ssrc", "SSRC 78"),
        ({"opus": b"\xff"}, "malformed_packets", "valid Opus"),
        ({"opus": b"x\x09", "first": 0xA0}, "malformed_packets", "valid Opus"),
    ],
)
def test_bad_packets_are_counted_and_explained_once(
    change: dict[str, object], counter: str, hint: str
) -> None:
    sender = Sender()
    for _ in range(3):
        sender.deliver(sender.packet(**change))  # type: ignore[arg-type]
        sender.step()
    assert getattr(sender.stream, counter) == 3
    assert len(sender.complaints) == 1
    assert hint in sender.complaints[0]
    assert not sender.stream.kept


def test_other_datagrams() -> None:
    sender = Sender()
    sender.deliver(bytes(8))
    sender.deliver(b"\x80" + bytes(7))
    assert sender.stream.keepalives == 2
    sender.deliver(struct.pack(">BBHII", 0x80, 200, 0, 0, 77) + bytes(20))
    assert sender.stream.rtcp_packets == 1
    assert not sender.complaints
    for junk in (b"", b"x" * 20, b"\x40" + bytes(30)):
        sender.deliver(junk)
    assert sender.stream.malformed_packets == 3
    assert sender.stream.keepalives == 2


def test_audio_before_a_key_and_with_a_wrong_key() -> None:
    complaints: list[str] = []
    early = ReceivedStream(77, complaints.append)
    early.receive(Sender().packet(), 0)
    assert "before Session Description" in complaints[0]
    sender = Sender()
    packet = bytearray(sender.packet())
    packet[20] ^= 1
    sender.deliver(bytes(packet))
    assert sender.stream.decrypt_failures == 1
    assert "did not decrypt" in sender.complaints[0]
    sender.send()
    assert sender.stream.nonce_reuses == 0


def test_extension_and_padding_do_not_reach_the_decoder() -> None:
    sender = Sender()
    header = struct.pack(">BBHII", 0xB0, 0x78, sender.sequence, sender.timestamp, 77) + b"\xbe\xde\x00\x01"
    sender.deliver(seal(GCM, KEY, header, b"EXTN" + SILENCE + b"\0\x02", 0))
    assert sender.stream.kept[0][1] == SILENCE
    assert sender.stream.silence_frames == 1


def test_what_is_kept_is_bounded() -> None:
    sender = Sender(keep_frames=4)
    sender.send(count=10)
    assert len(sender.stream.kept) == 4
    assert sender.stream.total_kept == 10


def test_a_restarted_sequence_counts_but_is_not_remembered_number_by_number() -> None:
    sender = Sender()
    sender.send()
    sender.send()
    sender.sequence = (sender.sequence + 20_000) & 0xFFFF
    sender.send()
    assert sender.stream.sequence_gaps == 20_000
    assert not sender.stream._missing
    for _ in range(40):
        sender.step(packets=1_000)
        sender.send()
    assert len(sender.stream._missing) <= 4_096 + 1_000


def test_attention_is_asked_for_at_the_threshold_only() -> None:
    sender = Sender()
    assert sender.stream.wake_at is NEVER
    sender.stream.wake_at = 3
    sender.send(count=2)
    assert sender.deliver(sender.packet())


def test_in_an_encrypted_call_the_listener_has_the_last_word() -> None:
    sender = Sender()
    stream = sender.stream
    asked: list[tuple[int, bytes]] = []
    answers: dict[bytes, bytes | None] = {b"sealed": MUSIC, b"bad": None, b"unheard": b"", SILENCE: SILENCE}

    def listen(timestamp: int, frame: bytes) -> bytes | None:
        asked.append((timestamp, frame))
        return answers[frame]

    stream.listen = listen
    for frame in answers:
        sender.send(frame)
    assert asked == [((0xFFFF_FF00 + 960 * i) & 0xFFFF_FFFF, frame) for i, frame in enumerate(answers)]
    assert (stream.dave_failures, stream.frames, stream.silence_frames) == (1, 3, 1)
    assert [payload for _, payload in stream.kept] == [MUSIC, SILENCE]
    assert stream.sequence_gaps == stream.timestamp_jumps == stream.malformed_packets == 0
    assert not sender.complaints


def test_what_the_listener_decrypts_has_to_be_opus() -> None:
    sender = Sender()
    sender.stream.listen = lambda _timestamp, _frame: b"\xff\xff"
    sender.send(b"sealed")
    assert (sender.stream.malformed_packets, sender.stream.dave_failures) == (1, 0)


def test_pauses_between_frames_of_sound_are_timed_and_silence_is_none() -> None:
    sender = Sender()
    assert sender.stream.first_audio_ns == 0
    began_ns = sender.now_ns
    sender.send(count=3)
    sender.send(SILENCE, 5)
    assert sender.stream.longest_pause_ns == FRAME_NS
    sender.send()
    assert sender.stream.longest_pause_ns == 6 * FRAME_NS
    assert (sender.stream.first_audio_ns, sender.stream.last_audio_ns) == (began_ns, began_ns + 8 * FRAME_NS)


def test_packets_dropped_on_purpose_leave_a_gap_and_no_abrupt_pause() -> None:
    sender = Sender()
    sender.send()
    sender.stream.drops_left = 20
    sender.send(count=21)
    stream = sender.stream
    assert (stream.packets, stream.frames, stream.dropped_packets, stream.drops_left) == (22, 2, 20, 0)
    assert (stream.sequence_gaps, stream.abrupt_pauses) == (20, 0)


def test_plaintext_is_told_from_what_cannot_be_decrypted() -> None:
    sender = Sender()
    sender.stream.listen = lambda _timestamp, _frame: None
    sender.send(MUSIC)
    sender.send(bytes(40) + b"\x0c\xfa\xfa", 2)
    assert (sender.stream.dave_failures, sender.stream.dave_plaintext) == (3, 1)
