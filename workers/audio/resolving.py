"""Resolver hooks: a callable of the bot's author turns a query into a source, here in the worker.

A resolver is named ``package.module:name``, imported on first use, and called with the query on a thread of
its own; a coroutine function runs on an event loop of that thread. It may take as long as opening a source
may. It returns

* a path, or an http(s) URL, as ``str`` or ``os.PathLike``;
* a mapping with ``url`` (or a path), and perhaps ``headers``, ``live``, ``max_latency_s`` and
  ``public_only``, which mean what they mean in `UrlSource`, and ``title``, ``artist`` and ``duration_s``, by
  which it replaces what the source says of itself;
* a source of the bot's side, such as ``AudioFile``, or one of `voicepool.ipc.sources`;
* `None`, if there is no such thing.

The command may name any callable that can be imported, so whoever sends commands can run code in the worker.
That is the bot's own process and nobody else; only never let a name come from a user of the bot. The query
may: what it can do is up to the resolver.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import FileSource, ResolverSource, SilenceSource, UrlSource
from voicepool.workers.audio.blocking import DaemonThreads
from voicepool.workers.errors import SourceError

__all__ = ["Resolution", "Resolvers", "resolve"]

_LOGGER: Final = logging.getLogger("voicepool.worker.audio")
_AT_ONCE: Final = 16
_RESULTS: Final = (FileSource, UrlSource, SilenceSource)
_FLAGS: Final = ("live", "public_only")
_NUMBERS: Final = ("max_latency_s", "duration_s")
_TEXTS: Final = ("title", "artist")
_KEYS: Final = frozenset({"url", "headers", *_FLAGS, *_NUMBERS, *_TEXTS})
_IS_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRETS_OF_URL: Final = re.compile(r"(\w+://)(?:[^\s/?#]*@)?([^\s?#'\"<>]*)[^\s'\"<>]*")
_MAX_SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a resolver has found.

    Attributes
    ----------
    source
        What can be opened.
    title, artist, duration_s
        What is to be said of it in place of what it says of itself; `None` leaves that.
    """

    source: FileSource | UrlSource | SilenceSource
    title: str | None = None
    artist: str | None = None
    duration_s: float | None = None


class Resolvers:
    """Calls resolvers, so many at once. One that hangs holds its place until it comes back.

    Parameters
    ----------
    timeout_s
        How long one may take, the wait for a place included.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._threads = DaemonThreads("voicepool-resolver", at_once=_AT_ONCE)

    async def resolve(self, source: ResolverSource) -> Resolution:
        """Call a resolver; its thread cannot be ended, so it goes on after a timeout or a cancellation.

        Raises
        ------
        SourceError
            ``RESOLVER_FAILED``, also if it takes too long.
        """
        waits_for_place = self._threads.full
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await self._threads.run(lambda: resolve(source), discard=lambda _: None)
        except TimeoutError:
            if not limit.expired():
                raise
        because = f"; {_AT_ONCE} others had not come back before" if waits_for_place else ""
        text = f"did not answer within {self._timeout_s:g} s{because}"
        raise _failure(source, text, timeout_s=self._timeout_s)


def resolve(source: ResolverSource) -> Resolution:
    """Import and call a resolver. Blocks for as long as that takes.

    Raises
    ------
    SourceError
        ``RESOLVER_FAILED``: there is no such callable, it raised, or what it returned cannot be played.
    """
    try:
        found = _find(source.resolver)(source.query)
        if inspect.isawaitable(found):
            found = asyncio.run(_wait_for(found))
        return _resolution(found)
    except BaseException as error:  # noqa: BLE001 - also `sys.exit` in foreign code, which must not go unheard
        _LOGGER.debug("the resolver %s failed with %s", source.resolver, type(error).__name__)
        # From None: the text of the cause may have a whole URL in it.
        raise _failure(source, _said_by(error)) from None


def _find(name: str) -> Callable[[str], Any]:
    module_name, colon, attributes = name.partition(":")
    if not (module_name and colon and attributes):
        raise ValueError("a resolver is named like package.module:name")
    found: Any = importlib.import_module(module_name)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    if not callable(found):
        raise TypeError(f"it is no callable, but of type {type(found).__name__}")
    resolver: Callable[[str], Any] = found
    return resolver


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _resolution(found: object) -> Resolution:
    """Read what a resolver returned.

    Raises
    ------
    TypeError, ValueError
        It is not what a resolver may return. The text repeats no value: one may be a secret.
    """
    if isinstance(found, _RESULTS):
        return Resolution(found)
    if isinstance(found, str | os.PathLike):
        return Resolution(_located(found))
    if isinstance(found, Mapping):
        return _from_mapping(found)
    to_wire = getattr(found, "to_wire", None)
    if callable(to_wire):
        source, _ = to_wire()
        if isinstance(source, _RESULTS):
            return Resolution(source)
        raise TypeError(f"it returned a {type(found).__name__}, which only the bot itself can play")
    if found is None:
        raise LookupError("it found nothing")
    raise TypeError(
        f"it returned a {type(found).__name__}; it must return a path, an http(s) URL, a mapping with 'url', "
        "or a source"
    )


def _from_mapping(found: Mapping[Any, Any]) -> Resolution:
    unknown = sorted(str(key) for key in found.keys() - _KEYS)
    if unknown:
        raise ValueError(f"it returned the unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    # None stands for what a resolver could not find out.
    given = {key: value for key, value in found.items() if value is not None}
    if not isinstance(url := given.pop("url", None), str | os.PathLike):
        raise TypeError("it returned a mapping without a str as 'url'")
    headers = given.pop("headers", {})
    if not isinstance(headers, Mapping) or not all(
        isinstance(text, str) for pair in headers.items() for text in pair
    ):
        raise TypeError("'headers' must map str to str")
    _check(given, _FLAGS, lambda value: isinstance(value, bool), "True or False")
    _check(given, _TEXTS, lambda value: isinstance(value, str), "a str")
    _check(given, _NUMBERS, _is_seconds, "a number of seconds, 0 or more")
    source = _located(url)
    said = {key: given.pop(key, None) for key in ("title", "artist", "duration_s")}
    if isinstance(source, UrlSource):
        source = UrlSource(source.url, headers=dict(headers), **given)
    elif headers or any(given.values()):
        raise ValueError("headers, live, max_latency_s and public_only are for URLs, and 'url' is a path")
    return Resolution(source, **said)


def _check(
    given: Mapping[str, object], keys: tuple[str, ...], fits: Callable[[Any], bool], what: str
) -> None:
    for key in keys:
        if key in given and not fits(given[key]):
            raise TypeError(f"{key!r} must be {what}")


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0.0


def _located(location: str | os.PathLike[Any]) -> FileSource | UrlSource:
    if isinstance(location, str) and _IS_URL.match(location):
        return UrlSource(location)
    return FileSource(os.fsdecode(location))


def _said_by(error: BaseException) -> str:
    # An error of ours would be worded twice.
    words = str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
    return words.rstrip(": ")


def _failure(source: ResolverSource, text: str, **data: str | float) -> SourceError:
    shown = _shown(f"the resolver {source.resolver} could not resolve {source.query[:100]!r}: {text}")
    return SourceError(ErrorCode.RESOLVER_FAILED, shown, resolver=source.resolver, **data)


def _shown(text: str) -> str:
    """Make it one line without what may be secret in a URL: its user part, query and fragment."""
    line = _SECRETS_OF_URL.sub(r"\1\2", " ".join(text.split()))
    line = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )
    return line if len(line) <= _MAX_SHOWN_CHARACTERS else line[:_MAX_SHOWN_CHARACTERS] + "…"
