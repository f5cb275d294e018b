"""Who is refused after workers have died: the rules over random lives, and what a bot author sees of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool._playing import suspicion as _quarantine
from voicepool._playing.identity import SourceId, identify
from voicepool._playing.suspicion import ACQUITTED_AFTER_S, FORGET_AFTER_S, FRESH_S, Suspicion
from voicepool.errors import SourceQuarantinedError
from voicepool.ipc.ids import PlaybackId, WorkerId
from voicepool.quarantine import Quarantine
from voicepool.resolver import Resolved
from voicepool.source import AudioFile, Silence
from voicepool.station import Station
from voicepool.streams import PcmStream

LONG_S = 10 * FRESH_S


class Bench:
    """A pool's suspicion, with short names for what happens."""

    def __init__(self) -> None:
        self.suspicion = Suspicion()
        self.now = 1_000.0
        self.plays = 0

    def play(
        self, label: str, worker: str = "w0.1", *, opens: bool = True, shared: bool = False
    ) -> PlaybackId:
        """Begin to play what a label stands for."""
        self.plays += 1
        playback = PlaybackId(f"p{self.plays}")
        self.suspicion.on_sent(
            playback,
            source_id(label),
            worker=WorkerId(worker),
            label=label,
            is_shared=shared,
            now=self.now,
        )
        if opens:
            self.suspicion.on_opened(playback, self.now)
        return playback

    def wait(self, seconds: float = LONG_S) -> None:
        self.now += seconds

    def die(self, worker: str = "w0.1") -> list[str]:
        return self.suspicion.on_death(WorkerId(worker), self.now)

    def hear(self, playback: PlaybackId, *heard_s: float) -> None:
        for each in heard_s:
            self.suspicion.on_heard(playback, each, self.now)

    @property
    def refused(self) -> list[str]:
        return list(self.suspicion.convicted.values())


def source_id(label: str) -> SourceId:
    return SourceId(label.encode())


# A single suspect.


def test_the_second_death_convicts_and_the_first_does_not() -> None:
    bench = Bench()
    bench.play("a", opens=False)
    assert bench.die() == []
    bench.suspicion.check(source_id("a"), "a")
    bench.play("a", "w0.2", opens=False)
    assert bench.die("w0.2") == ["a"]
    with pytest.raises(
        SourceQuarantinedError, match=r"^a is quarantined: .+ pool\.quarantine\.release"
    ) as caught:
        bench.suspicion.check(source_id("a"), "a")
    assert caught.value.data == {"source": "a"}
    bench.suspicion.check(source_id("b"), "b")
    bench.suspicion.check(None, "silence")


def test_one_that_crashes_in_the_middle_is_convicted_too() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("a", worker)
        bench.wait()
        bench.die(worker)
    assert bench.refused == ["a"]


def test_twice_at_one_death_is_once() -> None:
    bench = Bench()
    for _ in range(3):
        bench.play("a")
    assert bench.die() == []


def test_who_has_ended_or_plays_elsewhere_was_not_there() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.suspicion.on_ended(bench.play("ended", worker), finished=False)
        bench.play("elsewhere", "w1.1")
        assert bench.die(worker) == []
    assert bench.refused == []


def test_a_death_is_forgotten_after_an_hour() -> None:
    bench = Bench()
    bench.play("a")
    bench.die()
    bench.wait(FORGET_AFTER_S + 1)
    bench.play("a", "w0.2")
    assert bench.die("w0.2") == []
    bench.play("a", "w0.3")
    assert bench.die("w0.3") == ["a"]


# The innocent.


def test_those_that_were_fresh_at_both_deaths_come_before_those_that_were_only_there() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        for label in ("radio", "album"):
            bench.play(label, worker)
        bench.wait()
        bench.play("bad", worker)
        bench.wait(FRESH_S)
        bench.die(worker)
    assert bench.refused == ["bad"]


def test_those_that_were_being_opened_at_both_deaths_come_before_the_fresh_ones() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("radio", worker)
        bench.play("bad", worker, opens=False)
        bench.die(worker)
    assert bench.refused == ["bad"]


def test_who_was_near_once_and_there_once_was_there_twice() -> None:
    bench = Bench()
    bench.play("a", opens=False)
    bench.die()
    bench.play("a", "w0.2")
    bench.wait()
    assert bench.die("w0.2") == ["a"]


