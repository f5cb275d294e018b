from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from tests.workers.audio.media_files import signal
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.filters import HOLD_LIMIT_S, FilterChain, FilterError, LiveFilters
from voicepool.workers.audio.opus import PcmFrame

TASKS = Path("/proc/self/task")
RATE_HZ = 48_000

Filtering = FilterChain | LiveFilters


def in_one_go(chain: list[tuple[str, str]], sent: PcmFrame) -> PcmFrame:
    """Return what one FFmpeg graph makes of the whole signal, handed to it at once."""
    graph = Graph()
    graph.threads = 1
    last = source = graph.add_abuffer(sample_rate=RATE_HZ, format="flt", layout="stereo")
    for name, options in [*chain, ("aformat", "flt:48000:stereo")]:
        context = graph.add(name, options or None)
        last.link_to(context)
        last = context
    sink = graph.add("abuffersink")
    last.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(sent.reshape(1, -1), format="flt", layout="stereo")
    frame.sample_rate = RATE_HZ
    frame.pts = 0
    source.push(frame)
    source.push(None)
    heard: list[PcmFrame] = []
    while True:
        try:
            got = sink.pull()
        except (av.EOFError, av.BlockingIOError):
            return np.concatenate(heard)
        assert isinstance(got, av.AudioFrame)
        heard.append(got.to_ndarray().astype(np.float32).reshape(-1, 2))


def taken(filters: Filtering) -> Iterator[PcmFrame]:
    while (frame := filters.take()) is not None:
        assert frame.shape == (960, 2)
        assert frame.dtype == np.float32
        yield frame


def frames(sent: PcmFrame) -> list[PcmFrame]:
    return [sent[at : at + 960] for at in range(0, len(sent), 960)]


def run(filters: Filtering, sent: PcmFrame, at_frame: Callable[[int], None] = lambda _: None) -> PcmFrame:
    """Push frame by frame and take what comes, as a player does."""
    heard: list[PcmFrame] = []
    for number, frame in enumerate(frames(sent)):
        at_frame(number)
        filters.push(frame)
        heard += taken(filters)
    filters.finish()
    heard += taken(filters)
    assert filters.ended
    assert filters.take() is None
    return np.concatenate(heard) if heard else np.empty((0, 2), np.float32)


def error_db(heard: PcmFrame, expected: PcmFrame) -> float:
    """Return the power of the difference against that of the expected, in dB."""
    difference = np.square(heard.astype(np.float64) - expected).sum()
    return float(10 * np.log10(difference / np.square(expected.astype(np.float64)).sum() + 1e-30))


@pytest.mark.parametrize(
    "chain",
    [
        [("anull", "")],
        [("bass", "g=8"), ("atempo", "1.25")],
        [("atempo", "0.5"), ("atempo", "0.5")],
        [("atempo", "4.0")],
        [("asetrate", "60000"), ("aresample", "48000")],
        [("asetrate", "38400")],
        [("aresample", "44100"), ("treble", "g=6")],
        [("aecho", "0.8:0.9:40|50:0.3|0.2")],
        [("dynaudnorm", "f=200:g=11")],
        [("loudnorm", "I=-16")],
        [("superequalizer", "1b=2:5b=0.5")],
        [("volume", "2"), ("alimiter", "limit=0.2"), ("acompressor", "")],
        [("pan", "mono|c0=0.5*c0+0.5*c1"), ("lowpass", "f=800")],
        [("earwax", ""), ("acrusher", "bits=6")],
    ],
    ids=lambda chain: ",".join(name for name, _ in chain),
)
def test_frames_through_a_chain_sound_like_the_whole_in_one_go(chain: list[tuple[str, str]]) -> None:
    sent = signal(seconds=5.01)[: 5 * RATE_HZ + 123]
    expected = in_one_go(chain, sent)
    text = ",".join(f"{name}='{options}'" if options else name for name, options in chain)
    filters = FilterChain(text)
    heard = run(filters, sent)
    # What atempo makes of its last window depends on how its input was cut.
    tail = 3_840 if "atempo" in text else 0
    common = min(len(heard), len(expected)) - tail
    assert error_db(heard[:common], expected[:common]) < -100
    assert len(heard) == pytest.approx(len(expected), abs=960 + tail)
    if not tail:
        assert not heard[len(expected) :].any()
    # The position in the source, counted with the declared speed, is right to within a window and an echo.
    assert len(expected) * filters.speed == pytest.approx(len(sent), abs=0.06 * RATE_HZ)
    assert filters.repaired_frames == 0


