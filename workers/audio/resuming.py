"""A recording from a server that breaks off in the middle, and is taken up again where it broke.

FFmpeg mends a connection that breaks by asking at once, and once more a second later, for the missing part.
What is here is for all that lasts longer: a server that restarts, stalls, or answers half. The source is
opened anew after a while, and goes on at the sample or packet that would have come next.

The last frames before a break are not to be trusted: FFmpeg may hand out half a packet, and what the decoder
still held. So `Resuming` is a few frames behind the reader, and makes those that were not handed out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.description import MediaInfo
from voicepool.workers.audio.frame import FRAMES_PER_S
from voicepool.workers.audio.reader import Frame, MediaKind
from voicepool.workers.audio.reconnecting import RECOVERED_FRAMES, Attempts
from voicepool.workers.audio.region import SeekableReader
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.audio.truncation import SLACK_S
from voicepool.workers.errors import SourceError

__all__ = ["Resuming"]

_HELD_FRAMES: Final = 5
"""100 ms: more than a packet of what comes in halves, MP3 and AAC; FLAC has a checksum."""
_FRUITLESS: Final = 2
"""Connections in a row that end where they began: then it is the file that is short, not the server."""
_STALLS: Final = 3
"""Connections in a row that stall where they began: each costs the listener a read timeout."""
_ENDS_UNSEEN: Final = frozenset({"ogg", "wav"})
"""Containers that FFmpeg knows the length of, and yet takes the end of a connection for their end.

Of others it either notices (`truncation`), or has but guessed at the length.
"""
_PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""HTTP statuses of the fours that ask for another try later (RFC 9110 §15.5.9, RFC 8470, RFC 6585 §4)."""


