"""What a session measured, as plain values: for assertions, tables and JSON."""

from __future__ import annotations

__all__ = ("LatenessFigures", "SessionReport", "report_of")

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicepool.testing.voice_session_view import SessionView


@dataclass(frozen=True, slots=True)
class LatenessFigures:
    """How late frames came, in milliseconds, relative to the earliest frame of their spurt.

    A spurt is what lies between two pauses (a pause begins with five silence frames). A frame is due one
    frame duration after the one before, by RTP timestamps; the earliest one, relative to that, sets zero
    (packet delay variation with minimum reference, RFC 5481 §4.2). Percentiles are the nearest sample above.
    Silence frames sent in a burst do not count.
    """

    samples: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """Everything the server knows about one session at one moment; see `problems` for the verdict.

    Attributes
    ----------
    packets, bytes : int
        RTP packets received for the session, good or bad, and their UDP payload bytes.
    frames, silence_frames : int
        Packets with Opus audio, and those with the frame F8 FF FE. With ``inspect="headers"`` a packet
        of that size counts as silence.
    audio_s : float
        Duration of both together, in seconds.
    frames_kept, frames_forgotten : int
        Opus packets that `VoiceSession.pcm` can decode, and those dropped because the buffer was full.
    longest_pause_ms : float
        Longest time between two packets with audio, silence left out, in milliseconds.
    dropped_packets : int
        Packets that the server lost because a test had ordered it (`VoiceSession.drop_packets`). They are in
        `packets` and, when others followed, in `sequence_gaps`; `problems` does not hold them against the
        client.
    sequence_gaps : int
        Packets missing by sequence number; one that arrives late after all is taken off again.
    duplicates, reordered : int
        Packets whose sequence number came before; packets that came after a later one.
    spurts : int
        Stretches of audio, each ended by five or more silence frames.
    timestamp_jumps : int
        Consecutive sequence numbers whose timestamps differ by anything but the frame's duration; not
        counted: a jump forward by whole frames after five silence frames.
    nonce_reuses : int
        Packets sealed with a nonce used before under the same key.
    nonce_memory_exact : bool
        False if so many scattered nonces were used that an old reuse may have passed unseen.
    decrypt_failures, malformed_packets, wrong_ssrc : int
        Packets not authentic; not RTP or not Opus; with someone else's SSRC.
    dave_protocol_version, dave_epoch : int
        Of the session's call: version it is at or on its way to, and epoch of the group; 0 for none.
    dave_failures : int
        Frames that the call's listener could not decrypt end to end, or that came in the clear where they
        may not.
    dave_plaintext : int
        Those of the failures that came in the clear: frames that nobody but the members should have read.
    dave_transitions : int
        Transitions that the session was told to carry out (opcode 22).
    unannounced_frames : int
        Audio frames that came while the last opcode 5 said "not speaking", or before any, and longer than
        the server's grace time.
    abrupt_pauses : int
        Pauses of 200 ms or more not led in by five silence frames.
    unpaced_silence : int
        Silence frames sent less than half a frame duration after the packet before.
    keepalives, discovery_requests, heartbeats, resumes : int
        How often each came.
    speaking_updates : tuple[int, ...]
        Flags of the opcode 5 messages, oldest first (the last 1,000).
    close_code_sent, close_code_received : int | None
        Of the last websocket: the code in the server's and in the client's close frame. Both are None
        while open; 1006 in `close_code_received` means that the connection broke without one.
    violations : tuple[str, ...]
        Broken rules, in sentences; each kind once for packets. At most 100, the rest is counted.
    """

    guild_id: int
    channel_id: int
    user_id: int
    ssrc: int
    mode: str | None
    max_dave_protocol_version: int
    dave_protocol_version: int
    dave_epoch: int
    dave_failures: int
    dave_plaintext: int
    dave_transitions: int
    state: str
    packets: int
    bytes: int
    frames: int
    silence_frames: int
    audio_s: float
    frames_kept: int
    frames_forgotten: int
    longest_pause_ms: float
    dropped_packets: int
    sequence_gaps: int
    duplicates: int
    reordered: int
    spurts: int
    timestamp_jumps: int
    nonce_reuses: int
    nonce_memory_exact: bool
    decrypt_failures: int
    malformed_packets: int
    wrong_ssrc: int
    rtcp_packets: int
    unannounced_frames: int
    abrupt_pauses: int
    unpaced_silence: int
    keepalives: int
    discovery_requests: int
    heartbeats: int
    resumes: int
    speaking_updates: tuple[int, ...]
    close_code_sent: int | None
    close_code_received: int | None
    violations: tuple[str, ...]
    violations_left_out: int
    lateness: LatenessFigures

    def to_dict(self) -> dict[str, object]:
        """Return the report as built-in types only, ready for ``json.dumps``."""
        return asdict(self)

    @property
    def problems(self) -> tuple[str, ...]:
        """What a listener would hear or Discord would object to, in sentences; empty when all was well."""
        counted = (
            (max(0, self.sequence_gaps - self.dropped_packets), "packets missing by sequence number"),
            (self.duplicates, "duplicate packets"),
            (self.reordered, "packets out of order"),
            (self.timestamp_jumps, "timestamp jumps"),
            (self.nonce_reuses, "nonces used twice"),
            (self.decrypt_failures, "packets that did not decrypt"),
            (self.dave_failures, "frames that no member of the call could have heard"),
            (self.malformed_packets, "malformed packets"),
            (self.wrong_ssrc, "packets with a wrong SSRC"),
            (self.unannounced_frames, "audio frames while not announced as speaking"),
            (self.abrupt_pauses, "pauses without five silence frames"),
            (self.unpaced_silence, "silence frames sent in a burst"),
            (self.violations_left_out, "further violations"),
        )
        return (*self.violations, *(f"{count} {text}" for count, text in counted if count))


