"""What each wish does to a deck, and what is undone of it when its program goes back."""

from __future__ import annotations

import pytest

from tests.workers.audio.traced import CAPACITY, Traced, TracedTrack
from voicepool.workers.audio.deck import MAX_OVERLAID
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.mixer_input import MixerFullError

SAFE = 2
"""Frames that a wish leaves in the ring."""


def playing(kind: str = "pcm", frames: int = 40, **how: object) -> tuple[Traced, TracedTrack]:
    """A deck whose main track was heard for 4 frames, with a full ring."""
    stage = Traced(passing=CAPACITY)
    track = stage.track(kind, frames, **how)  # type: ignore[arg-type]
    stage.wish(lambda deck: deck.start(track.deck))
    for _ in range(4):
        stage.fill_up()
        stage.take(1)
    stage.fill_up()
    return stage, track


def names(stage: Traced) -> list[tuple[str, int]]:
    return [(name, number) for name, number, _ in stage.told]


def all_closed(stage: Traced) -> bool:
    stage.deck.collect()
    return all(source.closed == 1 for source in stage.sources)


# What is asked for.


def test_start_puts_the_main_track_away_within_a_frame() -> None:
    stage, old = playing()
    new = stage.track("pcm", 10)
    stage.wish(lambda deck: deck.start(new.deck))
    stage.play_to_the_end()
    assert stage.numbers(old.feed) == list(range(4 + SAFE + 1)), "and one in which it sinks"
    assert stage.place(new.feed) == (4 + SAFE, 4 + SAFE + 10)
    assert names(stage) == [("started", 0), ("started", 1), ("ended", 0), ("ended", 1)]
    assert all_closed(stage)


def test_start_with_a_crossfade_has_both_heard_for_as_long() -> None:
    stage, old = playing()
    new = stage.track("pcm", 20, crossfade_samples=5 * FRAME_SAMPLES)
    stage.wish(lambda deck: deck.start(new.deck))
    stage.play_to_the_end()
    assert stage.numbers(old.feed) == list(range(4 + SAFE + 5))
    assert stage.place(new.feed) == (4 + SAFE, 4 + SAFE + 20)


def test_follow_waits_for_the_very_last_frame() -> None:
    stage, main = playing(frames=20)
    waiting = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.play_to_the_end()
    assert (stage.place(main.feed), stage.place(waiting.feed)) == ((0, 20), (20, 25))
    assert names(stage) == [("started", 0), ("ended", 0), ("started", 1), ("ended", 1)]


def test_follow_in_place_of_another_closes_that_one_unheard() -> None:
    stage, _ = playing(frames=20)
    first, second = stage.track("pcm", 5), stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(first.deck))
    stage.wish(lambda deck: deck.follow(second.deck))
    stage.fill()
    assert (first.source.closed, second.source.closed) == (1, 0)
    stage.play_to_the_end()
    assert stage.numbers(first.feed) == []
    assert stage.place(second.feed) == (20, 25)


def test_follow_with_none_leaves_nothing_to_follow() -> None:
    stage, _ = playing(frames=20)
    waiting = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.wish(lambda deck: deck.follow(None))
    stage.play_to_the_end()
    assert stage.numbers(waiting.feed) == []
    assert waiting.source.closed == 1


def test_follow_with_nothing_to_follow_begins_at_once() -> None:
    stage = Traced()
    track = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(track.deck))
    stage.fill()
    assert stage.deck.main is track.deck
    assert stage.deck.following is None
    stage.play_to_the_end()
    assert stage.place(track.feed) == (0, 5)


def test_skip_has_the_one_that_waits_take_over() -> None:
    stage, main = playing()
    waiting = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    skipped: list[bool] = []
    stage.wish(lambda deck: skipped.append(deck.skip()))
    stage.play_to_the_end()
    assert skipped == [True]
    assert stage.place(waiting.feed) == (4 + SAFE, 4 + SAFE + 5)
    assert stage.numbers(main.feed) == list(range(4 + SAFE + 1))


def test_skip_with_none_that_waits_changes_nothing() -> None:
    stage, main = playing(frames=20)
    skipped: list[bool] = []
    stage.wish(lambda deck: skipped.append(deck.skip()))
    stage.play_to_the_end()
    assert skipped == [False]
    assert stage.numbers(main.feed) == list(range(20))


def test_overlay_is_heard_beside_the_main_track() -> None:
    stage, main = playing(frames=20)
    over = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.overlay(over.deck))
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(20))
    assert stage.place(over.feed) == (4 + SAFE, 4 + SAFE + 5)
    assert stage.deck.overlays == []
    assert all_closed(stage)


def test_overlay_of_one_too_many_is_refused_and_changes_nothing() -> None:
    stage, _ = playing()
    tracks = [stage.track("pcm", 30) for _ in range(MAX_OVERLAID)]
    for track in tracks[:-1]:
        stage.deck.overlay(track.deck)
    with pytest.raises(MixerFullError):
        stage.deck.overlay(tracks[-1].deck)
    assert len(stage.deck.overlays) == MAX_OVERLAID - 1
    assert tracks[-1].deck.entry is None


