"""[pure] One client's incoming RTP stream: every check and every measurement, packet by packet.

`ReceivedStream.receive` is the hot path of the whole stand-in: a benchmark sends it thousands of packets a
second. It allocates little, logs nothing and calls out only when something is wrong or awaited.
"""

from __future__ import annotations

__all__ = ("NEVER", "ReceivedStream")

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.voice_crypto import NonceLedger, Opener, OpenError, TransportMode, new_ledger
from voicepool.testing.voice_lateness import LatenessRecorder
from voicepool.testing.voice_rtp import (
    FRAME_SAMPLES,
    KEEPALIVE_BYTES,
    PAYLOAD_TYPE,
    RTP_HEADER,
    RTP_HEADER_BYTES,
    SAMPLE_RATE_HZ,
    SILENCE_FRAME,
    opus_samples,
    signed_difference,
    strip_rtp_extras,
    unencrypted_header_bytes,
)

NEVER: Final = math.inf
"""Value of `ReceivedStream.wake_at` while nobody waits for packets."""

SILENCE_BEFORE_PAUSE: Final = 5
_FRAME_NS: Final = 20_000_000
_NEW_SPURT_NS: Final = 5 * _FRAME_NS
_PAUSE_NS: Final = 10 * _FRAME_NS
_HALF_FRAME_NS: Final = _FRAME_NS // 2
# Larger steps are a restarted counter, not loss; the numbers between are not worth remembering.
_MAX_REMEMBERED_GAP: Final = 1_024
_MAX_MISSING: Final = 4_096
_RTCP_TYPES: Final = range(200, 205)


