"""What a bot author reads when a URL does not play; the server is real, and misbehaves."""

from __future__ import annotations

import datetime as dt
import gc
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode, opus
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.faults import captured_log, open_fault, read_fault
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.errors import SourceError

SECRET = "hunter2"
TIMEOUT_S = 0.4


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("http_proxy", raising=False)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    mp3 = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=8.0)
    files = {
        "song.mp3": mp3,
        "cut.mp3": mp3[: len(mp3) // 2],
        "song.wav": encode("pcm_s16le", "wav", seconds=8.0),
        "song.webm": opus("webm", seconds=8.0),
        "page.html": b"<!doctype html><p>hello</p>" * 50,
        "nothing": b"",
    }
    with serving(Site(files)) as site:
        yield site


def opened(url: str, *, ca_file: str | None = None) -> MediaReader:
    return open_media(url, open_timeout_s=TIMEOUT_S, read_timeout_s=TIMEOUT_S, ca_file=ca_file)


def failure_of(url: str, *, ca_file: str | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        opened(url, ca_file=ca_file).close()
    return caught.value


def read_to_the_end(reader: MediaReader) -> tuple[int, SourceError | None]:
    frames = 0
    try:
        while reader.read() is not None:
            frames += 1
    except SourceError as error:
        return frames, error
    finally:
        reader.close()
    return frames, None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, ErrorCode.SOURCE_NOT_FOUND),
        (410, ErrorCode.SOURCE_NOT_FOUND),
        (400, ErrorCode.SOURCE_REFUSED),
        (401, ErrorCode.SOURCE_REFUSED),
        (403, ErrorCode.SOURCE_REFUSED),
        (429, ErrorCode.SOURCE_REFUSED),
        (451, ErrorCode.SOURCE_REFUSED),
        (500, ErrorCode.SOURCE_REFUSED),
        (503, ErrorCode.SOURCE_REFUSED),
    ],
)
def test_http_status(site: Site, status: int, code: ErrorCode) -> None:
    for _ in range(2):  # the second has the same log lines as the first
        error = failure_of(site.url(f"/{status}/song.mp3"))
        assert error.code is code
        assert error.data == {"http_status": status}
        assert f"HTTP status {status}" in error.text


def test_no_text_shows_what_a_url_may_keep_secret(site: Site) -> None:
    url = f"http://user:{SECRET}@127.0.0.1:{site.port}"
    for path in ("/404/x", "/hang/x", "/500/x", "/401/x", "/file/page.html", "/file/nothing"):
        error = failure_of(f"{url}{path}?token={SECRET}#{SECRET}")
        assert f"http://127.0.0.1:{site.port}{path}" in error.text
        assert SECRET not in f"{error} {error.data} {error!r}"
        assert error.__cause__ is None
        assert error.__suppress_context__
    frames, broken = read_to_the_end(opened(f"{url}/stall/song.mp3?token={SECRET}"))
    assert frames > 0
    assert broken is not None
    assert SECRET not in f"{broken} {broken.data}"


def test_server_that_never_answers(site: Site) -> None:
    error = failure_of(site.url("/hang/song.mp3"))
    assert error.code is ErrorCode.SOURCE_TIMEOUT
    assert "within 0.4 s" in error.text


def test_server_that_never_accepts() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        error = failure_of(f"http://127.0.0.1:{listening.getsockname()[1]}/song.mp3")
    assert error.code is ErrorCode.SOURCE_TIMEOUT


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = failure_of(f"http://127.0.0.1:{unused.getsockname()[1]}/song.mp3")
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "nothing listens there" in error.text


def test_name_that_does_not_resolve() -> None:
    error = failure_of("http://nowhere.invalid/song.mp3")
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "does not resolve" in error.text


@pytest.mark.parametrize("name", ["page.html", "nothing"])
def test_page_instead_of_a_song(site: Site, name: str) -> None:
    assert failure_of(site.url(f"/file/{name}")).code is ErrorCode.SOURCE_UNREADABLE


@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.webm"])
def test_song_plays(site: Site, name: str) -> None:
    for kind in ("file", "live", "flaky"):
        frames, error = read_to_the_end(opened(site.url(f"/{kind}/{name}")))
        assert error is None
        assert 400 <= frames <= 402


def test_broken_connection_is_taken_up_where_it_broke(site: Site) -> None:
    site.requests.clear()
    reader = opened(site.url("/flaky/song.webm"))
    packets = list(iter(reader.read, None))
    reader.close()
    whole = open_media(site.files["song.webm"], open_timeout_s=1.0, read_timeout_s=1.0)
    assert packets == list(iter(whole.read, None))
    whole.close()
    half = len(site.files["song.webm"]) // 2
    assert f"flaky/song.webm@{half}" in site.requests