def test_being_opened_once_is_not_being_opened_twice() -> None:
    bench = Bench()
    bench.play("radio")
    bench.wait()
    bench.play("bad")
    bench.die()
    bench.play("radio", "w0.2", opens=False)
    bench.play("bad", "w0.2")
    assert bench.die("w0.2") == ["bad"]


def test_what_was_sought_is_fresh_again() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("radio", worker)
        bad = bench.play("bad", worker)
        bench.wait()
        bench.suspicion.on_sought(bad, bench.now)
        bench.die(worker)
    assert bench.refused == ["bad"]


def test_what_takes_long_to_open_stays_fresh() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("radio", worker)
        bench.play("bad", worker, opens=False)
        bench.wait()
        bench.die(worker)
    assert bench.refused == ["bad"]


def test_who_was_at_both_deaths_comes_before_who_was_at_one() -> None:
    bench = Bench()
    for worker, others in (("w0.1", "bcd"), ("w0.2", "efg")):
        for label in ("a", *others):
            bench.play(label, worker)
        bench.die(worker)
    assert bench.refused == ["a"]


def test_what_was_heard_before_the_death_or_for_less_than_a_minute_is_no_proof() -> None:
    bench = Bench()
    bench.play("a")
    elsewhere = bench.play("a", "w1.1")
    bench.hear(elsewhere, 500.0)
    bench.die()
    bench.hear(elsewhere, 501.0, 501.0 + ACQUITTED_AFTER_S)
    bench.play("a", "w0.2")
    assert bench.die("w0.2") == ["a"]


def test_what_was_heard_for_a_minute_since_is_acquitted() -> None:
    bench = Bench()
    bench.play("a")
    elsewhere = bench.play("a", "w1.1")
    bench.hear(elsewhere, 500.0)
    bench.die()
    bench.play("a", "w0.2")
    bench.hear(elsewhere, 501.0, 502.0 + ACQUITTED_AFTER_S)
    bench.wait(1)
    assert bench.die("w0.2") == []
    # That was a first death once more, and what is heard counts from it.
    bench.hear(elsewhere, 503.0 + ACQUITTED_AFTER_S)
    bench.play("a", "w0.3")
    assert bench.die("w0.3") == ["a"]


@pytest.mark.parametrize(
    ("since", "finished", "refused"), [(True, True, 0), (True, False, 1), (False, True, 1)]
)
def test_what_began_since_and_was_heard_to_the_end_is_acquitted(
    *, since: bool, finished: bool, refused: int
) -> None:
    bench = Bench()
    before = bench.play("a", "w1.1")
    bench.play("a")
    bench.wait(1)
    bench.die()
    bench.wait(1)
    after = bench.play("a", "w1.1")
    bench.suspicion.on_ended(after if since else before, finished=finished)
    bench.suspicion.on_ended(before if since else after, finished=False)
    bench.play("a", "w0.2")
    assert len(bench.die("w0.2")) == refused


def test_a_station_on_the_air_is_not_opened_by_who_joins_it() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("station", worker, shared=True)
        bench.wait()
        for _ in range(3):
            bench.play("station", worker, shared=True)
        bench.play("bad", worker)
        bench.die(worker)
    assert bench.refused == ["bad"]


def test_a_station_that_is_opened_is_as_fresh_as_any() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("album", worker)
        bench.wait()
        for _ in range(2):
            bench.play("station", worker, shared=True, opens=False)
        bench.die(worker)
    assert bench.refused == ["station"]


def test_many_that_moved_together_are_let_go_until_they_can_be_told_apart() -> None:
    bench = Bench()
    crowd = [f"s{number}" for number in range(50)]
    for worker in ("w0.1", "w1.1"):
        for label in (*crowd, "bad"):
            bench.play(label, worker)
        if worker == "w1.1":
            bench.play("late", worker)
        assert bench.die(worker) == []
    for label in (crowd[0], "bad", "late", "new"):
        bench.play(label, "w2.1")
    assert bench.die("w2.1") == [crowd[0], "bad"]


def test_doubt_ends_after_four_deaths() -> None:
    bench = Bench()
    crowd = [f"s{number}" for number in range(50)]
    for death in range(4):
        assert bench.refused == []
        for label in crowd:
            bench.play(label, f"w0.{death}")
        bench.die(f"w0.{death}")
    assert sorted(bench.refused) == sorted(crowd)


