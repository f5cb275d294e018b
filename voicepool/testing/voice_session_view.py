"""What a test reads of one bot in one voice channel, waits for, and lets go wrong."""

from __future__ import annotations

__all__ = ("GatewayConnection", "SessionEndedError", "SessionState", "SessionView")

import enum
from typing import TYPE_CHECKING, Protocol, Self

from voicepool.testing.voice_audio import MAX_GAP_S, Pcm, decode_packets, write_wav
from voicepool.testing.voice_faults import check_close_code
from voicepool.testing.voice_media import NEVER, ReceivedStream
from voicepool.testing.voice_messages import CloseCode
from voicepool.testing.voice_report import SessionReport, report_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from pathlib import Path

    from voicepool.testing.voice_grant import VoiceGrant
    from voicepool.testing.voice_waiting import Conditions


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


class SessionView:
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

    grant: VoiceGrant
    ssrc: int
    media: ReceivedStream
    max_dave_protocol_version: int
    dave_protocol_version: int
    dave_epoch: int
    dave_transitions: int
    violations: list[str]
    violations_left_out: int
    heartbeats: int
    resumes: int
    last_seq_ack: int | None
    speaking_updates: deque[int]
    udp_address: tuple[str, int] | None
    discovery_requests: int
    close_code_sent: int | None
    close_code_received: int | None
    _connection: GatewayConnection | None
    _ended: bool
    _described: bool
    _stalled: bool
    _downlink_drops: int
    _conditions: Conditions
    _thresholds: list[float]

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

    async def wait_until(self, predicate: Callable[[Self], bool], timeout_s: float | None = 10.0) -> None:
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

    # How it is done.

    def end(self, code: int | None = None) -> None:
        """End for good; close the websocket with `code`, if there is one."""
        raise NotImplementedError

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
