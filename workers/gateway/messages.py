"""[pure] The messages that we send, as text frames."""

from __future__ import annotations

from voicepool.workers.gateway.events import VoiceIdentity
from voicepool.workers.gateway.opcodes import VoiceOpcode
from voicepool.workers.gateway.payloads import (
    HeartbeatBody,
    IdentifyBody,
    ResumeBody,
    SelectProtocolBody,
    SelectProtocolData,
    SpeakingBody,
    encode_message,
)

__all__ = [
    "heartbeat_message",
    "identify_message",
    "resume_message",
    "select_protocol_message",
    "speaking_message",
]


def identify_message(identity: VoiceIdentity, max_dave_protocol_version: int) -> str:
    """Return IDENTIFY: who we are, and the highest version of end-to-end encryption we speak, 0 for none."""
    body = IdentifyBody(
        server_id=str(identity.server_id),
        user_id=str(identity.user_id),
        session_id=identity.session_id,
        token=identity.token,
        max_dave_protocol_version=max_dave_protocol_version,
    )
    return encode_message(VoiceOpcode.IDENTIFY, body)


def resume_message(identity: VoiceIdentity, seq_ack: int) -> str:
    """Return RESUME: which session, and the number of the last message we have of it (-1: none)."""
    body = ResumeBody(
        server_id=str(identity.server_id),
        session_id=identity.session_id,
        token=identity.token,
        seq_ack=seq_ack,
    )
    return encode_message(VoiceOpcode.RESUME, body)


def select_protocol_message(address: str, port: int, mode: str) -> str:
    """Return SELECT_PROTOCOL: our address as seen from outside, and the encryption mode we chose."""
    data = SelectProtocolData(address=address, port=port, mode=mode)
    return encode_message(VoiceOpcode.SELECT_PROTOCOL, SelectProtocolBody(protocol="udp", data=data))


def speaking_message(flags: int, ssrc: int) -> str:
    """Return SPEAKING: how we speak from now on (`SpeakingFlag`), by which RTP stream."""
    return encode_message(VoiceOpcode.SPEAKING, SpeakingBody(speaking=int(flags), delay=0, ssrc=ssrc))


def heartbeat_message(nonce: int, seq_ack: int) -> str:
    """Return HEARTBEAT: a number that its ACK repeats, and that of the last message we have (-1: none)."""
    return encode_message(VoiceOpcode.HEARTBEAT, HeartbeatBody(t=nonce, seq_ack=seq_ack))
