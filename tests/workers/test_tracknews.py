"""What the bot hears of its tracks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from voicepool.ipc.commands import Play
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason, StreamCredit, TrackChanged, TrackEnded, TrackStarted, TrackStuck
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, StreamId
from voicepool.ipc.sources import FileSource
from voicepool.workers.audio.hunger import Stuck
from voicepool.workers.audio.titles import TitleChange
from voicepool.workers.track import Track
from voicepool.workers.tracknews import TrackNews

CALL = CallId("call")
A, B = PlaybackId("a"), PlaybackId("b")


def track(playback: PlaybackId, **sourced: Any) -> Track:
    fields: dict[str, Any] = {
        "begins_s": 0.0,
        "take_titles": None,
        "feed": SimpleNamespace(skipped_packets=0),
    }
    play = Play(request=RequestId(1), call=CALL, playback=playback, source=FileSource(path="song.flac"))
    return Track(play, [], cast("Any", SimpleNamespace(**fields | sourced)), cast("Any", None))


def test_a_start_says_where_in_the_source_it_is() -> None:
    told: list[object] = []
    TrackNews(CALL, told.append).started(track(A, begins_s=2.5))
    assert told == [TrackStarted(call=CALL, playback=A, position_s=2.5)]


def test_being_stuck_says_for_how_long_and_for_want_of_what() -> None:
    told: list[object] = []
    TrackNews(CALL, told.append).stuck([track(A)], Stuck(None, 700, "encoder"))
    assert told == [TrackStuck(call=CALL, playback=A, waited_ms=700, part="encoder")]


def test_of_several_titles_the_newest_is_told_and_only_once() -> None:
    waiting = [
        TitleChange(0.0, "old", None, {}),
        TitleChange(1.0, "new", "who", {"icy-title": "who - new"}),
    ]

    def take() -> tuple[TitleChange, ...]:
        taken = tuple(waiting)
        waiting.clear()
        return taken

    told: list[object] = []
    news = TrackNews(CALL, told.append)
    tracks = [track(A), track(B, take_titles=take)]
    news.titles(tracks)
    news.titles(tracks)
    assert told == [
        TrackChanged(call=CALL, playback=B, title="new", artist="who", tags={"icy-title": "who - new"})
    ]


def test_credit_names_its_stream() -> None:
    told: list[object] = []
    TrackNews(CALL, told.append).credit(StreamId("stream"), 400)
    assert told == [StreamCredit(call=CALL, stream=StreamId("stream"), credit_ms=400)]


def test_an_end_says_why_and_what_was_heard() -> None:
    told: list[object] = []
    error = ErrorInfo(code=ErrorCode.INTERNAL, text="it broke", data={})
    over = track(A, feed=SimpleNamespace(skipped_packets=3))
    TrackNews(CALL, told.append).ended(over, EndReason.FAILED, error, frames_sent=150)
    assert told == [
        TrackEnded(
            call=CALL,
            playback=A,
            reason=EndReason.FAILED,
            frames_sent=150,
            error=error,
            skipped_packets=3,
        )
    ]
