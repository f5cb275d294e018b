from __future__ import annotations

import socket

import pytest

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.addresses import is_public, resolve
from voicepool.workers.errors import SourceError

PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "fe80::2",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


# As a browser takes them: short, decimal, octal, hexadecimal.
@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "0x7f.1", "localhost", "::1", "0"])
def test_every_notation_of_this_machine(host: str) -> None:
    with pytest.raises(SourceError, match=r"^it ") as caught:
        resolve(host, 80, "it", public_only=True)
    assert caught.value.code is ErrorCode.SOURCE_REFUSED


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kw: found)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "1.1.1.1", "8.8.8.8")
    found = resolve("host.example", 80, "it", public_only=True)
    assert [address.sockaddr[0] for address in found] == ["1.1.1.1", "8.8.8.8"]
    resolve_to(monkeypatch, "1.1.1.1", "10.0.0.1")
    with pytest.raises(SourceError, match="not public"):
        resolve("host.example", 80, "it", public_only=True)
    assert len(resolve("host.example", 80, "it", public_only=False)) == 2


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: object, **_kw: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(SourceError, match="does not resolve"):
        resolve("host.example", 80, "it", public_only=False)
