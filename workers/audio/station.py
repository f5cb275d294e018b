"""A station: one source made into Opus packets once, for all calls of this worker that play it.

The packets go into a `PacketLog`, from which each call's `StationTap` hands them out. So a call of a station
costs what a call costs that passes packets through, whatever the source is made of. Packets of 20 ms go into
the log as they are; PCM is encoded here, once.

The station is an item of the encoder threads, as a call's playback is. It goes by the clock as long as
anybody takes from it, since all who join later are to hear the same moment. It keeps some 1.5 s made ahead,
more than the longest ring of a call, and of a broadcast what has come. Until the first call takes
from it the clock stands, so that a file is heard from its start; a broadcast's runs from its first packet.
When nobody has taken anything for 2 s, all calls being paused or gone, the station rests: it needs no thread,
and keeps its source open. A file goes on where it came to, a broadcast with what its read-ahead has then.

A station that repeats opens its source anew at its end, on the control loop, while what was made ahead is
heard. PCM is joined to the sample.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.frame import FRAME_NS, FRAME_SAMPLES
from voicepool.workers.audio.joining import FrameJoiner
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.station_log import PacketLog, Title
from voicepool.workers.errors import SourceError, WorkerSideError

__all__ = [
    "AHEAD_PACKETS",
    "BURST_PACKETS",
    "OpenedStation",
    "Station",
    "StationEncoder",
    "StationReader",
    "as_source_error",
]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")

AHEAD_PACKETS: Final = 75
"""How many packets of 20 ms to be ahead of the clock. A call's ring holds 50 at most."""
BURST_PACKETS: Final = 24
"""How many to make in one go: few wake-ups, and encoding them holds up other calls for 5 ms at most."""
STARVED_RETRY_NS: Final = FRAME_NS
"""How soon to ask a source again that had nothing ready."""
_MAX_PENDING_TITLES: Final = 16


class StationReader(Protocol):
    """What a station is made from: a reader, or a read-ahead before one.

    It may have ``take_titles() -> list[Title]``, what it has learnt about itself since it was asked last, as
    well.
    """

    @property
    def skipped_packets(self) -> int:
        """Packets that could not be decoded, so far."""

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was polled last began."""

    @property
    def padding_samples(self) -> int:
        """How much of that frame is silence behind the end, of 960 samples."""

    def poll(self) -> bytes | PcmFrame | NotYet | None:
        """Return a frame, `NOT_YET`, or None at the end; never wait long."""

    def close(self) -> None:
        """Release the source."""


class OpenedStation(Protocol):
    """What opening a station's source gives."""

    @property
    def reader(self) -> StationReader:
        """At its start; the station's from now on."""

    @property
    def info(self) -> MediaInfo:
        """What the source says of itself."""


class StationEncoder(Protocol):
    """An Opus encoder, as `opus.Encoder` is."""

    def encode_float(self, frame: PcmFrame) -> bytes:
        """Encode 20 ms, shape (960, 2)."""

    def close(self) -> None:
        """Release it."""


