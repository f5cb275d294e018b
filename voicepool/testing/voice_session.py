"""One bot in one voice channel, as the server sees it: messages out, measurements, audio, waiting."""

from __future__ import annotations

__all__ = ("GatewayConnection", "SessionEndedError", "SessionState", "VoiceSession")

import asyncio
import enum
import os
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from voicepool.testing.dave_messages import DaveMessage, DaveOpcode, DaveText
from voicepool.testing.voice_audio import MAX_GAP_S, Pcm, decode_packets, write_wav
from voicepool.testing.voice_crypto import KEY_BYTES, TransportMode
from voicepool.testing.voice_downlink import Downlink
from voicepool.testing.voice_faults import check_close_code
from voicepool.testing.voice_media import NEVER, ReceivedStream
from voicepool.testing.voice_messages import CloseCode, Opcode, Refusal, encode
from voicepool.testing.voice_outbox import Outbox
from voicepool.testing.voice_report import SessionReport, report_of
from voicepool.testing.voice_waiting import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voicepool.testing.voice_grant import VoiceGrant
    from voicepool.testing.voice_settings import VoiceServerSettings

MAX_VIOLATIONS: Final = 100
_MAX_SPEAKING_UPDATES: Final = 1_000
_BROKEN_CONNECTION: Final = 1006
_FIRST_APPLICATION_CODE: Final = 4000
_CLIENT_LEAVES: Final = frozenset({1000, 1001})


class SessionState(enum.Enum):
    """Where a session stands. `DETACHED` leads back to where it was if the client resumes in time."""

    IDENTIFIED = "identified"
    """Ready was sent; no encryption key yet."""
    DESCRIBED = "described"
    """Session Description was sent: audio may flow."""
    DETACHED = "detached"
    """The websocket is gone, a Resume can still take the session up."""
    ENDED = "ended"
    """Over for good; measurements and audio stay readable."""


class SessionEndedError(ConnectionError):
    """What a test waited for can no longer happen, because the session ended before."""


class GatewayConnection(Protocol):
    """What a session needs of its websocket."""

    def send_message(self, message: str | bytes) -> None:
        """Send now, without waiting."""

    def close_soon(self, code: int) -> None:
        """Begin to close, without waiting."""

    async def close(self, code: int) -> None:
        """Close and wait until it is closed."""

    def abort(self) -> None:
        """Cut the TCP connection without a close frame."""


