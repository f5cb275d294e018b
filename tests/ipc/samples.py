"""A sample of every message, once with all its fields and once with as few as it can have.

Run as a program it writes ``tests/data/wire`` anew. Do that only when the contract is meant to change, and
look at what changed: `voicepool.ipc` says what may.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from voicepool.ipc.codec import COMMANDS, EVENTS, Codec
from voicepool.ipc.commands import (
    AlignTracks,
    ChangeTrack,
    CloseCall,
    Command,
    Credentials,
    Encoding,
    OpenCall,
    Pause,
    Ping,
    Play,
    PrepareCall,
    ReleaseCall,
    ReportStats,
    Resume,
    Seek,
    ServerGone,
    SetEncoding,
    Setup,
    SetVolume,
    Shutdown,
    Skip,
    Stop,
    StreamAudio,
    TrackOptions,
    TrackRole,
    Verify,
    WorkerSettings,
)
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import (
    Bye,
    CallClosed,
    CallInterrupted,
    CallOpened,
    CallReleased,
    CallRestored,
    CallStats,
    Done,
    EncryptionState,
    EndReason,
    Event,
    Failed,
    Hello,
    MediaInfo,
    MembersChanged,
    Ready,
    ServerWanted,
    Speaking,
    StartFailed,
    Stats,
    StreamCredit,
    TrackChanged,
    TrackEnded,
    TrackFigures,
    TrackPlace,
    TrackReady,
    TrackStarted,
    TrackStuck,
    VerificationCode,
)
from voicepool.ipc.ids import (
    CallId,
    ChannelId,
    GuildId,
    PlaybackId,
    RequestId,
    StreamId,
    UserId,
    WorkerId,
)
from voicepool.ipc.sources import (
    BytesSource,
    FileSource,
    ResolverSource,
    SilenceSource,
    StationSource,
    StreamSource,
    UrlSource,
)

__all__ = ["COMMAND_SAMPLES", "EVENT_SAMPLES", "WIRE", "read_golden", "twins"]

WIRE: Final = Path(__file__).parents[1] / "data" / "wire"

_N = RequestId(7)
_CALL = CallId("0123456789abcdef")
_PLAYBACK = PlaybackId("0123456789ab")
_STREAM = StreamId("ba9876543210")
_WORKER = WorkerId("w0.1")
_ERROR = ErrorInfo(code=ErrorCode.AUTHENTICATION, text="close 4004", data={"close_code": 4004, "rtt_s": 0.5})
_CREDENTIALS = Credentials(
    guild_id=GuildId(2**63 + 1),
    channel_id=ChannelId(2),
    user_id=UserId(3),
    session_id="hidden session",
    endpoint="voice.example:443",
    token="hidden token",
)

COMMAND_SAMPLES: Final[dict[str, Command]] = {
    "Setup": Setup(
        settings=WorkerSettings(
            core=3,
            encoder_class="normal",
            pacing_class="normal",
            libopus="/lib/libopus.so.0",
            ca_file="/ca.pem",
            modes=("aead_aes256_gcm_rtpsize",),
            bitrate_bps=96_000,
            complexity=5,
            ring_frames=4,
            dave=False,
            max_calls=10,
            connect_timeout_s=1.5,
            source_open_timeout_s=2.5,
            source_read_timeout_s=3.5,
            read_ahead_s=4.5,
            stats_interval_s=0.5,
            reconnect_first_pause_s=0.25,
            reconnect_longest_pause_s=7.5,
            reconnect_attempts=3,
            server_wait_s=20.0,
            removal_grace_s=2.5,
            log_level="DEBUG",
            log_format="json",
            shed_complexity=False,
            memory_limit_bytes=512 << 20,
        )
    ),
    "Setup, least": Setup(settings=WorkerSettings()),
    "PrepareCall": PrepareCall(request=_N, call=_CALL),
    "AlignTracks": AlignTracks(
        request=_N,
        call=_CALL,
        places=[
            TrackPlace(playback=_PLAYBACK, position_s=61.25, repeats=None),
            TrackPlace(playback=PlaybackId("ba9876543210"), position_s=0.0),
        ],
    ),
    "OpenCall": OpenCall(request=_N, call=_CALL, generation=2, credentials=_CREDENTIALS, takes_over=True),
    "OpenCall, least": OpenCall(request=_N, call=_CALL, generation=2, credentials=_CREDENTIALS),
    "ServerGone": ServerGone(call=_CALL, generation=2),
    "ReleaseCall": ReleaseCall(request=_N, call=_CALL),
    "CloseCall": CloseCall(request=_N, call=_CALL),
    "Play, file": Play(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        source=FileSource(path="/music/ä.flac"),
        role=TrackRole.NEXT,
        options=TrackOptions(
            volume=0.75,
            start_s=1.5,
            end_s=20.5,
            repeats=None,
            position_s=2.5,
            fade_in_s=0.5,
            fade_out_s=3.5,
            speed=1.25,
            filters="bass=g=6",
            loudness_lufs=-16.0,
        ),
        volume=0.5,
        paused=True,
        on_gap="skip",
        duck_db=-12.0,
        crossfade_s=4.5,
    ),
    "Play, url": Play(
        request=_N, call=_CALL, playback=_PLAYBACK, source=UrlSource(url="https://example.com/a?key=b")
    ),
    "Play, radio": Play(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        source=UrlSource(
            url="https://example.com/live",
            headers={"Authorization": "hidden header"},
            live=True,
            max_latency_s=5.5,
            public_only=True,
        ),
    ),
    "Play, stream": Play(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        source=StreamSource(stream=_STREAM, format="s16", sample_rate_hz=24_000, channels=1, capacity_ms=500),
        role=TrackRole.OVERLAY,
    ),
    "Play, silence": Play(request=_N, call=_CALL, playback=_PLAYBACK, source=SilenceSource(duration_s=1.5)),
    "Play, resolver": Play(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        source=ResolverSource(resolver="package.module:name", query="a song", public_only=True),
    ),
    "Play, station": Play(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        source=StationSource(station="radio", source=FileSource(path="/music/b.opus"), repeats=True),
    ),
    "Play, bytes": Play(request=_N, call=_CALL, playback=_PLAYBACK, source=BytesSource(size_bytes=4_000_000)),
    "Stop": Stop(request=_N, call=_CALL, playback=_PLAYBACK, fade_out_s=1.5),
    "Stop, least": Stop(request=_N, call=_CALL),
    "Skip": Skip(request=_N, call=_CALL, playback=_PLAYBACK),
    "Seek": Seek(request=_N, call=_CALL, playback=_PLAYBACK, position_s=61.25),
    "ChangeTrack": ChangeTrack(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        volume=0.25,
        speed=0.75,
        filters="aecho",
        loudness_lufs=-18.5,
    ),
    "ChangeTrack, least": ChangeTrack(request=_N, call=_CALL, playback=_PLAYBACK),
    "SetEncoding": SetEncoding(
        call=_CALL,
        encoding=Encoding(
            bitrate_bps=64_000, complexity=5, fec=True, expected_loss_percent=10, dtx=True, mono=True
        ),
    ),
    "SetEncoding, least": SetEncoding(call=_CALL, encoding=Encoding()),
    "StreamAudio": StreamAudio(call=_CALL, stream=_STREAM, ends=True),
    "StreamAudio, least": StreamAudio(call=_CALL, stream=_STREAM),
    "Pause": Pause(call=_CALL),
    "Resume": Resume(call=_CALL),
    "SetVolume": SetVolume(call=_CALL, volume=1.25),
    "Verify": Verify(request=_N, call=_CALL, user=UserId(5)),
    "Ping": Ping(request=_N),
    "ReportStats": ReportStats(request=_N),
    "Shutdown": Shutdown(),
}

EVENT_SAMPLES: Final[dict[str, Event]] = {
    "Hello": Hello(wire_version=1, worker=_WORKER, start_token="hidden start", pid=4711),
    "Ready": Ready(
        libopus="libopus 1.6",
        libopus_origin="pyav",
        loop="uvloop",
        encoder_class="idle",
        core=3,
        pacing_class="fifo",
    ),
    "Ready, least": Ready(
        libopus="libopus 1.6", libopus_origin="system", loop="asyncio", encoder_class="normal"
    ),
    "StartFailed": StartFailed(error=ErrorInfo(code=ErrorCode.LIBOPUS_MISSING, text="no libopus")),
    "Done": Done(request=_N),
    "Failed": Failed(request=_N, error=_ERROR),
    "CallOpened": CallOpened(
        request=_N, call=_CALL, generation=2, mode="aead_aes256_gcm_rtpsize", ssrc=2**32 - 1
    ),
    "CallClosed": CallClosed(call=_CALL, generation=2, error=_ERROR),
    "CallReleased": CallReleased(
        request=_N, call=_CALL, places=[TrackPlace(playback=_PLAYBACK, position_s=61.25, repeats=2)]
    ),
    "CallReleased, least": CallReleased(request=_N, call=_CALL),
    "CallInterrupted": CallInterrupted(call=_CALL, generation=2, error=_ERROR),
    "CallRestored": CallRestored(
        call=_CALL, generation=2, gap_ms=12.5, resumed=True, mode="aead_aes256_gcm_rtpsize", ssrc=7
    ),
    "ServerWanted": ServerWanted(call=_CALL, generation=2, rejoin=True, error=_ERROR),
    "ServerWanted, least": ServerWanted(call=_CALL, generation=2, rejoin=False),
    "EncryptionState": EncryptionState(
        call=_CALL, protocol_version=1, sending=True, epoch=3, privacy_code="123", members=[1, 2]
    ),
    "EncryptionState, least": EncryptionState(call=_CALL, protocol_version=0, sending=True),
    "VerificationCode": VerificationCode(request=_N, code="12345" * 9),
    "MembersChanged": MembersChanged(call=_CALL, joined=[2**63 + 1], left=[3]),
    "MembersChanged, least": MembersChanged(call=_CALL),
    "Speaking": Speaking(call=_CALL, user=2**63 + 1, ssrc=2**32 - 1, flags=1),
    "TrackReady": TrackReady(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        info=MediaInfo(
            codec="opus",
            container="ogg",
            sample_rate_hz=48_000,
            channels=2,
            duration_s=12.5,
            title="title",
            artist="artist",
            passthrough=True,
            live=True,
            tags={"album": "album"},
        ),
    ),
    "TrackReady, least": TrackReady(
        request=_N,
        call=_CALL,
        playback=_PLAYBACK,
        info=MediaInfo(codec="mp3", container="mp3", sample_rate_hz=44_100, channels=1),
    ),
    "TrackStarted": TrackStarted(call=_CALL, playback=_PLAYBACK, position_s=2.5),
    "TrackStarted, least": TrackStarted(call=_CALL, playback=_PLAYBACK),
    "TrackStuck": TrackStuck(call=_CALL, playback=_PLAYBACK, waited_ms=500, part="encoder"),
    "TrackStuck, least": TrackStuck(call=_CALL, playback=_PLAYBACK, waited_ms=0),
    "TrackChanged": TrackChanged(
        call=_CALL, playback=_PLAYBACK, title="title", artist="artist", tags={"icy-name": "radio"}
    ),
    "TrackChanged, least": TrackChanged(call=_CALL, playback=_PLAYBACK),
    "StreamCredit": StreamCredit(call=_CALL, stream=_STREAM, credit_ms=250),
    "TrackEnded": TrackEnded(
        call=_CALL,
        playback=_PLAYBACK,
        reason=EndReason.FAILED,
        frames_sent=500,
        error=_ERROR,
        skipped_packets=2,
    ),
    "TrackEnded, least": TrackEnded(
        call=_CALL, playback=_PLAYBACK, reason=EndReason.FINISHED, frames_sent=500
    ),
    "Stats": Stats(
        request=_N,
        worker=_WORKER,
        cpu_s=1.5,
        uptime_s=10.25,
        rss_bytes=80_000_000,
        frames_sent=1_000,
        frames_nulled=1,
        ticks_skipped=2,
        lateness_counts=[0, 5, 900],
        lateness_max_us=2_500,
        encoder_class="idle",
        rescues=3,
        dropped_stats=4,
        encode_cpu_s=0.75,
        pacing_cpu_s=0.125,
        decode_s=0.5,
        opus_s=0.25,
        seal_s=0.0625,
        pss_bytes=70_000_000,
        complexity=5,
        sheds=2,
        encoder_share=0.5,
        loop_lag_ms=1.5,
        stations=["radio"],
        calls=[
            CallStats(
                call=_CALL,
                frames_sent=500,
                silence_sent=10,
                frames_nulled=1,
                send_errors=2,
                ring_low=6,
                tracks=[
                    TrackFigures(playback=_PLAYBACK, position_s=8.5, frames_sent=400),
                    TrackFigures(playback=PlaybackId("ba9876543210")),
                ],
                gateway_rtt_ms=12.5,
                messages_skipped=3,
                nulled_by_source=4,
                nulled_by_encoder=5,
                reconnects=6,
                dave_version=1,
                dave_epochs=7,
                dave_failures=8,
            ),
            CallStats(call=_CALL),
        ],
    ),
    "Stats, least": Stats(
        worker=_WORKER,
        cpu_s=0.0,
        uptime_s=0.0,
        rss_bytes=0,
        frames_sent=0,
        frames_nulled=0,
        ticks_skipped=0,
        lateness_counts=[],
        lateness_max_us=0,
        encoder_class="idle",
    ),
    "Bye": Bye(),
}


def read_golden(direction: str) -> dict[str, dict[str, str]]:
    """The pinned bytes of a direction: sample name to golden bytes and bad twins, all as hex."""
    golden: dict[str, dict[str, str]] = json.loads((WIRE / f"{direction}.json").read_text(encoding="utf-8"))
    return golden


def twins(frame: bytes) -> dict[str, str]:
    """The bytes of a message, and of its twins that must not be read."""
    fields = msgspec.msgpack.decode(frame)
    wrong_type: dict[str, Any] = {
        name: value if name == "m" else {"not": "this"} if not isinstance(value, dict) else 5
        for name, value in fields.items()
    }
    return {
        "golden": frame.hex(),
        "truncated": frame[: len(frame) // 2].hex(),
        "trailing": (frame + b"\xc0").hex(),
        "unknown_tag": msgspec.msgpack.encode(fields | {"m": "nosuchmessage"}).hex(),
        **({"wrong_type": msgspec.msgpack.encode(wrong_type).hex()} if len(fields) > 1 else {}),
    }


def _write(direction: str, codec: Codec[Any], samples: dict[str, Any]) -> None:
    content = {name: twins(codec.encode(sample)[0]) for name, sample in samples.items()}
    WIRE.mkdir(parents=True, exist_ok=True)
    (WIRE / f"{direction}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write("commands", COMMANDS, COMMAND_SAMPLES)
    _write("events", EVENTS, EVENT_SAMPLES)