class Station:
    """Makes the packets of one source; an `EncoderItem`.

    Parameters
    ----------
    name
        What the bot calls it.
    opened
        Its source; the reader is owned from now on.
    make_encoder
        Makes the encoder that PCM needs; called on an encoder thread.
    reopen
        Told, on an encoder thread, that the source has ended and is to begin anew, which `go_on` answers.
        None to end with it.
    """

    def __init__(
        self,
        name: str,
        opened: OpenedStation,
        *,
        make_encoder: Callable[[], StationEncoder],
        reopen: Callable[[], object] | None = None,
    ) -> None:
        self.name: Final = name
        self.info: Final = opened.info
        self.log: Final = PacketLog(AHEAD_PACKETS)
        self.busy = threading.Lock()
        self.ticket = -1
        self.hurried = False
        self.parked = False
        self.cancelled = False
        self._reader: StationReader | None = opened.reader
        self._following: StationReader | SourceError | None = None
        self._lock = threading.Lock()
        """Held for a moment, while a reader changes hands."""
        self._closed = False
        self._make_encoder = make_encoder
        self._encoder: StationEncoder | None = None
        self._reopen = reopen
        self._joiner = FrameJoiner()
        self._held_back: deque[bytes] = deque()
        """Packets to follow what the joiner gave out."""
        self._made_in_round = 0
        self._ending = False
        """Whether nothing follows what is held."""
        self._failure: SourceError | None = None
        self._skipped_before = 0
        self._titles: deque[Title] = deque(maxlen=_MAX_PENDING_TITLES)

    @property
    def is_over(self) -> bool:
        """Whether it has ended and who joins now would hear nothing, or next to nothing, of it."""
        return self.cancelled or (self.log.ended and self.log.runs)

    @property
    def may_park(self) -> bool:
        """Whether it has ended, rests, waits for its source to be opened anew, or for the first call."""
        log = self.log
        if self.cancelled:
            return False
        waits_for_source = self._reader is None and self._following is None and not self._ending
        return log.ended or log.rests or waits_for_source or not (log.runs or log.made < AHEAD_PACKETS)

    def fill(self, now_ns: int) -> int | None:
        """Make up to a burst of packets; see `EncoderItem`."""
        if self.cancelled:
            self.close()
            return None
        try:
            return self._make(now_ns)
        except Exception as error:  # noqa: BLE001  # handed to those who listen, and logged if it is a defect
            self.log.finish(self._as_failure(error))
            return now_ns

    def go_on(self, following: StationReader | SourceError) -> None:
        """Begin anew with this reader, or end with this error; the caller nudges the encoder threads."""
        with self._lock:
            if not self._closed:
                self._following = following
                return
        if not isinstance(following, SourceError):
            following.close()

    def close(self) -> None:
        """Release source and codec; who still takes from the log gets to its end. Again, it does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = self.cancelled = True
            following, self._following = self._following, None
        self.log.finish()
        reader, self._reader = self._reader, None
        for part in (reader, following, self._encoder):
            if part is not None and not isinstance(part, SourceError):
                _close(part)

    def _make(self, now_ns: int) -> int:
        log = self.log
        if log.rest(now_ns, afresh=self.info.live):
            return now_ns
        room = 0 if log.ended else log.room(now_ns)
        starved = False
        for _ in range(min(room, BURST_PACKETS)):
            packet = self._next_packet()
            if packet is NOT_YET:
                starved = True
                break
            if packet is None:
                break
            reader = self._reader
            log.append(packet, log.position_s(log.made) if reader is None else reader.position_s, now_ns)
            self._made_in_round += 1
        if self.info.live and log.made:
            log.start(now_ns)
        if self._reader is not None:
            self._note_news(self._reader)
        if not log.runs or log.ended:
            return now_ns + STARVED_RETRY_NS if starved else now_ns
        if starved:
            # The more there is, the less it matters when the rest comes.
            return now_ns + max(STARVED_RETRY_NS, (log.due_ns(log.made) - now_ns) // 4)
        return max(now_ns, log.due_ns(log.made - AHEAD_PACKETS + BURST_PACKETS))

    def _next_packet(self) -> bytes | NotYet | None:
        """Return the next packet; None at the end, or as long as the source is being opened anew."""
        while True:
            frame = self._joiner.take()
            if frame is not None:
                return self._encode(frame[0])
            if self._held_back:
                return self._held_back.popleft()
            if self._ending:
                self.log.finish(self._failure)
                return None
            if self._reader is None:
                if not self._take_following():
                    return None
            elif not self._read(self._reader):
                return NOT_YET

    def _read(self, reader: StationReader) -> bool:
        """Take a frame, or the end; return whether there was one of them."""
        try:
            frame = reader.poll()
        except Exception as error:  # noqa: BLE001  # handed to those who listen, after what came before it
            self._end(self._as_failure(error))
            return True
        if frame is NOT_YET:
            return False
        if frame is None:
            self._end_round(reader)
        elif isinstance(frame, bytes):
            # It follows what PCM there is of the round before.
            self._joiner.finish()
            self._held_back.append(frame)
        else:
            self._joiner.push(frame[: FRAME_SAMPLES - reader.padding_samples], 0)
        return True

    def _encode(self, frame: PcmFrame) -> bytes:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._encoder.encode_float(frame)

    def _end_round(self, reader: StationReader) -> None:
        self._note_news(reader)
        while self._titles:
            self.log.announce(self._titles.popleft())
        self._skipped_before, self._reader = self.log.skipped_packets, None
        made, self._made_in_round = self._made_in_round, 0
        _close(reader)
        if self._reopen is not None and made:
            self._reopen()
        else:
            # One with nothing in it would be opened over and over.
            self._end(None)

    def _end(self, failure: SourceError | None) -> None:
        self._ending, self._failure = True, failure
        self._joiner.finish()

    def _take_following(self) -> bool:
        with self._lock:
            following, self._following = self._following, None
        if isinstance(following, SourceError):
            self._end(following)
        elif following is not None:
            self._reader = following
        return following is not None

    def _note_news(self, reader: StationReader) -> None:
        """Pass on what the source says of itself, once its packets are there, and how damaged it is."""
        log = self.log
        log.skipped_packets = self._skipped_before + reader.skipped_packets
        take_titles: Callable[[], list[Title]] | None = getattr(reader, "take_titles", None)
        if take_titles is not None:
            self._titles.extend(take_titles())
        while self._titles and self._titles[0].position_s <= reader.position_s:
            log.announce(self._titles.popleft())

    def _as_failure(self, error: Exception) -> SourceError:
        return as_source_error(error, self.name)


def as_source_error(error: Exception, station: str) -> SourceError:
    """Return what to tell those who listen to a station; what is a defect of voicepool's is logged."""
    if isinstance(error, SourceError):
        return error
    if isinstance(error, WorkerSideError):
        return SourceError(error.code, error.text, **error.data)
    _LOGGER.error("the station %r failed inside voicepool", station, exc_info=error)
    text = f"voicepool failed in the station {station!r}: {error!r}; the worker's log has the traceback"
    return SourceError(ErrorCode.INTERNAL, text)


def _close(part: StationReader | StationEncoder) -> None:
    try:
        part.close()
    except Exception:
        # The thread that closes serves all calls of the worker.
        _LOGGER.exception("a %s could not be closed", type(part).__name__)
