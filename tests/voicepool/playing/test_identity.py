"""Which sources are the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from voicepool._playing.identity import identify
from voicepool.ipc.ids import StreamId
from voicepool.ipc.sources import StreamSource
from voicepool.resolver import WorkerResolver
from voicepool.source import AudioFile, AudioSource, Silence
from voicepool.station import Station

URL = "https://radio.example/live?id=1"
FIND = WorkerResolver("mybot.library:find")
LARGE = random.Random(1).randbytes(3 << 20)


def of(source: AudioSource) -> Any:
    return identify(*source.to_wire())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AudioFile("/music/a.flac"), AudioFile("/music/a.flac", title="another title")),
        (AudioFile(URL), AudioFile(URL, headers={"Authorization": "secret"}, live=True, public_only=True)),
        (AudioFile(URL), AudioFile("https://user:secret@RADIO.example/live?id=1#here")),
        (AudioFile(URL), Station("radio", URL, repeats=True)),
        (AudioFile(URL), Station("another", AudioFile(URL, live=True))),
        (AudioFile(b"RIFF"), AudioFile(bytearray(b"RIFF"))),
        (AudioFile(LARGE), AudioFile(bytearray(LARGE))),
        (FIND("blue monday"), FIND("blue monday")),
    ],
)
def test_how_it_is_fetched_or_played_does_not_count(one: AudioSource, other: AudioSource) -> None:
    assert of(one) == of(other) is not None


def test_whatever_else_differs_does() -> None:
    changed = bytearray(LARGE)
    changed[-1] ^= 1
    sources = [
        AudioFile("/music/a.flac"),
        AudioFile("/music/b.flac"),
        AudioFile(URL),
        AudioFile(URL.replace("id=1", "id=2")),
        AudioFile(URL.replace("https", "http")),
        AudioFile(b"RIFF"),
        AudioFile(b"RIFX"),
        AudioFile(LARGE),
        AudioFile(LARGE[:-1]),
        AudioFile(bytes(changed)),
        FIND("blue monday"),
        FIND("blue tuesday"),
        WorkerResolver("mybot.library:findblue")(" monday"),
    ]
    assert len({of(source) for source in sources}) == len(sources)


def test_what_is_not_read_has_none() -> None:
    assert of(Silence(1.0)) is None
    assert identify(StreamSource(stream=StreamId("s"), format="s16")) is None


def test_it_tells_nothing_of_the_source() -> None:
    digest = of(AudioFile("https://radio.example/?token=secret"))
    assert len(digest) == 16
    assert b"secret" not in digest
