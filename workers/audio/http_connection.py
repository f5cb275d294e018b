"""One request for a URL, and its answer: name, address, TLS, proxy, redirects.

FFmpeg has an HTTP client of its own, which is used where nothing speaks against it (`location`). This one is
for the other cases, since here every connection is seen before it is made: whether its address is public, and
which headers it may have. It speaks HTTP/1.1 and what SHOUTcast took for it (``ICY 200 OK``).
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.addresses import resolve
from voicepool.workers.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Access", "Answer", "Patience", "request"]

Patience = Callable[[], float]
"""How many seconds the next wait may take, above 0; raises `OSError` if there is to be no next wait."""

_PORTS: Final = {"http": 80, "https": 443}
_MAX_REDIRECTS: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})
_FOR_EVERYONE: Final = frozenset({"accept", "accept-language", "origin", "referer", "user-agent"})
"""Headers that also other hosts get, which a redirect or a playlist leads to; the rest may be secrets."""
_ANSWERED: Final = frozenset({200, 206})
_PATH_SAFE: Final = "%/:=&?~+!$,;'@()*[]|"


@dataclass(frozen=True, slots=True)
class Access:
    """How the URLs of one source are asked for.

    Attributes
    ----------
    name
        What error texts call the source.
    url
        The source itself; its host is the one that gets all of the headers.
    headers
        Checked by `location`.
    ca_file
        Certificates to trust for https; `None` takes the system's.
    public_only
        Refuse every connection to an address that is not public.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    ca_file: str | None
    public_only: bool

    def __repr__(self) -> str:
        return f"Access({self.name!r})"


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; its body is still to be read.

    Attributes
    ----------
    url
        Where it came from, after redirects; may hold secrets.
    sock
        Its connection, for `interrupt` to break.
    """

    response: http.client.HTTPResponse
    url: str
    sock: socket.socket

    def __repr__(self) -> str:
        return f"Answer({self.response.status})"

    def header(self, name: str) -> str | None:
        """Return a header, printable and bounded."""
        value = self.response.getheader(name)
        return None if value is None else value[:500]

    def close(self) -> None:
        """Release the connection. Calling it again does nothing."""
        self.response.close()
        self.sock.close()


def request(access: Access, url: str, headers: Mapping[str, str], patience: Patience) -> Answer:
    """Ask for a URL and follow where it leads.

    Parameters
    ----------
    access
        Of the source.
    url
        The source's URL, or one that a playlist of it names.
    headers
        To be sent on top of those of `access`, to all hosts.
    patience
        Asked before every wait.

    Raises
    ------
    SourceError
        ``SOURCE_NOT_FOUND``, ``SOURCE_REFUSED`` or ``SOURCE_TIMEOUT``.
    """
    home = _origin(urlsplit(access.url))
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _checked(url, access)
        sent = {"User-Agent": "voicepool", "Accept": "*/*"}
        for name, value in access.headers.items():
            if _origin(parts) == home or name.lower() in _FOR_EVERYONE:
                _put(sent, name, value)
        if parts.username is not None and _origin(parts) == home:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            sent.setdefault("Authorization", f"Basic {base64.b64encode(user).decode()}")
        for name, value in headers.items():
            _put(sent, name, value)
        answer = _ask(access, parts, url, sent, patience)
        status, location = answer.response.status, answer.response.getheader("Location")
        if status in _ANSWERED:
            return answer
        answer.close()
        if status not in _REDIRECTS or not location:
            code = ErrorCode.SOURCE_NOT_FOUND if status in _GONE else ErrorCode.SOURCE_REFUSED
            text = f"the server answered {access.name} with HTTP status {status}"
            raise SourceError(code, text, http_status=status)
        try:
            # http.client reads headers as Latin-1; servers mean UTF-8, if they do not escape it.
            url = urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
        except ValueError:
            raise SourceError(ErrorCode.SOURCE_REFUSED, f"{access.name} leads to what is no URL") from None
    text = f"{access.name} redirects more than {_MAX_REDIRECTS} times"
    raise SourceError(ErrorCode.SOURCE_REFUSED, text)


def _put(headers: dict[str, str], name: str, value: str) -> None:
    """Set a header in place of one that differs in upper and lower case only."""
    for other in [other for other in headers if other.lower() == name.lower()]:
        del headers[other]
    headers[name] = value


def _checked(url: str, access: Access) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            scheme = "".join(character for character in parts.scheme if character.isalnum())[:20]
            text = (
                f"{access.name} leads to the protocol {scheme!r}, which voicepool does not follow from a URL"
            )
            raise SourceError(ErrorCode.SOURCE_REFUSED, text)
        if parts.hostname and (parts.port is None or parts.port > 0):
            return parts
    except ValueError:
        # Brackets that do not close, or a port that is no number.
        pass
    raise SourceError(ErrorCode.SOURCE_REFUSED, f"{access.name} leads to what is no URL")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _ask(
    access: Access, parts: SplitResult, url: str, headers: Mapping[str, str], patience: Patience
) -> Answer:
    try:
        sock, through_proxy = _connect(access, parts, patience)
    except OSError as error:
        raise _fault(error, access.name) from None
    try:
        target = quote(parts.path or "/", safe=_PATH_SAFE)
        if parts.query:
            target += "?" + quote(parts.query, safe=_PATH_SAFE)
        if through_proxy:
            target = f"http://{_authority(parts)}{target}"
        sock.settimeout(patience())
        sock.sendall(_request_head("GET", target, {"Host": _authority(parts), **headers}))
        return Answer(_answer(sock, patience), url, sock)
    except (OSError, http.client.HTTPException) as error:
        sock.close()
        raise _fault(error, access.name) from None
    except BaseException:
        sock.close()
        raise


def _connect(access: Access, parts: SplitResult, patience: Patience) -> tuple[socket.socket, bool]:
    """Connect to a URL's server or its proxy; tell whether the proxy is to be asked for the whole URL."""
    host = parts.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
    port = parts.port or _PORTS[parts.scheme]
    addresses = []
    if proxy is None or access.public_only:
        addresses = resolve(host, port, access.name, public_only=access.public_only)
    if proxy is not None:
        at = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        addresses = resolve(at.hostname or "", at.port or _PORTS["http"], access.name, public_only=False)
    failure: OSError | None = None
    for address in addresses:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(patience())
            sock.connect(address.sockaddr)
            if parts.scheme == "https":
                if proxy is not None:
                    _tunnel(sock, host, port, access.name, patience)
                sock.settimeout(patience())
                sock = _tls_context(access.ca_file).wrap_socket(sock, server_hostname=host)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock, proxy is not None and parts.scheme == "http"
    raise failure or OSError("no address")


