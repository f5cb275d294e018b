"""One source for many calls, as the bot names it."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from voicepool.ipc.sources import FileSource, ResolverSource, StationSource, UrlSource
from voicepool.resolver import Resolved, WorkerResolver
from voicepool.source import AudioFile, Silence, SourceKind
from voicepool.station import Station
from voicepool.streams import PcmStream

URL = "https://radio.example/lofi?key=hidden"


def test_a_url_goes_with_its_name_and_the_pools_rule() -> None:
    station = Station("lofi", AudioFile(URL, live=True, max_latency_s=5))
    source = UrlSource(url=URL, live=True, max_latency_s=5.0, public_only=True)
    assert station.to_wire(public_only=True) == (StationSource(station="lofi", source=source), ())
    assert station.kind is SourceKind.STATION
    assert station.size_bytes == 0


def test_a_path_is_made_into_audio(tmp_path: Path) -> None:
    station = Station("album", tmp_path / "album.opus", repeats=True)
    file = FileSource(path=str(tmp_path / "album.opus"))
    assert station.to_wire() == (StationSource(station="album", source=file, repeats=True), ())
    assert station == Station("album", str(tmp_path / "album.opus"), repeats=True)
    assert hash(station) == hash(Station("album", str(tmp_path / "album.opus"), repeats=True))


def test_a_workers_resolver_is_welcome() -> None:
    station = Station("lofi", WorkerResolver("mybot.library:find")("lofi"))
    resolver = ResolverSource(resolver="mybot.library:find", query="lofi")
    assert station.to_wire() == (StationSource(station="lofi", source=resolver), ())


def test_its_texts_hold_no_secrets() -> None:
    station = Station("lofi", AudioFile(URL, headers={"A": "hidden"}), repeats=True)
    assert station.label == "station 'lofi' (https://radio.example/lofi)"
    assert repr(station) == (
        "Station('lofi', AudioFile('https://radio.example/lofi', headers=<hidden>), repeats=True)"
    )


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_name_is_a_short_line(name: str) -> None:
    with pytest.raises(ValueError, match="a station's name has 1 to 200"):
        Station(name, "a.mp3")


@pytest.mark.parametrize(("name", "repeats"), [(5, False), ("lofi", 1), (None, False)])
def test_parameters_of_another_type_are_refused(name: Any, repeats: Any) -> None:
    with pytest.raises(TypeError, match="of Station must be"):
        Station(name, "a.mp3", repeats)


@pytest.mark.parametrize(
    "source", [b"RIFF", io.BytesIO(b"RIFF"), Silence(5), Station("inner", "a.mp3"), AudioFile(b"RIFF")]
)
def test_what_cannot_be_shared_is_refused(source: Any) -> None:
    with pytest.raises(ValueError, match=r"a station cannot have .*; allowed is a path"):
        Station("lofi", source)


def test_what_may_differ_for_each_call_is_refused_with_a_way_out() -> None:
    resolved = Resolved("lofi", lambda _: "a.mp3")
    with pytest.raises(TypeError, match=r"give it `await source.resolve\(\)`, or use a WorkerResolver"):
        Station("lofi", resolved)
    found = asyncio.run(resolved.resolve())
    assert isinstance(found, AudioFile)
    assert Station("lofi", found) == Station("lofi", "a.mp3")


def test_a_stream_of_the_bot_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="only one call can play a stream"):
            Station("lofi", PcmStream())  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_broadcast_has_no_end_to_begin_anew_at() -> None:
    with pytest.raises(ValueError, match="repeats goes with sources that end"):
        Station("lofi", AudioFile(URL, live=True), repeats=True)


def test_nothing_is_no_source() -> None:
    with pytest.raises(TypeError, match="cannot play NoneType"):
        Station("lofi", None)  # type: ignore[arg-type]
