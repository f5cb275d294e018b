"""One bot in one voice channel, as the server sees it: messages out, measurements, audio, waiting."""

from __future__ import annotations

__all__ = ("VoiceSession",)

import asyncio
import enum
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from voicepool.testing.dave_messages import DaveMessage, DaveOpcode, DaveText
from voicepool.testing.voice_crypto import KEY_BYTES, TransportMode
from voicepool.testing.voice_downlink import Downlink
from voicepool.testing.voice_media import ReceivedStream
from voicepool.testing.voice_messages import CloseCode, Opcode, Refusal, encode
from voicepool.testing.voice_outbox import Outbox
from voicepool.testing.voice_session_view import GatewayConnection, SessionView
from voicepool.testing.voice_waiting import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicepool.testing.voice_grant import VoiceGrant
    from voicepool.testing.voice_settings import VoiceServerSettings

MAX_VIOLATIONS: Final = 100
_MAX_SPEAKING_UPDATES: Final = 1_000
_BROKEN_CONNECTION: Final = 1006
_FIRST_APPLICATION_CODE: Final = 4000
_CLIENT_LEAVES: Final = frozenset({1000, 1001})


class VoiceSession(SessionView):
    """One identified client, as the server's own parts use it; `SessionView` is what tests read of it."""

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

    # Messages and measurements.

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
