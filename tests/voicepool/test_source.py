"""Descriptions of what to play."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from voicepool.ipc.sources import BytesSource, FileSource, SilenceSource, UrlSource
from voicepool.resolver import Resolved, WorkerResolver
from voicepool.source import AudioFile, AudioSource, Pushed, Silence, SourceKind, as_audio, as_source
from voicepool.station import Station
from voicepool.streams import OpusStream, PcmStream

URL = "https://radio.example/live.mp3"


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio = AudioFile("song.flac")
    monkeypatch.chdir("/")
    assert audio.location == str(tmp_path / "song.flac")
    assert audio.kind is SourceKind.FILE
    assert audio.to_wire() == (FileSource(path=str(tmp_path / "song.flac")), ())


def test_a_path_object_is_as_good(tmp_path: Path) -> None:
    assert AudioFile(tmp_path / "a.mp3") == AudioFile(str(tmp_path / "a.mp3"))


def test_the_home_directory_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("USERPROFILE", "/somewhere")
    assert AudioFile("~/a.mp3").location == str(Path("/somewhere/a.mp3").absolute())


def test_a_file_may_be_named_like_a_home_directory_that_there_is_not() -> None:
    assert AudioFile("~nobody of that name.mp3").location == str(Path("~nobody of that name.mp3").absolute())


def test_a_url_goes_as_it_is_and_its_secrets_do_not_show() -> None:
    url = "https://user:hidden@radio.example:8000/live.mp3?key=hidden"
    audio = AudioFile(url)
    assert audio.kind is SourceKind.URL
    assert audio.to_wire() == (UrlSource(url=url), ())
    for text in (repr(audio), str(audio), audio.label):
        assert "hidden" not in text
        assert "radio.example:8000/live.mp3" in text


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_travel_beside_the_description(kind: type) -> None:
    audio = AudioFile(kind(b"RIFF1234"))
    assert audio.to_wire() == (BytesSource(size_bytes=8), (b"RIFF1234",))
    assert audio.kind is SourceKind.BYTES
    assert audio.size_bytes == 8
    assert repr(audio) == "AudioFile('8 bytes')"


def test_bytes_do_not_change_afterwards() -> None:
    content = bytearray(b"abc")
    audio = AudioFile(content)
    content[0] = 0
    assert audio.location == b"abc"


@pytest.mark.parametrize("location", [None, 5, ["a"], object(), 1.5])
def test_nothing_else_can_be_played(location: object) -> None:
    with pytest.raises(TypeError, match=r"cannot play \w+; allowed is a path"):
        AudioFile(location)  # type: ignore[arg-type]


@pytest.mark.parametrize("location", ["", "a\0b", b"", bytearray()])
def test_empty_and_torn_locations_are_refused(location: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"no bytes|empty or holds a NUL"):
        AudioFile(location)


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "rtmp://x/y", "concat://a|b"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="cannot play from"):
        AudioFile(url)


@pytest.mark.parametrize(
    "url", ["https://", "http://:80/x", "https://a b/c", "https://[::1", "https://h:99999/"]
)
def test_broken_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no complete URL"):
        AudioFile(url)


@pytest.mark.skipif(os.name != "posix", reason="file names are text elsewhere")
def test_a_file_name_that_cannot_be_sent_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match="pass its bytes"):
        AudioFile(os.fsdecode(b"/music/caf\xe9.mp3"))


def test_a_file_like_object_is_read_when_the_source_is_made_and_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF1234")
    with (tmp_path / "a.wav").open("rb") as file:
        audio = AudioFile(file)
        assert not file.closed
    assert audio == AudioFile(io.BytesIO(b"RIFF1234")) == AudioFile(b"RIFF1234")
    assert audio.kind is SourceKind.BYTES


def test_a_text_file_cannot_be_played(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("la la la")
    with (tmp_path / "a.txt").open() as file, pytest.raises(TypeError, match="open it as 'rb'"):
        AudioFile(file)  # type: ignore[arg-type]


def test_content_has_a_bound() -> None:
    assert AudioFile(io.BytesIO(b"12345678"), max_bytes=8).size_bytes == 8
    with pytest.raises(ValueError, match="more than max_bytes = 7"):
        AudioFile(io.BytesIO(b"12345678"), max_bytes=7)
    with pytest.raises(ValueError, match="8 bytes are more than max_bytes = 7"):
        AudioFile(b"12345678", max_bytes=7)
    with pytest.raises(ValueError, match="no bytes"):
        AudioFile(io.BytesIO())


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "8"])
def test_the_bound_of_content_is_a_whole_number(most: Any) -> None:
    with pytest.raises(ValueError, match="max_bytes must be a whole number"):
        AudioFile(b"RIFF", max_bytes=most)


def test_what_concerns_urls_goes_to_the_worker() -> None:
    headers = {"Referer": "https://site.example/", "X-Key": "hidden"}
    audio = AudioFile(URL, headers=headers, live=True, max_latency_s=5, public_only=True)
    source = UrlSource(url=URL, headers=dict(headers), live=True, max_latency_s=5.0, public_only=True)
    assert audio.to_wire() == (source, ())
    headers["X-Key"] = "other"
    assert audio.to_wire() == (source, ()), "headers were copied"


@pytest.mark.parametrize(
    ("own", "pool", "counts"),
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (True, True, True),
        (False, True, False),
        (False, False, False),
    ],
)
def test_a_rule_of_its_own_about_private_addresses_comes_before_the_pools(
    *, own: bool | None, pool: bool, counts: bool
) -> None:
    source, _ = AudioFile(URL, public_only=own).to_wire(public_only=pool)
    assert isinstance(source, UrlSource)
    assert source.public_only is counts


@pytest.mark.parametrize("location", ["a.mp3", b"RIFF"])
@pytest.mark.parametrize(
    "given",
    [{"headers": {}}, {"headers": {"A": "b"}}, {"live": True}, {"public_only": True}, {"public_only": False}],
)
def test_what_concerns_urls_only_is_refused_elsewhere(location: str | bytes, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} goes with http"):
        AudioFile(location, **given)


@pytest.mark.parametrize("location", ["a.mp3", URL])
def test_the_bound_of_content_is_refused_elsewhere(location: str) -> None:
    with pytest.raises(ValueError, match="max_bytes goes with bytes and file-like objects only"):
        AudioFile(location, max_bytes=8)


@pytest.mark.parametrize("location", ["a.mp3", b"RIFF", URL])
def test_a_latency_goes_with_broadcasts_only(location: str | bytes) -> None:
    with pytest.raises(ValueError, match="max_latency_s goes with live=True only"):
        AudioFile(location, max_latency_s=5)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_seconds_are_finite_and_above_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="max_latency_s must be a finite"):
        AudioFile(URL, live=True, max_latency_s=seconds)
    with pytest.raises(ValueError, match="duration_s must be a finite"):
        AudioFile("a.mp3", duration_s=seconds)
    with pytest.raises(ValueError, match="duration_s must be a finite"):
        Silence(seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("live", 1),
        ("live", None),
        ("public_only", "yes"),
        ("title", 5),
        ("artist", b"New Order"),
        ("headers", [("A", "b")]),
        ("duration_s", "5"),
        ("duration_s", True),
    ],
)
def test_parameters_of_another_type_are_refused(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        AudioFile(URL, **{name: value})


def test_headers_never_show() -> None:
    audio = AudioFile(URL, headers={"Authorization": "Bearer hidden"}, title="News")
    assert repr(audio) == f"AudioFile('{URL}', headers=<hidden>, title='News')"
    source, _ = audio.to_wire()
    assert "Bearer" not in repr(source)
    for headers in ({"A": "hidden\r\nX: y"}, {"Host": "hidden"}, {"A": "hidden\u20ac"}):
        with pytest.raises(ValueError, match="headers") as caught:
            AudioFile(URL, headers=headers)
        assert "hidden" not in str(caught.value)


def test_what_is_known_beforehand_is_kept() -> None:
    audio = AudioFile("a.mp3", title="Blue Monday", artist="New Order", duration_s=449)
    assert (audio.title, audio.artist, audio.duration_s) == ("Blue Monday", "New Order", 449)


def test_descriptions_can_be_hashed_copied_and_changed() -> None:
    audio = AudioFile(URL, headers={"A": "b"}, live=True)
    assert hash(audio) == hash(AudioFile(URL, headers={"A": "b"}, live=True))
    assert copy.deepcopy(audio) == pickle.loads(pickle.dumps(audio)) == audio
    assert dataclasses.replace(audio, live=False) == AudioFile(URL, headers={"A": "b"})
    assert audio != AudioFile(URL, live=True)


def test_silence_lasts_as_long_as_it_is_told() -> None:
    assert Silence(3).to_wire(public_only=True) == (SilenceSource(duration_s=3.0), ())
    assert Silence().to_wire() == (SilenceSource(), ())
    assert [Silence(0.5).label, Silence().label] == ["0.5 s of silence", "silence"]
    assert (Silence().kind, Silence().size_bytes) == (SourceKind.SILENCE, 0)


@pytest.mark.parametrize("seconds", [True, "5"])
def test_silence_takes_numbers_only(seconds: Any) -> None:
    with pytest.raises(TypeError, match="duration_s must be a number"):
        Silence(seconds)


SOURCES: list[AudioSource] = [
    AudioFile("a.mp3"),
    AudioFile(b"RIFF"),
    Silence(),
    Station("lofi", "a.mp3"),
    Resolved("blue monday", str),
    WorkerResolver("mybot.library:find")("blue monday"),
]


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_a_source_is_left_alone(source: AudioSource) -> None:
    assert as_source(source) is source
    assert as_audio(source) is source
    assert source.label
    assert (
        source.label in repr(source) or source.kind is SourceKind.SILENCE or source.kind is SourceKind.STATION
    )


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_what_needs_no_resolving_resolves_to_itself(source: AudioSource) -> None:
    if not source.needs_resolving:
        assert asyncio.run(source.resolve()) is source


@pytest.mark.parametrize("make", [PcmStream, OpusStream])
def test_a_pushed_stream_is_left_alone(make: type[PcmStream | OpusStream]) -> None:
    async def main() -> None:
        stream = make()
        assert isinstance(stream, Pushed)
        assert as_source(stream) is stream

    asyncio.run(main())


@pytest.mark.parametrize("thing", [PcmStream, AudioFile, io.BytesIO, None, 5])
def test_a_class_is_no_source_yet(thing: object) -> None:
    with pytest.raises(TypeError, match="cannot play"):
        as_source(thing)


@pytest.mark.parametrize("location", ["a.mp3", Path("a.mp3"), b"RIFF", bytearray(b"RIFF"), URL])
def test_anything_else_becomes_audio(location: Any) -> None:
    assert as_source(location) == AudioFile(location)
    assert as_source(io.BytesIO(b"RIFF")) == AudioFile(b"RIFF")


def test_a_file_that_has_been_read_or_closed_is_refused_with_the_way_out() -> None:
    file = io.BytesIO(b"RIFF....")
    file.read()
    with pytest.raises(ValueError, match=r"no bytes to play: .*; seek\(0\) first"):
        as_source(file)
    file.seek(0)
    assert as_source(file).label == as_source(b"RIFF....").label
    file.close()
    with pytest.raises(ValueError, match="the file is closed"):
        as_source(file)
