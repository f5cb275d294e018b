from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import addresses
from voicepool.workers.audio import playlist as playlist_module
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.playlist import Part, PlaylistParts
from voicepool.workers.errors import SourceError

FRAMES = 101
"""Of one segment: 2 s, and the encoder's padding."""


def segment() -> bytes:
    return encode("aac", "mpegts", bitrate_bps=128_000)


def playlist(*lines: str, end: str = "#EXT-X-ENDLIST\n") -> bytes:
    head = "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
    entries = (line if line.startswith("#") else f"#EXTINF:2,\n{line}" for line in lines)
    return (head + "".join(f"{entry}\n" for entry in entries) + end).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or real(address))
    with serving(Site({"a.ts": segment(), "b.ts": segment()})) as served:
        yield served


def opened(url: str, *, ours: bool, live: bool = False) -> MediaReader:
    more = {"headers": {"X-Key": "hunter2", "Referer": "r"}, "public_only": True} if ours else {}
    return open_media(url, open_timeout_s=5.0, read_timeout_s=5.0, live=live, **more)  # type: ignore[arg-type]


def count_frames(reader: MediaReader) -> int:
    count = 0
    while reader.read() is not None:
        count += 1
    reader.close()
    return count


# With FFmpeg's client and with ours.
both = pytest.mark.parametrize("ours", [True, False])


@both
def test_master_and_media_playlist(site: Site, *, ours: bool) -> None:
    site.files["list.m3u8"] = playlist("a.ts", "b.ts")
    site.files["master.m3u8"] = (
        b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=128000,CODECS="mp4a.40.2"\n/file/list.m3u8?t=1\n'
    )
    reader = opened(site.url("/file/master.m3u8?hunter2"), ours=ours)
    assert (reader.info.container, reader.info.duration_s, reader.info.live) == ("hls", 4.0, False)
    assert count_frames(reader) in range(2 * FRAMES - 1, 2 * FRAMES + 2)


@both
def test_seeking(site: Site, *, ours: bool) -> None:
    site.files["list.m3u8"] = playlist("a.ts", "b.ts")
    reader = opened(site.url("/file/list.m3u8"), ours=ours)
    assert reader.seek(1.0) == 1.0
    assert count_frames(reader) in range(150, 156)


@both
def test_live_window(site: Site, *, ours: bool) -> None:
    """The list that is there is played, and the next is asked for; it has ended by then."""
    site.files["list.m3u8"] = playlist("a.ts", "b.ts", end="")
    reader = opened(site.url("/file/list.m3u8"), ours=ours, live=True)
    assert (reader.info.live, reader.info.duration_s) == (True, None)
    site.files["list.m3u8"] = playlist("a.ts", "b.ts", "a.ts")
    assert count_frames(reader) in range(3 * FRAMES - 3, 3 * FRAMES + 3)


@both
def test_a_list_without_its_extension(site: Site, *, ours: bool) -> None:
    site.files["list"] = playlist("a.ts")
    if ours:
        assert count_frames(opened(site.url("/file/list"), ours=True)) == FRAMES + 1
    else:
        # FFmpeg wants the extension or the type, and this server sends none.
        with pytest.raises(SourceError):
            opened(site.url("/file/list"), ours=False)


def test_pieces_of_one_file_and_encrypted_segments(site: Site) -> None:
    data, key, vector = segment(), bytes(range(16)), bytes(16)
    site.files["key"] = key
    padding = 16 - len(data) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    site.files["secret.ts"] = encryptor.update(data + bytes([padding]) * padding)
    site.files["both.ts"] = data + data
    key_line = f'#EXT-X-KEY:METHOD=AES-128,URI="/file/key",IV=0x{vector.hex()}'
    ranges = [f"#EXT-X-BYTERANGE:{len(data)}@{at}\n#EXTINF:2,\n/ranges/both.ts" for at in (0, len(data))]
    site.files["list.m3u8"] = playlist(key_line, "secret.ts", "#EXT-X-KEY:METHOD=NONE", *ranges)
    assert count_frames(opened(site.url("/file/list.m3u8"), ours=True)) in range(
        3 * FRAMES - 3, 3 * FRAMES + 3
    )
    assert f"ranges/both.ts@{len(data)}" in site.requests
    assert "file/key@0" in site.requests


def test_another_host_gets_segments_asked_for_without_secrets(site: Site) -> None:
    with serving(Site({"b.ts": segment()})) as other:
        site.files["list.m3u8"] = playlist("a.ts", other.url("/file/b.ts"))
        assert count_frames(opened(site.url("/file/list.m3u8"), ours=True)) in range(200, 206)
        assert all(headers["X-Key"] == "hunter2" for headers in site.headers)
        assert [(headers.get("X-Key"), headers["Referer"]) for headers in other.headers] == [(None, "r")]


def test_a_segment_that_is_missing_or_inside_is_left_out(site: Site) -> None:
    site.files["list.m3u8"] = playlist("a.ts", "/404/x.ts", "http://10.0.0.1/x.ts", "b.ts")
    assert count_frames(opened(site.url("/file/list.m3u8"), ours=True)) in range(200, 206)


