"""Callables that turn a query into something to play."""

from __future__ import annotations

import asyncio
import functools
import io
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from voicepool import ytdlp
from voicepool.errors import ResolverError
from voicepool.ipc.sources import ResolverSource
from voicepool.resolver import Answer, Found, Resolved, WorkerResolved, WorkerResolver
from voicepool.source import AudioFile, Silence, SourceKind
from voicepool.streams import PcmStream
from voicepool.workers.audio.resolving import resolve as resolve_in_worker

SAFETY_S = 30.0
URL = "https://site.example/watch?key=hidden"


def found_by(resolver: Any, query: str = "blue monday") -> Any:
    return asyncio.run(Resolved(query, resolver).resolve())


def failure_of(resolver: Any, query: str = "blue monday") -> ResolverError:
    with pytest.raises(ResolverError) as caught:
        found_by(resolver, query)
    return caught.value


def library(query: str) -> str:
    return f"/music/{query}.opus"


async def slow_library(query: str) -> str:
    await asyncio.sleep(0)
    return library(query)


class Library:
    def __call__(self, query: str) -> str:
        return library(query)

    async def ask(self, query: str) -> str:
        return library(query)


class SlowLibrary:
    async def __call__(self, query: str) -> str:
        return library(query)


def prefixed(prefix: str, query: str) -> str:
    return library(f"{prefix}{query}")


@pytest.mark.parametrize(
    "resolver",
    [
        library,
        slow_library,
        Library(),
        Library().ask,
        SlowLibrary(),
        lambda query: slow_library(query.lower()),
        functools.partial(prefixed, ""),
        functools.partial(slow_library),
    ],
)
def test_any_callable_will_do(resolver: Any) -> None:
    assert found_by(resolver) == AudioFile("/music/blue monday.opus")


def test_a_plain_function_may_block_and_a_coroutine_function_belongs_to_the_loop() -> None:
    threads: dict[str, threading.Thread] = {}

    def plain(_query: str) -> str:
        threads["plain"] = threading.current_thread()
        return "a.mp3"

    async def coroutine(_query: str) -> str:
        threads["coroutine"] = threading.current_thread()
        return "a.mp3"

    def both(query: str) -> Awaitable[str]:
        return coroutine(query)

    found_by(plain)
    assert threads.pop("plain") is not threading.main_thread()
    for resolver in (coroutine, both):
        found_by(resolver)
        assert threads.pop("coroutine") is threading.main_thread()


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        (Path("/a.mp3"), AudioFile("/a.mp3")),
        (URL, AudioFile(URL)),
        (b"RIFF", AudioFile(b"RIFF")),
        (io.BytesIO(b"RIFF"), AudioFile(b"RIFF")),
        (AudioFile("/a.mp3", title="A"), AudioFile("/a.mp3", title="A")),
        (Silence(3), Silence(3)),
        ({"url": "/a.mp3", "title": "A", "headers": {}}, AudioFile("/a.mp3", title="A")),
        (
            {"url": URL, "headers": {"A": "b"}, "live": True, "title": None, "artist": "N", "duration_s": 4},
            AudioFile(URL, headers={"A": "b"}, live=True, artist="N", duration_s=4),
        ),
        (
            {"url": URL, "live": True, "max_latency_s": 5, "public_only": False},
            AudioFile(URL, live=True, max_latency_s=5, public_only=False),
        ),
        (
            {"url": "/a.mp3", "headers": None, "live": False, "title": "", "duration_s": 0},
            AudioFile("/a.mp3"),
        ),
        (WorkerResolved("x", "a.b:c"), WorkerResolved("x", "a.b:c")),
    ],
)
def test_what_it_may_return(answer: Answer, source: object) -> None:
    assert found_by(lambda _: answer) == source

    async def coroutine(_query: str) -> Answer:
        return source if isinstance(answer, io.BytesIO) else answer  # type: ignore[return-value]

    assert found_by(coroutine) == source


