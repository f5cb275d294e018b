from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.filter_text import ChainPlan, FilterError, Step, plan_chain
from voicepool.workers.errors import SourceError


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("bass=g=8,lowpass", (Step("bass", "g=8"), Step("lowpass"))),
        (" bass = g=8 ,\n treble=2 ", (Step("bass", "g=8"), Step("treble", "2"))),
        (r"volume=2:enable='between(t,1,2)'", (Step("volume", "2:enable=between(t,1,2)"),)),
        (r"volume=2:enable=between(t\,1\,2)", (Step("volume", "2:enable=between(t,1,2)"),)),
        ("pan=stereo|c0=c1|c1=c0", (Step("pan", "stereo|c0=c1|c1=c0"),)),
        ("bass@low=g=3,bass@high=g=1", (Step("bass", "g=3"), Step("bass", "g=1"))),
        (r"equalizer=f=100\  ,bass", (Step("equalizer", "f=100 "), Step("bass"))),
        ("equalizer='f=100 '", (Step("equalizer", "f=100 "),)),
        (r"aeval=val(0)\\:c", (Step("aeval", r"val(0)\:c"),)),
    ],
)
def test_chains_are_split_as_libavfilter_does(text: str, steps: tuple[Step, ...]) -> None:
    assert plan_chain(text) == ChainPlan(steps, 1.0)


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("atempo=1.25", 1.25),
        ("atempo=tempo=0.5,atempo=0.5", 0.25),
        ("asetrate=48000*1.25", 1.25),
        ("asetrate=r=48k/2,aresample=48000", 0.5),
        ("asetrate=sample_rate=60000,aresample=48000,atempo=0.8", 1.0),
        ("aresample=44100,asetrate=55125", 1.25),
        ("aformat=r=24000,asetrate=48000", 2.0),
        ("aformat=flt:24000:stereo,asetrate=48000", 2.0),
        ("aresample=async=1:osr=24000,asetrate=(40000+8000)", 2.0),
        ("asetrate=96000,asetrate=48000", 1.0),
        ("bass,volume=2,aecho=0.8:0.9:40|50:0.3|0.2,adelay=1s:all=1", 1.0),
    ],
)
def test_speed_is_what_the_chain_declares(text: str, speed: float) -> None:
    assert plan_chain(text).speed == pytest.approx(speed)


def test_a_new_rate_counts_from_the_rate_the_chain_shows() -> None:
    assert plan_chain("loudnorm,asetrate=60000").steps == (
        Step("loudnorm"),
        Step("aformat", "sample_rates=48000"),
        Step("asetrate", "sample_rate=60000"),
    )


