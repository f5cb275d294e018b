"""`VoiceSpeaker`: somebody in a voice channel whom the server plays, and whom the clients hear."""

from __future__ import annotations

__all__ = ("VoiceSpeaker",)

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.dave_members import DaveSpeaker
from voicepool.testing.voice_messages import Opcode
from voicepool.testing.voice_rtp import FRAME_SAMPLES, PAYLOAD_TYPE, RTP_HEADER, SILENCE_FRAME
from voicepool.testing.voice_session_view import SessionState

if TYPE_CHECKING:
    from voicepool.testing.voice_session import VoiceSession

_FRAME_S: Final = 0.020
_SILENCE_FRAMES: Final = 5
_VERSION: Final = 0x80
_MICROPHONE: Final = 1


class VoiceSpeaker:
    """A member of a channel, made by `DiscordVoiceServer.add_speaker`; it sends what a test gives it.

    Parameters
    ----------
    member : DaveSpeaker
        Its side of DAVE; in a call without encryption it lets frames pass.
    ssrc : int
        Its SSRC.
    listeners : Callable[[], Iterable[VoiceSession]]
        The clients in the channel now.
    send : Callable[[bytes, tuple[str, int]], None]
        Sends a datagram.

    Attributes
    ----------
    frames_sent, frames_withheld : int
        Opus frames that went out, and those that had to be dropped because the encrypted call was not ready.
    """

    def __init__(
        self,
        member: DaveSpeaker,
        ssrc: int,
        *,
        listeners: Callable[[], Iterable[VoiceSession]],
        send: Callable[[bytes, tuple[str, int]], None],
    ) -> None:
        self.ssrc = ssrc
        self.speaking = 0
        self.frames_sent = 0
        self.frames_withheld = 0
        self._member = member
        self._listeners = listeners
        self._send = send
        self._sequence = 0
        self._timestamp = 0

    @property
    def user_id(self) -> int:
        """User the clients take it for."""
        return self._member.user_id

    @property
    def ready(self) -> bool:
        """Whether what it says now would go out: the call is not encrypted, or it has the keys."""
        return self._member.version == 0 or self._member.sealing

    def introduce(self, session: VoiceSession) -> None:
        """Tell a newcomer who speaks with this SSRC, if it has spoken."""
        if self.frames_sent or self.speaking:
            session.send(Opcode.SPEAKING, self._speaking_data(), numbered=True)

    def speak(self, opus: bytes) -> bool:
        """Send one Opus frame of 20 ms; announce it first (opcode 5) if it is the first after a pause.

        Returns
        -------
        bool
            False if it was withheld: the call is encrypted, and the speaker has no keys yet.
        """
        frame = self._member.seal(opus)
        sequence, self._sequence = self._sequence, (self._sequence + 1) & 0xFFFF
        timestamp, self._timestamp = self._timestamp, (self._timestamp + FRAME_SAMPLES) & 0xFFFF_FFFF
        if frame is None:
            self.frames_withheld += 1
            return False
        self._announce(_MICROPHONE)
        header = RTP_HEADER.pack(_VERSION, PAYLOAD_TYPE, sequence, timestamp, self.ssrc)
        for session in self._listeners():
            self._send_to(session, header, frame)
        self.frames_sent += 1
        return True

    def pause(self) -> None:
        """Send five frames of silence, and say that it speaks no more."""
        for _ in range(_SILENCE_FRAMES):
            self.speak(SILENCE_FRAME)
        self._announce(0)

    async def play(self, packets: Iterable[bytes]) -> None:
        """Send Opus frames of 20 ms in real time, then `pause`."""
        due_s = time.monotonic()
        for packet in packets:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.speak(packet)
            due_s += _FRAME_S
        self.pause()

    def _send_to(self, session: VoiceSession, header: bytes, frame: bytes) -> None:
        if session.state is not SessionState.DESCRIBED or session.udp_address is None:
            return
        if is_protocol_frame(frame) and not session.max_dave_protocol_version:
            # "The SFU will always refuse to forward" these to those who cannot understand them.
            return
        if session.downlink is not None and not session.take_downlink_drop():
            self._send(session.downlink.seal(header, frame), session.udp_address)

    def _announce(self, flags: int) -> None:
        if flags == self.speaking:
            return
        self.speaking = flags
        for session in self._listeners():
            session.send(Opcode.SPEAKING, self._speaking_data(), numbered=True)

    def _speaking_data(self) -> dict[str, object]:
        return {"user_id": str(self.user_id), "ssrc": self.ssrc, "speaking": self.speaking}
