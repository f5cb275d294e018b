from __future__ import annotations

import gc
import io
import logging
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import delay_and_correlation, encode, opus, signal, wav
from tests.workers.audio.raw_server import answering
from tests.workers.audio.test_icy import mixed
from tests.workers.audio.test_titles import relinked
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import addresses
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.packet import packet_samples
from voicepool.workers.errors import SourceError

TASKS = Path("/proc/self/task")


def opened(source: str | bytes) -> MediaReader:
    return open_media(source, open_timeout_s=2.0, read_timeout_s=2.0)


def pcm(reader: MediaReader) -> np.ndarray:
    """Read all; Opus packets are decoded one for one."""
    decoder = OpusPacketDecoder()
    frames = []
    while (frame := reader.read()) is not None:
        if isinstance(frame, bytes):
            out = np.empty((960, 2), np.float32)
            decoder.decode_float(frame, out)
            frame = out
        assert frame.shape == (960, 2)
        frames.append(frame)
    decoder.close()
    reader.close()
    return np.concatenate(frames) if frames else np.empty((0, 2), np.float32)


def frames_for(samples: int) -> int:
    return -(-samples // 960)


EXPERIMENTAL = (("strict", "-2"),)
# codec, container, options of `encode`, how much the codec may be late or early, and least correlation
VBR = (("flags", "+qscale"), ("global_quality", "236"))
NO_TAG = (("write_xing", "0"),)
FAST = (("movflags", "faststart"),)
FRAGMENTS = (("movflags", "frag_keyframe+empty_moov"),)
FORMATS: dict[str, tuple[str, str, dict[str, Any], int, float]] = {
    "mp3 CBR": ("libmp3lame", "mp3", {"bitrate_bps": 128_000}, 0, 0.99),
    "mp3 VBR": ("libmp3lame", "mp3", {"codec_options": VBR}, 0, 0.99),
    "mp3 44.1 kHz": ("libmp3lame", "mp3", {"bitrate_bps": 128_000, "rate_hz": 44_100}, 1, 0.99),
    "mp3 without tag": ("libmp3lame", "mp3", {"bitrate_bps": 128_000, "muxer_options": NO_TAG}, 1_105, 0.99),
    "mp3 to a pipe": ("libmp3lame", "mp3", {"bitrate_bps": 128_000, "seekable": False}, 1_105, 0.99),
    "mp3 mono 22 kHz": ("libmp3lame", "mp3", {"rate_hz": 22_050, "layout": "mono"}, 2, 0.98),
    "flac": ("flac", "flac", {}, 0, 0.9999),
    "flac to a pipe": ("flac", "flac", {"seekable": False}, 0, 0.9999),
    "flac 96 kHz": ("flac", "flac", {"rate_hz": 96_000}, 0, 0.999),
    "wav": ("pcm_s16le", "wav", {}, 0, 0.9999),
    "wav to a pipe": ("pcm_s16le", "wav", {"seekable": False}, 0, 0.9999),
    "wav 24 bit": ("pcm_s24le", "wav", {}, 0, 0.9999),
    "wav float": ("pcm_f32le", "wav", {}, 0, 0.9999),
    "wav 8 kHz": ("pcm_s16le", "wav", {"rate_hz": 8_000, "layout": "mono"}, 0, 0.99),
    "wav 192 kHz": ("pcm_s16le", "wav", {"rate_hz": 192_000}, 0, 0.999),
    "wav 5.1": ("pcm_s16le", "wav", {"layout": "5.1"}, 0, 0.0),
    "aiff": ("pcm_s16be", "aiff", {}, 0, 0.9999),
    "m4a": ("aac", "ipod", {"bitrate_bps": 128_000}, 0, 0.99),
    "m4a fast start": ("aac", "ipod", {"muxer_options": FAST}, 0, 0.99),
    "mp4 in fragments": ("aac", "mp4", {"muxer_options": FRAGMENTS}, 1_024, 0.99),
    "aac": ("aac", "adts", {"bitrate_bps": 128_000}, 1_024, 0.99),
    "aac in mpegts": ("aac", "mpegts", {"bitrate_bps": 128_000}, 1_024, 0.99),
    "ogg vorbis": ("vorbis", "ogg", {"codec_options": EXPERIMENTAL}, 0, 0.98),
    "webm vorbis": ("vorbis", "webm", {"codec_options": EXPERIMENTAL}, 0, 0.98),
    "ogg flac": ("flac", "ogg", {}, 0, 0.9999),
    "mka": ("flac", "matroska", {}, 0, 0.9999),
    "mka to a pipe": ("flac", "matroska", {"seekable": False}, 0, 0.9999),
    "ogg opus 60 ms": ("libopus", "ogg", {"codec_options": (("frame_duration", "60"),)}, 0, 0.99),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_plays_whole_and_in_time(name: str) -> None:
    codec, container, options, late, least = FORMATS[name]
    with_reader = opened(encode(codec, container, **options))
    assert with_reader.kind == "pcm"
    heard = pcm(with_reader)
    sent = signal(channels=1 if options.get("layout") == "mono" else 2)
    # AAC and MP3 without an encoder's tag come with up to two frames of padding.
    padding = 2_304 if late > 2 or codec == "aac" else 0
    assert frames_for(len(sent)) <= len(heard) // 960 <= frames_for(len(sent) + padding)
    assert with_reader.skipped_packets == 0
    if least:
        for side in (0, 1):
            delay, correlation = delay_and_correlation(heard[:, side], sent[:, side % sent.shape[1]])
            assert abs(delay) <= late
            assert correlation > least


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.0213, 0.5])
@pytest.mark.parametrize("rate_hz", [48_000, 44_100])
def test_no_sample_is_lost_at_either_end(seconds: float, rate_hz: int) -> None:
    sent = signal(rate_hz=rate_hz, seconds=seconds)
    heard = pcm(opened(wav((sent * 32_767).astype(np.int16), rate_hz=rate_hz)))
    assert len(heard) == frames_for(round(len(sent) * 48_000 / rate_hz)) * 960
    if rate_hz == 48_000:
        assert np.allclose(heard[: len(sent)], sent, atol=1e-4)
        assert not heard[len(sent) :].any()


