"""What is closed holds nobody by its callbacks any more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from voicepool.workers.nobody import tell_nobody


class Part:
    """Something with a callback, as the parts of a call are."""

    def __init__(self, on_news: Callable[[str], object]) -> None:
        self.on_news = on_news

    def close(self) -> None:
        self.on_news = tell_nobody


class Owner:
    """Makes a part, and is told by it: they know each other."""

    def __init__(self) -> None:
        self.part = Part(self.take)
        self.taken: list[str] = []

    def take(self, news: str) -> None:
        self.taken.append(news)


def test_news_that_are_late_reach_nobody() -> None:
    owner = Owner()
    owner.part.on_news("one")
    owner.part.close()
    owner.part.on_news("two")
    assert owner.taken == ["one"]


def test_any_callback_can_be_let_go_of() -> None:
    callbacks: tuple[Callable[[], object], Callable[[str, int], object]] = (tell_nobody, tell_nobody)
    without, with_two = callbacks
    assert without() is None
    assert with_two("news", 1) is None


def test_whoever_was_told_goes_at_once_and_not_with_the_garbage() -> None:
    gc.disable()
    try:
        owner = Owner()
        kept, gone = weakref.ref(owner), owner.part
        gone.close()
        del owner
        assert kept() is None
    finally:
        gc.enable()