def test_any_piece_size_gives_the_same_sound() -> None:
    sent = signal(seconds=1.0)
    expected = run(FilterChain("bass=g=3,atempo=1.1"), sent)
    filters = FilterChain("bass=g=3,atempo=1.1")
    heard: list[PcmFrame] = []
    at, rng = 0, np.random.default_rng(3)
    while at < len(sent):
        size = int(rng.integers(0, 3_000))
        filters.push(sent[at : at + size])
        heard += taken(filters)
        at += size
    filters.finish()
    heard += taken(filters)
    assert error_db(np.concatenate(heard)[:-2_880], expected[:-2_880]) < -80


def test_nothing_in_nothing_out() -> None:
    assert len(run(FilterChain("bass"), signal(seconds=0.1)[:0])) == 0
    assert len(run(FilterChain("loudnorm"), signal(seconds=0.1)[:0])) == 0


def test_what_is_pushed_is_copied_and_what_is_taken_may_be_written_to() -> None:
    filters = FilterChain("anull")
    sent = np.full((960, 2), 0.25, np.float32)
    filters.push(sent)
    sent[:] = 9.0
    frame = filters.take()
    assert frame is not None
    assert (frame == 0.25).all()
    frame *= 2.0


def test_held_is_what_went_in_and_is_not_heard() -> None:
    filters = FilterChain("loudnorm")
    sent = signal(seconds=4.0)
    pushed = heard = 0
    for frame in frames(sent):
        filters.push(frame)
        pushed += 960
        heard += 960 * len(list(taken(filters)))
        assert filters.held_samples == pushed - heard
    assert 2.9 * RATE_HZ < filters.held_samples < 3.1 * RATE_HZ
    filters.finish()
    list(taken(filters))
    assert filters.held_samples == 0


