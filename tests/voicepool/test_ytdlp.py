"""The resolver for web sites, over a stand-in for yt-dlp and, where it is installed, over yt-dlp itself."""

from __future__ import annotations

import asyncio
import logging
import sys
import types
from typing import Any, Self

import pytest

from voicepool.errors import ResolverError
from voicepool.resolver import Resolved
from voicepool.source import AudioFile
from voicepool.ytdlp import FORMAT, YtDlp, resolve

FILE = "https://media.example/1.webm?signature=hidden"
INFO: dict[str, Any] = {
    "url": FILE,
    "http_headers": {
        "User-Agent": "x",
        "Referer": "https://site.example/",
        "Host": "y",
        "Accept-Encoding": "z",
    },
    "title": "Blue Monday",
    "uploader": "New Order",
    "duration": 449,
    "is_live": False,
}


class YtDlpError(Exception):
    pass


class StandIn(types.ModuleType):
    """Answers with what a test puts in, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__("yt_dlp")
        self.answer: Any = INFO
        self.asked: list[tuple[str, bool]] = []
        self.parameters: dict[str, Any] = {}
        self.open = 0
        self.utils = types.SimpleNamespace(YoutubeDLError=YtDlpError)
        stand_in = self

        class YoutubeDL:
            def __init__(self, parameters: dict[str, Any]) -> None:
                stand_in.parameters = parameters

            def __enter__(self) -> Self:
                stand_in.open += 1
                return self

            def __exit__(self, *_: object) -> None:
                stand_in.open -= 1

            def extract_info(self, query: str, *, download: bool) -> Any:
                stand_in.asked.append((query, download))
                if isinstance(stand_in.answer, Exception):
                    raise stand_in.answer
                return stand_in.answer

        self.YoutubeDL = YoutubeDL


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "yt_dlp", stand_in)
    return stand_in


def test_a_page_becomes_its_audio(library: StandIn) -> None:
    assert resolve(" https://site.example/watch/1 ") == {
        "url": FILE,
        "headers": {"User-Agent": "x", "Referer": "https://site.example/"},
        "live": False,
        "title": "Blue Monday",
        "artist": "New Order",
        "duration_s": 449.0,
    }
    assert library.asked == [("https://site.example/watch/1", False)]
    assert library.open == 0


def test_it_is_a_resolver(library: StandIn) -> None:
    found = asyncio.run(Resolved("blue monday", resolve).resolve())
    headers = {"User-Agent": "x", "Referer": "https://site.example/"}
    assert found == AudioFile(FILE, headers=headers, title="Blue Monday", artist="New Order", duration_s=449)


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("blue monday", "ytsearch1:blue monday"),
        ("HTTP://site.example/", "HTTP://site.example/"),
        ("file:///etc/passwd", "ytsearch1:file:///etc/passwd"),
        ("scsearch50:x", "ytsearch1:scsearch50:x"),
        ("-x", "ytsearch1:-x"),
    ],
)
def test_what_is_no_web_address_is_searched_for(library: StandIn, query: str, asked: str) -> None:
    resolve(query)
    YtDlp(search="scsearch1:")("blue monday")
    assert library.asked == [(asked, False), ("scsearch1:blue monday", False)]


@pytest.mark.parametrize(
    "answer",
    [
        {"_type": "playlist", "entries": [INFO, {"url": "https://other.example/"}]},
        {"_type": "playlist", "entries": iter([None, {"entries": [INFO]}])},
    ],
)
def test_the_first_of_a_list_is_taken(library: StandIn, answer: Any) -> None:
    library.answer = answer
    assert resolve("blue monday")["url"] == FILE


@pytest.mark.parametrize(
    "answer", [None, {"entries": []}, {"entries": [None]}, {"entries": [{"entries": []}]}]
)
def test_nothing_is_an_error(library: StandIn, answer: Any) -> None:
    library.answer = answer
    with pytest.raises(ResolverError, match="yt-dlp found nothing for 'blue monday'"):
        resolve("blue monday")


@pytest.mark.parametrize(
    "answer", [{}, {"url": None}, {"url": "rtmp://a.example/b"}, {"requested_formats": []}]
)
def test_audio_of_other_protocols_is_an_error(library: StandIn, answer: Any) -> None:
    library.answer = answer
    with pytest.raises(ResolverError, match="no audio for 'blue monday' that can be read over HTTP"):
        resolve("blue monday")


def test_a_broadcast_is_live_and_has_no_length(library: StandIn) -> None:
    library.answer = {**INFO, "is_live": True}
    found = resolve("news")
    assert found["live"]
    assert "duration_s" not in found


@pytest.mark.parametrize(
    ("extra", "artist"),
    [({"artist": "A"}, "A"), ({"uploader": None, "channel": "C"}, "C"), ({"uploader": ""}, None)],
)
def test_whose_it_is(library: StandIn, extra: dict[str, Any], artist: str | None) -> None:
    library.answer = {**INFO, **extra}
    assert resolve("x").get("artist") == artist


def test_sparse_answers_will_do(library: StandIn) -> None:
    library.answer = {"url": FILE}
    found = asyncio.run(Resolved("x", resolve).resolve())
    assert found == AudioFile(FILE, headers=None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ERROR: [site] 1: Video unavailable", "[site] 1: Video unavailable"),
        ("\x1b[0;31mERROR:\x1b[0m gone", "gone"),
        ("Unsupported URL: https://a.example/?key=hidden", "Unsupported URL: https://a.example/"),
        (
            "ERROR: x: broken; please report this issue on  https://a.example/ , filling out the template.",
            "x: broken",
        ),
        (
            "Requested format is not available. Use --list-formats for a list",
            "Requested format is not available",
        ),
    ],
)
def test_its_errors_are_told_in_short_and_without_secrets(library: StandIn, text: str, reason: str) -> None:
    library.answer = YtDlpError(text)
    with pytest.raises(ResolverError) as caught:
        resolve("https://site.example/watch?key=hidden")
    assert str(caught.value) == f"yt-dlp cannot play 'https://site.example/watch': {reason}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert library.open == 0


def test_a_defect_of_its_own_comes_through_as_a_failed_resolver(library: StandIn) -> None:
    library.answer = RecursionError("deep")
    with pytest.raises(ResolverError, match=r"voicepool.ytdlp.resolve failed for 'x': RecursionError: deep"):
        asyncio.run(Resolved("x", resolve).resolve())


def test_without_yt_dlp_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(ResolverError, match=r"pip install voicepool\[ytdlp\]"):
        resolve("x")


def test_settings_reach_it(library: StandIn) -> None:
    site = YtDlp(
        generic=True, socket_timeout_s=3.0, options={"proxy": "http://me:hidden@a.example", "retries": 9}
    )
    site("x")
    given = {
        key: library.parameters[key] for key in ("allowed_extractors", "socket_timeout", "proxy", "retries")
    }
    assert given == {
        "allowed_extractors": ["default", "end"],
        "socket_timeout": 3.0,
        "proxy": "http://me:hidden@a.example",
        "retries": 9,
    }
    assert "hidden" not in repr(site)
    assert hash(site) == hash(YtDlp(generic=True, socket_timeout_s=3.0))


@pytest.mark.parametrize(
    "given", [{"search": None}, {"generic": 1}, {"options": [5]}, {"socket_timeout_s": "5"}]
)
def test_settings_of_another_type_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(given))} of YtDlp must be"):
        YtDlp(**given)


def test_the_time_limit_is_above_0() -> None:
    with pytest.raises(ValueError, match="socket_timeout_s must be a finite"):
        YtDlp(socket_timeout_s=0)


def test_unknown_sites_are_left_alone_by_default(library: StandIn) -> None:
    resolve("x")
    assert library.parameters["allowed_extractors"] == ["default", "-generic", "end"]


def test_it_logs_for_those_who_look_and_without_secrets(
    library: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    resolve("x")
    with caplog.at_level(logging.DEBUG, logger="voicepool.ytdlp"):
        for say in ("debug", "info", "warning", "error"):
            getattr(library.parameters["logger"], say)(f"{say}: https://a.example/?key=hidden")
    assert [record.levelname for record in caplog.records] == ["DEBUG"] * 4
    assert caplog.messages[0] == "debug: https://a.example/"
    assert "hidden" not in caplog.text


def stream(
    ident: str, acodec: str, vcodec: str = "none", protocol: str = "https", **more: Any
) -> dict[str, Any]:
    url = f"https://media.example/{ident}"
    return {"format_id": ident, "url": url, "acodec": acodec, "vcodec": vcodec, "protocol": protocol, **more}


FORMATS: list[tuple[str, list[dict[str, Any]]]] = [
    ("first", [stream("first", "opus", abr=60, ext="webm"), stream("in-m4a", "mp4a", abr=256, ext="m4a")]),
    ("in-webm", [stream("in-ogg", "opus", abr=90, ext="ogg"), stream("in-webm", "opus", abr=60, ext="webm")]),
    (
        "in-m4a",
        [stream("in-m4a", "mp4a", ext="m4a"), stream("hls", "opus", protocol="m3u8_native", ext="webm")],
    ),
    ("in-m4a", [stream("in-m4a", "mp4a", ext="m4a"), stream("dash", "opus", protocol="http_dash_segments")]),
    ("hls", [stream("hls", "mp4a", protocol="m3u8_native"), stream("film", "mp4a", "avc1", ext="mp4")]),
    (
        "small",
        [
            stream("small", "mp4a", "avc1", height=144, ext="mp4"),
            stream("big", "mp4a", "avc1", height=1080, ext="mp4"),
        ],
    ),
    ("film", [stream("film", "mp4a", "avc1", "m3u8_native"), stream("mute", "none", "avc1", "m3u8_native")]),
    ("unknown", [{"format_id": "unknown", "url": "http://media.example/a.mp3", "ext": "mp3"}]),
]


@pytest.mark.parametrize(("chosen", "formats"), FORMATS)
def test_yt_dlp_itself_takes_the_settings_and_chooses_what_passes_through(
    chosen: str, formats: list[dict[str, Any]]
) -> None:
    yt_dlp = pytest.importorskip("yt_dlp")
    info = {
        "id": "1",
        "title": "T",
        "extractor": "x",
        "extractor_key": "X",
        "webpage_url": "https://x.example/",
    }
    with yt_dlp.YoutubeDL({**YtDlp().parameters(), "cachedir": False}) as downloader:
        assert downloader.params["format"] == FORMAT
        found = downloader.process_ie_result({**info, "formats": formats}, download=False)
    assert found["format_id"] == chosen
    assert found["url"].endswith(chosen) or chosen == "unknown"


def test_yt_dlp_itself_refuses_unknown_sites_and_files() -> None:
    pytest.importorskip("yt_dlp")
    with pytest.raises(
        ResolverError, match=r"yt-dlp cannot play 'https://nowhere\.invalid/': Unsupported URL"
    ):
        resolve("https://nowhere.invalid/?key=hidden")