@pytest.mark.parametrize("container", ["ogg", "webm", "matroska", "mp4"])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_opus_packets_pass_through_untouched(container: str, layout: str) -> None:
    data = opus(container, layout=layout)
    with av.open(io.BytesIO(data), "r") as plain:
        expected = [bytes(packet) for packet in plain.demux(audio=0) if packet.size]
    reader = opened(data)
    assert reader.kind == "opus"
    packets = list(iter(reader.read, None))
    assert packets == expected
    assert {packet_samples(packet) for packet in expected} == {960}
    reader.close()
    heard = pcm(opened(data))
    delay, correlation = delay_and_correlation(heard[:, 0], signal(channels=1)[:, 0])
    assert delay == 312  # the encoder's look-ahead, which a decoder of the whole file would skip
    assert correlation > 0.99


@pytest.mark.parametrize("frame_ms", [10, 40, 60])
def test_opus_of_other_durations_is_decoded(frame_ms: int) -> None:
    reader = opened(opus("webm", frame_ms=frame_ms))
    assert reader.kind == "pcm"
    assert isinstance(reader.read(), np.ndarray)
    reader.close()


def test_opus_that_changes_its_packet_length_loses_nothing() -> None:
    # Two streams of one encoder each, spliced as packets: 1 s of 20 ms, then 1 s of 60 ms.
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as muxer:
        stream = None
        at_ms = 0
        for frame_ms in (20, 60):
            with av.open(io.BytesIO(opus("ogg", frame_ms=frame_ms, seconds=1.02)), "r") as source:
                if stream is None:
                    stream = muxer.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(audio=0):
                    if packet.size and at_ms < {20: 1_020, 60: 2_040}[frame_ms]:
                        copy = av.Packet(bytes(packet))
                        copy.stream, copy.pts, copy.dts = stream, at_ms, at_ms
                        assert stream.time_base is not None
                        copy.time_base, copy.duration = stream.time_base, frame_ms
                        at_ms += frame_ms
                        muxer.mux(copy)
    reader = opened(out.getvalue())
    frames = []
    kinds = []
    while (frame := reader.read()) is not None:
        frames.append(frame)
        kinds.append(reader.kind)
    assert kinds == ["opus"] * 51 + ["pcm"] * 51
    assert all(isinstance(frame, bytes) for frame in frames[:51])
    # From the switch on it is the second sweep from its start, but for the encoder's look-ahead.
    heard = np.concatenate(frames[51:])
    delay, correlation = delay_and_correlation(heard[4_800:, 0], signal(channels=1, seconds=1.0)[4_800:, 0])
    assert delay == 312
    assert correlation > 0.98
    assert reader.skipped_packets == 0
    reader.close()