@pytest.mark.parametrize(
    ("chain", "name", "reason"),
    [
        ("bass=foo=1", "bass", "No such option: foo"),
        ("anull,bass=g=1000000", "bass", r"Value 1000000.* for parameter 'g' out of range \[-900 - 900\]"),
        ("bass=g=loud", "bass", "loud"),
        ("atempo=0.1", "atempo", "out of range"),
        ("atempo=-1", "atempo", "out of range"),
        ("pan=nothing", "pan", "Invalid channel layout 'nothing'"),
        ("anequalizer=c0 f=200 w=100 g=-10:curves=1", "", "video"),
        ("amovie=x", "amovie", "reads a file"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_with_libavfilters_reason(
    chain: str, name: str, reason: str
) -> None:
    with pytest.raises(FilterError, match=reason) as caught:
        FilterChain(chain)
    assert caught.value.code is ErrorCode.SOURCE_REFUSED
    assert caught.value.data == {"filter": name}
    assert "\n" not in caught.value.text


def test_a_refused_chain_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FilterError):
        FilterChain("bass=foo=1")
    assert capfd.readouterr() == ("", "")


def test_no_file_is_written_by_any_spelling(tmp_path: Path) -> None:
    target = tmp_path / "x"
    for chain in (f"firequalizer=dumpfile={target}", f"loudnorm=stats_file={target}", f"movie={target}"):
        with pytest.raises(FilterError):
            FilterChain(chain)
    assert not target.exists()


def test_what_holds_back_too_much_ends_with_a_reason() -> None:
    filters = FilterChain("dynaudnorm=f=8000:g=301")
    frame = np.zeros((960, 2), np.float32)
    for _ in range(int(HOLD_LIMIT_S * 50)):
        filters.push(frame)
        assert filters.take() is None
    with pytest.raises(FilterError, match="holds back more than 30 s"):
        filters.push(frame)
    assert filters.ended
    assert filters.take() is None


def test_what_is_no_number_is_silenced_and_counted() -> None:
    filters = FilterChain("aeval='if(between(t,0.1,0.2),0/0,val(0))|val(1)'")
    sent = signal(seconds=0.5)
    heard = run(filters, sent)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1.0
    assert 5 <= filters.repaired_frames <= 6
    assert np.array_equal(heard[-960:], sent[-960:])


def test_a_filter_driven_out_of_range_does_no_harm() -> None:
    filters = FilterChain("bass=g=900")
    heard = run(filters, signal(seconds=0.5))
    assert np.isfinite(heard).all()
    assert filters.repaired_frames > 0


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in Linux's /proc")
def test_no_threads_are_started() -> None:
    before = len(list(TASKS.iterdir()))
    filters = FilterChain("loudnorm,bass,atempo=1.2,asetrate=44100")
    filters.push(np.zeros((9_600, 2), np.float32))
    assert len(list(TASKS.iterdir())) == before


def tone(seconds: float, hz: float = 300.0, level: float = 0.4) -> PcmFrame:
    t = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    side = level * np.sin(2 * np.pi * hz * t)
    return np.stack((side, side), axis=1).astype(np.float32)


def replacing(filters: LiveFilters, changes: dict[int, str | None]) -> Callable[[int], None]:
    def at_frame(number: int) -> None:
        if number in changes:
            filters.replace(changes[number])

    return at_frame


def test_a_change_fades_over_one_frame_and_keeps_every_sample() -> None:
    sent = signal(seconds=1.0)
    filters = LiveFilters("volume=0.25")
    heard = run(filters, sent, replacing(filters, {20: None}))
    assert len(heard) == len(sent)
    cut = 20 * 960
    assert error_db(heard[:cut], 0.25 * sent[:cut]) < -100
    assert error_db(heard[cut + 960 :], sent[cut + 960 :]) < -100
    weight = (1 - np.cos(np.linspace(0, np.pi, 960))) / 2
    gain = (0.25 + 0.75 * weight).astype(np.float32)[:, None]
    assert error_db(heard[cut : cut + 960], gain * sent[cut : cut + 960]) < -100


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "volume=0.1"),
        ("volume=0.1", None),
        ("bass=g=12", "bass=g=-12"),
        (None, "volume=-1"),
        ("atempo=1.5", "atempo=0.75"),
        ("dynaudnorm=f=200:g=11", "lowpass=f=2000"),
        ("lowpass=f=2000", "dynaudnorm=f=200:g=11"),
        ("asetrate=60000", None),
        ("apulsator=hz=0.5", "pan=stereo|c0=c1|c1=c0"),
    ],
)
def test_a_change_makes_no_click(before: str | None, after: str | None) -> None:
    sent = tone(6.0)
    filters = LiveFilters(before)
    heard = run(filters, sent, replacing(filters, {150: after}))
    # Each chain's own beginning and end are left out: there the tone itself starts and stops.
    steps = np.abs(np.diff(heard[4_800:-9_600], axis=0)).max()
    alone = [
        np.abs(np.diff(run(LiveFilters(chain), sent)[4_800:-9_600], axis=0)).max()
        for chain in (before, after)
    ]
    # Two tones of different phase fading into each other may add the slope of the fade, and no more.
    fade_slope = 2 * np.abs(heard).max() * np.pi / 2 / 960
    assert steps <= max(alone) + fade_slope


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dynaudnorm=f=200:g=11:m=1:b=1", "volume=0.5"),
        ("volume=0.5", "dynaudnorm=f=200:g=11:m=1:b=1"),
        ("loudnorm", "volume=0.5"),
        (None, "dynaudnorm=f=100:g=5:m=1:b=1"),
    ],
)
def test_a_chain_that_looks_ahead_comes_and_goes_at_the_right_place(
    before: str | None, after: str | None
) -> None:
    sent = signal(seconds=6.0)
    filters = LiveFilters(before)
    changed_at = -1.0

    def at_frame(number: int) -> None:
        nonlocal changed_at
        if number == 200:
            changed_at = number * 960 - filters.held_samples
            filters.replace(after)
            assert number * 960 - filters.held_samples == changed_at

    heard = run(filters, sent, at_frame)
    assert len(heard) == len(sent)
    start = round(changed_at) + 960
    gain = 0.5 if after == "volume=0.5" else 1.0
    # dynaudnorm with a gain of at most 1 leaves the sound as it is to 0.01 %, only later.
    assert error_db(heard[start:], gain * sent[start:]) < -70


def test_position_keeps_through_changes_of_tempo() -> None:
    sent = signal(seconds=4.0)
    filters = LiveFilters("atempo=2")
    heard = run(filters, sent, replacing(filters, {50: "atempo=0.5", 100: None}))
    # 1 s at double, 1 s at half, 2 s as they are: 0.5 + 2 + 2 seconds, up to one tempo window a change.
    assert len(heard) / RATE_HZ == pytest.approx(4.5, abs=0.3)
    assert error_db(heard[-RATE_HZ - 960 : -960], sent[-RATE_HZ - 960 : -960]) < 0
    late = heard[len(heard) - RATE_HZ :]
    best = max(
        range(-960, 961),
        key=lambda lag: float(
            np.dot(late[2_000:40_000, 0], sent[-RATE_HZ + 2_000 + lag : -RATE_HZ + 40_000 + lag, 0])
        ),
    )
    assert abs(best) <= 960


