"""What the server sends, read: frames to messages, and messages to what they say [pure].

Nothing of it is trusted. What cannot be read, or is not known, is counted, and the first of each kind is told
as `Skipped`. Who comes, goes and speaks, and messages of the end-to-end encryption, mean the same whenever
they come, and are events at once. The others are steps of the conversation: whether it is their turn is
`protocol`'s to judge, so their bodies are left unread until it asks.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from voicepool.workers.gateway.events import (
    ClientDisconnected,
    ClientsConnected,
    DaveMessage,
    GatewayEvent,
    Skipped,
    SpeakingUpdate,
)
from voicepool.workers.gateway.opcodes import DAVE_OPCODES, IGNORED_OPCODES, SpeakingFlag, VoiceOpcode
from voicepool.workers.gateway.payloads import (
    CLIENT_DISCONNECT_DECODER,
    CLIENTS_CONNECT_DECODER,
    ENVELOPE_DECODER,
    SEQ_MAX,
    SPEAKING_DECODER,
)
from voicepool.workers.gateway.skipped import SkippedMessages

__all__ = ["STEPS", "Incoming"]

STEPS: Final = frozenset(
    {
        VoiceOpcode.HELLO,
        VoiceOpcode.READY,
        VoiceOpcode.SESSION_DESCRIPTION,
        VoiceOpcode.RESUMED,
        VoiceOpcode.HEARTBEAT_ACK,
    }
)
"""Opcodes of the handshake, and of what keeps the connection alive."""
_BINARY_HEADER_BYTES: Final = 3

_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What msgspec raises for bytes that are no JSON, or JSON of another shape, or nested without end."""

_Body = TypeVar("_Body")


class Incoming:
    """Reads the frames of one websocket.

    Parameters
    ----------
    events
        Where to put what they say; emptied by whoever tells it.
    last_seq
        Number of the last numbered message on the websocket before; -1 if there was none.

    Attributes
    ----------
    last_seq
        Number of the last numbered message, 0 to 65535.
    skipped
        What was of no use.
    """

    __slots__ = ("_events", "last_seq", "skipped")

    def __init__(self, events: list[GatewayEvent], *, last_seq: int) -> None:
        self._events = events
        self.last_seq = last_seq
        self.skipped = SkippedMessages()

    def take_text(self, data: str | bytes) -> tuple[VoiceOpcode, bytes] | None:
        """Take a text frame; return the opcode and the body of a step, None if it is none."""
        try:
            envelope = ENVELOPE_DECODER.decode(data)
        except _UNREADABLE:
            self._tell(self.skipped.count_malformed("a text message that cannot be read"))
            return None
        op, body = envelope.op, bytes(envelope.d)
        if envelope.seq is not None:
            self._note_seq(envelope.seq)
        if op in STEPS:
            return VoiceOpcode(op), body
        if op in DAVE_OPCODES:
            self._events.append(DaveMessage(opcode=op, payload=body, seq=envelope.seq, binary=False))
        elif (event := self._member_event(op, body)) is not None:
            self._events.append(event)
        return None

    def take_binary(self, data: bytes) -> None:
        """Take a binary frame (Voice Connections, Binary Websocket Messages)."""
        if len(data) < _BINARY_HEADER_BYTES:
            self._tell(self.skipped.count_malformed("a binary message without its header"))
            return
        seq, op = int.from_bytes(data[:2]), data[2]
        self._note_seq(seq)
        if op in DAVE_OPCODES:
            payload = data[_BINARY_HEADER_BYTES:]
            self._events.append(DaveMessage(opcode=op, payload=payload, seq=seq, binary=True))
        else:
            self._tell(self.skipped.count_unknown(op))

    def read(self, opcode: VoiceOpcode, decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body | None:
        """Return what a body says; None if it cannot be read, which is counted."""
        try:
            return decoder.decode(body)
        except _UNREADABLE:
            self._tell(self.skipped.count_malformed(f"a malformed {opcode.name}"))
            return None

    def skip_unexpected(self, opcode: VoiceOpcode) -> None:
        """Count a step whose turn it is not, nor ever will be."""
        self._tell(self.skipped.count_unexpected(opcode))

    def _member_event(self, op: int, body: bytes) -> GatewayEvent | None:
        match op:
            case VoiceOpcode.SPEAKING:
                notice = self.read(VoiceOpcode.SPEAKING, SPEAKING_DECODER, body)
                if notice is not None:
                    flags = SpeakingFlag(notice.speaking)
                    return SpeakingUpdate(user_id=notice.user_id, ssrc=notice.ssrc, flags=flags)
            case VoiceOpcode.CLIENTS_CONNECT:
                clients = self.read(VoiceOpcode.CLIENTS_CONNECT, CLIENTS_CONNECT_DECODER, body)
                if clients is not None:
                    return ClientsConnected(user_ids=clients.user_ids)
            case VoiceOpcode.CLIENT_DISCONNECT:
                client = self.read(VoiceOpcode.CLIENT_DISCONNECT, CLIENT_DISCONNECT_DECODER, body)
                if client is not None:
                    return ClientDisconnected(user_id=client.user_id)
            case _ if op not in IGNORED_OPCODES:
                self._tell(self.skipped.count_unknown(op))
        return None

    def _note_seq(self, seq: int) -> None:
        if 0 <= seq <= SEQ_MAX:
            self.last_seq = seq
        else:
            self._tell(self.skipped.count_malformed("a sequence number beyond 16 bits"))

    def _tell(self, kind: str | None) -> None:
        if kind is not None:
            self._events.append(Skipped(kind))
