from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import addresses
from voicepool.workers.audio.media import MediaReader, open_media
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