@pytest.mark.parametrize(("fade_frames", "sinks"), [(0, 1), (4, 4)])
def test_end_of_the_main_track_lets_it_sink(fade_frames: int, sinks: int) -> None:
    stage, main = playing()
    stage.wish(lambda deck: deck.end(main.deck, fade_frames * FRAME_SAMPLES))
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(4 + SAFE + sinks))
    assert names(stage) == [("started", 0), ("ended", 0)]
    assert all_closed(stage)


@pytest.mark.parametrize("fade_frames", [0, 4])
def test_end_of_the_main_track_lets_the_one_that_waits_begin_at_once(fade_frames: int) -> None:
    stage, main = playing()
    waiting = stage.track("pcm", 9)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.wish(lambda deck: deck.end(main.deck, fade_frames * FRAME_SAMPLES))
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(4 + SAFE + max(1, fade_frames)))
    assert stage.place(waiting.feed) == (4 + SAFE, 4 + SAFE + 9)
    assert all_closed(stage)


def test_end_of_both_leaves_nothing_to_be_heard() -> None:
    stage, main = playing()
    waiting = stage.track("pcm", 9)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    for track in (main, waiting):
        stage.wish(lambda deck, track=track: deck.end(track.deck))
    stage.play_to_the_end()
    assert stage.numbers(waiting.feed) == []
    assert all_closed(stage)


def test_end_of_one_that_waits_or_lies_over_it_leaves_the_main_track_alone() -> None:
    stage, main = playing(frames=20)
    waiting, over = stage.track("pcm", 5), stage.track("pcm", 30)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.wish(lambda deck: deck.overlay(over.deck))
    stage.fill_up()
    stage.take(3)
    stage.wish(lambda deck: deck.end(waiting.deck))
    stage.wish(lambda deck: deck.end(over.deck))
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(20))
    assert stage.numbers(waiting.feed) == []
    assert len(stage.numbers(over.feed)) < 10
    assert all_closed(stage)


def test_end_of_one_that_is_over_or_unknown_changes_nothing() -> None:
    stage, main = playing(frames=20)
    stranger = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.end(stranger.deck))
    stage.play_to_the_end()
    stage.wish(lambda deck: deck.end(main.deck))
    stage.fill()
    assert stage.numbers(main.feed) == list(range(20))
    assert names(stage) == [("started", 0), ("ended", 0)]


@pytest.mark.parametrize("kind", ["pcm", "packets"])
def test_another_feed_goes_on_where_the_old_one_sinks(kind: str) -> None:
    stage, main = playing(kind)
    elsewhere = stage.feed(kind, 12)
    old = main.feed
    stage.wish(lambda deck: deck.replace_feed(main.deck, elsewhere, length_frames=12))
    stage.play_to_the_end()
    assert stage.numbers(old) == list(range(4 + SAFE + 1))
    assert stage.numbers(elsewhere) == list(range(12))
    assert main.deck.frames_before == 4 + SAFE
    assert names(stage) == [("started", 0), ("ended", 0)], "it is the same track"
    assert all_closed(stage)


def test_another_feed_for_one_that_waits_is_heard_from_its_start() -> None:
    stage, _ = playing(frames=20)
    waiting = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    elsewhere = stage.feed("pcm", 7)
    stage.wish(lambda deck: deck.replace_feed(waiting.deck, elsewhere, length_frames=7))
    stage.play_to_the_end()
    assert (stage.numbers(waiting.feed), stage.place(elsewhere)) == ([], (20, 27))
    assert all_closed(stage)


def test_another_feed_for_one_that_is_over_is_closed() -> None:
    stage, main = playing(frames=6)
    stage.play_to_the_end()
    elsewhere = stage.feed("pcm", 7)
    stage.wish(lambda deck: deck.replace_feed(main.deck, elsewhere, length_frames=7))
    stage.fill()
    assert stage.numbers(elsewhere) == []
    assert all_closed(stage)


def test_a_tracks_volume_holds_for_it_alone_and_for_what_it_becomes() -> None:
    stage, main = playing()
    waiting = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.wish(lambda deck: deck.set_volume(main.deck, 0.5))
    stage.wish(lambda deck: deck.set_volume(waiting.deck, 0.25))
    stage.fill_up()
    assert main.deck.entry is not None
    assert main.deck.entry.gain.gain == pytest.approx(0.5)
    stage.play_to_the_end()
    assert waiting.deck.entry is not None
    assert waiting.deck.entry.gain.gain == pytest.approx(0.25)


def test_cut_ends_all_at_once_and_closes_all() -> None:
    stage, _ = playing()
    waiting, over = stage.track("pcm", 5), stage.track("pcm", 30)
    stage.deck.follow(waiting.deck)
    stage.deck.overlay(over.deck)
    stage.deck.cut()
    assert all(source.closed == 1 for source in stage.sources)
    assert stage.program.mixer.inputs == ()
    assert (stage.deck.main, stage.deck.following, stage.deck.overlays) == (None, None, [])
    heard = len(stage.heard)
    stage.play_to_the_end()
    assert len(stage.heard) == heard


