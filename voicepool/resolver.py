"""Resolvers: callables of the bot author that turn a query into something to play.

A resolver is any callable, a coroutine function or a plain one, that takes one `str`::

    def from_library(query: str) -> str | None:
        return index.get(query.casefold())              # a path; None: there is no such song

    await voice.play(Resolved("blue monday", from_library))               # called in the bot
    await voice.play(WorkerResolver(from_library)("blue monday"))         # called in the worker

It returns a path, a URL, a source such as an `AudioFile`, a mapping as `Found` describes it, or None. In the
bot it is called right before the source is played, so that a URL which soon expires is fresh even after a
long time in a queue. A plain function runs in a thread of its own and may block.

In a worker it is imported there by its name, so it must stand at the top of an importable module; it returns
a path, a URL or a mapping, and takes its time and memory from the worker instead of from the bot. The name is
the bot author's to choose: whoever chooses it can have any callable of the installation called, so it must
not come from a bot's users.

`voicepool.ytdlp` has a resolver for web sites.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import keyword
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Required, TypeAlias, TypedDict

from voicepool._calling import call_in_thread
from voicepool._checks import check_seconds, check_types
from voicepool._redaction import shown
from voicepool.errors import ResolverError
from voicepool.ipc.sources import ResolverSource, Source
from voicepool.source import AudioFile, AudioSource, Playable, Pushed, SourceKind, as_source

__all__ = ["Answer", "Found", "Resolved", "Resolver", "WorkerResolved", "WorkerResolver"]

MAX_QUERY_CHARACTERS: Final = 10_000
"""More than any URL or search has; Discord's messages end at 4,000."""


class Found(TypedDict, total=False):
    """What a resolver may return beside a source: where the audio is, and what is known of it.

    Attributes
    ----------
    url
        An http(s) URL or a path.
    headers, live, max_latency_s, public_only, title, artist, duration_s
        As of `AudioFile`: the first four go with URLs only, and what ends in ``_s`` is in seconds. None, and
        what is empty, says nothing.
    """

    url: Required[str]
    headers: Mapping[str, str] | None
    live: bool
    max_latency_s: float | None
    public_only: bool | None
    title: str | None
    artist: str | None
    duration_s: float | None


