"""Whether a URL that a stranger wrote leads into the bot's own network.

A cloud's metadata service, a router or a database with a web page answer to whoever is inside. A URL is
refused if any address its host resolves to is not a public one.

What is covered: the URL's own host, in every notation that the resolver takes. While the rule is on,
redirects are not followed and HLS playlists not played (`location`), since their further hosts are not seen
here. What is not covered: FFmpeg resolves the name again, so whoever runs the name server of the host can
answer differently the second time; against that, only a firewall or a proxy (``http_proxy``) helps.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import SourceError

__all__ = ["is_public", "refuse_private"]

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


def refuse_private(host: str, name: str) -> None:
    """Resolve a host and see that all its addresses are public. Blocks.

    Parameters
    ----------
    host
        As it stands in the URL, without brackets.
    name
        What to call the source.

    Raises
    ------
    SourceError
        ``SOURCE_REFUSED``: an address is private, or the name does not resolve.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        text = f"{name} cannot be reached: its host name does not resolve"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text) from None
    if not all(is_public(str(sockaddr[0])) for *_, sockaddr in found):
        text = f"{name} leads to an address that is not public, which is not allowed for this source"
        raise SourceError(ErrorCode.SOURCE_REFUSED, text)
