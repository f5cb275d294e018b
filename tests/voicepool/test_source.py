"""Descriptions of what to play."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from voicepool.ipc.commands import BytesSource, FileSource, UrlSource
from voicepool.source import AudioFile, SourceKind, as_audio


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


def test_as_audio_leaves_audio_alone() -> None:
    audio = AudioFile("a.mp3")
    assert as_audio(audio) is audio
    assert as_audio("a.mp3") == audio