def _tunnel(sock: socket.socket, host: str, port: int, name: str, patience: Patience) -> None:
    """Have a proxy connect to a server (RFC 9110 §9.3.6)."""
    there = f"[{host}]:{port}" if ":" in host else f"{_ascii(host)}:{port}"
    sock.sendall(_request_head("CONNECT", there, {"Host": there}))
    try:
        response = _answer(sock, patience, method="CONNECT")
    except http.client.HTTPException as error:
        raise ConnectionAbortedError(str(error)) from error
    if response.status != http.HTTPStatus.OK:
        text = f"{name} cannot be reached: the proxy answered with HTTP status {response.status}"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text, http_status=response.status)


def _request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode("latin-1")


def _authority(parts: SplitResult) -> str:
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else _ascii(host)
    return shown if parts.port is None else f"{shown}:{parts.port}"


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return quote(host)


@lru_cache(maxsize=4)
def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Kept, since reading the certificates of all authorities takes some 20 ms."""
    return ssl.create_default_context(cafile=ca_file)


class _Channel:
    """A socket as `http.client.HTTPResponse` wants one."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _Lines(_Bytes(self._sock, self._patience))


class _Bytes(io.RawIOBase):
    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._sock.settimeout(self._patience())
        return self._sock.recv_into(buffer)


class _Lines(io.BufferedReader):
    """The answer's lines; a status line of SHOUTcast's becomes one of HTTP's."""

    _first = True

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(-1 if size is None else size)
        if self._first and line.startswith(b"ICY "):
            line = b"HTTP/1.0" + line[3:]
        self._first = False
        return line


def _answer(sock: socket.socket, patience: Patience, *, method: str = "GET") -> http.client.HTTPResponse:
    # All it does with the socket is to call `makefile`.
    response = http.client.HTTPResponse(_Channel(sock, patience), method=method)  # type: ignore[arg-type]
    response.begin()
    return response


def _fault(error: OSError | http.client.HTTPException, name: str) -> SourceError:
    if isinstance(error, TimeoutError):
        return SourceError(ErrorCode.SOURCE_TIMEOUT, f"{name} did not answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = "its TLS certificate does not verify"
    elif isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there"
    elif isinstance(error, http.client.HTTPException):
        reason = "what it answers is not HTTP"
    else:
        reason = (error.strerror or "the connection broke off").lower()
    return SourceError(ErrorCode.SOURCE_REFUSED, f"{name} cannot be reached: {reason}")
