from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from tests.workers.audio import resolvers
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.sources import FileSource, ResolverSource, SilenceSource, UrlSource
from voicepool.workers.audio.resolving import Resolution, Resolvers, resolve
from voicepool.workers.errors import SourceError

MODULE = "tests.workers.audio.resolvers"


def asked(name: str, query: str = "/a.opus") -> Resolution:
    return resolve(ResolverSource(f"{MODULE}:{name}", query))


def failure(source: ResolverSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        resolve(source)
    assert caught.value.code is ErrorCode.RESOLVER_FAILED
    assert source.resolver in caught.value.text
    assert caught.value.data == {"resolver": source.resolver}
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("name", ["echo", "echo_later", "as_path"])
def test_a_str_and_a_path_are_a_file(name: str) -> None:
    assert asked(name).source == FileSource("/a.opus")


@pytest.mark.parametrize("url", ["http://a.invalid/b", "HTTPS://a.invalid/?key=1", "ftp://a.invalid/"])
def test_a_str_like_a_url_is_a_url(url: str) -> None:
    assert asked("echo", url).source == UrlSource(url)


def test_a_callable_inside_a_class() -> None:
    assert asked("Library.find", "a").source == FileSource("/library/a")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("url", Resolution(UrlSource("https://a.invalid/b?key=1", headers={"Referer": "x"}, live=True))),
        ("told", Resolution(FileSource("/a.opus"), title="T", artist="A", duration_s=3)),
        ("bounded", Resolution(UrlSource("http://a.invalid/", max_latency_s=2.0, public_only=True))),
        ("silence", Resolution(SilenceSource(1.0))),
        ("bot's url", Resolution(UrlSource("http://a.invalid/"))),
    ],
)
def test_mappings_and_sources(query: str, expected: Resolution) -> None:
    assert asked("by_name", query) == expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("nothing", "found nothing"),
        ("number", "returned a int"),
        ("bot's bytes", "only the bot itself"),
        ("no url", "without a str as 'url'"),
        ("typo", "'titel'"),
        ("flag", "'live' must be True or False"),
        ("length", "'duration_s' must be a number"),
        ("headers", "'headers' must map"),
        ("path with headers", "are for URLs"),
        ("live path", "are for URLs"),
        ("never heard of", "KeyError"),
    ],
)
def test_what_cannot_be_played_says_why_without_its_values(query: str, words: str) -> None:
    error = failure(ResolverSource(f"{MODULE}:by_name", query))
    assert words in error.text
    assert repr(query) in error.text or f'"{query}"' in error.text
    assert "secret" not in error.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_package.module:find", "No module named"),
        (f"{MODULE}:no_such_thing", "no_such_thing"),
        (f"{MODULE}:answers", "no callable"),
        (f"{MODULE}", "package.module:name"),
        (":find", "package.module:name"),
        ("", "package.module:name"),
    ],
)
def test_there_is_no_such_resolver(name: str, words: str) -> None:
    assert words in failure(ResolverSource(name, "q")).text


def test_an_exception_is_told_without_what_is_secret_in_urls() -> None:
    error = failure(ResolverSource(f"{MODULE}:failing", "a song"))
    assert "LookupError: nothing like a song at https://music.invalid/find sorry" in error.text
    assert "secret" not in str(error) + repr(error) + repr(error.info)


def test_a_query_that_is_a_url_is_shown_without_its_secrets() -> None:
    query = "https://user:secret@music.invalid/song?key=secret"
    error = failure(ResolverSource(f"{MODULE}:by_name", query))
    assert "https://music.invalid/song" in error.text
    assert "secret" not in error.text


def test_a_text_is_bounded_and_one_line() -> None:
    error = failure(ResolverSource(f"{MODULE}:failing", "a\nb\x1b" * 5_000))
    assert len(error.text) < 310
    assert error.text.isprintable()


def test_a_resolver_that_exits_has_failed() -> None:
    assert "SystemExit: no more" in failure(ResolverSource(f"{MODULE}:leaving", "q")).text


# On threads.


@pytest.fixture
def held() -> Iterator[None]:
    """Let `hanging` hang, but not longer than the test."""
    resolvers.hold.clear()
    yield
    resolvers.hold.set()
    for thread in threading.enumerate():
        if thread.name == "voicepool-resolver":
            thread.join(SAFETY_S)


HANGING = ResolverSource(f"{MODULE}:hanging", "/a.opus")


@asyncio_test
async def test_it_is_called_away_from_the_event_loop() -> None:
    shared = Resolvers(timeout_s=SAFETY_S)
    found = await shared.resolve(ResolverSource(f"{MODULE}:echo_later", "/a.opus"))
    assert found.source == FileSource("/a.opus")
    with pytest.raises(SourceError, match="LookupError"):
        await shared.resolve(ResolverSource(f"{MODULE}:failing", "q"))


@pytest.mark.usefixtures("held")
def test_one_that_hangs_has_failed_after_its_time() -> None:
    @asyncio_test
    async def scenario() -> None:
        with pytest.raises(SourceError, match=r"hanging could not resolve .* within 0\.01 s") as caught:
            await Resolvers(timeout_s=0.01).resolve(HANGING)
        assert caught.value.code is ErrorCode.RESOLVER_FAILED
        assert caught.value.data["timeout_s"] == 0.01

    scenario()


@pytest.mark.usefixtures("held")
def test_those_that_hang_are_bounded_and_leave_room_when_they_come_back() -> None:
    @asyncio_test
    async def scenario() -> None:
        shared = Resolvers(timeout_s=SAFETY_S)
        hanging = [asyncio.create_task(shared.resolve(HANGING)) for _ in range(16)]
        for _ in range(16):
            assert await asyncio.to_thread(resolvers.called.acquire, timeout=SAFETY_S)
        for task in hanging[:15]:
            task.cancel()
        await asyncio.wait(hanging[:15])
        late = asyncio.create_task(shared.resolve(ResolverSource(f"{MODULE}:echo", "/b.opus")))
        # One full round of the loop would be enough to start its thread.
        for _ in range(3):
            await asyncio.sleep(0)
        assert sum(thread.name == "voicepool-resolver" for thread in threading.enumerate()) == 16
        resolvers.hold.set()
        assert (await late).source == FileSource("/b.opus")
        assert (await hanging[15]).source == FileSource("/a.opus")

    scenario()


@pytest.mark.usefixtures("held")
def test_while_all_hang_the_next_says_so() -> None:
    @asyncio_test
    async def scenario() -> None:
        shared = Resolvers(timeout_s=0.5)
        results = await asyncio.gather(*(shared.resolve(HANGING) for _ in range(16)), return_exceptions=True)
        assert all(isinstance(result, SourceError) for result in results)
        with pytest.raises(SourceError, match="16 others had not come back"):
            await shared.resolve(ResolverSource(f"{MODULE}:echo", "/b.opus"))

    scenario()