def test_a_conviction_explains_the_deaths_to_the_others() -> None:
    bench = Bench()
    for worker in ("w0.1", "w0.2"):
        bench.play("radio", worker)
        bench.wait()
        bench.play("bad", worker)
        bench.die(worker)
    bench.play("radio", "w0.3")
    assert bench.die("w0.3") == []


# Whatever happens.

LABELS = [f"s{number}" for number in range(6)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["play", "share", "open", "seek", "hear", "end", "finish", "die", "wait"]),
        st.integers(0, 9),
        st.integers(0, 2),
    ),
    max_size=80,
)


def carry_out(bench: Bench, steps: list[tuple[str, int, int]]) -> list[set[str]]:
    """Live through random steps; return who was there at each death, refused sources not being played."""
    playing: dict[PlaybackId, tuple[str, int]] = {}
    deaths: list[set[str]] = []
    starts = [1, 1, 1]
    for what, number, slot in steps:
        playback = list(playing)[number % len(playing)] if playing else PlaybackId("nobody")
        if what in {"play", "share"}:
            label = LABELS[number % len(LABELS)]
            if source_id(label) not in bench.suspicion.convicted:
                shared = what == "share"
                playing[bench.play(label, f"w{slot}.{starts[slot]}", opens=False, shared=shared)] = (
                    label,
                    slot,
                )
        elif what == "open":
            bench.suspicion.on_opened(playback, bench.now)
        elif what == "seek":
            bench.suspicion.on_sought(playback, bench.now)
        elif what == "hear":
            bench.hear(playback, 20.0 * number)
        elif what in {"end", "finish"}:
            playing.pop(playback, None)
            bench.suspicion.on_ended(playback, finished=what == "finish")
        elif what == "die":
            deaths.append({label for label, where in playing.values() if where == slot})
            known = set(bench.refused)
            newly = bench.die(f"w{slot}.{starts[slot]}")
            assert set(newly) == set(bench.refused) - known
            assert set(newly) <= deaths[-1], "only who was there"
            starts[slot] += 1
            playing = {name: each for name, each in playing.items() if each[1] != slot}
        else:
            bench.wait(number)
    return deaths


