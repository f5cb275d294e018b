"""A resolver for web sites by yt-dlp, which ``pip install voicepool[ytdlp]`` brings.

::

    from voicepool import Resolved, ytdlp

    await voice.play(Resolved("new order blue monday", ytdlp.resolve))      # the first that is found
    await voice.play(Resolved("https://site.example/watch/1", ytdlp.resolve))

Some of the large sites need more than Python: see yt-dlp's own words on JavaScript runtimes. yt-dlp is pure
Python and works for seconds; `voicepool.resolver.WorkerResolver` takes that out of the bot's process.

What its users type is looked up by yt-dlp itself, in the process that asks. So only sites that yt-dlp knows
are asked unless a `YtDlp` is made with ``generic=True``; then a URL may lead anywhere, also into your own
network, which ``public_urls_only`` cannot prevent here.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from voicepool._checks import check_seconds, check_types
from voicepool._http_headers import RESERVED
from voicepool._redaction import shown
from voicepool.errors import ResolverError
from voicepool.resolver import Found

__all__ = ["YtDlp", "resolve"]

_LOGGER: Final = logging.getLogger("voicepool.ytdlp")

FORMAT: Final = (
    # Passed through without re-encoding.
    "bestaudio[acodec=opus][ext=webm][protocol~='^https?$']"
    "/bestaudio[acodec=opus][protocol~='^https?$']"
    "/bestaudio[protocol~='^https?$']"
    "/bestaudio[protocol^=m3u8]"
    # With a picture, which is not decoded but takes bandwidth: as small as it comes.
    "/worst*[acodec!=none][protocol~='^https?$']"
    "/worst*[acodec!=none][protocol^=m3u8]"
)
"""Best first. The worker reads plain HTTP and HLS; other protocols, such as DASH, are no use to it."""
_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_UNSENT: Final = RESERVED | {"accept-encoding"}
"""Headers of yt-dlp's that the worker makes itself, or whose answer FFmpeg might not seek in."""
_PREFIX: Final = re.compile(r"(\x1b\[[0-9;]*m|ERROR:|\s)+")
_ADVICE: Final = re.compile(
    r"[;.]\s+(please report this issue|see\s+http|use --|confirm you are on).*", re.I | re.S
)
"""What yt-dlp's errors say to people at its command line."""


@dataclasses.dataclass(frozen=True, slots=True)
class YtDlp:
    """A resolver with other settings than `resolve` has. To use one in workers, give it a name in a module.

    Parameters
    ----------
    search
        What yt-dlp puts before a query that is no http(s) URL: ``ytsearch1:``, ``scsearch1:`` and such.
    generic
        Whether pages of unknown sites are searched for audio too. Not for URLs of strangers; see above.
    socket_timeout_s
        How long yt-dlp waits for each answer, in seconds.
    options
        Further parameters of ``yt_dlp.YoutubeDL``, such as ``cookiefile`` or ``proxy``; they never show,
        and count before voicepool's.

    Raises
    ------
    TypeError, ValueError
        A parameter has another type or no such value.

    Examples
    --------
    >>> soundcloud = YtDlp(search="scsearch1:")
    >>> soundcloud
    YtDlp(search='scsearch1:', generic=False, socket_timeout_s=10.0)
    """

    search: str = "ytsearch1:"
    generic: bool = False
    socket_timeout_s: float = 10.0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        """Check everything."""
        check_types(self, search=str, generic=bool, socket_timeout_s=float | int, options=Mapping)
        check_seconds("socket_timeout_s", self.socket_timeout_s)
        object.__setattr__(self, "options", dict(self.options))

    def __call__(self, query: str) -> Found:
        """Find what a query stands for. Blocks for as long as the site takes.

        Parameters
        ----------
        query
            The URL of a page, or words to search for. Of a playlist, its first entry is taken.

        Raises
        ------
        ResolverError
            There is no such thing, it has no audio that could be read, or yt-dlp is not installed.
        """
        library = _library()
        words = query.strip()
        asked = words if _URL.match(words) else f"{self.search}{words}"
        try:
            with library.YoutubeDL(self.parameters()) as downloader:
                info = downloader.extract_info(asked, download=False)
        except library.utils.YoutubeDLError as error:
            # Not chained: yt-dlp's tracebacks repeat URLs with all that is in them.
            raise ResolverError(f"yt-dlp cannot play {shown(words)!r}: {_reason(str(error))}") from None
        return _found(_first(info), words)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters for ``yt_dlp.YoutubeDL``."""
        return {
            "format": FORMAT,
            "allowed_extractors": ["default", "end"] if self.generic else ["default", "-generic", "end"],
            "noplaylist": True,
            "playlist_items": "1",
            "skip_download": True,
            "socket_timeout": self.socket_timeout_s,
            "retries": 1,
            "extractor_retries": 1,
            "quiet": True,
            "noprogress": True,
            "color": "never",
            "logger": _Log(),
            **self.options,
        }


_DEFAULT: Final = YtDlp()


def resolve(query: str) -> Found:
    """Find what a query stands for: `YtDlp` with its defaults. Blocks for as long as the site takes.

    Parameters
    ----------
    query
        The URL of a page, or words to search for.

    Raises
    ------
    ResolverError
        As `YtDlp` does.
    """
    return _DEFAULT(query)


class _Log:
    """What yt-dlp says, for those who look for it: it prints otherwise. Its errors are raised as well."""

    def debug(self, message: str) -> None:
        """Take progress."""
        _LOGGER.debug("%s", shown(message))

    info = warning = error = debug


def _library() -> Any:
    try:
        return importlib.import_module("yt_dlp")
    except ModuleNotFoundError as error:
        if error.name != "yt_dlp":
            raise
        raise ResolverError(
            "yt-dlp is not installed, and this resolver needs it: pip install voicepool[ytdlp]"
        ) from None


def _first(info: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the first that can be played: a search, and each level of a playlist, has a list of entries."""
    while info is not None and info.get("entries") is not None:
        entries: Iterable[Mapping[str, Any] | None] = info["entries"]
        info = next((entry for entry in entries if entry), None)
    return info


def _found(info: Mapping[str, Any] | None, words: str) -> Found:
    if info is None:
        raise ResolverError(f"yt-dlp found nothing for {shown(words)!r}")
    url = info.get("url")
    if not isinstance(url, str) or not _URL.match(url):
        raise ResolverError(f"yt-dlp found no audio for {shown(words)!r} that can be read over HTTP")
    headers = info.get("http_headers") or {}
    found: Found = {
        "url": url,
        "headers": {name: value for name, value in headers.items() if name.lower() not in _UNSENT},
        "live": info.get("is_live") is True,
    }
    if title := info.get("title"):
        found["title"] = title
    if artist := info.get("artist") or info.get("uploader") or info.get("channel"):
        found["artist"] = artist
    if (duration_s := info.get("duration")) and not found["live"]:
        found["duration_s"] = float(duration_s)
    return found


def _reason(text: str) -> str:
    return shown(_ADVICE.sub("", _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text))