def test_changes_in_quick_succession_end_with_the_last() -> None:
    sent = signal(seconds=1.0)
    filters = LiveFilters("volume=0.5")
    changes: dict[int, str | None] = {n: f"volume={n / 100}" for n in range(10, 30)}
    heard = run(filters, sent, replacing(filters, changes | {30: None}))
    assert len(heard) == len(sent)
    assert error_db(heard[31 * 960 :], sent[31 * 960 :]) < -100


def test_a_change_before_the_first_frame_is_there_from_the_first_sample() -> None:
    sent = signal(seconds=0.2)
    filters = LiveFilters()
    filters.replace("volume=0.5")
    assert error_db(run(filters, sent), 0.5 * sent) < -100


def test_two_changes_without_a_frame_between_keep_the_place() -> None:
    sent = signal(seconds=1.0)
    filters = LiveFilters("volume=0.5")

    def at_frame(number: int) -> None:
        if number == 20:
            filters.replace("loudnorm")
            filters.replace("volume=0.25")
            assert filters.held_samples == 0

    heard = run(filters, sent, at_frame)
    assert len(heard) == len(sent)
    assert error_db(heard[21 * 960 :], 0.25 * sent[21 * 960 :]) < -100


def test_a_change_back_while_the_new_chain_still_looks_ahead() -> None:
    sent = signal(seconds=2.0)
    filters = LiveFilters("volume=0.5")

    def at_frame(number: int) -> None:
        if number == 20:
            filters.replace("loudnorm")
        if number == 40:
            # The old chain is fed no longer than its part of the fade takes.
            assert filters._chain.held_samples == 0
            assert filters.held_samples == 20 * 960
            filters.replace(None)

    heard = run(filters, sent, at_frame)
    assert len(heard) == len(sent)
    assert error_db(heard[: 20 * 960], 0.5 * sent[: 20 * 960]) < -100
    assert error_db(heard[21 * 960 :], sent[21 * 960 :]) < -100


def test_a_change_after_the_end_of_the_source_is_heard_in_what_is_left() -> None:
    sent = signal(seconds=2.0)
    filters = LiveFilters("dynaudnorm=f=100:g=5:m=1:b=1")
    heard: list[PcmFrame] = []
    for frame in frames(sent):
        filters.push(frame)
        heard += taken(filters)
    filters.finish()
    left = len(sent) - 960 * len(heard)
    assert left == filters.held_samples > 5 * 960
    filters.replace("volume=0.5")
    heard += taken(filters)
    assert filters.ended
    whole = np.concatenate(heard)
    assert len(whole) == len(sent)
    assert error_db(whole[-left + 960 :], 0.5 * sent[-left + 960 :]) < -100


def test_a_refused_change_leaves_the_old_chain_alone() -> None:
    sent = signal(seconds=1.0)
    filters = LiveFilters("volume=0.5")

    def at_frame(number: int) -> None:
        if number == 20:
            with pytest.raises(FilterError):
                filters.replace("bass=g=99999")

    assert error_db(run(filters, sent, at_frame), 0.5 * sent) < -100


def test_a_chain_that_broke_can_be_replaced_without_losing_the_place() -> None:
    sent = np.tile(signal(seconds=1.0), (33, 1))
    filters = LiveFilters("volume=0.5")
    heard: list[PcmFrame] = []
    broken = 0
    for number, frame in enumerate(frames(sent)):
        if number == 50:
            filters.replace("dynaudnorm=f=8000:g=301")
        try:
            filters.push(frame)
        except FilterError:
            broken += 1
            filters.replace(None)
        heard += taken(filters)
    filters.finish()
    heard += taken(filters)
    assert broken == 1
    whole = np.concatenate(heard)
    assert len(whole) == len(sent)
    assert error_db(whole[51 * 960 :], sent[51 * 960 :]) < -100


def test_the_history_holds_no_more_than_what_is_not_heard() -> None:
    filters = LiveFilters("bass=g=3,atempo=1.25")
    for frame in frames(signal(seconds=10.0)):
        filters.push(frame)
        list(taken(filters))
        assert filters._history_samples <= filters.held_samples + 960
        assert sum(map(len, filters._history)) == filters._history_samples