@given(STEPS)
def test_nobody_is_refused_who_was_not_at_two_deaths(steps: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    deaths = carry_out(bench, steps)
    for label in bench.refused:
        assert sum(label in there for there in deaths) >= 2


@given(STEPS)
def test_who_is_there_at_every_death_and_never_does_well_does_not_kill_for_ever(
    steps: list[tuple[str, int, int]],
) -> None:
    bench = Bench()
    carry_out(bench, steps)
    bench.suspicion.clear()
    kills = 0
    # Others come and go as before, but the one that kills is always there.
    while "bad" not in bench.refused:
        kills += 1
        worker = f"x{kills}"
        for number, (what, label, _) in enumerate(steps):
            if what in {"play", "share"} and number % 3 == kills % 3:
                bench.play(LABELS[label % len(LABELS)], worker, shared=what == "share")
        bench.play("bad", worker, opens=False)
        bench.die(worker)
        # Each wrong conviction takes out one of the others for good.
        assert kills <= 2 * (len(LABELS) + 1)


@given(STEPS)
def test_nothing_is_left_of_playbacks_that_are_over(steps: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    carry_out(bench, steps)
    for number in range(bench.plays):
        bench.suspicion.on_ended(PlaybackId(f"p{number + 1}"), finished=False)
    assert bench.suspicion._held == {}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_quarantine, "MAX_RECORDS", 10)
    monkeypatch.setattr(_quarantine, "MAX_CONVICTED", 4)
    bench = Bench()
    for number in range(100):
        bench.play(f"old{number}")
        bench.die()
    assert len(bench.suspicion._records) == 10
    for number in range(100):
        for worker in ("w0.1", "w0.2"):
            bench.play(f"bad{number}", worker)
            bench.die(worker)
    assert bench.refused == ["bad96", "bad97", "bad98", "bad99"]
    # Of more than there is room for, the fresh ones are remembered.
    for label in range(20):
        bench.play(f"radio{label}")
    bench.wait()
    bench.play("bad")
    bench.die()
    assert source_id("bad") in bench.suspicion._records
    bench.play("bad")
    assert bench.die() == ["bad"]


# Alibis.


def test_what_all_calls_play_is_not_to_blame_for_what_happens_to_workers() -> None:
    bench = Bench()
    for death in range(20):
        here, there = (WorkerId(f"w{(death + i) % 2}.{(death + i) // 2}") for i in range(2))
        bench.play("anthem", here)
        bench.hear(bench.play("anthem", there), LONG_S)
        bench.wait()
        assert bench.die(here) == []
    assert bench.refused == []


@pytest.mark.parametrize("heard_s", [0.0, FRESH_S])
def test_being_open_elsewhere_is_no_alibi(heard_s: float) -> None:
    bench = Bench()
    bench.hear(bench.play("a", "w9.1"), heard_s)
    for worker in ("w0.1", "w0.2"):
        bench.play("a", worker)
        bench.wait()
        bench.die(worker)
    assert bench.refused == ["a"]


@pytest.mark.parametrize("opens", [True, False])
def test_one_that_kills_where_it_is_begun_again_has_no_alibi(*, opens: bool) -> None:
    bench = Bench()
    bench.hear(bench.play("a", "w9.1"), LONG_S)
    bench.play("a", "w0.1")
    bench.wait()
    assert bench.die("w0.1") == []
    bench.play("a", "w0.2", opens=opens)
    assert bench.die("w0.2") == []
    bench.play("a", "w0.3", opens=opens)
    assert bench.die("w0.3") == ["a"]


def test_what_has_ended_elsewhere_tells_nothing_any_more() -> None:
    bench = Bench()
    elsewhere = bench.play("a", "w9.1")
    bench.hear(elsewhere, LONG_S)
    bench.suspicion.on_ended(elsewhere, finished=False)
    for worker in ("w0.1", "w0.2"):
        bench.play("a", worker)
        bench.wait()
        bench.die(worker)
    assert bench.refused == ["a"]


# What a bot author sees.


@dataclasses.dataclass
class Refused:
    """A quarantine with some sources in it."""

    bench: Bench = dataclasses.field(default_factory=Bench)

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.bench.suspicion)

    def refuse(self, source: AudioFile | Station) -> None:
        ident = identify(*source.to_wire())
        for worker in ("w0.1", "w0.2"):
            self.bench.suspicion.on_sent(
                PlaybackId("p"),
                ident,
                worker=WorkerId(worker),
                label=source.label,
                is_shared=False,
                now=self.bench.now,
            )
            self.bench.die(worker)


def test_what_is_refused_can_be_seen() -> None:
    refused = Refused()
    assert not refused.quarantine
    assert list(refused.quarantine) == []
    refused.refuse(AudioFile("/music/a.flac"))
    refused.refuse(AudioFile("https://user:secret@radio.example/live?token=secret"))
    assert list(refused.quarantine) == ["/music/a.flac", "https://radio.example/live"]
    assert len(refused.quarantine) == 2
    assert repr(refused.quarantine) == "<Quarantine of 2>"
    for what in ("/music/a.flac", AudioFile("/music/a.flac"), Station("s", "/music/a.flac")):
        assert what in refused.quarantine
    for other in ("/music/b.flac", b"RIFF", Silence(), PcmStream(), Resolved("a", str)):
        assert other not in refused.quarantine


@pytest.mark.parametrize(
    "what",
    [
        "https://radio.example/live",
        "https://radio.example/live?id=1",
        AudioFile("https://radio.example/live?id=1"),
        Station("radio", "https://radio.example/live?id=1"),
    ],
)
def test_what_is_refused_can_be_released_by_source_and_by_label(what: Any) -> None:
    refused = Refused()
    refused.refuse(AudioFile("https://radio.example/live?id=1"))
    refused.refuse(AudioFile("/music/a.flac"))
    assert refused.quarantine.release(what)
    assert list(refused.quarantine) == ["/music/a.flac"]
    assert not refused.quarantine.release(what)
    # It is as new: another death alone does not convict it.
    refused.bench.play("https://radio.example/live")
    assert refused.bench.die() == []


def test_clearing_forgets_past_deaths_too() -> None:
    refused = Refused()
    refused.refuse(AudioFile("/music/a.flac"))
    refused.bench.play("b")
    refused.bench.die()
    refused.quarantine.clear()
    assert list(refused.quarantine) == []
    refused.bench.play("b")
    assert refused.bench.die() == []


def test_nonsense_cannot_be_released() -> None:
    with pytest.raises(TypeError, match="cannot play int"):
        Refused().quarantine.release(5)  # type: ignore[arg-type]
