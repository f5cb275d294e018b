"""The states of one playback."""

from __future__ import annotations

from voicepool._playing.options import checked_options
from voicepool._playing.playback import EndReason, Playback, TrackState
from voicepool.ipc.commands import TrackRole
from voicepool.ipc.events import MediaInfo
from voicepool.source import AudioFile

MEDIA = MediaInfo(
    codec="flac", container="flac", sample_rate_hz=44_100, channels=2, duration_s=90.0, title="A"
)


def make(source: AudioFile | None = None, **options: object) -> Playback:
    source = AudioFile("/music/a.flac") if source is None else source
    return Playback(source, checked_options(options), role=TrackRole.MAIN)


def test_it_goes_from_opening_to_over() -> None:
    playback = make()
    states = [playback.state]
    playback.open(MEDIA)
    states.append(playback.state)
    playback.start(0.0, 100.0)
    states.append(playback.state)
    playback.pause(101.0, paused=True)
    states.append(playback.state)
    playback.pause(102.0, paused=False)
    states.append(playback.state)
    playback.end(EndReason.FINISHED, None, 103.0)
    states.append(playback.state)
    assert states == [
        TrackState.OPENING,
        TrackState.WAITING,
        TrackState.PLAYING,
        TrackState.PAUSED,
        TrackState.PLAYING,
        TrackState.OVER,
    ]


def test_who_waits_for_it_to_settle_learns_of_an_end_too() -> None:
    playback = make()
    assert not playback.settled.is_set()
    playback.end(EndReason.STOPPED, None, 100.0)
    assert playback.settled.is_set()
    assert playback.over.is_set()


def test_it_stays_where_it_was_when_it_is_over() -> None:
    playback = make()
    playback.open(MEDIA)
    playback.start(2.0, 100.0)
    playback.end(EndReason.STOPPED, None, 103.0)
    playback.pause(104.0, paused=False)
    assert playback.position.at(110.0) == 5.0


def test_the_end_of_the_source_bounds_it_unless_another_was_asked_for() -> None:
    whole, part, live = make(), make(end_s=10.0), make()
    whole.open(MEDIA)
    part.open(MEDIA)
    live.open(MediaInfo(codec="mp3", container="mp3", sample_rate_hz=44_100, channels=2, live=True))
    assert (whole.position.end_s, part.position.end_s, live.position.end_s) == (90.0, 10.0, None)


def test_what_was_known_before_comes_first() -> None:
    playback = make(AudioFile("/music/a.flac", title="B", artist="C", duration_s=80.0))
    playback.open(MEDIA)
    assert playback.info is not None
    assert (playback.info.title, playback.info.artist, playback.info.duration_s) == ("B", "C", 80.0)