def report_of(session: SessionView) -> SessionReport:
    """Return everything a session has measured so far."""
    media = session.media
    return SessionReport(
        guild_id=session.guild_id,
        channel_id=session.channel_id,
        user_id=session.user_id,
        ssrc=session.ssrc,
        mode=media.mode,
        max_dave_protocol_version=session.max_dave_protocol_version,
        dave_protocol_version=session.dave_protocol_version,
        dave_epoch=session.dave_epoch,
        dave_failures=media.dave_failures,
        dave_plaintext=media.dave_plaintext,
        dave_transitions=session.dave_transitions,
        state=session.state.value,
        packets=media.packets,
        bytes=media.bytes,
        frames=media.frames,
        silence_frames=media.silence_frames,
        audio_s=media.audio_s,
        frames_kept=len(media.kept),
        frames_forgotten=media.total_kept - len(media.kept),
        longest_pause_ms=media.longest_pause_ns / 1e6,
        dropped_packets=media.dropped_packets,
        sequence_gaps=media.sequence_gaps,
        duplicates=media.duplicates,
        reordered=media.reordered,
        spurts=media.spurts,
        timestamp_jumps=media.timestamp_jumps,
        nonce_reuses=media.nonce_reuses,
        nonce_memory_exact=media.nonce_memory_exact,
        decrypt_failures=media.decrypt_failures,
        malformed_packets=media.malformed_packets,
        wrong_ssrc=media.wrong_ssrc,
        rtcp_packets=media.rtcp_packets,
        unannounced_frames=media.unannounced_frames,
        abrupt_pauses=media.abrupt_pauses,
        unpaced_silence=media.unpaced_silence,
        keepalives=media.keepalives,
        discovery_requests=session.discovery_requests,
        heartbeats=session.heartbeats,
        resumes=session.resumes,
        speaking_updates=tuple(session.speaking_updates),
        close_code_sent=session.close_code_sent,
        close_code_received=session.close_code_received,
        violations=tuple(session.violations),
        violations_left_out=session.violations_left_out,
        lateness=media.lateness.figures(),
    )
