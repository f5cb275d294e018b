from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.location import SourceFile, locate
from voicepool.workers.errors import SourceError


def refused(location: str | bytes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        locate(location).close()
    return caught.value


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "a song.mp3"
    path.write_bytes(b"0123456789")
    target = locate(str(path))
    assert target.name == str(path)
    file = target.file
    assert file is not None
    assert file is target.source
    assert file.size_bytes == 10
    assert file.read(4) == b"0123"
    assert file.read_at(8, 5) == b"89"
    assert file.tell() == 4
    target.close()
    target.close()


def test_bytes_are_read_in_place() -> None:
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        target = locate(data)
        assert target.name == "the 3 bytes in memory"
        assert target.file is not None
        assert target.file.read(5) == b"abc"
        target.close()


@pytest.mark.parametrize(
    "name", ["missing.mp3", "file.mp3/inside", "nul\0.mp3", "", "concat:a.mp3|b.mp3", "\udcff"]
)
def test_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.mp3").write_bytes(b"x")
    error = refused(f"{tmp_path}/{name}" if name else "")
    assert error.code is ErrorCode.SOURCE_NOT_FOUND
    assert "\0" not in error.text


def test_directory_and_device(tmp_path: Path) -> None:
    assert "is a directory" in refused(str(tmp_path)).text
    assert refused(str(tmp_path)).code is ErrorCode.SOURCE_REFUSED
    assert refused(os.devnull).code is ErrorCode.SOURCE_REFUSED


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_and_socket_are_refused_without_being_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp3"
    os.mkfifo(pipe)
    assert "is a pipe" in refused(str(pipe)).text
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert "is a socket" in refused(str(tmp_path / "s")).text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_file_that_turns_into_a_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, song = tmp_path / "pipe.mp3", tmp_path / "song.mp3"
    os.mkfifo(pipe)
    song.write_bytes(b"x")
    real = song.stat()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_args, **_kw: real)
        error = refused(str(pipe))
    assert "is a pipe" in error.text


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private.mp3"
    path.write_bytes(b"x")

    def deny(*_args: object, **_kw: object) -> int:
        raise PermissionError(13, "Permission denied")

    # chmod would not keep root out.
    monkeypatch.setattr(os, "open", deny)
    error = refused(str(path))
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "permission denied" in error.text
    assert str(path) in error.text


def test_empty_file_and_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp3"
    path.touch()
    for error in (refused(str(path)), refused(b"")):
        assert error.code is ErrorCode.SOURCE_UNREADABLE
        assert "is empty" in error.text


SECRET_URL = "https://user:hunter2@cdn.example:8443/music/song.mp3?token=hunter2#hunter2"


def test_url_is_named_without_its_secrets() -> None:
    target = locate(SECRET_URL)
    assert target.source == SECRET_URL
    assert target.name == "https://cdn.example:8443/music/song.mp3"
    assert target.file is None


def test_url_may_not_lead_to_local_files() -> None:
    options = locate("http://host/x").options
    assert "file" not in options["protocol_whitelist"].split(",")
    assert not {"concat", "image2", "lavfi"} & set(options["format_whitelist"].split(","))
    assert set(options["protocol_whitelist"].split(",")) == {
        "http", "https", "httpproxy", "tcp", "tls", "crypto", "hls",
    }  # fmt: skip


def test_file_gets_no_protocol_and_no_playlist(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    target = locate(str(path))
    assert target.options["protocol_whitelist"] == "none"
    assert "hls" not in target.options["format_whitelist"].split(",")
    target.close()


@pytest.mark.parametrize("scheme", ["ftp", "file", "rtmp", "FILE", "tcp", "concat", "subfile", "data"])
def test_other_protocols_are_refused(scheme: str) -> None:
    error = refused(f"{scheme}://user:hunter2@host/etc/passwd?token=hunter2")
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "only http and https" in error.text
    assert "hunter2" not in error.text


@pytest.mark.parametrize(
    "url", ["http://", "http:///x?hunter2", "https://[::1/hunter2", "http://user:hunter2@/x"]
)
def test_url_without_a_host(url: str) -> None:
    error = refused(url)
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "hunter2" not in error.text


def test_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert locate("https://host/x", ca_file="/my/ca.pem").options["ca_file"] == "/my/ca.pem"
    own = tmp_path / "ca.pem"
    own.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    options = locate("https://host/x").options
    assert (options["tls_verify"], options["ca_file"]) == ("1", str(own))


def test_names_fit_on_a_line() -> None:
    error = refused("/nowhere/\x1b[31m\n" + "x" * 5_000)
    assert "\n" not in error.text
    assert "\x1b" not in error.text
    assert len(error.text) < 400


class Broken:
    """A disk that fails."""

    def read(self, _count: int) -> bytes:
        raise OSError(5, "Input/output error")

    def seek(self, _offset: int, _whence: int) -> int:
        raise OSError(22, "Invalid argument")

    def close(self) -> None: ...


def test_callbacks_never_raise_and_remember_why() -> None:
    file = SourceFile(Broken(), "x")  # type: ignore[arg-type]
    assert file.seek(-5) == file.tell() == file.size_bytes == -1
    assert file.read_at(0, 4) == b""
    assert file.failure is None
    assert file.read(4) == b""
    assert str(file.failure) == "[Errno 5] Input/output error"


def test_reading_after_close_is_the_end() -> None:
    target = locate(b"abc")
    assert target.file is not None
    target.close()
    assert target.file.read(3) == b""
    assert target.file.seek(0) == -1


def test_ffmpeg_fetches_what_needs_nothing_special() -> None:
    target = locate("http://host/x")
    assert target.client is None
    target.close()
    assert locate(b"abc", headers={"A": "b"}, live=True, public_only=True).client is None


@pytest.mark.parametrize("special", [{"headers": {"A": "hunter2"}}, {"live": True}, {"public_only": True}])
def test_ffmpeg_has_no_network_where_our_client_fetches(special: dict[str, Any]) -> None:
    target = locate("https://user:hunter2@host/x?hunter2", ca_file="/my/ca.pem", **special)
    assert target.client is not None
    assert target.client.access.ca_file == "/my/ca.pem"
    assert target.client.live == special.get("live", False)
    assert target.options["protocol_whitelist"] == "none"
    assert "headers" not in target.options
    assert "hunter2" not in repr(target.client.access) + target.name
    target.interrupt()
    assert target.client.stopped
    target.close()
    target.close()


@pytest.mark.parametrize(
    ("header", "value"),
    [("A", "hunter2\r\nB: c"), ("A", "hunter2\n"), ("A b", "hunter2"), ("", "x"), ("A", "hünter2")],
)
def test_headers_that_would_be_others(header: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent") as caught:
        locate("http://host/x", headers={header: value})
    assert "nter2" not in str(caught.value)