@both
def test_a_list_names_no_local_file(site: Site, tmp_path: Path, *, ours: bool) -> None:
    song = tmp_path / "song.ts"
    song.write_bytes(segment())
    for line in (
        f"file://{song}",
        "file:///etc/passwd",
        f"data:audio/mp2t,{'x' * 99}",
        f"crypto:{song}",
        "tcp://h/x",
    ):
        site.files["list.m3u8"] = playlist(line)
        with pytest.raises(SourceError) as caught:
            opened(site.url("/file/list.m3u8"), ours=ours)
        assert caught.value.code in {ErrorCode.SOURCE_REFUSED, ErrorCode.SOURCE_UNREADABLE}


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[::1]", "0x7f000002"])
def test_a_list_leads_to_no_private_address(site: Site, host: str) -> None:
    site.files["list.m3u8"] = playlist(f"http://{host}/x.ts?hunter2")
    with pytest.raises(SourceError, match="not public") as caught:
        opened(site.url("/file/list.m3u8"), ours=True)
    assert caught.value.code is ErrorCode.SOURCE_REFUSED
    assert "hunter2" not in caught.value.text


# Lists of parts that give nothing.


class Client:
    """Asks nobody: each part takes a while, and cannot be had."""

    def __init__(self, *, opening_ends_s: float | None = None) -> None:
        self.now_s = 100.0
        self.opening_ends_s = opening_ends_s
        self.stopped = False
        self.asked = 0
        self.data = b""

    @property
    def is_opening(self) -> bool:
        return self.opening_ends_s is not None

    @property
    def has_time(self) -> bool:
        return not self.stopped and (self.opening_ends_s is None or self.now_s < self.opening_ends_s)

    def rest(self, delay_s: float) -> bool:
        self.now_s += delay_s
        return not self.stopped

    def fetch(self, url: str, headers: object) -> Any:
        if not self.has_time:
            raise SourceError(ErrorCode.SOURCE_TIMEOUT, "no time is left")
        self.asked += 1
        self.now_s += 0.1
        raise SourceError(ErrorCode.SOURCE_NOT_FOUND, f"no {url}")


def parts_of(client: Client) -> PlaylistParts:
    return PlaylistParts(cast("Any", client), timeout_s=(1.0, 40.0), now=lambda: client.now_s)


def ask_until_stopped(parts: PlaylistParts) -> int:
    """Return how many parts were empty before FFmpeg was told to stop."""
    for count in range(20_000):
        try:
            assert parts(f"http://h/{count}.ts", 0, {}).read(99) == b""
        except av.error.TimeoutError:
            return count
    raise AssertionError("never")


def test_a_list_that_gives_nothing_while_it_is_opened_ends_with_the_time_for_that() -> None:
    client = Client(opening_ends_s=100.75)
    parts = parts_of(client)
    assert ask_until_stopped(parts) == 8, "those that there was time for"
    assert client.asked == 8
    assert client.now_s == pytest.approx(101.0), "and not before FFmpeg's own time is over"
    assert parts.failure is not None
    assert parts.failure.code is ErrorCode.SOURCE_NOT_FOUND, "not that there was no time for more"


def test_a_list_that_gives_nothing_any_more_while_it_is_read_ends_with_the_patience_for_that() -> None:
    client = Client()
    assert ask_until_stopped(parts_of(client)) in range(399, 402)
    assert client.now_s == pytest.approx(140.0, abs=0.2)


def test_a_part_that_gives_something_counts_from_anew() -> None:
    client = Client()
    parts = parts_of(client)
    for _ in range(300):
        parts("http://h/x.ts", 0, {})
    file = SimpleNamespace(read=lambda count: b"data"[:count])
    answer = SimpleNamespace(response=SimpleNamespace(status=200), file=file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "fetch", lambda *_: answer)
        patch.setattr(playlist_module, "HttpFile", lambda _client, answer, *, is_part: answer.file)
        part = parts("http://h/y.ts", 0, {})
    assert part.read(4) == b"data"
    assert ask_until_stopped(parts) in range(399, 402)


def test_one_that_is_interrupted_waits_for_nothing() -> None:
    client = Client(opening_ends_s=100.75)
    parts = parts_of(client)
    parts("http://h/x.ts", 0, {})
    client.stopped = True
    before = client.now_s
    for _ in range(50):
        assert parts("http://h/x.ts", 0, {}).read(99) == b""
    assert client.now_s == before


@pytest.mark.parametrize("kind", ["404", "200"])
def test_ffmpeg_asks_for_nothing_more_once_the_time_to_open_is_over(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked = 0
    ask = PlaylistParts.__call__

    def count(self: PlaylistParts, *args: Any) -> Part:
        nonlocal asked
        asked += 1
        return ask(self, *args)

    monkeypatch.setattr(PlaylistParts, "__call__", count)
    site.files["list.m3u8"] = playlist(*(f"/{kind}/{number}.ts" for number in range(20_000)))
    with pytest.raises(SourceError) as caught:
        open_media(
            site.url("/file/list.m3u8"), open_timeout_s=0.2, read_timeout_s=5.0, headers={"X": "1"}, live=True
        )
    assert caught.value.code in {ErrorCode.SOURCE_NOT_FOUND, ErrorCode.SOURCE_TIMEOUT}
    # Of the requests one is the list, and of the parts asked for the last ends it.
    assert len(site.requests) - 1 <= asked <= len(site.requests) + 1