def test_opus_with_a_gain_in_its_header_is_decoded() -> None:
    data = bytearray(opus("webm"))
    head = data.index(b"OpusHead")
    data[head + 16 : head + 18] = (256 * 6).to_bytes(2, "little")  # +6 dB
    louder = opened(bytes(data))
    assert louder.kind == "pcm"
    ratio = np.abs(pcm(louder)).mean() / np.abs(pcm(opened(opus("webm")))).mean()
    assert ratio == pytest.approx(2.0, rel=0.02)


def test_surround_opus_is_decoded() -> None:
    data = encode("libopus", "ogg", layout="5.1", codec_options=(("mapping_family", "1"),))
    reader = opened(data)
    assert (reader.kind, reader.info.channels) == ("pcm", 6)
    assert len(pcm(reader)) == 96_000


def test_info() -> None:
    tags = (("title", "A Song"), ("artist", "Someone " * 100))
    for container, codec in (("mp3", "libmp3lame"), ("ogg", "libopus"), ("ipod", "aac"), ("flac", "flac")):
        reader = opened(encode(codec, container, tags=tags))
        info = reader.info
        reader.close()
        assert info.title == "A Song"
        assert info.artist == ("Someone " * 100)[:300]
        assert info.codec == codec.removeprefix("lib").replace("mp3lame", "mp3")
        assert (info.sample_rate_hz, info.channels) == (48_000, 2)
        assert info.duration_s == pytest.approx(2.0, abs=0.05)
    live = opened(encode("flac", "matroska", seekable=False))
    assert (live.info.title, live.info.artist, live.info.duration_s) == (None, None, None)
    live.close()


def test_tags_in_another_encoding_are_no_error() -> None:
    data = encode("flac", "flac", tags=(("title", "Abc"),)).replace(b"=Abc", b"=A\xffc")
    reader = opened(data)
    assert reader.info.title == "A�c"
    reader.close()


def test_zero_length_audio_ends_at_once() -> None:
    reader = opened(wav(np.zeros((0, 2), np.int16)))
    assert reader.read() is None
    assert reader.read() is None
    reader.close()