def test_it_may_return_a_stream_of_the_bot() -> None:
    async def main() -> None:
        async def speak(_text: str) -> PcmStream:
            return PcmStream()

        assert isinstance(await Resolved("hello", speak).resolve(), PcmStream)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "found nothing for 'blue monday'"),
        (5, "cannot play int"),
        ([URL], "cannot play list"),
        ("", "a location is empty"),
        ("ftp://a/b", "cannot play from ftp://"),
        ({"title": "A"}, "the mapping has no url"),
        ({"url": URL, "duration": 5}, "unknown keys duration; known are url, headers"),
        ({"url": URL, 5: 6}, "unknown keys 5"),
        ({"url": "/a.mp3", "live": True}, "live goes with http"),
        ({"url": URL, "headers": {"A": "hidden\n"}}, "cannot be sent"),
        (Resolved("x", library), "another Resolved"),
    ],
)
def test_what_cannot_be_played_is_told(answer: Any, text: str) -> None:
    error = failure_of(lambda _: answer)
    assert text in str(error)
    assert "test_resolver.test_what_cannot_be_played_is_told.<locals>.<lambda>" in str(error)
    assert "hidden" not in str(error)


def test_its_failure_is_told_without_secrets_of_urls() -> None:
    def fail(_query: str) -> str:
        raise LookupError("https://me:hidden@api.example/v1?key=hidden said\n418")

    error = failure_of(fail, query=URL)
    assert str(error).endswith(
        "fail failed for 'https://site.example/watch': LookupError: https://api.example/v1 said 418"
    )
    assert isinstance(error.__cause__, LookupError)


def test_an_error_that_is_one_already_stays_as_it_is() -> None:
    given = ResolverError("not for sale in your country")

    def fail(_query: str) -> str:
        raise given

    assert failure_of(fail) is given


def test_what_would_end_the_program_fails_the_query_only() -> None:
    def leave(_query: str) -> str:
        raise SystemExit

    assert "it ended by SystemExit" in str(failure_of(leave))


@pytest.mark.parametrize("blocking", [False, True])
def test_it_has_limited_time(*, blocking: bool) -> None:
    ends = threading.Event()

    async def wait(_query: str) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    def block(_query: str) -> str:
        ends.wait(SAFETY_S)
        return "a.mp3"

    with pytest.raises(ResolverError, match=r"found nothing for 'x' within timeout_s = 0.01 s"):
        asyncio.run(Resolved("x", block if blocking else wait, timeout_s=0.01).resolve())
    ends.set()


def test_a_time_limit_of_its_own_is_its_failure_not_ours() -> None:
    async def fail(_query: str) -> str:
        raise TimeoutError("the site sleeps")

    assert "failed for 'blue monday': TimeoutError: the site sleeps" in str(failure_of(fail))