def test_vibrato_is_given_silence_to_begin_with() -> None:
    names = [step.name for step in plan_chain("aresample=44100,vibrato=f=6,bass").steps]
    assert names == ["aresample", "aformat", "adelay", "vibrato", "atrim", "asetpts", "bass"]
    assert plan_chain("aresample=44100,vibrato=f=6").steps[2].options == "delays=441S:all=1"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "", "is empty"),
        (" \n", "", "is empty"),
        ("bass,", "", "filter 2 of the chain has no proper name"),
        ("bass,,treble", "", "filter 2"),
        ("[in]bass", "", "labels and branches"),
        ("bass[out]", "", "labels and branches"),
        ("bass;treble", "", "labels and branches"),
        ("bass\0", "", "printable ASCII"),
        ("bass=g=\N{DIGIT TWO}\N{COMBINING ACUTE ACCENT}", "", "printable ASCII"),
        ("volume=1:" + " " * 5_000, "", "at most 4096"),
        (",".join(["anull"] * 65), "", "more than 64 filters"),
        ("basss=g=1", "basss", "no filter of this name"),
        ("amovie=/etc/passwd", "amovie", "reads a file"),
        ("movie=x", "movie", "reads a file"),
        ("ladspa=file=x.so", "ladspa", "reads a file, a plugin"),
        ("sofalizer=sofa=/x", "sofalizer", "reads a file"),
        ("arnndn=m=/x", "arnndn", "reads a file"),
        ("asendcmd=f=/x", "asendcmd", "takes commands"),
        ("azmq", "azmq", "takes commands"),
        ("areverse", "areverse", "without bound"),
        ("aloop=-1:1000", "aloop", "without bound"),
        ("apad", "apad", "without bound"),
        ("atrim=1:2", "atrim", "position"),
        ("silenceremove", "silenceremove", "position"),
        ("sine", "sine", "makes sound"),
        ("ametadata=mode=print:file=/x", "ametadata", "writes"),
        ("anlmdn", "anlmdn", "a whole core"),
        ("asplit", "asplit", "one audio input and one audio output"),
        ("amix", "amix", "one audio input and one audio output"),
        ("scale=1:1", "scale", "one audio input and one audio output"),
        ("showwaves", "showwaves", "one audio input and one audio output"),
        ("firequalizer=dumpfile=/tmp/x", "firequalizer", "reads a file"),
        ("firequalizer= dumpfile =/tmp/x", "firequalizer", "reads a file"),
        ("firequalizer=1:2:3:4:5:6:7:8:9:/tmp/x", "firequalizer", "without a name"),
        ("loudnorm=stats_file=/tmp/x", "loudnorm", "reads a file"),
        ("volume=/volume=/etc/passwd", "volume", "reads a file"),
        ("volume=volume='while(1,0)':eval=frame", "volume", "while, taylor or root"),
        (r"volume=volume='w'hile(1\,0)", "volume", "while, taylor or root"),
        (r"volume=whil\\e (1,0)".replace(",", r"\,"), "volume", "while, taylor or root"),
        ("aeval='taylor(taylor(1,2),3)'", "aeval", "while, taylor or root"),
        ("asetrate=1", "asetrate", "8000 to 192000"),
        ("asetrate=1e300*1e300", "asetrate", "out of range"),
        ("asetrate=9**9", "asetrate", "not a plain number"),
        ("asetrate=48000/0", "asetrate", "not a plain number"),
        ("asetrate=" + "(" * 400, "asetrate", "not a plain number"),
        ("asetrate=r", "asetrate", "not a plain number"),
        ("asetrate", "asetrate", "exactly one option"),
        ("asetrate=48000:nb=1", "asetrate", "exactly one option"),
        ("asetrate=r=48000:sample_rate=8000", "asetrate", "exactly one option"),
        ("aresample=900000000", "aresample", "8000 to 192000"),
        ("aresample=filter_size=100000", "aresample", "not open to chains"),
        ("aformat=sample_rates=44100|48000", "aformat", "not a plain number"),
        ("atempo=4,atempo=4", "atempo", "16 times as fast"),
        ("asetrate=8000,aresample=48000,atempo=0.5", "atempo", "times as fast"),
        ("asetrate=192000,asetrate=8000,asetrate=192000,atempo=4", "atempo", "times as fast"),
        ("adelay=3600s", "adelay", "'3600s' in delays is no number from 0 to 10000"),
        ("adelay=delays=10|99999999S", "adelay", "from 0 to 10000"),
        ("adelay=delays=10:10|1e9", "adelay", "from 0 to 10000"),
        ("adelay=1e9", "adelay", "from 0 to 10000"),
        ("chorus=0.5:0.9:1000000:0.4:0.25:2", "chorus", "in delays is no number from 0 to 1000"),
        ("chorus=0.5:0.9:50:0.4:0.25:2|9999999", "chorus", "in depths is no number from 0 to 100"),
        ("chorus=0.5:0.9:50:0.4:.00001:2", "chorus", "in speeds is no number from 0.05 to 100"),
        ("adeclick", "adeclick", "a whole core"),
        ("afftfilt", "afftfilt", "a whole core"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_reason(text: str, name: str, reason: str) -> None:
    with pytest.raises(FilterError, match=reason) as caught:
        plan_chain(text)
    assert caught.value.data == {"filter": name}
    assert caught.value.code is ErrorCode.FILTER_REFUSED
    assert isinstance(caught.value, SourceError)
    assert len(caught.value.text) < 300


NAMES = st.sampled_from(["bass", "atempo", "asetrate", "aresample", "aformat", "adelay", "movie", "x"])
PIECES = st.one_of(NAMES, st.sampled_from(list("=:,;[]'\\|@ \n().*/-k01259")), st.text(max_size=3))


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_a_plan_or_a_reason(text: str) -> None:
    try:
        plan = plan_chain(text)
    except FilterError:
        return
    assert plan.steps
    assert 0.1 <= plan.speed <= 10.0
