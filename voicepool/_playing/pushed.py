"""The writing end that all pushed streams have: who may write, how much, and what waits to be sent.

Audio passes three counts, each at most the one before: what the bot may write, what a writing method has
taken over (*accepted*), what went to the worker (*sent*). Between the last two lies what was written before
the stream was played. All are in samples, compared with the milliseconds granted as whole numbers, so nothing
drifts.

When another worker goes on with the call, it grants credit of its own, counted from what has been sent by
then. What the old one had been sent and had not taken yet is lost: at most ``buffer_ms``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

from voicepool._subject_log import about
from voicepool.errors import VoicePoolError
from voicepool.ipc.ids import new_stream_id
from voicepool.ipc.sources import StreamSource

__all__ = ["PushedSource", "Send", "StreamClosedError", "checked_whole"]

_LOGGER: Final = logging.getLogger("voicepool.player")

Send: TypeAlias = Callable[[Sequence[bytes], bool], None]
"""Sends attachments to the worker, and whether they end the stream."""

_MESSAGE_MS: Final = 100
"""Most audio in one message: what is large would keep small ones waiting."""


class StreamClosedError(VoicePoolError):
    """Raised when audio is written to a stream that was closed, or whose track has ended.

    If the track broke off, ``__cause__`` is its error. Also raised when a stream is played a second time.
    """


class PushedSource:
    """Base of the streams, not to be made itself.

    Several tasks may write at once: their writes follow each other in the order of the calls, each in one
    piece. ``async with`` closes the stream at its end; if the block raises, what was written plays out.

    Parameters
    ----------
    wire_format
        As `StreamSource` names it.
    sample_rate_hz, channels, buffer_ms
        See `PcmStream`.
    unit_samples
        Least that can be written, in samples of one channel.
    """

    def __init__(
        self, *, wire_format: str, sample_rate_hz: int, channels: int, buffer_ms: int, unit_samples: int
    ) -> None:
        checked_whole("buffer_ms", buffer_ms, 20, 10_000)
        self.sample_rate_hz: Final = sample_rate_hz
        self.channels: Final = channels
        self.buffer_ms: Final = buffer_ms
        self._source: Final = StreamSource(
            stream=new_stream_id(),
            format=wire_format,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            capacity_ms=buffer_ms,
        )
        self._unit_samples = unit_samples
        # Credit is granted by the quarter of the buffer: a message that fits into one can always be sent.
        wanted = min(_MESSAGE_MS, buffer_ms // 4) * sample_rate_hz // 1_000
        self._message_samples = max(unit_samples, wanted - wanted % unit_samples)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._send: Send | None = None
        self._was_played = False
        self._granted_ms = 0
        """By the worker that has it now."""
        self._base_samples = 0
        """What had been sent before that worker got it."""
        self._accepted_samples = 0
        self._sent_samples = 0
        self._lost_samples = 0
        self._held: deque[tuple[Sequence[bytes], int]] = deque()
        """Messages that were accepted and wait for credit, with their samples: `buffer_ms` at most."""
        self._closing = False
        self._detached = False
        self._end_sent = False
        self._error: VoicePoolError | None = None

    # What a bot author uses.

    @property
    def label(self) -> str:
        """A short name for logs."""
        return f"{type(self).__name__} {self._source.stream}"

    @property
    def size_bytes(self) -> int:
        """How much goes to the worker beside the description: 0."""
        return 0

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closing or self._detached

    @property
    def written_s(self) -> float:
        """Seconds of audio taken over by the writing methods so far, heard or not."""
        return self._accepted_samples / self.sample_rate_hz

    @property
    def lost_s(self) -> float:
        """Seconds of audio that were on their way to a worker that was lost or left, and are not heard."""
        return self._lost_samples / self.sample_rate_hz

    async def close(self) -> None:
        """End the stream after the writes called before; what was written plays out. May be called again.

        It does not wait until all has been heard: awaiting ``voice.play(stream)`` does.

        Raises
        ------
        ValueError
            The stream ends inside a sample. The whole samples before play out all the same.
        """
        async with self._turn:
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            # Nothing is waited for: the block may have been cancelled.
            self._end()

    def __repr__(self) -> str:
        return f"<{self.label}: {self.sample_rate_hz} Hz, {self.channels} channels, {self.written_s:.1f} s>"

    # What the player uses.

    def to_wire(self) -> tuple[StreamSource, tuple[bytes, ...]]:
        """Return the description for the message to a worker, and its attachments: none."""
        return self._source, ()

    @property
    def was_played(self) -> bool:
        """Whether it was attached to a track once; it cannot be a second time."""
        return self._was_played or self._detached

    @property
    def exhausted(self) -> bool:
        """Whether another worker would have nothing to play: it was closed, and all of it sent."""
        return self._closing and not self._held

    def attach(self, send: Send) -> None:
        """Take the way to the worker. Nothing is sent before the first `grant`.

        Parameters
        ----------
        send
            Called with the attachments of a message, and whether it ends the stream. It does not wait; a
            `VoicePoolError` that it raises ends the stream.

        Raises
        ------
        StreamClosedError
            It was attached before.
        """
        if self.was_played:
            raise StreamClosedError(f"{self.label} was played before; make a new stream for each play")
        self._was_played = True
        self._send = send
        self._flush()

    def suspend(self, place: str = "") -> None:
        """Take note that the worker is gone; `reattach` follows. Who writes waits beyond `buffer_ms`.

        `place` is the guild that hears it, for the log.
        """
        if self._detached or self._send is None:
            return
        self._send = None
        taken_ms = max(self._granted_ms - self.buffer_ms, 0)
        taken_samples = self._base_samples + taken_ms * self.sample_rate_hz // 1_000
        lost_samples = max(self._sent_samples - taken_samples, 0)
        if lost_samples and not self._lost_samples:
            text = "%s: %d ms of it were with a worker that is gone, and are not heard; it goes on after them"
            _LOGGER.warning(
                text, self.label, lost_samples * 1_000 // self.sample_rate_hz, extra=about(place=place)
            )
        self._lost_samples += lost_samples
        self._base_samples, self._granted_ms, self._end_sent = self._sent_samples, 0, False

    def reattach(self, send: Send) -> None:
        """Take the way to another worker, after `suspend`; see `attach`."""
        if self._detached:
            raise StreamClosedError(f"the track that played {self.label} has ended")
        self._send = send
        self._flush()

    def grant(self, credit_ms: int) -> None:
        """Let further `credit_ms` milliseconds of audio be sent."""
        self._granted_ms += credit_ms
        self._flush()

    def detach(self, error: VoicePoolError | None) -> None:
        """Take note that the track has ended: nothing is sent any more, who writes gets `StreamClosedError`.

        Parameters
        ----------
        error
            Why it broke off; None if it was stopped, replaced or played to its end.
        """
        if self._detached:
            return
        self._detached = True
        self._error = error
        self._send = None
        self._held.clear()
        self._news.set()

    # How it is done.

    def _room_samples(self) -> int:
        """Return how much may be accepted now, in samples of one channel and whole units."""
        # The first grant is the whole buffer, so that much can be accepted beforehand, and held.
        allowed_ms = max(self._granted_ms, self.buffer_ms)
        room = self._base_samples + allowed_ms * self.sample_rate_hz // 1_000 - self._accepted_samples
        return room - room % self._unit_samples

    async def _wait_for_room(self) -> int:
        """Wait until at least a unit can be accepted; return how many samples can."""
        while True:
            self._require_open()
            room = self._room_samples()
            if room > 0:
                return room
            self._news.clear()
            await self._news.wait()

    def _require_open(self) -> None:
        if self._detached:
            reason = "" if self._error is None else f": {self._error}"
            raise StreamClosedError(f"the track that played {self.label} has ended{reason}") from self._error
        if self._closing:
            raise StreamClosedError(f"{self.label} is closed; nothing can be written after close()")

    def _accept(self, attachments: Sequence[bytes], samples: int) -> None:
        self._accepted_samples += samples
        self._held.append((attachments, samples))
        self._flush()
        if self._detached:
            # Sending it has failed.
            self._require_open()

    def _flush(self) -> None:
        """Send what there is credit for, and the end after all else."""
        try:
            while self._send is not None and self._held:
                attachments, samples = self._held[0]
                ahead_samples = self._sent_samples + samples - self._base_samples
                if ahead_samples * 1_000 > self._granted_ms * self.sample_rate_hz:
                    break
                # Taken out before: whatever `send` does, it is not called with the same audio twice.
                self._held.popleft()
                self._sent_samples += samples
                self._send(attachments, False)
            opened = self._granted_ms > 0
            if self._send is not None and opened and self._closing and not (self._held or self._end_sent):
                self._end_sent = True
                self._send((), True)
        except VoicePoolError as error:
            # A stream with a hole in it would go on as if nothing had happened.
            self.detach(error)
        self._news.set()

    def _close(self) -> None:
        self._end()

    def _end(self) -> None:
        self._closing = True
        self._flush()


def checked_whole(name: str, value: object, low: int, high: int) -> None:
    """Check a parameter.

    Raises
    ------
    ValueError
        It is no whole number from `low` to `high`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
