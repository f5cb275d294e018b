"""Files and URLs of an attacker, through a real worker: at worst the track fails.

The worker stays, its memory stays bounded, no file is read that was not asked for, and a call beside it does
not lose a frame. That a redirect or a playlist does not lead from a public address to a private one is tested
in ``tests/workers/audio/test_http_connection.py``, where names resolve as a test wants.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import voicepool
from tests.fakes.running import asyncio_test
from tests.integration.calls import World, assert_nothing_lost, world
from tests.integration.player_hearing import tone_wav
from tests.integration.test_bad_input import beside_music
from tests.security.endless import serving_endlessly
from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool import AudioFile, SourceError

MEMORY_BYTES = 160 * 1024 * 1024
"""What a worker may take more at its peak than before: decoders, read-ahead, and what was given as bytes."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\n"


def chunk(kind: bytes, body: bytes, *, size: int | None = None, order: str = "little") -> bytes:
    """A chunk of RIFF, or with the other byte order of AIFF; its size may be a lie."""
    declared = len(body) if size is None else size
    return kind + declared.to_bytes(4, "big" if order == "big" else "little") + body


def wav_of(channels: int, rate_hz: int, bits: int, *, data_bytes: int = 0xFFFF_FFFF) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz, max(1, channels * bits // 8) & 0xFFFF, bits)
    return b"RIFF\xff\xff\xff\xffWAVE" + chunk(b"fmt ", form) + chunk(b"data", bytes(9_600), size=data_bytes)


def flac_of(stream_info: bytes) -> bytes:
    return (
        b"fLaC\x00" + len(stream_info).to_bytes(3, "big") + stream_info + b"\x84\xff\xff\xff" + bytes(4_096)
    )


def mp4_box(kind: bytes, body: bytes, *, size: int | None = None) -> bytes:
    return (len(body) + 8 if size is None else size).to_bytes(4, "big") + kind + body


def mp4_with_tables(entries: int) -> bytes:
    """An MP4 file whose sample tables claim to be enormous."""
    table = bytes(4) + entries.to_bytes(4, "big") + bytes(64)
    sizes = bytes(8) + entries.to_bytes(4, "big") + bytes(64)
    described = bytes(6) + b"\x00\x01" + bytes(8) + struct.pack(">HHHHI", 2, 16, 0, 0, 48_000 << 16)
    tables = (
        mp4_box(b"stsd", bytes(4) + b"\x00\x00\x00\x01" + mp4_box(b"mp4a", described))
        + mp4_box(b"stts", table)
        + mp4_box(b"stsz", sizes)
        + mp4_box(b"stsc", table)
        + mp4_box(b"stco", table)
    )
    media = mp4_box(b"mdhd", bytes(12) + struct.pack(">II", 48_000, 0xFFFF_FFFF) + bytes(4))
    media += mp4_box(b"hdlr", bytes(8) + b"soun" + bytes(13)) + mp4_box(b"minf", mp4_box(b"stbl", tables))
    movie = mp4_box(b"moov", mp4_box(b"trak", mp4_box(b"mdia", media)))
    return mp4_box(b"ftyp", b"M4A \x00\x00\x00\x00M4A ") + movie + mp4_box(b"mdat", bytes(4_096))


ABSURD = {
    "a WAV file of 4 GiB that ends at once": wav_of(2, 48_000, 16),
    "a WAV file with 65535 channels": wav_of(65_535, 48_000, 16),
    "a WAV file of 4 GHz": wav_of(2, 0xFFFF_FFFF, 16),
    "a WAV file of 0 Hz": wav_of(2, 0, 16),
    "a WAV file of 65535 bits": wav_of(2, 48_000, 65_535),
    "a FLAC file with everything at its highest": flac_of(b"\xff" * 34),
    "a FLAC file with everything at zero": flac_of(bytes(34)),
    "an MP4 file with tables of 4 billion entries": mp4_with_tables(0xFFFF_FFFF),
    "an MP4 file with tables of 200 million entries": mp4_with_tables(200_000_000),
    "an MP4 box in a box in a box": mp4_box(b"ftyp", b"M4A ") + (b"\x00\x00\xff\xffmoov" * 5_000),
    "a Matroska file of 2^56 bytes": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(4_096),
    "an ID3 tag of 256 MiB": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x7f\x00\x00" + bytes(4_096),
    "an Ogg page of nothing, again and again": (b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255) * 200,
    "an AIFF file of 4 billion frames": b"FORM\xff\xff\xff\xffAIFF"
    + chunk(b"COMM", struct.pack(">HIH", 65_535, 0xFFFF_FFFF, 65_535) + b"\x7f" * 10, order="big")
    + chunk(b"SSND", bytes(4_096), size=0xFFFF_FFFF, order="big"),
}


def peak_bytes(pid: int | None) -> int:
    """The most memory a process has ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1_024
    raise AssertionError


@contextlib.asynccontextmanager
async def unharmed(**config: Any) -> AsyncIterator[World]:
    """One worker, with music in another call; it must be there at the end, and not have grown."""
    settings: dict[str, Any] = {"source_open_timeout_s": 1.0, "source_read_timeout_s": 0.5} | config
    async with world(**settings) as here, beside_music(here):
        (before,) = here.pool.workers
        held_bytes = psutil.Process(before.pid).memory_info().rss
        yield here
        (after,) = here.pool.workers
        assert (after.pid, after.restarts) == (before.pid, 0)
        assert peak_bytes(after.pid) - held_bytes < MEMORY_BYTES


@asyncio_test
async def test_absurd_headers_cost_nothing_but_the_track() -> None:
    async with unharmed() as here:
        voice = await here.join()
        for media in ABSURD.values():
            try:
                track = await voice.start(AudioFile(media))
            except SourceError:
                continue
            # FFmpeg makes something of it; as much as there is of that is played.
            with contextlib.suppress(SourceError):
                await track.wait()
        await voice.play(tone_wav(600, 0.2))
        assert_nothing_lost(here.session())


@asyncio_test
async def test_hours_in_a_small_file_are_read_as_they_are_played(tmp_path: Path) -> None:
    hours = tmp_path / "silence.wav"
    with hours.open("wb") as file:
        # A sparse file: 4 GiB of silence that take no room on the disk.
        file.write(wav_of(2, 48_000, 16, data_bytes=0xFFFF_FF00)[:44])
        file.truncate(0xFFFF_FF00)
    async with unharmed() as here:
        voice = await here.join()
        track = await voice.start(hours)
        await here.session().wait_for_packets(20)
        await track.seek(6 * 3_600)
        await here.session().wait_for_packets(here.session().packets + 10)
        await voice.stop()


def playlists(private: Path) -> dict[str, str]:
    """Playlists that lead to a file of the worker's machine, or nowhere."""
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    content = base64.b64encode(private.read_bytes()).decode()

    def segments(*uris: str, more: str = "") -> str:
        listed = "".join(f"#EXTINF:1.0,\n{uri}\n" for uri in uris)
        return f"{head}{more}{listed}#EXT-X-ENDLIST\n"

    return {
        "file.m3u8": segments(private.as_uri()),
        "path.m3u8": segments(str(private)),
        "concat.m3u8": segments(f"concat:{private}|{private}"),
        "concat-http.m3u8": segments(f"concat:http://127.0.0.1:1/|{private.as_uri()}"),
        "subfile.m3u8": segments(f"subfile,,start,0,end,9999,,:{private}"),
        "crypto.m3u8": segments(f"crypto+{private.as_uri()}"),
        "async.m3u8": segments(f"async:{private.as_uri()}"),
        "cache.m3u8": segments(f"cache:{private.as_uri()}"),
        "data.m3u8": segments(f"data:audio/wav;base64,{content}"),
        "key.m3u8": segments(
            "/file/nothing.ts", more=f'#EXT-X-KEY:METHOD=AES-128,URI="{private.as_uri()}",IV=0x00\n'
        ),
        "map.m3u8": segments("/file/nothing.mp4", more=f'#EXT-X-MAP:URI="{private.as_uri()}"\n'),
        "passwd.m3u8": segments("file:///etc/passwd"),
        "itself.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nitself.m3u8\n",
        "segment.m3u8": segments("segment.m3u8", "segment.m3u8"),
        "many.m3u8": segments(*(f"/404/{number}.ts" for number in range(5_000))),
        "line.m3u8": head + "#" + "x" * 2_000_000 + "\n",
    }


@asyncio_test
async def test_a_playlist_reads_no_file_of_the_machine(tmp_path: Path) -> None:
    private = tmp_path / "private.wav"
    private.write_bytes(tone_wav(500, 1.0))
    lists = playlists(private)
    with serving(Site({name: text.encode() for name, text in lists.items()})) as site:
        async with unharmed(source_open_timeout_s=0.5) as here:
            voice = await here.join()
            # What is refused could be played: it is the way there that is closed.
            await voice.play(private)
            heard = here.session().report().frames
            assert heard > 40
            for name in lists:
                url = site.url(f"/file/{name}")
                for source in (AudioFile(url), AudioFile(url, headers={"X-Other-Way": "ours"})):
                    with pytest.raises(SourceError):
                        await voice.play(source)
                assert here.session().report().frames == heard, name


@asyncio_test
async def test_files_that_name_other_files_are_no_songs(tmp_path: Path) -> None:
    private = tmp_path / "private.wav"
    private.write_bytes(tone_wav(500, 1.0))
    named = {name: text for name, text in playlists(private).items() if name != "line.m3u8"}
    named |= {
        "list.ffconcat": f"ffconcat version 1.0\nfile '{private}'\n",
        "list.m3u": f"#EXTM3U\n{private}\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "list.mpd": f"<MPD><Period><BaseURL>{private.as_uri()}</BaseURL></Period></MPD>",
        "list.mp3": f"#EXTM3U\n#EXTINF:1,\n{private.as_uri()}\n#EXT-X-ENDLIST\n",
    }
    async with unharmed() as here:
        voice = await here.join()
        for name, text in named.items():
            path = tmp_path / name
            path.write_text(text)
            for source in (AudioFile(path), AudioFile(text.encode())):
                with pytest.raises(voicepool.SourceUnreadableError):
                    await voice.play(source)
        assert here.session().report().frames == 0


@asyncio_test
async def test_paths_of_ffmpegs_protocols_are_paths(tmp_path: Path) -> None:
    private = tmp_path / "private.wav"
    private.write_bytes(tone_wav(500, 1.0))
    async with unharmed() as here:
        voice = await here.join()
        for location in (
            f"concat:{private}|{private}",
            f"file:{private}",
            f"subfile,,start,0,end,0,,:{private}",
        ):
            with pytest.raises(voicepool.SourceNotFoundError):
                await voice.play(location)
        for location in ("/proc/self/mem", "/dev/stdin", "/proc/self/fd/0", f"{private}\x00.mp3"):
            with pytest.raises((SourceError, ValueError)):
                await voice.play(location)
        assert here.session().report().frames == 0


@asyncio_test
async def test_urls_into_the_own_network_are_refused_before_anything_is_sent() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=0.6)
    with serving(Site({"song.mp3": song})) as site:
        port = site.port
        async with unharmed(public_urls_only=True) as here:
            voice = await here.join()
            for host in (
                "127.0.0.1",
                "localhost",
                "[::1]",
                "2130706433",
                "0x7f.1",
                "[::ffff:127.0.0.1]",
                "0",
            ):
                with pytest.raises(voicepool.SourceRefusedError):
                    await voice.play(f"http://{host}:{port}/file/song.mp3")
            assert site.requests == []
            # The bot's own word counts for more.
            await voice.play(AudioFile(site.url("/file/song.mp3"), public_only=False))