Answer: TypeAlias = Playable | Mapping[str, object] | None
"""What a resolver returns; None: there is no such thing."""
Resolver: TypeAlias = Callable[[str], Answer | Awaitable[Answer]]
"""What turns a query into something to play."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Resolved(AudioSource):
    """What a resolver makes of a query, asked in the bot's process right before it is played.

    Parameters
    ----------
    query
        What the resolver is given: a search, a name, a URL.
    resolver
        A function or coroutine function.
    timeout_s
        How long it may take, in seconds.

    Raises
    ------
    TypeError, ValueError
        A parameter has another type or no such value.

    Examples
    --------
    >>> async def library(query: str) -> str:
    ...     return f"/music/{query}.opus"
    >>> await Resolved("blue monday", library).resolve()  # doctest: +SKIP
    AudioFile('/music/blue monday.opus')
    """

    needs_resolving: ClassVar[bool] = True

    query: str
    resolver: Resolver
    _: dataclasses.KW_ONLY
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Check everything."""
        _check_query(self)
        if not callable(self.resolver):
            raise TypeError(f"resolver must be a callable, not {type(self.resolver).__name__}")
        check_types(self, timeout_s=float | int)
        check_seconds("timeout_s", self.timeout_s)

    @property
    def kind(self) -> SourceKind:
        """That it is yet to be found."""
        return SourceKind.RESOLVER

    @property
    def label(self) -> str:
        """The query, without the secrets of a URL."""
        return repr(shown(self.query))

    def __repr__(self) -> str:
        return f"Resolved({self.label}, by {_name(self.resolver)})"

    async def resolve(self) -> AudioSource | Pushed:
        """Ask the resolver.

        Raises
        ------
        ResolverError
            It found nothing, failed, took too long, or returned something that cannot be played.
        """
        limit = asyncio.timeout(self.timeout_s)
        try:
            async with limit:
                return await self._ask()
        except ResolverError:
            raise
        except Exception as error:
            who = f"resolver {_name(self.resolver)}"
            if limit.expired():
                raise ResolverError(
                    f"{who} found nothing for {self.label} within timeout_s = {self.timeout_s:g} s"
                ) from None
            raise ResolverError(
                f"{who} failed for {self.label}: {type(error).__name__}: {shown(str(error))}"
            ) from error

    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Raise an error: what `resolve` returns has a description, this has not.

        Raises
        ------
        ResolverError
            Always.
        """
        del public_only
        raise ResolverError(
            f"{self.label} has yet to be resolved; play what `await source.resolve()` returns"
        )

    async def _ask(self) -> AudioSource | Pushed:
        if _is_coroutine_function(self.resolver):
            asked = self.resolver(self.query)
            assert inspect.isawaitable(asked)
            return self._source(await asked)
        answer = await call_in_thread(self._answer, name="voicepool-resolver")
        # A plain function may hand out a coroutine, as a lambda around one does; it belongs to this loop.
        return self._source(await answer) if inspect.isawaitable(answer) else answer

    def _answer(self) -> AudioSource | Pushed | Awaitable[Answer]:
        answer = self.resolver(self.query)
        # Made into a source here, off the loop: a file-like object is read for that.
        return answer if inspect.isawaitable(answer) else self._source(answer)

    def _source(self, answer: Answer) -> AudioSource | Pushed:
        who = f"resolver {_name(self.resolver)}"
        if answer is None:
            raise ResolverError(f"{who} found nothing for {self.label}")
        try:
            source = _from_mapping(answer) if isinstance(answer, Mapping) else as_source(answer)
        except (TypeError, ValueError) as error:
            raise ResolverError(
                f"{who} returned for {self.label} what cannot be played: {shown(str(error))}"
            ) from error
        if isinstance(source, AudioSource) and source.needs_resolving:
            raise ResolverError(
                f"{who} returned for {self.label} another Resolved; await its resolve() there"
            )
        return source


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class WorkerResolved(AudioSource):
    """What a resolver makes of a query, asked in the worker that is to play it. `WorkerResolver` makes these.

    Parameters
    ----------
    query
        What the resolver is given.
    resolver
        ``package.module:name``.

    Raises
    ------
    TypeError, ValueError
        A parameter has another type or no such form.
    """

    query: str
    resolver: str

    def __post_init__(self) -> None:
        """Check everything."""
        _check_query(self)
        check_types(self, resolver=str)
        _check_path(self.resolver)

    @property
    def kind(self) -> SourceKind:
        """That it is yet to be found."""
        return SourceKind.RESOLVER

    @property
    def label(self) -> str:
        """The query, without the secrets of a URL."""
        return repr(shown(self.query))

    def __repr__(self) -> str:
        return f"WorkerResolved({self.label}, by {self.resolver})"

    def to_wire(self, *, public_only: bool = False) -> tuple[Source, tuple[bytes, ...]]:
        """Return the description; there are no attachments."""
        source = ResolverSource(resolver=self.resolver, query=self.query, public_only=public_only)
        return source, ()


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerResolver:
    """A resolver that is called in the workers: call this with a query to have a source.

    Parameters
    ----------
    path
        ``package.module:name`` of a callable that the workers can import, or such a callable itself.

    Raises
    ------
    TypeError
        It is neither.
    ValueError
        The text has another form, or the callable cannot be found by its name: it is a lambda, a method,
        stands inside a function, or in the program itself (``__main__``), which is no module in a worker.

    Examples
    --------
    >>> find = WorkerResolver("mybot.library:find")
    >>> find("blue monday")
    WorkerResolved('blue monday', by mybot.library:find)
    """

    path: str | Callable[[str], object]

    def __post_init__(self) -> None:
        """Check the path, or find that of the callable."""
        if callable(self.path):
            object.__setattr__(self, "path", _path_of(self.path))
        check_types(self, path=str)
        _check_path(str(self.path))

    def __call__(self, query: str) -> WorkerResolved:
        """Return the source that a worker will find for a query.

        Raises
        ------
        TypeError, ValueError
            The query is no text, empty or endless.
        """
        return WorkerResolved(query, str(self.path))


def _check_query(source: Resolved | WorkerResolved) -> None:
    check_types(source, query=str)
    if not source.query.strip() or len(source.query) > MAX_QUERY_CHARACTERS:
        raise ValueError(f"a query has 1 to {MAX_QUERY_CHARACTERS} characters, not only blanks")
    try:
        source.query.encode()
    except UnicodeEncodeError:
        raise ValueError("the query is no text that can be sent: it holds half a character") from None


def _check_path(path: str) -> None:
    module, colon, name = path.partition(":")
    parts = [*module.split("."), name]
    if not colon or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ValueError(f"a worker's resolver is named package.module:name; this is {shown(path)!r}")


def _path_of(resolver: Callable[[str], object]) -> str:
    module = getattr(resolver, "__module__", None)
    name = getattr(resolver, "__qualname__", None)
    where = sys.modules.get(module) if isinstance(module, str) else None
    if module == "__main__" or not isinstance(name, str) or getattr(where, name, None) is not resolver:
        raise ValueError(
            f"workers cannot import {_name(resolver)}; "
            "it must be a function at the top of a module that is not the program itself"
        )
    return f"{module}:{name}"


def _from_mapping(answer: Mapping[str, Any]) -> AudioFile:
    if unknown := sorted(map(str, answer.keys() - Found.__annotations__.keys())):
        raise ValueError(f"unknown keys {', '.join(unknown)}; known are {', '.join(Found.__annotations__)}")
    if "url" not in answer:
        raise ValueError("the mapping has no url")
    # A public_only of False does say something: that the pool's rule does not count.
    given = {
        key: value for key, value in answer.items() if value or (key == "public_only" and value is not None)
    }
    return AudioFile(given.pop("url", ""), **given)


def _is_coroutine_function(resolver: object) -> bool:
    return inspect.iscoroutinefunction(resolver) or inspect.iscoroutinefunction(
        getattr(type(resolver), "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


def _name(resolver: object) -> str:
    while isinstance(resolver, functools.partial):
        resolver = resolver.func
    named = resolver if hasattr(resolver, "__qualname__") else type(resolver)
    return f"{getattr(named, '__module__', None)}.{getattr(named, '__qualname__', named)}"
