"""Whether a URL that a stranger wrote leads into the bot's own network.

A cloud's metadata service, a router or a database with a web page answer to whoever is inside. A host is
refused if any address it resolves to is not a public one.

`http_connection` asks here before every connection (the URL itself, each redirect, each segment of a
playlist) and connects to the very addresses that were looked at. So a name server that answers differently
the second time gains nothing. What remains: behind a proxy (``http_proxy``) it is the proxy that resolves the
name, and a public address that the network's own router leads inside cannot be told from others.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, NamedTuple

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import SourceError

__all__ = ["Address", "is_public", "resolve"]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a network without IPv4 writes them (RFC 6052 §2.1)."""


def is_public(address: str) -> bool:
    """Tell whether an IP address, with or without a zone, is one that anybody on the internet can reach."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # These carry an IPv4 address that is what is reached in the end.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if inner:
            return is_public(str(inner))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
    return ip.is_global and not ip.is_multicast


class Address(NamedTuple):
    """Where to connect to, as `socket` takes it."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def resolve(host: str, port: int, name: str, *, public_only: bool) -> list[Address]:
    """Resolve a host. Blocks for as long as the system's resolver does.

    Parameters
    ----------
    host
        As it stands in the URL, without brackets.
    name
        What to call the source.
    public_only
        Whether all its addresses have to be public.

    Returns
    -------
    list[Address]
        At least one, in the resolver's order of preference.

    Raises
    ------
    SourceError
        ``SOURCE_REFUSED``: an address is private, or the name does not resolve.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        text = f"{name} cannot be reached: its host name does not resolve"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text) from None
    if public_only and not all(is_public(str(sockaddr[0])) for *_, sockaddr in found):
        text = f"{name} leads to an address that is not public, which is not allowed for this source"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]