class Resuming:
    """A reader that goes on where its source broke off. Used like the reader inside; its `read` may wait.

    Not for live streams (`Reconnecting`): of those, what was missed is lost. A source that turns out to be
    one, that has changed meanwhile, or that the server has no more, ends with why it broke off.

    Parameters
    ----------
    reader
        Owned from now on.
    reopen
        Opens the source anew, at its start; blocks, and raises `SourceError`.
    attempts
        How often to try after a break, 0 or more; 10 s of audio later there are as many again.
    first_delay_s, longest_delay_s
        How long to wait before the first attempt, and at most before a later one.
    """

    def __init__(
        self,
        reader: SeekableReader,
        *,
        reopen: Callable[[], SeekableReader],
        attempts: int = 8,
        first_delay_s: float = 0.5,
        longest_delay_s: float = 10.0,
    ) -> None:
        self._reader = reader
        self._reopen = reopen
        self._attempts = Attempts(attempts, first_delay_s=first_delay_s, longest_delay_s=longest_delay_s)
        self._fruitless = 0
        self._stalls = 0
        self._taken_up = False
        """Whether the source was opened by us, and not sent elsewhere since."""
        self._frames_here = 0
        """Read since the source was opened last, or sent elsewhere."""
        self._held: deque[tuple[Frame, float, int]] = deque()
        """Read and not yet handed out: frame, its place in seconds, samples of padding."""
        self._next_s = self._position_s = reader.position_s
        self._padding_samples = 0
        self._preroll = reader.preroll_packets
        self._skipped_before = 0
        self._failure: SourceError | None = None
        self._refusal: SourceError | None = None
        """What the last attempt met."""
        self._ended = False
        self._reader_closed = False
        self._interrupted = self._attempts.interrupted
        self.info: Final[MediaInfo] = reader.info
        self.resumptions = 0
        """How many times it was taken up again."""

    @property
    def kind(self) -> MediaKind:
        """What the reader gives at present; look at what `read` returned."""
        return self._reader.kind

    @property
    def skipped_packets(self) -> int:
        """Damaged packets left out so far, over all connections."""
        return self._skipped_before + self._reader.skipped_packets

    @property
    def padding_samples(self) -> int:
        """How much of the frame that was read last is silence behind the end, in samples."""
        return self._padding_samples

    @property
    def preroll_packets(self) -> tuple[bytes, ...]:
        """After a `seek`: the Opus packets before the next, as `MediaReader` has them."""
        return self._preroll

    @property
    def position_s(self) -> float:
        """Where in the source the frame that was read last began; before that, where the first will."""
        return self._position_s

    def read(self) -> Frame | None:
        """Return the next 20 ms; blocks over a break. `None` at the end.

        Raises
        ------
        SourceError
            Once, after all that came before it: why the source broke off, after the last attempt.
        """
        while len(self._held) <= _HELD_FRAMES and not self._ended and not self._interrupted.is_set():
            self._read_one()
        if self._interrupted.is_set():
            return None
        if self._held:
            frame, self._position_s, self._padding_samples = self._held.popleft()
            return frame
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None

    poll = read

    def take_packets(self, most: int) -> list[bytes]:  # noqa: ARG002 - the same for all readers
        """Return none: whatever comes from a server may have to be waited for."""
        return []

    def take_titles(self) -> list[TitleChange]:
        """Return what the source has said since the last call of what is heard."""
        return self._reader.take_titles()

    def seek(self, position_s: float) -> float:
        """Go to a position; returns, raises and blocks as `MediaReader.seek` does."""
        if self._reader_closed:
            self._take_over(self._reopen())
        at_s = self._reader.seek(position_s)
        self._held.clear()
        self._failure = None
        self._ended = False
        self._attempts.renew()
        self._frames_here = 0
        self._taken_up = False
        self._next_s = self._position_s = at_s
        self._padding_samples = 0
        self._preroll = self._reader.preroll_packets
        return at_s

    def interrupt(self) -> None:
        """Have `read` end soon; may be called from any thread."""
        self._interrupted.set()
        self._reader.interrupt()

    def close(self) -> None:
        """Release the reader. Calling it again does nothing."""
        self._interrupted.set()
        self._held.clear()
        self._reader.close()

    def _read_one(self) -> None:
        try:
            frame = self._reader.read()
        except SourceError as failure:
            if not self._take_up(timed_out=failure.code is ErrorCode.SOURCE_TIMEOUT):
                self._failure = failure
                self._ended = True
            return
        if frame is None:
            self._end()
            return
        at_s = self._reader.position_s
        self._held.append((frame, at_s, self._reader.padding_samples))
        self._next_s = at_s + 1 / FRAMES_PER_S
        self._frames_here += 1
        if self._frames_here == RECOVERED_FRAMES:
            self._attempts.renew()

    def _end(self) -> None:
        """End, unless there should be more."""
        duration_s = self.info.duration_s
        early = (
            duration_s is not None
            and self.info.container in _ENDS_UNSEEN
            and self._next_s < duration_s - SLACK_S
            and not self._interrupted.is_set()
        )
        if not (early and self._take_up(timed_out=False)):
            self._ended = True
            # Why nothing more came; none if the server is there, and has no more.
            self._failure = self._refusal if early else None

    def _take_up(self, *, timed_out: bool) -> bool:
        """Open the source anew where it broke off, in as many attempts as are left; tell if that worked."""
        self._refusal = None
        nothing_new = self._taken_up and self._frames_here <= _HELD_FRAMES
        self._fruitless = self._fruitless + 1 if nothing_new and not timed_out else 0
        self._stalls = self._stalls + 1 if nothing_new and timed_out else 0
        if self._fruitless >= _FRUITLESS or self._stalls >= _STALLS or self.info.live:
            return False
        self._reader.close()
        self._reader_closed = True
        while self._attempts.wait_for_next():
            try:
                self._open_there()
            except UnseekableError:
                return False
            except SourceError as error:
                self._refusal = error
                if error.code is ErrorCode.SOURCE_NOT_FOUND or _is_final(error):
                    return False
            else:
                return True
        return False

    def _open_there(self) -> None:
        """Open the source anew, at what was not handed out yet."""
        reader = self._reopen()
        if not _same(reader.info, self.info):
            reader.close()
            raise UnseekableError("the source", "it is another than it was")
        try:
            reader.seek(self._held[0][1] if self._held else self._next_s)
        except BaseException:
            reader.close()
            raise
        self._held.clear()
        self._take_over(reader)
        self._taken_up = True
        self.resumptions += 1

    def _take_over(self, reader: SeekableReader) -> None:
        self._skipped_before += self._reader.skipped_packets
        self._frames_here = 0
        self._reader = reader
        self._reader_closed = False
        if self._interrupted.is_set():
            # It came for the reader before.
            reader.interrupt()


def _is_final(error: SourceError) -> bool:
    """Tell whether the server will say the same the next time."""
    status = error.data.get("http_status")
    return isinstance(status, int) and 400 <= status < 500 and status not in _PASSING_STATUSES  # noqa: PLR2004


def _same(one: MediaInfo, other: MediaInfo) -> bool:
    """Tell whether two answers are of one file, as far as can be seen; a length may be out of reach."""
    lengths = {one.duration_s, other.duration_s} - {None}
    return len(lengths) <= 1 and (one.codec, one.sample_rate_hz, one.channels) == (
        other.codec,
        other.sample_rate_hz,
        other.channels,
    )
