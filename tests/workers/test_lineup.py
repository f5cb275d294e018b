"""Who is the main track, who waits, and that each end is told once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from voicepool.ipc.commands import Play
from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.ipc.events import EndReason, Event, TrackEnded
from voicepool.ipc.ids import CallId, PlaybackId, RequestId
from voicepool.ipc.sources import FileSource
from voicepool.workers.errors import SourceError
from voicepool.workers.lineup import Lineup
from voicepool.workers.track import Track
from voicepool.workers.tracknews import TrackNews

CALL = CallId("call")
BROKEN = ErrorInfo(code=ErrorCode.SOURCE_FAILED, text="broken")


class Bench:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.silenced: list[str] = []
        """Whose threads have nobody to tell of anything any more."""
        self.sound = SimpleNamespace(playback=None, is_heard=True)
        self.lineup = Lineup(TrackNews(CALL, self.events.append), cast("Any", self.sound))

    def track(self, name: str, *, waits: bool = False, begun: bool = False) -> Track:
        play = Play(request=RequestId(1), call=CALL, playback=PlaybackId(name), source=FileSource(path=name))
        feed = SimpleNamespace(skipped_packets=0, source_position_s=lambda _: 0.0)
        sourced = SimpleNamespace(feed=feed, take_titles=None, stream=None)
        deck = SimpleNamespace(
            entry=object() if begun else None,
            frames_before=0,
            is_cut=False,
            let_go=lambda: self.silenced.append(name),
        )
        made = Track(play, [], cast("Any", sourced), cast("Any", deck), waits=waits)
        self.lineup.tracks[PlaybackId(name)] = made
        return made

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(event.playback, event.reason) for event in self.events if isinstance(event, TrackEnded)]


def test_the_main_track_comes_first_and_who_waits_is_not_heard() -> None:
    bench = Bench()
    over, main, after = bench.track("over"), bench.track("main"), bench.track("after", waits=True)
    bench.lineup.take_main(main)
    bench.lineup.take_next(after)
    assert list(bench.lineup.playing()) == [main, over]
    assert bench.lineup.waiting() == (after,)


def test_whoever_takes_a_place_replaces_who_was_there() -> None:
    bench = Bench()
    first, second = bench.track("first"), bench.track("second")
    bench.lineup.take_main(first)
    bench.lineup.take_main(first)
    bench.lineup.take_main(second)
    for name in ("third", "fourth"):
        bench.lineup.take_next(bench.track(name, waits=True))
    assert bench.ended == [("first", "replaced"), ("third", "replaced")]


def test_who_waited_and_has_begun_is_followed_and_not_replaced() -> None:
    bench = Bench()
    begun = bench.track("begun", waits=True, begun=True)
    bench.lineup.take_next(begun)
    bench.lineup.take_next(bench.track("after", waits=True))
    assert bench.ended == []
    bench.lineup.begin(begun)
    assert bench.lineup.main is begun
    assert not begun.waits
    assert bench.lineup.next is not None


def test_a_track_that_is_over_cannot_be_asked_for() -> None:
    bench = Bench()
    track = bench.track("song")
    assert bench.lineup[PlaybackId("song")] is track
    bench.lineup.end(track, EndReason.STOPPED)
    with pytest.raises(SourceError) as caught:
        bench.lineup[PlaybackId("song")]
    assert caught.value.code is ErrorCode.NO_SUCH_TRACK
    assert track.over


@pytest.mark.parametrize(
    ("how", "error", "reason"),
    [
        ({}, None, "finished"),
        ({}, BROKEN, "failed"),
        ({"stopping": True}, None, "stopped"),
        ({"unwanted": True}, None, "stopped"),
        ({"cut": True}, None, "replaced"),
        ({"cut": True}, BROKEN, "replaced"),
        ({"cut": True, "stopping": True}, None, "stopped"),
    ],
)
def test_an_end_by_itself_has_its_reason(how: dict[str, bool], error: ErrorInfo | None, reason: str) -> None:
    bench = Bench()
    track = bench.track("song")
    track.deck.is_cut = how.get("cut", False)
    for name in how.keys() - {"cut"}:
        setattr(track, name, how[name])
    bench.lineup.end_by_itself(track, error)
    assert bench.ended == [("song", reason)]


def test_the_last_end_waits_for_the_silence_and_who_fades_out_for_being_heard_no_more() -> None:
    bench = Bench()
    last, fading = bench.track("last"), bench.track("fading")
    fading.stopping = True
    bench.lineup.end_later(last, None)
    bench.lineup.report_ended()
    assert bench.ended == [("last", "finished")]
    bench.sound.is_heard = False
    bench.lineup.report_ended()
    bench.lineup.report_ended()
    assert bench.ended == [("last", "finished"), ("fading", "stopped")]


def test_what_goes_on_elsewhere_is_let_go_without_a_word() -> None:
    bench = Bench()
    main = bench.track("main")
    bench.lineup.take_main(main)
    bench.lineup.forget_all()
    assert bench.ended == []
    assert (main.over, bench.lineup.main, bench.lineup.tracks) == (True, None, {})
    assert bench.silenced == ["main"]


def test_nothing_is_ready_to_be_sent_while_a_track_is_on_its_way_to_its_place() -> None:
    bench = Bench()
    assert not bench.lineup.is_ready
    main = bench.track("main")
    assert bench.lineup.is_ready
    main.skipping = True
    assert not bench.lineup.is_ready