def test_cancelling_is_passed_on() -> None:
    seen: list[str] = []
    asked = asyncio.Event()

    async def wait(_query: str) -> str:
        seen.append("asked")
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")
        raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(Resolved("x", wait).resolve())
        await asyncio.wait_for(asked.wait(), SAFETY_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["asked", "cancelled"]


def test_it_is_asked_anew_each_time() -> None:
    answers = iter(["a.mp3", "b.mp3"])
    source = Resolved("x", lambda _: next(answers))
    assert [asyncio.run(source.resolve()) for _ in "ab"] == [AudioFile("a.mp3"), AudioFile("b.mp3")]


def test_it_cannot_be_sent_before() -> None:
    source = Resolved("x", library)
    assert (source.kind, source.needs_resolving, source.size_bytes) == (SourceKind.RESOLVER, True, 0)
    with pytest.raises(ResolverError, match=r"await source.resolve\(\)"):
        source.to_wire()


def test_texts_hold_no_secrets() -> None:
    for source in (Resolved(URL, Library()), WorkerResolver("a.b:c")(URL)):
        assert source.label == "'https://site.example/watch'"
        assert "hidden" not in repr(source)
    assert repr(Resolved("x", Library())) == "Resolved('x', by tests.voicepool.test_resolver.Library)"
    assert repr(Resolved("x", functools.partial(library))).endswith("test_resolver.library)")


@pytest.mark.parametrize("query", ["", " \n", "x" * 10_001, "\ud800"])
@pytest.mark.parametrize("make", [lambda query: Resolved(query, library), WorkerResolver("a.b:c")])
def test_a_query_is_a_text_of_some_length(query: str, make: Any) -> None:
    with pytest.raises(ValueError, match="query"):
        make(query)


@pytest.mark.parametrize(
    ("query", "resolver", "timeout_s"),
    [
        (5, library, 1),
        (b"x", library, 1),
        ("x", "a.b:c", 1),
        ("x", None, 1),
        ("x", library, "1"),
        ("x", library, None),
    ],
)
def test_parameters_of_another_type_are_refused(query: Any, resolver: Any, timeout_s: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        Resolved(query, resolver, timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_the_time_limit_is_finite_and_above_0(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be a finite"):
        Resolved("x", library, timeout_s=timeout_s)


def test_a_workers_resolver_goes_by_name() -> None:
    source = WorkerResolver("mybot.music.library:find")("blue monday")
    assert source == WorkerResolved("blue monday", "mybot.music.library:find")
    assert source.kind is SourceKind.RESOLVER
    assert not source.needs_resolving
    wire = ResolverSource(resolver="mybot.music.library:find", query="blue monday")
    assert source.to_wire() == (wire, ())


def test_a_workers_resolver_hands_the_pools_rule_on() -> None:
    source, _ = WorkerResolver("a.b:c")("x").to_wire(public_only=True)
    assert source == ResolverSource(resolver="a.b:c", query="x", public_only=True)


@pytest.mark.parametrize(
    ("callable_", "path"),
    [
        (library, f"{__name__}:library"),
        (Library, f"{__name__}:Library"),
        (ytdlp.resolve, "voicepool.ytdlp:resolve"),
    ],
)
def test_the_same_callable_goes_to_both_places(callable_: Any, path: str) -> None:
    assert WorkerResolver(callable_).path == path
    assert WorkerResolver(callable_) == WorkerResolver(path)


PAGES: dict[str, Answer] = {
    "path": "/music/a.opus",
    "url": URL,
    "file": AudioFile(URL, headers={"A": "b"}, public_only=True),
    "silence": Silence(3),
    "found": {"url": URL, "headers": {"A": "b"}, "title": "A", "duration_s": 4, "artist": None},
    "live": {"url": URL, "live": True, "max_latency_s": 5, "public_only": True},
    "empty": {"url": "/music/a.opus", "headers": {}, "live": False, "title": None},
}


def page(query: str) -> Answer:
    return PAGES[query]


async def slow_page(query: str) -> Answer:
    await asyncio.sleep(0)
    return PAGES[query]


@pytest.mark.parametrize("resolver", [page, slow_page])
@pytest.mark.parametrize("query", PAGES)
def test_it_finds_the_same_in_the_bot_and_in_the_worker(query: str, resolver: Any) -> None:
    wire, _ = WorkerResolver(resolver)(query).to_wire()
    assert isinstance(wire, ResolverSource)
    in_worker = resolve_in_worker(wire)
    in_bot = found_by(resolver, query)
    assert in_bot.to_wire() == (in_worker.source, ())
    if isinstance(PAGES[query], dict):
        assert in_worker.title == in_bot.title
        assert in_worker.duration_s == in_bot.duration_s


def test_a_callable_that_has_no_name_in_the_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def inner(query: str) -> str:
        return query

    shadowed = functools.wraps(library)(inner)
    of_the_program = lambda query: query  # noqa: E731
    of_the_program.__module__, of_the_program.__qualname__ = "__main__", "find"
    monkeypatch.setattr("__main__.find", of_the_program, raising=False)
    for resolver in (
        inner,
        lambda x: x,
        Library(),
        Library().ask,
        shadowed,
        functools.partial(library),
        of_the_program,
    ):
        with pytest.raises(ValueError, match="at the top of a module that is not the program itself"):
            WorkerResolver(resolver)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "a.b",
        "a.b:",
        ":c",
        "a.b:c.d",
        "a..b:c",
        ".a:b",
        "a b:c",
        "a:b:c",
        "a.b:c()",
        "a.if:c",
        "a-b:c",
        "a/b:c",
    ],
)
def test_a_name_has_one_form(path: str) -> None:
    with pytest.raises(ValueError, match=r"is named package\.module:name"):
        WorkerResolver(path)
    with pytest.raises(ValueError, match=r"is named package\.module:name"):
        WorkerResolved("x", path)


@pytest.mark.parametrize("path", [5, None, b"a:b"])
def test_a_name_is_a_text(path: Any) -> None:
    with pytest.raises(TypeError, match="path of WorkerResolver must be str"):
        WorkerResolver(path)


def test_what_is_found_can_be_typed() -> None:
    def find(_query: str) -> Found:
        return {"url": URL, "title": "Blue Monday"}

    assert found_by(find) == AudioFile(URL, title="Blue Monday")