def test_video_with_sound_plays_and_a_silent_one_is_no_audio() -> None:
    def video(*, sound: bool) -> bytes:
        out = io.BytesIO()
        with av.open(out, "w", format="matroska") as muxer:
            pictures = muxer.add_stream("mpeg4", rate=25)
            pictures.width = pictures.height = 16
            pictures.pix_fmt = "yuv420p"
            tone = muxer.add_stream("pcm_s16le", rate=48_000, layout="stereo") if sound else None
            for n in range(50):
                picture = av.VideoFrame(16, 16, "yuv420p")
                picture.pts = n
                muxer.mux(pictures.encode(picture))
            muxer.mux(pictures.encode(None))
            if tone is not None:
                piece = av.AudioFrame.from_ndarray(
                    np.zeros((1, 96_000), np.int16), format="s16", layout="stereo"
                )
                piece.sample_rate, piece.pts = 48_000, 0
                muxer.mux([*tone.encode(piece), *tone.encode(None)])
        return out.getvalue()

    # The pictures last 2 s, the sound 1 s: no reason to call it truncated.
    assert len(pcm(opened(video(sound=True)))) == 48_000
    with pytest.raises(SourceError, match="no audio") as caught:
        opened(video(sound=False))
    assert caught.value.code is ErrorCode.SOURCE_UNREADABLE


PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108020000009077") + bytes(200)
TEXTS = {
    "text.txt": b"To be, or not to be\n" * 99,
    "text.mp3": b"To be, or not to be\n" * 99,
    "image.png": PNG,
    "random.mp3": np.random.default_rng(1).bytes(30_000),
    "short.wav": b"RIFF",
    "page.ogg": b"<!doctype html><title>404</title>" * 9,
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{song}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": b"ffconcat version 1.0\nfile {song}\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_audio_is_one_clear_error(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    song, path = tmp_path / "song.mp3", tmp_path / name
    song.write_bytes(encode("libmp3lame", "mp3", bitrate_bps=128_000))
    path.write_bytes(TEXTS[name].replace(b"{song}", os.fsencode(song)))
    for source in (str(path), path.read_bytes()):
        with pytest.raises(SourceError) as caught:
            opened(source)
        assert caught.value.code is ErrorCode.SOURCE_UNREADABLE
    assert str(path) in str(caught.value) or "in memory" in str(caught.value)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_files_are_closed_after_errors_and_after_close(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.mp3", tmp_path / "good.flac"
    bad.write_bytes(TEXTS["text.mp3"])
    good.write_bytes(encode("flac", "flac"))
    with pytest.raises(SourceError):
        opened(str(bad))
    reader = opened(str(good))
    reader.read()
    reader.close()
    reader.close()
    assert reader.read() is None
    file = reader._target.file
    assert file is not None
    assert file.read(1) == b""
    del reader, file
    gc.collect()  # a file left open would be a ResourceWarning here, and so an error


def damaged(data: bytes, *, runs: int, length: int) -> bytes:
    """Overwrite a few stretches in the middle with noise."""
    random = np.random.default_rng(3)
    out = bytearray(data)
    for _ in range(runs):
        at = int(random.integers(len(out) // 4, len(out) * 3 // 4))
        out[at : at + length] = random.bytes(length)
    return bytes(out)


@pytest.mark.parametrize(
    ("codec", "container"), [("libmp3lame", "mp3"), ("flac", "flac"), ("aac", "adts"), ("aac", "ipod")]
)
def test_damage_in_the_middle_is_skipped_and_counted(
    codec: str, container: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = {"muxer_options": FAST} if container == "ipod" else {}
    reader = opened(damaged(encode(codec, container, **options), runs=3, length=400))
    heard = pcm(reader)
    assert len(heard) > 48_000
    assert reader.skipped_packets > 0
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""
    assert not caplog.records


def test_nothing_but_damage_is_an_error_in_the_end() -> None:
    # The sample table is whole, all samples are noise.
    data = encode("aac", "ipod", seconds=4.0, muxer_options=FAST)
    start = data.index(b"mdat") + 4
    reader = opened(data[:start] + np.random.default_rng(5).bytes(len(data) - start))
    with pytest.raises(SourceError) as caught:
        pcm(reader)
    assert caught.value.code is ErrorCode.SOURCE_FAILED
    assert "100 packets in a row" in caught.value.text
    assert reader.skipped_packets == 100
    assert reader.read() is None
    reader.close()


def test_a_disk_that_fails_is_reported_after_what_it_gave() -> None:
    reader = opened(encode("pcm_s16le", "wav", seconds=4.0))
    file = reader._target.file
    assert file is not None
    heard = 0
    assert reader.read() is not None
    file.failure = OSError(5, "Input/output error")
    file._raw = io.BytesIO(b"")
    with pytest.raises(SourceError, match=r"broke off after .* Input/output error") as caught:  # noqa: PT012
        while reader.read() is not None:
            heard += 1
    assert caught.value.code is ErrorCode.SOURCE_FAILED
    assert heard > 0
    reader.close()


def test_interrupt_ends_reading_without_an_error() -> None:
    reader = opened(opus("ogg"))
    assert reader.read() is not None
    reader.interrupt()
    assert reader.read() is None
    reader.close()


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted through /proc")
def test_reading_starts_no_thread() -> None:
    # Made first: PyAV's encoders may leave threads behind.
    files = encode("flac", "flac"), encode("libmp3lame", "mp3", rate_hz=44_100, bitrate_bps=128_000)
    before = len(list(TASKS.iterdir()))
    for data in files:
        reader = opened(data)
        reader.read()
        assert len(list(TASKS.iterdir())) <= before
        reader.close()


def test_tags_are_kept_in_lower_case_and_bounded() -> None:
    tags = (("Title", "A"), ("ALBUM", "B" * 900), ("REPLAYGAIN_TRACK_GAIN", "-6.5 dB"), ("genre", "x\ny"))
    for codec, container in (("flac", "flac"), ("libopus", "ogg"), ("libmp3lame", "mp3")):
        reader = opened(encode(codec, container, tags=tags))
        found = reader.info.tags
        reader.close()
        assert found["album"] == "B" * 500
        assert found["replaygain_track_gain"] == "-6.5 dB"
        assert (found["title"], found["genre"]) == ("A", "x\ny")
        assert not reader.info.live


def test_what_has_no_end_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    site = Site({"song.mp3": encode("libmp3lame", "mp3", seekable=False)})
    with serving(site):
        for path, is_live in (
            ("/live/song.mp3", True),
            ("/ranges/song.mp3", False),
            ("/file/song.mp3", False),
        ):
            for headers in ({}, {"X-Key": "k"}):
                reader = open_media(site.url(path), open_timeout_s=5.0, read_timeout_s=5.0, headers=headers)
                assert reader.info.live == is_live, (path, headers)
                reader.close()


def count_frames(reader: MediaReader) -> int:
    count = 0
    while reader.read() is not None:
        count += 1
    return count


def test_public_hosts_only_are_sought_in_and_redirects_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    site = Site({"song.mp3": encode("libmp3lame", "mp3")}, redirects={"song": "/ranges/song.mp3"})

    def open_path(path: str) -> MediaReader:
        return open_media(
            site.url(path), open_timeout_s=5.0, read_timeout_s=5.0, headers={"X-Key": "k"}, public_only=True
        )

    with serving(site):
        with pytest.raises(SourceError, match="not public") as caught:
            open_path("/ranges/song.mp3?hunter2")
        assert caught.value.code is ErrorCode.SOURCE_REFUSED
        assert "hunter2" not in caught.value.text
        assert site.requests == []
        monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
        # With ranges and without, and by a redirect to the first.
        for path in ("/ranges/song.mp3", "/file/song.mp3", "/redirect/song"):
            reader = open_path(path)
            assert reader.info.duration_s == pytest.approx(2.0)
            assert count_frames(reader) == 100
            assert reader.seek(1.0) == 1.0
            assert count_frames(reader) == 50
            reader.close()
        assert {headers["X-Key"] for headers in site.headers} == {"k"}


def station(audio: bytes, *titles: bytes) -> bytes:
    head = (
        b"ICY 200 OK\r\nicy-name: R\xc3\xa4dio\r\nicy-genre: Jazz\r\nicy-br: 128\r\nicy-metaint: 8000\r\n\r\n"
    )
    return head + mixed(audio, 8_000, *titles)


@pytest.mark.parametrize("declared", [True, False])
def test_a_station_tells_its_titles_where_they_are_heard(*, declared: bool) -> None:
    """8,000 bytes are half a second at 128 kbit/s; a station that nobody called one is asked once more."""
    audio = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=8.0, seekable=False)
    wire = station(audio, b"StreamTitle='A - B';", *[b""] * 9, b"StreamTitle='\xe9t\xe9';StreamUrl='u';")
    with answering(lambda _head: wire) as server:
        reader = open_media(server.url(), open_timeout_s=5.0, read_timeout_s=5.0, live=declared)
        info = reader.info
        assert (info.title, info.artist, info.live, info.duration_s) == ("B", "A", True, None)
        assert {name: info.tags[name] for name in ("icy-name", "icy-genre", "icy-br")} == {
            "icy-name": "Rädio", "icy-genre": "Jazz", "icy-br": "128",
        }  # fmt: skip
        changes = []
        while reader.read() is not None:
            changes += reader._target.titles.take(reader.position_s)
        assert reader.position_s == pytest.approx(8.0, abs=0.1)
        reader.close()
    assert all("Icy-MetaData: 1" in head for head in server.requests[-1:])
    assert [(change.title, change.artist) for change in changes] == [("B", "A"), ("été", None)]
    assert changes[0].position_s < 0.7
    assert changes[1].position_s == pytest.approx(11 * 0.5, abs=0.4)
    assert changes[1].tags == {"streamtitle": "été", "streamurl": "u"}
    assert reader.skipped_packets == 0


def test_hostile_titles_do_not_disturb_the_music() -> None:
    audio = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=8.0, seekable=False)
    junk = [
        bytes(range(256)) * 15,
        b"StreamTitle='",
        b"\xff" * 4_080,
        b"StreamTitle='\r\n\x1b]0;x';",
        b"=';" * 900,
    ]
    expected = count_frames(opened(audio))
    with answering(lambda _head: station(audio, *junk)) as server:
        reader = open_media(server.url(), open_timeout_s=5.0, read_timeout_s=5.0, live=True)
        assert count_frames(reader) == expected
        assert [change.title for change in reader._target.titles.take(0.0)] == ["]0;x"]
        reader.close()


def test_a_chained_ogg_plays_on_over_its_joints() -> None:
    links = [encode("libopus", "ogg", seconds=1.0, tags=(("title", str(n)),)) for n in range(3)]
    chained = b"".join(relinked(link, serial) for serial, link in enumerate(links))
    alone = [count_frames(opened(link)) for link in links]
    with answering(lambda _head: b"HTTP/1.0 200 OK\r\n\r\n" + chained) as server:
        reader = open_media(server.url(), open_timeout_s=5.0, read_timeout_s=5.0, live=True)
        assert (reader.info.title, reader.kind) == ("0", "opus")
        assert count_frames(reader) == sum(alone)
        reader.close()
    # FFmpeg's Vorbis decoder takes the new link's set-up along.
    vorbis = [encode("vorbis", "ogg", seconds=1.0, codec_options=EXPERIMENTAL) for _ in range(2)]
    assert count_frames(opened(b"".join(relinked(link, serial) for serial, link in enumerate(vorbis)))) >= 99


def test_a_link_of_another_shape_is_an_error_after_what_came_before() -> None:
    links = encode("libopus", "ogg", seconds=1.0), encode("libopus", "ogg", seconds=1.0, layout="mono")
    reader = opened(relinked(links[0], 1) + relinked(links[1], 2))
    count = 0
    with pytest.raises(SourceError) as caught:  # noqa: PT012 - raised in the course of reading
        while reader.read() is not None:
            count += 1
    assert caught.value.code is ErrorCode.SOURCE_FAILED
    assert count == count_frames(opened(links[0]))
    reader.close()
