from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.media import Frame, MediaInfo, MediaKind
from voicepool.workers.audio.reconnecting import Attempts, Reconnecting, backoff_s
from voicepool.workers.audio.seeking import UnseekableError
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.errors import SourceError

SAFETY_S = 20.0
BROKEN = SourceError(ErrorCode.SOURCE_TRUNCATED, "broke off")
REFUSED = SourceError(ErrorCode.SOURCE_REFUSED, "nothing listens there")


class Connection:
    """Gives so many packets, and then ends or fails."""

    kind: MediaKind = "opus"
    skipped_packets = 1
    padding_samples = 0
    preroll_packets: tuple[bytes, ...] = ()

    def __init__(self, count: int, error: SourceError | None = None, *, title: str = "") -> None:
        self.info = MediaInfo(title, None, None, "opus", "ogg", 48_000, 2)
        self.closed = self.interrupted = False
        self._left = count
        self._error = error

    position_s = 0.0

    def take_packets(self, most: int) -> list[bytes]:
        raise NotImplementedError

    def take_titles(self) -> list[TitleChange]:
        return [TitleChange(0.0, self.info.title, None)]

    def read(self) -> Frame | None:
        assert not self.closed
        if self._left and not self.interrupted:
            self._left -= 1
            return b"packet"
        if self._error is not None:
            raise self._error
        return None

    def seek(self, _position_s: float) -> float:
        raise UnseekableError("it", "it is a live stream")

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        self.closed = True


class Servers:
    """What opening anew meets, in turn; nobody listens after the last."""

    def __init__(self, answers: Iterable[Connection | SourceError]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Connection:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else REFUSED
        if isinstance(answer, SourceError):
            raise answer
        return answer


def reconnecting(first: Connection, servers: Servers, *, attempts: int = 3) -> Reconnecting:
    return Reconnecting(first, reopen=servers, attempts=attempts, first_delay_s=0.0)


def count_frames(stream: Reconnecting) -> int:
    count = 0
    while stream.read() is not None:
        count += 1
    return count


def test_goes_on_with_the_next_connection_after_an_end_and_after_an_error() -> None:
    first, second = Connection(3, BROKEN, title="a"), Connection(4, title="b")
    stream = reconnecting(first, Servers([REFUSED, second]))
    assert stream.info.title == "a"
    assert count_frames(stream) == 7
    assert [(said.title, said.position_s) for said in stream.take_titles()] == [("b", stream.position_s)]
    assert (stream.info.title, stream.reconnects, stream.skipped_packets) == ("b", 1, 2)
    assert stream.position_s == pytest.approx(6 / 50)
    assert first.closed
    assert second.closed
    assert stream.read() is None
    stream.close()


def test_attempts_are_bounded_and_the_reason_is_why_it_broke_off() -> None:
    servers = Servers([])
    stream = reconnecting(Connection(3, BROKEN), servers, attempts=4)
    with pytest.raises(SourceError) as caught:
        count_frames(stream)
    assert caught.value is BROKEN
    assert servers.asked == 4
    assert stream.read() is None
    assert servers.asked == 4
    stream.close()


def test_server_that_lets_in_and_breaks_off_at_once_is_not_asked_for_ever() -> None:
    servers = Servers(Connection(1, BROKEN) for _ in range(100))
    stream = reconnecting(Connection(1, BROKEN), servers)
    with pytest.raises(SourceError):
        count_frames(stream)
    assert servers.asked == stream.reconnects == 3
    stream.close()


def test_ten_good_seconds_give_all_attempts_back() -> None:
    servers = Servers(Connection(500, BROKEN) for _ in range(10))
    stream = reconnecting(Connection(1), servers)
    with pytest.raises(SourceError):
        count_frames(stream)
    assert stream.reconnects == 10
    assert servers.asked == 13
    stream.close()


def test_no_attempts() -> None:
    stream = reconnecting(Connection(2), Servers([Connection(2)]), attempts=0)
    assert count_frames(stream) == 2
    stream.close()


def test_attempts_are_so_many_until_they_are_renewed_and_none_once_interrupted() -> None:
    attempts = Attempts(2, first_delay_s=0.0, longest_delay_s=0.0)
    assert [attempts.wait_for_next() for _ in range(3)] == [True, True, False]
    attempts.renew()
    assert attempts.wait_for_next()
    attempts.interrupted.set()
    assert not attempts.wait_for_next()


def test_interrupt_ends_the_wait() -> None:
    servers = Servers([Connection(5)])
    first = Connection(0)
    stream = Reconnecting(first, reopen=servers, first_delay_s=600.0, longest_delay_s=600.0)
    found: list[Frame | None] = []
    thread = threading.Thread(target=lambda: found.append(stream.read()))
    thread.start()
    stream.interrupt()
    thread.join(SAFETY_S)
    assert found == [None]
    assert servers.asked == 0
    stream.close()


def test_interrupt_while_it_opens_reaches_the_new_connection() -> None:
    late = Connection(5)

    def reopen() -> Connection:
        stream.interrupt()
        return late

    stream = Reconnecting(Connection(0), reopen=reopen, first_delay_s=0.0)
    assert stream.read() is None
    assert late.interrupted
    stream.close()
    assert late.closed


def test_a_live_stream_does_not_seek() -> None:
    stream = reconnecting(Connection(3), Servers([]))
    assert stream.take_packets(3) == []
    with pytest.raises(UnseekableError):
        stream.seek(1.0)
    assert stream.read() is not None
    stream.close()


def test_waits_grow_up_to_a_bound() -> None:
    waits = [backoff_s(n, first_s=0.5, longest_s=10.0) for n in range(7)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff_s(10**6, first_s=0.5, longest_s=10.0) == 10.0