class VoiceSession:
    """One identified client. Made by `DiscordVoiceServer`; tests read it.

    Attributes
    ----------
    grant : VoiceGrant
        The credentials it came with.
    ssrc : int
        SSRC that Ready assigned.
    media : ReceivedStream
        Counters of the UDP side; `report` gives them all at once.
    violations : list[str]
        Rules the client broke, in sentences, at most 100.
    max_dave_protocol_version : int
        What Identify announced.
    dave_protocol_version, dave_epoch, dave_transitions : int
        As in `SessionReport`.
    discovery_requests, heartbeats, resumes : int
        How often each came.
    close_code_sent, close_code_received : int | None
        Codes of the last websocket's close frames; 1006 received: it broke without one.
    """

    def __init__(
        self,
        grant: VoiceGrant,
        ssrc: int,
        settings: VoiceServerSettings,
        *,
        max_dave_protocol_version: int,
        record: Callable[[str], None],
        on_end: Callable[[VoiceSession], None],
    ) -> None:
        self.grant = grant
        self.ssrc = ssrc
        self.max_dave_protocol_version = max_dave_protocol_version
        self.dave_protocol_version = 0
        self.dave_epoch = 0
        self.dave_transitions = 0
        self.violations: list[str] = []
        self.violations_left_out = 0
        self.discovery_requests = 0
        self.heartbeats = 0
        self.resumes = 0
        self.last_seq_ack: int | None = None
        self.speaking_updates: deque[int] = deque(maxlen=_MAX_SPEAKING_UPDATES)
        self.udp_address: tuple[str, int] | None = None
        self.downlink: Downlink | None = None
        self.close_code_sent: int | None = None
        self.close_code_received: int | None = None
        self.media = ReceivedStream(
            ssrc,
            self.violate,
            inspect_payload=settings.inspect == "full",
            keep_frames=settings.keep_frames,
            speaking_grace_ns=round(settings.speaking_grace_s * 1e9),
        )
        self._settings = settings
        self._record = record
        self._on_end = on_end
        self._connection: GatewayConnection | None = None
        self._ended = False
        self._described = False
        self._conditions = Conditions()
        self._thresholds: list[float] = []
        self._outbox = Outbox(settings.first_sequence, settings.resume_buffer_messages)
        self._expiry: asyncio.TimerHandle | None = None
        self._stalled = False
        self._downlink_drops = 0

    def __repr__(self) -> str:
        return (
            f"<VoiceSession guild={self.guild_id} user={self.user_id} ssrc={self.ssrc} "
            f"state={self.state.value} packets={self.media.packets}>"
        )

    # What a test reads.

    @property
    def guild_id(self) -> int:
        """Guild the client is in."""
        return self.grant.guild_id

    @property
    def channel_id(self) -> int:
        """Channel the client is in."""
        return self.grant.channel_id

    @property
    def place(self) -> tuple[int, int]:
        """Guild and channel."""
        return self.guild_id, self.channel_id

    @property
    def user_id(self) -> int:
        """User the client identified as."""
        return self.grant.user_id

    @property
    def state(self) -> SessionState:
        """Where the session stands now."""
        if self._ended:
            return SessionState.ENDED
        if self._connection is None:
            return SessionState.DETACHED
        return SessionState.DESCRIBED if self._described else SessionState.IDENTIFIED

    @property
    def mode(self) -> str | None:
        """Transport mode in use; None before Session Description."""
        return self.media.mode

    @property
    def packets(self) -> int:
        """RTP packets received so far."""
        return self.media.packets

    @property
    def speaking(self) -> int:
        """Flags of the last opcode 5; 0 before any."""
        return self.media.speaking

    def report(self) -> SessionReport:
        """Return everything measured so far."""
        return report_of(self)

    def pcm(self, max_gap_s: float = MAX_GAP_S) -> Pcm:
        """Decode what was received; see `decode_packets` for gaps and cost (60 µs a frame).

        Returns
        -------
        Pcm
            int16, shape (samples, 2), 48 kHz. Empty with ``inspect="headers"`` or ``keep_audio_s=0``.
        """
        return decode_packets(tuple(self.media.kept), max_gap_s)

    def write_wav(self, path: str | Path, max_gap_s: float = MAX_GAP_S) -> None:
        """Write what `pcm` returns as a WAV file."""
        write_wav(path, self.pcm(max_gap_s))

    # Waiting. Each raises TimeoutError with what was seen instead.

    async def wait_until(
        self, predicate: Callable[[VoiceSession], bool], timeout_s: float | None = 10.0
    ) -> None:
        """Return once `predicate` holds; it is asked again after every packet and message.

        Raises
        ------
        TimeoutError
            It did not hold within `timeout_s` seconds.
        """
        await self._wait(lambda: predicate(self), timeout_s, "the awaited condition did not come about", 0)

    async def wait_for_packets(self, count: int, timeout_s: float | None = 10.0) -> None:
        """Return once `count` RTP packets have arrived in all.

        Raises
        ------
        SessionEndedError
            The session ended with fewer.
        TimeoutError
            They did not arrive within `timeout_s` seconds.
        """
        await self._wait(
            lambda: self.media.packets >= count or self._ended,
            timeout_s,
            f"expected {count} packets",
            count,
        )
        if self.media.packets < count:
            raise SessionEndedError(self._describe(f"expected {count} packets"))

    async def wait_described(self, timeout_s: float | None = 10.0) -> None:
        """Return once Session Description was sent, which is when audio may flow.

        Raises
        ------
        SessionEndedError
            The session ended before.
        TimeoutError
            It was not sent within `timeout_s` seconds.
        """
        await self._wait(lambda: self._described or self._ended, timeout_s, "expected Select Protocol", NEVER)
        if not self._described:
            raise SessionEndedError(self._describe("expected Select Protocol"))

    async def wait_closed(self, timeout_s: float | None = 10.0) -> None:
        """Return once the session has ended for good and its websocket is closed.

        Raises
        ------
        TimeoutError
            It lives on after `timeout_s` seconds.
        """
        await self._wait(
            lambda: self._ended and self._connection is None,
            timeout_s,
            "expected the session to end",
            NEVER,
        )

    # Faults.

    async def close(self, code: int = CloseCode.DISCONNECTED) -> None:
        """Close the client's websocket with `code` and wait until it is closed.

        After 4015, and codes below 4000, the client may resume; after any other the session has ended. 1006
        is the same as `abort`.

        Raises
        ------
        ValueError
            `code` is no close code.
        """
        check_close_code(code)
        if self._connection is None:
            self.end()
            return
        await self._connection.close(code)

    def abort(self) -> None:
        """Cut the client's TCP connection without a close frame; the client may resume."""
        if self._connection is not None:
            self._connection.abort()

    def stall(self) -> None:
        """Let nothing reach the client over its websocket any more, as on a connection that is half dead.

        What it is sent meanwhile is kept for a Resume, as far as it is numbered. Its own messages are taken,
        so nothing but the missing heartbeat ACKs tells the client. Ends with the websocket.
        """
        self._stalled = True

    def drop_packets(self, *, received: int = 0, sent: int = 0) -> None:
        """Lose the next datagrams with RTP, as the network may.

        Parameters
        ----------
        received : int
            How many of the client's; `SessionReport.dropped_packets` counts them.
        sent : int
            How many of those that speakers in the channel have for the client.

        Raises
        ------
        ValueError
            One of them is negative.
        """
        if min(received, sent) < 0:
            raise ValueError(f"drop_packets takes counts of 0 or more, not {received} and {sent}")
        self.media.drops_left += received
        self._downlink_drops += sent

    # For the server's own parts.

    def violate(self, sentence: str) -> None:
        """Record a broken rule."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(sentence)
        else:
            self.violations_left_out += 1
        self._record(f"guild {self.guild_id}, user {self.user_id}: {sentence}")
        self.changed()

    def send(self, opcode: enum.IntEnum, data: object, *, numbered: bool = False) -> None:
        """Send a message; a numbered one is kept for a resume, and sent then if there is no websocket now."""
        if self._ended:
            return
        text = encode(opcode, data, self._outbox.take_number() if numbered else None)
        if numbered:
            self._outbox.keep(text)
        self._pass_on(text)

    def send_binary(self, opcode: enum.IntEnum, payload: bytes) -> None:
        """Send a binary message. All of them are numbered, as `send` describes."""
        if self._ended:
            return
        message = self._outbox.take_number().to_bytes(2) + bytes((opcode,)) + payload
        self._outbox.keep(message)
        self._pass_on(message)

    def take_downlink_drop(self) -> bool:
        """Return whether the datagram at hand, for the client, is to be lost."""
        drop = self._downlink_drops > 0
        self._downlink_drops -= drop
        return drop

    def send_dave(self, message: DaveMessage, version: int, epoch: int) -> None:
        """Send a message of the DAVE protocol, and note what version and epoch the call has with it."""
        self.dave_protocol_version = version
        self.dave_epoch = epoch
        self.dave_transitions += message.opcode is DaveOpcode.EXECUTE_TRANSITION
        if isinstance(message, DaveText):
            self.send(message.opcode, message.data, numbered=True)
        else:
            self.send_binary(message.opcode, message.payload)
        self.changed()

    def acknowledge(self, seq_ack: int | None) -> None:
        """Note the ``seq_ack`` of a heartbeat; raises `Refusal` 4020 for a number never sent."""
        self.heartbeats += 1
        if seq_ack is None:
            if self.last_seq_ack is not None and self.last_seq_ack >= 0:
                self.violate("a heartbeat left out `seq_ack` although numbered messages had been received")
        elif seq_ack >= 0 and not self._outbox.was_sent(seq_ack):
            raise Refusal(
                CloseCode.BAD_REQUEST, f"a heartbeat acknowledged message {seq_ack}, which was never sent"
            )
        else:
            self.last_seq_ack = seq_ack
        self.changed()

    def announce_key(self, mode: TransportMode, *, tell: bool, dave_version: int = 0) -> None:
        """Make a new key for `mode` and, unless told not to, send Session Description."""
        self.dave_protocol_version = dave_version
        key = os.urandom(KEY_BYTES)
        self.media.set_key(mode, key)
        self.downlink = Downlink(mode, key)
        if tell:
            self.send(
                Opcode.SESSION_DESCRIPTION,
                {
                    "mode": mode.name,
                    "secret_key": list(key),
                    "dave_protocol_version": dave_version,
                    "audio_codec": "opus",
                    "video_codec": "H264",
                    "media_session_id": os.urandom(16).hex(),
                },
            )
            self._described = True
        self.changed()

    def speak(self, flags: int) -> None:
        """Note an opcode 5."""
        self.speaking_updates.append(flags)
        self.media.set_speaking(flags)
        self.changed()

    def attach(self, connection: GatewayConnection) -> None:
        """Take a websocket as the session's own; one before it is closed."""
        previous, self._connection = self._connection, connection
        self._stalled = False
        self._cancel_expiry()
        if previous is not None and previous is not connection:
            previous.close_soon(1000)
        self.close_code_sent = self.close_code_received = None
        self.changed()

    def take_up(self, connection: GatewayConnection, seq_ack: int) -> list[str | bytes]:
        """Attach a resuming websocket; return the numbered messages its client has missed.

        Raises
        ------
        Refusal
            4006 when some of them are no longer kept, or `seq_ack` was never sent.
        """
        missed = self._outbox.missed_after(seq_ack)
        self.attach(connection)
        self.resumes += 1
        if seq_ack >= 0:
            self.last_seq_ack = seq_ack
        self.changed()
        return missed

    def detach(self, connection: GatewayConnection, *, sent: int | None, received: int | None) -> None:
        """Note that a websocket is gone; end the session unless the client may resume it.

        Parameters
        ----------
        connection : GatewayConnection
            The websocket; if another one has taken its place, nothing happens.
        sent : int | None
            Close code that the server chose; None if the client closed or the connection broke.
        received : int | None
            Close code that came from the client.
        """
        if connection is not self._connection:
            return
        self._connection = None
        self.close_code_sent = sent
        self.close_code_received = _BROKEN_CONNECTION if sent is None and received is None else received
        if sent is not None:
            resumable = sent < _FIRST_APPLICATION_CODE or sent == CloseCode.SERVER_CRASHED
        else:
            resumable = received not in _CLIENT_LEAVES
        if self._ended or not resumable:
            self.end()
            return
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._settings.resume_window_s, self.end)
        self.changed()

    def end(self, code: int | None = None) -> None:
        """End for good; close the websocket with `code`, if there is one."""
        self._cancel_expiry()
        if self._connection is not None and code is not None:
            self._connection.close_soon(code)
        if not self._ended:
            self._ended = True
            self._on_end(self)
        self.changed()

    def changed(self) -> None:
        """Let those waiting on the session look again."""
        self._conditions.notify()

    def attend(self) -> None:
        """Look after what `ReceivedStream.receive` pointed at."""
        sentence = self.media.fatal
        if sentence is not None and not self._ended:
            self.violate(sentence)
            self.end(CloseCode.BAD_REQUEST)
            return
        self.changed()

    def _pass_on(self, message: str | bytes) -> None:
        if self._connection is not None and not self._stalled:
            self._connection.send_message(message)

    def _cancel_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    async def _wait(
        self, predicate: Callable[[], bool], timeout_s: float | None, expectation: str, wake_at: float
    ) -> None:
        self._thresholds.append(wake_at)
        self.media.wake_at = min(self._thresholds)
        try:
            await self._conditions.wait(predicate, timeout_s, lambda: self._describe(expectation))
        finally:
            self._thresholds.remove(wake_at)
            self.media.wake_at = min(self._thresholds, default=NEVER)

    def _describe(self, expectation: str) -> str:
        problems = "; ".join(self.violations) or "none"
        return (
            f"guild {self.guild_id}, user {self.user_id}: {expectation}; the session is {self.state.value}, "
            f"has {self.media.packets} packets and {self.discovery_requests} discovery requests; "
            f"closed with {self.close_code_sent} (server) / {self.close_code_received} (client); "
            f"violations: {problems}"
        )