@asyncio_test
async def test_a_redirect_that_leads_to_itself_ends() -> None:
    site_ = Site(redirects={"around.mp3": "/redirect/around.mp3"})
    with serving(site_) as site:
        site.redirects["around.mp3"] = site.url("/redirect/around.mp3")
        async with unharmed() as here:
            voice = await here.join()
            for source in (
                AudioFile(site.url("/redirect/around.mp3")),
                AudioFile(site.url("/redirect/around.mp3"), headers={"X-Other-Way": "ours"}),
            ):
                with pytest.raises(SourceError):
                    await voice.play(source)
            assert len(site.requests) < 100


@asyncio_test
async def test_a_redirect_to_a_file_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private.wav"
    private.write_bytes(tone_wav(500, 1.0))
    with serving(Site(redirects={"away.mp3": private.as_uri()})) as site:
        async with unharmed() as here:
            voice = await here.join()
            for source in (
                AudioFile(site.url("/redirect/away.mp3")),
                AudioFile(site.url("/redirect/away.mp3"), headers={"X-Other-Way": "ours"}),
            ):
                with pytest.raises(SourceError):
                    await voice.play(source)
            assert here.session().report().frames == 0


@asyncio_test
async def test_a_song_without_end_is_read_as_it_is_played() -> None:
    song = encode("libmp3lame", "mp3", bitrate_bps=320_000)

    async def play(here: World, guild: int, headers: dict[str, str] | None) -> None:
        with serving_endlessly(OK + b"\r\n", lambda _: song) as site:
            voice = await here.join(guild)
            await voice.start(AudioFile(site.url, headers=headers))
            await here.session(guild).wait_for_packets(75)
            # A second and a half was heard, and a few are read ahead; the sockets' buffers hold some, too.
            assert site.sent_bytes < 64 * 1024 * 1024
            await voice.stop()

    async with unharmed() as here:
        # FFmpeg reads the one, our client the other.
        await asyncio.gather(play(here, 100, None), play(here, 200, {"X-Other-Way": "ours"}))


ENDLESS = {
    "zeros": (OK + b"\r\n", lambda _: bytes(1 << 16)),
    "noise": (OK + b"\r\n", lambda number: bytes((number * 7 + i * i) & 0x7F for i in range(1 << 12)) * 16),
    "header": (OK, lambda number: b"X-%d: %s\r\n" % (number, b"x" * 1_000)),
    "header line": (OK + b"X: ", lambda _: b"x" * (1 << 16)),
    "status line": (b"HTTP/1.1 200 ", lambda _: b"x" * (1 << 16)),
    "playlist": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n#EXTM3U\n",
        lambda number: b"#EXTINF:1,\n/segment-%d.ts\n" % number,
    ),
    "zipped zeros": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10],
        lambda _: b"\x00\xff\xff\x00\x00" + bytes(0xFFFF),
    ),
}


@asyncio_test
async def test_rubbish_without_end_is_given_up() -> None:
    async with unharmed(source_open_timeout_s=0.5) as here:
        voice = await here.join()
        for begin, piece in ENDLESS.values():
            with serving_endlessly(begin, piece) as site:
                for headers in (None, {"X-Other-Way": "ours"}):
                    with pytest.raises(SourceError):
                        await voice.play(AudioFile(site.url, headers=headers))
