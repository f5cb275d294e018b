from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from tests.workers.audio.media_files import signal
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.filters import HOLD_LIMIT_S, FilterChain, FilterError, looks_far_ahead
from voicepool.workers.audio.opus import PcmFrame

TASKS = Path("/proc/self/task")
RATE_HZ = 48_000


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


def taken(filters: FilterChain) -> Iterator[PcmFrame]:
    while (frame := filters.take()) is not None:
        assert frame.shape == (960, 2)
        assert frame.dtype == np.float32
        yield frame


def frames(sent: PcmFrame) -> list[PcmFrame]:
    return [sent[at : at + 960] for at in range(0, len(sent), 960)]


def run(filters: FilterChain, sent: PcmFrame) -> PcmFrame:
    """Push frame by frame and take what comes, as a player does."""
    heard: list[PcmFrame] = []
    for frame in frames(sent):
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
    assert caught.value.code is ErrorCode.FILTER_REFUSED
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


@pytest.mark.parametrize(
    ("chain", "far"),
    [
        ("bass=g=8", False),
        ("loudnorm=I=-16", True),
        ("volume=2, dynaudnorm,atempo=1.5", True),
        ("atempo=2", False),
    ],
)
def test_those_that_look_far_ahead_are_known(chain: str, *, far: bool) -> None:
    assert looks_far_ahead(chain) is far
    filters, silence, held = FilterChain(chain), np.zeros((960, 2), np.float32), 0
    while filters.take() is None and held < 1_000:
        filters.push(silence)
        held += 1
    assert (held > 100) is far