def test_closed_it_is_known_to_nothing_in_the_mixer_and_nor_are_its_tracks() -> None:
    stage, main = playing()
    over = stage.track("pcm", 30)
    stage.wish(lambda deck: deck.overlay(over.deck))
    stage.fill_up()
    entries = stage.program.mixer.inputs
    assert [entry.owner for entry in entries] == [main.deck, over.deck]
    stage.deck.close()
    assert [(entry.on_end, entry.owner) for entry in entries] == [(None, None)] * 2


def test_the_one_that_has_nothing_ready_is_named_the_main_one_first() -> None:
    stage = Traced()
    main, over = (stage.track("pcm", 9, waits_before=[0] * waits) for waits in (1, 2))
    stage.deck.start(main.deck)
    stage.deck.overlay(over.deck)
    assert stage.deck.starving() is main.deck
    assert stage.deck.starving() is over.deck
    over.feed.peek()
    assert stage.deck.starving() is None


def test_what_sinks_and_has_nothing_ready_is_given_up() -> None:
    stage = Traced(passing=CAPACITY)
    main = stage.track("pcm", 40, waits_before=[6] * 50)
    stage.wish(lambda deck: deck.start(main.deck))
    stage.fill_up()
    stage.take(4)
    new = stage.track("pcm", 5)
    stage.wish(lambda deck: deck.start(new.deck))
    stage.play_to_the_end()
    assert stage.place(new.feed) == (6, 11), "the main one has had six, and keeps nobody waiting"
    assert all_closed(stage)


def test_a_feed_is_closed_when_nobody_goes_back_to_it_and_not_before() -> None:
    stage, main = playing(frames=10)
    assert stage.program.ended
    stage.deck.collect()
    assert main.source.closed == 0, "its last frames are not sent"
    stage.take(6)
    stage.deck.collect()
    assert main.source.closed == 1


# What the program asks.


@pytest.mark.parametrize("known", [True, False])
def test_a_crossfade_has_its_turn_before_the_end_if_that_is_known(*, known: bool) -> None:
    stage = Traced()
    main = stage.track("pcm", 20, knows_length=known)
    waiting = stage.track("pcm", 9, crossfade_samples=4 * FRAME_SAMPLES)
    stage.deck.start(main.deck)
    assert stage.deck.frames_to_turn() is None, "nothing waits"
    stage.deck.follow(waiting.deck)
    assert stage.deck.frames_to_turn() == (16 if known else None)
    stage.play_to_the_end()
    assert stage.place(main.feed) == (0, 20)
    assert stage.place(waiting.feed)[0] == (16 if known else 20)


def test_without_a_crossfade_there_is_no_turn_amid_the_main_track() -> None:
    stage = Traced()
    main, waiting = stage.track("pcm", 20), stage.track("pcm", 9)
    stage.deck.start(main.deck)
    stage.deck.follow(waiting.deck)
    assert stage.deck.frames_to_turn() is None


@pytest.mark.parametrize("crossfade_frames", [0, 3])
@pytest.mark.parametrize("following_frames", [1, 2, 30])
def test_one_that_began_by_itself_waits_again_when_the_program_goes_back(
    crossfade_frames: int, following_frames: int
) -> None:
    stage, main = playing(frames=10)
    waiting = stage.track("pcm", following_frames, crossfade_samples=crossfade_frames * FRAME_SAMPLES)
    stage.wish(lambda deck: deck.follow(waiting.deck))
    stage.fill_up()
    assert stage.deck.main is not main.deck, "it has begun, ahead of time"
    stage.program.go_back(safe_frames=1)
    assert (stage.deck.main, stage.deck.following) == (main.deck, waiting.deck)
    assert waiting.deck.entry is None
    assert waiting.feed.position_frames == 0
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(10))
    assert stage.numbers(waiting.feed) == list(range(following_frames))
    assert names(stage).count(("started", 1)) == names(stage).count(("ended", 1)) == 1
    assert all_closed(stage)


def test_what_was_asked_for_stays_when_the_program_goes_back() -> None:
    stage, _ = playing()
    new, over = stage.track("pcm", 20), stage.track("pcm", 20)
    stage.wish(lambda deck: deck.start(new.deck))
    stage.wish(lambda deck: deck.overlay(over.deck))
    stage.fill_up()
    stage.program.go_back(safe_frames=1)
    assert stage.deck.main is new.deck
    assert stage.deck.overlays == [over.deck]
    stage.play_to_the_end()
    assert stage.place(new.feed) == stage.place(over.feed) == (5, 25)


def test_one_that_ended_by_itself_is_there_again_when_the_program_goes_back() -> None:
    stage, main = playing(frames=10)
    assert stage.deck.main is None
    stage.program.go_back(safe_frames=1)
    assert stage.deck.main is main.deck
    stage.deck.collect()
    assert main.source.closed == 0
    stage.play_to_the_end()
    assert stage.numbers(main.feed) == list(range(10))
    assert names(stage) == [("started", 0), ("ended", 0)]
