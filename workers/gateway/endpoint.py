"""The address of a voice server, as bots get it [no I/O].

Discord sends ``host`` or ``host:port``; hikari puts ``wss://`` in front and nothing else. The port is kept:
it is not always 443.
"""

from __future__ import annotations

import urllib.parse
from typing import Final, NamedTuple

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.opcodes import GATEWAY_VERSION

__all__ = ["Endpoint", "parse_endpoint"]

_PORTS: Final = {"wss": 443, "ws": 80}
_SHOWN_CHARS: Final = 100


class Endpoint(NamedTuple):
    """Where to connect.

    Attributes
    ----------
    host
        Name or address; an IPv6 address without brackets.
    port
        TCP port.
    secure
        Whether the websocket runs over TLS.
    """

    host: str
    port: int
    secure: bool

    @property
    def server(self) -> str:
        """Host and port, for texts."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What the websocket is opened with."""
        return f"{'wss' if self.secure else 'ws'}://{self.server}/?v={GATEWAY_VERSION}"


def parse_endpoint(text: str) -> Endpoint:
    """Read ``host``, ``host:port`` or either with ``wss://`` (in tests ``ws://``) in front.

    Raises
    ------
    CallError
        ``CONNECT_REFUSED``, if it is none of these.
    """
    try:
        parts = urllib.parse.urlsplit(text if "://" in text else f"wss://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _not_an_endpoint(text) from None
    extra = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    readable = text.isprintable() and not any(character.isspace() for character in text)
    if parts.scheme not in _PORTS or not host or port == 0 or extra or not readable:
        raise _not_an_endpoint(text)
    return Endpoint(host=host, port=port or _PORTS[parts.scheme], secure=parts.scheme == "wss")


def _not_an_endpoint(text: str) -> CallError:
    return CallError(
        ErrorCode.CONNECT_REFUSED,
        f"{text[:_SHOWN_CHARS]!r} is no voice endpoint; it must be host or host:port, "
        "as the voice server update has it.",
    )
