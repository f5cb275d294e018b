"""[pure] The HTTP headers that a bot author may add to a source: which there are, and what they may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["RESERVED", "checked_headers"]

RESERVED: Final = frozenset(
    {"connection", "content-length", "host", "range", "te", "trailer", "transfer-encoding"}
)
"""What the worker's client sends as each request needs it; another value breaks seeking, or the request."""
MAX_HEADERS_BYTES: Final = 16_384
"""Names and values together; servers refuse more."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110 §5.6.2)."""
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
"""RFC 9110 §5.5 without what it calls obsolete: no line break by which one header would become two."""


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of headers that can be sent. No error text holds a value: those may be secret.

    Raises
    ------
    TypeError
        It is no mapping of str to str.
    ValueError
        A name or value cannot be sent, is one of `RESERVED`, comes twice, or there is too much of them.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    seen: set[str] = set()
    size_bytes = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers must be a mapping of names to values, both of them str")
        if not _NAME.fullmatch(name):
            raise ValueError(f"headers has the name {name!r}; letters, digits and hyphens make one")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"headers[{name!r}] cannot be sent: only visible ASCII, spaces and tabs can")
        if name.lower() in RESERVED:
            raise ValueError(f"headers must not set {name!r}: it is made anew for each request")
        if name.lower() in seen:
            raise ValueError(f"headers has {name!r} twice, in another case")
        seen.add(name.lower())
        size_bytes += len(name) + len(value) + 4
    if size_bytes > MAX_HEADERS_BYTES:
        raise ValueError(f"headers are {size_bytes} bytes; {MAX_HEADERS_BYTES} are the most")
    return dict(headers)