class ReceivedStream:
    """Checks, counts and keeps what one client sends over UDP.

    All counters are public attributes with the names and meanings of `SessionReport`.

    Parameters
    ----------
    ssrc : int
        The only SSRC the client may use.
    complain : Callable[[str], None]
        Takes a sentence the first time a kind of fault is seen.
    inspect_payload : bool
        Decrypt and look at the Opus packets; otherwise headers, nonces and sizes only.
    keep_frames : int
        Opus packets to keep for decoding; the oldest go first.
    speaking_grace_ns : int
        How long audio may run ahead of the opcode 5 that announces it: they travel on different connections.
    """

    __slots__ = (
        "_complain",
        "_complained",
        "_grace_ns",
        "_inspect",
        "_last_arrival_ns",
        "_last_packet",
        "_last_samples",
        "_last_sequence",
        "_last_timestamp",
        "_ledger",
        "_missing",
        "_mode",
        "_opener",
        "_plain_bytes",
        "_silence_run",
        "_unannounced_since_ns",
        "abrupt_pauses",
        "announced",
        "bytes",
        "dave_failures",
        "dave_plaintext",
        "decrypt_failures",
        "dropped_packets",
        "drops_left",
        "duplicates",
        "fatal",
        "first_audio_ns",
        "frames",
        "keepalives",
        "kept",
        "last_audio_ns",
        "lateness",
        "listen",
        "longest_pause_ns",
        "malformed_packets",
        "nonce_reuses",
        "packets",
        "reordered",
        "rtcp_packets",
        "samples",
        "sequence_gaps",
        "silence_frames",
        "speaking",
        "spurts",
        "ssrc",
        "timestamp_jumps",
        "total_kept",
        "unannounced_frames",
        "unpaced_silence",
        "wake_at",
        "wrong_ssrc",
    )

    def __init__(
        self,
        ssrc: int,
        complain: Callable[[str], None],
        *,
        inspect_payload: bool = True,
        keep_frames: int = 30_000,
        speaking_grace_ns: int = 250_000_000,
    ) -> None:
        self.ssrc = ssrc
        self.speaking = 0
        self.announced = False
        self.fatal: str | None = None
        """Set when the server has to close the session; the sentence says why."""
        self.wake_at: float = NEVER
        """`receive` returns True from this number of packets on."""
        self.kept: deque[tuple[int, bytes]] = deque(maxlen=keep_frames)
        """Extended RTP timestamp (samples) and Opus packet, in order of arrival."""
        self.total_kept = 0
        self.listen: Callable[[int, bytes], bytes | None] | None = None
        """Takes RTP timestamp and frame of an end-to-end encrypted call; returns the Opus packet, None if it
        cannot be had, b"" if nobody is there to decrypt it."""
        self.lateness = LatenessRecorder()
        self._complain = complain
        self._complained: set[str] = set()
        self._inspect = inspect_payload
        self._grace_ns = speaking_grace_ns
        self._opener: Opener | None = None
        self._mode: TransportMode | None = None
        self._ledger: NonceLedger | None = None
        self._plain_bytes = 0
        self._missing: set[int] = set()
        self._silence_run = 0
        self._unannounced_since_ns = 0
        self._last_packet = b""
        self._last_arrival_ns = 0
        self.first_audio_ns = self.last_audio_ns = 0
        """Monotonic arrival of the first and the last packet with audio, silence left out; 0 before any."""
        self._last_samples = FRAME_SAMPLES
        self._last_sequence = -1
        self._last_timestamp = 0
        self.packets = self.bytes = self.samples = 0
        self.frames = self.silence_frames = self.spurts = 0
        self.sequence_gaps = self.duplicates = self.reordered = self.timestamp_jumps = 0
        self.dave_failures = self.dave_plaintext = 0
        self.longest_pause_ns = 0
        self.dropped_packets = 0
        self.drops_left = 0
        """Packets to lose on purpose, from the next one on."""
        self.nonce_reuses = self.decrypt_failures = self.malformed_packets = self.wrong_ssrc = 0
        self.abrupt_pauses = self.unpaced_silence = self.unannounced_frames = 0
        self.rtcp_packets = self.keepalives = 0

    @property
    def mode(self) -> str | None:
        """Wire name of the mode in use; None before Session Description."""
        return self._mode.name if self._mode else None

    @property
    def audio_s(self) -> float:
        """Duration of all frames, silence included, in seconds."""
        return self.samples / SAMPLE_RATE_HZ

    @property
    def nonce_memory_exact(self) -> bool:
        """False if an old reuse of a nonce may have passed unseen."""
        return self._ledger is None or self._ledger.exact

    def set_key(self, mode: TransportMode, key: bytes) -> None:
        """Decrypt with `key` from now on. Nonces are counted afresh, as a new key allows."""
        self._mode = mode
        self._opener = mode.make_opener(key)
        self._ledger = new_ledger(mode)
        self._plain_bytes = RTP_HEADER_BYTES + mode.overhead_bytes

    def set_speaking(self, flags: int) -> None:
        """Note an opcode 5."""
        self.announced = True
        self.speaking = flags
        self._unannounced_since_ns = 0

    def receive(self, packet: bytes, arrival_ns: int) -> bool:  # noqa: C901, PLR0911, PLR0912 -- flat for speed
        """Take one datagram from the client's address.

        Parameters
        ----------
        packet : bytes
            The datagram, IP discovery excepted.
        arrival_ns : int
            Monotonic time of arrival in nanoseconds.

        Returns
        -------
        bool
            True when the caller has to look: `fatal` was set, or `wake_at` reached.
        """
        size = len(packet)
        if size <= RTP_HEADER_BYTES or packet[0] & 0xC0 != 0x80:  # noqa: PLR2004 -- RTP version 2
            return self._receive_other(packet)
        self.packets += 1
        self.bytes += size
        if self.drops_left:
            return self._drop(arrival_ns)
        _, payload_type, sequence, timestamp, ssrc = RTP_HEADER.unpack_from(packet)
        if payload_type & 0x7F != PAYLOAD_TYPE:
            return self._unwanted_type(payload_type)
        if ssrc != self.ssrc:
            self.wrong_ssrc += 1
            self._once("ssrc", f"an RTP packet had SSRC {ssrc}; Ready gave this session {self.ssrc}")
            return self.packets >= self.wake_at
        mode, opener, ledger = self._mode, self._opener, self._ledger
        if mode is None or opener is None or ledger is None:
            self._once("early", "audio was sent before Session Description gave a key")
            return self.packets >= self.wake_at

        if self._inspect:
            try:
                payload = opener(packet)
            except OpenError:
                self.decrypt_failures += 1
                self._once("decrypt", f"a packet did not decrypt with {mode.name} and the session's key")
                return self.packets >= self.wake_at
            if packet[0] & 0x30:
                payload = strip_rtp_extras(packet, payload, rtpsize=mode.rtpsize) or b""
            sealed = False
            if self.listen is not None:
                opus = self.listen(timestamp, payload)
                if opus is None:
                    self.dave_failures += 1
                    self.dave_plaintext += not is_protocol_frame(payload)
                sealed = not opus
                payload = opus or b""
            silent = payload == SILENCE_FRAME
            samples = FRAME_SAMPLES if sealed else opus_samples(payload)
            if not samples:
                self.malformed_packets += 1
                self._once("opus", "a decrypted payload was not a valid Opus packet (RFC 6716 §3.2)")
                return self.packets >= self.wake_at
        else:
            payload = b""
            samples = FRAME_SAMPLES
            plain = self._plain_bytes
            if packet[0] != 0x80 and mode.rtpsize:  # noqa: PLR2004 -- neither CSRC nor extension nor padding
                plain += unencrypted_header_bytes(packet) - RTP_HEADER_BYTES
            silent = size == plain + len(SILENCE_FRAME)

        if not ledger.use(int.from_bytes(packet[mode.nonce])) and packet != self._last_packet:
            self.nonce_reuses += 1
            self._once("nonce", "a nonce was used twice under one key, which gives the plaintext away")
        self._place(packet, sequence, timestamp, arrival_ns, samples, silent, payload)
        if not self.speaking and self._unannounced(arrival_ns, silent=silent):
            return True
        return self.packets >= self.wake_at

    def _place(
        self,
        packet: bytes,
        sequence: int,
        wrapped_timestamp: int,
        arrival_ns: int,
        samples: int,
        silent: bool,  # noqa: FBT001 -- hot path, positional arguments are cheaper
        payload: bytes,
    ) -> None:
        """Find the packet's place in the stream, then count, time and keep it."""
        first = self._last_sequence < 0
        step = 1 if first else (sequence - self._last_sequence) & 0xFFFF
        last_timestamp = self._last_timestamp
        timestamp = (
            wrapped_timestamp
            if first
            else last_timestamp + signed_difference(wrapped_timestamp, last_timestamp, 32)
        )
        if step == 0 or step >= 0x8000:  # noqa: PLR2004 -- the older half of the sequence space
            if sequence not in self._missing:
                self.duplicates += 1
                return
            self._missing.discard(sequence)
            self.sequence_gaps -= 1
            self.reordered += 1
            self._keep(timestamp, payload, samples, silent)
            return

        if step > 1:
            self._note_gap(step)
        gap_ns = arrival_ns - self._last_arrival_ns
        rested = self._silence_run >= SILENCE_BEFORE_PAUSE
        if first:
            self.spurts += 1
            self.lateness.begin(arrival_ns, timestamp)
        else:
            if step == 1 and timestamp - last_timestamp != self._last_samples:
                self._judge_jump(timestamp - last_timestamp, rested=rested)
            if rested and (not silent or gap_ns >= _NEW_SPURT_NS):
                self.spurts += not silent
                self.lateness.begin(arrival_ns, timestamp)
            elif gap_ns >= _PAUSE_NS and not rested:
                self.abrupt_pauses += 1
        if silent and gap_ns < _HALF_FRAME_NS and self._silence_run:
            # Sent ahead of its time: as the earliest frame it would make the whole spurt look late.
            self.unpaced_silence += 1
        else:
            self.lateness.add(arrival_ns, timestamp)
        self._silence_run = self._silence_run + 1 if silent else 0
        self._last_sequence = sequence
        self._last_timestamp = timestamp
        self._last_samples = samples
        self._last_arrival_ns = arrival_ns
        self._last_packet = packet
        if not silent:
            self._time_audio(arrival_ns)
        self._keep(timestamp, payload, samples, silent)

    def _time_audio(self, arrival_ns: int) -> None:
        if self.last_audio_ns:
            self.longest_pause_ns = max(self.longest_pause_ns, arrival_ns - self.last_audio_ns)
        else:
            self.first_audio_ns = arrival_ns
        self.last_audio_ns = arrival_ns

    def _keep(self, timestamp: int, payload: bytes, samples: int, silent: bool) -> None:  # noqa: FBT001
        self.samples += samples
        if silent:
            self.silence_frames += 1
        else:
            self.frames += 1
        if payload:
            self.total_kept += 1
            self.kept.append((timestamp, payload))

    def _note_gap(self, step: int) -> None:
        self.sequence_gaps += step - 1
        if step <= _MAX_REMEMBERED_GAP:
            self._missing.update((self._last_sequence + i) & 0xFFFF for i in range(1, step))
            if len(self._missing) > _MAX_MISSING:
                # Those behind by half the sequence space can no longer be told from new ones anyway.
                self._missing = {
                    missing
                    for missing in self._missing
                    if (self._last_sequence + step - missing) & 0xFFFF < _MAX_REMEMBERED_GAP
                }

    def _judge_jump(self, difference: int, *, rested: bool) -> None:
        if rested and difference > 0 and difference % FRAME_SAMPLES == 0:
            return
        self.timestamp_jumps += 1
        self._once(
            "timestamp",
            f"an RTP timestamp moved by {difference} after a frame of {self._last_samples} samples; "
            "only after five silence frames may it leap, forward and by whole frames",
        )

    def _unannounced(self, arrival_ns: int, *, silent: bool) -> bool:
        """Judge a packet that came while opcode 5 said "not speaking", or before any."""
        if self.announced and silent:
            return False
        if not self._unannounced_since_ns:
            self._unannounced_since_ns = arrival_ns
            return False
        if arrival_ns - self._unannounced_since_ns <= self._grace_ns:
            return False
        self.unannounced_frames += not silent
        if self.announced:
            self._once(
                "mute", "audio was sent while the last Speaking (op 5) had flags 0: nobody would hear it"
            )
            return False
        if self.fatal is None:
            self.fatal = "audio was sent without any Speaking (op 5) before it: invalid SSRC"
        return True

    def _unwanted_type(self, payload_type: int) -> bool:
        if payload_type in _RTCP_TYPES:
            self.rtcp_packets += 1
        else:
            self.malformed_packets += 1
            self._once("type", f"an RTP packet had payload type {payload_type & 0x7F:#x}; Opus is 0x78")
        return self.packets >= self.wake_at

    def _drop(self, arrival_ns: int) -> bool:
        """Lose a packet because a test wants it; that it came shows that the client was not idle."""
        self.drops_left -= 1
        self.dropped_packets += 1
        self._last_arrival_ns = arrival_ns
        return self.packets >= self.wake_at

    def _receive_other(self, packet: bytes) -> bool:
        if len(packet) == KEEPALIVE_BYTES:
            self.keepalives += 1
            return self.wake_at is not NEVER
        self.malformed_packets += 1
        self._once("datagram", f"a datagram of {len(packet)} bytes was neither RTP version 2 nor a keepalive")
        return self.wake_at is not NEVER

    def _once(self, kind: str, sentence: str) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            self._complain(sentence)
