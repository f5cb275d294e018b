"""Titles of a source that is read in place, taken on another thread."""

from __future__ import annotations

import pytest

from tests.workers.audio.media_files import encode
from tests.workers.audio.test_titles import relinked
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.title_drain import TitleDrain


def songs(*titles: str) -> MediaReader:
    links = [encode("libopus", "ogg", seconds=0.5, tags=(("title", title),)) for title in titles]
    data = b"".join(relinked(link, serial) for serial, link in enumerate(links))
    return open_media(data, open_timeout_s=5.0, read_timeout_s=5.0)


@pytest.mark.parametrize("by", ["frames", "packets"])
def test_what_was_said_until_now_is_taken_once(by: str) -> None:
    drain = TitleDrain(songs("One", "Two", "Three"))
    assert drain.take_titles() == []
    while drain.poll() if by == "frames" else drain.take_packets(5):
        pass

    assert [change.title for change in drain.take_titles()] == ["Two", "Three"]
    assert drain.take_titles() == []
    assert drain.skipped_packets == 0
    assert drain.position_s == pytest.approx(1.5, abs=0.1)
    drain.close()
    assert drain.poll() is None


def test_what_nobody_takes_is_bounded() -> None:
    titles = [str(number) for number in range(30)]
    drain = TitleDrain(songs(*titles))
    while drain.poll() is not None:
        pass

    assert [change.title for change in drain.take_titles()] == titles[-16:]
    drain.close()
