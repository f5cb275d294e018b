"""Nothing that a URL leads to makes FFmpeg open what the URL itself could not: tried with the real FFmpeg.

Each attempt names a real file with sound in it, so it would be heard if it worked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.location import locate
from voicepool.workers.audio.media import open_media
from voicepool.workers.errors import SourceError

WAYS_AROUND = (
    "{song}",
    "file:{song}",
    "file://{song}",
    "concat:{song}|{song}",
    "concatf:{song}",
    "subfile,,start,0,end,0,,:{song}",
    "async:{song}",
    "cache:{song}",
    "crypto:{song}",
    "crypto+file://{song}",
    "hls+file://{song}",
    "ffrtmphttp://{song}",
    "md5:{song}",
    "pipe:0",
    "fd:0",
    "unix:{song}",
    "data:audio/mpeg;base64,SUQz",
    "tee:{song}",
)
KEY = '#EXT-X-KEY:METHOD=AES-128,URI="{uri}",IV=0x{zeros}'
both = pytest.mark.parametrize("ours", [False, True], ids=["ffmpeg fetches", "we fetch"])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    with serving(Site({"a.ts": encode("aac", "mpegts")})) as site:
        yield site


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.ts"
    path.write_bytes(encode("aac", "mpegts"))
    return path


def playlist(*lines: str) -> bytes:
    head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n"
    return (head + "\n".join(lines) + "\n#EXT-X-ENDLIST\n").encode()


def heard_frames(url: str, *, ours: bool) -> int:
    """How much sound comes of it; none if it is refused."""
    try:
        reader = open_media(
            url, headers={"X-Key": "1"} if ours else None, open_timeout_s=5.0, read_timeout_s=5.0
        )
    except SourceError:
        return 0
    frames = 0
    try:
        while reader.read() is not None:
            frames += 1
    except SourceError:
        pass
    finally:
        reader.close()
    return frames


@both
@pytest.mark.parametrize("way", WAYS_AROUND)
def test_a_playlist_leads_to_nothing_on_this_machine(site: Site, song: Path, way: str, *, ours: bool) -> None:
    uri = way.format(song=song)
    site.files["segment.m3u8"] = playlist("#EXTINF:2,", uri)
    site.files["master.m3u8"] = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + uri.encode() + b"\n"
    site.files["map.m3u8"] = playlist(f'#EXT-X-MAP:URI="{uri}"', "#EXTINF:2,", "/404/x.ts")
    for name in ("segment", "master", "map"):
        assert heard_frames(site.url(f"/file/{name}.m3u8"), ours=ours) == 0, name


@both
def test_the_same_playlist_with_what_it_may_name_is_heard(site: Site, *, ours: bool) -> None:
    site.files["list.m3u8"] = playlist("#EXTINF:2,", "a.ts")
    assert heard_frames(site.url("/file/list.m3u8"), ours=ours) > 90


@both
def test_a_key_is_read_from_no_file(site: Site, tmp_path: Path, *, ours: bool) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(16))
    line = KEY.format(uri=f"file://{key}", zeros="0" * 32)
    site.files["list.m3u8"] = playlist(line, "#EXTINF:2,", "a.ts")
    assert heard_frames(site.url("/file/list.m3u8"), ours=ours) == 0


@pytest.mark.parametrize("way", [way for way in WAYS_AROUND if ":" in way])
def test_the_options_for_urls_alone_refuse_every_other_protocol(song: Path, way: str) -> None:
    options = locate("https://example.com/song.ts").options
    with pytest.raises((av.FFmpegError, OSError)):
        av.open(way.format(song=song), options=options)


@pytest.mark.parametrize("name", ["list.ffconcat", "list.m3u8", "list.sdp", "list.mpd"])
def test_a_file_leads_to_no_other(tmp_path: Path, song: Path, name: str) -> None:
    texts = {
        "list.ffconcat": f"ffconcat version 1.0\nfile '{song}'\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{song}\n#EXT-X-ENDLIST\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 4 RTP/AVP 97\n",
        "list.mpd": f'<?xml version="1.0"?><MPD><BaseURL>file://{song}</BaseURL></MPD>',
    }
    path = tmp_path / name
    path.write_text(texts[name])
    with pytest.raises(SourceError) as caught:
        open_media(str(path), open_timeout_s=5.0, read_timeout_s=5.0)
    assert caught.value.code is ErrorCode.SOURCE_UNREADABLE
