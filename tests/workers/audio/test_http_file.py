from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av
import pytest

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.raw_server import answering
from tests.workers.audio.test_icy import mixed
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.http_connection import Access
from voicepool.workers.audio.http_file import HttpClient, HttpFile
from voicepool.workers.audio.titles import TitleLog
from voicepool.workers.errors import SourceError

SONG = bytes(range(256)) * 4_096
"""1 MiB."""
SAFETY_S = 30.0


def client_of(url: str, *, live: bool = False, open_s: float = 5.0, read_s: float = 5.0) -> HttpClient:
    access = Access("it", url, {}, None, public_only=False)
    return HttpClient(access, TitleLog(), live=live, open_timeout_s=open_s, read_timeout_s=read_s)


@contextmanager
def opened(url: str, *, live: bool = False, read_s: float = 5.0) -> Iterator[HttpFile]:
    client = client_of(url, live=live, read_s=read_s)
    try:
        yield client.open()
    finally:
        client.close()
        client.close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    with serving(Site({"song": SONG})) as served:
        yield served


def read_all(file: HttpFile) -> bytes:
    return b"".join(iter(lambda: file.read(65_536), b""))


def read_exactly(file: HttpFile, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += file.read(count - len(data))
    return data


@pytest.mark.parametrize("path", ["/ranges/song", "/file/song", "/flaky/song", "/live/song"])
def test_reads_all(site: Site, path: str) -> None:
    with opened(site.url(path)) as file:
        assert file.head(7) == SONG[:7]
        assert file.head(3) == SONG[:7]
        assert file.tell() == 0
        assert read_all(file) == SONG
        assert file.size_bytes == (None if "live" in path else len(SONG))
        assert file.seekable() == ("live" not in path)
        assert file.sends_from_middle == ("ranges" in path or "flaky" in path)


def test_goes_to_any_place_with_a_request_only_when_something_is_read_there(site: Site) -> None:
    with opened(site.url("/ranges/song")) as file:
        assert file.seek(0, os.SEEK_END) == len(SONG)
        assert file.read(10) == b""
        assert file.seek(-10, os.SEEK_END) == len(SONG) - 10
        assert file.seek(600_000) == 600_000
        assert file.read(5) == SONG[600_000:600_005]
        assert file.seek(400_000, os.SEEK_CUR) == file.tell() == 1_000_005
        assert file.read(5) == SONG[1_000_005:1_000_010]
        assert file.seek(1_000_000) == 1_000_000
        assert file.read(5) == SONG[1_000_000:1_000_005]
        assert file.seek(-1) == -1
        assert file.tell() == 1_000_005
    assert [request.partition("@")[2] for request in site.requests] == ["0", "600000", "1000005", "1000000"]


@pytest.mark.parametrize("path", ["/ranges/song", "/file/song"])
def test_there_and_back_again_costs_no_request(site: Site, path: str) -> None:
    with opened(site.url(path)) as file:
        assert read_exactly(file, 600_000) == SONG[:600_000]
        file.seek(-1, os.SEEK_END)
        file.seek(600_000)
        assert file.read(5) == SONG[600_000:600_005]
        file.seek(200_000, os.SEEK_CUR)
        assert read_exactly(file, 1_000) == SONG[800_005:801_005], "near enough to wait for"
    assert len(site.requests) == 1


def test_what_was_looked_at_is_given_again_after_a_way_round(site: Site) -> None:
    with opened(site.url("/file/song")) as file:
        assert file.head(20) == SONG[:20]
        assert file.read(5) == SONG[:5]
        file.seek(-1, os.SEEK_END)
        file.seek(2)
        assert file.read(5) == SONG[2:7]
        assert read_all(file) == SONG[7:]
    assert len(site.requests) == 1


def test_a_server_without_ranges_is_read_again_up_to_near_places_only(site: Site) -> None:
    client = client_of(site.url("/file/song"))
    file = client.open()
    file.seek(1_000)
    assert file.read(4) == SONG[1_000:1_004]
    with client.opening():
        file.seek(-128, os.SEEK_END)
        assert file.read(128) == b""
    file.seek(0)
    assert file.read(4) == SONG[:4]
    file.seek(-128, os.SEEK_END)
    with pytest.raises(av.error.ConnectionResetError):
        file.read(128)
    assert file.read(128) == b""
    client.close()


def test_a_stall_is_a_timeout_once(site: Site) -> None:
    with opened(site.url("/stall/song"), read_s=0.2) as file:
        assert read_exactly(file, len(SONG) // 2) == SONG[: len(SONG) // 2]
        with pytest.raises(av.error.TimeoutError):
            file.read(1)
        assert file.read(1) == b""


def test_a_break_that_cannot_be_mended(site: Site) -> None:
    with opened(site.url("/cut/song")) as file:
        assert read_exactly(file, len(SONG) // 2) == SONG[: len(SONG) // 2]
        with pytest.raises(av.error.ConnectionResetError):
            file.read(1)
        assert file.read(1) == b""


def test_the_time_to_open_covers_servers_that_drip() -> None:
    # Each wait would be short enough; together they are too long.
    with answering(lambda _head: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(10), hang_up=False) as server:
        client = client_of(server.url(), open_s=0.2)
        with client.opening():
            file = client.open()
            with pytest.raises(av.error.TimeoutError):
                file.head(20)
        client.close()


@pytest.mark.parametrize("live", [True, False])
def test_a_broadcast_is_read_in_small_pieces_and_its_titles_are_noted(*, live: bool) -> None:
    wire = b"ICY 200 OK\r\nicy-metaint: 10000\r\nicy-name: caf\xe9\r\n"
    # It counts the titles too, and so is not the length of the audio.
    wire += b"Content-Length: 40100\r\nContent-Type: audio/mpeg\r\n\r\n"
    wire += mixed(SONG[:40_000], 10_000, b"StreamTitle='A - B';", b"", b"StreamTitle='C';", b"nothing")
    with answering(lambda _head: wire) as server, opened(server.url(), live=live) as file:
        assert file.has_titles
        assert not file.seekable()
        assert file.seek(0, os.SEEK_END) == -1
        assert file.station == {"icy-name": "café"}
        pieces = list(iter(lambda: file.read(65_536), b""))
        assert b"".join(pieces) == SONG[:40_000]
        assert max(map(len, pieces)) <= 4_096
        found = [(change.title, change.artist) for change in file._client.titles.take(0.0)]
        assert found == [("B", "A"), ("C", None)]
    assert "Icy-MetaData: 1\r\n" in server.requests[0]
    assert ("Range" in server.requests[0]) is not live


def test_interrupt_ends_a_wait_for_the_server() -> None:
    asked = threading.Event()

    def half(_head: str) -> bytes:
        asked.set()
        return b"HTTP/1.1 200 OK\r\n\r\nhalf"

    with answering(half, hang_up=False) as server:
        client = client_of(server.url(), live=True, read_s=600.0)
        file = client.open()
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.extend([file.read(4), file.read(4)]))
        thread.start()
        assert asked.wait(SAFETY_S)
        client.interrupt()
        thread.join(SAFETY_S)
        assert not thread.is_alive()
        assert found[-1] == b""
        with pytest.raises(SourceError) as caught:
            client.open()
        assert caught.value.code is ErrorCode.SOURCE_REFUSED
        client.close()
