"""What can be played, as it goes over the wire: one frozen tagged struct each, and their union."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from voicepool.ipc.ids import StreamId

__all__ = [
    "BytesSource",
    "FileSource",
    "OpenableSource",
    "ResolverSource",
    "SilenceSource",
    "Source",
    "StationSource",
    "StreamSource",
    "UrlSource",
]


_SECRETS: Final = re.compile(r"(?<=://)[^/?#]*@|[?#].*", re.DOTALL)
"""Of a URL: the user part, query and fragment."""


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """A file that the worker can open itself."""

    path: str


class UrlSource(msgspec.Struct, frozen=True, tag="url", omit_defaults=True):
    """Something that the worker fetches over HTTP(S). Query and headers may hold secrets and never show."""

    url: str
    headers: dict[str, str] = {}
    live: bool = False
    """A broadcast: any end of it is a break, after which it is opened anew."""
    max_latency_s: float | None = None
    """Of a broadcast, how much may wait to be heard before the oldest is dropped; None drops nothing."""
    public_only: bool = False
    """Refuse it if it leads to a private address."""

    def __repr__(self) -> str:
        return f"UrlSource({_SECRETS.sub('', self.url)!r})"


class BytesSource(msgspec.Struct, frozen=True, tag="bytes"):
    """A whole audio file, carried as the message's first attachment."""

    size_bytes: int


class StreamSource(msgspec.Struct, frozen=True, tag="stream"):
    """Audio that the bot sends while it plays, as `StreamAudio`."""

    stream: StreamId
    format: str
    """``s16`` or ``f32`` for interleaved PCM of the machine's byte order, ``opus`` for packets of 20 ms."""
    sample_rate_hz: int = 48_000
    channels: int = 2
    capacity_ms: int = 1_000
    """How much of it the worker takes before it is heard; the bot waits for `StreamCredit` to send more."""


class SilenceSource(msgspec.Struct, frozen=True, tag="silence"):
    """Nothing to be heard, for a time; None without end."""

    duration_s: float | None = None


class ResolverSource(msgspec.Struct, frozen=True, tag="resolver", omit_defaults=True):
    """What a callable makes of a query, in the worker."""

    resolver: str
    """``package.module:name`` of the callable."""
    query: str
    public_only: bool = False
    """Refuse what it leads to if that is a private address."""

    def __repr__(self) -> str:
        return f"ResolverSource({self.resolver!r}, {_SECRETS.sub('', self.query)!r})"


OpenableSource = FileSource | UrlSource | ResolverSource


class StationSource(msgspec.Struct, frozen=True, tag="station"):
    """One source for many calls: a worker reads, decodes and encodes it once for all that play it."""

    station: str
    """Its name in the pool: who names the same station hears the same moment of it."""
    source: OpenableSource
    repeats: bool = False
    """Begin anew at its end, rather than end."""


Source = FileSource | UrlSource | BytesSource | StreamSource | SilenceSource | ResolverSource | StationSource
