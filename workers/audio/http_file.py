"""A URL as a file: what FFmpeg reads from where it has no network of its own.

A recording is asked for by ranges: a seek is a new request, made when the next byte is wanted and is not one
that is about to come, and a connection that breaks is made anew. (To learn a file's length, FFmpeg goes to
its end and back, time and again.) A broadcast is read as it comes, in small pieces, so that the titles
between its bytes (`icy`) are seen when the audio behind them is about to be decoded.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import av

from voicepool.workers.audio.http_connection import Access, Answer, request
from voicepool.workers.audio.icy import IcyStripper, interval_bytes, parse_block, split_title
from voicepool.workers.audio.titles import TitleLog
from voicepool.workers.errors import SourceError

__all__ = ["HttpClient", "HttpFile"]

_LIVE_BYTES: Final = 4_096
"""Read at once of a broadcast: a quarter of a second at 128 kbit/s."""
_MEND_DELAYS_S: Final = (0.0, 1.0)
"""A connection that breaks is made anew at once, and once more after this long."""
_SKIPPED_BYTES: Final = 1 << 18
"""What may lie before a place that is gone to, and be received for nothing."""
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_STATION: Final = ("icy-name", "icy-genre", "icy-br", "icy-url", "icy-description")
_PARTIAL: Final = 206


class HttpClient:
    """Fetches what belongs to one source. One thread at a time may use it, but for `interrupt`.

    Parameters
    ----------
    access
        How to ask.
    titles
        Where the titles of a broadcast go.
    live
        Whether it is a broadcast, which has no middle to go to.
    open_timeout_s
        How long a server may take until its audio is recognised (`opening`).
    read_timeout_s
        How long it may send nothing.
    """

    def __init__(
        self, access: Access, titles: TitleLog, *, live: bool, open_timeout_s: float, read_timeout_s: float
    ) -> None:
        self.access: Final = access
        self.titles: Final = titles
        self.live: Final = live
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._deadline: float | None = None
        self._stopped = threading.Event()
        self._answers: set[Answer] = set()
        """At most one a file that is open: FFmpeg has two for a playlist."""

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Have all that is done within end in time, however slowly the server sends."""
        self._deadline = time.monotonic() + self._open_timeout_s
        try:
            yield
        finally:
            self._deadline = None

    def open(self) -> HttpFile:
        """Ask for the source.

        Raises
        ------
        SourceError
            It cannot be had.
        """
        headers = {"Icy-MetaData": "1"} if self.live else {"Icy-MetaData": "1", "Range": "bytes=0-"}
        return HttpFile(self, self.fetch(self.access.url, headers))

    def fetch(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask for a URL; the answer belongs to this client until `release`.

        Raises
        ------
        SourceError
            It cannot be had.
        """
        answer = request(self.access, url, headers, self.patience_s)
        self._answers.add(answer)
        return answer

    def release(self, answer: Answer) -> None:
        """Close an answer."""
        self._answers.discard(answer)
        answer.close()

    def patience_s(self) -> float:
        """Return how long the next wait may take, in seconds; raises `OSError` if there is to be none."""
        if self._stopped.is_set():
            raise ConnectionAbortedError(errno.ECONNABORTED, "interrupted")
        if self._deadline is None:
            return self._read_timeout_s
        left_s = self._deadline - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError(errno.ETIMEDOUT, "the time to open is over")
        return left_s

    @property
    def is_opening(self) -> bool:
        """Whether `opening` goes on."""
        return self._deadline is not None

    @property
    def has_time(self) -> bool:
        """Whether there may be a next wait."""
        try:
            self.patience_s()
        except OSError:
            return False
        return True

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted or closed."""
        return self._stopped.is_set()

    def rest(self, delay_s: float) -> bool:
        """Wait; tell whether it was not interrupted meanwhile."""
        return not self._stopped.wait(delay_s)

    def interrupt(self) -> None:
        """End every wait for a server that has answered once. May be called from any thread, and is for good.

        One that has not answered yet is waited for as long as the timeouts say.
        """
        self._stopped.set()
        for answer in self._answers.copy():
            try:
                # Not the method of TLS, which is not made to be called while another thread reads.
                socket.socket.shutdown(answer.sock, socket.SHUT_RDWR)
            except OSError:
                # Not connected any more.
                continue

    def close(self) -> None:
        """Release all connections. Calling it again does nothing."""
        self._stopped.set()
        for answer in list(self._answers):
            self.release(answer)


class HttpFile:
    """The body of a URL, as FFmpeg's reading callbacks.

    `read` raises once, one of FFmpeg's own errors, which comes out of PyAV where a read of FFmpeg's would
    have failed; after that it is at its end.

    Parameters
    ----------
    client
        Owns the connection.
    answer
        The first answer, from the file's start.
    is_part
        It belongs to another file, a playlist, and is read once from its start.

    Attributes
    ----------
    name
        Its URL, from which those in a playlist count; may hold secrets.
    size_bytes
        `None` if the server did not say.
    sends_from_middle
        Whether the server can be asked for a part.
    station
        What a broadcast says of itself in its headers: ``icy-name``, ``icy-genre``, ``icy-br`` (kbit/s) ...
    """

    def __init__(self, client: HttpClient, answer: Answer, *, is_part: bool = False) -> None:
        self._client = client
        self._answer: Answer | None = answer
        self._position = 0
        """Place of the byte that is read next."""
        self._received = 0
        """Place of the byte that the answer gives next."""
        self._head = b""
        """Bytes right before that which were looked at; empty once the answer is read beyond them."""
        self._over = False
        self.name: Final = answer.url
        interval = None if is_part else interval_bytes(answer.header("icy-metaint"))
        self._stripper = None if interval is None else IcyStripper(interval)
        found = None if is_part else _CONTENT_RANGE.match(answer.header("Content-Range") or "")
        whole = int(found[2]) if found else answer.response.length
        # The server's number counts the titles too.
        self.size_bytes: Final = whole if interval is None else None
        in_parts = answer.response.status == _PARTIAL or answer.header("Accept-Ranges") == "bytes"
        self._most_bytes = _LIVE_BYTES if client.live or interval else None
        once = client.live or is_part or interval is not None
        self._seekable = self.size_bytes is not None and not once
        self.sends_from_middle: Final = self._seekable and in_parts
        said = {name: _text(answer.header(name)) for name in _STATION}
        self.station: Final = {name: value for name, value in said.items() if value}

    @property
    def has_titles(self) -> bool:
        """Whether the server puts titles between the bytes."""
        return self._stripper is not None

    def seekable(self) -> bool:
        """Tell whether it has a length, and so places to go to."""
        return self._seekable

    def head(self, count: int) -> bytes:
        """Return the first bytes, which `read` returns again; fewer if there are no more.

        Raises
        ------
        av.FFmpegError
            Reading failed.
        """
        while len(self._head) < count and (data := self._read(len(self._head), count - len(self._head))):
            self._head += data
        return self._head

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        at = len(self._head) - (self._received - self._position)
        if 0 <= at < len(self._head):
            data = self._head[at : at + count]
        else:
            data = self._read(self._position, count)
            self._head = b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns the new position, or -1 if that is not possible."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self.size_bytes or 0
        if not self._seekable or offset < 0:
            return -1
        self._position = offset
        return offset

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def close(self) -> None:
        """Release the connection. Calling it again does nothing."""
        self._over = True
        self._drop()

    def _read(self, place: int, count: int) -> bytes:
        if self._is_out_of_reach(place) and self._client.is_opening:
            # Looked for at the end is the tag of an old MP3, which is no reason to read all before it.
            return b""
        delays_s = iter(_MEND_DELAYS_S if self.sends_from_middle else ())
        while not self._over and not self._client.stopped:
            failure: Exception
            try:
                data = self._receive(place, min(count, self._most_bytes or count))
            except (OSError, http.client.HTTPException, SourceError) as error:
                failure = error
            else:
                if data or self.size_bytes is None or place >= self.size_bytes:
                    return data
                failure = ConnectionResetError(errno.ECONNRESET, "ended before all was sent")
            self._drop()
            late = isinstance(failure, TimeoutError)
            delay_s = None if late else next(delays_s, None)
            if delay_s is None or not self._client.rest(delay_s):
                self._over = True
                if not self._client.stopped:
                    raise _ffmpeg_error(late=late) from failure
        return b""

    def _receive(self, place: int, count: int) -> bytes:
        """Return some bytes; none at the end of what the server sends."""
        if self.size_bytes is not None and place >= self.size_bytes:
            return b""
        if not self._will_come(place):
            self._drop()
        if self._answer is None:
            self._answer = self._ask_from(place)
            self._received = place
        while self._received < place:
            skipped = len(self._answer.response.read1(place - self._received))
            if not skipped:
                return b""
            self._received += skipped
        while data := self._answer.response.read1(count):
            audio = data if self._stripper is None else self._strip(self._stripper, data)
            self._received += len(audio)
            if audio:
                return audio
        return b""

    def _will_come(self, place: int) -> bool:
        return self._answer is not None and 0 <= place - self._received <= _SKIPPED_BYTES

    def _is_out_of_reach(self, place: int) -> bool:
        return not self.sends_from_middle and place > _SKIPPED_BYTES and not self._will_come(place)

    def _ask_from(self, position: int) -> Answer:
        if not self._seekable or self._is_out_of_reach(position):
            raise ConnectionResetError(errno.ECONNRESET, "the server does not send from the middle")
        if not self.sends_from_middle:
            answer = self._client.fetch(self._client.access.url, {})
            while position and (skipped := answer.response.read1(position)):
                position -= len(skipped)
            return answer
        answer = self._client.fetch(self._client.access.url, {"Range": f"bytes={position}-"})
        found = _CONTENT_RANGE.match(answer.header("Content-Range") or "")
        if answer.response.status == _PARTIAL and found and int(found[1]) == position:
            return answer
        self._client.release(answer)
        raise ConnectionResetError(errno.ECONNRESET, "the server does not send from the middle")

    def _strip(self, stripper: IcyStripper, data: bytes) -> bytes:
        audio = stripper.feed(data)
        for block in stripper.blocks:
            fields = parse_block(block)
            if "streamtitle" in fields:
                artist, title = split_title(fields["streamtitle"])
                self._client.titles.announce(fields, title=title, artist=artist)
        stripper.blocks.clear()
        return audio

    def _drop(self) -> None:
        if self._answer is not None:
            self._client.release(self._answer)
            self._answer = None


def _ffmpeg_error(*, late: bool) -> av.FFmpegError:
    if late:
        return av.error.TimeoutError(errno.ETIMEDOUT, "timed out")
    return av.error.ConnectionResetError(errno.ECONNRESET, "connection reset by peer")


def _text(header: str | None) -> str:
    """Return a header's text: servers mean UTF-8, `http.client` reads Latin-1."""
    if header is None:
        return ""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
