from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.workers.audio.http_server import Site
from tests.workers.audio.raw_server import answering
from tests.workers.audio.test_faults import secure as secure  # noqa: PLC0414 - its fixture
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio import addresses
from voicepool.workers.audio.http_connection import Access, Answer, request
from voicepool.workers.errors import SourceError


def access(url: str, *, public_only: bool = False, **headers: str) -> Access:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Access("it", url, named, None, public_only)


def ask(asked: Access, headers: Mapping[str, str] | None = None, patience_s: float = 5.0) -> Answer:
    return request(asked, asked.url, headers or {}, lambda: patience_s)


def refused(asked: Access, patience: Callable[[], float] = lambda: 5.0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        request(asked, asked.url, {}, patience)
    assert "hunter2" not in str(caught.value)
    return caught.value


def body(answer: Answer) -> bytes:
    data = answer.response.read()
    answer.close()
    return data


def plain(text: str, head: str = "HTTP/1.1 200 OK") -> Callable[[str], bytes]:
    return lambda _head: f"{head}\r\n\r\n{text}".encode()


def redirect(to: str) -> Callable[[str], bytes]:
    return lambda _head: f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n".encode()


@pytest.mark.parametrize("status_line", ["HTTP/1.1 200 OK", "HTTP/1.0 200", "ICY 200 OK"])
def test_answers_of_http_and_of_shoutcast(status_line: str) -> None:
    with answering(plain("sound", f"{status_line}\r\nicy-br: 64")) as server:
        answer = ask(access(server.url("/a b?q=ü#no")), {"Range": "bytes=0-"})
        assert (answer.header("icy-br"), answer.header("none")) == ("64", None)
        assert answer.url == server.url("/a b?q=ü#no")
        assert "127" not in repr(answer)
        assert body(answer) == b"sound"
    head = server.requests[0]
    assert head.startswith("GET /a%20b?q=%C3%BC HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "Range: bytes=0-\r\n" in head


def test_chunks_are_put_together() -> None:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    with answering(plain("3\r\nsou\r\n2\r\nnd\r\n0\r\n\r\n", head)) as server:
        assert body(ask(access(server.url()))) == b"sound"


def test_the_users_headers_take_the_place_of_ours_and_the_urls_user_is_sent() -> None:
    with answering(plain("x")) as server:
        url = server.url().replace("//", "//me:p%40ss@")
        ask(access(url, user_agent="mine")).close()
        ask(access(url, AUTHORIZATION="Bearer t")).close()
    assert "user-agent: mine\r\n" in server.requests[0]
    assert "User-Agent" not in server.requests[0]
    assert "Authorization: Basic bWU6cEBzcw==\r\n" in server.requests[0]


def test_another_host_gets_no_secrets() -> None:
    with answering(plain("x")) as there:
        for to in (there.url("/x"), f"//127.0.0.1:{there.port}/y"):
            with answering(redirect(to)) as here:
                asked = access(
                    here.url(), X_Key="hunter2", Cookie="hunter2", Referer="http://r/", User_Agent="u"
                )
                answer = ask(asked)
                assert answer.url.endswith(to[-2:])
                answer.close()
                assert here.requests[0].count("hunter2") == 2
    for head in there.requests:
        assert "hunter2" not in head
        assert "Referer: http://r/\r\n" in head
        assert "User-Agent: u\r\n" in head


def test_the_same_host_gets_all_after_a_redirect() -> None:
    def answer(head: str) -> bytes:
        return redirect("x/b")(head) if head.startswith("GET /radio ") else plain("there")(head)

    with answering(answer) as server:
        assert body(ask(access(server.url(), X_Key="k"))) == b"there"
    assert server.requests[1].startswith("GET /x/b ")
    assert "X-Key: k" in server.requests[1]


@pytest.mark.parametrize(
    "to",
    [
        "file:///etc/passwd?hunter2",
        "ftp://host/x",
        "data:audio/mp3,x",
        "http://[::1/hunter2",
        "http://x:99999/",
    ],
)
def test_redirects_to_what_is_not_http_are_refused(to: str) -> None:
    with answering(redirect(to)) as server:
        assert refused(access(server.url())).code is ErrorCode.SOURCE_REFUSED


def test_a_redirect_into_the_own_network_is_refused_unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **more: Any) -> list[Any]:
        # Of the two hosts, the one by number counts as public.
        monkeypatch.setattr(addresses, "is_public", lambda _address: host != "localhost")
        return real("127.0.0.1", port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with (
        answering(plain("secret")) as inside,
        answering(redirect(f"http://localhost:{inside.port}/")) as outside,
    ):
        error = refused(access(outside.url(), public_only=True))
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "not public" in error.text
    assert inside.requests == []


def test_it_connects_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that gives a public address first and a private one then is asked once only."""
    asked = []

    with answering(plain("x")) as server:

        def resolve(host: str, port: int, **_more: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(addresses, "is_public", lambda _address: True)
        url = f"http://rebinding.example:{server.port}/"
        assert body(ask(access(url, public_only=True))) == b"x"
    assert asked == ["rebinding.example"]
    assert f"Host: rebinding.example:{server.port}\r\n" in server.requests[0]


def test_endless_redirects_end() -> None:
    with answering(redirect("/radio")) as server:
        assert "more than 8 times" in refused(access(server.url())).text
    assert len(server.requests) == 9


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "SOURCE_NOT_FOUND"), (410, "SOURCE_NOT_FOUND"), (403, "SOURCE_REFUSED"),
        (503, "SOURCE_REFUSED"), (302, "SOURCE_REFUSED"), (204, "SOURCE_REFUSED"),
    ],
)  # fmt: skip
def test_statuses(status: int, code: str) -> None:
    with answering(plain("x", f"HTTP/1.1 {status} So")) as server:
        error = refused(access(server.url("/x?hunter2")))
    assert (error.code, error.data) == (ErrorCode[code], {"http_status": status})


@pytest.mark.parametrize(
    "garbage", ["SSH-2.0-x\r\n", "", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nA" + "b" * 70_000]
)
def test_what_is_no_http_is_one_clear_error(garbage: str) -> None:
    with answering(lambda _head: garbage.encode()) as server:
        assert "cannot be reached" in refused(access(server.url())).text


def test_nobody_listens_and_nobody_answers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = refused(access(f"http://127.0.0.1:{closed.getsockname()[1]}/"))
    assert "nothing listens there" in error.text
    with answering(lambda _head: b"HTTP/1.1 200 OK\r\nHalf: ", hang_up=False) as server:
        late = refused(access(server.url()), lambda: 0.2)
    assert late.code is ErrorCode.SOURCE_TIMEOUT


def test_no_patience_is_a_timeout_or_an_end() -> None:
    def over() -> float:
        raise TimeoutError(errno.ETIMEDOUT, "over")

    assert refused(access("http://127.0.0.1:1/"), over).code is ErrorCode.SOURCE_TIMEOUT


def test_a_proxy_is_asked_for_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(plain("by proxy")) as proxy:
        monkeypatch.setenv("no_proxy", "")
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert body(ask(access("http://far.invalid/x?y"))) == b"by proxy"
        assert proxy.requests[0].startswith("GET http://far.invalid/x?y HTTP/1.1\r\nHost: far.invalid\r\n")
        # It talks no TLS, which is what comes next.
        assert "cannot be reached" in refused(access("https://far.invalid/x")).text
        assert proxy.requests[1].startswith("CONNECT far.invalid:443 HTTP/1.1\r\n")


def test_tls(secure: tuple[Site, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    site, ca_file = secure
    asked = Access("it", site.url("/file/song.mp3"), {}, ca_file, public_only=False)
    assert body(ask(asked)) == site.files["song.mp3"]
    assert ca_file not in repr(asked)
    error = refused(access(site.url("/file/song.mp3")))
    assert error.code is ErrorCode.SOURCE_REFUSED
    assert "certificate does not verify" in error.text