@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.webm"])
def test_stall_in_the_middle(site: Site, name: str) -> None:
    frames, error = read_to_the_end(opened(site.url(f"/stall/{name}")))
    assert error is not None
    assert error.code is ErrorCode.SOURCE_TIMEOUT
    assert 170 <= frames <= 202
    assert error.data["played_s"] == pytest.approx(frames / 50, abs=0.1)


@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.webm"])
def test_connection_that_ends_in_the_middle(site: Site, name: str) -> None:
    frames, error = read_to_the_end(opened(site.url(f"/cut/{name}")))
    assert error is not None
    assert error.code is ErrorCode.SOURCE_TRUNCATED
    assert 170 <= frames <= 202


def test_file_that_is_cut_on_the_server(site: Site) -> None:
    frames, error = read_to_the_end(opened(site.url("/file/cut.mp3")))
    assert error is not None
    assert error.code is ErrorCode.SOURCE_TRUNCATED
    assert error.data["announced_s"] == pytest.approx(8.0, abs=0.05)
    assert 190 <= frames <= 201


def test_redirect(site: Site, tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    song.write_bytes(site.files["song.mp3"])
    site.redirects |= {"good": "/file/song.mp3", "bad": f"file://{song}", "loop": "/redirect/loop"}
    assert read_to_the_end(opened(site.url("/redirect/good")))[1] is None
    error = failure_of(site.url("/redirect/bad"))
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "protocol 'file'" in error.text
    assert failure_of(site.url("/redirect/loop")).code in {ErrorCode.SOURCE_REFUSED, ErrorCode.SOURCE_FAILED}


def test_playlist_of_a_server_may_name_its_segments_but_no_local_file(site: Site, tmp_path: Path) -> None:
    aac = encode("aac", "adts", bitrate_bps=128_000)
    local = tmp_path / "song.aac"
    local.write_bytes(aac)
    site.files["song.aac"] = aac

    def playlist(segment: str) -> bytes:
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{segment}\n#EXT-X-ENDLIST\n".encode()

    site.files["good.m3u8"] = playlist("/file/song.aac")
    frames, error = read_to_the_end(opened(site.url("/file/good.m3u8")))
    assert (error, frames > 90) == (None, True)
    site.files["bad.m3u8"] = playlist(f"file://{local}")
    assert failure_of(site.url("/file/bad.m3u8")).code is ErrorCode.SOURCE_REFUSED


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """An https server with a certificate of its own making, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "voicepool test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    ca_file, key_file = folder / "ca.pem", folder / "key.pem"
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca_file, key_file)
    with serving(Site({"song.mp3": encode("libmp3lame", "mp3", bitrate_bps=128_000)}), tls=tls) as site:
        yield site, str(ca_file)


def test_https_plays_when_its_certificate_verifies(secure: tuple[Site, str]) -> None:
    site, ca_file = secure
    frames, error = read_to_the_end(opened(site.url("/file/song.mp3"), ca_file=ca_file))
    assert (frames, error) == (100, None)


def test_https_is_refused_when_it_does_not(secure: tuple[Site, str]) -> None:
    error = failure_of(secure[0].url("/file/song.mp3"))
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "certificate does not verify" in error.text


def test_nothing_is_left_behind(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    before = {thread for thread in threading.enumerate() if thread.name.startswith("voicepool")}
    for path in ("/404/x", "/hang/x", "/file/page.html"):
        failure_of(site.url(path))
    read_to_the_end(opened(site.url("/stall/song.mp3")))
    gc.collect()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("voicepool")} == before
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_other_failures_keep_ffmpegs_words() -> None:
    error = av.error.UnknownError(5, "Something Odd", f"http://host/?{SECRET}")
    opening = open_fault(error, "http://host/", [], timeout_s=1.0)
    reading = read_fault(error, "http://host/", timeout_s=1.0, played_s=2.0)
    for fault in (opening, reading):
        assert fault.code is ErrorCode.SOURCE_FAILED
        assert "something odd" in fault.text
        assert SECRET not in fault.text
    assert reading.data == {"played_s": 2.0}


def test_log_of_other_threads_is_not_captured() -> None:
    def log() -> None:
        av.logging.log(av.logging.WARNING, "test", "elsewhere")

    with captured_log() as lines:
        thread = threading.Thread(target=log)
        thread.start()
        thread.join()
        av.logging.log(av.logging.WARNING, "test", "here")
    assert [line.strip() for line in lines] == ["here"]


def test_pcm_of_a_url_is_that_of_the_file(site: Site) -> None:
    remote = opened(site.url("/file/song.mp3"))
    local = open_media(site.files["song.mp3"], open_timeout_s=1.0, read_timeout_s=1.0)
    while (frame := local.read()) is not None:
        assert np.array_equal(frame, remote.read())  # type: ignore[arg-type]
    assert remote.read() is None
    remote.close()
    local.close()
